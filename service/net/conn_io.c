/* Bytes in and out of a connection. */
#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/conn_internal.h"

#include <stdlib.h>
#include <string.h>

enum { DIRECT_WRITE = 8 * 1024 }; /* from this size on a write is tried without a copy */

static void give_read_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    struct conn *c = handle->data;
    (void)wanted;
    *out = uv_buf_init((char *)worker_read_buffer(c->worker), WORKER_READ_BUFFER);
}

/* While the end is under way what still comes is dropped, up to a bound. */
static void drop_input(struct conn *c, ssize_t nread)
{
    if (nread > 0)
        c->dropped += (size_t)nread;
    if (nread < 0) {
        c->eof = true;
        conn_update_reading(c);
    }
    if (c->state == CONN_LINGERING && (nread < 0 || c->dropped > c->linger_bytes))
        conn_end_now(c, c->end);
}

/* A peer that goes in the middle of a handshake has refused it, whether its end is read or our next
 * bytes meet it: that is the chance of a moment. */
static bool refused_handshake(struct conn *c)
{
    if (c->state != CONN_OPEN || !c->handshaking || c->tls == NULL)
        return false;
    struct tls_failure why;
    tls_session_gone(c->tls, &why);
    conn_tls_fail(c, &why);
    return true;
}

static void lost(struct conn *c, const char *act, int code)
{
    bool gone = code == UV_ECONNRESET || code == UV_EPIPE;
    if (!gone || !refused_handshake(c))
        (void)conn_fail(c, CONN_END_PEER, act, uv_strerror(code));
}

static void on_peer_end(struct conn *c, ssize_t code)
{
    if (code != UV_EOF) {
        lost(c, "read", (int)code);
        return;
    }
    c->eof = true;
    conn_update_reading(c);
    if (!refused_handshake(c) && c->in.n == 0 && c->raw.n == 0)
        conn_tell_eof(c);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (nread == 0)
        return;
    if (nread > 0)
        c->bytes_in += (uint64_t)nread;
    if (c->state != CONN_OPEN) {
        drop_input(c, nread);
        return;
    }
    if (nread < 0) {
        on_peer_end(c, nread);
        return;
    }
    struct span bytes = span_of(buf->base, (size_t)nread);
    if (c->tls != NULL)
        conn_tls_input(c, bytes);
    else if (!c->handshaking) /* else TLS could not be started, which is about to be told */
        conn_deliver(c, bytes);
}

void conn_update_reading(struct conn *c)
{
    bool should = false;
    switch (c->state) {
    case CONN_OPEN:
        should = c->handshaking || (c->want_read && c->in.n == 0 && c->raw.n == 0);
        break;
    case CONN_FLUSHING:
    case CONN_LINGERING: should = c->linger_ms > 0; break;
    case CONN_CONNECTING:
    case CONN_CLOSING: break;
    }
    should = should && !c->eof;
    if (should == c->reading || c->state == CONN_CLOSING)
        return;
    c->reading = should;
    if (!should) {
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
        return;
    }
    int code = uv_read_start((uv_stream_t *)&c->tcp, give_read_buffer, on_read);
    if (code != 0)
        (void)conn_fail(c, CONN_END_ERROR, "read", uv_strerror(code));
}

void conn_tell_eof(struct conn *c)
{
    if (c->eof_told || c->state != CONN_OPEN)
        return;
    c->eof_told = true;
    if (c->handlers->on_eof != NULL)
        c->handlers->on_eof(c, c->arg);
    else
        conn_begin_end(c, CONN_END_PEER, 0, 0);
}

