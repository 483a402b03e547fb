/* lists.h - access lists of the configuration, `file:` lists included, for the acl room.
 * Inside policy only. Owner: the caller frees the list unless an acl_policy took it. Failure: every
 * faulty entry becomes a message at its own place; false only without memory or on a file that
 * cannot be read (then there is a message too). */
#ifndef POSTERN_POLICY_LISTS_H
#define POSTERN_POLICY_LISTS_H

#include "acl/list.h"
#include "policy/policy.h"

struct lists_context {
    const struct config *config;
    struct arena *arena;
    struct config_messages *m;
    const struct netaddr *self;
    size_t self_count;
    struct policy_list_file *files; /* room for every `file:` entry; as they were before reading */
    size_t file_count;
};

bool lists_load(struct lists_context *x, const struct config_list *entries, const char *key,
                struct acl_list **list);

size_t lists_files(const struct config_list *entries); /* how many entries are `file:` */

/* Whether building this list needs the machine's addresses (`self`, or a file that may hold it). */
bool lists_need_self(const struct config_list *entries);

#endif
