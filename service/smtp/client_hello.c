#include "smtp/client_internal.h"

#include <stdio.h>
#include <string.h>

void smtp_client_say_hello(struct smtp_client *c, int64_t now)
{
    char line[SMTP_CLIENT_HELLO_MAX + 8];
    bool helo = c->helo_only;
    (void)snprintf(line, sizeof line, "%s %s", helo ? "HELO" : "EHLO", c->hello_name);
    smtp_client_command(c, line);
    c->caps = (struct smtp_client_capabilities){0};
    smtp_client_enter(c, helo ? SMTP_CLIENT_IN_HELO : SMTP_CLIENT_IN_EHLO, now);
}

/* 220; 554 "no SMTP service here" (RFC 5321 3.1), 521 and 556 (RFC 7504) say it for good; every
 * other refusal may pass. */
void smtp_client_on_greeting(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (reply->code == 220) {
        smtp_client_say_hello(c, now);
        return;
    }
    if (reply->code < 400) {
        smtp_client_fail(c, "4.5.0", "the next hop's greeting is no 220");
        return;
    }
    smtp_client_give_up_on_reply(c, reply);
    if (reply->code == 554 || reply->code == 521 || reply->code == 556)
        c->closing.result = SMTP_CLIENT_FAILED;
}

/* ---- capabilities ---- */

/* sasl-mech = 1*20mech-char; mech-char = UPPER-ALPHA / DIGIT / "-" / "_" (RFC 4422 3.1) */
static bool mechanism_name(struct span word, char out[21])
{
    if (word.n == 0 || word.n > 20)
        return false;
    for (size_t i = 0; i < word.n; i++) {
        uint8_t ch = word.p[i];
        if (ch >= 'a' && ch <= 'z')
            ch = (uint8_t)(ch - 'a' + 'A');
        if (!(ch >= 'A' && ch <= 'Z') && !(ch >= '0' && ch <= '9') && ch != '-' && ch != '_')
            return false;
        out[i] = (char)ch;
    }
    out[word.n] = '\0';
    return true;
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word)) {
        bool begins = at == list || at[-1] == ' ';
        if (begins && (at[n] == ' ' || at[n] == '\0'))
            return true;
    }
    return false;
}

static void add_mechanisms(struct smtp_client_capabilities *caps, struct span list)
{
    while (list.n > 0) {
        size_t n = span_find(list, ' ');
        char name[21];
        size_t used = strlen(caps->auth);
        if (mechanism_name(span_sub(list, 0, n), name) && !has_word(caps->auth, name) &&
            used + strlen(name) + 2 <= sizeof caps->auth)
            (void)snprintf(caps->auth + used, sizeof caps->auth - used, "%s%s", used > 0 ? " " : "",
                           name);
        list = span_from(list, n + 1);
    }
}

/* ehlo-line = ehlo-keyword *( SP ehlo-param ) (RFC 5321 4.1.1.1); "AUTH=" is what old servers say
 * besides or instead of "AUTH ". */
static void take_capability(struct smtp_client_capabilities *caps, struct span line)
{
    line = span_trim(line);
    size_t n = span_find(line, ' ');
    struct span keyword = span_sub(line, 0, n);
    struct span rest = span_trim(span_from(line, n));
    static const struct {
        const char *keyword;
        size_t at;
    } flags[] = {
        {"PIPELINING", offsetof(struct smtp_client_capabilities, pipelining)},
        {"8BITMIME", offsetof(struct smtp_client_capabilities, eightbitmime)},
        {"SMTPUTF8", offsetof(struct smtp_client_capabilities, smtputf8)},
        {"DSN", offsetof(struct smtp_client_capabilities, dsn)},
        {"STARTTLS", offsetof(struct smtp_client_capabilities, starttls)},
        {"CHUNKING", offsetof(struct smtp_client_capabilities, chunking)},
        {"ENHANCEDSTATUSCODES", offsetof(struct smtp_client_capabilities, enhanced_codes)},
    };
    const bool yes = true;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (span_is_nocase(keyword, flags[i].keyword))
            memcpy((char *)caps + flags[i].at, &yes, sizeof yes);
    if (span_is_nocase(keyword, "SIZE")) {
        caps->size = true;
        if (!span_u64(rest, UINT64_MAX, &caps->size_limit))
            caps->size_limit = 0;
    } else if (span_is_nocase(keyword, "AUTH")) {
        add_mechanisms(caps, rest);
    } else if (span_starts_nocase(line, "AUTH=")) {
        add_mechanisms(caps, span_from(line, 5));
    }
}

