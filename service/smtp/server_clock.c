/* How long a client may take. */
#include "smtp/server_internal.h"

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t content_deadline(const struct smtp_server *s)
{
    const struct smtp_server_options *o = s->options;
    int64_t at = s->last_byte + o->data_timeout_ms;
    uint32_t rate = o->data_rate_min;
    if (rate == 0 || s->body_octets > INT64_MAX / 2000)
        return at;
    return earlier(at, s->since + o->data_grace_ms + (int64_t)(s->body_octets * 1000 / rate));
}

int64_t smtp_server_deadline(const struct smtp_server *s)
{
    const struct smtp_server_options *o = s->options;
    int64_t at = INT64_MAX;
    if (s->paused_at >= 0 || s->open != SMTP_SERVER_NONE || !s->started)
        return at;
    switch (s->mode) {
    case SMTP_MODE_COMMAND:
    case SMTP_MODE_AUTH:
        at = s->since +
             (s->state == SMTP_STATE_HELLO ? o->greeting_timeout_ms : o->command_timeout_ms);
        break;
    case SMTP_MODE_DATA:
    case SMTP_MODE_CHUNK:
    case SMTP_MODE_DISCARD: at = content_deadline(s); break;
    case SMTP_MODE_TLS: at = s->since + o->greeting_timeout_ms; break;
    case SMTP_MODE_CONNECT:
    case SMTP_MODE_CLOSED: return at;
    }
    return o->session_timeout_ms > 0 ? earlier(at, s->born + o->session_timeout_ms) : at;
}

void smtp_server_timeout(struct smtp_server *s, int64_t now)
{
    if (now < smtp_server_deadline(s))
        return;
    s->now = now;
    if (s->mode != SMTP_MODE_TLS) /* in a handshake clear text would only confuse */
        server_say(s, 421, "4.4.1", "Connection timed out");
    server_close(s, SMTP_CLOSE_TIMEOUT);
}

void smtp_server_pause(struct smtp_server *s, int64_t now)
{
    if (s->paused_at < 0)
        s->paused_at = now;
}

void smtp_server_resume(struct smtp_server *s, int64_t now)
{
    if (s->paused_at < 0)
        return;
    int64_t pause = now - s->paused_at;
    s->paused_at = -1;
    s->since += pause;
    s->last_byte += pause;
    s->born += pause;
}
