/* dial.h - inside posix/: a TCP connection to somebody, within a deadline.
 * Owner: a struct dialer for each backend. Threads: any, many at once. All calls block until the
 * deadline at most: names are looked up on a thread of their own, since the system's resolver knows
 * no deadline. Such a thread is left behind when it is late and ends by itself; there are never
 * more than DIAL_LOOKUPS_MAX of them for a dialer, so that a dead DNS server costs no more.
 * Failure: ERR_TEMP with "host:port: cause". */
#ifndef POSTERN_POSIX_DIAL_H
#define POSTERN_POSIX_DIAL_H

#include "base/err.h"
#include "base/span.h"

enum { DIAL_LOOKUPS_MAX = 16, DIAL_ADDRESSES_MAX = 16, DIAL_TARGETS_MAX = 16, DIAL_HOST_MAX = 256 };

struct dialer;

bool dialer_open(struct dialer **out, struct err *e);
void dialer_close(struct dialer **d); /* lookups under way end by themselves later */

/* A connected, non-blocking, close-on-exec socket. The addresses of the host are tried in order,
 * each with its share of the time. */
bool dial_tcp(struct dialer *d, const char *host, uint16_t port, uint64_t deadline_ms, int *fd,
              struct err *e);

struct dial_target {
    char host[DIAL_HOST_MAX];
    uint16_t port;
};
/* The targets of an SRV name (RFC 2782) by priority, the heavier first; false when there are none
 * or DNS did not say in time. */
bool dial_services(struct dialer *d, const char *name, uint64_t deadline_ms,
                   struct dial_target targets[DIAL_TARGETS_MAX], size_t *count, struct err *e);

/* Time left of one of `left` tries before the deadline: its share, at least 1 ms. */
uint64_t dial_share(uint64_t deadline_ms, size_t left);

/* The whole of it, or false at the deadline, the end of the stream or an error. */
bool dial_send(int fd, struct span bytes, uint64_t deadline_ms, struct err *e);
bool dial_receive(int fd, void *out, size_t n, uint64_t deadline_ms, struct err *e);

/* Waits for the events of poll(2); false when the deadline passed. */
bool dial_wait(int fd, short events, uint64_t deadline_ms);

#endif
