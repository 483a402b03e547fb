#include "base/log_w3c.h"

#include "base/civil.h"

#include <inttypes.h>

enum { FIELD_MAX = 512 };

static void put_time(struct buf *out, int64_t wall_ms)
{
    struct civil t = civil_from_wall_ms(wall_ms);
    (void)buf_addf(out, "%04d-%02d-%02d %02d:%02d:%02d", t.year, t.month, t.day, t.hour, t.minute,
                   t.second);
}

static void put(struct buf *out, struct span value, const char *before)
{
    value = span_sub(value, 0, FIELD_MAX);
    (void)buf_addf(out, " %s", value.n == 0 ? "-" : before);
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c == ' ')
            (void)buf_add_byte(out, '+');
        else if (c > ' ' && c < 0x7f)
            (void)buf_add_byte(out, c);
        else
            (void)buf_addf(out, "%%%02X", (unsigned)c);
    }
}

void log_w3c_row(const struct log_w3c_row *row, struct buf *out)
{
    put_time(out, row->wall_ms);
    put(out, span_str(row->client_ip), "");
    put(out, row->user, "");
    (void)buf_add_str(out, " SMTPSVC1");
    put(out, span_str(row->computer), "");
    put(out, span_str(row->server_ip), "");
    (void)buf_addf(out, " %u", row->server_port);
    put(out, row->method, "");
    put(out, row->stem, "");
    put(out, row->query, "+");
    (void)buf_addf(out, " %u 0 %" PRIu64 " %" PRIu64 " %" PRIu64 " SMTP - - - -", row->status,
                   row->sent, row->received, row->taken_ms);
}

void log_w3c_head(const char *version, int64_t wall_ms, struct buf *out)
{
    (void)buf_addf(out, "#Software: Postern %s\n#Version: 1.0\n#Date: ", version);
    put_time(out, wall_ms);
    (void)buf_add_str(out,
                      "\n#Fields: date time c-ip cs-username s-sitename s-computername s-ip s-port "
                      "cs-method cs-uri-stem cs-uri-query sc-status sc-win32-status sc-bytes "
                      "cs-bytes time-taken cs-version cs-host cs(User-Agent) cs(Cookie) "
                      "cs(Referer)");
}
