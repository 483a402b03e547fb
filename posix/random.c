#define _GNU_SOURCE
#include "platform/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t n)
{
    uint8_t *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            perror("postern: getrandom");
            abort();
        }
        at += got;
        n -= (size_t)got;
    }
}

uint32_t random_below(uint32_t bound)
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
