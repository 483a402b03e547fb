/* auth.h - who the client is: one door to libsasl2's server side and to the account backends.
 * Owner: run.c holds the struct auth; a session holds its exchange.
 * Threads: every function of struct auth may be called on any thread. An exchange belongs to one
 * thread at a time: the session makes it, gives it to the auth lane for each step and gets it back;
 * where the session died meanwhile the lane frees it. auth_exchange_step is the only call that
 * blocks (key derivation, a database, a directory).
 * Failure: what the client did wrong is an outcome, not an error; only auth_open, auth_reload and
 * auth_exchange_new (no memory) fill a struct err.
 * Sources: RFC 4954 (AUTH), RFC 4616 (PLAIN), RFC 5802 and RFC 7677 (SCRAM-SHA-256), RFC 9266
 * (tls-exporter), RFC 5929 (tls-unique). */
#ifndef POSTERN_AUTH_AUTH_H
#define POSTERN_AUTH_AUTH_H

#include "auth/throttle.h"
#include "base/err.h"
#include "base/netaddr.h"

/* Mechanisms are bits, in the order in which they are offered. */
enum auth_mechanism {
    AUTH_SCRAM_SHA_256_PLUS = 1 << 0,
    AUTH_SCRAM_SHA_256 = 1 << 1,
    AUTH_GSSAPI = 1 << 2,     /* RFC 4752; SPNEGO and raw NTLM tokens too, as .NET sends them */
    AUTH_GSS_SPNEGO = 1 << 3, /* RFC 4178 */
    AUTH_NTLM = 1 << 4,       /* MS-SMTPNTLM */
    AUTH_PLAIN = 1 << 5,
    AUTH_LOGIN = 1 << 6,
};
#define AUTH_MECHANISMS_SCRAM ((unsigned)(AUTH_SCRAM_SHA_256_PLUS | AUTH_SCRAM_SHA_256))
#define AUTH_MECHANISMS_INTEGRATED ((unsigned)(AUTH_GSSAPI | AUTH_GSS_SPNEGO | AUTH_NTLM))
#define AUTH_MECHANISMS_BASIC ((unsigned)(AUTH_PLAIN | AUTH_LOGIN))
#define AUTH_MECHANISMS_ALL                                                                        \
    (AUTH_MECHANISMS_SCRAM | AUTH_MECHANISMS_INTEGRATED | AUTH_MECHANISMS_BASIC)

enum { AUTH_MECHANISMS_TEXT_MAX = 128 };

unsigned auth_mechanism_parse(struct span name); /* its bit; 0 for one that we do not know */
const char *auth_mechanism_name(enum auth_mechanism mechanism);
unsigned
auth_mechanisms_parse(struct span list); /* names between spaces; unknown ones are skipped */

/* What keeps the accounts of a domain. A kind that this build or system does not have answers
 * AUTH_UNAVAILABLE for its accounts. */
enum auth_backend_kind {
    AUTH_BACKEND_USERDB,   /* users.db; all domains of this kind share the one file */
    AUTH_BACKEND_SYSTEM,   /* this machine's accounts and those of the domain it is joined to */
    AUTH_BACKEND_LDAP,     /* a directory, by bind */
    AUTH_BACKEND_KERBEROS, /* a KDC, by password */
};

struct auth_domain {
    const char *name;
    const char *const *aliases;
    size_t alias_count;
    enum auth_backend_kind backend;
    /* Who of its accounts may authenticate: accounts and groups of that domain, as DOMAIN\\name;
     * none: all. */
    const char *const *allow;
    size_t allow_count;
    struct {
        const char *pam_service; /* "postern" */
        const char *pam_name;    /* "{domain}\\{user}", for accounts of a joined domain */
        const char *helper;      /* the helper's socket; "" = one that we start ourselves */
    } system;
    struct {
        const char *url; /* ldaps://host[:port] or ldap://host (with StartTLS), more by spaces */
        const char *ca_file; /* "" = the system's authorities */
        const char *bind;    /* the name to bind as; {user} stands for the account */
        const char *base;    /* where groups are looked up; "" = the directory's own root */
    } ldap;
    struct {
        const char *realm;       /* "" = the domain's name in upper case */
        const char *service;     /* of our principal, service/host@REALM: "smtp" */
        const char *keytab;      /* "" = the system's (KRB5_KTNAME, else /etc/krb5.keytab) */
        const char *const *kdcs; /* host[:port]; none: as krb5.conf or DNS say */
        size_t kdc_count;
    } kerberos;
    uint32_t deadline_ms; /* of one check; 0 = AUTH_DEADLINE_DEFAULT_MS */
    /* How many wrong passwords of one account may reach the domain within lockout_window_ms of the
     * last one, so that we never lock it there (lockout.h): below the domain's own threshold, and
     * not shorter than its own memory. 0 = the defaults. Not for userdb. */
    uint32_t lockout_below, lockout_window_ms;
};

