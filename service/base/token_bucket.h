/* token_bucket.h - how often something may be done: so many at once, so many a second in the long
 * run. PURE: time comes in. Owner: whoever holds the struct; all zero is a full bucket. */
#ifndef POSTERN_BASE_TOKEN_BUCKET_H
#define POSTERN_BASE_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct token_bucket_rate {
    uint32_t burst;      /* tokens in a full one; at least 1 */
    uint32_t per_minute; /* how many come back; 0: none ever */
};

struct token_bucket {
    uint64_t missing; /* in sixty-thousandths of a token */
    uint64_t at_ms;
};

bool token_bucket_take(struct token_bucket *b, const struct token_bucket_rate *rate,
                       uint64_t now_ms);             /* false: empty, nothing taken */
void token_bucket_give_back(struct token_bucket *b); /* one that was taken */
bool token_bucket_is_full(const struct token_bucket *b, const struct token_bucket_rate *rate,
                          uint64_t now_ms);

#endif
