/* The command line tool's side of the control socket: one request, one answer, on a loop of its
 * own. */
#include "admin/control.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_MAX = 256 * 1024 * 1024, READ_SIZE = 64 * 1024 };

struct call {
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    char *text;
    struct buf input;
    bool done;
    struct err e;
};

static void call_end(struct call *c)
{
    c->done = true;
    if (!uv_is_closing((uv_handle_t *)&c->pipe))
        uv_close((uv_handle_t *)&c->pipe, NULL);
    if (!uv_is_closing((uv_handle_t *)&c->timer))
        uv_close((uv_handle_t *)&c->timer, NULL);
}

static void call_fail(struct call *c, enum err_class class, const char *what)
{
    if (!c->done)
        (void)err_set(&c->e, class, "control socket: %s", what);
    call_end(c);
}

static void call_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct call *c = handle->data;
    uint8_t *room = buf_room(&c->input, READ_SIZE);
    *out = uv_buf_init((char *)room, room == NULL ? 0 : READ_SIZE);
}

static void call_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused)
{
    (void)unused;
    struct call *c = stream->data;
    if (n < 0) {
        call_fail(c, ERR_TEMP,
                  n == UV_EOF ? "the service closed it without an answer" : uv_strerror((int)n));
        return;
    }
    buf_grew(&c->input, (size_t)n);
    struct span all = buf_span(&c->input);
    if (n > 0 && span_find(span_from(all, all.n - (size_t)n), '\n') < (size_t)n)
        call_end(c);
}

static void call_written(uv_write_t *request, int status)
{
    struct call *c = request->handle->data;
    if (status < 0)
        call_fail(c, ERR_TEMP, uv_strerror(status));
}

static void call_connected(uv_connect_t *request, int status)
{
    struct call *c = request->handle->data;
    if (status < 0) {
        bool nobody = status == UV_ENOENT || status == UV_ECONNREFUSED;
        call_fail(c, nobody ? ERR_PERM : ERR_TEMP, uv_strerror(status));
        return;
    }
    uv_buf_t out = uv_buf_init(c->text, (unsigned)strlen(c->text));
    int code = uv_write(&c->write, request->handle, &out, 1, call_written);
    if (code == 0)
        code = uv_read_start(request->handle, call_alloc, call_read);
    if (code < 0)
        call_fail(c, ERR_TEMP, uv_strerror(code));
}

static void call_late(uv_timer_t *timer)
{
    call_fail(timer->data, ERR_TEMP, "no answer in time");
}

static char *request_line(json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t n = text == NULL ? 0 : strlen(text);
    char *line = text == NULL ? NULL : realloc(text, n + 2);
    if (line == NULL) {
        free(text);
        return NULL;
    }
    memcpy(line + n, "\n", 2);
    return line;
}

static bool call_result(struct call *c, json_t **answer, struct err *e)
{
    if (c->e.class != ERR_NONE)
        return err_set(e, c->e.class, "%s", c->e.text);
    json_error_t why;
    struct span line = buf_span(&c->input);
    *answer = json_loadb((const char *)line.p, line.n, 0, &why);
    if (json_is_object(*answer))
        return true;
    json_decref(*answer);
    *answer = NULL;
    return err_set(e, ERR_TEMP, "control socket: the answer is no JSON object: %s", why.text);
}

bool control_call(const char *path, json_t *request, unsigned timeout_ms, json_t **answer,
                  struct err *e)
{
    struct call *c = calloc(1, sizeof *c);
    char *text = request == NULL ? NULL : request_line(request);
    uv_loop_t loop;
    json_decref(request);
    if (c == NULL || text == NULL || uv_loop_init(&loop) < 0) {
        free(text);
        free(c);
        return err_set(e, ERR_TEMP, "control socket: no memory");
    }
    c->text = text;
    buf_init(&c->input, ANSWER_MAX);
    (void)uv_timer_init(&loop, &c->timer);
    (void)uv_pipe_init(&loop, &c->pipe, 0);
    c->timer.data = c->pipe.data = c;
    (void)uv_timer_start(&c->timer, call_late, timeout_ms, 0);
    uv_pipe_connect(&c->connect, &c->pipe, path, call_connected);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    bool ok = call_result(c, answer, e);
    buf_deinit(&c->input);
    free(c->text);
    free(c);
    return ok;
}
