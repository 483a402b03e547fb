/* rate.h - limits by the minute, as rules; session/rates.h counts. Inside acl only. */
#ifndef POSTERN_ACL_RATE_H
#define POSTERN_ACL_RATE_H

#include "acl/policy.h"

/* The step ACL_STEP_RATE of r->stage, asked when all else allows. *r stays as it is for an
 * ALLOW. */
enum acl_verdict rate_decide(const struct acl_policy *p, const struct acl_facts *f,
                             struct acl_reason *r);

/* For the walk: the reason of a limit of this stage that lets the client pass; false: there is
 * none. */
bool rate_passed(const struct acl_policy *p, const struct acl_facts *f, enum acl_stage stage,
                 enum acl_rate_by by, enum acl_rate rate, struct acl_reason *r);

#endif
