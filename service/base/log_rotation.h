/* log_rotation.h - when a log file has had its time, and what it is called from then on.
 * PURE: sizes, times and names in, answers out. Threads: any.
 * Periods are counted from 1970-01-01 UTC, so that an age of a day ends at midnight UTC, as IIS's
 * daily logs do, and an age of an hour with the hour. */
#ifndef POSTERN_BASE_LOG_ROTATION_H
#define POSTERN_BASE_LOG_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_rotation {
    uint64_t size;   /* bytes; 0 = any */
    uint64_t age_ms; /* 0 = any */
    uint64_t keep;   /* how many of the old ones stay */
};

/* begun_wall_ms: when its first line was written. An empty file has time. */
bool log_rotation_due(const struct log_rotation *r, uint64_t size, int64_t begun_wall_ms,
                      int64_t now_wall_ms);

/* NAME.20261124-134423, and with n > 0 NAME.20261124-134423-n for one more of that second. False
 * when it does not fit. */
bool log_rotation_name(const char *name, int64_t now_wall_ms, unsigned n, char *out, size_t size);

/* Is entry one of name's old ones? They sort by their age, all of one second together. */
bool log_rotation_is_old(const char *name, const char *entry);

#endif
