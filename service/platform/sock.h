/* sock.h - TCP sockets where the systems differ: listening, accepting, addresses.
 * A socket is an intptr_t (a descriptor here, a SOCKET on Windows); SOCK_NONE is none. All are
 * non-blocking and not inherited by programs we start. What happens after the accept is the
 * business of net/conn. Threads: any, one at a time for one socket. */
#ifndef POSTERN_PLATFORM_SOCK_H
#define POSTERN_PLATFORM_SOCK_H

#include "base/err.h"
#include "base/sock_address.h"

enum { SOCK_NONE = -1 };

/* Once, before the first socket: a write to a closed peer is an error and no signal. */
bool sock_start(struct err *e);

/* To and from the system's struct sockaddr. to: room of at least 128 bytes (struct
 * sockaddr_storage), aligned for it; returns the length used. */
bool sock_address_from(const void *sockaddr, struct sock_address *out);
size_t sock_address_to(const struct sock_address *a, void *sockaddr_storage);

/* Binds and listens; IPV6_V6ONLY always, so that "0.0.0.0" and "::" are two listeners on every
 * system. port 0 takes any; *bound (may be NULL) tells which. ERR_TEMP when in use, ERR_PERM when
 * the address or the right to it is missing. */
bool sock_listen(const struct sock_address *at, int backlog, intptr_t *out,
                 struct sock_address *bound, struct err *e);

/* Makes a listener that the service manager handed in ready for use and tells its address. */
bool sock_adopt(intptr_t listener, struct sock_address *bound, struct err *e);

enum sock_accept_result {
    SOCK_ACCEPTED,
    SOCK_ACCEPT_NOTHING,        /* nobody waits, or the one who waited went away */
    SOCK_ACCEPT_NO_DESCRIPTORS, /* EMFILE, ENFILE: the peer still waits in the backlog */
    SOCK_ACCEPT_NO_MEMORY,      /* ENOBUFS, ENOMEM: likewise */
    SOCK_ACCEPT_FAILED,         /* the listener is broken */
};
enum sock_accept_result sock_accept(intptr_t listener, intptr_t *out, struct sock_address *peer,
                                    struct sock_address *local);

/* Waits until one is readable or broken, or the time is over (-1: for ever); sets .ready. Entries
 * with SOCK_NONE are skipped. Returns the number ready. */
struct sock_poll {
    intptr_t sock;
    bool ready;
};
size_t sock_poll(struct sock_poll *entries, size_t n, int timeout_ms);

/* Wakes a sock_poll from another thread: poll `waiting`, call wake from anywhere, drain when ready.
 */
struct sock_waker {
    intptr_t waiting, waking;
};
bool sock_waker_open(struct sock_waker *w, struct err *e);
void sock_waker_wake(const struct sock_waker *w);
void sock_waker_drain(const struct sock_waker *w);
void sock_waker_close(struct sock_waker *w);

/* Sends what the kernel takes at once; no SIGPIPE, no waiting. Returns the bytes taken. */
size_t sock_send_now(intptr_t sock, struct span bytes);

/* The three steps of a lingering close: no more from us; read and drop what came (true while the
 * peer has not ended); close. Closing with unread bytes would send a reset, and a reset eats the
 * refusal that the peer has not read yet. */
void sock_shutdown_send(intptr_t sock);
bool sock_drop_input(intptr_t sock, size_t *dropped);
void sock_close(intptr_t *sock); /* sets SOCK_NONE */

/* A descriptor in reserve: given up when there are no more, to take one peer and turn it away. */
intptr_t sock_reserve(void);

/* Every address that an interface of this machine has now. *out is malloc'ed; free() it. */
bool sock_interface_addresses(struct netaddr **out, size_t *n, struct err *e);

#endif
