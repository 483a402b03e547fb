/* explain_print.h - the other parts of `postern explain`: its output, the look-up that was asked
 * for, the refusals that were kept. */
#ifndef POSTERN_COMMANDS_EXPLAIN_PRINT_H
#define POSTERN_COMMANDS_EXPLAIN_PRINT_H

#include "commands/explain_facts.h"
#include "commands/explain_identity.h"

#include <jansson.h>

/* {"verdict", "stage", "rule", "line", "entry", "reply", "change"} first, further fields behind.
 * NULL without memory. */
json_t *explain_json(const struct policy *p, const struct explain_answer *answer);

/* To stdout; false without memory. who: NULL = nobody has authenticated. */
bool explain_print_text(const struct policy *p, const struct explain_answer *answer,
                        const struct explain_identity *who);
bool explain_print_json(const struct policy *p, const struct explain_answer *answer,
                        const struct explain_identity *who);
/* --user alone: the same fields with stage "auth". */
bool explain_print_identity(const struct policy *p, const struct explain_identity *who, bool json);
/* A warning on stderr where no such session could come about. */
void explain_print_doubt(const struct policy *p, const struct explain_request *r);

/* --resolve: reverse DNS and forward confirmation, through the configuration's resolver. The names
 * are in the arena. EXIT_DONE (a failed look-up is a fact too) or an exit code. */
int explain_resolve(const struct policy *p, const struct netaddr *client, struct arena *arena,
                    struct acl_names *names);

/* A refusal by its id, from the data directory. Exit code 1 as it was a refusal; 66: none such. */
int explain_stored(const char *config, const char *id, bool json);

#endif
