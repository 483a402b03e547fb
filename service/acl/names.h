/* names.h - a hash of host or domain names, 9 bytes a slot, over text that its owner keeps in one
 * pool. Inside acl only. A byte of each name's hash stands apart from the slots, so that a name
 * that is not there mostly costs one look at one cache line. Threads: one while it is filled, then
 * immutable. */
#ifndef POSTERN_ACL_NAMES_H
#define POSTERN_ACL_NAMES_H

#include "base/span.h"

#define NAME_NONE UINT32_MAX

struct name_slot {
    uint32_t text; /* offset of the name in the pool, NUL-terminated */
    uint32_t value;
};

struct name_table {
    struct name_slot *slots;
    uint8_t *tags; /* of each slot: 0 = free, else of the name's hash */
    size_t size;   /* a power of two, or 0 */
};

bool name_table_init(struct name_table *t, size_t n_names); /* false: no memory */
void name_table_deinit(struct name_table *t);

size_t name_table_memory(const struct name_table *t);

/* Of a name, case apart: to be taken while its text is at hand. */
uint64_t name_hash(struct span name);

/* Returns the value of an equal name that is there already (case apart), else NAME_NONE. The text
 * is only looked at where another name has the same place and tag. */
uint32_t name_table_put(struct name_table *t, const char *pool, uint32_t text, uint64_t hash,
                        uint32_t value);

/* The value, or NAME_NONE. */
uint32_t name_table_get(const struct name_table *t, const char *pool, struct span name);

/* As name_table_get for the domains that the name lies below, the longest first: not itself. */
uint32_t name_table_get_suffix(const struct name_table *t, const char *pool, struct span name);

#endif
