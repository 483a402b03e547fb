#include "platform/random.h"

#include <windows.h>

#include <bcrypt.h>
#include <stdio.h>
#include <stdlib.h>

void random_bytes(void *out, size_t n)
{
    UCHAR *at = out;
    while (n > 0) {
        ULONG part = n > 65536 ? 65536 : (ULONG)n;
        NTSTATUS status = BCryptGenRandom(NULL, at, part, BCRYPT_USE_SYSTEM_PREFERRED_RNG);
        if (status != 0) {
            (void)fprintf(stderr, "postern: BCryptGenRandom: status %08lx\n",
                          (unsigned long)status);
            abort();
        }
        at += part;
        n -= part;
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
