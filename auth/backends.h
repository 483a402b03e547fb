/* backends.h - inside the auth room: the backends of one set of options, one entry for each domain;
 * the domains of kind userdb share one, which lives on over a reload where nothing about it changed
 * (so its cache does). The others are opened anew, and so prove themselves anew.
 * Owner: the snapshot. Threads: a set is built and dropped by one thread; backends_verify and
 * backends_member on any, many at once; they block. */
#ifndef POSTERN_AUTH_BACKENDS_H
#define POSTERN_AUTH_BACKENDS_H

#include "auth/auth.h"
#include "auth/backend.h"
#include "auth/breaker.h"
#include "auth/refusal_pace.h"

#include <stdatomic.h>

struct mutex;

struct backend_entry {
    struct auth_backend *backend; /* NULL: this build or system has none of the kind */
    enum auth_backend_kind kind;
    char *label; /* "CORP (ldap)", for logs and reports */
    bool ready;  /* it proved itself when it was opened */
    char reason[BACKEND_REASON_MAX], cure[BACKEND_REASON_MAX];
    unsigned lane;      /* auth_exchange_lane */
    struct mutex *lock; /* of the breaker */
    struct breaker breaker;
    struct refusal_pace pace;
    atomic_uint refs;
};

struct backend_set {
    struct backend_entry **entries; /* one a domain, in order */
    size_t count;
    struct backend_entry *userdb; /* the shared one; NULL: no domain is of that kind */
};

/* NTLM has two lanes: a login's first message waits for a helper, its second message sets one free
 * and so may never stand behind a first one. */
enum {
    BACKEND_LANE_INTEGRATED = 1,
    BACKEND_LANE_INTEGRATED_ANSWER = 2,
    BACKEND_LANE_FIRST = 3,
};

/* Logs what is not ready. before, with its options: NULL at start. A user database that cannot be
 * opened is an error; a backend that cannot be is not ready. look: see auth_look. */
bool backend_set_open(const struct auth_options *options, bool look,
                      const struct backend_set *before, const struct auth_options *options_before,
                      struct backend_set *set, struct err *e);
void backend_set_close(struct backend_set *set);

const char *backend_kind_name(enum auth_backend_kind kind); /* "ldap", as in the configuration */

/* The backend's own word behind its breaker: BACKEND_UNAVAILABLE at once while that is open. */
enum backend_result backends_verify(struct backend_entry *entry, const char *account,
                                    struct span password, const struct backend_groups *groups,
                                    char reason[BACKEND_REASON_MAX]);
enum backend_result backends_member(struct backend_entry *entry, const char *account,
                                    const struct backend_groups *groups,
                                    char reason[BACKEND_REASON_MAX]);

#endif
