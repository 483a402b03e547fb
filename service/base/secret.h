/* secret.h - bytes that must not outlive their use: passwords, keys, SASL responses.
 * Owner: the struct that holds it. The bytes are wiped at every release and never logged. */
#ifndef POSTERN_BASE_SECRET_H
#define POSTERN_BASE_SECRET_H

#include "base/span.h"

struct secret {
    uint8_t *p;
    size_t n; /* one more byte, a NUL, stands behind */
};

/* Copies s; false without memory (the secret is then empty). What it held before is wiped. */
bool secret_set(struct secret *s, struct span bytes);
void secret_wipe(struct secret *s); /* wipes and frees; an empty one is fine */
struct span secret_span(const struct secret *s);

/* Overwrites memory in a way that the compiler may not drop. */
void secret_wipe_bytes(void *p, size_t n);

/* Compares in time that depends on the lengths only. */
bool secret_equal(struct span a, struct span b);

#endif
