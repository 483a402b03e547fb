/* The open-relay list: every known way to write a foreign recipient, from every kind of sender. */
#include "commands/selftest.h"

#include <string.h>

/* {V} the victim, {R} our host, {I} our address, {L} a local domain, {T} some third domain. */
struct form {
    const char *text;
    bool may_be_local; /* a plain local part: taken into Drop, and relayed nowhere */
};
static const struct form recipients[] = {
    {"<v@{V}>", false},
    {"<v%{V}@{R}>", false},
    {"<v%{V}@[{I}]>", false},
    {"<v%{V}@{L}>", false},
    {"<v%{V}>", false},
    {"<\"v@{V}\">", false},
    {"<\"v%{V}\">", false},
    {"<\"v@{V}\"@{R}>", false},
    {"<\"v@{V}\"@[{I}]>", false},
    {"<\"v%{V}\"@{L}>", false},
    {"<v@{V}@{R}>", false},
    {"<v@{V}@[{I}]>", false},
    {"<@{R}:v@{V}>", false},
    {"<@[{I}]:v@{V}>", false},
    {"<@{R},@{T}:v@{V}>", false},
    {"<@{L}:v%{V}@{R}>", false},
    {"<{V}!v>", false},
    {"<{V}!v@{R}>", false},
    {"<{V}!v@[{I}]>", false},
    {"<{R}!{V}!v>", false},
    {"<{L}!v%{V}@{R}>", false},
    {"v@{V}", false},
    {"<v@{V}.>", false},
    {"<v@[192.0.2.1]>", false},
    {"<v@[IPv6:2001:db8::1]>", false},
    {"<v@{V},x@{L}>", false},
    {"<v@{V}><x@{L}>", false},
    {"<(c)v@{V}>", false},
    {"<v@{V}(c)@{L}>", false},
    {"<\"v\"@{V}@{R}>", false},
    {"<\"v\\@{V}\"@{L}>", false},
    {"<v%40{V}@{L}>", false},
    {"<v=40{V}@{L}>", true},
    {"<v@{V}\t@{L}>", false},
    {"<v@{V}\n@{L}>", false},
    {"<v@{V}\\0@{L}>", false}, /* becomes a NUL */
    {"<v@xn--selftest-cua.{V}>", false},
    {"<v@{V}> ORCPT=rfc822;v@{L}", false},
};
static const char *const senders[] = {"<>",        "<a@{T}>",       "<a@{R}>", "<a@{L}>",
                                      "<a@[{I}]>", "<a@localhost>", "<a>",     "<postmaster@{L}>"};
enum { RECIPIENTS = sizeof recipients / sizeof *recipients };
enum { SENDERS = sizeof senders / sizeof *senders };

static const char victim[] = "victim.selftest.invalid", third[] = "third.selftest.invalid";

/* False where a name that it takes is not known. */
static bool expand(const struct selftest *s, const char *form, struct buf *out)
{
    buf_reset(out);
    for (const char *c = form; *c != '\0'; c++) {
        if (c[0] == '\\' && c[1] == '0') {
            buf_add_byte(out, 0);
            c++;
        } else if (c[0] == '{' && c[1] != '\0' && c[2] == '}') {
            const char *name = c[1] == 'V'   ? victim
                               : c[1] == 'T' ? third
                               : c[1] == 'R' ? s->host
                               : c[1] == 'I' ? s->ip
                                             : s->domain;
            if (name[0] == '\0')
                return false;
            buf_add_str(out, name);
            c += 2;
        } else {
            buf_add_byte(out, (uint8_t)*c);
        }
    }
    return !out->failed;
}

struct tally {
    size_t tried, refused, taken, local, at_mail;
    int connect_code; /* a session that was refused at once */
};

static void command(struct talk *t, const char *verb, struct span argument)
{
    struct buf line;
    buf_init(&line, 4096);
    buf_add_str(&line, verb);
    buf_add(&line, argument);
    buf_add_str(&line, "\r\n");
    talk_say(t, buf_span(&line));
    buf_deinit(&line);
}

/* Bytes that break a line make more than one reply; any good one counts. */
static int rcpt_code(struct talk *t, struct span argument)
{
    command(t, "RCPT TO:", argument);
    int code = talk_code(t), more;
    if (span_find(argument, '\n') == argument.n)
        return code;
    while (code / 100 != 2 && talk_hear(t, 200, &more, NULL) == TALK_REPLY)
        code = more;
    return code;
}

static void judge(struct selftest *s, struct tally *n, const struct form *form, struct span to,
                  struct span from, const char *how, int code)
{
    n->tried++;
    if (code / 100 != 2) {
        n->refused++;
    } else if (form->may_be_local) {
        n->local++;
    } else {
        n->taken++;
        selftest_say(s, SELFTEST_FAILED, "open relay", "RCPT TO:%.*s from MAIL FROM:%.*s%s: %d",
                     SPAN_ARG(to), SPAN_ARG(from), how, code);
    }
}

