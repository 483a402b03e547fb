/* smtp_driver.h - drives a server engine as a session would, and writes down all that it does, so
 * that two runs can be compared. Used by the transcripts and by the fuzzer.
 * Fed bytes live in a heap block of their exact size that is gone as soon as the engine may no
 * longer look at it: ASan sees every breach of the borrowing rules. */
#ifndef POSTERN_SUPPORT_SMTP_DRIVER_H
#define POSTERN_SUPPORT_SMTP_DRIVER_H

#include "smtp/server_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVER_EVENT_TYPES (SMTP_SERVER_CLOSE + 1)
#define DRIVER_ANSWERS 64

static const char *const driver_names[DRIVER_EVENT_TYPES] = {
    "NONE", "CONNECT", "HELLO",      "STARTTLS", "AUTH",     "AUTH_RESPONSE", "AUTH_CANCEL",
    "MAIL", "RCPT",    "BODY_START", "BODY",     "BODY_END", "RESET",         "CLOSE"};

struct driver {
    struct smtp_server s;
    struct smtp_server_options options;
    struct buf events; /* one line an event; adjacent BODY events are one */
    struct buf output;
    const char *answers[DRIVER_EVENT_TYPES][DRIVER_ANSWERS]; /* "550 5.7.1 text", in their order */
    size_t answer_count[DRIVER_EVENT_TYPES];
    size_t answered[DRIVER_EVENT_TYPES];
    bool deferred; /* answer only when next_event says NONE and the fed bytes are gone */
    bool in_body;
    bool closed;
    int64_t now;
    uint64_t random;
    uint32_t token;
    enum smtp_server_event_type open;
};

static void driver_init(struct driver *d)
{
    memset(d, 0, sizeof *d);
    smtp_server_options_default(&d->options);
    d->options.hostname = "relay.example";
    buf_init(&d->events, 1u << 26);
    buf_init(&d->output, 1u << 26);
    d->random = 88172645463325252u;
    d->now = 1000;
}

static void driver_deinit(struct driver *d)
{
    smtp_server_deinit(&d->s);
    buf_deinit(&d->events);
    buf_deinit(&d->output);
}

static uint64_t driver_random(struct driver *d) /* xorshift: the same numbers everywhere */
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

static void driver_log_bytes(struct driver *d, struct span bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        uint8_t c = bytes.p[i];
        if (c == '\r')
            (void)buf_add_str(&d->events, "\\r");
        else if (c == '\n')
            (void)buf_add_str(&d->events, "\\n");
        else if (c < 32 || c >= 127 || c == '\\')
            (void)buf_addf(&d->events, "\\x%02x", c);
        else
            (void)buf_add_byte(&d->events, c);
    }
}

static void driver_log_span(struct driver *d, const char *key, struct span bytes)
{
    if (bytes.n == 0)
        return;
    (void)buf_addf(&d->events, " %s=", key);
    driver_log_bytes(d, bytes);
}

static void driver_log_path(struct driver *d, const struct smtp_path *path)
{
    (void)buf_add_str(&d->events, " <");
    driver_log_bytes(d, span_str(path->address));
    (void)buf_add_str(&d->events, ">");
}

static void driver_log_event(struct driver *d, const struct smtp_server_event *e)
{
    static const char *const bodies[] = {"", " body=7bit", " body=8bitmime"};
    static const char *const rets[] = {"", " ret=full", " ret=hdrs"};
    static const char *const refusals[] = {"", " refused=bare_lf", " refused=size",
                                           " refused=session"};
    if (e->type == SMTP_SERVER_BODY && d->in_body) {
        driver_log_bytes(d, e->body);
        return;
    }
    if (d->in_body)
        (void)buf_add_str(&d->events, "\n");
    d->in_body = e->type == SMTP_SERVER_BODY;
    (void)buf_add_str(&d->events, driver_names[e->type]);
    switch (e->type) {
    case SMTP_SERVER_HELLO:
        (void)buf_add_str(&d->events, e->hello.extended ? " EHLO" : " HELO");
        driver_log_span(d, "name", e->hello.name);
        (void)buf_add_str(&d->events, e->hello.odd ? " odd" : "");
        break;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE:
        (void)buf_addf(&d->events, " %s%s", e->auth.mechanism, e->auth.has_initial ? "" : " none");
        driver_log_span(d, "bytes", e->auth.bytes);
        break;
    case SMTP_SERVER_MAIL:
        driver_log_path(d, e->mail.path);
        if (e->mail.params.has_size)
            (void)buf_addf(&d->events, " size=%llu", (unsigned long long)e->mail.params.size);
        (void)buf_addf(&d->events, "%s%s%s", bodies[e->mail.params.body], rets[e->mail.params.ret],
                       e->mail.params.smtputf8 ? " smtputf8" : "");
        driver_log_span(d, "envid", e->mail.params.envid);
        driver_log_span(d, "auth", e->mail.params.auth);
        break;
    case SMTP_SERVER_RCPT:
        driver_log_path(d, e->rcpt.path);
        if (e->rcpt.params.notify != 0)
            (void)buf_addf(&d->events, " notify=%u", e->rcpt.params.notify);
        driver_log_span(d, "orcpt", e->rcpt.params.orcpt);
        break;
    case SMTP_SERVER_BODY_START:
        (void)buf_add_str(&d->events, e->chunking ? " bdat" : " data");
        break;
    case SMTP_SERVER_BODY:
        (void)buf_add_str(&d->events, " ");
        driver_log_bytes(d, e->body);
        return;
    case SMTP_SERVER_BODY_END:
        (void)buf_addf(&d->events, " size=%llu%s%s%s", (unsigned long long)e->body_end.size,
                       refusals[e->body_end.refusal], e->body_end.bare_lf ? " bare_lf" : "",
                       e->body_end.bare_cr ? " bare_cr" : "");
        break;
    case SMTP_SERVER_CLOSE: (void)buf_addf(&d->events, " %d", (int)e->close); break;
    default: break;
    }
    (void)buf_add_str(&d->events, "\n");
}

