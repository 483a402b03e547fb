/* logging.format: w3c - rows for what is said to next hops and by them, under the names that IIS
 * gave them. One row for each line as it comes or goes: what arrives in two pieces makes two rows.
 * Content makes none, and of a log-in the verb alone is shown. */
#include "session/outbound_parts.h"

#include "base/log.h"
#include "base/log_w3c.h"
#include "platform/clock.h"

enum { COMMANDS_MAX = 4096, ROW_MAX = 4096 };

static void write_row(const struct outbound *o, const char *who, struct span method,
                      struct span query, size_t sent, size_t received)
{
    char peer[NETADDR_TEXT_MAX];
    const struct sock_address *to = conn_peer(o->conn);
    struct buf row;
    netaddr_format(&to->ip, peer);
    const struct log_w3c_row r = {.wall_ms = clock_wall_ms(),
                                  .client_ip = peer,
                                  .user = span_str(who),
                                  .computer = o->courier->desk->policy->hostname,
                                  .server_ip = "",
                                  .server_port = to->port,
                                  .method = method,
                                  .query = query,
                                  .sent = sent,
                                  .received = received};
    buf_init(&row, ROW_MAX);
    log_w3c_row(&r, &row);
    if (!row.failed)
        log_row(buf_span(&row));
    buf_deinit(&row);
}

static struct span first_line(struct span *bytes, size_t *wire)
{
    size_t end = span_find(*bytes, '\n');
    struct span line = span_sub(*bytes, 0, end);
    *wire = end < bytes->n ? end + 1 : end;
    *bytes = span_from(*bytes, *wire);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

void outbound_w3c_command(const struct outbound *o, struct span out)
{
    if (!log_wants_rows() || o->wants_body || out.n > COMMANDS_MAX)
        return;
    bool secret = smtp_client_output_is_secret(&o->engine);
    while (out.n > 0) {
        size_t wire;
        struct span line = first_line(&out, &wire);
        size_t verb = span_find(line, ' ');
        bool shown = !secret || span_starts_nocase(line, "AUTH ");
        write_row(o, "OutboundConnectionCommand", shown ? span_sub(line, 0, verb) : span_str(""),
                  secret ? span_str("") : span_trim(span_from(line, verb)), wire, 0);
    }
}

void outbound_w3c_response(const struct outbound *o, struct span bytes)
{
    if (!log_wants_rows())
        return;
    while (bytes.n > 0) {
        size_t wire;
        struct span line = first_line(&bytes, &wire);
        write_row(o, "OutboundConnectionResponse", span_str(""), line, 0, wire);
    }
}
