/* service_call.h - a command that asks the running service through its control socket. */
#ifndef POSTERN_COMMANDS_SERVICE_CALL_H
#define POSTERN_COMMANDS_SERVICE_CALL_H

#include "policy/policy.h"

#include <jansson.h>

enum service_call { SERVICE_ANSWERED, SERVICE_REFUSED, SERVICE_ABSENT, SERVICE_FAILED };

/* Takes over request. ANSWERED: *result is the caller's. Else *code is the exit code, and for
 * REFUSED and FAILED the reason was said on stderr; ABSENT (no service runs there) says nothing. */
enum service_call service_call(const char *command, const struct policy *policy, json_t *request,
                               json_t **result, int *code);

/* "postern NAME: no service runs on DIRECTORY" and the exit code for it. */
int service_absent(const char *command, const struct policy *policy);

/* One line of indented JSON on stdout; takes over the value. */
void service_print_json(json_t *value);

#endif
