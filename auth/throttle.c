#include "auth/throttle.h"

#include "auth/keyed_hash.h"
#include "auth/lru_table.h"

#include <stdlib.h>
#include <string.h>

enum kind { KIND_PEER, KIND_ACCOUNT, KIND_PAIR };

/* A pair that has succeeded is remembered for so long as a known good one. */
static const int64_t pair_memory_ms = 24 * 3600 * (int64_t)1000;

struct entry {
    struct lru_entry lru;
    uint32_t failures;    /* all: they make the delay */
    uint32_t guesses;     /* without repetitions: they make the refusal */
    int64_t decayed_ms;   /* up to when forgetting has been applied */
    int64_t refuse_until; /* a peer's */
    int64_t success_ms;   /* a pair's; 0 = never */
    uint64_t fingerprint; /* a pair's last wrong password; 0 = not known */
    enum kind kind;
    uint8_t who_n;
    char who[THROTTLE_WHO_MAX]; /* not a pair's */
};

struct throttle {
    struct throttle_options o;
    uint8_t hash_key[16];
    struct lru_table entries;
};

static uint64_t entry_key(const struct throttle *t, enum kind kind, struct span peer,
                          struct span account)
{
    uint8_t which = (uint8_t)kind;
    const struct span parts[] = {span_of(&which, 1), kind == KIND_ACCOUNT ? span_of(NULL, 0) : peer,
                                 kind == KIND_PEER ? span_of(NULL, 0) : account};
    return keyed_hash(t->hash_key, parts, 3);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

void throttle_set_options(struct throttle *t, const struct throttle_options *o)
{
    uint32_t entries = t->o.entries; /* the table stays as it was born */
    t->o = (struct throttle_options){
        .delay_ms = or_default(o->delay_ms, 1000),
        .delay_max_ms = or_default(o->delay_max_ms, 30000),
        .account_delay_max_ms = or_default(o->account_delay_max_ms, 5000),
        .free_failures = or_default(o->free_failures, 3),
        .refuse_after = or_default(o->refuse_after, 10),
        .refuse_ms = or_default(o->refuse_ms, 60000),
        .refuse_max_ms = or_default(o->refuse_max_ms, 3600000),
        .decay_ms = or_default(o->decay_ms, 600000),
        .entries = entries,
    };
    if (t->o.refuse_max_ms < t->o.refuse_ms)
        t->o.refuse_max_ms = t->o.refuse_ms;
}

bool throttle_new(const struct throttle_options *options, const uint8_t key[16],
                  struct throttle **out, struct err *e)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(e, ERR_TEMP, "throttle: no memory");
    uint32_t entries = or_default(options->entries, 16384);
    t->o.entries = entries;
    throttle_set_options(t, options);
    memcpy(t->hash_key, key, sizeof t->hash_key);
    if (!lru_table_init(&t->entries, entries, sizeof(struct entry))) {
        throttle_free(&t);
        return err_set(e, ERR_TEMP, "throttle: no memory for %u entries", (unsigned)entries);
    }
    *out = t;
    return true;
}

uint32_t throttle_delay_ms(const struct throttle *t)
{
    return t->o.delay_ms;
}

void throttle_free(struct throttle **t)
{
    if (t == NULL || *t == NULL)
        return;
    lru_table_deinit(&(*t)->entries);
    free(*t);
    *t = NULL;
}

/* One failure is forgotten every decay_ms. */
static void decay(const struct throttle *t, struct entry *en, int64_t now_ms)
{
    if (now_ms <= en->decayed_ms)
        return;
    int64_t steps = (now_ms - en->decayed_ms) / (int64_t)t->o.decay_ms;
    if (en->failures == 0 || steps >= (int64_t)en->failures) {
        en->failures = en->guesses = 0; /* there are never more guesses than failures */
        en->decayed_ms = now_ms;
        return;
    }
    en->failures -= (uint32_t)steps;
    en->guesses -= en->guesses < (uint32_t)steps ? en->guesses : (uint32_t)steps;
    en->decayed_ms += steps * (int64_t)t->o.decay_ms;
}

static struct entry *find(struct throttle *t, uint64_t key, int64_t now_ms)
{
    struct entry *en = lru_table_find(&t->entries, key);
    if (en != NULL)
        decay(t, en, now_ms);
    return en;
}

static struct entry *find_or_make(struct throttle *t, enum kind kind, struct span peer,
                                  struct span account, int64_t now_ms)
{
    struct span who = span_sub(kind == KIND_ACCOUNT ? account : peer, 0, THROTTLE_WHO_MAX);
    bool fresh;
    struct entry *en = lru_table_take(&t->entries, entry_key(t, kind, peer, account), &fresh);
    if (!fresh) {
        decay(t, en, now_ms);
        return en;
    }
    en->decayed_ms = now_ms;
    en->kind = kind;
    if (kind != KIND_PAIR && who.n > 0) {
        en->who_n = (uint8_t)(who.n < THROTTLE_WHO_MAX ? who.n : THROTTLE_WHO_MAX);
        memcpy(en->who, who.p, en->who_n);
    }
    return en;
}

