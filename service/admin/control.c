#include "admin/control.h"

#include "base/buf.h"
#include "base/list.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX = 64 * 1024, READ_SIZE = 4096, CLIENTS_MAX = 64, BACKLOG = 16 };

struct control {
    uv_pipe_t listener;
    control_handler *handler;
    void *context;
    struct list clients;
    size_t client_count;
};

struct client {
    struct list_node node;
    uv_pipe_t pipe;
    struct control *control;
    struct buf input;
    struct control_request *pending; /* one request at a time */
    bool pumping;
    bool closing;
};

struct control_request {
    struct client *client; /* NULL once the client is gone */
};

struct answer_write {
    uv_write_t request;
    char *text;
};

static void client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    buf_deinit(&c->input);
    free(c);
}

static void client_drop(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->pending != NULL)
        c->pending->client = NULL;
    list_remove(&c->node);
    c->control->client_count--;
    uv_close((uv_handle_t *)&c->pipe, client_closed);
}

static void answer_written(uv_write_t *request, int status)
{
    struct answer_write *w = (struct answer_write *)request;
    if (status < 0)
        client_drop(request->handle->data);
    free(w->text);
    free(w);
}

static void handle_line(struct client *c, struct span line)
{
    struct control_request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        client_drop(c);
        return;
    }
    r->client = c;
    c->pending = r;
    json_error_t why;
    json_t *body = json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(body))
        control_refuse(r, 64, "request: not a JSON object: %s", why.text);
    else
        c->control->handler(c->control->context, r, body);
    json_decref(body);
}

/* Handles whole lines, one request at a time; an answer that comes at once does not recurse. */
static void client_pump(struct client *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    while (!c->closing && c->pending == NULL) {
        struct span all = buf_span(&c->input);
        size_t end = span_find(all, '\n');
        if (end == all.n)
            break;
        handle_line(c, span_sub(all, 0, end));
        buf_consume(&c->input, end + 1);
    }
    c->pumping = false;
}

static void send_json(struct control_request *request, json_t *answer)
{
    struct client *c = request->client;
    free(request);
    char *text = c == NULL || answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    if (c == NULL)
        return;
    c->pending = NULL;
    struct answer_write *w = calloc(1, sizeof *w);
    size_t n = text == NULL ? 0 : strlen(text);
    char *line = text == NULL ? NULL : realloc(text, n + 2);
    if (w == NULL || line == NULL) {
        free(line == NULL ? text : line);
        free(w);
        client_drop(c);
        return;
    }
    memcpy(line + n, "\n", 2);
    w->text = line;
    uv_buf_t out = uv_buf_init(line, (unsigned)(n + 1));
    if (uv_write(&w->request, (uv_stream_t *)&c->pipe, &out, 1, answer_written) < 0) {
        free(line);
        free(w);
        client_drop(c);
        return;
    }
    client_pump(c);
}

void control_answer(struct control_request *request, json_t *result)
{
    send_json(request,
              json_pack("{s:b, s:o}", "ok", 1, "result", result == NULL ? json_null() : result));
}

void control_refuse(struct control_request *request, int code, const char *format, ...)
{
    struct err e = {0};
    va_list args;
    va_start(args, format);
    (void)err_setv(&e, ERR_PERM, format, args);
    va_end(args);
    json_t *text = json_string(e.text);
    if (text == NULL) /* what a peer said may be anything */
        text = json_string("refused (the reason is not UTF-8 text)");
    send_json(request, json_pack("{s:b, s:o, s:i}", "ok", 0, "error", text, "code", code));
}

static void client_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct client *c = handle->data;
    uint8_t *room = buf_room(&c->input, READ_SIZE);
    *out = uv_buf_init((char *)room, room == NULL ? 0 : READ_SIZE);
}

static void client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused)
{
    (void)unused;
    struct client *c = stream->data;
    if (n < 0) { /* UV_ENOBUFS = a request that is too long */
        client_drop(c);
        return;
    }
    buf_grew(&c->input, (size_t)n);
    client_pump(c);
}

static void client_accept(uv_stream_t *listener, int status)
{
    struct control *control = listener->data;
    if (status < 0)
        return;
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL || uv_pipe_init(listener->loop, &c->pipe, 0) < 0) {
        free(c);
        return;
    }
    c->pipe.data = c;
    c->control = control;
    buf_init(&c->input, REQUEST_MAX);
    list_push_back(&control->clients, &c->node);
    control->client_count++;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) < 0 || control->client_count > CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&c->pipe, client_alloc, client_read) < 0)
        client_drop(c);
}

static void listener_closed(uv_handle_t *handle)
{
    free(handle->data);
}

bool control_open(uv_loop_t *loop, const char *path, control_handler *handler, void *context,
                  struct control **out, struct err *e)
{
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_TEMP, "control socket: no memory");
    list_init(&c->clients);
    c->handler = handler;
    c->context = context;
    int code = uv_pipe_init(loop, &c->listener, 0);
    if (code < 0) {
        free(c);
        return err_set(e, ERR_TEMP, "control socket: %s", uv_strerror(code));
    }
    c->listener.data = c;
    uv_fs_t removal;
    (void)uv_fs_unlink(NULL, &removal, path, NULL);
    uv_fs_req_cleanup(&removal);
    code = uv_pipe_bind(&c->listener, path);
    if (code == 0)
        code = uv_listen((uv_stream_t *)&c->listener, BACKLOG, client_accept);
    if (code < 0) {
        uv_close((uv_handle_t *)&c->listener, listener_closed);
        return err_set(e, ERR_TEMP, "control socket %s: cannot listen: %s", path,
                       uv_strerror(code));
    }
    *out = c;
    return true;
}

void control_close(struct control **control)
{
    struct control *c = *control;
    if (c == NULL)
        return;
    *control = NULL;
    struct list_node *n;
    while ((n = list_first(&c->clients)) != NULL)
        client_drop(LIST_ENTRY(n, struct client, node));
    uv_close((uv_handle_t *)&c->listener, listener_closed);
}
