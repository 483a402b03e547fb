/* A connection's life: opening, the timer, the end. */
#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/conn_internal.h"

#include "platform/sock.h"

#include <stdlib.h>

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->handles > 0)
        return;
    static const struct err nothing = {ERR_NONE, ""};
    worker_conn_closed(c->worker, &c->member);
    if (c->handlers->on_closed != NULL)
        c->handlers->on_closed(c, c->arg, c->end, c->why != NULL ? c->why : &nothing);
    tls_session_free(&c->tls);
    buf_deinit(&c->in);
    buf_deinit(&c->raw);
    buf_deinit(&c->out);
    free(c->why);
    free(c);
}

void conn_end_now(struct conn *c, enum conn_end end)
{
    if (c->state == CONN_CLOSING)
        return;
    /* The first reason stands: what ends a closing connection is still the close. */
    if (c->state == CONN_CONNECTING || c->state == CONN_OPEN)
        c->end = end;
    c->state = CONN_CLOSING;
    c->handles = 2;
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

bool conn_fail(struct conn *c, enum conn_end end, const char *act, const char *cause)
{
    if (c->why == NULL && (c->state == CONN_CONNECTING || c->state == CONN_OPEN)) {
        c->why = malloc(sizeof *c->why);
        if (c->why != NULL)
            (void)err_set(c->why, ERR_TEMP, "connection: %s: %s", act, cause);
    }
    conn_end_now(c, end);
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    uint64_t now = worker_now_ms(c->worker);
    c->armed_ms = 0;
    uint64_t due = c->state == CONN_OPEN ? c->deadline_ms : c->limit_ms;
    if (due == 0 || now < due) {
        conn_arm(c);
        return;
    }
    switch (c->state) {
    case CONN_OPEN:
        c->deadline_ms = 0;
        if (c->handlers->on_deadline != NULL)
            c->handlers->on_deadline(c, c->arg);
        break;
    case CONN_CONNECTING: (void)conn_fail(c, CONN_END_TIMEOUT, "connect", "no answer"); break;
    case CONN_FLUSHING:
    case CONN_LINGERING: conn_end_now(c, c->end); break;
    case CONN_CLOSING: break;
    }
}

/* A deadline that moves away leaves the timer as it is: it wakes early once and is set anew. So a
 * deadline for each command costs no work on the heap of timers. */
void conn_arm(struct conn *c)
{
    uint64_t due = c->state == CONN_OPEN ? c->deadline_ms : c->limit_ms;
    if (c->state == CONN_CLOSING || due == 0 || (c->armed_ms != 0 && c->armed_ms <= due))
        return;
    uint64_t now = worker_now_ms(c->worker);
    c->armed_ms = due;
    (void)uv_timer_start(&c->timer, on_timer, due > now ? due - now : 0, 0);
}

void conn_mark(struct conn *c)
{
    if (c->state != CONN_CLOSING)
        worker_conn_dirty(c->worker, &c->member);
}

static void abort_for_worker(struct worker_conns *member)
{
    conn_end_now(LIST_ENTRY(member, struct conn, member), CONN_END_SHUTDOWN);
}

static struct conn *conn_new(struct worker *w, const struct conn_handlers *handlers, void *arg,
                             struct err *e)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL || uv_tcp_init(worker_loop(w), &c->tcp) != 0) {
        free(c);
        (void)err_set(e, ERR_TEMP, "connection: no memory");
        return NULL;
    }
    (void)uv_timer_init(worker_loop(w), &c->timer);
    c->tcp.data = c->timer.data = c;
    c->worker = w;
    c->handlers = handlers;
    c->arg = arg;
    buf_init(&c->in, WORKER_READ_BUFFER);
    buf_init(&c->raw, 2 * WORKER_READ_BUFFER);
    buf_init(&c->out, CONN_OUT_MAX);
    return c;
}

static void on_unborn_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->handles == 0)
        free(c);
}

struct conn *conn_accept(struct worker *w, intptr_t *sock, const struct conn_handlers *handlers,
                         void *arg, struct err *e)
{
    struct conn *c = conn_new(w, handlers, arg, e);
    int code = c == NULL ? 0 : uv_tcp_open(&c->tcp, (uv_os_sock_t)*sock);
    if (c == NULL || code != 0) {
        sock_close(sock);
        if (c == NULL)
            return NULL;
        (void)err_set(e, ERR_TEMP, "connection: cannot take the socket: %s", uv_strerror(code));
        c->handles = 2;
        uv_close((uv_handle_t *)&c->tcp, on_unborn_closed);
        uv_close((uv_handle_t *)&c->timer, on_unborn_closed);
        return NULL;
    }
    *sock = SOCK_NONE;
    c->state = CONN_OPEN;
    worker_conn_opened(w, &c->member, abort_for_worker, conn_on_turn);
    return c;
}

