/* explain.h - the whole walk CONNECT, MAIL, RCPT, step by step, for `postern explain` and for
 * refusals that were kept. Pure; the same acl_decide as the server's.
 * Owner: the caller's struct; the file names in it are borrowed from the policy. */
#ifndef POSTERN_ACL_EXPLAIN_H
#define POSTERN_ACL_EXPLAIN_H

#include "acl/acl.h"
#include "base/buf.h"

enum acl_outcome {
    ACL_ALLOWED,     /* exit 0 */
    ACL_REFUSED,     /* exit 1 */
    ACL_CANNOT_TELL, /* exit 2: DEFER or NEED */
};

enum { ACL_STEPS = 11 }; /* the five, and six limits by the minute */

struct acl_explanation {
    enum acl_outcome outcome;
    /* In order, up to the one that did not allow. Here `change` is filled for an ALLOW too: the
     * smallest change that would make it a refusal. */
    struct acl_reason steps[ACL_STEPS];
    size_t n;
};

/* Stops at the first stage that does not allow. */
void acl_explain(const struct acl_policy *policy, const struct acl_facts *facts,
                 struct acl_explanation *out);

/* The step that settled it: its fields are those of the JSON object. */
const struct acl_reason *acl_explain_last(const struct acl_explanation *x);

const char *acl_outcome_name(enum acl_outcome outcome); /* "allowed", "refused", "unknown" */
const char *
acl_verdict_name(enum acl_verdict verdict);       /* "allowed", "refused", "not now", "unknown" */
const char *acl_step_name(enum acl_step step);    /* "connection", "tls", "authentication", ... */
const char *acl_stage_name(enum acl_stage stage); /* "connect", "mail", "rcpt" */

/* "550 5.7.1 Unable to relay for a@b"; "" where there is no reply to give (ALLOW, NEED). */
bool acl_reason_reply(const struct acl_reason *reason, struct buf *out);

/* How many steps come before that stage. */
size_t acl_explain_until(const struct acl_explanation *x, enum acl_stage stage);

/* The text form in two parts: the steps [from, to), with what would turn each; and what came of it:
 * verdict, rule, place, entry, reply and, unless it is allowed, the change. */
bool acl_explain_steps(const struct acl_explanation *x, size_t from, size_t to, struct buf *out);
bool acl_explain_text(const struct acl_explanation *x, struct buf *out);

#endif
