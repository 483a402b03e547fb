/* backend_userdb.h - the embedded user database as a backend. Owner: auth.c. */
#ifndef POSTERN_AUTH_BACKEND_USERDB_H
#define POSTERN_AUTH_BACKEND_USERDB_H

#include "auth/backend.h"
#include "base/err.h"

backend_open backend_userdb_open; /* users.db: options->userdb_path, made when absent */

/* Whether it could be opened; makes nothing. A file that is not there yet is no fault, which reason
 * then mentions. */
bool backend_userdb_look(const char *path, char reason[BACKEND_REASON_MAX],
                         char cure[BACKEND_REASON_MAX]);

#endif
