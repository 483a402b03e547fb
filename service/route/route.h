/* route.h - where a recipient's mail goes next: the Drop directory, named hosts, or the MX of its
 * domain; with which TLS demand and which credentials. Pure: no look-up is made here.
 * Owner: a policy belongs to the configuration snapshot. Threads: immutable after route_policy_new.
 * A struct route is a value: it borrows nothing and may be copied to other threads.
 * Failure: ERR_PERM for a domain that cannot be an address (5.1.2). */
#ifndef POSTERN_ROUTE_ROUTE_H
#define POSTERN_ROUTE_ROUTE_H

#include "base/err.h"
#include "base/netaddr.h"
#include "base/span.h"

enum {
    ROUTE_DOMAIN_MAX = 256, /* 255 octets and a NUL (RFC 5321 4.5.3.1.2) */
    ROUTE_HOSTS_MAX = 8,    /* smart hosts of one route, tried in order */
    ROUTE_STEPS_MAX = 2,
    ROUTE_KEY_MAX = 640,
};

#define ROUTE_NO_CREDENTIALS SIZE_MAX

enum route_tls {
    ROUTE_TLS_NONE,
    ROUTE_TLS_OPTIONAL, /* when the peer offers it; no certificate is checked */
    ROUTE_TLS_REQUIRED, /* or the mail waits */
    ROUTE_TLS_VERIFY,   /* required, and chain and name must hold */
};

struct route_position {
    const char *file;
    unsigned line; /* 0: a default */
    unsigned column;
};

/* Credentials are an index into the caller's own table: route never sees a secret. */
struct route_domain_options {
    const char *name; /* any case, U-labels are turned into A-labels; leading `*.` = all below it */
    bool local;
    const char
        *smart_host; /* as delivery's; NULL or "" = the domain's MX or delivery's smart host */
    bool tls_set;    /* false: delivery's */
    enum route_tls tls;
    size_t credentials;
    struct route_position at;
    struct route_position smart_host_at;
};

struct route_options {
    const char *hostname; /* service.hostname: its postmaster is local */
    const struct route_domain_options *domains;
    size_t n_domains;
    /* "host", "host:port", "[10.0.0.1]", "[10.0.0.1]:25", "[IPv6:fd00::1]:25" ("[fd00::1]" too), or
     * several with commas between, tried in order. NULL or "" = none. A name is looked up by A and
     * AAAA, never by MX: what stands in the file is the machine that is meant. In brackets it is an
     * address and no DNS is asked. */
    const char *smart_host;
    struct route_position smart_host_at;
    bool direct_first; /* the domain's MX first, the smart host when that fails for now */
    enum route_tls tls;
    size_t credentials;     /* for the global smart host only, never for a host found by MX */
    uint16_t port;          /* delivery.port, for MX and for smart hosts without a port; 0 = 25 */
    const char *masquerade; /* NULL or "" = none */
    struct route_position masquerade_at;
    struct route_position delivery_at; /* of the `delivery` block, for what is a default */
};

/* What is wrong in the options; more than one may be found. */
struct route_problem {
    char text[256];
    const char *file; /* the options' own pointer */
    unsigned line;
    unsigned column;
};

struct route_policy;

/* problems has room for max_problems; *n_problems counts those written. False with ERR_PERM when
 * there is any, with ERR_TEMP without memory. All options are copied. */
bool route_policy_new(const struct route_options *options, struct route_policy **policy,
                      struct route_problem *problems, size_t max_problems, size_t *n_problems,
                      struct err *e);
void route_policy_free(struct route_policy **policy);

enum route_kind {
    ROUTE_DROP,  /* a local domain: the Drop directory */
    ROUTE_HOSTS, /* the named hosts, in order */
    ROUTE_MX,    /* look up the domain's MX; without one its A/AAAA (RFC 5321 5.1) */
};

struct route_host {
    char name[ROUTE_DOMAIN_MAX]; /* A-label name, or the address as text */
    bool literal;                /* address is filled: ask no DNS */
    struct netaddr address;
    uint16_t port;
};

/* One way to try. With direct_first there are two, and the second is for when the first could not
 * deliver for now (no connection, 4xx); a 5xx of the first is final. */
struct route_step {
    enum route_kind kind;
    struct route_host hosts[ROUTE_HOSTS_MAX]; /* ROUTE_HOSTS */
    size_t n_hosts;
    char domain[ROUTE_DOMAIN_MAX]; /* ROUTE_MX: look this up; lower-case A-labels */
    uint16_t port;                 /* ROUTE_MX */
    enum route_tls tls;
    /* ROUTE_TLS_VERIFY checks the name of the host that is connected to: hosts[i].name, or the MX
     * host's name. An MX that a forged DNS answer names would pass: a domain that must be safe from
     * that takes a smart host. */
    size_t credentials; /* index, or ROUTE_NO_CREDENTIALS */
    /* Equal for all recipients that may share connections and a concurrency limit. */
    char key[ROUTE_KEY_MAX];
};

struct route {
    struct route_step steps[ROUTE_STEPS_MAX];
    size_t n;                      /* at least one */
    char domain[ROUTE_DOMAIN_MAX]; /* the recipient's, lower-case A-labels */
    char rule[48];  /* "domains[1]", "domains[1].smart_host", "delivery.smart_host", "mx", ... */
    char file[256]; /* where the rule stands; "" and 0 for a default */
    unsigned line;
};

/* local is the recipient's local part (only postmaster@hostname asks for it). domain is as in the
 * envelope: U- or A-labels, any case, or a literal "[1.2.3.4]", "[IPv6:...]", which goes straight
 * to that address. False with ERR_PERM: 5.1.2. */
bool route_decide(const struct route_policy *policy, struct span local, struct span domain,
                  struct route *out, struct err *e);

/* The one call site of IDNA (RFC 5891 by UTS 46, non-transitional): lower-case A-labels, for DNS
 * and for every comparison of domains. ASCII names are only lower-cased (`_` is taken); literals
 * too. False with ERR_PERM: 5.1.2. */
bool route_domain_to_ascii(struct span domain, char out[ROUTE_DOMAIN_MAX], struct err *e);

/* delivery.masquerade: what replaces the domain of this sender. True, and *domain (borrowed from
 * the policy), when the sender's domain is local, the host name, or missing; false: leave it. Not
 * to be asked for <>. */
bool route_masquerade(const struct route_policy *policy, struct span sender_domain,
                      struct span *domain);

/* ---- MX answers ---------------------------------------------------------------------------- */

struct route_mx {
    char host[ROUTE_DOMAIN_MAX]; /* "" or "." is the root */
    uint16_t preference;
    bool self; /* the caller knows that this is our own machine (by its addresses) */
};

enum route_mx_result {
    ROUTE_MX_USE,     /* *n_out >= 1 hosts, the best first */
    ROUTE_MX_NONE,    /* no record: the domain's own A/AAAA */
    ROUTE_MX_NULL,    /* RFC 7505: takes no mail; permanent, 556 5.1.10 */
    ROUTE_MX_TO_SELF, /* we are its best MX, and it is not local here: permanent, 5.4.6 */
};

/* Sorts by preference and shuffles equals with the caller's random number (RFC 5321 5.1). Where
 * own_name or a record marked self is among them, it and all of the same or a worse preference are
 * left out, so that mail cannot loop. out has room for n and is not records. own_name may be NULL.
 */
enum route_mx_result route_order_mx(const struct route_mx *records, size_t n, const char *own_name,
                                    uint64_t random, struct route_mx *out, size_t *n_out);

#endif
