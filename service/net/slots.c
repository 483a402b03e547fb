#include "net/slots.h"

#include <stdlib.h>

struct slots_entry {
    void *what;          /* NULL: free */
    uint32_t generation; /* of the present or the next use; never 0 */
    uint32_t next_free;  /* index + 1 */
};

void slots_init(struct slots *s, size_t max)
{
    *s = (struct slots){.max = max < UINT32_MAX ? max : UINT32_MAX - 1};
}

void slots_deinit(struct slots *s)
{
    free(s->entries);
    *s = (struct slots){.max = s->max};
}

static bool grow(struct slots *s)
{
    size_t cap = s->cap == 0 ? 64 : s->cap * 2;
    if (cap > s->max)
        cap = s->max;
    if (cap <= s->cap)
        return false;
    struct slots_entry *entries = realloc(s->entries, cap * sizeof *entries);
    if (entries == NULL)
        return false;
    for (size_t i = cap; i > s->cap; i--) { /* the lowest comes first */
        entries[i - 1] = (struct slots_entry){.generation = 1, .next_free = s->free_head};
        s->free_head = (uint32_t)i;
    }
    s->entries = entries;
    s->cap = cap;
    return true;
}

bool slots_add(struct slots *s, void *what, struct slot_id *id)
{
    if (s->free_head == 0 && !grow(s))
        return false;
    uint32_t index = s->free_head - 1;
    struct slots_entry *entry = &s->entries[index];
    s->free_head = entry->next_free;
    entry->what = what;
    entry->next_free = 0;
    s->used++;
    *id = (struct slot_id){index, entry->generation};
    return true;
}

void *slots_get(const struct slots *s, struct slot_id id)
{
    if (id.generation == 0 || id.index >= s->cap)
        return NULL;
    const struct slots_entry *entry = &s->entries[id.index];
    return entry->generation == id.generation ? entry->what : NULL;
}

void slots_remove(struct slots *s, struct slot_id id)
{
    if (slots_get(s, id) == NULL)
        return;
    struct slots_entry *entry = &s->entries[id.index];
    entry->what = NULL;
    if (++entry->generation == 0)
        entry->generation = 1;
    entry->next_free = s->free_head;
    s->free_head = id.index + 1;
    s->used--;
}

size_t slots_count(const struct slots *s)
{
    return s->used;
}

void *slots_next(const struct slots *s, size_t *cursor)
{
    while (*cursor < s->cap) {
        void *what = s->entries[(*cursor)++].what;
        if (what != NULL)
            return what;
    }
    return NULL;
}
