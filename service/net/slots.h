/* slots.h - (slot, generation) -> pointer: how a job that travels names its session.
 * A slot that is used again has another generation, so a late answer finds nothing rather than a
 * stranger. Owner: one worker's session code. Threads: one. */
#ifndef POSTERN_NET_SLOTS_H
#define POSTERN_NET_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot_id {
    uint32_t index, generation; /* generation 0 names nothing */
};

struct slots_entry;

struct slots {
    struct slots_entry *entries;
    size_t cap, used;
    size_t max;
    uint32_t free_head; /* index + 1 of the first free one; 0: none */
};

void slots_init(struct slots *s, size_t max); /* allocates nothing */
void slots_deinit(struct slots *s);

bool slots_add(struct slots *s, void *what, struct slot_id *id); /* false: full or no memory */
void *slots_get(const struct slots *s, struct slot_id id);       /* NULL: gone */
void slots_remove(struct slots *s, struct slot_id id);
size_t slots_count(const struct slots *s);

/* Walks all: start with *cursor = 0; NULL at the end. Removing the one just given is fine. */
void *slots_next(const struct slots *s, size_t *cursor);

#endif
