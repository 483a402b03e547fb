/* exchange.h - inside the auth room: what an exchange and the auth that made it share. */
#ifndef POSTERN_AUTH_EXCHANGE_H
#define POSTERN_AUTH_EXCHANGE_H

#include "auth/auth.h"
#include "auth/backends.h"
#include "auth/guard.h"
#include "auth/identity.h"
#include "base/arena.h"

struct integrated_auth;

/* One set of options with the backends that they name; immutable, counted under auth's lock. */
struct auth_snapshot {
    struct arena arena; /* all strings of the options */
    struct auth_options options;
    struct backend_set backends;
    struct backend_groups *groups;      /* one a domain: the names of its allow list */
    struct integrated_auth *integrated; /* NULL: not enabled */
    struct refusal_pace ntlm_pace;
    unsigned integrated_ready; /* AUTH_* bits of the integrated mechanisms that proved themselves */
    unsigned missing;          /* AUTH_* bits that are wanted and libsasl2 has no plug-in for */
    unsigned refs;
};

/* A reference to the snapshot in force, and to the auth itself. */
struct auth_snapshot *auth_hold(struct auth *a);
void auth_release(struct auth *a, struct auth_snapshot *s);

unsigned auth_snapshot_mechanisms(const struct auth_snapshot *s,
                                  const struct auth_channel *channel);

/* For sasl_userdb.c, on the exchange's thread. */
bool exchange_wants_verifier(const struct auth_exchange *x);
bool exchange_verifier(struct auth_exchange *x, struct scram_verifier *v);

#endif
