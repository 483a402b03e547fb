/* ready.h - whether questions can be answered at all. Threads: none; reads files, asks nobody. */
#ifndef POSTERN_HELPER_READY_H
#define POSTERN_HELPER_READY_H

#include "base/span.h"
#include "platform/local_account.h"

/* pam_directory: NULL = the system's. */
bool ready_look(const char *pam_directory, struct span service, char reason[LOCAL_ACCOUNT_TEXT_MAX],
                char cure[LOCAL_ACCOUNT_TEXT_MAX]);

#endif
