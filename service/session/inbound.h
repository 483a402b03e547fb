/* inbound.h - one client's session: the server engine joined with its connection, the access
 * rules, authentication and the queue.
 * Owner: a session owns itself from inbound_start until its connection has closed; the desk's slots
 * list it. Threads: its desk's. Failure: a session that cannot begin is closed at once; one that
 * lost its client drops what it had not yet handed over. */
#ifndef POSTERN_SESSION_INBOUND_H
#define POSTERN_SESSION_INBOUND_H

#include "session/env.h"

struct inbound;

/* on_arrival of the acceptor; context is the session_env, the worker's user its desk. */
void inbound_arrive(struct worker *w, struct acceptor_arrival *arrival, void *context);

/* No new transactions on this desk: idle sessions get their 421, busy ones after their message. */
void inbound_drain(struct session_desk *d);
/* Ends every session of the desk now. */
void inbound_abort_all(struct session_desk *d);
size_t inbound_count(const struct session_desk *d);

/* For `postern sessions`. Pointers are borrowed for the call. */
struct inbound_status {
    const char *id, *listener, *identity; /* "" = none */
    struct sock_address client;
    struct span helo;
    const char *tls; /* "TLSv1.3", "" = none */
    const char *state;
    uint64_t since_wall_ms, messages;
};
void inbound_list(const struct session_desk *d,
                  void (*each)(void *arg, const struct inbound_status *status), void *arg);
/* Says 421 and closes; false: no such session here. */
bool inbound_close(struct session_desk *d, const char *id);

#endif
