/* AUTH (RFC 4954) as bytes: the mechanism's own steps are made by the session's SASL library. */
#include "base/base64.h"
#include "smtp/client_internal.h"

#include <string.h>

enum {
    LINE_MAX_OCTETS = 510, /* RFC 5321 4.5.3.1.4 without the CRLF; peers cut there */
};

static void add_base64_line(struct smtp_client *c, struct span head, struct span bytes, bool equals)
{
    size_t coded = (bytes.n + 2) / 3 * 4;
    c->out_secret = true;
    (void)buf_room(&c->out, head.n + coded + 4); /* so that no growth leaves a copy behind */
    (void)buf_add(&c->out, head);
    if (bytes.n == 0 && equals)
        (void)buf_add_byte(&c->out, '=');
    (void)base64_encode(bytes, &c->out);
    (void)buf_add_str(&c->out, "\r\n");
    if (c->out.failed)
        smtp_client_fail(c, "4.7.0", "an authentication response is too long to be sent");
}

void smtp_client_auth(struct smtp_client *c, const char *mechanism, bool has_initial,
                      struct span initial, int64_t now)
{
    if (c->state != SMTP_CLIENT_IN_AUTH_CHOICE)
        return;
    struct span name = span_str(mechanism);
    bool valid = name.n > 0 && name.n <= 20;
    for (size_t i = 0; i < name.n && valid; i++)
        valid = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", name.p[i]) != NULL;
    if (!valid) {
        smtp_client_give_up(c, "4.7.0", "the mechanism chosen for AUTH has no valid name");
        return;
    }
    struct buf head;
    buf_init(&head, 64);
    (void)buf_addf(&head, "AUTH %s%s", mechanism, has_initial ? " " : "");
    c->auth_cancelled = false;
    smtp_client_enter(c, SMTP_CLIENT_IN_AUTH, now);
    if (has_initial && head.n + (initial.n + 2) / 3 * 4 > LINE_MAX_OCTETS) {
        if (!secret_set(&c->initial, initial)) {
            smtp_client_fail(c, "4.3.0", "no memory for an authentication response");
        } else {
            buf_reset(&head);
            (void)buf_addf(&head, "AUTH %s", mechanism);
            add_base64_line(c, buf_span(&head), span_of(NULL, 0), false);
        }
    } else {
        add_base64_line(c, buf_span(&head), initial, has_initial);
    }
    buf_deinit(&head);
}

void smtp_client_auth_answer(struct smtp_client *c, struct span response, int64_t now)
{
    if (c->state != SMTP_CLIENT_IN_AUTH_ANSWER)
        return;
    smtp_client_enter(c, SMTP_CLIENT_IN_AUTH, now);
    add_base64_line(c, span_of(NULL, 0), response, false);
}

static void cancel(struct smtp_client *c, int64_t now)
{
    c->auth_cancelled = true;
    smtp_client_command(c, "*");
    smtp_client_enter(c, SMTP_CLIENT_IN_AUTH, now);
}

void smtp_client_auth_cancel(struct smtp_client *c, int64_t now)
{
    if (c->state == SMTP_CLIENT_IN_AUTH_ANSWER)
        cancel(c, now);
}

void smtp_client_auth_skip(struct smtp_client *c)
{
    if (c->state == SMTP_CLIENT_IN_AUTH_CHOICE)
        smtp_client_enter(c, SMTP_CLIENT_IN_READY, 0);
}

static void on_challenge(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (c->auth_cancelled) {
        smtp_client_fail(c, "4.5.0",
                         "the next hop went on with an authentication that we cancelled");
        return;
    }
    struct span text = span_trim(reply->text);
    if (text.n == 0 && c->initial.p != NULL) { /* what was too long for the command line */
        struct span initial = secret_span(&c->initial);
        smtp_client_enter(c, SMTP_CLIENT_IN_AUTH, now);
        add_base64_line(c, span_of(NULL, 0), initial, false);
        secret_wipe(&c->initial);
        return;
    }
    secret_wipe(&c->initial);
    buf_reset(&c->challenge);
    if (base64_decode(text, &c->challenge))
        smtp_client_enter(c, SMTP_CLIENT_IN_AUTH_ANSWER, now);
    else
        cancel(c, now);
}

bool smtp_client_on_auth(struct smtp_client *c, const struct smtp_reply *reply, int64_t now,
                         struct smtp_client_event *event)
{
    if (reply->code == 334) {
        on_challenge(c, reply, now);
        return false;
    }
    secret_wipe(&c->initial);
    smtp_client_outcome_from_reply(&c->outcome, reply);
    *event = (struct smtp_client_event){.outcome = &c->outcome};
    if (reply->code == 235 && !c->auth_cancelled) {
        c->authenticated = true;
        smtp_client_enter(c, SMTP_CLIENT_IN_READY, now);
        event->kind = SMTP_CLIENT_AUTH_OK;
        return true;
    }
    if (reply->code < 400) {
        smtp_client_fail(c, "4.5.0",
                         "the next hop answered AUTH with neither 334, 235 nor a refusal");
        return false;
    }
    c->outcome.result = SMTP_CLIENT_DEFERRED;
    c->outcome.needs_auth = true;
    smtp_client_enter(c, SMTP_CLIENT_IN_AUTH_CHOICE, now);
    c->announce = false; /* the refusal says it all */
    event->kind = SMTP_CLIENT_AUTH_REFUSED;
    return true;
}
