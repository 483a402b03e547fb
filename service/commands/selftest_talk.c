#include "commands/selftest_talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

enum { IN_MAX = 256 * 1024, LINE_MAX_BYTES = 2048 };

static void on_connected(struct conn *c, void *arg)
{
    struct talk *t = arg;
    t->connected = true;
    conn_read_start(c);
}

static size_t on_data(struct conn *c, void *arg, struct span bytes)
{
    struct talk *t = arg;
    (void)c;
    (void)buf_add(&t->in, bytes); /* past the maximum the rest is dropped */
    return bytes.n;
}

static void on_tls(struct conn *c, void *arg, const struct conn_tls_result *result)
{
    struct talk *t = arg;
    t->tls_ended = true;
    t->tls_ok = result->ok;
    if (!result->ok) {
        (void)snprintf(t->why, sizeof t->why, "%s", result->failure->reason);
        return;
    }
    t->verified = result->info.verified;
    (void)snprintf(t->tls_version, sizeof t->tls_version, "%s", result->info.version);
    (void)snprintf(t->why, sizeof t->why, "%s",
                   result->info.verify_text != NULL ? result->info.verify_text : "");
    conn_read_start(c);
}

static void on_deadline(struct conn *c, void *arg)
{
    struct talk *t = arg;
    (void)c;
    t->late = true;
}

static void on_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct talk *t = arg;
    (void)c;
    (void)end;
    t->conn = NULL;
    if (t->why[0] == '\0')
        (void)snprintf(t->why, sizeof t->why, "%s",
                       why != NULL && why->class != ERR_NONE ? why->text : "the connection ended");
}

static const struct conn_handlers handlers = {.on_connected = on_connected,
                                              .on_data = on_data,
                                              .on_tls = on_tls,
                                              .on_deadline = on_deadline,
                                              .on_closed = on_closed};

/* Lets the loop turn until done says so, the connection is gone, or the time is over. */
static void wait_for(struct talk *t, uint64_t wait_ms, bool (*done)(const struct talk *t, size_t n),
                     size_t n)
{
    struct uv_loop_s *loop = worker_loop(t->worker);
    uv_update_time(loop);
    t->late = false;
    if (t->conn != NULL)
        conn_deadline(t->conn, worker_now_ms(t->worker) + wait_ms);
    while (t->conn != NULL && !t->late && !done(t, n))
        (void)uv_run(loop, UV_RUN_ONCE);
    if (t->conn != NULL)
        conn_deadline(t->conn, 0);
}

static bool is_connected(const struct talk *t, size_t n)
{
    (void)n;
    return t->connected;
}

static bool has_tls(const struct talk *t, size_t n)
{
    (void)n;
    return t->tls_ended;
}

static bool has_bytes(const struct talk *t, size_t n)
{
    return t->in.n >= n;
}

static bool never(const struct talk *t, size_t n)
{
    (void)t;
    (void)n;
    return false;
}

/* The length of the first whole reply (RFC 5321 4.2.1), 0: there is none yet. */
static size_t whole_reply(struct span s)
{
    size_t at = 0;
    while (at < s.n) {
        size_t end = at + span_find(span_from(s, at), '\n');
        if (end >= s.n)
            return 0;
        if (end < at + 4 || s.p[at + 3] != '-')
            return end + 1;
        at = end + 1;
    }
    return 0;
}

static bool has_reply(const struct talk *t, size_t n)
{
    (void)n;
    return whole_reply(buf_span(&t->in)) > 0;
}

bool talk_open(struct talk *t, struct worker *w, const struct sock_address *to,
               const struct sock_address *local)
{
    struct err e = {0};
    *t = (struct talk){.worker = w};
    buf_init(&t->in, IN_MAX);
    uv_update_time(worker_loop(w));
    t->conn = conn_connect(w, to, local, TALK_WAIT_MS, &handlers, t, &e);
    if (t->conn == NULL)
        (void)snprintf(t->why, sizeof t->why, "%s", e.text);
    wait_for(t, TALK_WAIT_MS, is_connected, 0);
    return t->conn != NULL && t->connected;
}

void talk_close(struct talk *t)
{
    if (t->conn != NULL) {
        conn_abort(t->conn);
        wait_for(t, TALK_WAIT_MS, never, 0);
    }
    buf_deinit(&t->in);
}

void talk_say(struct talk *t, struct span bytes)
{
    if (t->conn == NULL)
        return;
    (void)conn_write(t->conn, bytes);
    conn_flush(t->conn);
}

void talk_say_line(struct talk *t, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line - 2)
        return;
    memcpy(line + n, "\r\n", 2);
    talk_say(t, span_of(line, (size_t)n + 2));
}

enum talk_result talk_hear(struct talk *t, uint64_t wait_ms, int *code, struct buf *text)
{
    *code = 0;
    wait_for(t, wait_ms, has_reply, 0);
    struct span all = buf_span(&t->in);
    size_t n = whole_reply(all);
    if (n == 0)
        return t->conn == NULL ? TALK_CLOSED : TALK_SILENT;
    uint64_t number = 0;
    if (span_u64(span_sub(all, 0, 3), 999, &number))
        *code = (int)number;
    if (text != NULL)
        (void)buf_add(text, span_sub(all, 0, n));
    buf_consume(&t->in, n);
    return TALK_REPLY;
}

int talk_code(struct talk *t)
{
    int code;
    (void)talk_hear(t, TALK_WAIT_MS, &code, NULL);
    return code;
}

enum talk_result talk_bytes(struct talk *t, uint64_t wait_ms, size_t n)
{
    wait_for(t, wait_ms, has_bytes, n);
    return t->in.n >= n ? TALK_REPLY : t->conn == NULL ? TALK_CLOSED : TALK_SILENT;
}

bool talk_tls(struct talk *t, struct tls_context *trust, const char *host)
{
    if (t->conn == NULL)
        return false;
    t->tls_ended = t->tls_ok = false;
    conn_tls_client(t->conn, trust, TLS_VERIFY_NONE, host);
    wait_for(t, TALK_WAIT_MS, has_tls, 0);
    return t->tls_ok;
}
