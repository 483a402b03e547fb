/* logging.format: w3c - one row for each command with its reply, as IIS wrote them. The engine
 * notes which belongs to which (smtp/server_trace.h). */
#include "session/inbound_parts.h"

#include "base/log.h"
#include "base/log_w3c.h"
#include "platform/clock.h"
#include "smtp/server_trace.h"

#include <stdlib.h>
#include <string.h>

enum { TRACE_MAX = 256 * 1024, ROW_MAX = 4096 };

/* The command whose reply is awaited. */
struct inbound_w3c {
    struct buf trace;
    bool open;
    int64_t since;
    size_t received;
    char text[SMTP_TRACE_TEXT_MAX + 1];
};

void inbound_w3c_begin(struct inbound *s)
{
    if (!log_wants_rows())
        return;
    s->w3c = calloc(1, sizeof *s->w3c);
    if (s->w3c == NULL)
        return; /* a session without rows is better than none */
    buf_init(&s->w3c->trace, TRACE_MAX);
    s->engine.trace = &s->w3c->trace;
}

void inbound_w3c_end(struct inbound *s)
{
    if (s->w3c == NULL)
        return;
    buf_deinit(&s->w3c->trace);
    free(s->w3c);
    s->w3c = NULL;
}

static void write_row(struct inbound *s, const struct smtp_trace *reply)
{
    const struct inbound_w3c *w = s->w3c;
    char client[NETADDR_TEXT_MAX], server[NETADDR_TEXT_MAX];
    const struct sock_address *local = conn_local(s->conn);
    struct span text = span_str(w->open ? w->text : "");
    size_t verb = span_find(text, ' ');
    struct buf row;
    netaddr_format(&s->peer.ip, client);
    netaddr_format(&local->ip, server);
    const struct log_w3c_row r = {
        .wall_ms = clock_wall_ms(),
        .client_ip = client,
        .user = span_str(s->identity != NULL ? s->identity : s->helo),
        .computer = s->policy->hostname,
        .server_ip = server,
        .server_port = local->port,
        .method = span_sub(text, 0, verb),
        .stem = reply->octets > 0 ? span_str(s->mid) : span_str(""),
        .query = span_trim(span_from(text, verb)),
        .status = reply->code,
        .sent = reply->bytes,
        .received = (w->open ? w->received : 0) + reply->octets,
        .taken_ms = w->open && reply->now > w->since ? (uint64_t)(reply->now - w->since) : 0};
    buf_init(&row, ROW_MAX);
    log_w3c_row(&r, &row);
    if (!row.failed)
        log_row(buf_span(&row));
    buf_deinit(&row);
}

static void take_command(struct inbound_w3c *w, const struct smtp_trace *command, struct span text)
{
    w->open = true;
    w->since = command->now;
    w->received = command->bytes;
    (void)span_cstr(text, w->text, sizeof w->text);
    for (char *c = w->text; *c != '\0' && *c != ' '; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
}

void inbound_w3c(struct inbound *s)
{
    struct smtp_trace entry;
    struct span text;
    if (s->w3c == NULL)
        return;
    while (smtp_trace_next(&s->w3c->trace, &entry, &text)) {
        if (entry.kind == SMTP_TRACE_COMMAND) {
            take_command(s->w3c, &entry, text);
            continue;
        }
        if (entry.code == 354)
            continue; /* the last word on DATA comes behind the content */
        write_row(s, &entry);
        s->w3c->open = false;
    }
    buf_reset(&s->w3c->trace);
}
