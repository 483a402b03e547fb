/* clock.h - what time it is. Threads: any. Never fails.
 * Intervals and deadlines are monotonic; the wall clock is for what people and mail headers read.
 * The monotonic clock has the same origin as the loop time of net/worker.h. */
#ifndef POSTERN_PLATFORM_CLOCK_H
#define POSTERN_PLATFORM_CLOCK_H

#include <stdint.h>

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);
int64_t clock_wall_ms(void); /* since 1970-01-01 UTC */

/* Offset of local time from UTC at that moment, in minutes east (for Date: and Received:). */
int clock_utc_offset_minutes(int64_t wall_ms);

#endif
