#include "base/log_rotation.h"

#include "base/civil.h"

#include <stdio.h>
#include <string.h>

bool log_rotation_due(const struct log_rotation *r, uint64_t size, int64_t begun_wall_ms,
                      int64_t now_wall_ms)
{
    if (size == 0)
        return false;
    if (r->size != 0 && size >= r->size)
        return true;
    int64_t age = (int64_t)r->age_ms;
    /* A clock that was set back is no new period. */
    return age > 0 && begun_wall_ms >= 0 && now_wall_ms / age > begun_wall_ms / age;
}

bool log_rotation_name(const char *name, int64_t now_wall_ms, unsigned n, char *out, size_t size)
{
    struct civil t = civil_from_wall_ms(now_wall_ms);
    char again[16] = "";
    if (n > 0)
        (void)snprintf(again, sizeof again, "-%u", n);
    int wrote = snprintf(out, size, "%s.%04d%02d%02d-%02d%02d%02d%s", name, t.year, t.month, t.day,
                         t.hour, t.minute, t.second, again);
    return wrote > 0 && (size_t)wrote < size;
}

bool log_rotation_is_old(const char *name, const char *entry)
{
    static const char digits[] = "0123456789";
    size_t n = strlen(name);
    if (strncmp(entry, name, n) != 0 || entry[n] != '.')
        return false;
    const char *stamp = entry + n + 1;
    if (strspn(stamp, digits) != 8 || stamp[8] != '-' || strspn(stamp + 9, digits) != 6)
        return false;
    const char *again = stamp + 15;
    if (*again == '\0')
        return true;
    size_t more = strspn(again + 1, digits);
    return *again == '-' && more > 0 && more < 10 && again[1 + more] == '\0';
}
