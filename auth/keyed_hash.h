/* keyed_hash.h - a hash for tables whose keys a client chooses. PURE. Threads: any.
 * SipHash-2-4 (Aumasson, Bernstein 2012). */
#ifndef POSTERN_AUTH_KEYED_HASH_H
#define POSTERN_AUTH_KEYED_HASH_H

#include "base/span.h"

enum { KEYED_HASH_KEY = 16 };

/* Each part with its length before it, so that no two lists of parts are the same bytes. */
uint64_t keyed_hash(const uint8_t key[KEYED_HASH_KEY], const struct span *parts, size_t n);

#endif
