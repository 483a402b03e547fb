/* eventlog.h - the Windows event log, source "Postern": what an administrator wants to see there.
 * Open while the service control manager runs us; otherwise every call does nothing.
 * Threads: open and close from one, the others from any. Failure: an entry that cannot be written
 * is lost, as nobody could be told. */
#ifndef POSTERN_WIN32_EVENTLOG_H
#define POSTERN_WIN32_EVENTLOG_H

#include "base/log.h"

void eventlog_open(void);
void eventlog_close(void);

bool eventlog_is_open(void);

/* A line of the log, as text or JSON: warnings and errors, and the events that have a message of
 * their own (win32/messages.mc). %1 is the line, %2 and more the fields that its message names. */
void eventlog_line(enum log_level level, struct span line);

/* program: its file; status: what it serves. */
void eventlog_started(const char *program, const char *status);

/* Stopped (0), ended by a failure, or - where it had not started - the start refused. said: what
 * was printed on standard error. */
void eventlog_ended(bool had_started, int exit_code, const char *said);

/* A field of a line; false and empty where it is not there. For tests too. */
bool eventlog_field(struct span line, const char *key, char *out, size_t size);

/* The message number of a line, 0: it is not for the event log. For tests too. */
uint32_t eventlog_message(enum log_level level, struct span line);

#endif
