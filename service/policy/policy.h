/* policy.h - what the service goes by: one configuration, compiled, immutable, counted.
 * Owner: everybody who holds a reference; the last policy_unref releases. Threads: any; a policy
 * never changes after policy_load, so readers need no lock. A session takes a reference of the
 * snapshot that it pins. Failure: policy_load says all that is wrong in one run and leaves *out
 * NULL; the snapshot in force stays in force.
 * Loading reads the configuration and its `file:` lists, nothing else: no certificate, no store,
 * no socket, no data directory, no look-up. serve, check and explain use the same snapshot. */
#ifndef POSTERN_POLICY_POLICY_H
#define POSTERN_POLICY_POLICY_H

#include "config/config.h"

struct acl_policy;   /* acl/acl.h */
struct route_policy; /* route/route.h */

/* A listener with everything inherited resolved. */
struct policy_listener {
    const struct config_listener *config;
    struct netaddr ip;
    uint16_t port;
    enum config_listener_tls tls;
    bool starttls;  /* STARTTLS can be offered: tls optional or required, and a certificate named */
    bool anonymous; /* MAIL without authentication is taken */
    bool normalise_bare_lf;
};

struct policy {
    const struct config *config; /* every plain value: limits, delivery, logging, tls, ... */
    const char *hostname;        /* banner, EHLO, Received, Message-ID; lower or as configured */
    struct acl_policy *acl;
    struct route_policy *route;
    const struct policy_listener *listeners;
    size_t listener_count;
};

/* self: the addresses of this machine's interfaces, for `self` entries; may be empty.
 * On CONFIG_OK *out holds one reference. */
enum config_result policy_load(const char *path, const struct netaddr *self, size_t self_count,
                               struct policy **out, struct config_messages *m);

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy **p); /* NULL is fine; clears the pointer */

/* The listener with this address as it stands in the file; NULL when there is none. */
const struct policy_listener *policy_listener_find(const struct policy *p, const char *address);

/* Whether an unauthenticated stranger could relay through some listener (design: open relay).
 * Then example (may be NULL) names a client address that could, where says which option is at
 * fault, and key names it. The service does not start as one without
 * access.i_know_this_is_an_open_relay. */
struct policy_open_relay {
    struct netaddr example;
    const struct policy_listener *listener;
    struct config_pos at;
    const char *key;
};
bool policy_is_open_relay(const struct policy *p, struct policy_open_relay *why);

/* What `postern check` has to say about a valid configuration, as warnings (an open relay that is
 * not declared is an error). Opens nothing. */
void policy_review(const struct policy *p, struct config_messages *m);

#endif
