/* directory_names.h - what of the options and of an account goes into LDAP: addresses, the name to
 * bind as, values in filters. PURE.
 * Sources: RFC 4514 2.4 (values in a DN), RFC 4515 3 (values in a filter), RFC 4516 (URLs). */
#ifndef POSTERN_AUTH_DIRECTORY_NAMES_H
#define POSTERN_AUTH_DIRECTORY_NAMES_H

#include "base/buf.h"
#include "base/err.h"

enum { DIRECTORY_URLS_MAX = 8, DIRECTORY_HOST_MAX = 256 };

struct directory_url {
    char host[DIRECTORY_HOST_MAX];
    uint16_t port;
    bool starttls; /* ldap://; else ldaps:// */
};

/* "ldaps://host[:port] ldap://host ..." between spaces, at least one; nothing behind the host but a
 * slash. ERR_PERM with what is wrong. */
bool directory_urls_parse(const char *text, struct directory_url urls[DIRECTORY_URLS_MAX],
                          size_t *count, struct err *e);

/* A pattern must have {user} in it, and no other brace. */
bool directory_pattern_ok(const char *pattern, struct err *e);

/* Whether the pattern makes a DN ("uid={user},ou=..."), not a name like {user}@corp.example. */
bool directory_pattern_is_dn(const char *pattern);

/* The name of that account to bind as; in a DN its special characters are escaped. false: no such
 * name can be made, since the account has characters that no account of Active Directory has and
 * that there could name another one (as `CN=alice,...` or alice@other), or it is too long. */
bool directory_bind_name(const char *pattern, const char *account, char *out, size_t size);

/* A value as it may stand in a filter, any bytes. */
bool directory_filter_value(struct buf *out, struct span value);

#endif
