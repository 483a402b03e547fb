/* backend_userdb.h - the embedded user database as a backend. Owner: auth.c. */
#ifndef POSTERN_AUTH_BACKEND_USERDB_H
#define POSTERN_AUTH_BACKEND_USERDB_H

#include "auth/backend.h"
#include "base/err.h"

struct backend_userdb_options {
    const char *path;    /* made when absent */
    uint32_t iterations; /* of decoys while there is no account */
    uint32_t cache_ttl_ms;
    uint32_t cache_entries;
};

bool backend_userdb_open(const struct backend_userdb_options *options, struct auth_backend **b,
                         struct err *e);

#endif
