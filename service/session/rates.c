#include "session/rates.h"

#include "auth/keyed_hash.h"
#include "auth/lru_table.h"
#include "platform/mutex.h"
#include "platform/random.h"

#include <stdlib.h>
#include <string.h>

/* The steps of a window, and the one under way. */
enum { STEPS = RATES_WINDOW_MS / RATES_STEP_MS + 1, COUNTERS = ACL_RATE_BYS * ACL_RATES };

struct count {
    struct lru_entry entry;
    int64_t newest; /* the step, by the clock, that steps[newest % STEPS] counts */
    uint32_t steps[STEPS];
};

struct rates {
    struct mutex *lock;
    struct lru_table table;
    uint8_t key[KEYED_HASH_KEY];
};

struct rates *rates_new(uint32_t size)
{
    struct rates *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    random_bytes(r->key, sizeof r->key);
    r->lock = mutex_new();
    if (r->lock == NULL || !lru_table_init(&r->table, size, sizeof(struct count)))
        rates_free(&r);
    return r;
}

void rates_free(struct rates **r)
{
    struct rates *old = *r;
    *r = NULL;
    if (old == NULL)
        return;
    mutex_free(&old->lock);
    lru_table_deinit(&old->table);
    free(old);
}

/* Forgets what left the window. A worker whose clock was read a little earlier counts in the newest
 * step. */
static void slide(struct count *c, int64_t step)
{
    if (step <= c->newest)
        return;
    int64_t gone = step - c->newest < STEPS ? step - c->newest : STEPS;
    for (int64_t i = 0; i < gone; i++)
        c->steps[(size_t)((step - i) % STEPS)] = 0;
    c->newest = step;
}

static uint32_t sum(const struct count *c)
{
    uint32_t n = 0;
    for (size_t i = 0; i < STEPS; i++)
        n += c->steps[i];
    return n;
}

/* Seconds until less than `most` is left in the window. */
static uint32_t wait_of(const struct count *c, uint32_t most, int64_t now_ms)
{
    uint32_t left = sum(c);
    for (int64_t i = STEPS - 1; i >= 0; i--) { /* the oldest first */
        int64_t step = c->newest - i;
        if (step < 0)
            continue;
        left -= c->steps[(size_t)(step % STEPS)];
        if (left < most)
            return (uint32_t)(((step + STEPS) * RATES_STEP_MS - now_ms + 999) / 1000);
    }
    return RATES_WINDOW_MS / 1000;
}

static uint64_t key_of(const struct rates *r, size_t counter, const struct netaddr *client,
                       struct span account)
{
    const uint8_t which = (uint8_t)counter;
    struct span who = account;
    if (counter / ACL_RATES == ACL_BY_CLIENT)
        who = span_of(client->b, netaddr_is_v4(client) ? sizeof client->b : 8);
    const struct span parts[] = {span_of(&which, 1), who};
    return keyed_hash(r->key, parts, 2);
}

void rates_take(struct rates *r, int64_t now_ms, const struct netaddr *client, struct span account,
                const uint32_t limits[ACL_RATE_BYS][ACL_RATES], struct acl_rate_facts *use)
{
    uint64_t keys[COUNTERS];
    int64_t step = now_ms / RATES_STEP_MS;
    bool room = true, fresh;
    *use = (struct acl_rate_facts){.state = FACT_VALUE};
    for (size_t i = 0; i < COUNTERS; i++)
        keys[i] = key_of(r, i, client, account);
    mutex_lock(r->lock);
    for (size_t i = 0; i < COUNTERS; i++) {
        uint32_t most = limits[i / ACL_RATES][i % ACL_RATES];
        struct count *c = most == 0 ? NULL : lru_table_find(&r->table, keys[i]);
        if (c == NULL)
            continue;
        struct acl_rate_use *one = &use->use[i / ACL_RATES][i % ACL_RATES];
        slide(c, step);
        one->used = sum(c);
        if (one->used >= most) {
            one->wait_s = wait_of(c, most, now_ms);
            room = false;
        }
    }
    for (size_t i = 0; room && i < COUNTERS; i++) {
        if (limits[i / ACL_RATES][i % ACL_RATES] == 0)
            continue;
        struct count *c = lru_table_take(&r->table, keys[i], &fresh);
        slide(c, step);
        c->steps[(size_t)(c->newest % STEPS)]++;
    }
    mutex_unlock(r->lock);
}
