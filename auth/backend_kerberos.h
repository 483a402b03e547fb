/* backend_kerberos.h - accounts of a realm, by password, without joining it:
 * platform/kerberos_account.h. Owner: backends.c. */
#ifndef POSTERN_AUTH_BACKEND_KERBEROS_H
#define POSTERN_AUTH_BACKEND_KERBEROS_H

#include "auth/backend.h"

backend_open backend_kerberos_open;

#endif
