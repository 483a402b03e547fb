/* The table of accounts and peers: bounded, the longest unused gives way. */
#include "auth/lru_table.h"
#include "support/test.h"

struct item {
    struct lru_entry lru;
    uint64_t value;
};

static struct item *take(struct lru_table *t, uint64_t key, bool expect_fresh)
{
    bool fresh;
    struct item *i = lru_table_take(t, key, &fresh);
    assert_int_equal(fresh, expect_fresh);
    if (fresh)
        assert_int_equal(i->value, 0);
    i->value = key;
    return i;
}

static void the_longest_unused_gives_way(void **state)
{
    (void)state;
    struct lru_table t;
    assert_true(lru_table_init(&t, 3, sizeof(struct item)));
    for (uint64_t key = 1; key <= 3; key++)
        take(&t, key, true);
    take(&t, 1, false);
    assert_non_null(lru_table_find(&t, 2)); /* to look is not to use */
    take(&t, 4, true);
    assert_null(lru_table_find(&t, 2));
    const uint64_t newest_first[] = {4, 1, 3};
    const struct item *i = NULL;
    for (size_t n = 0; n < 3; n++) {
        i = lru_table_next(&t, i);
        assert_non_null(i);
        assert_int_equal(i->value, newest_first[n]);
    }
    assert_null(lru_table_next(&t, i));
    lru_table_deinit(&t);
    lru_table_deinit(&t);
}

/* Against a model: which of the last keys are there, whatever buckets they share. */
static void what_was_used_last_is_there_and_nothing_else(void **state)
{
    (void)state;
    enum { SIZE = 7, STEPS = 20000 };
    struct lru_table t;
    uint64_t recent[SIZE], x = 88172645463325252u;
    size_t n = 0;
    assert_true(lru_table_init(&t, SIZE, sizeof(struct item)));
    for (int step = 0; step < STEPS; step++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t key = (x % 12) * 8; /* eight buckets: all in one */
        size_t at = 0;
        while (at < n && recent[at] != key)
            at++;
        assert_int_equal(take(&t, key, at == n)->value, key);
        if (at == n && n < SIZE)
            n++;
        for (size_t i = at < n ? at : n - 1; i > 0; i--)
            recent[i] = recent[i - 1];
        recent[0] = key;
        for (size_t i = 0; i < n; i++)
            assert_non_null(lru_table_find(&t, recent[i]));
        const struct item *i = NULL;
        size_t count = 0;
        while ((i = lru_table_next(&t, i)) != NULL)
            assert_int_equal(i->value, recent[count++]);
        assert_int_equal(count, n);
    }
    lru_table_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_unused_gives_way),
        cmocka_unit_test(what_was_used_last_is_there_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
