#include "smtp/grammar.h"

#include <string.h>

enum {
    ENVID_MAX = 100, /* RFC 3461 4.4 */
    ORCPT_MAX = 500, /* RFC 3461 4.2 */
};

static const struct {
    const char *word;
    enum smtp_verb verb;
} words[] = {
    {"MAIL", SMTP_VERB_MAIL},        {"RCPT", SMTP_VERB_RCPT},
    {"DATA", SMTP_VERB_DATA},        {"EHLO", SMTP_VERB_EHLO},
    {"QUIT", SMTP_VERB_QUIT},        {"RSET", SMTP_VERB_RSET},
    {"HELO", SMTP_VERB_HELO},        {"STARTTLS", SMTP_VERB_STARTTLS},
    {"AUTH", SMTP_VERB_AUTH},        {"BDAT", SMTP_VERB_BDAT},
    {"NOOP", SMTP_VERB_NOOP},        {"VRFY", SMTP_VERB_VRFY},
    {"HELP", SMTP_VERB_HELP},        {"EXPN", SMTP_VERB_NOT_DONE},
    {"TURN", SMTP_VERB_NOT_DONE},    {"ATRN", SMTP_VERB_NOT_DONE},
    {"ETRN", SMTP_VERB_NOT_DONE},    {"SEND", SMTP_VERB_NOT_DONE},
    {"SOML", SMTP_VERB_NOT_DONE},    {"SAML", SMTP_VERB_NOT_DONE},
    {"XCLIENT", SMTP_VERB_NOT_DONE}, {"XFORWARD", SMTP_VERB_NOT_DONE},
    {"BURL", SMTP_VERB_NOT_DONE},    {"GET", SMTP_VERB_NOT_SMTP},
    {"POST", SMTP_VERB_NOT_SMTP},    {"PUT", SMTP_VERB_NOT_SMTP},
    {"HEAD", SMTP_VERB_NOT_SMTP},    {"OPTIONS", SMTP_VERB_NOT_SMTP},
    {"CONNECT", SMTP_VERB_NOT_SMTP},
};

enum smtp_verb smtp_verb_find(struct span line, struct span *args)
{
    size_t end = span_find(line, ' ');
    struct span word = span_sub(line, 0, end);
    *args = span_trim(span_from(line, end));
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (span_is_nocase(word, words[i].word))
            return words[i].verb;
    return SMTP_VERB_UNKNOWN;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool smtp_xtext_valid(struct span text, bool utf8)
{
    if (utf8 && !smtp_utf8_valid(text))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c == '+') {
            int high = i + 2 < text.n ? hex(text.p[i + 1]) : -1;
            int low = high >= 0 ? hex(text.p[i + 2]) : -1;
            if (low < 0 || high * 16 + low < 32 || high * 16 + low == 127)
                return false;
            i += 2;
        } else if (c < 33 || c == 127 || c == '=' || (c >= 128 && !utf8)) {
            return false;
        }
    }
    return true;
}

static bool refuse(struct smtp_reply *refusal, uint16_t code, const char *enhanced,
                   const char *text)
{
    *refusal = smtp_reply_make(code, enhanced, text);
    return false;
}

static bool bad_value(struct smtp_reply *refusal, const char *text)
{
    return refuse(refusal, 501, "5.5.4", text);
}

/* The prefix ("FROM:"), spaces, the path; rest is what stands behind it. */
static bool take_path(struct span args, const char *prefix, bool sender, struct smtp_path *path,
                      struct span *rest, struct smtp_reply *refusal)
{
    const char *enhanced = sender ? "5.1.7" : "5.1.3";
    size_t used = 0;
    if (!span_starts_nocase(args, prefix))
        return refuse(refusal, 501, "5.5.4",
                      sender ? "Invalid argument; the form is MAIL FROM:<user@example.com>"
                             : "Invalid argument; the form is RCPT TO:<user@example.com>");
    struct span text = span_trim(span_from(args, strlen(prefix)));
    enum smtp_path_result result = smtp_path_parse(text, path, &used);
    if (result == SMTP_PATH_OK && path->null && !sender)
        result = SMTP_PATH_EMPTY;
    if (result == SMTP_PATH_OK && path->bare_postmaster && sender)
        result = SMTP_PATH_BARE;
    if (result != SMTP_PATH_OK) {
        uint16_t code = result == SMTP_PATH_BARE && !sender ? 550 : 501;
        refuse(refusal, code, enhanced, NULL);
        refusal->text = span_str(smtp_path_why(result));
        return false;
    }
    *rest = span_from(text, used);
    if (rest->n > 0 && rest->p[0] != ' ')
        return refuse(refusal, 501, enhanced, "something stands behind the address");
    return true;
}

