/* backend_userdb.h - the embedded user database as a backend. Owner: auth.c. */
#ifndef POSTERN_AUTH_BACKEND_USERDB_H
#define POSTERN_AUTH_BACKEND_USERDB_H

#include "auth/backend.h"
#include "base/err.h"

backend_open backend_userdb_open; /* users.db: options->userdb_path, made when absent */

#endif
