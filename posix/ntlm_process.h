/* ntlm_process.h - one ntlm_auth process and its lines. One thread at a time. */
#ifndef POSTERN_POSIX_NTLM_PROCESS_H
#define POSTERN_POSIX_NTLM_PROCESS_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

struct ntlm_process {
    pid_t pid; /* 0: there is none */
    int fd;    /* a socket that is its standard input and output */
};

/* argv: NULL at the end, argv[0] a path from the root. It gets a small environment, no other
 * descriptor, no blocked or ignored signal, and a process group of its own. */
bool ntlm_process_start(struct ntlm_process *p, char *const *argv, struct err *e);
/* Kills and reaps; nothing to do where there is none. */
void ntlm_process_stop(struct ntlm_process *p);
/* Reaps it where it has died by itself; true: it lives. */
bool ntlm_process_alive(struct ntlm_process *p);

/* Sends verb, token and LF, and reads one line into `line` (without its LF). False when that does
 * not happen within the time, or the helper goes; the process is then of no more use. */
bool ntlm_process_ask(struct ntlm_process *p, const char *verb, struct span token, int timeout_ms,
                      struct buf *line, struct err *e);

#endif
