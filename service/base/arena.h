/* arena.h - memory that lives and dies together: a session, a transaction, a job, a snapshot.
 * Owner: whoever holds the struct; one thread at a time. Failure: NULL past the maximum or without
 * memory. Nothing is released singly; arena_reset empties it for the next use. */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "base/compiler.h"
#include "base/span.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes given out in all */
    size_t max;
};

void arena_init(struct arena *a, size_t max); /* allocates nothing */
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a);

void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for any type */
char *arena_str(struct arena *a, const char *text);
char *arena_span_str(struct arena *a, struct span s); /* copy with a NUL behind it */
struct span arena_span(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

/* Room for one item more than the count that `items` holds: `items` itself, or a copy of twice the
 * capacity (the old one stays until the arena goes). NULL: no memory, and all is as it was. */
void *arena_grown(struct arena *a, void *items, size_t count, size_t *capacity, size_t item_bytes);

#endif
