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
    struct acl_rate_limits rates;
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

/* Whether it is this client's; the facts that it hangs on are added to *need. x NULL: it is. */
enum acl_match profile_holds(const struct profile *x, const struct acl_facts *f, unsigned *need);

/* Whose profile it is hangs on what is not known (need), or could not be found out (need 0), and
 * they differ. */
enum acl_verdict profile_unsure(const struct acl_policy *p, const struct profile *first,
                                unsigned need, struct acl_reason *r);

#endif
