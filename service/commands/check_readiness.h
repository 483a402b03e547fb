/* check_readiness.h - for `postern check`: how every backend of accounts and every mechanism proves
 * itself, and what each listener therefore offers. Where root asks, it is asked as the user that
 * the service will be (service.user, else the owner of the data directory), for good: what root can
 * read is no proof. Owner: the caller's struct. */
#ifndef POSTERN_COMMANDS_CHECK_READINESS_H
#define POSTERN_COMMANDS_CHECK_READINESS_H

#include "auth/auth.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdio.h>

enum { CHECK_USER_MAX = 256 };

struct check_readiness {
    const struct policy *policy;
    struct auth *auth; /* NULL: there are no domains of accounts, or it could not be looked at */
    char user[CHECK_USER_MAX]; /* as whom */
};

/* Adds a warning for each that is not ready, and for each that will disappoint some clients.
 * connect: and for each domain whose controller or directory does not answer or prove itself now.
 */
void check_readiness_open(const struct policy *p, bool connect, struct config_messages *m,
                          struct check_readiness *r);
void check_readiness_close(struct check_readiness *r);

void check_readiness_text(const struct check_readiness *r, FILE *to);
json_t *check_readiness_json(const struct check_readiness *r); /* null where there is nothing */

#endif
