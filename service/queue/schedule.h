/* schedule.h - when a message is tried again, when its sender is told, when we give up.
 * PURE in spirit: values in, a value out; no clock (times are the queue's clock, queue.h), no
 * random (the caller gives the jitter). Notices of our own (DSN) follow the same schedule.
 * Source: RFC 5321 4.5.4.1 (retry and give-up), RFC 3464 (delayed); defaults are those of IIS. */
#ifndef POSTERN_QUEUE_SCHEDULE_H
#define POSTERN_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCHEDULE_RETRY_MAX = 16 };

struct schedule_options {
    int64_t retry_ms[SCHEDULE_RETRY_MAX]; /* after the 1st, 2nd, ... attempt; the last repeats */
    size_t retry_count;                   /* at least 1 */
    int64_t delay_notice_ms;              /* since acceptance; 0: never */
    int64_t expire_ms;                    /* since acceptance */
};

/* retry 15m, 30m, 60m, 240m; delay notice 12h; expire 2d. */
struct schedule_options schedule_defaults(void);

struct schedule_verdict {
    bool expired;      /* no further attempt: the recipient gets EXPIRED */
    bool delay_notice; /* the sender is to be told now (and the recipient marked delay_noticed) */
    int64_t next_ms;   /* when to try again; not set when expired */
};

/* What follows a temporary failure at now_ms.
 * attempts: those made, the failed one included (0 is taken as 1).
 * accepted_ms: when the message was accepted. delay_noticed: the sender was told before.
 * jitter: 0..65535 from the caller's random numbers; it lengthens the interval by up to 1/16, so
 * that what failed together does not come back together. An attempt never falls behind the expiry:
 * the last one is made at the very end. */
struct schedule_verdict schedule_next(const struct schedule_options *options, uint32_t attempts,
                                      int64_t accepted_ms, int64_t now_ms, bool delay_noticed,
                                      uint16_t jitter);

#endif