static void on_connect(uv_connect_t *request, int status)
{
    struct conn *c = request->data;
    free(request);
    if (c->state != CONN_CONNECTING)
        return; /* closed meanwhile */
    if (status < 0) {
        (void)conn_fail(c, status == UV_ETIMEDOUT ? CONN_END_TIMEOUT : CONN_END_CONNECT, "connect",
                        uv_strerror(status));
        return;
    }
    (void)uv_tcp_nodelay(&c->tcp, 1);
    c->state = CONN_OPEN;
    conn_arm(c);
    if (c->handlers->on_connected != NULL)
        c->handlers->on_connected(c, c->arg);
    conn_update_reading(c);
}

struct conn *conn_connect(struct worker *w, const struct sock_address *to,
                          const struct sock_address *local, uint64_t timeout_ms,
                          const struct conn_handlers *handlers, void *arg, struct err *e)
{
    struct sockaddr_storage there = {0}, here = {0};
    uv_connect_t *request = malloc(sizeof *request);
    struct conn *c = request == NULL ? NULL : conn_new(w, handlers, arg, e);
    if (c == NULL) {
        free(request);
        (void)err_set(e, ERR_TEMP, "connection: no memory");
        return NULL;
    }
    c->state = CONN_CONNECTING;
    c->peer = *to;
    c->peer_known = true;
    worker_conn_opened(w, &c->member, abort_for_worker, conn_on_turn);
    (void)sock_address_to(to, &there);
    int code = 0;
    if (local != NULL) {
        (void)sock_address_to(local, &here);
        code = uv_tcp_bind(&c->tcp, (const struct sockaddr *)&here, 0);
    }
    request->data = c;
    if (code == 0 && c->state == CONN_CONNECTING)
        code = uv_tcp_connect(request, &c->tcp, (const struct sockaddr *)&there, on_connect);
    else
        code = code == 0 ? UV_ECANCELED : code;
    if (code != 0) { /* told by on_closed, like every other failure to connect */
        free(request);
        (void)conn_fail(c, CONN_END_CONNECT, "connect", uv_strerror(code));
        return c;
    }
    if (timeout_ms > 0) {
        c->limit_ms = worker_now_ms(w) + timeout_ms;
        conn_arm(c);
    }
    return c;
}

void conn_set_handlers(struct conn *c, const struct conn_handlers *handlers, void *arg)
{
    c->handlers = handlers;
    c->arg = arg;
}

void conn_deadline(struct conn *c, uint64_t at_ms)
{
    c->deadline_ms = at_ms;
    conn_arm(c);
}

/* From here on nobody is called but on_closed. */
void conn_begin_end(struct conn *c, enum conn_end end, uint64_t linger_ms, size_t linger_bytes)
{
    if (c->state == CONN_CONNECTING) {
        conn_end_now(c, end);
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    c->end = end;
    if (c->tls != NULL && c->tls_done)
        tls_session_close_notify(c->tls);
    c->state = CONN_FLUSHING;
    c->linger_ms = linger_ms;
    c->linger_bytes = linger_bytes;
    c->limit_ms = worker_now_ms(c->worker) + CONN_CLOSE_MS;
    c->armed_ms = 0;
    conn_arm(c);
    buf_release(&c->in);
    buf_release(&c->raw);
    conn_update_reading(c);
    conn_mark(c); /* the end itself comes when the loop turns: never inside this call */
}

void conn_close(struct conn *c)
{
    conn_begin_end(c, CONN_END_LOCAL, 0, 0);
}

void conn_linger(struct conn *c, uint64_t max_ms, size_t max_bytes)
{
    conn_begin_end(c, CONN_END_LOCAL, max_ms == 0 ? 1 : max_ms, max_bytes);
}

void conn_abort(struct conn *c)
{
    conn_end_now(c, CONN_END_LOCAL);
}

struct worker *conn_worker(const struct conn *c)
{
    return c->worker;
}

const struct sock_address *conn_peer(struct conn *c)
{
    struct sockaddr_storage ss = {0};
    int n = (int)sizeof ss;
    if (!c->peer_known && c->state != CONN_CLOSING &&
        uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&ss, &n) == 0)
        c->peer_known = sock_address_from(&ss, &c->peer);
    return &c->peer;
}

const struct sock_address *conn_local(struct conn *c)
{
    struct sockaddr_storage ss = {0};
    int n = (int)sizeof ss;
    if (!c->local_known && c->state != CONN_CLOSING &&
        uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&ss, &n) == 0)
        c->local_known = sock_address_from(&ss, &c->local);
    return &c->local;
}

uint64_t conn_bytes_in(const struct conn *c)
{
    return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
    return c->bytes_out;
}
