/* refusal_pace.h - so that a refusal's time does not tell an unknown account from a wrong password.
 * A KDC that does not know an account says so in one exchange, a wrong password takes two and a key
 * derivation; a directory has its own ways. So no refusal ends before the floor: what the slowest
 * of late took, between REFUSAL_FLOOR_MS and REFUSAL_FLOOR_MAX_MS, sinking by a sixteenth of its
 * rest with each refusal. PURE: time comes in.
 * Owner: a backend. Threads: any, many at once (one number, changed whole). */
#ifndef POSTERN_AUTH_REFUSAL_PACE_H
#define POSTERN_AUTH_REFUSAL_PACE_H

#include <stdatomic.h>
#include <stdint.h>

enum { REFUSAL_FLOOR_MS = 60, REFUSAL_FLOOR_MAX_MS = 500 };

struct refusal_pace { /* all zero: as at the beginning */
    atomic_uint floor_us;
};

/* How much longer a refusal that took so long so far must take. */
uint64_t refusal_pace_rest_us(struct refusal_pace *p, uint64_t took_us);

#endif