/* esmtp-keyword ["=" esmtp-value] (RFC 5321 4.1.2) */
struct parameter {
    struct span keyword;
    struct span value;
    bool has_value;
};

static bool next_parameter(struct span *rest, struct parameter *p)
{
    *rest = span_trim(*rest);
    if (rest->n == 0)
        return false;
    struct span word = span_sub(*rest, 0, span_find(*rest, ' '));
    size_t equals = span_find(word, '=');
    p->keyword = span_sub(word, 0, equals);
    p->has_value = equals < word.n;
    p->value = span_from(word, equals + 1);
    *rest = span_from(*rest, word.n);
    return true;
}

enum keyword {
    KEY_SIZE,
    KEY_BODY,
    KEY_SMTPUTF8,
    KEY_RET,
    KEY_ENVID,
    KEY_AUTH,
    KEY_NOTIFY,
    KEY_ORCPT,
    KEY_COUNT,
};

static const struct {
    const char *word;
    bool mail;     /* belongs to MAIL, else to RCPT */
    bool extended; /* makes sense after EHLO only; old clients do send SIZE and BODY after HELO */
    bool dsn;
} keywords[KEY_COUNT] = {
    [KEY_SIZE] = {"SIZE", true, false, false},        [KEY_BODY] = {"BODY", true, false, false},
    [KEY_SMTPUTF8] = {"SMTPUTF8", true, true, false}, [KEY_RET] = {"RET", true, true, true},
    [KEY_ENVID] = {"ENVID", true, true, true},        [KEY_AUTH] = {"AUTH", true, true, false},
    [KEY_NOTIFY] = {"NOTIFY", false, true, true},     [KEY_ORCPT] = {"ORCPT", false, true, true},
};

/* Finds the keyword, refuses what is unknown here or doubled. */
static bool find_keyword(const struct parameter *p, bool mail, struct smtp_dialect dialect,
                         unsigned *seen, enum keyword *key, struct smtp_reply *refusal)
{
    for (int i = 0; i < KEY_COUNT; i++) {
        if (!span_is_nocase(p->keyword, keywords[i].word) || keywords[i].mail != mail)
            continue;
        if ((keywords[i].extended && !dialect.extended) || (keywords[i].dsn && !dialect.dsn) ||
            (i == KEY_SMTPUTF8 && !dialect.smtputf8))
            break;
        if (*seen & 1u << i)
            return bad_value(refusal, "A parameter is given twice");
        *seen |= 1u << i;
        *key = (enum keyword)i;
        return true;
    }
    return refuse(refusal, 555, "5.5.4", "Unsupported parameter");
}

static bool mail_value(enum keyword key, const struct parameter *p, struct smtp_mail_params *m,
                       struct smtp_reply *refusal)
{
    switch (key) {
    case KEY_SIZE:
        m->has_size = p->value.n <= 20 && span_u64(p->value, UINT64_MAX, &m->size);
        return m->has_size || bad_value(refusal, "Invalid SIZE");
    case KEY_BODY:
        if (span_is_nocase(p->value, "7BIT"))
            m->body = SMTP_BODY_7BIT;
        else if (span_is_nocase(p->value, "8BITMIME"))
            m->body = SMTP_BODY_8BITMIME;
        else if (span_is_nocase(p->value, "BINARYMIME"))
            return refuse(refusal, 555, "5.5.4", "BINARYMIME is not supported");
        else
            return bad_value(refusal, "Invalid BODY");
        return true;
    case KEY_SMTPUTF8:
        m->smtputf8 = true;
        return !p->has_value || bad_value(refusal, "SMTPUTF8 takes no value");
    case KEY_RET:
        m->ret = span_is_nocase(p->value, "FULL")   ? SMTP_RET_FULL
                 : span_is_nocase(p->value, "HDRS") ? SMTP_RET_HDRS
                                                    : SMTP_RET_NONE;
        return m->ret != SMTP_RET_NONE || bad_value(refusal, "Invalid RET; FULL or HDRS");
    case KEY_ENVID:
        m->envid = p->value;
        return (p->value.n > 0 && p->value.n <= ENVID_MAX && smtp_xtext_valid(p->value, false)) ||
               bad_value(refusal, "Invalid ENVID; xtext of at most 100 characters");
    case KEY_AUTH:
        m->auth = p->value;
        return (p->value.n > 0 && p->value.n <= ORCPT_MAX && smtp_xtext_valid(p->value, true)) ||
               bad_value(refusal, "Invalid AUTH");
    case KEY_NOTIFY:
    case KEY_ORCPT:
    case KEY_COUNT: break;
    }
    return false;
}

static bool any_8bit(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return true;
    return false;
}

static const char needs_utf8[] = "A non-ASCII address needs SMTPUTF8 at MAIL";

