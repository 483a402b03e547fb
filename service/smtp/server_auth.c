/* AUTH (RFC 4954): the exchange as lines; what the bytes mean is the session's business. */
#include "base/base64.h"
#include "base/secret.h"
#include "smtp/server_internal.h"

#include <string.h>

void server_wipe_decoded(struct smtp_server *s)
{
    if (s->decoded.p != NULL)
        secret_wipe_bytes(s->decoded.p, s->decoded.cap);
    buf_release(&s->decoded);
}

static bool list_has(const char *list, struct span word)
{
    for (struct span rest = span_trim(span_str(list)); rest.n > 0;) {
        size_t end = span_find(rest, ' ');
        if (span_equal_nocase(span_sub(rest, 0, end), word))
            return true;
        rest = span_trim(span_from(rest, end));
    }
    return false;
}

bool server_auth_takes_ticket(const struct smtp_server *s, struct span text)
{
    struct span mechanism = span_sub(text, 0, span_find(text, ' '));
    return span_starts_nocase(mechanism, "GSS") &&
           list_has(s->tls ? s->options->auth_tls : s->options->auth, mechanism);
}

static bool check_auth(const struct smtp_server *s, struct span mechanism,
                       struct smtp_reply *refusal)
{
    const struct smtp_server_options *o = s->options;
    bool offered = list_has(s->tls ? o->auth_tls : o->auth, mechanism);
    if (!s->extended)
        *refusal = smtp_reply_make(503, "5.5.1", "Send EHLO first");
    else if (s->authenticated)
        *refusal = smtp_reply_make(503, "5.5.1", "Already authenticated");
    else if (mechanism.n == 0)
        *refusal = smtp_reply_make(501, "5.5.4", "AUTH takes the name of a mechanism");
    else if (!offered && !s->tls && list_has(o->auth_tls, mechanism))
        *refusal = smtp_reply_make(538, "5.7.11",
                                   "Encryption required for requested authentication mechanism");
    else if (!offered || mechanism.n >= sizeof s->mechanism)
        *refusal = smtp_reply_make(504, "5.5.4", "Unrecognized authentication type");
    else
        return true;
    return false;
}

enum decode_result {
    DECODE_OK,
    DECODE_BAD,
    DECODE_NO_MEMORY,
};

/* All the room at once: a buffer that grows would leave copies of a password behind. */
static enum decode_result decode(struct smtp_server *s, struct span text)
{
    server_wipe_decoded(s);
    if (text.n == 0)
        return DECODE_OK;
    if (buf_room(&s->decoded, text.n / 4 * 3 + 3) == NULL) {
        buf_reset(&s->decoded);
        return DECODE_NO_MEMORY;
    }
    return base64_decode(text, &s->decoded) ? DECODE_OK : DECODE_BAD;
}

static bool decoded(struct smtp_server *s, struct span text)
{
    enum decode_result result = decode(s, text);
    if (result == DECODE_NO_MEMORY)
        server_say(s, 454, "4.7.0", "Temporary authentication failure");
    else if (result == DECODE_BAD)
        server_error(s, 501, "5.5.2", "Cannot decode the response: it is not base64");
    return result == DECODE_OK;
}

static enum server_step open_auth(struct smtp_server *s, enum smtp_server_event_type type,
                                  bool has_bytes, struct smtp_server_event *event)
{
    event->auth.mechanism = s->mechanism;
    event->auth.has_initial = has_bytes;
    event->auth.bytes = buf_span(&s->decoded);
    return server_open(s, event, type);
}

/* "AUTH" SP mechanism [SP initial-response] (RFC 4954 4); "=" is an empty initial response. */
enum server_step server_enter_auth(struct smtp_server *s, struct span args,
                                   struct smtp_server_event *event)
{
    struct smtp_reply refusal;
    size_t end = span_find(args, ' ');
    struct span mechanism = span_sub(args, 0, end), initial = span_trim(span_from(args, end));
    if (!check_auth(s, mechanism, &refusal)) {
        server_error_reply(s, &refusal);
        return STEP_AGAIN;
    }
    for (size_t i = 0; i < mechanism.n; i++) {
        uint8_t c = mechanism.p[i];
        s->mechanism[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    s->mechanism[mechanism.n] = '\0';
    s->auth_blank = false;
    if (!decoded(s, span_is(initial, "=") ? span_of(NULL, 0) : initial))
        return STEP_AGAIN;
    return open_auth(s, SMTP_SERVER_AUTH, initial.n > 0, event);
}

static enum server_step cancelled(struct smtp_server *s, struct smtp_server_event *event)
{
    if (s->mode == SMTP_MODE_AUTH)
        s->mode = SMTP_MODE_COMMAND;
    event->type = SMTP_SERVER_AUTH_CANCEL;
    return STEP_EVENT;
}

/* A response to a challenge. */
enum server_step server_auth_line(struct smtp_server *s, enum server_line kind, struct span line,
                                  struct smtp_server_event *event)
{
    if (kind == LINE_LONG) {
        server_error(s, 500, "5.5.6", "Authentication response too long");
        return cancelled(s, event);
    }
    if (kind != LINE_OK) {
        server_error(s, 501, "5.5.2", "Bare CR or LF, or NUL, in an authentication response");
        return cancelled(s, event);
    }
    if (span_is(line, "*")) {
        server_error(s, 501, "5.7.0", "Authentication cancelled");
        return cancelled(s, event);
    }
    /* .NET's empty response is two blank lines; the second is nothing. */
    if (line.n == 0 && s->auth_blank && strncmp(s->mechanism, "GSS", 3) == 0) {
        s->auth_blank = false;
        return STEP_AGAIN;
    }
    s->auth_blank = line.n == 0;
    if (!decoded(s, line))
        return cancelled(s, event);
    s->mode = SMTP_MODE_COMMAND;
    return open_auth(s, SMTP_SERVER_AUTH_RESPONSE, true, event);
}

void server_answer_auth(struct smtp_server *s, const struct smtp_reply *reply)
{
    s->mode = SMTP_MODE_COMMAND;
    if (reply == NULL || reply->code / 100 == 2) {
        s->authenticated = true;
        if (reply == NULL)
            server_say(s, 235, "2.7.0", "Authentication successful");
        else
            server_say_reply(s, reply);
    } else if (reply->code / 100 == 5) {
        server_error_reply(s, reply);
    } else {
        server_say_reply(s, reply);
    }
}
