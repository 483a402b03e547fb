/* logging.protocol: every command and every reply in the log. What may hold a password is blanked:
 * the argument of AUTH and every line while an exchange is open. Content is not logged. */
#include "session/inbound_parts.h"

#include "base/log.h"
#include "base/secret.h"

#include <stdlib.h>

enum { LINE_MAX_KEPT = 1024 };

static void log_line(struct inbound *s, struct span line)
{
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    struct span shown = line;
    bool hidden = s->exchange != NULL || s->auth_job != NULL;
    if (span_starts_nocase(line, "AUTH")) {
        struct span rest = span_trim(span_from(line, 4));
        shown = span_sub(line, 0, line.n - rest.n + span_find(rest, ' '));
        hidden = false;
    }
    if (hidden)
        log_event(LOG_INFO, "smtp.command", LOG_S("sid", s->id), LOG_S("text", "(credentials)"));
    else
        log_event(LOG_INFO, "smtp.command", LOG_S("sid", s->id), LOG_SPAN("text", shown),
                  LOG_B("blanked", shown.n < line.n));
}

void inbound_protocol_in(struct inbound *s, struct span bytes)
{
    if (s->engine.mode == SMTP_MODE_DATA || s->engine.mode == SMTP_MODE_CHUNK ||
        s->engine.mode == SMTP_MODE_DISCARD)
        return;
    if (s->protocol == NULL) {
        s->protocol = calloc(1, sizeof *s->protocol);
        if (s->protocol == NULL)
            return;
        buf_init(s->protocol, LINE_MAX_KEPT);
    }
    bool auth = false; /* what is pipelined behind AUTH is its response */
    while (bytes.n > 0) {
        size_t end = span_find(bytes, '\n');
        struct span piece = span_sub(bytes, 0, end);
        struct span room = span_sub(piece, 0, LINE_MAX_KEPT - 2 - s->protocol->n);
        (void)buf_add(s->protocol, room);
        if (end == bytes.n)
            return;
        struct span line = buf_span(s->protocol);
        if (auth)
            log_event(LOG_INFO, "smtp.command", LOG_S("sid", s->id),
                      LOG_S("text", "(behind AUTH)"));
        else
            log_line(s, line);
        bool content =
            span_starts_nocase(line, "BDAT") || span_is_nocase(span_trim(line), "DATA\r");
        auth = auth || span_starts_nocase(line, "AUTH");
        secret_wipe_bytes(s->protocol->p, s->protocol->cap);
        buf_reset(s->protocol);
        if (content)
            return; /* what follows in this piece is content or waits for a reply */
        bytes = span_from(bytes, end + 1);
    }
}

void inbound_protocol_out(struct inbound *s, struct span bytes)
{
    while (bytes.n > 0) {
        size_t end = span_find(bytes, '\n');
        struct span line = span_sub(bytes, 0, end);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n > 0)
            log_event(LOG_INFO, "smtp.reply", LOG_S("sid", s->id), LOG_SPAN("text", line));
        bytes = span_from(bytes, end + 1);
    }
}
