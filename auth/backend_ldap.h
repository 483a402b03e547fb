/* backend_ldap.h - accounts of a directory, by bind: platform/directory.h.
 * Owner: backends.c. */
#ifndef POSTERN_AUTH_BACKEND_LDAP_H
#define POSTERN_AUTH_BACKEND_LDAP_H

#include "auth/backend.h"

backend_open backend_ldap_open;

#endif
