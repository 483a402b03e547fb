/* conn_internal.h - the insides of a connection, shared by conn.c, conn_io.c and conn_tls.c. */
#ifndef POSTERN_NET_CONN_INTERNAL_H
#define POSTERN_NET_CONN_INTERNAL_H

#include "net/conn.h"

#include <uv.h>

enum conn_state {
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_FLUSHING,  /* close or linger was asked for; what is pending goes out first */
    CONN_LINGERING, /* our end is sent; reading and dropping */
    CONN_CLOSING,   /* the handles close; on_closed comes next */
};

struct conn_flight { /* a write that the kernel did not take at once */
    uv_write_t request;
    struct conn *conn;
    struct buf data;
};

struct conn {
    uv_tcp_t tcp;
    uv_timer_t timer; /* serves the connect time-out, the deadline, the end: one at a time */
    struct worker *worker;
    struct worker_conns member;
    const struct conn_handlers *handlers;
    void *arg;
    struct tls_session *tls;
    struct buf in;  /* clear bytes that the callee has not taken */
    struct buf raw; /* records that wait because the callee has paused */
    struct buf out; /* collected for the next flush */
    struct conn_flight *flight;
    uint64_t deadline_ms; /* the callee's; 0: none */
    uint64_t limit_ms;    /* our own, of the state; 0: none */
    uint64_t armed_ms;    /* when the timer will fire; 0: it will not */
    uint64_t linger_ms;   /* 0: no lingering */
    size_t linger_bytes, dropped;
    size_t discarded; /* clear bytes thrown away when TLS began */
    uint64_t bytes_in, bytes_out;
    struct err *why;
    struct sock_address peer, local;
    enum conn_state state;
    enum conn_end end;
    unsigned handles; /* still to be closed */
    bool peer_known, local_known;
    bool reading;   /* the handle reads */
    bool want_read; /* the callee wants to */
    bool again;     /* inside on_data: the callee wants the rest soon */
    bool eof;       /* the peer has ended */
    bool eof_told;
    bool delivering; /* inside on_data */
    bool handshaking;
    bool tls_done;
    bool resume;      /* something is to be looked at when the loop turns */
    bool drain_due;   /* on_drained is owed */
    bool clear_ended; /* TLS began inside on_data: the rest of that data was clear */
};

enum { CONN_CLOSE_MS = 30000, CONN_TLS_LINGER_MS = 2000, CONN_TLS_LINGER_BYTES = 64 * 1024 };

/* conn.c */
void conn_end_now(struct conn *c, enum conn_end end); /* closes the handles */
bool conn_fail(struct conn *c, enum conn_end end, const char *act, const char *cause);
void conn_begin_end(struct conn *c, enum conn_end end, uint64_t linger_ms, size_t linger_bytes);
void conn_arm(struct conn *c);
void conn_mark(struct conn *c); /* look at it when the loop turns */

/* conn_io.c */
void conn_update_reading(struct conn *c);
void conn_send(struct conn *c); /* flush without telling on_drained */
void conn_on_turn(struct worker_conns *member);
void conn_deliver(struct conn *c, struct span bytes);
void conn_tell_eof(struct conn *c);
void conn_sent_all(struct conn *c);

/* conn_tls.c */
void conn_tls_input(struct conn *c, struct span bytes);
void conn_tls_pump(struct conn *c);
void conn_tls_fail(struct conn *c, const struct tls_failure *why);

#endif
