/* list_parts.h - what a list is made of, for list.c and open_relay.c. Inside acl only.
 * An IPv4 address entry costs 12 + 12 bytes and its share of the tree, an IPv6 one 36 + 12; a text
 * of its own only where the canonical form is not what was written. */
#ifndef POSTERN_ACL_LIST_PARTS_H
#define POSTERN_ACL_LIST_PARTS_H

#include "acl/list.h"
#include "acl/names.h"
#include "acl/pattern.h"
#include "acl/trie.h"

struct entry_info {
    uint32_t line;
    uint32_t text;   /* offset in the pool, or NAME_NONE: the canonical form of the interval */
    uint16_t column; /* the low 14 bits, and the marks below */
    uint16_t file;
};

enum { ENTRY_COLUMN_MAX = 0x3fff, ENTRY_IS_NAME = 0x4000, ENTRY_OVERLAPS = 0x8000 };

/* After sealing they are sorted and disjoint: what lies within another is left out, what reaches
 * into the next one's start begins behind it. */
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
    uint64_t hash;
    uint32_t text;
    uint32_t entry;
};

/* A name that an equal one stands for. */
struct hidden_name {
    uint32_t text, entry;
    bool suffix;
};

/* Two entries that hold the same client. */
struct list_overlap {
    uint32_t entry, by; /* entry adds nothing, or not all that it says, beside `by` */
    struct netaddr first, last, by_first, by_last; /* of addresses, for their canonical form */
    bool same;
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
    struct trie v4_trie, v6_trie;      /* over the two, once sealed */
    struct name_ref *names, *suffixes; /* until sealed */
    size_t n_names, cap_names, n_suffixes, cap_suffixes;
    struct name_table name_table, suffix_table;
    struct list_pattern *patterns;
    size_t n_patterns, cap_patterns;
    uint32_t self_entry; /* the entry `self`, or NAME_NONE */
    uint32_t open_name;  /* the first entry that names of strangers can match, or NAME_NONE */
    uint32_t first_name; /* the first entry with a name or a pattern, or NAME_NONE */
    /* What sealing left out or cut, as it was written: to name all that hold a client. */
    struct v4_interval *hidden_v4;
    struct v6_interval *hidden_v6;
    struct hidden_name *hidden_names;
    size_t n_hidden_v4, cap_hidden_v4, n_hidden_v6, cap_hidden_v6, n_hidden_names, cap_hidden_names;
    struct list_overlap *overlaps;
    size_t n_overlaps, cap_overlaps, all_overlaps; /* kept, and found in all */
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

/* list_seal.c: sorts, makes disjoint, finds overlaps, builds trees and tables. False: no memory. */
bool list_arrange(struct acl_list *list);

/* Room for `more` members of the given size; doubles. False: no memory. */
bool list_grow(void **v, size_t *cap, size_t n, size_t more, size_t size);
bool list_add_text(struct acl_list *list, struct span text, uint32_t *offset);

/* Fills text and position of an entry; first and last are for an entry in canonical form. */
void list_describe(const struct acl_list *list, uint32_t entry, const struct netaddr *first,
                   const struct netaddr *last, struct acl_hit *hit);

#endif
