#include "session/env.h"

#include "platform/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* No I, L, O, U: read over the telephone without doubt. */
static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void base32(uint64_t value, char *out, size_t digits)
{
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = alphabet[value & 31];
        value >>= 5;
    }
    out[digits] = '\0';
}

void session_id_make(struct session_env *env, char out[SESSION_ID_MAX])
{
    /* run.c starts the sequence at the wall clock's seconds << 28: no two runs meet. */
    base32(atomic_fetch_add_explicit(&env->sequence, 1, memory_order_relaxed), out, 12);
}

int64_t session_queue_now(const struct session_env *env)
{
    return queue_clock_now(&env->clock, clock_monotonic_ms());
}

void session_desk_adopt(struct session_desk *d, struct policy *policy, struct tls_context *tls)
{
    policy_unref(&d->policy);
    tls_unref(&d->tls);
    d->policy = policy;
    d->tls = tls;
    d->observed = policy->config->logging.protocol;
}

static bool batch_begin(void *context, struct err *e)
{
    return queue_batch_begin(context, e);
}

static bool batch_end(void *context, struct err *e)
{
    return queue_batch_commit(context, e);
}

struct lane *session_store_lane_open(struct queue *q, struct err *e)
{
    /* The bound is a guard against a store that stands still, not a limit that a busy service
     * meets: what waits here has its client waiting behind it. */
    const struct lane_options options = {
        .name = "store",
        .threads = 1, /* one writer: SQLite's, and ours */
        .bound = 8192,
        .context = q,
        .batch_max = 256,
        .batch_begin = batch_begin,
        .batch_end = batch_end,
    };
    return lane_open(&options, e);
}

void session_queue_id_format(uint64_t id, char out[QUEUE_ID_TEXT_MAX])
{
    (void)snprintf(out, QUEUE_ID_TEXT_MAX, "Q%" PRIX64, id);
}

bool session_queue_id_parse(struct span text, uint64_t *id)
{
    if (text.n < 2 || text.n > 17 || ascii_lower(text.p[0]) != 'q')
        return false;
    uint64_t value = 0;
    for (size_t i = 1; i < text.n; i++) {
        uint8_t c = ascii_lower(text.p[i]);
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *id = value;
    return value != 0;
}

struct lane *session_auth_lane(const struct session_env *env, unsigned lane)
{
    if (lane == 0 || env->auth_lane_count < 2)
        return env->auth_lanes[0];
    return env->auth_lanes[1 + (lane - 1) % (env->auth_lane_count - 1)];
}
