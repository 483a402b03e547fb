/* conn.h - one TCP connection on a worker's loop, in clear or under TLS.
 * Owner: it owns itself from opening until on_closed has returned; then it is gone. Whoever opened
 * it gets on_closed exactly once, always from the loop and never from inside a call of his own.
 * Threads: the worker's only. After conn_close, conn_linger or conn_abort no call-back but
 * on_closed comes.
 *
 * Data in: on_data gives bytes and gets back how many were taken; what was not taken waits inside
 * the conn (and reading pauses) until conn_read_start; called inside on_data, the rest comes when
 * the loop turns, provided that something was taken. Nothing is read before conn_read_start. Data
 * out: conn_write never blocks; it collects until the loop turns and sends in one go. conn_pending
 * tells what the peer has not taken; slow down above a bound of yours and go on at on_drained. Past
 * CONN_OUT_MAX pending a write is refused and the conn is broken. A plain connection that idles
 * holds less than 1 KiB: no buffer of its own. */
#ifndef POSTERN_NET_CONN_H
#define POSTERN_NET_CONN_H

#include "net/tls.h"
#include "net/worker.h"
#include "platform/sock.h"

struct conn;

enum { CONN_OUT_MAX = 64 * 1024 * 1024 };

enum conn_end {
    CONN_END_LOCAL,    /* conn_close, conn_linger or conn_abort did it */
    CONN_END_PEER,     /* the peer ended or reset it (and nobody handled on_eof) */
    CONN_END_CONNECT,  /* it never came to be: refused, unreachable */
    CONN_END_TIMEOUT,  /* likewise, no answer in time */
    CONN_END_TLS,      /* the handshake failed (on_tls said how) or TLS broke later */
    CONN_END_ERROR,    /* the system failed us */
    CONN_END_SHUTDOWN, /* worker_stop */
};

struct conn_tls_result {
    bool ok;
    size_t discarded; /* bytes that came in clear behind STARTTLS and were thrown away */
    const struct tls_failure *failure; /* when not ok */
    struct tls_info info;              /* when ok */
};

/* Any may be NULL. arg is that of conn_set_handlers. */
struct conn_handlers {
    void (*on_connected)(struct conn *c, void *arg); /* conn_connect only */
    size_t (*on_data)(struct conn *c, void *arg, struct span bytes);
    /* The peer will send no more (FIN, close_notify); we still may. NULL: flushed and closed. */
    void (*on_eof)(struct conn *c, void *arg);
    /* Not ok: the conn closes by itself after this, the alert being sent. */
    void (*on_tls)(struct conn *c, void *arg, const struct conn_tls_result *result);
    void (*on_drained)(struct conn *c, void *arg); /* pending fell to 0 after it was more */
    void (*on_deadline)(struct conn *c, void *arg);
    void (*on_closed)(struct conn *c, void *arg, enum conn_end end, const struct err *why);
};

/* Takes an accepted socket (*sock becomes SOCK_NONE, also when it fails). */
struct conn *conn_accept(struct worker *w, intptr_t *sock, const struct conn_handlers *handlers,
                         void *arg, struct err *e);

/* Opens a connection: then on_connected or on_closed. local (may be NULL): the address to come
 * from. timeout_ms 0: the system's. */
struct conn *conn_connect(struct worker *w, const struct sock_address *to,
                          const struct sock_address *local, uint64_t timeout_ms,
                          const struct conn_handlers *handlers, void *arg, struct err *e);

/* An idle outbound connection changes hands. handlers are borrowed, not copied. */
void conn_set_handlers(struct conn *c, const struct conn_handlers *handlers, void *arg);

void conn_read_start(struct conn *c);
void conn_read_stop(struct conn *c);

bool conn_write(struct conn *c, struct span bytes); /* copies what cannot be sent at once */
bool conn_write_buf(struct conn *c, struct buf *b); /* takes its bytes, leaves it empty */
void conn_flush(struct conn *c);                    /* now, not when the loop turns */
size_t conn_pending(const struct conn *c);

/* One deadline a connection: on_deadline at that monotonic time; 0 disarms. Cheap to move. */
void conn_deadline(struct conn *c, uint64_t at_ms);

/* STARTTLS or implicit TLS. What was written before is still sent in clear; what arrived in clear
 * and was not taken is thrown away. Ends in on_tls; the deadline is the session's business.
 * Reading goes on by itself for the handshake; after on_tls it needs conn_read_start as ever
 * unless it was on. */
void conn_tls_server(struct conn *c, struct tls_context *context);
/* The same with another oldest version than the context's, for this connection alone (NULL: the
 * context's). Below 1.2 it takes the ciphers of old devices too, at OpenSSL's security level 0. */
void conn_tls_server_from(struct conn *c, struct tls_context *context, const char *minimum_version);
void conn_tls_client(struct conn *c, struct tls_context *context, enum tls_verify verify,
                     const char *host);
bool conn_is_tls(const struct conn *c); /* the handshake is done */
bool conn_tls_info(const struct conn *c, struct tls_info *out);
bool conn_tls_binding(const struct conn *c, struct tls_binding *out);
void conn_tls_end_points(const struct conn *c, struct tls_end_points *out); /* server side */

/* Ends. close: sends what is pending (for at most 30 s), close_notify, FIN, closes.
 * linger: the same, then reads and drops for a bounded time and number of bytes before it closes,
 * so that a peer who still sends can read the last reply; use it after 421 and 554.
 * abort: at once. */
void conn_close(struct conn *c);
void conn_linger(struct conn *c, uint64_t max_ms, size_t max_bytes);
void conn_abort(struct conn *c);

struct worker *conn_worker(const struct conn *c);
const struct sock_address *conn_peer(struct conn *c);
const struct sock_address *conn_local(struct conn *c);
uint64_t conn_bytes_in(const struct conn *c);  /* on the wire */
uint64_t conn_bytes_out(const struct conn *c); /* on the wire, taken by the kernel */

#endif
