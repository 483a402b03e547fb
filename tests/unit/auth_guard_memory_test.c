/* The guard without memory, at every single allocation of making it: an error that says so, no
 * crash, no leak; once made it allocates nothing, so whoever guesses cannot use its memory up. */
#define auth_guard guard_of_the_test /* auth.c is not what is under test */
#define auth_share_key share_key_of_the_test
#include "support/test.h"

#include "support/no_memory.h"

#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "auth/guard.c"
#include "auth/lru_table.c"
#define entry lockout_entry /* the two tables have names in common */
#define find_or_make lockout_find_or_make
#include "auth/lockout.c"
#undef entry
#undef find_or_make
#include "auth/throttle.c"
#undef realloc
#undef calloc
#undef malloc
#undef free

static struct guard *the_guard;

struct guard *auth_guard(struct auth *a)
{
    (void)a;
    return the_guard;
}

uint64_t auth_share_key(const struct netaddr *client)
{
    return client->b[15];
}

static const struct throttle_options options = {.refuse_after = 3, .entries = 64};

static void no_memory_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    bool done = false;
    for (long nth = 1; !done; nth++) {
        struct err e = {0};
        the_guard = NULL;
        fail_allocation(nth, false);
        done = guard_new(&options, &the_guard, &e);
        assert_int_equal(done, !ran_out);
        fail_allocation(0, false);
        if (!done) {
            assert_null(the_guard);
            assert_int_equal(e.class, ERR_TEMP);
            assert_non_null(strstr(e.text, "memory"));
        }
        guard_free(&the_guard);
        assert_int_equal(blocks_held, 0);
        assert_true(nth < 100);
        if (done)
            assert_true(nth > 5); /* both tables with their buckets, and the guard itself */
    }
}

/* More peers and accounts than there is room for, and no allocation is made. */
static void guesses_cost_no_memory(void **state)
{
    (void)state;
    struct err e = {0};
    const struct auth_domain domain = {
        .deadline_ms = 1000, .lockout_below = 4, .lockout_window_ms = 60000};
    struct auth_guesses list[30];
    bool more;
    assert_true(guard_new(&options, &the_guard, &e));
    fail_allocation(1, false);
    for (unsigned i = 0; i < 500; i++) {
        struct netaddr peer = {.b = {[15] = (uint8_t)i}};
        char account[32];
        (void)snprintf(account, sizeof account, "CORP\\user%u", i);
        (void)auth_throttle_check(NULL, &peer, account);
        (void)auth_throttle_failed(NULL, &peer, account, span_str("wrong"));
        if (auth_lockout_ask(NULL, &domain, account, span_str("wrong")) == LOCKOUT_ASK)
            auth_lockout_tell(NULL, &domain, account, span_str("wrong"), LOCKOUT_WRONG);
    }
    assert_int_equal(auth_guesses(NULL, list, 30, &more), 30);
    assert_true(more);
    assert_false(ran_out);
    fail_allocation(0, false);
    guard_free(&the_guard);
    assert_int_equal(blocks_held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_an_error_and_leaves_nothing),
        cmocka_unit_test(guesses_cost_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
