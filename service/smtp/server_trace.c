#include "smtp/server_trace.h"

#include "smtp/grammar.h"
#include "smtp/server_engine.h"
#include "smtp/server_internal.h"

#include <string.h>

static void note(struct buf *trace, const struct smtp_trace *entry, struct span text)
{
    uint8_t *room = buf_room(trace, sizeof *entry + text.n);
    if (room == NULL)
        return;
    memcpy(room, entry, sizeof *entry);
    if (text.n > 0)
        memcpy(room + sizeof *entry, text.p, text.n);
    buf_grew(trace, sizeof *entry + text.n);
}

void server_trace_command(struct smtp_server *s, struct span line)
{
    if (s->trace == NULL)
        return;
    struct span args;
    enum smtp_verb verb = smtp_verb_find(line, &args);
    struct span text = span_sub(line, 0, SMTP_TRACE_TEXT_MAX);
    if (verb == SMTP_VERB_UNKNOWN || verb == SMTP_VERB_NOT_SMTP)
        text.n = 0;
    if (verb == SMTP_VERB_AUTH && args.n > 0) {
        size_t mechanism = span_find(args, ' ');
        size_t shown = (size_t)(args.p - line.p) + mechanism;
        text = span_sub(line, 0, shown < SMTP_TRACE_TEXT_MAX ? shown : SMTP_TRACE_TEXT_MAX);
    }
    const struct smtp_trace entry = {
        .kind = SMTP_TRACE_COMMAND, .bytes = s->line_n, .now = s->now, .text_n = text.n};
    s->trace_content = verb == SMTP_VERB_DATA || verb == SMTP_VERB_BDAT;
    note(s->trace, &entry, text);
}

void server_trace_reply(struct smtp_server *s, unsigned code, size_t bytes)
{
    if (s->trace == NULL)
        return;
    const struct smtp_trace entry = {.kind = SMTP_TRACE_REPLY,
                                     .code = code,
                                     .bytes = bytes,
                                     .octets = s->trace_content && code != 354 ? s->body_octets : 0,
                                     .now = s->now};
    note(s->trace, &entry, span_of(NULL, 0));
}

bool smtp_trace_next(struct buf *trace, struct smtp_trace *entry, struct span *text)
{
    struct span all = buf_span(trace);
    if (all.n < sizeof *entry)
        return false;
    memcpy(entry, all.p, sizeof *entry);
    *text = span_sub(all, sizeof *entry, entry->text_n);
    buf_consume(trace, sizeof *entry + entry->text_n);
    return true;
}
