#include "base/civil.h"

/* Days since 1970-01-01 to a date: counted in eras of 400 years that begin on the first of March,
 * so that the leap day comes last. */
static void date_from_days(int64_t days, struct civil *out)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = shifted / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    out->day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    out->month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    out->year = (int)(year_of_era + era * 400 + (out->month <= 2 ? 1 : 0));
}

struct civil civil_from_wall_ms(int64_t wall_ms)
{
    const int64_t last_ms = INT64_C(253402300799999); /* 9999-12-31 23:59:59.999 */
    struct civil out;
    if (wall_ms < 0)
        wall_ms = 0;
    if (wall_ms > last_ms)
        wall_ms = last_ms;
    int64_t seconds = wall_ms / 1000, days = seconds / 86400;
    int rest = (int)(seconds % 86400);
    date_from_days(days, &out);
    out.hour = rest / 3600;
    out.minute = rest / 60 % 60;
    out.second = rest % 60;
    out.millisecond = (int)(wall_ms % 1000);
    out.weekday = (int)((days + 4) % 7); /* 1970-01-01 was a Thursday */
    return out;
}
