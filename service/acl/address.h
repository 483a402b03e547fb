/* address.h - patterns of mail addresses: which senders a client may use, which recipients it may
 * write to. Inside acl only. Forms, letters of whatever case: `user@domain`, `*@domain`,
 * `*@*.domain` (below it, not itself), `*` (every address), `<>` (the null sender), `/PCRE2/` on
 * the whole address. Looked at one by one: such lists are short. Threads: one while it is filled,
 * then immutable. */
#ifndef POSTERN_ACL_ADDRESS_H
#define POSTERN_ACL_ADDRESS_H

#include "acl/acl.h"
#include "acl/pattern.h"
#include "base/arena.h"

enum address_kind {
    ADDRESS_EVERY,
    ADDRESS_NULL,
    ADDRESS_EXACT,
    ADDRESS_DOMAIN,
    ADDRESS_BELOW,
    ADDRESS_PATTERN,
};

struct address {
    const char *text; /* as written */
    enum address_kind kind;
    struct span local, domain; /* within text */
    struct acl_pattern *pattern;
    struct acl_position at;
};

struct address_set {
    struct address *v;
    size_t n;
    struct acl_position at;
};

/* False: no memory. Faulty ones become problems. The patterns are released by address_set_drop. */
bool address_set_make(struct arena *memory, const struct acl_words *words, struct address_set *set,
                      struct acl_problems *problems);
void address_set_drop(struct address_set *set);

/* ACL_MATCH_YES with the one that holds the path; ACL_MATCH_FAILED: a match limit. */
enum acl_match address_set_match(const struct address_set *set, const struct acl_path *path,
                                 const struct address **found);

#endif
