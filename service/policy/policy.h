/* policy.h - what the service goes by: one configuration, compiled, immutable, counted.
 * Owner: everybody who holds a reference; the last policy_unref releases. Threads: any; a policy
 * never changes after policy_load, so readers need no lock. A session takes a reference of the
 * snapshot that it pins. Failure: policy_load says all that is wrong in one run and leaves *out
 * NULL; the snapshot in force stays in force.
 * Loading reads the configuration and its `file:` lists, nothing else: no certificate, no store,
 * no socket, no data directory. serve, check and explain use the same snapshot. */
#ifndef POSTERN_POLICY_POLICY_H
#define POSTERN_POLICY_POLICY_H

#include "acl/acl.h"
#include "auth/auth.h"
#include "config/config.h"
#include "net/tls.h"
#include "queue/schedule.h"
#include "route/route.h"

#include <stdatomic.h>

/* A listener with everything inherited resolved. Its place in policy.listeners is the `listener`
 * of struct acl_facts. */
struct policy_listener {
    const struct config_listener *config;
    struct netaddr ip;
    uint16_t port;
    enum config_listener_tls tls;
    bool starttls;  /* STARTTLS can be offered: optional or required, and a certificate is named */
    bool anonymous; /* MAIL without authentication is taken */
    bool normalise_bare_lf;
    unsigned mechanisms; /* AUTH_* bits that may be offered here */
};

/* How to authenticate at a next hop: route's `credentials` is an index into policy.credentials. */
struct policy_credentials {
    const char *user;
    const char *password_file; /* absolute or from the working folder; read when it is needed */
};

/* The authorities to trust for a remote domain; policy_ca_file looks them up. */
struct policy_authorities {
    const char *domain; /* lower case, A-labels; maybe with `*.` */
    const char *file;
};

/* A list file as it was when it was read. */
struct policy_list_file {
    const char *path;
    uint64_t size, identity[2];
    int64_t modified_wall_ms;
};

struct policy {
    const struct config *config; /* every plain value: limits, delivery, logging, ... */
    const char *hostname;        /* banner, EHLO, Received, Message-ID */
    const char *data_directory;  /* relative ones are taken from the configuration's folder */
    struct acl_policy *acl;      /* under access.mode: observe with a connection control for all */
    struct acl_policy *observed; /* then: the connection control as it is written; else NULL */
    struct route_policy *route;
    const struct policy_listener *listeners;
    size_t listener_count;
    const struct policy_credentials *credentials;
    size_t credentials_count;
    const struct policy_authorities *authorities;
    size_t authorities_count;
    const char *ca_file;                  /* delivery.ca_file as a path to open */
    const struct tls_server_options *tls; /* NULL: no certificate is named */
    struct auth_options auth;
    struct schedule_options schedule;
    struct policy_list_file *list_files; /* what `file:` entries name */
    size_t list_file_count;
    const char *resolver_servers; /* "127.0.0.1:5353,[::1]:53"; "" = the system's */
    const char *log_file;         /* "" = standard error */

    atomic_size_t references; /* policy.c's own */
    struct arena arena;
    struct config *owned_config;
};

/* What of this machine goes into a policy. What is left out is asked of the system, and only when
 * the configuration needs it: the addresses for `self`, the name without service.hostname. */
struct policy_machine {
    const struct netaddr *self; /* NULL: asked */
    size_t self_count;
    const char *hostname; /* NULL: asked */
    /* What the machine is called, for "HOST\\user"; their first labels count as well. NULL: asked
     * when a domain is of backend system. */
    const char *const *names;
    size_t name_count;
};

/* self: the addresses of this machine's interfaces; NULL: asked of the system when a list has
 * `self`. On CONFIG_OK *out holds one reference. */
enum config_result policy_load(const char *path, const struct netaddr *self, size_t self_count,
                               struct policy **out, struct config_messages *m);
enum config_result policy_load_for(const char *path, const struct policy_machine *machine,
                                   struct policy **out, struct config_messages *m);
/* The same from memory; path is only named, and gives the folder for `file:`. */
enum config_result policy_parse(const char *path, struct span text,
                                const struct policy_machine *machine, struct policy **out,
                                struct config_messages *m);

/* The list files read again, everything else as it is: what the configuration's file says meanwhile
 * does not matter. */
enum config_result policy_load_lists(const struct policy *old, struct policy **out,
                                     struct config_messages *m);

/* How a list file looks now; false: it cannot be looked at. path stays. */
bool policy_list_file_look(struct policy_list_file *file);
bool policy_list_file_same(const struct policy_list_file *a, const struct policy_list_file *b);

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy **p); /* NULL is fine; clears the pointer */

/* The listener with this address as it stands in the file; NULL when there is none. */
const struct policy_listener *policy_listener_find(const struct policy *p, const char *address);

/* The profile of the client; NULL: none, or not known yet. */
const struct config_profile *policy_profile(const struct policy *p, const struct acl_facts *facts);

/* The same by the client's address alone, for what holds before the first command: a profile whose
 * names or accounts would have to be known is not his. */
const struct config_profile *policy_profile_by_address(const struct policy *p,
                                                       const struct netaddr *client);

/* "1.0": the oldest TLS version for this client; NULL: as for everybody. */
const char *policy_tls_minimum(const struct policy *p, const struct netaddr *client);

/* The authorities to check a next hop of this recipient domain (lower case, A-labels) against:
 * domains[].ca_file, else delivery.ca_file, as a path to open; "" = the system's. */
const char *policy_ca_file(const struct policy *p, struct span domain);

/* Which mechanisms a session could use there, as far as the configuration goes: AUTH_* bits. */
unsigned policy_mechanisms(const struct policy *p, bool tls);

/* Whether an unauthenticated stranger could relay through some listener (design: open relay); why
 * then has rule, entry, at, why and change. The service does not start as one without
 * access.i_know_this_is_an_open_relay. */
bool policy_is_open_relay(const struct policy *p, struct acl_reason *why);

/* What `postern check` has to say about a valid configuration, as warnings (an open relay that is
 * not declared is an error), sorted in. Opens nothing. */
void policy_review(const struct policy *p, struct config_messages *m);

#endif
