#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

/* Through a volatile pointer the call has to be made: the compiler cannot know its target. */
static void *(*const volatile wipe)(void *, int, size_t) = memset;

void secret_wipe_bytes(void *p, size_t n)
{
    if (p != NULL && n > 0)
        (void)wipe(p, 0, n);
}

bool secret_set(struct secret *s, struct span bytes)
{
    secret_wipe(s);
    if (bytes.n == SIZE_MAX)
        return false;
    uint8_t *p = malloc(bytes.n + 1);
    if (p == NULL)
        return false;
    if (bytes.n > 0)
        memcpy(p, bytes.p, bytes.n);
    p[bytes.n] = 0;
    *s = (struct secret){p, bytes.n};
    return true;
}

void secret_wipe(struct secret *s)
{
    if (s == NULL || s->p == NULL)
        return;
    secret_wipe_bytes(s->p, s->n);
    free(s->p);
    *s = (struct secret){NULL, 0};
}

struct span secret_span(const struct secret *s)
{
    return span_of(s->p, s->n);
}

bool secret_equal(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    uint8_t differ = 0;
    for (size_t i = 0; i < a.n; i++)
        differ |= (uint8_t)(a.p[i] ^ b.p[i]);
    return differ == 0;
}
