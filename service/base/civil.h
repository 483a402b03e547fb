/* civil.h - a point of time as date and time of day, UTC, in the proleptic Gregorian calendar.
 * gmtime would do, but its thread-safe form has another name on each system.
 * Owner: the caller's struct. Threads: any. Failure: none; times before 1970 give 1970-01-01,
 * times behind the year 9999 its last second, so that four digits always hold the year. */
#ifndef POSTERN_BASE_CIVIL_H
#define POSTERN_BASE_CIVIL_H

#include <stdint.h>

struct civil {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second, millisecond;
    int weekday; /* 0 = Sunday */
};

struct civil civil_from_wall_ms(int64_t wall_ms);

#endif
