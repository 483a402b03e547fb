/* systemctl.h - programs of systemd, run to their end. Threads: one; blocks for as long as they
 * take. Nothing of what they say is shown: the caller has it. */
#ifndef POSTERN_POSIX_SYSTEMCTL_H
#define POSTERN_POSIX_SYSTEMCTL_H

#include "base/buf.h"
#include "base/err.h"

/* argv ends with NULL; argv[0] is looked for in PATH. said gets standard output and standard error,
 * as much as fits. False: it could not be run, or was ended by a signal; else *code is its exit
 * code. */
bool systemctl_run(const char *const *argv, struct buf *said, int *code, struct err *e);

/* The same for an act that has to succeed: false with its own words as the reason, too. */
bool systemctl_do(const char *const *argv, struct err *e);

#endif
