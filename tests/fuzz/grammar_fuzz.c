/* The pure parsers of the SMTP room: byte 0 chooses one, the rest is its input. */
#include "smtp/data_codec.h"
#include "smtp/grammar.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What was taken must be safe to hand on: no control bytes, no brackets outside of quotes, and the
 * onward form read again must mean the same. */
static void check_path(const struct smtp_path *p)
{
    struct smtp_path again;
    check(strlen(p->address) < sizeof p->address && strlen(p->local) == p->local_n);
    check(strlen(p->domain) == p->domain_n);
    for (const char *c = p->address; *c != '\0'; c++)
        check((uint8_t)*c >= 32 && *c != 127);
    if (p->null) {
        check(p->address[0] == '\0');
        return;
    }
    check(smtp_path_parse_address(span_str(p->address), &again) == SMTP_PATH_OK);
    check(memcmp(&again, p, sizeof again) == 0);
    check(p->bare_postmaster || p->domain_n > 0);
}

static void check_refusal(const struct smtp_reply *r)
{
    check(r->code >= 500 && r->code < 600 && r->enhanced[0] == '5' && r->text.n > 0);
}

static void commands(struct span s, uint8_t kind)
{
    struct smtp_dialect dialect = {
        .extended = (kind & 16) == 0, .smtputf8 = (kind & 32) == 0, .dsn = (kind & 64) == 0};
    struct smtp_path path;
    struct smtp_mail_params mail;
    struct smtp_rcpt_params rcpt;
    struct smtp_reply refusal;
    struct span args;
    (void)smtp_verb_find(s, &args);
    if (!smtp_mail_parse(args, dialect, &path, &mail, &refusal))
        check_refusal(&refusal);
    else
        check_path(&path);
    bool utf8 = dialect.smtputf8 && (kind & 128) != 0;
    if (!smtp_rcpt_parse(args, dialect, utf8, &path, &rcpt, &refusal)) {
        check_refusal(&refusal);
        return;
    }
    check_path(&path);
    check(!path.null && (utf8 || !path.utf8));
}

static void paths(struct span s)
{
    struct smtp_path path;
    size_t used;
    char name[SMTP_PATH_MAX];
    bool odd, last;
    uint64_t n;
    if (smtp_path_parse(s, &path, &used) == SMTP_PATH_OK) {
        check(used <= s.n && used <= SMTP_PATH_MAX && s.p[used - 1] == '>');
        check_path(&path);
    }
    if (smtp_path_parse_address(s, &path) == SMTP_PATH_OK)
        check_path(&path);
    smtp_hello_name(s, name, &odd);
    for (const char *c = name; *c != '\0'; c++)
        check(*c > 32 && *c < 127);
    (void)smtp_bdat_parse(s, &n, &last);
    (void)smtp_xtext_valid(s, true);
}

/* Whole and byte by byte give the same replies. */
static void replies(struct span s)
{
    struct smtp_reply_parser a, b;
    smtp_reply_parser_init(&a);
    smtp_reply_parser_init(&b);
    for (size_t at = 0; at < s.n;) {
        size_t used = 0, total = 0;
        enum smtp_reply_status x = smtp_reply_parser_feed(&a, span_from(s, at), &used), y;
        do {
            size_t one = 0;
            y = smtp_reply_parser_feed(&b, span_sub(s, at + total, 1), &one);
            total += one;
        } while (y == SMTP_REPLY_MORE && at + total < s.n);
        check(x == y && (x == SMTP_REPLY_BAD || used == total));
        if (x != SMTP_REPLY_DONE)
            break;
        struct smtp_reply r = smtp_reply_parser_reply(&a), q = smtp_reply_parser_reply(&b);
        check(r.code == q.code && r.code >= 200 && r.code < 600 && span_equal(r.text, q.text));
        check(strcmp(r.enhanced, q.enhanced) == 0);
        at += used;
    }
    smtp_reply_parser_deinit(&a);
    smtp_reply_parser_deinit(&b);
}

/* What we send is taken by the strictest receiver, to its last byte. */
static void codec(struct span s)
{
    struct buf wire;
    struct smtp_data_encoder e;
    struct smtp_data_decoder d;
    buf_init(&wire, s.n * 2 + 16);
    smtp_data_encoder_init(&e, SMTP_DATA_DOTS);
    check(smtp_data_encode(&e, span_sub(s, 0, s.n / 2), &wire));
    check(smtp_data_encode(&e, span_from(s, s.n / 2), &wire));
    check(smtp_data_encode_end(&e, &wire));
    smtp_data_decoder_init(&d, SMTP_DATA_DOTS, SMTP_BARE_LF_REJECT);
    struct span in = buf_span(&wire);
    for (bool end = false; !end;) {
        check(in.n > 0);
        struct smtp_data_piece p = smtp_data_decode(&d, in);
        in = span_from(in, p.used);
        end = p.end;
    }
    check(in.n == 0 && !d.refused);
    buf_deinit(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span s = span_of(data + 1, size - 1);
    switch (data[0] & 3) {
    case 0: commands(s, data[0]); break;
    case 1: paths(s); break;
    case 2: replies(s); break;
    default: codec(s); break;
    }
    return 0;
}
