/* log_sink.h - where log lines go: standard error or a file.
 * Owner: the process (one sink of each kind). Threads: any; a line is one write, so that lines of
 * threads and processes do not mix. Under a journal each line gets its level as "<6>" in front.
 * Failure: a line that cannot be written is dropped and counted. */
#ifndef POSTERN_PLATFORM_LOG_SINK_H
#define POSTERN_PLATFORM_LOG_SINK_H

#include "base/err.h"
#include "base/log.h"

void log_sink_stderr(struct log_sink *out);

/* Opens for appending (made with 0640). A second call changes the file; lines in between lose
 * nothing. head: a line that stands in it before all that is written from then on; empty: none. */
bool log_sink_file(const char *path, struct span head, struct log_sink *out, struct err *e);

/* After a rotation; nothing to do for standard error. */
bool log_sink_reopen(struct span head, struct err *e);
uint64_t log_sink_dropped(void);

#endif
