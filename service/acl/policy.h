/* policy.h - the built form of acl_options. Inside acl only. */
#ifndef POSTERN_ACL_POLICY_H
#define POSTERN_ACL_POLICY_H

#include "acl/acl.h"
#include "acl/names.h"
#include "acl/reason.h"
#include "base/arena.h"

struct control {
    const char *rule;      /* "access.connection", "access.relay" */
    const char *list_rule; /* the same with ".list": what a change names */
    enum acl_grant grant;
    struct acl_position grant_at;
    struct acl_list *list; /* never NULL */
    struct acl_position list_at;
};

struct policy_domain {
    const char *name; /* as written */
    struct acl_position at;
    bool local;
    bool relay;
};

struct profile;

struct acl_policy {
    struct arena memory;
    struct control connection, relay;
    bool relay_authenticated;
    struct acl_position relay_authenticated_at;
    bool anonymous;
    struct acl_position anonymous_at;
    const char *hostname;
    struct acl_position hostname_at;
    struct acl_listener_options *listeners;
    size_t n_listeners;
    struct policy_domain *domains;
    size_t n_domains;
    char *pool; /* the names of both tables, lower case; the value is an index in domains */
    struct name_table exact, suffix;
    struct profile *profiles;
    size_t n_profiles;
    struct acl_rate_limits rates;
    bool has_rates;      /* somewhere */
    uint32_t postmaster; /* index of the first local domain without wildcard, or NAME_NONE */
};

/* The domain entry that holds the name: exact, else the longest wildcard; NULL = not listed. */
const struct policy_domain *policy_domain_find(const struct acl_policy *p, struct span name);

/* policy.c: a position whose file name is the policy's own. */
bool policy_keep_at(struct acl_policy *p, const struct acl_position *from, struct acl_position *to);
/* policy.c: limits with such positions; has_rates where one of them limits. */
bool policy_keep_rates(struct acl_policy *p, const struct acl_rate_limits *from,
                       struct acl_rate_limits *to);

/* decide.c: the reason of a step that let the client pass, where a later one of its stage settles
 * it. */
void decide_passed(const struct acl_policy *p, enum acl_step step, const struct acl_facts *facts,
                   struct acl_reason *reason);

/* Whether this listener takes mail without a login. */
bool policy_anonymous(const struct acl_policy *p, size_t listener);

/* What relay or connection control says about a client, polarity included: ACL_MATCH_YES = may. */
enum acl_match control_judge(const struct control *control, const struct acl_facts *facts,
                             struct acl_hit *hit);

/* So many entries are named in a change; and the room that its end needs. */
enum { HOLDERS_TOLD = 16, ITEM_ROOM = 96 };

/* Appends the change that takes the client out of a list: "remove "A" from LIST (file:1)", or all
 * that hold it: "remove "A" (file:1) and "B" (file:2) from LIST". hit: of acl_list_match. */
void reason_put_removal(char *out, size_t size, const struct control *control,
                        const struct acl_facts *facts, const struct acl_hit *hit);

#endif
