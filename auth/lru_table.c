#include "auth/lru_table.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t no_entry = UINT32_MAX;

bool lru_table_init(struct lru_table *t, uint32_t size, size_t entry_bytes)
{
    uint32_t buckets = 1;
    while (buckets < size && buckets < UINT32_MAX / 2)
        buckets *= 2;
    *t = (struct lru_table){.entry_bytes = entry_bytes, .size = size, .bucket_mask = buckets - 1};
    t->entries = calloc(size, entry_bytes);
    t->buckets = malloc(buckets * sizeof *t->buckets);
    if (t->entries == NULL || t->buckets == NULL) {
        lru_table_deinit(t);
        return false;
    }
    for (uint32_t i = 0; i < buckets; i++)
        t->buckets[i] = no_entry;
    list_init(&t->order);
    return true;
}

void lru_table_deinit(struct lru_table *t)
{
    free(t->entries);
    free(t->buckets);
    *t = (struct lru_table){0};
}

static struct lru_entry *at(const struct lru_table *t, uint32_t index)
{
    return (struct lru_entry *)(void *)(t->entries + index * t->entry_bytes);
}

void *lru_table_find(const struct lru_table *t, uint64_t key)
{
    for (uint32_t i = t->buckets[key & t->bucket_mask]; i != no_entry; i = at(t, i)->next)
        if (at(t, i)->key == key)
            return at(t, i);
    return NULL;
}

/* The place of the longest unused one, which is gone then. */
static uint32_t give_way(struct lru_table *t)
{
    struct lru_entry *oldest = LIST_ENTRY(t->order.head.prev, struct lru_entry, order);
    uint32_t *link = &t->buckets[oldest->key & t->bucket_mask];
    while (at(t, *link) != oldest)
        link = &at(t, *link)->next;
    uint32_t index = *link;
    *link = oldest->next;
    list_remove(&oldest->order);
    return index;
}

void *lru_table_take(struct lru_table *t, uint64_t key, bool *fresh)
{
    struct lru_entry *entry = lru_table_find(t, key);
    *fresh = entry == NULL;
    if (entry != NULL) {
        list_remove(&entry->order);
        list_push_front(&t->order, &entry->order);
        return entry;
    }
    uint32_t index = t->used < t->size ? t->used++ : give_way(t);
    uint32_t *bucket = &t->buckets[key & t->bucket_mask];
    entry = at(t, index);
    memset(entry, 0, t->entry_bytes);
    entry->key = key;
    entry->next = *bucket;
    *bucket = index;
    list_push_front(&t->order, &entry->order);
    return entry;
}

void *lru_table_next(const struct lru_table *t, const void *entry)
{
    const struct list_node *from =
        entry == NULL ? &t->order.head : &((const struct lru_entry *)entry)->order;
    return from->next == &t->order.head ? NULL : LIST_ENTRY(from->next, struct lru_entry, order);
}