bool smtp_mail_parse(struct span args, struct smtp_dialect dialect, struct smtp_path *path,
                     struct smtp_mail_params *params, struct smtp_reply *refusal)
{
    struct span rest;
    struct parameter p;
    enum keyword key;
    unsigned seen = 0;
    *params = (struct smtp_mail_params){.has_size = false};
    if (!take_path(args, "FROM:", true, path, &rest, refusal))
        return false;
    while (next_parameter(&rest, &p))
        if (!find_keyword(&p, true, dialect, &seen, &key, refusal) ||
            !mail_value(key, &p, params, refusal))
            return false;
    if ((path->utf8 || any_8bit(params->auth)) && !params->smtputf8)
        return refuse(refusal, 553, "5.6.7", needs_utf8);
    return true;
}

/* notify-esmtp-value = "NEVER" / 1#notify-list-element (RFC 3461 4.1) */
static bool notify_value(struct span value, uint8_t *bits)
{
    static const struct {
        const char *word;
        uint8_t bit;
    } elements[] = {{"NEVER", SMTP_NOTIFY_NEVER},
                    {"SUCCESS", SMTP_NOTIFY_SUCCESS},
                    {"FAILURE", SMTP_NOTIFY_FAILURE},
                    {"DELAY", SMTP_NOTIFY_DELAY}};
    *bits = 0;
    for (;;) {
        struct span word = span_sub(value, 0, span_find(value, ','));
        uint8_t bit = 0;
        for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
            if (span_is_nocase(word, elements[i].word))
                bit = elements[i].bit;
        if (bit == 0 || (*bits & bit) != 0)
            return false;
        *bits |= bit;
        if (word.n == value.n)
            break;
        value = span_from(value, word.n + 1);
    }
    return *bits == SMTP_NOTIFY_NEVER || (*bits & SMTP_NOTIFY_NEVER) == 0;
}

/* original-recipient-address = atom ";" xtext (RFC 3461 4.2; utf-8: RFC 6533 3) */
static bool orcpt_value(struct span value, bool utf8)
{
    size_t semicolon = span_find(value, ';');
    struct span type = span_sub(value, 0, semicolon), address = span_from(value, semicolon + 1);
    if (value.n > ORCPT_MAX || type.n == 0 || address.n == 0)
        return false;
    for (size_t i = 0; i < type.n; i++) {
        uint8_t c = ascii_lower(type.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return smtp_xtext_valid(address, utf8 && span_is_nocase(type, "utf-8"));
}

bool smtp_rcpt_parse(struct span args, struct smtp_dialect dialect, bool utf8,
                     struct smtp_path *path, struct smtp_rcpt_params *params,
                     struct smtp_reply *refusal)
{
    struct span rest;
    struct parameter p;
    enum keyword key;
    unsigned seen = 0;
    *params = (struct smtp_rcpt_params){.notify = 0};
    if (!take_path(args, "TO:", false, path, &rest, refusal))
        return false;
    while (next_parameter(&rest, &p)) {
        if (!find_keyword(&p, false, dialect, &seen, &key, refusal))
            return false;
        if (key == KEY_NOTIFY && !notify_value(p.value, &params->notify))
            return bad_value(refusal, "Invalid NOTIFY; NEVER, or some of SUCCESS,FAILURE,DELAY");
        if (key == KEY_ORCPT && !orcpt_value(p.value, utf8))
            return bad_value(refusal, "Invalid ORCPT; type;xtext of at most 500 characters");
        if (key == KEY_ORCPT)
            params->orcpt = p.value;
    }
    if (path->utf8 && !utf8)
        return refuse(refusal, 553, "5.6.7", needs_utf8);
    return true;
}

bool smtp_bdat_parse(struct span args, uint64_t *size, bool *last)
{
    size_t space = span_find(args, ' ');
    struct span word = span_trim(span_from(args, space));
    *last = word.n > 0;
    return span_u64(span_sub(args, 0, space), INT64_MAX, size) &&
           (!*last || span_is_nocase(word, "LAST"));
}

void smtp_hello_name(struct span arg, char *out, bool *odd)
{
    struct smtp_path as_path;
    char address[SMTP_PATH_MAX + 2] = "x@";
    struct span name = span_sub(arg, 0, SMTP_PATH_MAX - 1);
    *odd = arg.n > SMTP_PATH_MAX - 4;
    if (!*odd && name.n > 0)
        memcpy(address + 2, name.p, name.n);
    *odd = *odd || any_8bit(name) || span_find(name, 0) < name.n ||
           smtp_path_parse_address(span_of(address, name.n + 2), &as_path) != SMTP_PATH_OK;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        bool fit = c > 32 && c < 127 && strchr("()<>\"\\;,", c) == NULL;
        out[i] = (char)(fit ? c : '?');
    }
    out[name.n] = '\0';
}
