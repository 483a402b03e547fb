/* account_helper.h - inside the posix room: the helper of our own that local_account_pam.c asks.
 * Owner: the process. Threads: any. */
#ifndef POSTERN_POSIX_ACCOUNT_HELPER_H
#define POSTERN_POSIX_ACCOUNT_HELPER_H

#include "base/err.h"

/* Hands the helper one end of a fresh pair of sockets; *fd is ours. Starts the helper where it does
 * not run and may be started. Does not block. ERR_TEMP: now is a bad time, ask again soon;
 * ERR_PERM: it cannot be started. */
bool account_helper_connect(int *fd, struct err *e);

#endif
