/* process.h - what a service does to its own process. Threads: call from main, before others. */
#ifndef POSTERN_PLATFORM_PROCESS_H
#define POSTERN_PLATFORM_PROCESS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* The command line in UTF-8, where main got it in something else; never freed. */
void process_arguments(int *argc, char ***argv);

/* Raises the soft descriptor limit to the hard one; *limit tells the result (UINT64_MAX: none). */
bool process_raise_descriptors(uint64_t *limit, struct err *e);

bool process_is_privileged(void);          /* root */
void process_user(char *out, size_t size); /* whose process it is; "" where nobody has a name */

/* From root to that user and his groups, for good, and verified. "" or the present user: nothing
 * to do. ERR_PERM: no such user, or not root. Open sockets and files stay. */
bool process_become(const char *user, struct err *e);

/* No core dumps, no debugger of the same user: the memory holds passwords for moments. New files
 * are for the owner alone unless a mode is given. */
bool process_harden(struct err *e);

unsigned process_cores(void); /* those we may run on; at least 1 */
uint64_t process_id(void);
void process_name_thread(const char *name); /* this thread, at most 15 bytes are shown */

/* This machine's fully qualified name, in lower case; asks the resolver only where the system's
 * own name has no dot, and then may block. Falls back to the short name, then "localhost". */
void process_hostname(char *out, size_t size);

/* The machine's name as it is set, in lower case, with or without a domain; asks nobody. */
void process_machine_name(char *out, size_t size);

/* Ends the process at once, with nothing flushed and no handlers run. */
void process_exit_now(int code);

#endif
