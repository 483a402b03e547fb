/* acl.h - who may connect, send and relay: one pure function, asked by the server and by
 * `postern explain` alike. Contract 2 and "Policy in words" of docs/architecture.md.
 * Owner: a policy belongs to the configuration snapshot that made it. Threads: immutable after
 * acl_policy_new and shared by all. Failure: building collects every problem with its place;
 * deciding cannot fail, what is not known or could not be found out is part of the verdict. */
#ifndef POSTERN_ACL_ACL_H
#define POSTERN_ACL_ACL_H

#include "acl/facts.h"
#include "acl/list.h"
#include "base/err.h"

enum acl_grant {
    ACL_ALL_EXCEPT, /* "all except the list below" */
    ACL_ONLY,       /* "only the list below" */
};

struct acl_control_options {
    enum acl_grant grant;
    struct acl_position grant_at;
    struct acl_list *list; /* NULL = an empty list; see acl_policy_new for the ownership */
    struct acl_position list_at;
};

struct acl_listener_options {
    struct acl_position at;
    bool tls_required; /* `required` and `implicit`: no MAIL in clear */
    struct acl_position tls_at;
    bool anonymous_set; /* the listener has a value of its own, which then stands */
    bool anonymous;
    struct acl_position anonymous_at;
};

enum acl_domain_type { ACL_DOMAIN_LOCAL, ACL_DOMAIN_REMOTE };

struct acl_domain_options {
    const char
        *name; /* A-labels, any case; a leading `*.` holds all below, not the domain itself */
    enum acl_domain_type type;
    bool relay; /* remote: taken from anybody who may connect */
    struct acl_position at;
};

struct acl_word {
    const char *text;
    struct acl_position at;
};
struct acl_words {
    const struct acl_word *v;
    size_t n;
    struct acl_position at; /* of the list */
};

/* At most so many a minute. */
struct acl_rate_limit {
    bool set;      /* of a profile: it has a limit of its own, which then stands */
    uint32_t most; /* 0: as many as they like */
    struct acl_position at;
};
struct acl_rate_limits {
    struct acl_rate_limit v[ACL_RATE_BYS][ACL_RATES];
};

/* What holds for some clients or accounts apart. The first profile that holds both is theirs. */
struct acl_profile_options {
    struct acl_position at;
    struct acl_list *clients;  /* NULL: every client; goes to the policy as the two lists do */
    struct acl_words accounts; /* none: whoever, logged in or not */
    /* Address patterns: user@domain, *@domain, *@*.domain, *, <>, /PCRE2/. None: all. */
    struct acl_words senders, recipients_allow, recipients_refuse;
    bool fixes_sender; /* the envelope's or From:'s, so at MAIL it matters whose it is */
    struct acl_rate_limits rates;
};

struct acl_options {
    struct acl_control_options connection;
    struct acl_control_options relay;
    bool relay_authenticated; /* "allow all computers which successfully authenticate to relay" */
    struct acl_position relay_authenticated_at;
    bool anonymous; /* authentication.anonymous */
    struct acl_position anonymous_at;
    const char *hostname; /* service.hostname; postmaster@hostname is taken */
    struct acl_position hostname_at;
    const struct acl_listener_options *listeners;
    size_t n_listeners;
    const struct acl_domain_options *domains;
    size_t n_domains;
    struct acl_profile_options *profiles;
    size_t n_profiles;
    struct acl_rate_limits rates; /* where the profile has none */
};

struct acl_policy;

/* Copies all options but the lists of clients: on success they belong to the policy and the
 * pointers in *options are set to NULL; otherwise they stay the caller's. Faulty domain names
 * become problems (ERR_PERM), no memory is ERR_TEMP. Position files are copied. */
bool acl_policy_new(struct acl_options *options, struct acl_policy **policy,
                    struct acl_problems *problems, struct err *e);
void acl_policy_free(struct acl_policy **policy);

enum acl_stage {
    ACL_CONNECT, /* before the greeting: connection control */
    ACL_MAIL,    /* TLS and authentication where they are demanded */
    ACL_RCPT,    /* the domain, or the relay right */
};

