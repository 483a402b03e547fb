/* STARTTLS and TLS: what is offered where, what a man in the middle could put in, old versions. */
#include "commands/selftest.h"

#include <stdio.h>
#include <string.h>

enum { SILENCE_MS = 250, HELLO_MAX = 512 };

static bool has_word(const struct buf *ehlo, const char *word)
{
    struct span rest = buf_span(ehlo);
    while (rest.n > 0) {
        size_t end = span_find(rest, '\n');
        struct span line = span_sub(rest, 0, end);
        if (line.n > 4 && span_starts_nocase(span_from(line, 4), word))
            return true;
        rest = span_from(rest, end + 1);
    }
    return false;
}

static bool offers_passwords(const struct buf *ehlo)
{
    struct span rest = buf_span(ehlo);
    while (rest.n > 0) {
        size_t end = span_find(rest, '\n');
        struct span line = span_from(span_sub(rest, 0, end), 4);
        for (size_t i = 4; span_starts_nocase(line, "AUTH") && i < line.n; i++)
            if (span_starts_nocase(span_from(line, i), "PLAIN") ||
                span_starts_nocase(span_from(line, i), "LOGIN"))
                return true;
        rest = span_from(rest, end + 1);
    }
    return false;
}

/* Greeting and EHLO in clear. */
static bool in_clear(struct selftest *s, struct talk *t, struct buf *ehlo)
{
    int code = 0;
    if (!talk_open(t, s->worker, &s->to, s->has_local ? &s->local : NULL))
        return false;
    if (talk_code(t) != 220)
        return false;
    talk_say_line(t, "EHLO selftest.invalid");
    return talk_hear(t, TALK_WAIT_MS, &code, ehlo) == TALK_REPLY && code == 250;
}

static void check_clear(struct selftest *s, const struct buf *ehlo, bool starttls)
{
    const struct config *c = s->policy != NULL ? s->policy->config : NULL;
    bool wanted = s->listener != NULL && s->listener->starttls;
    if (wanted != starttls && s->listener != NULL)
        selftest_say(s, SELFTEST_FAILED, "STARTTLS", "%s, but the configuration %s",
                     starttls ? "offered" : "not offered",
                     wanted ? "has it" : "does not have it: is this its service?");
    else
        selftest_say(s, starttls ? SELFTEST_OK : SELFTEST_NOTE, "STARTTLS",
                     starttls ? "is offered" : "is not offered: mail comes in clear");
    if (!offers_passwords(ehlo))
        selftest_say(s, SELFTEST_OK, "passwords", "PLAIN and LOGIN are not offered in clear");
    else if (c != NULL && !c->authentication.basic.require_tls)
        selftest_say(s, SELFTEST_NOTE, "passwords",
                     "PLAIN or LOGIN in clear, as authentication.basic.require_tls: false has it");
    else
        selftest_say(s, SELFTEST_FAILED, "passwords", "PLAIN or LOGIN are offered in clear");
}

static void check_required(struct selftest *s, struct talk *t)
{
    talk_say_line(t, "MAIL FROM:<>");
    int code = talk_code(t);
    if (s->must_secure)
        selftest_say(s, code == 530 ? SELFTEST_OK : SELFTEST_FAILED, "STARTTLS",
                     "is demanded: MAIL in clear is answered %d", code);
}

