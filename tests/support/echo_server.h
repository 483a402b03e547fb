/* echo_server.h - a real server for the net tests: acceptor, two workers, connections that say back
 * what they hear, in clear, under TLS or after STARTTLS. */
#ifndef POSTERN_SUPPORT_ECHO_SERVER_H
#define POSTERN_SUPPORT_ECHO_SERVER_H

#include "net/acceptor.h"
#include "net/conn.h"

#include <stdatomic.h>

enum echo_mode {
    ECHO_PLAIN,
    ECHO_TLS,
    ECHO_STARTTLS, /* the first line begins with STARTTLS and is answered by GO */
    ECHO_LINGER,   /* says BYE at once and lingers */
    ECHO_HOLD,     /* says HI, reads, says nothing more */
};

struct echo_seen { /* of the last handshake, and what all sessions added up to */
    bool ok;
    size_t discarded;
    struct tls_failure failure;
    char version[16], server_name[256];
    bool resumed;
    struct tls_binding binding;
    struct tls_end_points ends;
    unsigned handshakes;
};

struct echo_server {
    struct worker *workers[2];
    struct acceptor *acceptor;
    struct sock_address at;
    enum echo_mode mode;
    struct tls_context *tls;
    atomic_uint opened, closed, refused;
    void *lock; /* uv_mutex_t */
    struct echo_seen seen;
};

/* limits may be NULL. tls is borrowed. Ends the test program when it cannot. */
void echo_server_start(struct echo_server *s, enum echo_mode mode, struct tls_context *tls,
                       const struct acceptor_limits *limits);
void echo_server_stop(struct echo_server *s);
struct echo_seen echo_server_seen(struct echo_server *s);

/* Waits until the counter is at least n; false after 10 s. */
bool wait_for_count(atomic_uint *counter, unsigned n);
void sleep_ms(unsigned ms);

#endif
