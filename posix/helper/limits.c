#include "posix/helper/limits.h"

static uint64_t mix(uint64_t h, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ ascii_lower(s.p[i])) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static uint64_t key_of(const struct limits *l, const struct account_question *q)
{
    const uint8_t between = 0;
    uint64_t h = mix(mix(mix(l->seed, q->domain), span_of(&between, 1)), q->account);
    return h == 0 ? 1 : h;
}

static struct limits_account *find(struct limits *l, uint64_t key)
{
    struct limits_account *set = l->accounts[key % LIMITS_SETS];
    for (size_t i = 0; i < LIMITS_WAYS; i++)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

static struct limits_account *find_or_make(struct limits *l, uint64_t key, uint64_t now_ms)
{
    struct limits_account *set = l->accounts[key % LIMITS_SETS], *least = &set[0];
    struct limits_account *there = find(l, key);
    if (there != NULL)
        return there;
    for (size_t i = 0; i < LIMITS_WAYS; i++) {
        if (set[i].key == 0 || token_bucket_is_full(&set[i].wrong, &l->account_rate, now_ms)) {
            least = &set[i];
            break;
        }
        if (set[i].wrong.missing < least->wrong.missing)
            least = &set[i];
    }
    *least = (struct limits_account){.key = key};
    return least;
}

bool limits_take(struct limits *l, const struct account_question *q, uint64_t now_ms, uint64_t *key)
{
    *key = 0;
    if (q->act == ACCOUNT_VERIFY) {
        uint64_t k = key_of(l, q);
        if (!token_bucket_take(&find_or_make(l, k, now_ms)->wrong, &l->account_rate, now_ms))
            return false;
        *key = k;
    }
    if (token_bucket_take(&l->all, &l->all_rate, now_ms))
        return true;
    limits_give_back(l, *key);
    return false;
}

void limits_give_back(struct limits *l, uint64_t key)
{
    struct limits_account *a = key == 0 ? NULL : find(l, key);
    if (a != NULL)
        token_bucket_give_back(&a->wrong);
}