enum {
    AUTH_ITERATIONS_LEAST = 100000,
    AUTH_ITERATIONS_DEFAULT = 100000,
    AUTH_DEADLINE_DEFAULT_MS = 5000,
    AUTH_LOCKOUT_BELOW_DEFAULT = 4,
    AUTH_LOCKOUT_WINDOW_DEFAULT_MS = 30 * 60 * 1000,
    AUTH_CACHE_TTL_DEFAULT_MS = 120000,
    AUTH_CACHE_ENTRIES_DEFAULT = 1024,
};

struct auth_options {
    const char *hostname;              /* libsasl2's serverFQDN */
    const struct auth_domain *domains; /* in order; the first match wins */
    size_t domain_count;
    /* What this machine is called: NetBIOS name, host name, full name; "." needs no mention. Each
     * of them names the domain that has one of them (or ".") for its name or alias. */
    const char *const *machine_names;
    size_t machine_name_count;
    unsigned mechanisms; /* narrows the set; AUTH_MECHANISMS_ALL does not */
    struct {
        bool enabled;               /* PLAIN and LOGIN */
        bool require_tls;           /* never in clear */
        const char *default_domain; /* of a bare name; NULL or "" = the first domain */
    } basic;
    struct {
        bool require_tls;
        uint32_t iterations; /* of new verifiers and of the decoys; 0 = AUTH_ITERATIONS_DEFAULT */
    } scram;
    struct {
        bool enabled;
        const char *keytab;    /* "" = the system's */
        const char *ntlm_auth; /* the program with its arguments; "" = no NTLM */
    } integrated;
    struct throttle_options throttle; /* all zero = the defaults of throttle.h */
    const char *userdb_path;          /* users.db; needed when a domain is of kind userdb */
    uint32_t cache_ttl_ms;            /* of a proved password; 0 = AUTH_CACHE_TTL_DEFAULT_MS */
    uint32_t cache_entries;           /* 0 = AUTH_CACHE_ENTRIES_DEFAULT */
};

struct auth;

/* Copies the options. The first call initialises libsasl2 for the process (call it before other
 * threads use libsasl2) and opens, or makes, users.db. */
bool auth_open(const struct auth_options *options, struct auth **a, struct err *e);
/* The new options hold for exchanges that begin from now on; those under way keep the old ones.
 * On failure nothing changes. The throttle's memory and the cache survive. */
bool auth_reload(struct auth *a, const struct auth_options *options, struct err *e);
void auth_close(struct auth **a); /* exchanges that still live keep what they need */

/* The session's channel, as far as the choice of mechanisms goes. */
struct auth_channel {
    bool tls;
    bool channel_binding; /* auth_peer will carry one: TLS is up and it could be exported */
    unsigned mechanisms;  /* what the listener allows; AUTH_MECHANISMS_ALL where it does not say */
};

/* What may be used there, as bits; 0 = do not offer AUTH. Only what works: nothing in clear unless
 * configured, -PLUS only with a channel binding, SCRAM only where a userdb is. */
unsigned auth_mechanisms_for(struct auth *a, const struct auth_channel *channel);
/* How a backend or a mechanism proved itself when the options were taken (at start and on reload):
 * what is not ready is not offered. What the options switch off is not mentioned. */
struct auth_readiness {
    const char *what; /* "GSSAPI", or the domain's name with its backend: "CORP (ldap)" */
    bool ready;
    const char *reason; /* ready: what is missing for some clients all the same, or "" */
    const char *cure;   /* what the administrator can do; "" when ready and, if asked, reached */
    unsigned mechanism; /* its bit; 0: a backend, and then */
    size_t domain;      /* its place in the options */
};
/* Calls report for each of them, backends first, under a lock: report must not call back into auth.
 */
void auth_report(struct auth *a,
                 void (*report)(void *context, const struct auth_readiness *readiness),
                 void *context);

/* As auth_open, to look only (`postern check`): the same proofs, but nothing is made and nothing
 * logged; a user database that cannot be used is not ready, one that is not there yet is. Only
 * auth_reach, auth_report, auth_mechanisms_for and auth_close may be called with it. */
bool auth_look(const struct auth_options *options, struct auth **a, struct err *e);

/* Wrong passwords that are counted just now: of an address (throttle.h), of an account (the same),
 * of an account whose domain may lock it (lockout.h). */
enum auth_guesses_of { AUTH_GUESSES_OF_PEER, AUTH_GUESSES_OF_ACCOUNT, AUTH_GUESSES_AT_DOMAIN };
enum { AUTH_GUESSES_WHO_MAX = 72 };
struct auth_guesses {
    enum auth_guesses_of of;
    char who[AUTH_GUESSES_WHO_MAX]; /* an address, for IPv6 its /64; an account, cut */
    uint32_t failures;              /* all that are not forgotten yet */
    uint32_t guesses;               /* without repetitions of one password; not AT_DOMAIN */
    uint32_t refused_ms;            /* gets 454 for so long yet; 0 = does not */
};
/* Those of each kind newest first, at most max in all; returns how many it has written, and in
 * *more whether there were others. */
