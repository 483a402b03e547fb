#include "base/log.h"

#include "base/civil.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_VALUE_MAX = 512, LOG_LINE_MAX = 16 * 1024 };

/* A sink that was once in force stays: a thread may still be writing through it. There are as many
 * as there were different ones, which is one or two, for events and for rows. */
struct kept_sink {
    struct log_sink sink;
    struct kept_sink *older;
};

/* The run state of main: written before the threads start and on reload, read by all. */
static struct {
    _Atomic(int) least;
    _Atomic(int) format;
    _Atomic(struct kept_sink *) sink;
    _Atomic(struct kept_sink *) rows;
    struct kept_sink *kept;
} run = {.least = LOG_ERROR + 1};

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

static bool same_sink(const struct log_sink *a, const struct log_sink *b)
{
    return a->write == b->write && a->wall_ms == b->wall_ms && a->context == b->context;
}

/* Those that were ever in force; main alone adds to them. */
static struct kept_sink *kept_of(const struct log_sink *sink)
{
    for (struct kept_sink *k = run.kept; k != NULL; k = k->older)
        if (same_sink(&k->sink, sink))
            return k;
    struct kept_sink *next = malloc(sizeof *next);
    if (next == NULL)
        return NULL;
    *next = (struct kept_sink){.sink = *sink, .older = run.kept};
    run.kept = next;
    return next;
}

/* Without memory the sink that is in force stays in force. */
static void keep(const struct log_sink *sink)
{
    struct kept_sink *next = kept_of(sink);
    if (next != NULL)
        atomic_store(&run.sink, next);
}

void log_rows_setup(const struct log_sink *sink)
{
    struct kept_sink *next = sink == NULL ? NULL : kept_of(sink);
    if (sink == NULL || next != NULL)
        atomic_store(&run.rows, next);
}

bool log_wants_rows(void)
{
    return atomic_load_explicit(&run.rows, memory_order_acquire) != NULL;
}

void log_row(struct span line)
{
    const struct kept_sink *kept = atomic_load(&run.rows);
    if (kept != NULL)
        kept->sink.write(kept->sink.context, LOG_INFO, line);
}

void log_setup(enum log_level least, enum log_format format, const struct log_sink *sink)
{
    keep(sink);
    atomic_store(&run.format, (int)format);
    atomic_store(&run.least, (int)least);
}

bool log_wants(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&run.least, memory_order_acquire);
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

static void put_time(struct buf *out, int64_t wall_ms)
{
    struct civil t = civil_from_wall_ms(wall_ms);
    buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.year, t.month, t.day, t.hour, t.minute,
             t.second, t.millisecond);
}

/* The length of the UTF-8 sequence at s, 0 when it is none that a log may show. */
static size_t utf8_len(struct span s)
{
    uint8_t c = s.p[0];
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
    if (c == 0xc2 && s.p[1] < 0xa0) /* C1 controls drive terminals too */
        return 0;
    if ((c == 0xe0 && s.p[1] < 0xa0) || (c == 0xed && s.p[1] > 0x9f) ||
        (c == 0xf0 && s.p[1] < 0x90) || (c == 0xf4 && s.p[1] > 0x8f))
        return 0;
    return n;
}

static void put_escaped(struct buf *out, struct span s, bool json)
{
    bool cut = s.n > LOG_VALUE_MAX;
    s = span_sub(s, 0, LOG_VALUE_MAX);
    for (size_t i = 0; i < s.n;) {
        uint8_t c = s.p[i];
        size_t wide = c >= 0x80 ? utf8_len(span_from(s, i)) : 0;
        if (wide > 0) {
            buf_add(out, span_sub(s, i, wide));
            i += wide;
            continue;
        }
        i++;
        if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f)
            buf_add_byte(out, c);
        else if (json)
            buf_addf(out, "\\u%04x", (unsigned)c);
        else
            buf_addf(out, "\\x%02x", (unsigned)c);
    }
    if (cut)
        buf_add_str(out, "...");
}

/* A value stands bare when nobody could misread it. */
static bool is_plain(struct span s)
{
    if (s.n == 0 || s.n > LOG_VALUE_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
            return false;
    return true;
}

static void put_value(struct buf *out, const struct log_field *f, bool json)
{
    switch (f->type) {
    case LOG_FIELD_UINT: buf_addf(out, "%" PRIu64, f->number); return;
    case LOG_FIELD_INT: buf_addf(out, "%" PRId64, (int64_t)f->number); return;
    case LOG_FIELD_BOOL: buf_add_str(out, f->number ? "true" : "false"); return;
    case LOG_FIELD_SPAN: break;
    }
    if (!json && is_plain(f->text)) {
        buf_add(out, f->text);
        return;
    }
    buf_add_byte(out, '"');
    put_escaped(out, f->text, json);
    buf_add_byte(out, '"');
}

void log_format_line(enum log_format format, enum log_level level, const char *name,
                     const struct log_field *fields, size_t n, int64_t wall_ms, struct buf *out)
{
    bool json = format == LOG_JSON;
    buf_add_str(out, json ? "{\"time\":\"" : "");
    put_time(out, wall_ms);
    buf_addf(out, json ? "\",\"level\":\"%s\",\"event\":\"%s\"" : " %s %s", level_names[level],
             name);
    for (size_t i = 0; i < n; i++) {
        if (fields[i].key == NULL)
            continue;
        buf_addf(out, json ? ",\"%s\":" : " %s=", fields[i].key);
        put_value(out, &fields[i], json);
    }
    if (json)
        buf_add_byte(out, '}');
}

void log_write(enum log_level level, const char *name, const struct log_field *fields, size_t n)
{
    const struct kept_sink *kept = atomic_load(&run.sink);
    if (!log_wants(level) || kept == NULL)
        return;
    const struct log_sink *sink = &kept->sink;
    struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    enum log_format format = (enum log_format)atomic_load(&run.format);
    log_format_line(format, level, name, fields, n, sink->wall_ms(), &line);
    if (line.failed) { /* too long for one line: say at least that it happened */
        buf_reset(&line);
        log_format_line(format, level, name, NULL, 0, sink->wall_ms(), &line);
    }
    sink->write(sink->context, level, buf_span(&line));
    buf_deinit(&line);
}
