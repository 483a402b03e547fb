#include "auth/refusal_pace.h"

static const unsigned steps_ms[] = {
    REFUSAL_PACE_LEAST_MS, 90, 135, 200, 300, 450, 680, 1000, 1500, 2300, 3500, 5200};
enum { STEPS = sizeof steps_ms / sizeof steps_ms[0] };

/* The first step that leaves a fifth of itself free. */
static unsigned step_for(uint64_t took_us)
{
    unsigned i = 0;
    while (i < STEPS - 1 && took_us > (uint64_t)steps_ms[i] * 800)
        i++;
    return i;
}

uint64_t refusal_pace_us(struct refusal_pace *p, uint64_t took_us)
{
    unsigned wanted = step_for(took_us), before = atomic_load(&p->state), step, quiet;
    do { /* the step, and how many in a row would have fitted the one below */
        step = before / REFUSAL_PACE_SINK;
        quiet = before % REFUSAL_PACE_SINK;
        if (wanted >= step) {
            step = wanted;
            quiet = 0;
        } else if (++quiet == REFUSAL_PACE_SINK) {
            step--;
            quiet = 0;
        }
    } while (!atomic_compare_exchange_weak(&p->state, &before, step * REFUSAL_PACE_SINK + quiet));
    uint64_t at_us = (uint64_t)steps_ms[step] * 1000;
    return took_us > at_us ? took_us : at_us;
}