/* What was sent in clear behind STARTTLS must not be executed inside TLS (CVE-2011-0411). */
static void check_injection(struct selftest *s)
{
    struct talk t;
    struct buf ehlo;
    int code;
    buf_init(&ehlo, 64 * 1024);
    if (in_clear(s, &t, &ehlo)) {
        static const char both[] = "STARTTLS\r\nNOOP\r\nRSET\r\n";
        talk_say(&t, span_of(both, sizeof both - 1));
        code = talk_code(&t);
        if (code != 220) {
            selftest_say(s, SELFTEST_OK, "STARTTLS", "with commands behind it is refused (%d)",
                         code);
        } else if (!talk_tls(&t, s->trust, s->host)) {
            selftest_say(s, SELFTEST_OK, "STARTTLS", "with commands behind it ends the session");
        } else {
            talk_say_line(&t, "EHLO selftest.invalid");
            buf_reset(&ehlo);
            (void)talk_hear(&t, TALK_WAIT_MS, &code, &ehlo);
            bool more = talk_hear(&t, SILENCE_MS, &code, NULL) == TALK_REPLY;
            bool right = !more && has_word(&ehlo, "SIZE");
            selftest_say(s, right ? SELFTEST_OK : SELFTEST_FAILED, "STARTTLS",
                         right ? "commands in clear behind it are thrown away"
                               : "commands in clear behind it are executed inside TLS");
        }
    }
    talk_close(&t);
    buf_deinit(&ehlo);
}

static void check_inside(struct selftest *s)
{
    struct talk t;
    struct buf ehlo;
    int code;
    buf_init(&ehlo, 64 * 1024);
    if (!in_clear(s, &t, &ehlo))
        goto done;
    talk_say_line(&t, "MAIL FROM:<>");
    (void)talk_code(&t);
    talk_say_line(&t, "STARTTLS");
    code = talk_code(&t);
    if (code != 220) { /* not amid a transaction, which is as good */
        talk_say_line(&t, "RSET");
        (void)talk_code(&t);
        talk_say_line(&t, "STARTTLS");
        code = talk_code(&t);
    }
    if (code != 220 || !talk_tls(&t, s->trust, s->host)) {
        selftest_say(s, SELFTEST_FAILED, "TLS", "the handshake fails: %s", t.why);
        goto done;
    }
    selftest_say(s, SELFTEST_OK, "TLS", "%s", t.tls_version);
    selftest_say(s, t.verified ? SELFTEST_OK : SELFTEST_NOTE, "certificate", "%s",
                 t.verified ? "leads to an authority that this machine trusts" : t.why);
    talk_say_line(&t, "RCPT TO:<postmaster>");
    code = talk_code(&t);
    selftest_say(s, code / 100 == 5 ? SELFTEST_OK : SELFTEST_FAILED, "TLS",
                 "what was said before it is forgotten: RCPT is answered %d", code);
    talk_say_line(&t, "EHLO selftest.invalid");
    buf_reset(&ehlo);
    (void)talk_hear(&t, TALK_WAIT_MS, &code, &ehlo);
    bool again = has_word(&ehlo, "STARTTLS");
    talk_say_line(&t, "STARTTLS");
    code = talk_code(&t);
    selftest_say(s, !again && code / 100 == 5 ? SELFTEST_OK : SELFTEST_FAILED, "TLS",
                 "STARTTLS inside it is %s and answered %d", again ? "offered" : "not offered",
                 code);
done:
    talk_close(&t);
    buf_deinit(&ehlo);
}

/* A ClientHello of that version and no other (RFC 2246 7.4.1.2, RFC 4346 7.4.1.2), with ciphers of
 * its time. */
