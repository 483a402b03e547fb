/* eventlog.h - the Windows event log, source "Postern": what an administrator wants to see there.
 * Open while the service control manager runs us; otherwise every call does nothing.
 * Threads: open and close from one, the others from any. Failure: an entry that cannot be written
 * is lost, as nobody could be told. */
#ifndef POSTERN_WIN32_EVENTLOG_H
#define POSTERN_WIN32_EVENTLOG_H

#include "base/log.h"

void eventlog_open(void);
void eventlog_close(void);

/* A line of the log: warnings and errors, and the events that have a message of their own
 * (win32/messages.mc). */
void eventlog_line(enum log_level level, struct span line);

/* said: what was printed on standard error. */
void eventlog_start_refused(const char *said, int exit_code);

/* The message number of a line, 0: it is not for the event log. For tests too. */
uint32_t eventlog_message(enum log_level level, struct span line);

#endif
