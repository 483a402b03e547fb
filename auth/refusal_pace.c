#include "auth/refusal_pace.h"

enum { SINK = 16 };

static unsigned bounded(uint64_t us)
{
    if (us < REFUSAL_FLOOR_MS * 1000u)
        return REFUSAL_FLOOR_MS * 1000u;
    return us > REFUSAL_FLOOR_MAX_MS * 1000u ? REFUSAL_FLOOR_MAX_MS * 1000u : (unsigned)us;
}

uint64_t refusal_pace_rest_us(struct refusal_pace *p, uint64_t took_us)
{
    unsigned before = atomic_load(&p->floor_us);
    unsigned floor, next;
    do {
        floor = bounded(before);
        unsigned rest = floor - REFUSAL_FLOOR_MS * 1000u;
        next = took_us > floor ? bounded(took_us) : floor - rest / SINK;
    } while (!atomic_compare_exchange_weak(&p->floor_us, &before, next));
    return took_us < floor ? floor - took_us : 0;
}
