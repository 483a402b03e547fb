/* backend_system.h - accounts of this machine, and of a domain that it has joined, as the system
 * itself knows them. Owner: auth.c. */
#ifndef POSTERN_AUTH_BACKEND_SYSTEM_H
#define POSTERN_AUTH_BACKEND_SYSTEM_H

#include "auth/backend.h"

/* domain->system, domain->deadline_ms. The domain that `.` or a machine name names is asked for as
 * `account`, every other as `DOMAIN\account`. */
backend_open backend_system_open;

#endif