/* ---- negotiation ---- */

static void negotiate(struct smtp_client *c, int64_t now)
{
    if (!c->secured && c->tls != SMTP_CLIENT_TLS_NONE) {
        if (c->caps.starttls) {
            smtp_client_command(c, "STARTTLS");
            smtp_client_enter(c, SMTP_CLIENT_IN_STARTTLS, now);
            return;
        }
        if (c->tls == SMTP_CLIENT_TLS_REQUIRED) {
            smtp_client_give_up(c, "4.7.4",
                                "TLS is required here, but the next hop does not offer "
                                "STARTTLS");
            return;
        }
    }
    if (c->auth_wanted && !c->authenticated) {
        if (c->auth_needs_tls && !c->secured)
            smtp_client_give_up(c, "4.7.11",
                                "authentication is demanded, but the connection is not encrypted");
        else if (c->caps.auth[0] == '\0')
            smtp_client_give_up(c, "4.7.5",
                                "authentication is demanded, but the next hop does not offer it");
        else
            smtp_client_enter(c, SMTP_CLIENT_IN_AUTH_CHOICE, now);
        return;
    }
    smtp_client_enter(c, SMTP_CLIENT_IN_READY, now);
}

void smtp_client_on_ehlo(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (smtp_reply_is_ok(reply)) {
        struct span line;
        c->caps.esmtp = true;
        for (size_t i = 1; smtp_reply_line(reply, i, &line); i++)
            take_capability(&c->caps, line);
        negotiate(c, now);
    } else if (reply->code >= 500) { /* RFC 5321 3.2: an old server; HELO then */
        char line[SMTP_CLIENT_HELLO_MAX + 8];
        (void)snprintf(line, sizeof line, "HELO %s", c->hello_name);
        smtp_client_command(c, line);
        smtp_client_enter(c, SMTP_CLIENT_IN_HELO, now);
    } else if (reply->code >= 400) {
        smtp_client_give_up_on_reply(c, reply);
    } else {
        smtp_client_fail(c, "4.5.0", "the next hop answered EHLO with a 3xx");
    }
}

void smtp_client_on_helo(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (smtp_reply_is_ok(reply))
        negotiate(c, now);
    else if (reply->code >= 400)
        smtp_client_give_up_on_reply(c, reply);
    else
        smtp_client_fail(c, "4.5.0", "the next hop answered HELO with a 3xx");
}

/* RFC 3207; what came in clear behind the 220 was put there by somebody who wants it to be taken
 * for the protected session's (CVE-2021-38371). */
void smtp_client_on_starttls(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (reply->code == 220) {
        if (c->in.n > 0)
            smtp_client_fail(c, "4.7.0",
                             "the next hop sent clear text behind its reply to STARTTLS");
        else
            smtp_client_enter(c, SMTP_CLIENT_IN_TLS, now);
        return;
    }
    if (reply->code < 400) {
        smtp_client_fail(c, "4.5.0",
                         "the next hop answered STARTTLS with neither 220 nor a refusal");
        return;
    }
    if (c->tls == SMTP_CLIENT_TLS_REQUIRED) {
        smtp_client_give_up_on_reply(c, reply);
        return;
    }
    c->tls = SMTP_CLIENT_TLS_NONE; /* opportunistic: in clear then */
    negotiate(c, now);
}

void smtp_client_tls_started(struct smtp_client *c, int64_t now)
{
    if (c->state != SMTP_CLIENT_IN_TLS)
        return;
    c->secured = true;
    smtp_client_say_hello(c, now);
}

void smtp_client_tls_failed(struct smtp_client *c, const char *why)
{
    if (c->state != SMTP_CLIENT_IN_TLS)
        return;
    char text[SMTP_CLIENT_TEXT_MAX];
    (void)snprintf(text, sizeof text, "TLS with the next hop failed: %s",
                   why != NULL ? why : "no handshake");
    smtp_client_fail(c, "4.7.5", text);
}
