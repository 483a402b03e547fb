/* explain_identity.h - for `postern explain --user`: whose name that is, and whether the domain's
 * allow list lets the account in; by the same functions as the service. No backend is asked, so of
 * a group nothing is known. Owner: the caller's struct; it borrows from the policy. */
#ifndef POSTERN_COMMANDS_EXPLAIN_IDENTITY_H
#define POSTERN_COMMANDS_EXPLAIN_IDENTITY_H

#include "acl/explain.h"
#include "auth/identity.h"
#include "policy/policy.h"

#include <jansson.h>

enum { EXPLAIN_IDENTITY_TEXT_MAX = 1024, EXPLAIN_IDENTITY_RULE_MAX = 64 };

struct explain_identity {
    const char *name; /* as it was given */
    enum identity_result result;
    struct identity id; /* for IDENTITY_OK */
    enum acl_outcome outcome;
    char rule[EXPLAIN_IDENTITY_RULE_MAX]; /* what settled it: authentication.domains[1].allow */
    struct config_pos at;
    const char *entry;                     /* of the list; "" where none did */
    char found[EXPLAIN_IDENTITY_TEXT_MAX]; /* why it is this domain */
    char why[EXPLAIN_IDENTITY_TEXT_MAX], change[EXPLAIN_IDENTITY_TEXT_MAX];
};

void explain_identity_judge(const struct policy *p, const char *name, struct explain_identity *out);

/* Lines for behind or instead of a verdict. */
void explain_identity_text(const struct policy *p, const struct explain_identity *who,
                           struct buf *out);
json_t *explain_identity_json(const struct policy *p, const struct explain_identity *who);

#endif
