/* What is counted within a minute: never more than the limit in any 60 seconds, room again after
 * it, bounded memory, and exact under many threads. */
#include "session/rates.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, TAKES = 4000, ROUNDS = 20000 };

static uint32_t limits[ACL_RATE_BYS][ACL_RATES];

static int clear(void **state)
{
    (void)state;
    memset(limits, 0, sizeof limits);
    return 0;
}

static struct netaddr v4(unsigned n)
{
    return netaddr_v4((const uint8_t[4]){10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n});
}

static struct netaddr v6(uint8_t net, uint8_t host)
{
    struct netaddr a = {{0x20, 0x01, 0x0d, 0xb8}};
    a.b[7] = net;
    a.b[15] = host;
    return a;
}

static bool take(struct rates *r, int64_t now, struct netaddr client, const char *account,
                 struct acl_rate_facts *use)
{
    rates_take(r, now, &client, span_str(account), limits, use);
    assert_int_equal(use->state, FACT_VALUE);
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        uint32_t most = limits[i / ACL_RATES][i % ACL_RATES];
        if (most > 0 && use->use[i / ACL_RATES][i % ACL_RATES].used >= most)
            return false;
    }
    return true;
}

static void no_minute_has_more_than_the_limit_and_room_comes_again(void **state)
{
    (void)state;
    struct rates *r = rates_new(16);
    struct acl_rate_facts use;
    static int64_t taken[ROUNDS];
    size_t n = 0, from = 0;
    uint64_t seed = 7;
    int64_t now = 123456;
    limits[ACL_BY_CLIENT][ACL_RATE_MESSAGES] = 10;
    for (size_t i = 0; i < ROUNDS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        now += (int64_t)((seed >> 33) % 9000);
        bool got = take(r, now, v4(1), NULL, &use);
        while (from < n && taken[from] <= now - RATES_WINDOW_MS)
            from++;
        if (got) {
            assert_true(n - from < 10);
            taken[n++] = now;
            continue;
        }
        /* Refused: within a step more than a minute there were as many as may be, and the wait that
         * is told is enough. */
        const struct acl_rate_use *u = &use.use[ACL_BY_CLIENT][ACL_RATE_MESSAGES];
        assert_true(u->used == 10 && u->wait_s > 0 &&
                    u->wait_s <= (RATES_WINDOW_MS + RATES_STEP_MS) / 1000);
        assert_true(taken[n - 10] > now - RATES_WINDOW_MS - RATES_STEP_MS);
        if (i % 3 == 0) {
            now += (int64_t)u->wait_s * 1000;
            assert_true(take(r, now, v4(1), NULL, &use));
            while (from < n && taken[from] <= now - RATES_WINDOW_MS)
                from++;
            assert_true(n - from < 10);
            taken[n++] = now;
        }
    }
    assert_true(n > 1000 && n < ROUNDS);
    rates_free(&r);
}

static void all_are_taken_or_none(void **state)
{
    (void)state;
    struct rates *r = rates_new(64);
    struct acl_rate_facts use;
    limits[ACL_BY_CLIENT][ACL_RATE_MESSAGES] = 5;
    limits[ACL_BY_ACCOUNT][ACL_RATE_MESSAGES] = 2;
    assert_true(take(r, 0, v4(1), "a", &use));
    assert_true(take(r, 0, v4(2), "a", &use));
    for (int i = 0; i < 10; i++) /* the account's limit: nothing of the client's is used up */
        assert_false(take(r, 0, v4(1), "a", &use));
    assert_int_equal(use.use[ACL_BY_CLIENT][ACL_RATE_MESSAGES].used, 1);
    assert_true(take(r, 0, v4(1), "b", &use));
    limits[ACL_BY_ACCOUNT][ACL_RATE_MESSAGES] = 0;
    for (int i = 0; i < 3; i++)
        assert_true(take(r, 0, v4(1), "b", &use));
    assert_false(take(r, 0, v4(1), "b", &use));
    /* Another kind of the same client is another count. */
    limits[ACL_BY_CLIENT][ACL_RATE_MESSAGES] = 0;
    limits[ACL_BY_CLIENT][ACL_RATE_RECIPIENTS] = 1;
    assert_true(take(r, 0, v4(1), "b", &use));
    /* A lowered limit holds for what was counted before, a raised one gives room. */
    limits[ACL_BY_CLIENT][ACL_RATE_RECIPIENTS] = 0;
    limits[ACL_BY_CLIENT][ACL_RATE_MESSAGES] = 3;
    assert_false(take(r, 0, v4(1), "b", &use));
    assert_int_equal(use.use[ACL_BY_CLIENT][ACL_RATE_MESSAGES].used, 5);
    limits[ACL_BY_CLIENT][ACL_RATE_MESSAGES] = 6;
    assert_true(take(r, 0, v4(1), "b", &use));
    rates_free(&r);
}

static void an_ipv6_client_is_its_network(void **state)
{
    (void)state;
    struct rates *r = rates_new(64);
    struct acl_rate_facts use;
    limits[ACL_BY_CLIENT][ACL_RATE_CONNECTIONS] = 1;
    assert_true(take(r, 0, v6(1, 1), NULL, &use));
    assert_false(take(r, 0, v6(1, 2), NULL, &use));
    assert_true(take(r, 0, v6(2, 1), NULL, &use));
    assert_true(take(r, 0, v4(1), NULL, &use));
    assert_true(take(r, 0, v4(2), NULL, &use));
    rates_free(&r);
}

static void memory_is_bounded_and_the_busy_ones_stay(void **state)
{
    (void)state;
    struct rates *r = rates_new(100);
    struct acl_rate_facts use;
    limits[ACL_BY_CLIENT][ACL_RATE_CONNECTIONS] = 1000;
    for (unsigned i = 0; i < 900; i++) {
        assert_true(take(r, 0, v4(1), NULL, &use));
        assert_int_equal(use.use[ACL_BY_CLIENT][ACL_RATE_CONNECTIONS].used, i);
        assert_true(take(r, 0, v4(1000 + i), NULL, &use));
    }
    rates_free(&r);
}

struct shared {
    struct rates *r;
    atomic_uint got;
};

static void *run(void *arg)
{
    struct shared *x = arg;
    for (int i = 0; i < TAKES; i++) {
        struct acl_rate_facts use;
        /* Each worker reads its own clock: a little behind another one's. */
        if (take(x->r, 1000000 + i % 7 - 3, v4((unsigned)i % 4), "a", &use))
            atomic_fetch_add(&x->got, 1);
    }
    return NULL;
}

static void the_limit_is_exact_under_many_threads(void **state)
{
    (void)state;
    struct shared x = {.r = rates_new(64)};
    pthread_t threads[THREADS];
    atomic_init(&x.got, 0);
    limits[ACL_BY_CLIENT][ACL_RATE_RECIPIENTS] = 500;
    limits[ACL_BY_ACCOUNT][ACL_RATE_RECIPIENTS] = 1700;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &x), 0);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&x.got), 1700);
    rates_free(&x.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_minute_has_more_than_the_limit_and_room_comes_again, clear),
        cmocka_unit_test_setup(all_are_taken_or_none, clear),
        cmocka_unit_test_setup(an_ipv6_client_is_its_network, clear),
        cmocka_unit_test_setup(memory_is_bounded_and_the_busy_ones_stay, clear),
        cmocka_unit_test_setup(the_limit_is_exact_under_many_threads, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
