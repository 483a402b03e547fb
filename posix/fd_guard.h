/* fd_guard.h - inside posix/: connections that are cut at a moment, whatever a library does with
 * them: its read then ends as if the peer had gone. For libraries that know no deadline.
 * Owner: the struct that has the connections; one guard with one thread serves them all.
 * Threads: any. The guard holds descriptors of its own (dup), so that a number that was closed and
 * given out again meanwhile is never hit. */
#ifndef POSTERN_POSIX_FD_GUARD_H
#define POSTERN_POSIX_FD_GUARD_H

#include "base/err.h"

#include <stdint.h>

struct fd_guard;
struct fd_watch;

bool fd_guard_open(struct fd_guard **out,
                   struct err *e);        /* the thread starts with the first watch */
void fd_guard_close(struct fd_guard **g); /* no watch may live */

/* Cuts the connection of fd (a socket) at that moment, unless fd_watch_end comes before. */
bool fd_watch_begin(struct fd_guard *g, int fd, uint64_t deadline_ms, struct fd_watch **out,
                    struct err *e);
void fd_watch_move(struct fd_watch *w, uint64_t deadline_ms);
bool fd_watch_end(struct fd_watch **w); /* whether it was cut */

#endif