/* Hands clear bytes up; what is not taken is kept, and reading pauses until conn_read_start. */
void conn_deliver(struct conn *c, struct span bytes)
{
    if (c->handlers->on_data == NULL)
        return;
    bool was_clear = c->tls == NULL;
    c->delivering = true;
    c->again = false;
    size_t taken = c->handlers->on_data(c, c->arg, bytes);
    c->delivering = false;
    if (c->state != CONN_OPEN)
        return;
    struct span rest = span_from(bytes, taken);
    if (was_clear && c->clear_ended) { /* STARTTLS: never part of what TLS protects, RFC 3207 */
        c->clear_ended = false;
        c->discarded += rest.n;
        return;
    }
    if (rest.n > 0) {
        /* Whoever took nothing and wants it again at once would turn the loop for ever. */
        c->want_read = c->again && taken > 0;
        c->resume = c->resume || c->want_read;
        conn_mark(c);
        if (!buf_add(&c->in, rest))
            (void)conn_fail(c, CONN_END_ERROR, "read", "no memory");
    }
    conn_update_reading(c);
}

void conn_read_start(struct conn *c)
{
    c->want_read = true;
    c->again = true;
    if (c->in.n > 0 || c->raw.n > 0 || (c->eof && !c->eof_told)) {
        c->resume = true; /* not from inside this call */
        conn_mark(c);
        return;
    }
    conn_update_reading(c);
}

void conn_read_stop(struct conn *c)
{
    c->want_read = false;
    conn_update_reading(c);
}

/* The kept bytes go up again, from memory that on_data may see change under no circumstances. */
static void redeliver(struct conn *c)
{
    if (c->in.n > 0 && c->want_read && !c->handshaking) {
        struct buf kept = c->in;
        buf_init(&c->in, kept.max);
        conn_deliver(c, buf_span(&kept));
        buf_deinit(&kept);
    }
    if (c->state == CONN_OPEN && (c->handshaking || (c->raw.n > 0 && c->want_read && c->in.n == 0)))
        conn_tls_pump(c);
    if (c->state == CONN_OPEN && c->eof && c->in.n == 0 && c->raw.n == 0 && c->want_read)
        conn_tell_eof(c);
    if (c->state == CONN_OPEN)
        conn_update_reading(c);
}

static void on_written(uv_write_t *request, int status)
{
    struct conn_flight *f = request->data;
    struct conn *c = f->conn;
    size_t n = f->data.n;
    buf_deinit(&f->data);
    free(f);
    c->flight = NULL;
    if (c->state == CONN_CLOSING)
        return;
    if (status < 0) {
        lost(c, "write", status);
        return;
    }
    c->bytes_out += n;
    conn_send(c);
    if (c->flight == NULL && c->out.n == 0 && c->state != CONN_CLOSING)
        conn_sent_all(c);
}

/* The kernel took only a part: the rest travels as it is, collected bytes and all. */
static void queue_rest(struct conn *c)
{
    struct conn_flight *f = malloc(sizeof *f);
    if (f == NULL) {
        (void)conn_fail(c, CONN_END_ERROR, "write", "no memory");
        return;
    }
    f->conn = c;
    f->data = c->out;
    buf_init(&c->out, CONN_OUT_MAX);
    f->request.data = f;
    c->flight = f;
    struct span s = buf_span(&f->data);
    uv_buf_t piece = uv_buf_init((char *)(uintptr_t)s.p, (unsigned)s.n);
    int code = uv_write(&f->request, (uv_stream_t *)&c->tcp, &piece, 1, on_written);
    if (code != 0) {
        c->flight = NULL;
        buf_deinit(&f->data);
        free(f);
        lost(c, "write", code);
    }
}

/* Bytes that the kernel took now; -1 when the connection failed. */
static ssize_t try_write(struct conn *c, struct span s)
{
    uv_buf_t piece = uv_buf_init((char *)(uintptr_t)s.p, (unsigned)s.n);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &piece, 1);
    if (n == UV_EAGAIN)
        return 0;
    if (n < 0) {
        lost(c, "write", n);
        return -1;
    }
    c->bytes_out += (uint64_t)n;
    return n;
}

