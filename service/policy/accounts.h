/* accounts.h - the options of the auth room, and what is wrong with its names. Inside policy only.
 */
#ifndef POSTERN_POLICY_ACCOUNTS_H
#define POSTERN_POLICY_ACCOUNTS_H

#include "policy/policy.h"

/* AUTH_* bits; unknown names were complained about by the binder. */
unsigned accounts_mechanisms(const struct config_list *names);

/* p has its names and paths. The machine's own names are asked of the system when some domain is of
 * backend system; machine may be NULL. False without memory, or with a message. */
bool accounts_build(struct policy *p, const struct policy_machine *machine,
                    struct config_messages *m);

#endif
