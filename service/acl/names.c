#include "acl/names.h"

#include <stdlib.h>

uint64_t name_hash(struct span name)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a; the table holds the administrator's names only */
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        h = (h ^ (uint8_t)(c >= 'A' && c <= 'Z' ? c | 0x20 : c)) * 0x100000001b3u;
    }
    return h ^ h >> 32;
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
    t->tags = calloc(size, 1);
    if (t->slots == NULL || t->tags == NULL) {
        name_table_deinit(t);
        return false;
    }
    t->size = size;
    return true;
}

void name_table_deinit(struct name_table *t)
{
    free(t->slots);
    free(t->tags);
    *t = (struct name_table){0};
}

size_t name_table_memory(const struct name_table *t)
{
    return t->size * (sizeof *t->slots + sizeof *t->tags);
}

static uint8_t tag_of(uint64_t hash)
{
    return (uint8_t)(hash >> 56 | 1);
}

/* The next slot from *at on with this tag; false: it is free. */
static bool next_slot(const struct name_table *t, size_t *at, uint8_t tag)
{
    while (t->tags[*at] != 0 && t->tags[*at] != tag)
        *at = (*at + 1) & (t->size - 1);
    return t->tags[*at] != 0;
}

uint32_t name_table_put(struct name_table *t, const char *pool, uint32_t text, uint64_t hash,
                        uint32_t value)
{
    uint8_t tag = tag_of(hash);
    size_t at = (size_t)hash & (t->size - 1);
    for (; next_slot(t, &at, tag); at = (at + 1) & (t->size - 1))
        if (span_equal_nocase(span_str(pool + t->slots[at].text), span_str(pool + text)))
            return t->slots[at].value;
    t->tags[at] = tag;
    t->slots[at] = (struct name_slot){.text = text, .value = value};
    return NAME_NONE;
}

uint32_t name_table_get(const struct name_table *t, const char *pool, struct span name)
{
    if (t->size == 0)
        return NAME_NONE;
    uint64_t hash = name_hash(name);
    size_t at = (size_t)hash & (t->size - 1);
    for (; next_slot(t, &at, tag_of(hash)); at = (at + 1) & (t->size - 1))
        if (span_equal_nocase(span_str(pool + t->slots[at].text), name))
            return t->slots[at].value;
    return NAME_NONE;
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
