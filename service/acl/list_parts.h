/* list_parts.h - what a list is made of, for list.c and open_relay.c. Inside acl only.
 * An IPv4 address entry costs 12 + 12 bytes, an IPv6 one 36 + 12; a text of its own only where the
 * canonical form is not what was written. */
#ifndef POSTERN_ACL_LIST_PARTS_H
#define POSTERN_ACL_LIST_PARTS_H

#include "acl/list.h"
#include "acl/names.h"
#include "acl/pattern.h"

struct entry_info {
    uint32_t line;
    uint32_t text;   /* offset in the pool, or NAME_NONE: the canonical form of the interval */
    uint16_t column; /* the low 15 bits; ENTRY_OVERLAPS */
    uint16_t file;
};

enum { ENTRY_COLUMN_MAX = 0x7fff, ENTRY_OVERLAPS = 0x8000 };

/* Sorted; after sealing both first and last strictly increase, so the last interval that begins at
 * or before an address is the only one that can hold it. */
struct v4_interval {
    uint32_t first, last;
    uint32_t entry;
};

struct v6_interval {
    struct netaddr first, last;
    uint32_t entry;
};

struct list_pattern {
    struct acl_pattern *pattern;
    uint32_t entry;
};

struct name_ref {
    uint32_t text;
    uint32_t entry;
};

struct acl_list {
    struct netaddr *self;
    size_t n_self;
    struct entry_info *entries;
    size_t n_entries, cap_entries;
    char *pool;
    size_t n_pool, cap_pool;
    char **files;
    size_t n_files, cap_files;
    struct v4_interval *v4;
    size_t n_v4, cap_v4;
    struct v6_interval *v6;
    size_t n_v6, cap_v6;
    struct name_ref *names, *suffixes; /* until sealed */
    size_t n_names, cap_names, n_suffixes, cap_suffixes;
    struct name_table name_table, suffix_table;
    struct list_pattern *patterns;
    size_t n_patterns, cap_patterns;
    uint32_t self_entry; /* the entry `self`, or NAME_NONE */
    uint32_t open_name;  /* the first entry that names of strangers can match, or NAME_NONE */
    bool sealed;
};

/* Past ACL_PROBLEMS_MAX it is only counted. The text is cut to fit. False: no memory, and nobody
 * would be told: then what is built must not be used. */
bool problems_add(struct acl_problems *p, const char *text, const char *file, unsigned line,
                  unsigned column);

uint32_t v4_number(const struct netaddr *a);
struct netaddr v4_address(uint32_t number);

/* The interval that holds the address, or NULL. */
const struct v4_interval *list_find_v4(const struct acl_list *list, uint32_t address);
const struct v6_interval *list_find_v6(const struct acl_list *list, const struct netaddr *address);

/* Fills text and position of an entry; first and last are for an entry in canonical form. */
void list_describe(const struct acl_list *list, uint32_t entry, const struct netaddr *first,
                   const struct netaddr *last, struct acl_hit *hit);

#endif
