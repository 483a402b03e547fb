/* bounded_call.h - a call of the system that has no deadline of its own (it may look for a domain
 * controller for long), made on the system's thread pool: who waits for it stops waiting in time.
 * Owner: a struct bounded_call is the first member of a heap block that holds all that the call
 * reads and writes; it has the caller and the pool as holders, and the last one disposes of it.
 * Threads: begin and wait on the caller's, work on one of the pool, dispose on either.
 * Failure: the result; with LATE the call goes on and nothing of the block may be read any more. */
#ifndef POSTERN_WIN32_BOUNDED_CALL_H
#define POSTERN_WIN32_BOUNDED_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    /* Of the whole process: with so many that nobody waits for any more none is begun. */
    BOUNDED_CALLS_LATE_MAX = 64,
};

enum bounded_result {
    BOUNDED_DONE,
    BOUNDED_LATE,
    BOUNDED_FULL,   /* too many are late already; nothing was begun */
    BOUNDED_FAILED, /* no memory or no thread; nothing was begun */
};

struct bounded_call {
    void (*work)(struct bounded_call *);
    void (*dispose)(struct bounded_call *); /* frees the block */
    atomic_int holders;
    atomic_bool late;
    void *answered; /* an event */
};

/* work and dispose are set; the caller is a holder until bounded_release. Once for each block. */
void bounded_call_begin(struct bounded_call *c);

/* Runs work once more. Not after LATE. */
enum bounded_result bounded_call_run(struct bounded_call *c, uint32_t deadline_ms);

void bounded_call_release(struct bounded_call *c);

/* For a log line. */
const char *bounded_text(enum bounded_result result);

#endif
