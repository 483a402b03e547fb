/* acceptor.h - one thread that accepts on all listeners and hands sockets to workers.
 * libuv cannot share a listener between loops on Windows, so accept() is done here, plainly, and
 * the socket travels by mailbox: the same on both systems (docs/decisions/0020).
 * Owner: run.c. Threads: all functions from any thread but the acceptor's own
 * (on_refused); open, stop and free from one.
 * Failure: without descriptors it waits until there are some, without spinning; one peer at a time
 * is told 421 through a descriptor kept in reserve. */
#ifndef POSTERN_NET_ACCEPTOR_H
#define POSTERN_NET_ACCEPTOR_H

#include "net/worker.h"
#include "platform/sock.h"

struct acceptor;

/* What a worker gets; borrowed for the call. Take sock (conn_accept does and leaves SOCK_NONE), or
 * it is closed and its place released. Who takes it calls acceptor_release(peer) in the end. */
struct acceptor_arrival {
    intptr_t sock;
    struct sock_address peer, local;
    uint32_t listener; /* the tag given to acceptor_listen */
    uint64_t accepted_us;
};

struct acceptor_limits {
    size_t connections;            /* in all; 0: no limit */
    size_t connections_per_client; /* of one address; 0: no limit */
};

struct acceptor_options {
    struct acceptor_limits limits;
    struct worker *const *workers; /* borrowed until the close */
    size_t workers_n;
    /* Sent to who is turned away, whole lines with CRLF; copied. */
    const char *refusal_total;
    const char *refusal_client;
    /* On the chosen worker's thread. */
    void (*on_arrival)(struct worker *w, struct acceptor_arrival *arrival, void *context);
    void *context;
    /* On the acceptor's thread, for the log; may be NULL. refused: which limit. */
    void (*on_refused)(const struct sock_address *peer, uint32_t listener, const char *limit,
                       void *context);
};

struct acceptor *acceptor_open(const struct acceptor_options *options, struct err *e);

/* Adds a listener (takes the socket) or removes it (closes it). implicit_tls: a refusal in clear
 * would be noise there, so the connection is just closed. */
bool acceptor_listen(struct acceptor *a, intptr_t *listener, uint32_t tag, bool implicit_tls,
                     struct err *e);
void acceptor_unlisten(struct acceptor *a, uint32_t tag);

/* Paused, peers wait in the kernel's backlog. Returns when it holds. */
void acceptor_pause(struct acceptor *a);
void acceptor_resume(struct acceptor *a);

void acceptor_set_limits(struct acceptor *a, const struct acceptor_limits *limits);
void acceptor_set_refusals(struct acceptor *a, const char *total, const char *client);

/* The connection of that client ended. */
void acceptor_release(struct acceptor *a, const struct netaddr *client);
size_t acceptor_connections(struct acceptor *a);

/* Closes the listeners and joins the thread. Arrivals in mailboxes still come; acceptor_release
 * must not be called after acceptor_free. */
void acceptor_stop(struct acceptor *a);
void acceptor_free(struct acceptor **a);

#endif
