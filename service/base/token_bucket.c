#include "base/token_bucket.h"

/* One token, in the unit in which per_minute tokens a minute come back in whole numbers each
 * millisecond. */
#define TOKEN ((uint64_t)60 * 1000)

static uint64_t missing_at(const struct token_bucket *b, const struct token_bucket_rate *rate,
                           uint64_t now_ms)
{
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    if (rate->per_minute == 0 || passed == 0)
        return b->missing;
    /* Divided, not multiplied: a long pause must not overflow. */
    if (passed > b->missing / rate->per_minute)
        return 0;
    return b->missing - passed * rate->per_minute;
}

bool token_bucket_take(struct token_bucket *b, const struct token_bucket_rate *rate,
                       uint64_t now_ms)
{
    uint64_t missing = missing_at(b, rate, now_ms);
    if (missing + TOKEN > rate->burst * TOKEN)
        return false; /* at_ms stays: what has come back so far is not lost */
    b->missing = missing + TOKEN;
    b->at_ms = now_ms;
    return true;
}

void token_bucket_give_back(struct token_bucket *b)
{
    b->missing = b->missing < TOKEN ? 0 : b->missing - TOKEN;
}

bool token_bucket_is_full(const struct token_bucket *b, const struct token_bucket_rate *rate,
                          uint64_t now_ms)
{
    return missing_at(b, rate, now_ms) == 0;
}
