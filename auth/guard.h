/* guard.h - inside the auth room: what guessing passwords costs, with its lock and the clock around
 * the two tables that decide it: throttle.h (everybody) and lockout.h (accounts of domains).
 * Owner: auth.c. Threads: any; auth_lockout_ask BLOCKS, the others do not. */
#ifndef POSTERN_AUTH_GUARD_H
#define POSTERN_AUTH_GUARD_H

#include "auth/auth.h"
#include "auth/lockout.h"

struct guard;

bool guard_new(const struct throttle_options *options, struct guard **g, struct err *e);
void guard_free(struct guard **g); /* NULL is fine */
void guard_set_options(struct guard *g, const struct throttle_options *options);

struct guard *auth_guard(struct auth *a); /* auth.c's */

struct throttle_verdict auth_throttle_check(struct auth *a, const struct netaddr *peer,
                                            const char *account);
/* password: empty where it is not known (SCRAM). */
struct throttle_verdict auth_throttle_failed(struct auth *a, const struct netaddr *peer,
                                             const char *account, struct span password);
void auth_throttle_succeeded(struct auth *a, const struct netaddr *peer, const char *account);
uint32_t auth_throttle_delay_ms(struct auth *a); /* of one wrong password */

/* LOCKOUT_WAIT is waited for here, at most the domain's deadline; it comes out when that has
 * passed. tell: once after LOCKOUT_ASK. */
enum lockout_verdict auth_lockout_ask(struct auth *a, const struct auth_domain *domain,
                                      const char *account, struct span password);
void auth_lockout_tell(struct auth *a, const struct auth_domain *domain, const char *account,
                       struct span password, enum lockout_answer answer);

#endif
