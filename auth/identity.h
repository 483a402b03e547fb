/* identity.h - from the name that a client gives to an account of a backend. PURE.
 * Three spellings: `DOMAIN\account`, `account@realm`, `account`.
 *  - a backslash decides: what stands before the first one must be a configured domain's name or
 *    alias (ASCII case does not matter); what stands behind it is the account, whatever it holds;
 *  - else what stands behind the last `@`, where it is a configured name or alias: the first match
 *    over authentication.domains wins;
 *  - else, where a userdb is configured, a name with `@` is in whole an account of the first userdb
 *    (`app@example.net`); without a userdb there is no such domain;
 *  - a bare name goes to basic.default_domain, without one to the first domain.
 * Accounts of userdb and ldap become lower case (ASCII): there case makes no other account. The
 * canonical identity is DOMAIN\account with the domain as it is spelt in the configuration; neither
 * half can hold a backslash, so it cannot be read in two ways. */
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

struct identity {
    size_t domain; /* index into the domains */
    char account[IDENTITY_ACCOUNT_MAX + 1];
    char canonical[IDENTITY_CANONICAL_MAX];
};

/* Fills *out for IDENTITY_OK alone. default_domain: NULL or "" = the first. */
enum identity_result identity_resolve(struct span name, const struct auth_domain *domains,
                                      size_t domain_count, const char *default_domain,
                                      struct identity *out);

/* Index of the first domain with this name or alias; domain_count when there is none. */
size_t identity_find_domain(struct span name, const struct auth_domain *domains,
                            size_t domain_count);

/* Well-formed UTF-8 (RFC 3629: shortest form, no surrogates) without control characters (C0, DEL,
 * C1): what a name or a password may be made of. */
bool identity_text_ok(struct span text);

/* An account as it may stand behind a domain: 1 to IDENTITY_ACCOUNT_MAX such bytes, no backslash,
 * no space at either end. */
bool identity_account_ok(struct span account);

#endif
