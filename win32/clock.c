#include "platform/clock.h"

#include <windows.h>

static const uint64_t unix_epoch = 116444736000000000u; /* in units of 100 ns since 1601 */

/* The counter that libuv reads too: one origin for the loops and for us. */
static uint64_t monotonic(uint64_t per_second)
{
    LARGE_INTEGER frequency, now;
    (void)QueryPerformanceFrequency(&frequency); /* neither can fail since Windows XP */
    (void)QueryPerformanceCounter(&now);
    uint64_t f = (uint64_t)frequency.QuadPart, n = (uint64_t)now.QuadPart;
    return n / f * per_second + n % f * per_second / f;
}

uint64_t clock_monotonic_ms(void)
{
    return monotonic(1000);
}

uint64_t clock_monotonic_us(void)
{
    return monotonic(1000000);
}

static uint64_t of_filetime(const FILETIME *t)
{
    return (uint64_t)t->dwHighDateTime << 32 | t->dwLowDateTime;
}

int64_t clock_wall_ms(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    return ((int64_t)of_filetime(&now) - (int64_t)unix_epoch) / 10000;
}

int clock_utc_offset_minutes(int64_t wall_ms)
{
    uint64_t at = (uint64_t)wall_ms * 10000u + unix_epoch;
    FILETIME utc = {.dwHighDateTime = (DWORD)(at >> 32), .dwLowDateTime = (DWORD)at}, local;
    SYSTEMTIME utc_parts, local_parts;
    if (wall_ms < 0 || !FileTimeToSystemTime(&utc, &utc_parts) ||
        !SystemTimeToTzSpecificLocalTime(NULL, &utc_parts, &local_parts) ||
        !SystemTimeToFileTime(&local_parts, &local))
        return 0;
    int64_t apart =
        (int64_t)of_filetime(&local) - (int64_t)at; /* cut to the millisecond by parts */
    int64_t minute = 600000000;
    return (int)((apart + (apart < 0 ? -minute : minute) / 2) / minute);
}