static void driver_drain(struct driver *d)
{
    for (;;) {
        struct span out = smtp_server_output(&d->s);
        if (out.n == 0)
            return;
        size_t n = 1 + (size_t)(driver_random(d) % out.n);
        (void)buf_add(&d->output, span_sub(out, 0, n));
        smtp_server_sent(&d->s, n);
    }
}

/* "-" or nothing: the standard answer; "334 bytes": a challenge; else "code [enhanced] text". */
static void driver_answer(struct driver *d, enum smtp_server_event_type type, uint32_t token)
{
    const char *text = NULL;
    if (d->answered[type] < d->answer_count[type])
        text = d->answers[type][d->answered[type]++];
    if (text == NULL || strcmp(text, "-") == 0) {
        (void)smtp_server_answer(&d->s, token, NULL, d->now);
        return;
    }
    if (strncmp(text, "334", 3) == 0) {
        (void)smtp_server_challenge(&d->s, token, span_from(span_str(text), 4), d->now);
        return;
    }
    unsigned code = (unsigned)strtoul(text, NULL, 10);
    text += strlen(text) > 4 ? 4 : strlen(text);
    struct smtp_reply reply = smtp_reply_make((uint16_t)code, NULL, text);
    size_t space = span_find(reply.text, ' ');
    if (text[0] >= '2' && text[0] <= '5' && text[1] == '.') {
        (void)span_cstr(span_sub(reply.text, 0, space), reply.enhanced, sizeof reply.enhanced);
        reply.text = span_from(reply.text, space + 1);
    }
    (void)smtp_server_answer(&d->s, token, &reply, d->now);
}

/* Takes events until there are no more; `fed` (may be NULL) is freed as soon as that is allowed. */
static void driver_pump(struct driver *d, uint8_t *fed)
{
    for (;;) {
        struct smtp_server_event e;
        while (smtp_server_next_event(&d->s, &e) != SMTP_SERVER_NONE) {
            driver_log_event(d, &e);
            d->closed = d->closed || e.type == SMTP_SERVER_CLOSE;
            if (e.token == 0)
                continue;
            if (!d->deferred) {
                driver_answer(d, e.type, e.token);
                continue;
            }
            d->token = e.token;
            d->open = e.type;
        }
        free(fed);
        fed = NULL;
        driver_drain(d);
        if (d->token != 0) {
            uint32_t token = d->token;
            d->token = 0;
            driver_answer(d, d->open, token);
            continue;
        }
        if (smtp_server_next_event(&d->s, &e) == SMTP_SERVER_NONE)
            return;
        driver_log_event(d, &e); /* a backlog was drained: there is more to do */
        d->closed = d->closed || e.type == SMTP_SERVER_CLOSE;
        if (e.token != 0)
            driver_answer(d, e.type, e.token);
    }
}

static void driver_start(struct driver *d, bool tls)
{
    smtp_server_init(&d->s, &d->options, "192.0.2.7", tls, d->now);
}

static void driver_feed(struct driver *d, struct span bytes)
{
    while (bytes.n > 0) {
        size_t n = bytes.n < SMTP_SERVER_FEED_MAX ? bytes.n : SMTP_SERVER_FEED_MAX;
        uint8_t *copy = malloc(n);
        if (copy == NULL)
            return;
        memcpy(copy, bytes.p, n);
        smtp_server_feed(&d->s, span_of(copy, n), d->now);
        driver_pump(d, copy);
        bytes = span_from(bytes, n);
    }
}

#endif
