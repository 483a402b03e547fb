/* limits.h - how many questions are answered before any password is hashed: in all, so that a
 * service gone wrong does not eat the machine; wrong ones for each account, so that nobody can
 * guess through the helper faster than this. Bounded memory: of accounts that do not fit, the one
 * with the fewest guesses is forgotten. PURE: time comes in. */
#ifndef POSTERN_HELPER_LIMITS_H
#define POSTERN_HELPER_LIMITS_H

#include "base/account_protocol.h"
#include "base/token_bucket.h"

enum { LIMITS_SETS = 256, LIMITS_WAYS = 4 };

struct limits {
    struct token_bucket_rate all_rate, account_rate;
    struct token_bucket all;
    struct limits_account {
        uint64_t key; /* 0: free */
        struct token_bucket wrong;
    } accounts[LIMITS_SETS][LIMITS_WAYS];
    uint64_t seed; /* so that nobody can choose names that meet */
};

/* A VERIFY takes one of its account's in advance, so that many at once are counted too. */
bool limits_take(struct limits *l, const struct account_question *q, uint64_t now_ms,
                 uint64_t *key);
void limits_give_back(struct limits *l, uint64_t key); /* it was no wrong password */

#endif
