/* refusal_pace.h - so that a refusal's time does not tell an unknown account from a wrong password.
 * A KDC that does not know an account says so in one exchange, a wrong password takes two and a key
 * derivation; a directory and PAM have their own ways. So refusals are answered at common instants
 * after their question, a ladder of steps of which each is half as long again as the one before:
 * all on the step that the slowest of late leaves a fifth of free. Nobody is slowed down but who
 * was refused, and no thread waits meanwhile. A slower one lifts the step at once, for itself too;
 * REFUSAL_PACE_SINK in a row that fit the step below sink it by one. PURE: time comes in.
 * Owner: a backend's entry. Threads: any, many at once (one number, changed whole). */
#ifndef POSTERN_AUTH_REFUSAL_PACE_H
#define POSTERN_AUTH_REFUSAL_PACE_H

#include <stdatomic.h>
#include <stdint.h>

enum { REFUSAL_PACE_LEAST_MS = 60, REFUSAL_PACE_SINK = 32 };

struct refusal_pace { /* all zero: as at the beginning */
    atomic_uint state;
};

/* How long after its question a refusal is answered that took so long; never less than that. One
 * that took longer than every step (some 5 seconds) is answered at once. */
uint64_t refusal_pace_us(struct refusal_pace *p, uint64_t took_us);

#endif
