/* claims.h - who delivers what just now: the claims of a store that one process has to itself.
 * They live in memory only, so opening the store frees them all and a claim costs no write. What a
 * batch does to them is undone when the batch fails.
 * Owner: queue_sqlite. Threads: one. Failure: NULL or false without memory, nothing changed. */
#ifndef POSTERN_QUEUE_CLAIMS_H
#define POSTERN_QUEUE_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct claim_recipient {
    uint32_t index;
    bool finished;
};

struct claim {
    struct claim *next; /* in its bucket */
    uint64_t id, owner;
    int64_t lease_until_ms;
    uint64_t size;          /* of the message */
    uint64_t waiting;       /* recipients of the message without a final outcome, all of them */
    size_t open;            /* recipients of the claim without an outcome */
    bool hold_wanted;       /* as the message's row has it */
    size_t recipient_count; /* of the claim */
    struct claim_recipient recipients[]; /* by ascending index */
};

struct claims_undo;
struct claims {
    struct claim **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t count;
    struct claims_undo *undo;
    size_t undo_count, undo_cap;
};

void claims_init(struct claims *c); /* allocates nothing */
void claims_deinit(struct claims *c);

struct claim *claim_new(size_t recipient_count); /* heap, zeroed; free() it or add it */

const struct claim *claims_find(const struct claims *c, uint64_t id);
/* Takes over the claim; there must be none with its id. */
bool claims_add(struct claims *c, struct claim *claim);
/* Makes sure that the next change of a claim that is there (replace or remove) needs no memory. */
bool claims_reserve(struct claims *c);
/* To change a claim: change a copy, then let it take the old one's place (takes it over). */
struct claim *claim_copy(const struct claim *claim);
bool claims_replace(struct claims *c, struct claim *claim);
bool claims_remove(struct claims *c, uint64_t id);

/* Walks over all of them: start with NULL; nothing may be added or removed meanwhile. */
const struct claim *claims_next(const struct claims *c, const struct claim *from);

void claims_commit(struct claims *c);
void claims_rollback(struct claims *c);

#endif
