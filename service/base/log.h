/* log.h - one event a fact: a dotted name and fields.
 *     log_event(LOG_WARN, "smtp.rcpt.refused", LOG_S("sid", sid), LOG_U("line", 31));
 * Threads: any; a line is handed to the sink whole. What a peer said is given as LOG_SPAN or LOG_S
 * and is escaped and cut here. Secrets are never given to it. */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include "base/buf.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

enum log_field_type { LOG_FIELD_SPAN, LOG_FIELD_UINT, LOG_FIELD_INT, LOG_FIELD_BOOL };

struct log_field {
    const char *key;
    enum log_field_type type;
    struct span text;
    uint64_t number;
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_SPAN, .text = span_str(v)})
#define LOG_SPAN(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_SPAN, .text = (v)})
#define LOG_U(k, v)                                                                                \
    ((struct log_field){.key = (k), .type = LOG_FIELD_UINT, .number = (uint64_t)(v)})
#define LOG_I(k, v)                                                                                \
    ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .number = (uint64_t)(int64_t)(v)})
#define LOG_B(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_BOOL, .number = (v) ? 1 : 0})

/* Where finished lines go. write gets one line without its newline, from any thread; it must be
 * thread-safe and must not fail loudly. wall_ms gives the time of day for the line's stamp. */
struct log_sink {
    void (*write)(void *context, enum log_level level, struct span line);
    int64_t (*wall_ms)(void);
    void *context;
};

/* Set once at the start and again on reload; the sink is copied. Before that nothing is logged. */
void log_setup(enum log_level least, enum log_format format, const struct log_sink *sink);
bool log_wants(enum log_level level);
bool log_level_parse(const char *text, enum log_level *level);

#define log_event(level, name, ...)                                                                \
    log_write((level), (name), (const struct log_field[]){__VA_ARGS__},                            \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
void log_write(enum log_level level, const char *name, const struct log_field *fields, size_t n);

/* Rows: lines of their own making that go to a sink of their own, for the format that has one row a
 * command (base/log_w3c.h). NULL: nobody wants them. */
void log_rows_setup(const struct log_sink *sink);
bool log_wants_rows(void);
void log_row(struct span line);

/* The formatters themselves, for tests: the line that would be written. */
void log_format_line(enum log_format format, enum log_level level, const char *name,
                     const struct log_field *fields, size_t n, int64_t wall_ms, struct buf *out);

#endif
