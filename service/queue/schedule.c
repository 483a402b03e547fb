#include "queue/schedule.h"

static const int64_t MINUTE_MS = 60 * 1000;
static const int64_t HOUR_MS = 60 * 60 * 1000;

struct schedule_options schedule_defaults(void)
{
    return (struct schedule_options){
        .retry_ms = {15 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS, 240 * MINUTE_MS},
        .retry_count = 4,
        .delay_notice_ms = 12 * HOUR_MS,
        .expire_ms = 48 * HOUR_MS,
    };
}

struct schedule_verdict schedule_next(const struct schedule_options *o, uint32_t attempts,
                                      int64_t accepted_ms, int64_t now_ms, bool delay_noticed,
                                      uint16_t jitter)
{
    struct schedule_verdict v = {0};
    /* Interval by subtraction: accepted + expire could pass the end of the type. */
    int64_t age = now_ms > accepted_ms ? now_ms - accepted_ms : 0;
    if (age >= o->expire_ms) {
        v.expired = true;
        return v;
    }
    v.delay_notice = !delay_noticed && o->delay_notice_ms > 0 && age >= o->delay_notice_ms;
    size_t which = attempts == 0 ? 0 : attempts - 1;
    if (which >= o->retry_count)
        which = o->retry_count - 1;
    int64_t interval = o->retry_ms[which];
    interval += interval / 16 * jitter / UINT16_MAX;
    int64_t left = o->expire_ms - age;
    v.next_ms = now_ms + (interval < left ? interval : left);
    return v;
}
