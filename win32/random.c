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
