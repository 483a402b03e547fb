#include "support/folder.h"

#include "platform/files.h"
#include "platform/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

void test_folder(const char *name, char *out, size_t size)
{
    uint64_t number;
    struct err e = {0};
    const char *base = getenv("TMPDIR");
    if (base == NULL)
        base = getenv("TEMP");
    random_bytes(&number, sizeof number);
    int n = snprintf(out, size, "%s/postern-%s-%08lx", base == NULL ? "/tmp" : base, name,
                     (unsigned long)(number & 0xffffffff));
    if (n < 0 || (size_t)n >= size || !files_make_folder(out, 0700, &e)) {
        fprintf(stderr, "test folder %s: %s\n", out, e.text);
        exit(1);
    }
}

void test_sleep_ms(unsigned ms)
{
    uv_sleep(ms);
}
