/* The client engine against a server that says anything. The first byte chooses options, the rest
 * is the server's bytes; a byte 0xff cuts a feed, 0xfe loses the connection, 0xfd lets time pass.
 * What must hold whatever the server says: each transaction gives one verdict for each recipient
 * and then FINISHED, CLOSED comes once and last, nothing is DELIVERED before the final dot is out,
 * no bare CR or LF is ever sent, output stays within its bound. */
#include "smtp/client_engine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECIPIENTS = 4, OUTPUT_MAX = 2048 };

struct rig {
    struct smtp_client c;
    int64_t now;
    size_t told[RECIPIENTS];
    size_t transactions, finished, closed;
    size_t bodies, body_at; /* parts given, bytes of the one under way */
    bool open;              /* a transaction is on */
    uint8_t last_sent;
    uint8_t tail[5]; /* the end of what was sent */
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static const struct smtp_client_recipient recipients[RECIPIENTS] = {
    {.address = {(const uint8_t *)"b@b.example", 11}, .notify = SMTP_CLIENT_NOTIFY_SUCCESS},
    {.address = {(const uint8_t *)"\xc3\xa4@b.example", 12}},
    {.address = {(const uint8_t *)"\"c d\"@b.example", 15},
     .orcpt = {(const uint8_t *)"rfc822;x", 8}},
    {.address = {(const uint8_t *)"d@b.example", 11}, .notify = SMTP_CLIENT_NOTIFY_NEVER},
};
static struct smtp_client_transaction transaction = {
    .sender = {(const uint8_t *)"a@a.example", 11},
    .recipients = recipients,
    .recipient_count = RECIPIENTS,
    .size = 5000,
    .eightbit = true,
    .ret = SMTP_CLIENT_RET_HDRS,
    .envid = {(const uint8_t *)"Q1", 2},
};

static void drain(struct rig *r)
{
    struct span out = smtp_client_output(&r->c);
    check(out.n <= OUTPUT_MAX + 4096);
    for (size_t i = 0; i < out.n; i++) {
        check((out.p[i] == '\n') == (r->last_sent == '\r'));
        r->last_sent = out.p[i];
        memmove(r->tail, r->tail + 1, sizeof r->tail - 1);
        r->tail[sizeof r->tail - 1] = out.p[i];
    }
    smtp_client_sent(&r->c, out.n, r->now);
}

static void begin(struct rig *r)
{
    struct err e;
    if (r->transactions >= 3) {
        smtp_client_quit(&r->c, r->now);
        return;
    }
    memset(r->told, 0, sizeof r->told);
    r->bodies = r->body_at = 0;
    check(smtp_client_start(&r->c, &transaction, r->now, &e));
    r->transactions++;
    r->open = true;
}

/* Three parts a message, each in as many bites as the output's bound makes of it. */
static void give_body(struct rig *r)
{
    static const char text[] = ".line\nbare\rlf\r\n..dots\r\n\xff\0nul\r";
    uint8_t part[3000];
    for (size_t i = 0; i < sizeof part; i++)
        part[i] = (uint8_t)text[i % (sizeof text - 1)];
    struct span left = span_of(part + r->body_at, sizeof part - r->body_at);
    size_t taken = smtp_client_body(&r->c, left, r->bodies % 3 == 2, r->now);
    r->body_at += taken;
    if (taken == left.n) {
        r->body_at = 0;
        r->bodies++;
    }
}

static void on_recipient(struct rig *r, const struct smtp_client_event *event)
{
    check(r->open && event->recipient < RECIPIENTS && r->told[event->recipient]++ == 0);
    const struct smtp_client_outcome *o = event->outcome;
    check(o->status[0] != '\0' && memchr(o->text, 0, sizeof o->text) != NULL);
    for (const char *p = o->text; *p != '\0'; p++)
        check(*p >= ' ' && *p < 0x7f);
    if (o->result == SMTP_CLIENT_DELIVERED)
        check(o->code >= 200 && o->code < 300 && memcmp(r->tail, "\r\n.\r\n", 5) == 0);
    if (o->maybe_delivered)
        check(o->result == SMTP_CLIENT_DEFERRED && memcmp(r->tail, "\r\n.\r\n", 5) == 0);
}

static void act(struct rig *r, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_WANT_TLS:
        drain(r);
        smtp_client_tls_started(&r->c, r->now);
        break;
    case SMTP_CLIENT_AUTH_NEEDED:
        smtp_client_auth(&r->c, "PLAIN", true, span_of("\0u\0p", 4), r->now);
        break;
    case SMTP_CLIENT_AUTH_CHALLENGE:
        if (event->data.n % 2 == 0)
            smtp_client_auth_answer(&r->c, event->data, r->now);
        else
            smtp_client_auth_cancel(&r->c, r->now);
        break;
    case SMTP_CLIENT_AUTH_REFUSED: smtp_client_auth_skip(&r->c); break;
    case SMTP_CLIENT_READY: begin(r); break;
    case SMTP_CLIENT_WANT_BODY: give_body(r); break;
    case SMTP_CLIENT_RECIPIENT: on_recipient(r, event); break;
    case SMTP_CLIENT_FINISHED:
        check(r->open);
        for (size_t i = 0; i < RECIPIENTS; i++)
            check(r->told[i] == 1);
        r->open = false;
        r->finished++;
        break;
    case SMTP_CLIENT_CLOSED:
        check(!r->open);
        r->closed++;
        break;
    case SMTP_CLIENT_AUTH_OK: break;
    }
}

static void run(struct rig *r)
{
    struct smtp_client_event event;
    bool moved = true;
    while (moved) {
        moved = false;
        while (smtp_client_next_event(&r->c, r->now, &event)) {
            check(r->closed == 0);
            act(r, &event);
            moved = true;
        }
        if (smtp_client_output(&r->c).n > 0) {
            drain(r);
            moved = true;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct rig *r = calloc(1, sizeof *r);
    check(r != NULL);
    uint8_t choice = data[0];
    struct smtp_client_options options = {
        .hello_name = "relay.example.net",
        .tls = (enum smtp_client_tls)(choice % 3),
        .auth = (choice & 4) != 0,
        .auth_needs_tls = (choice & 8) != 0,
        .helo_only = (choice & 16) != 0,
        .no_pipelining = (choice & 32) != 0,
        .secured = (choice & 64) != 0,
        .output_max = OUTPUT_MAX,
    };
    struct err e;
    check(smtp_client_init(&r->c, &options, r->now, &e));
    struct span left = span_of(data + 1, size - 1);
    while (left.n > 0) {
        size_t n = 0;
        while (n < left.n && left.p[n] < 0xfd)
            n++;
        smtp_client_feed(&r->c, span_sub(left, 0, n), r->now);
        run(r);
        if (n < left.n && left.p[n] == 0xfe)
            smtp_client_lost(&r->c, NULL);
        if (n < left.n && left.p[n] == 0xfd) {
            int64_t deadline = smtp_client_deadline(&r->c);
            r->now = deadline == SMTP_CLIENT_NO_DEADLINE ? r->now + 1000 : deadline;
            smtp_client_timeout(&r->c, r->now);
        }
        run(r);
        left = span_from(left, n + 1);
    }
    smtp_client_lost(&r->c, "end");
    run(r);
    check(r->closed == 1 && !r->open && r->finished == r->transactions);
    smtp_client_deinit(&r->c);
    free(r);
    return 0;
}
