#include "auth/lockout.h"

#include "auth/lru_table.h"

#include <stdlib.h>
#include <string.h>

enum { PROVED_MAX = 2, WRONG_MAX = 8 };

struct known {
    uint64_t fingerprint; /* 0 = none */
    int64_t at_ms;
};

struct entry {
    struct lru_entry lru;
    uint32_t bad;          /* wrong passwords that the domain has counted */
    uint32_t pending;      /* asked about and not answered */
    int64_t bad_ms;        /* the last of them */
    int64_t forget_ms;     /* when the domain forgets them */
    int64_t held_until_ms; /* 0 = it is not held back */
    struct known proved[PROVED_MAX], wrong[WRONG_MAX];
    uint8_t who_n;
    char who[LOCKOUT_WHO_MAX];
};

struct lockout {
    uint8_t hash_key[KEYED_HASH_KEY];
    struct lru_table accounts;
};

bool lockout_new(uint32_t accounts, const uint8_t key[KEYED_HASH_KEY], struct lockout **out,
                 struct err *e)
{
    struct lockout *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(e, ERR_TEMP, "lockout: no memory");
    memcpy(t->hash_key, key, sizeof t->hash_key);
    if (!lru_table_init(&t->accounts, accounts == 0 ? 1 : accounts, sizeof(struct entry))) {
        lockout_free(&t);
        return err_set(e, ERR_TEMP, "lockout: no memory for %u accounts", (unsigned)accounts);
    }
    *out = t;
    return true;
}

void lockout_free(struct lockout **t)
{
    if (t == NULL || *t == NULL)
        return;
    lru_table_deinit(&(*t)->accounts);
    free(*t);
    *t = NULL;
}

static struct entry *find_or_make(struct lockout *t, struct span account)
{
    bool fresh;
    struct entry *en = lru_table_take(&t->accounts, keyed_hash(t->hash_key, &account, 1), &fresh);
    if (fresh && account.n > 0) {
        en->who_n = (uint8_t)(account.n < LOCKOUT_WHO_MAX ? account.n : LOCKOUT_WHO_MAX);
        memcpy(en->who, account.p, en->who_n);
    }
    return en;
}

/* As the domain does: all at once, when none came for the window. */
static void forget_old(struct entry *en, const struct lockout_limits *limits, int64_t now_ms)
{
    if (en->bad == 0 || now_ms - en->bad_ms < (int64_t)limits->window_ms)
        return;
    en->bad = 0;
    en->held_until_ms = 0;
    memset(en->wrong, 0, sizeof en->wrong);
}

static struct known *find_known(struct known *list, size_t n, uint64_t fingerprint)
{
    for (size_t i = 0; fingerprint != 0 && i < n; i++)
        if (list[i].fingerprint == fingerprint)
            return &list[i];
    return NULL;
}

static void remember(struct known *list, size_t n, uint64_t fingerprint, int64_t now_ms)
{
    struct known *at = find_known(list, n, fingerprint);
    for (size_t i = 0; at == NULL && i < n; i++)
        if (list[i].fingerprint == 0)
            at = &list[i];
    for (size_t i = 0; at == NULL && i < n; i++) { /* full: the oldest */
        bool oldest = true;
        for (size_t k = 0; k < n; k++)
            oldest = oldest && list[i].at_ms <= list[k].at_ms;
        at = oldest ? &list[i] : NULL;
    }
    *at = (struct known){fingerprint, now_ms};
}

static void drop_known(struct known *list, size_t n, uint64_t fingerprint)
{
    struct known *at = find_known(list, n, fingerprint);
    if (at != NULL)
        *at = (struct known){0, 0};
}

/* What others than proved passwords may use up. */
static uint32_t common_tries(const struct lockout_limits *limits)
{
    return limits->below > 1 ? limits->below - 1 : 1;
}

static enum lockout_verdict ask_within(struct entry *en, uint32_t tries)
{
    if (en->bad >= tries)
        return LOCKOUT_HELD_BACK;
    if (en->bad + en->pending >= tries)
        return LOCKOUT_WAIT;
    en->pending++;
    return LOCKOUT_ASK;
}

enum lockout_verdict lockout_ask(struct lockout *t, struct span account, uint64_t fingerprint,
                                 const struct lockout_limits *limits, int64_t now_ms)
{
    struct entry *en = find_or_make(t, account);
    forget_old(en, limits, now_ms);
    const struct known *proved = find_known(en->proved, PROVED_MAX, fingerprint);
    int64_t proved_ms = proved == NULL ? LOCKOUT_PROVED_MS : now_ms - proved->at_ms;
    if (proved_ms < LOCKOUT_FRESH_MS) {
        en->pending++;
        return LOCKOUT_ASK;
    }
    if (proved_ms < LOCKOUT_PROVED_MS)
        return ask_within(en, limits->below);
    const struct known *wrong = find_known(en->wrong, WRONG_MAX, fingerprint);
    if (wrong == NULL)
        return ask_within(en, common_tries(limits));
    if (now_ms - wrong->at_ms < LOCKOUT_WRONG_MS)
        return LOCKOUT_KNOWN_WRONG;
    return ask_within(en, common_tries(limits) - 1);
}

bool lockout_tell(struct lockout *t, struct span account, uint64_t fingerprint,
                  enum lockout_answer answer, const struct lockout_limits *limits, int64_t now_ms)
{
    struct entry *en = find_or_make(t, account);
    if (en->pending > 0) /* else it was forgotten meanwhile */
        en->pending--;
    switch (answer) {
    case LOCKOUT_NO_ANSWER: return false;
    case LOCKOUT_RIGHT:
        en->bad = 0;
        en->held_until_ms = 0;
        memset(en->wrong, 0, sizeof en->wrong);
        if (fingerprint != 0)
            remember(en->proved, PROVED_MAX, fingerprint, now_ms);
        return false;
    case LOCKOUT_WRONG:
    case LOCKOUT_WRONG_PROOF: break;
    }
    forget_old(en, limits, now_ms);
    drop_known(en->proved, PROVED_MAX, fingerprint);
    if (fingerprint != 0 && answer == LOCKOUT_WRONG)
        remember(en->wrong, WRONG_MAX, fingerprint, now_ms);
    bool held_before = en->bad >= common_tries(limits);
    en->bad++;
    en->bad_ms = now_ms;
    en->forget_ms = now_ms + (int64_t)limits->window_ms;
    if (en->bad < common_tries(limits))
        return false;
    en->held_until_ms = en->forget_ms;
    return !held_before;
}

void lockout_each(const struct lockout *t, int64_t now_ms,
                  bool (*each)(void *context, const struct lockout_count *count), void *context)
{
    const struct entry *en = NULL;
    while ((en = lru_table_next(&t->accounts, en)) != NULL) {
        bool held = en->held_until_ms > now_ms;
        if (en->bad == 0 || en->forget_ms <= now_ms)
            continue;
        const struct lockout_count count = {.account = span_of(en->who, en->who_n),
                                            .wrong = en->bad,
                                            .held_ms =
                                                held ? (uint32_t)(en->held_until_ms - now_ms) : 0};
        if (!each(context, &count))
            return;
    }
}

size_t lockout_held_back(const struct lockout *t, int64_t now_ms)
{
    size_t n = 0;
    const struct entry *en = NULL;
    while ((en = lru_table_next(&t->accounts, en)) != NULL)
        n += en->held_until_ms > now_ms ? 1 : 0;
    return n;
}
