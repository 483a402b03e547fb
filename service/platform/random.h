/* random.h - unpredictable bytes from the system. Threads: any.
 * Failure: a system without randomness cannot serve; the process ends with a message. */
#ifndef POSTERN_PLATFORM_RANDOM_H
#define POSTERN_PLATFORM_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n);

/* Uniform in [0, bound); 0 for bound 0. */
static inline uint32_t random_below(uint32_t bound)
{
    if (bound == 0)
        return 0;
    /* The tail that would favour small numbers is thrown again. */
    uint32_t limit = UINT32_MAX - UINT32_MAX % bound;
    uint32_t value;
    do {
        random_bytes(&value, sizeof value);
    } while (value >= limit);
    return value % bound;
}

#endif