/* One recipient from all senders, a session for them all while it lasts. */
static bool try_form(struct selftest *s, struct tally *n, const struct form *form)
{
    struct talk t;
    struct buf to, from;
    bool open = false, ok = true;
    buf_init(&to, 1024);
    buf_init(&from, 1024);
    for (size_t i = 0; ok && i < SENDERS && expand(s, form->text, &to); i++) {
        if (!expand(s, senders[i], &from))
            continue;
        if (!open)
            open = ok = selftest_begin(s, &t, NULL, &n->connect_code);
        if (!ok)
            break;
        command(&t, "MAIL FROM:", buf_span(&from));
        int code = talk_code(&t);
        if (code / 100 == 2)
            code = rcpt_code(&t, buf_span(&to));
        else
            n->at_mail++;
        judge(s, n, form, buf_span(&to), buf_span(&from), "", code);
        talk_say_line(&t, "RSET");
        if (talk_code(&t) != 250) { /* it has closed, as it may after errors */
            talk_close(&t);
            open = false;
        }
    }
    if (open)
        talk_close(&t);
    buf_deinit(&to);
    buf_deinit(&from);
    return ok;
}

/* What might make a server forget itself before the plainest of all recipients. */
static void try_after(struct selftest *s, struct tally *n, const char *how,
                      const char *const *lines)
{
    struct talk t;
    const struct form *form = &recipients[0];
    struct buf to;
    int code;
    if (!selftest_begin(s, &t, NULL, &code))
        return;
    buf_init(&to, 1024);
    (void)expand(s, form->text, &to);
    for (size_t i = 0; lines[i] != NULL; i++) {
        talk_say_line(&t, "%s", lines[i]);
        code = talk_code(&t);
    }
    n->at_mail += code / 100 != 2;
    judge(s, n, form, buf_span(&to), span_str("<>"), how, rcpt_code(&t, buf_span(&to)));
    talk_close(&t);
    buf_deinit(&to);
}

static void try_states(struct selftest *s, struct tally *n)
{
    /* "\0selftest\0wrong" */
    static const char *const failed_auth[] = {"AUTH PLAIN AHNlbGZ0ZXN0AHdyb25n", "MAIL FROM:<>",
                                              NULL};
    static const char *const rset[] = {"MAIL FROM:<>", "RCPT TO:<postmaster>", "RSET",
                                       "MAIL FROM:<>", NULL};
    static const char *const second[] = {"MAIL FROM:<>", "RCPT TO:<postmaster>", NULL};
    static const char *const xclient[] = {"XCLIENT ADDR=127.0.0.1 NAME=localhost LOGIN=postmaster",
                                          "EHLO localhost", "MAIL FROM:<>", NULL};
    static const char *const xforward[] = {"XFORWARD ADDR=127.0.0.1 NAME=localhost", "MAIL FROM:<>",
                                           NULL};
    static const char *const helo[] = {"HELO localhost", "MAIL FROM:<>", NULL};
    static const char *const auth_param[] = {"MAIL FROM:<> AUTH=postmaster@localhost", NULL};
    try_after(s, n, " after a failed AUTH", failed_auth);
    try_after(s, n, " after RSET", rset);
    try_after(s, n, " behind a good recipient", second);
    try_after(s, n, " after XCLIENT", xclient);
    try_after(s, n, " after XFORWARD", xforward);
    try_after(s, n, " after HELO localhost", helo);
    try_after(s, n, " with AUTH= at MAIL", auth_param);
}

static void try_postmaster(struct selftest *s, const struct tally *n)
{
    struct talk t;
    int code;
    if (n->at_mail == n->tried || !selftest_begin(s, &t, NULL, &code))
        return;
    talk_say_line(&t, "MAIL FROM:<>");
    int mail = talk_code(&t);
    talk_say_line(&t, "RCPT TO:<postmaster>");
    code = talk_code(&t);
    if (mail == 250)
        selftest_say(s, code / 100 == 2 ? SELFTEST_OK : SELFTEST_FAILED, "postmaster",
                     "bare <postmaster>: %d (RFC 5321 4.5.1 wants it taken)", code);
    talk_close(&t);
}

void selftest_relay(struct selftest *s)
{
    struct tally n = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < RECIPIENTS; i++)
        ok = try_form(s, &n, &recipients[i]);
    if (!ok && n.tried == 0) {
        selftest_say(s, n.connect_code >= 400 ? SELFTEST_OK : SELFTEST_FAILED, "open relay",
                     "the connection is refused at once (%d)", n.connect_code);
        return;
    }
    try_states(s, &n);
    if (n.taken == 0)
        selftest_say(s, SELFTEST_OK, "open relay",
                     "%zu ways to write a foreign recipient and sender, none taken%s", n.tried,
                     n.at_mail == n.tried ? " (each refused at MAIL already)" : "");
    if (n.local > 0)
        selftest_say(s, SELFTEST_NOTE, "open relay",
                     "%zu taken as plain names of a local domain, for Drop", n.local);
    if (!ok)
        selftest_say(s, SELFTEST_FAILED, "open relay", "sessions were refused amid the list (%d)%s",
                     n.connect_code, selftest_limited(n.connect_code));
    try_postmaster(s, &n);
}
