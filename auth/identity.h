/* identity.h - from the name that a client gives to an account of a backend. PURE.
 * Three spellings: `DOMAIN\account`, `account@realm`, `account`.
 *  - a backslash decides: what stands before the first one must name a domain; what stands behind
 * it is the account;
 *  - else what stands behind the last `@`, where it names a domain;
 *  - else, where a userdb is configured, a name with `@` is in whole an account of the first userdb
 *    (`app@example.net`); without a userdb there is no such domain;
 *  - a bare name goes to basic.default_domain, without one to the first domain.
 *
 * What names a domain (ASCII case does not matter, a dot at the end does):
 *  1. a name or alias in the configuration: the first match over authentication.domains;
 *  2. else `.` and the machine's own names: the local accounts, which are the first domain of
 * backend system that has `.` or one of these names for its name or alias;
 *  3. else the realm of a kerberos domain, and what stands behind `{user}@` in the bind pattern of
 * an ldap domain. So what is written wins over what follows from something else.
 *
 * The canonical identity is DOMAIN\account with the domain as it is spelt in the configuration;
 * neither half can hold a backslash, so it cannot be read in two ways. Accounts become lower case
 * (ASCII) wherever case makes no other account: everywhere but for local accounts. One account has
 * one canonical name, or guesses at it could not be counted. For the same reason an account outside
 * a userdb holds no `@`: `CORP\alice@corp.example` is CORP\alice where both name CORP, and is
 * malformed where they do not (but an ldap domain whose pattern has no `@` may know accounts by
 * their mail address). */
#ifndef POSTERN_AUTH_IDENTITY_H
#define POSTERN_AUTH_IDENTITY_H

#include "auth/auth.h"

enum { IDENTITY_ACCOUNT_MAX = 255, IDENTITY_CANONICAL_MAX = 512 };

enum identity_result {
    IDENTITY_OK,
    IDENTITY_EMPTY,     /* no name, or no account in it */
    IDENTITY_MALFORMED, /* NUL or control bytes, not UTF-8, too long, a stray backslash or space */
    IDENTITY_NO_DOMAIN, /* well-formed, but no domain of ours */
};

/* By what the domain was found. */
enum identity_match {
    IDENTITY_BY_NAME,    /* the configuration's own name or alias */
    IDENTITY_BY_MACHINE, /* a name of this machine */
    IDENTITY_BY_IMPLIED, /* its realm, or what its bind pattern has behind `{user}@` */
    IDENTITY_BY_DEFAULT, /* a bare name: basic.default_domain */
    IDENTITY_BY_FIRST,   /* a bare name: the first domain */
    IDENTITY_BY_WHOLE,   /* behind the `@` is no domain of ours: the first userdb */
};

struct identity {
    size_t domain; /* index into the domains */
    enum identity_match match;
    char account[IDENTITY_ACCOUNT_MAX + 1];
    char canonical[IDENTITY_CANONICAL_MAX];
};

/* Of the options: domains, machine_names, basic.default_domain. Fills *out for IDENTITY_OK alone.
 */
enum identity_result identity_resolve(struct span name, const struct auth_options *options,
                                      struct identity *out);

/* Index of the domain that this names (see above); domain_count when there is none. */
size_t identity_find_domain(struct span name, const struct auth_options *options);

/* The accounts of this machine itself, as against those of a domain that it has joined: backend
 * system with `.` or a machine name for name or alias. */
bool identity_is_local(const struct auth_domain *domain, const struct auth_options *options);

/* Whether the domain's `allow` lets this account in. */
enum identity_allowance {
    IDENTITY_EVERYONE,      /* there is no list */
    IDENTITY_LISTED,        /* the account itself is named */
    IDENTITY_ONLY_BY_GROUP, /* as a member of a group that is named; a userdb has no groups */
};
/* *entry: index of the entry that names it, for IDENTITY_LISTED. */
enum identity_allowance identity_allowed(const struct identity *id,
                                         const struct auth_options *options, size_t *entry);

/* An entry of `allow`: DOMAIN\name, or a name of that very domain. NULL: of another domain, or no
 * name at all. */
const char *identity_allow_name(const char *entry, size_t domain,
                                const struct auth_options *options);

/* Well-formed UTF-8 (RFC 3629: shortest form, no surrogates) without control characters (C0, DEL,
 * C1): what a name or a password may be made of. */
bool identity_text_ok(struct span text);

/* An account as it may stand behind a domain: 1 to IDENTITY_ACCOUNT_MAX such bytes, no backslash,
 * no space at either end. */
bool identity_account_ok(struct span account);

#endif