size_t auth_guesses(struct auth *a, struct auth_guesses *out, size_t max, bool *more);
/* How many accounts of domains are not asked about just now (lockout.h). */
size_t auth_held_back(struct auth *a);

/* Asks each ready backend that is outside whether it answers now; what does not shows in
 * auth_report as ready with a reason and a cure. BLOCKS, at most the deadline for each. Only after
 * auth_look. */
void auth_reach(struct auth *a);

/* The same as the text behind "AUTH "; false when there is none. size: AUTH_MECHANISMS_TEXT_MAX. */
bool auth_mechanisms(struct auth *a, const struct auth_channel *channel, char *out, size_t size);

struct auth_binding {
    const char *type; /* "tls-exporter" (RFC 9266) on TLS 1.3, "tls-unique" (RFC 5929) below */
    struct span bytes;
};
enum { AUTH_BINDINGS_MAX = 3, AUTH_BINDING_BYTES_MAX = 64, AUTH_END_POINTS_MAX = 2 };

struct auth_peer {
    struct netaddr client;
    struct auth_channel channel;
    struct auth_binding bindings[AUTH_BINDINGS_MAX]; /* copied; count 0 without channel_binding */
    size_t binding_count;
    /* "tls-server-end-point" (RFC 5929), which Windows clients bind to; copied. For the integrated
     * mechanisms alone: SCRAM has the stronger ones above. */
    struct span end_points[AUTH_END_POINTS_MAX];
    size_t end_point_count;
};

enum auth_outcome {
    AUTH_CONTINUE,        /* 334 and the challenge; more input is wanted */
    AUTH_OK,              /* 235 */
    AUTH_BAD_CREDENTIALS, /* 535 5.7.3; also for what could never be right, as an empty password */
    AUTH_NO_BACKEND,      /* no such domain; on the wire exactly as AUTH_BAD_CREDENTIALS */
    AUTH_UNAVAILABLE,     /* 454 4.7.0: a backend does not answer; never 535 */
    AUTH_SYNTAX,          /* 501 5.5.2: the mechanism's message is malformed; no guess */
    AUTH_MECHANISM,       /* 504 5.5.4: not offered here; no guess */
    /* 454 4.7.0: too many wrong passwords from there, or for that account of a domain that locks;
     * nothing was checked */
    AUTH_THROTTLED,
};

struct auth_step {
    enum auth_outcome outcome;
    struct span challenge; /* AUTH_CONTINUE: raw, to be sent in base64; may be empty */
    /* AUTH_OK: the one canonical form DOMAIN\account, the domain spelt as configured, the account
     * normalised. No other name of the same account ever comes out. */
    const char *identity;
    uint32_t delay_ms; /* what guessing costs here (tarpit), for the log */
    /* The reply goes out at this moment (platform/clock.h) and not before: the delay, and that
     * refusals of a backend take the same time. 0 = at once. */
    uint64_t reply_at_ms;
    const char *name;   /* the name as the client gave it, for the log; "" when none came */
    const char *reason; /* for the log, never for the wire; "" on success */
    /* All pointers belong to the exchange and stay until its next step or its end. */
};

struct auth_exchange;

/* Cheap, does not block, copies the peer. mechanism: as the client named it (any case). */
bool auth_exchange_new(struct auth *a, const struct auth_peer *peer, struct span mechanism,
                       struct auth_exchange **x, struct err *e);
/* The first step brings the initial response or has_input = false; an empty initial response ("=")
 * is has_input = true and no bytes. `in` is decoded from base64. BLOCKS.
 * After any outcome but AUTH_CONTINUE the exchange is over: each further step repeats a refusal. */
void auth_exchange_step(struct auth_exchange *x, bool has_input, struct span in,
                        struct auth_step *out);
void auth_exchange_free(struct auth_exchange **x);

/* Steps block, some for as long as a domain controller is silent. So that none holds up the others
 * each backend that reaches out of the process has a lane: the session asks where the coming step
 * belongs and sends it there. 0 is the lane of what only computes; the others are 1 to
 * AUTH_LANES_MAX - 1, more backends than lanes share. Does not block, changes nothing; the same
 * arguments as the step that follows. *patience_ms: how long the step may wait for its turn; one
 * that waited longer is answered AUTH_UNAVAILABLE without asking, so that all are answered within
 * AUTH_ANSWER_MS even by a backend that is slow and just within its deadline. 0: as long as it
 * takes. */
enum { AUTH_LANES_MAX = 9, AUTH_ANSWER_MS = 9500 };
unsigned auth_exchange_lane(const struct auth_exchange *x, bool has_input, struct span in,
                            uint32_t *patience_ms);

/* Equal for peers that share a guess counter and a lane share: the address, for IPv6 its /64. */
uint64_t auth_share_key(const struct netaddr *client);

#endif
