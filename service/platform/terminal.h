/* terminal.h - the person before the command line. Threads: main. */
#ifndef POSTERN_PLATFORM_TERMINAL_H
#define POSTERN_PLATFORM_TERMINAL_H

#include "base/err.h"
#include "base/secret.h"

/* Asks on the terminal (not standard output) without echo; the line end is taken off.
 * ERR_PERM without a terminal. */
bool terminal_read_password(const char *prompt, struct secret *out, struct err *e);

/* One line of standard input, one line end (LF or CRLF) taken off; ERR_PERM at the end of input or
 * over max bytes. */
bool terminal_read_line(size_t max, struct secret *out, struct err *e);

#endif
