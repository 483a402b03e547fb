/* lru_table.h - a fixed number of entries, found by a 64-bit key; when it is full the longest
 * unused one gives way. PURE. Clients choose what is entered: the key is a keyed hash
 * (keyed_hash.h), and two that share one share an entry. Owner: whoever holds the struct. No lock:
 * one thread at a time. Allocates at init alone. */
#ifndef POSTERN_AUTH_LRU_TABLE_H
#define POSTERN_AUTH_LRU_TABLE_H

#include "base/list.h"

#include <stdint.h>

/* The first member of what is entered; the table's alone. */
struct lru_entry {
    struct list_node order;
    uint64_t key;
    uint32_t next; /* in its bucket */
};

struct lru_table {
    uint8_t *entries; /* size of them, entry_bytes each */
    size_t entry_bytes;
    uint32_t *buckets; /* a power of two of them */
    uint32_t size, bucket_mask;
    uint32_t used;     /* entries from there on were never used */
    struct list order; /* the newest at the front */
};

bool lru_table_init(struct lru_table *t, uint32_t size, size_t entry_bytes); /* false: no memory */
void lru_table_deinit(struct lru_table *t); /* harmless when all is zero */

/* NULL when there is none. It does not become newer. */
void *lru_table_find(const struct lru_table *t, uint64_t key);

/* Found, or made: then *fresh, and all behind its lru_entry is zero. It becomes the newest. Valid
 * until the next call makes another one. */
void *lru_table_take(struct lru_table *t, uint64_t key, bool *fresh);

/* The newest first: the one behind `entry`, or the first for NULL; NULL at the end. */
void *lru_table_next(const struct lru_table *t, const void *entry);

#endif
