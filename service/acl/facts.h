/* facts.h - what is known about one client, one sender, one recipient when a decision is asked for.
 * Owner: the caller; every span and pointer is borrowed for the time of one call. Threads: none of
 * its own. *Not known yet* is a value (FACT_UNKNOWN), not an error: acl_decide names the unknown
 * facts that could still change its answer, and only those. */
#ifndef POSTERN_ACL_FACTS_H
#define POSTERN_ACL_FACTS_H

#include "base/netaddr.h"
#include "base/span.h"

enum acl_fact_state {
    FACT_UNKNOWN, /* nobody has looked yet */
    FACT_FAILED,  /* looked, and could not find out (a DNS failure): never allows */
    FACT_ABSENT,  /* looked, and there is none (no name, a name not confirmed, no TLS, no login) */
    FACT_VALUE,
};

/* The client's host names by reverse DNS, only those whose forward look-up holds the client's
 * address again. A name that does not resolve or confirm is left out; none left = FACT_ABSENT. */
struct acl_names {
    enum acl_fact_state state;
    const struct span *v; /* any case, a dot at the end is taken */
    size_t n;
};

/* A path as the grammar has parsed it; acl knows no grammar.
 * Bare <postmaster>: postmaster is set and domain is empty. <>: all spans are empty. */
struct acl_path {
    struct span text;   /* the address as it goes into replies: no angle brackets, no route */
    struct span local;  /* the local part after unquoting, byte for byte */
    struct span domain; /* lower case, A-labels (route_domain_to_ascii); empty for a bare name */
    bool postmaster;    /* bare <postmaster>, any case; for others acl looks itself */
    bool literal;       /* the domain is an address literal; then it stands with its brackets */
};

enum acl_origin {
    ACL_FROM_NETWORK,
    ACL_FROM_PICKUP, /* a file in mail/Pickup: whoever may write there may relay, a rule of its own
                      */
};

/* The bits of acl_reason.need. */
enum {
    ACL_NEED_NAMES = 1,
    ACL_NEED_TLS = 2,
    ACL_NEED_IDENTITY = 4,
    ACL_NEED_RATES = 8, /* alone: all else allows; acl_reason.limits says what is to be counted */
};

/* What is counted by the minute, and whose. */
enum acl_rate { ACL_RATE_CONNECTIONS, ACL_RATE_MESSAGES, ACL_RATE_RECIPIENTS, ACL_RATES };
enum acl_rate_by { ACL_BY_CLIENT, ACL_BY_ACCOUNT, ACL_RATE_BYS };

struct acl_rate_use {
    uint32_t used;   /* within the last minute, without what is asked for now */
    uint32_t wait_s; /* until there is room again, where there is none; for people */
};

struct acl_rate_facts {
    enum acl_fact_state state; /* FACT_VALUE: counted; else nobody has looked yet */
    struct acl_rate_use use[ACL_RATE_BYS][ACL_RATES];
};

struct acl_facts {
    enum acl_origin origin;
    struct netaddr client; /* network origin only */
    struct acl_names names;
    size_t listener;         /* index in acl_options.listeners */
    enum acl_fact_state tls; /* FACT_VALUE = the session is under TLS */
    enum acl_fact_state identity_state;
    struct span identity;       /* the canonical account, when FACT_VALUE */
    bool authentication_failed; /* AUTH was tried and refused in this session; .NET goes on after it
                                 */
    struct acl_path sender;     /* from ACL_MAIL on */
    struct acl_path recipient;  /* ACL_RCPT */
    struct acl_rate_facts rates;
};

#endif