void conn_send(struct conn *c)
{
    if (c->flight != NULL || c->out.n == 0 || c->state == CONN_CONNECTING ||
        c->state == CONN_CLOSING)
        return;
    struct span s = buf_span(&c->out);
    ssize_t n = try_write(c, s);
    if (n < 0)
        return;
    buf_consume(&c->out, (size_t)n);
    if (c->out.n > 0)
        queue_rest(c);
    else
        buf_release(&c->out); /* an idle connection holds nothing */
}

/* Nothing is pending any more: tell, or go on with the end. */
void conn_sent_all(struct conn *c)
{
    if (c->state == CONN_OPEN) {
        if (c->drain_due) {
            c->drain_due = false;
            if (c->handlers->on_drained != NULL)
                c->handlers->on_drained(c, c->arg);
        }
        return;
    }
    if (c->state != CONN_FLUSHING)
        return;
    if (c->linger_ms == 0 || c->eof) {
        conn_end_now(c, c->end);
        return;
    }
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        sock_shutdown_send((intptr_t)fd);
    c->state = CONN_LINGERING;
    c->limit_ms = worker_now_ms(c->worker) + c->linger_ms;
    c->armed_ms = 0;
    conn_arm(c);
    conn_update_reading(c);
    if (c->dropped > c->linger_bytes)
        conn_end_now(c, c->end);
}

/* Once a turn of the loop for each connection that has something to do. */
void conn_on_turn(struct worker_conns *member)
{
    struct conn *c = LIST_ENTRY(member, struct conn, member);
    if (c->resume && c->state == CONN_OPEN) {
        c->resume = false;
        redeliver(c);
    }
    conn_send(c);
    if (c->state != CONN_CLOSING && c->flight == NULL && c->out.n == 0)
        conn_sent_all(c);
}

/* Room for n more? A peer that takes nothing while we go on writing is a fault of the caller's
 * back-pressure, and the connection pays for it. */
static bool may_write(struct conn *c, size_t n)
{
    if ((c->state != CONN_OPEN && c->state != CONN_CONNECTING) || c->handshaking)
        return false;
    if (n <= CONN_OUT_MAX && conn_pending(c) <= CONN_OUT_MAX - n)
        return true;
    return conn_fail(c, CONN_END_ERROR, "write", "the peer takes nothing and too much waits");
}

static bool wrote(struct conn *c, bool ok)
{
    if (!ok)
        return conn_fail(c, CONN_END_ERROR, "write", "no memory");
    c->drain_due = true;
    conn_mark(c);
    return true;
}

bool conn_write(struct conn *c, struct span bytes)
{
    if (!may_write(c, bytes.n))
        return false;
    if (bytes.n == 0)
        return true;
    if (c->tls != NULL)
        return wrote(c, tls_session_write(c->tls, bytes));
    if (bytes.n >= DIRECT_WRITE && c->flight == NULL && c->state == CONN_OPEN) {
        conn_send(c);
        if (c->state == CONN_CLOSING)
            return false;
        if (c->flight == NULL) {
            ssize_t n = try_write(c, bytes);
            if (n < 0)
                return false;
            bytes = span_from(bytes, (size_t)n);
        }
    }
    return wrote(c, buf_add(&c->out, bytes));
}

bool conn_write_buf(struct conn *c, struct buf *b)
{
    bool ok;
    if (b->failed)
        return false;
    if (c->tls == NULL && c->out.n == 0 && b->n > 0 && may_write(c, b->n)) {
        buf_release(&c->out);
        c->out.p = b->p; /* the memory changes hands, the maximum of each stays */
        c->out.n = b->n;
        c->out.start = b->start;
        c->out.cap = b->cap;
        buf_init(b, b->max);
        return wrote(c, true);
    }
    ok = conn_write(c, buf_span(b));
    buf_reset(b);
    return ok;
}

void conn_flush(struct conn *c)
{
    conn_send(c); /* on_drained is told when the loop turns */
}

size_t conn_pending(const struct conn *c)
{
    return c->out.n + (c->flight == NULL ? 0 : c->flight->data.n);
}
