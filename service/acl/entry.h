/* entry.h - one entry of an access list, from its text. Inside acl only.
 * Owner: the caller's struct; name and pattern are borrowed from the text. */
#ifndef POSTERN_ACL_ENTRY_H
#define POSTERN_ACL_ENTRY_H

#include "base/err.h"
#include "base/netaddr.h"
#include "base/span.h"

enum entry_kind {
    ENTRY_SELF,
    ENTRY_ADDRESS, /* first..last, both of one family */
    ENTRY_NAME,    /* name */
    ENTRY_SUFFIX,  /* `*.` + name */
    ENTRY_PATTERN, /* the text between the slashes */
};

struct acl_entry {
    enum entry_kind kind;
    struct netaddr first, last;
    struct span name;
};

/* The error reads "10.0.0.300: not an address, expected ...". */
bool acl_entry_parse(struct span text, struct acl_entry *entry, struct err *e);

/* An address, a prefix or a range, in the shortest form that this room writes. */
enum { ACL_INTERVAL_TEXT_MAX = 2 * NETADDR_TEXT_MAX };
void acl_interval_format(const struct netaddr *first, const struct netaddr *last, char *out);

/* Everybody can have a name right below: "com", "co.uk". A heuristic without a list of suffixes:
 * one label that is not known as private, or a usual second level below a country. */
bool acl_is_public_suffix(struct span domain);

#endif
