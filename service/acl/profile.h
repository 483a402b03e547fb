/* profile.h - what holds for some clients or accounts apart: the senders they may use, the
 * recipients they may write to. Inside acl only.
 * The first profile that holds the client and the account is theirs; no other one counts. */
#ifndef POSTERN_ACL_PROFILE_H
#define POSTERN_ACL_PROFILE_H

#include "acl/address.h"

struct profile {
    struct acl_position at;
    struct acl_list *clients; /* NULL: all */
    const char **accounts;
    size_t n_accounts; /* 0: all, logged in or not */
    struct address_set senders, allow, refuse;
    bool fixes_sender;
};

/* False: no memory. The lists of clients become the policy's once it is made. */
bool profiles_make(struct acl_policy *p, const struct acl_options *options,
                   struct acl_problems *problems);
void profiles_drop(struct acl_policy *p);

/* The steps ACL_STEP_SENDER and ACL_STEP_RELAY (of which it is a part: what the other rules allow,
 * the profile may refuse). r->stage is set before. For an allowed recipient the reason says
 * nothing.
 */
enum acl_verdict profile_decide(const struct acl_policy *p, const struct acl_facts *f,
                                enum acl_step step, struct acl_reason *r);

/* decide.c: the common ends of a decision. */
enum acl_verdict decide_need(struct acl_reason *r, unsigned facts);
enum acl_verdict decide_refuse(struct acl_reason *r, enum acl_verdict verdict, unsigned code,
                               const char *enhanced);

#endif