/* What a stage asks, one by one: the steps of `postern explain`. */
enum acl_step {
    ACL_STEP_CONNECTION,
    ACL_STEP_TLS,            /* MAIL */
    ACL_STEP_AUTHENTICATION, /* MAIL */
    ACL_STEP_SENDER,         /* MAIL */
    ACL_STEP_RELAY,          /* RCPT */
    ACL_STEP_RATE,           /* the last of each stage: what is limited by the minute */
};

enum acl_verdict {
    ACL_ALLOW,
    ACL_DENY,
    ACL_DEFER, /* it hangs on a fact that could not be found out: 4xx, never an allowance */
    ACL_NEED,  /* find out the facts of reason->need and ask again */
};

/* Why, and what would change it. Everything but the file name is held by value. */
struct acl_reason {
    enum acl_verdict verdict;
    enum acl_stage stage;
    enum acl_step step; /* the one that settled it */
    unsigned need;      /* ACL_NEED: ACL_NEED_* bits, at least one */
    /* ACL_NEED_RATES: take one of each that is not 0, all of them or none, where there is still
     * less than that within the minute; the answer is in acl_facts.rates. */
    uint32_t limits[ACL_RATE_BYS][ACL_RATES];
    char rule[48]; /* "access.relay", "domains[2]", "listeners[0].tls"; never empty */
    char entry[ACL_ENTRY_TEXT_MAX]; /* the list entry or domain that settled it, or "" */
    struct acl_position at;         /* of the entry where there is one, of the rule otherwise;
                                       file is borrowed from the policy */

    /* DENY and DEFER: the reply. The session says `code enhanced text`, then hint and its id. */
    unsigned code;
    char enhanced[12];
    char text[352]; /* the words that IIS administrators know: "Unable to relay for a@b" */
    char hint[160]; /* our reason, fit for the client's eyes; may be "" */

    char why[512];     /* a sentence for the administrator */
    char change[1024]; /* the smallest change that would turn it; "" for an ALLOW */

    /* RCPT, ALLOW. */
    bool relay_right; /* it was needed and is there (or Pickup); false where nobody had to look */
    bool local;       /* a local domain, or postmaster of this host: to the Drop directory */
    bool postmaster;  /* bare <postmaster> or postmaster@hostname: goes to postmaster@ of
                         acl_postmaster_domain */
};

/* Deterministic. More facts never turn an ALLOW or a DENY of the same stage. RCPT takes for granted
 * that CONNECT and MAIL allowed. *reason is filled always. */
enum acl_verdict acl_decide(const struct acl_policy *policy, enum acl_stage stage,
                            const struct acl_facts *facts, struct acl_reason *reason);

/* The names of a limit, as in its rule and in the facts: "client.messages". */
const char *acl_rate_name(enum acl_rate_by by, enum acl_rate rate);

/* Where <postmaster> goes: the first local domain (without wildcard), else the host name. */
const char *acl_postmaster_domain(const struct acl_policy *policy);

/* Whether the client of these facts has the relay right (the list, a login, Pickup): what missing
 * headers are added for. Unknown and failed facts give false. */
bool acl_has_relay_right(const struct acl_policy *policy, const struct acl_facts *facts);

/* The place of the client's profile in acl_options.profiles plus one; 0: none, or not known yet. */
size_t acl_profile_of(const struct acl_policy *policy, const struct acl_facts *facts);

/* True when a list has names, so that reverse DNS can matter at all. */
bool acl_uses_names(const struct acl_policy *policy);

/* The two lists, for the review, the bench and the metrics. */
const struct acl_list *acl_connection_list(const struct acl_policy *policy);
const struct acl_list *acl_relay_list(const struct acl_policy *policy);

/* Some listener lets an unauthenticated client from some global unicast address pass connection
 * control and relay to a domain that is not listed. On address intervals; `self` does not count, no
 * outsider connects from our own addresses. Names are taken as matching wherever somebody else
 * could own such a name: a pattern, unless it ends in a literal domain and `$`; `*.com`; not
 * `app.corp.example` and not `*.corp.example`. In an all-except list names shut nobody out.
 * A relay domain of a single public label (`*.com`, relay: true) counts too.
 * The reason has rule, entry, at, why and change. */
bool acl_is_open_relay(const struct acl_policy *policy, struct acl_reason *reason);

#endif
