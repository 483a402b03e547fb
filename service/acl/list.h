/* list.h - one access list: addresses, host names and patterns, made for millions of entries.
 * Entry forms: `self`, an address, a CIDR prefix, address/mask, a range a-b, an exact host name,
 * `*.domain` (which does not hold the domain itself), `/PCRE2/` (no case, anchored as written).
 * An IPv4-mapped IPv6 entry or client is the IPv4 one; `::/0` holds IPv6 addresses only.
 * Owner: whoever made it, until an acl_policy takes it. Threads: one until it is sealed; then
 * immutable and shared by all. Failure: faulty entries are collected as problems, all of them;
 * false from acl_list_add means that there is no memory. */
#ifndef POSTERN_ACL_LIST_H
#define POSTERN_ACL_LIST_H

#include "acl/facts.h"
#include "base/err.h"

/* Where something was written. line 0: in no file (a default). */
struct acl_position {
    const char *file;
    unsigned line;
    unsigned column;
};

/* One entry as the configuration, or a line of a file: list, gave it. Copied by acl_list_add. */
struct acl_entry_source {
    struct span text;
    const char *file;
    unsigned line;
    unsigned column;
};

/* What is wrong at a place: "10.0.0.300: not an address, expected ...". */
struct acl_problem {
    char text[256];
    const char *file; /* the source's own pointer */
    unsigned line;
    unsigned column;
};

struct acl_problems {
    struct acl_problem *v;
    size_t n;
    size_t cap;
    size_t left_out; /* found, but past ACL_PROBLEMS_MAX */
};

enum { ACL_PROBLEMS_MAX = 1000 };

void acl_problems_init(struct acl_problems *p);
void acl_problems_deinit(struct acl_problems *p);

struct acl_list;

/* self: the addresses of this machine's interfaces; 127.0.0.1 and ::1 are added. NULL: no memory.
 */
struct acl_list *acl_list_new(const struct netaddr *self, size_t n_self);
void acl_list_free(struct acl_list **list);

/* May be called many times, so a file of a million lines need not stand in memory at once. A faulty
 * entry becomes a problem and is left out; the others go in. */
bool acl_list_add(struct acl_list *list, const struct acl_entry_source *entries, size_t n,
                  struct acl_problems *problems, struct err *e);

/* Sorts, drops what other entries hold, builds what is asked, gives spare memory back. To be called
 * once, before use (acl_policy_new calls it where the caller has not). */
bool acl_list_seal(struct acl_list *list, struct err *e);

size_t acl_list_count(const struct acl_list *list);   /* entries taken */
bool acl_list_has_names(const struct acl_list *list); /* host names, *.domains or patterns */
size_t acl_list_memory(const struct acl_list *list); /* bytes held, for the bench and the metrics */

/* Entries of which one holds what another holds too: a duplicate, a part, an overlap. `self` is
 * left out, since it means what the machine has. A pattern is compared with nothing. */
struct acl_overlap {
    char text[256], by[256]; /* both as acl_hit.text */
    struct acl_position at, by_at;
    bool same; /* the two hold just the same */
};

enum { ACL_OVERLAPS_MAX = 100 };

size_t acl_list_overlaps(const struct acl_list *list); /* found in all */
/* i < ACL_OVERLAPS_MAX; in no order. The files are borrowed from the list. */
void acl_list_overlap(const struct acl_list *list, size_t i, struct acl_overlap *out);

enum acl_match {
    ACL_MATCH_NO,
    ACL_MATCH_YES,
    ACL_MATCH_FAILED,  /* it hangs on a name that could not be looked up, or on a match limit */
    ACL_MATCH_UNKNOWN, /* it hangs on the names, and nobody has looked yet */
};

enum { ACL_ENTRY_TEXT_MAX = 256 };

/* The entry that settled it. */
struct acl_hit {
    char text[ACL_ENTRY_TEXT_MAX]; /* as written, cut to fit; addresses in canonical form */
    struct acl_position at;        /* file is borrowed from the list */
    bool overlaps;                 /* other entries may hold the same client */
};

/* The first entry that is a host name, a `*.domain` or a pattern and stands in another file than
 * that one (NULL: in whatever file); false where there is none. */
bool acl_list_first_name(const struct acl_list *list, const char *but_not, struct acl_hit *hit);

/* Addresses settle first; names are looked at only when no address entry holds the client.
 * hit may be NULL and is filled for ACL_MATCH_YES only. */
enum acl_match acl_list_match(const struct acl_list *list, const struct netaddr *client,
                              const struct acl_names *names, struct acl_hit *hit);

/* All entries that hold the client, the one of acl_list_match first: at most `max` go into hits.
 * Returns how many there are; *unsure: there may be more (names that nobody knows yet, a pattern's
 * match limit, very many overlaps). */
size_t acl_list_holders(const struct acl_list *list, const struct netaddr *client,
                        const struct acl_names *names, struct acl_hit *hits, size_t max,
                        bool *unsure);

#endif
