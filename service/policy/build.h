/* build.h - from struct config to the options of the other rooms. Inside policy only. */
#ifndef POSTERN_POLICY_BUILD_H
#define POSTERN_POLICY_BUILD_H

#include "policy/policy.h"

/* p has its config and its arena. Says everything that is wrong; false when p cannot be used, with
 * or (without memory) without a message. machine may be NULL. */
bool build_policy(struct policy *p, const struct policy_machine *machine,
                  struct config_messages *m);

/* A path of the configuration, from the file's folder; "" stays "": such an option is not given.
 * NULL without memory. */
const char *build_path(struct policy *p, const char *path);

#endif