static size_t old_hello(uint8_t minor, uint8_t *out)
{
    static const uint8_t ciphers[] = {0xc0, 0x13, 0xc0, 0x14, 0xc0, 0x09, 0xc0,
                                      0x0a, 0x00, 0x2f, 0x00, 0x35, 0x00, 0x0a};
    static const uint8_t extensions[] = {
        0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x17, 0x00, 0x18, /* groups */
        0x00, 0x0b, 0x00, 0x02, 0x01, 0x00,                         /* point formats */
        0xff, 0x01, 0x00, 0x01, 0x00,                               /* RFC 5746 */
    };
    size_t body = 2 + 32 + 1 + 2 + sizeof ciphers + 2 + 2 + sizeof extensions, n = 0;
    const uint8_t head[] = {0x16,
                            3,
                            1,
                            (uint8_t)((body + 4) >> 8),
                            (uint8_t)(body + 4),
                            0x01,
                            0,
                            (uint8_t)(body >> 8),
                            (uint8_t)body,
                            3,
                            minor};
    memcpy(out, head, sizeof head);
    n = sizeof head;
    for (size_t i = 0; i < 32; i++)
        out[n++] = (uint8_t)(17 * i + 5);
    out[n++] = 0; /* no session */
    out[n++] = 0;
    out[n++] = sizeof ciphers;
    memcpy(out + n, ciphers, sizeof ciphers);
    n += sizeof ciphers;
    out[n++] = 1; /* no compression */
    out[n++] = 0;
    out[n++] = 0;
    out[n++] = sizeof extensions;
    memcpy(out + n, extensions, sizeof extensions);
    return n + sizeof extensions;
}

static void check_version(struct selftest *s, uint8_t minor, const char *name)
{
    uint8_t hello[HELLO_MAX];
    struct talk t;
    struct buf ehlo;
    bool allowed = s->policy != NULL && s->policy->tls != NULL &&
                   strcmp(s->policy->tls->minimum_version, minor == 1 ? "1.0" : "1.1") <= 0;
    buf_init(&ehlo, 64 * 1024);
    bool ready = s->implicit_tls ? talk_open(&t, s->worker, &s->to, s->has_local ? &s->local : NULL)
                                 : in_clear(s, &t, &ehlo);
    if (ready && !s->implicit_tls) {
        talk_say_line(&t, "STARTTLS");
        ready = talk_code(&t) == 220;
    }
    if (ready) {
        talk_say(&t, span_of(hello, old_hello(minor, hello)));
        bool answer = talk_bytes(&t, TALK_WAIT_MS, 1) == TALK_REPLY;
        bool taken = answer && buf_span(&t.in).p[0] == 0x16; /* else an alert, or the end */
        selftest_say(s,
                     !taken    ? SELFTEST_OK
                     : allowed ? SELFTEST_NOTE
                               : SELFTEST_FAILED,
                     "TLS",
                     taken
                         ? allowed ? "%s is spoken, as tls.minimum_version has it" : "%s is spoken"
                         : "%s is refused",
                     name);
    }
    talk_close(&t);
    buf_deinit(&ehlo);
}

static void check_implicit(struct selftest *s)
{
    struct talk t;
    bool open = talk_open(&t, s->worker, &s->to, s->has_local ? &s->local : NULL);
    if (open && talk_tls(&t, s->trust, s->host)) {
        selftest_say(s, SELFTEST_OK, "TLS", "%s from the first byte", t.tls_version);
        selftest_say(s, t.verified ? SELFTEST_OK : SELFTEST_NOTE, "certificate", "%s",
                     t.verified ? "leads to an authority that this machine trusts" : t.why);
    } else {
        selftest_say(s, SELFTEST_FAILED, "TLS", "the handshake fails: %s", t.why);
    }
    talk_close(&t);
}

void selftest_tls(struct selftest *s)
{
    struct talk t;
    struct buf ehlo;
    bool starttls = s->implicit_tls;
    if (s->implicit_tls) {
        check_implicit(s);
    } else {
        buf_init(&ehlo, 64 * 1024);
        if (in_clear(s, &t, &ehlo)) {
            starttls = has_word(&ehlo, "STARTTLS");
            check_clear(s, &ehlo, starttls);
            check_required(s, &t);
        } else {
            selftest_say(s, SELFTEST_SKIPPED, "STARTTLS", "no session from here");
        }
        talk_close(&t);
        buf_deinit(&ehlo);
        if (starttls) {
            check_injection(s);
            check_inside(s);
        }
    }
    if (starttls) {
        check_version(s, 1, "TLS 1.0");
        check_version(s, 2, "TLS 1.1");
    }
}