/* base doubled `times` times, at most cap. */
static uint32_t doubled(uint32_t base, uint32_t times, uint32_t cap)
{
    uint64_t v = base;
    for (uint32_t i = 0; i < times && v < cap; i++)
        v *= 2;
    return v < cap ? (uint32_t)v : cap;
}

static uint32_t failure_delay(const struct throttle *t, const struct entry *peer,
                              const struct entry *account)
{
    uint32_t free_failures = t->o.free_failures;
    uint32_t delay = t->o.delay_ms;
    if (peer != NULL && peer->failures > free_failures)
        delay = doubled(t->o.delay_ms, peer->failures - free_failures, t->o.delay_max_ms);
    if (account != NULL && account->failures > free_failures)
        delay +=
            doubled(t->o.delay_ms, account->failures - free_failures, t->o.account_delay_max_ms);
    return delay;
}

struct throttle_verdict throttle_check(struct throttle *t, struct span peer, struct span account,
                                       int64_t now_ms)
{
    struct entry *p = find(t, entry_key(t, KIND_PEER, peer, account), now_ms);
    if (p == NULL || now_ms >= p->refuse_until)
        return (struct throttle_verdict){0};
    struct entry *pair = find(t, entry_key(t, KIND_PAIR, peer, account), now_ms);
    bool known_good = pair != NULL && pair->success_ms != 0 &&
                      now_ms - pair->success_ms < pair_memory_ms &&
                      pair->guesses < t->o.free_failures;
    if (known_good)
        return (struct throttle_verdict){0};
    return (struct throttle_verdict){.refuse = true, .delay_ms = t->o.delay_ms};
}

static void count(struct entry *en, uint32_t new_guess)
{
    en->failures++;
    en->guesses += new_guess;
}

struct throttle_verdict throttle_failed(struct throttle *t, struct span peer, struct span account,
                                        uint64_t fingerprint, int64_t now_ms)
{
    struct entry *pair = find_or_make(t, KIND_PAIR, peer, account, now_ms);
    uint32_t new_guess = fingerprint == 0 || pair->fingerprint != fingerprint ? 1 : 0;
    pair->fingerprint = fingerprint;
    count(pair, new_guess);
    /* A table of one or two entries could give the same memory out twice; then the counters are
     * poor, but nothing breaks: each is used before the next is asked for. */
    struct entry *a = find_or_make(t, KIND_ACCOUNT, peer, account, now_ms);
    count(a, new_guess);
    struct entry account_now = *a;
    struct entry *p = find_or_make(t, KIND_PEER, peer, account, now_ms);
    count(p, new_guess);
    struct throttle_verdict v = {.delay_ms = failure_delay(t, p, &account_now),
                                 .guesses = p->guesses};
    if (new_guess != 0 && p->guesses >= t->o.refuse_after) {
        v.refused_ms = doubled(t->o.refuse_ms, p->guesses - t->o.refuse_after, t->o.refuse_max_ms);
        p->refuse_until = now_ms + v.refused_ms;
    }
    return v;
}

void throttle_each(struct throttle *t, int64_t now_ms,
                   bool (*each)(void *context, const struct throttle_count *count), void *context)
{
    struct entry *en = NULL;
    while ((en = lru_table_next(&t->entries, en)) != NULL) {
        decay(t, en, now_ms);
        bool refused = en->refuse_until > now_ms;
        if (en->kind == KIND_PAIR || (en->failures == 0 && !refused))
            continue;
        const struct throttle_count count = {
            .peer = en->kind == KIND_PEER,
            .who = span_of(en->who, en->who_n),
            .failures = en->failures,
            .guesses = en->guesses,
            .refused_ms = refused ? (uint32_t)(en->refuse_until - now_ms) : 0};
        if (!each(context, &count))
            return;
    }
}

void throttle_succeeded(struct throttle *t, struct span peer, struct span account, int64_t now_ms)
{
    struct entry *pair = find_or_make(t, KIND_PAIR, peer, account, now_ms);
    /* Only what this pair itself had added is forgiven: a right password of one's own account must
     * not buy new guesses at somebody else's. */
    uint32_t failures = pair->failures, guesses = pair->guesses;
    pair->failures = pair->guesses = 0;
    pair->fingerprint = 0;
    pair->success_ms = now_ms == 0 ? 1 : now_ms;
    const enum kind counted[] = {KIND_PEER, KIND_ACCOUNT};
    for (size_t i = 0; failures > 0 && i < sizeof counted / sizeof *counted; i++) {
        struct entry *en = find(t, entry_key(t, counted[i], peer, account), now_ms);
        if (en == NULL)
            continue;
        en->failures -= en->failures < failures ? en->failures : failures;
        en->guesses -= en->guesses < guesses ? en->guesses : guesses;
        if (en->guesses > en->failures)
            en->guesses = en->failures;
    }
}
