#include "acl/names.h"

#include <stdlib.h>

static size_t hash_of(struct span name)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a; the table holds the administrator's names only */
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ ascii_lower(name.p[i])) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

bool name_table_init(struct name_table *t, size_t n_names)
{
    *t = (struct name_table){0};
    if (n_names == 0)
        return true;
    size_t size = 4;
    while (size < n_names + n_names / 2)
        size *= 2;
    t->slots = malloc(size * sizeof *t->slots);
    if (t->slots == NULL)
        return false;
    t->size = size;
    for (size_t i = 0; i < size; i++)
        t->slots[i].text = NAME_NONE;
    return true;
}

void name_table_deinit(struct name_table *t)
{
    free(t->slots);
    *t = (struct name_table){0};
}

/* The slot of the name, or the free one where it would go. */
static struct name_slot *find(const struct name_table *t, const char *pool, struct span name)
{
    size_t at = hash_of(name) & (t->size - 1);
    while (t->slots[at].text != NAME_NONE &&
           !span_equal_nocase(span_str(pool + t->slots[at].text), name))
        at = (at + 1) & (t->size - 1);
    return &t->slots[at];
}

uint32_t name_table_put(struct name_table *t, const char *pool, uint32_t text, uint32_t value)
{
    struct name_slot *slot = find(t, pool, span_str(pool + text));
    if (slot->text != NAME_NONE)
        return slot->value;
    *slot = (struct name_slot){.text = text, .value = value};
    return NAME_NONE;
}

uint32_t name_table_get(const struct name_table *t, const char *pool, struct span name)
{
    if (t->size == 0)
        return NAME_NONE;
    const struct name_slot *slot = find(t, pool, name);
    return slot->text == NAME_NONE ? NAME_NONE : slot->value;
}

uint32_t name_table_get_suffix(const struct name_table *t, const char *pool, struct span name)
{
    if (t->size == 0)
        return NAME_NONE;
    for (size_t dot = span_find(name, '.'); dot < name.n; dot = span_find(name, '.')) {
        name = span_from(name, dot + 1);
        uint32_t value = name_table_get(t, pool, name);
        if (value != NAME_NONE)
            return value;
    }
    return NAME_NONE;
}
