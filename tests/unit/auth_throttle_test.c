/* What a wrong password costs: properties of the throttle. */
#include "auth/auth.h"
#include "auth/throttle.h"
#include "support/test.h"

static const uint8_t key[16] = "0123456789abcdef";
static const struct throttle_options plain = {
    .delay_ms = 1000,
    .delay_max_ms = 30000,
    .account_delay_max_ms = 5000,
    .free_failures = 3,
    .refuse_after = 10,
    .refuse_ms = 60000,
    .refuse_max_ms = 240000,
    .decay_ms = 600000,
    .entries = 4096,
};

static struct throttle *fresh(const struct throttle_options *o)
{
    struct throttle *t = NULL;
    struct err e = {0};
    assert_true(throttle_new(o, key, &t, &e));
    return t;
}

static struct throttle_verdict fail_once(struct throttle *t, const char *peer, const char *account,
                                         uint64_t fingerprint, int64_t now)
{
    return throttle_failed(t, span_str(peer), span_str(account), fingerprint, now);
}

static bool refused(struct throttle *t, const char *peer, const char *account, int64_t now)
{
    return throttle_check(t, span_str(peer), span_str(account), now).refuse;
}

static void the_first_three_cost_the_fixed_delay_then_it_doubles_to_its_cap(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    /* Another account each time, so that the account adds nothing. */
    static const char *const accounts[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    static const uint32_t want[] = {1000, 1000, 1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(fail_once(t, "p", accounts[i], 0, (int64_t)i).delay_ms, want[i]);
    throttle_free(&t);
}

static void a_peer_is_refused_after_ten_and_for_ever_longer(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    int64_t now = 0;
    for (int i = 0; i < 9; i++) {
        assert_false(refused(t, "p", "a", now));
        fail_once(t, "p", "a", 0, now++);
    }
    assert_false(refused(t, "p", "a", now));
    fail_once(t, "p", "a", 0, now);
    assert_true(refused(t, "p", "a", now));
    assert_true(refused(t, "p", "other", now)); /* the peer, whatever account it names */
    assert_true(refused(t, "p", "a", now + 59999));
    assert_false(refused(t, "p", "a", now + 60000));
    now += 60000;
    fail_once(t, "p", "a", 0, now); /* the eleventh: twice as long */
    assert_true(refused(t, "p", "a", now + 119999));
    assert_false(refused(t, "p", "a", now + 120000));
    for (int i = 0; i < 20; i++)
        fail_once(t, "p", "a", 0, now);
    assert_false(refused(t, "p", "a", now + 240000)); /* the cap */
    throttle_free(&t);
}

static void nobody_can_lock_somebody_elses_account(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    char peer[16];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(peer, sizeof peer, "p%d", i);
        uint32_t delay = fail_once(t, peer, "boss", 0, i).delay_ms;
        assert_in_range(delay, 1000, 6000); /* the fixed delay and the account's bounded share */
    }
    assert_false(refused(t, "home", "boss", 1000));
    throttle_free(&t);
}

static void a_known_good_pair_is_not_refused_for_its_neighbours_faults(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    throttle_succeeded(t, span_str("nat"), span_str("printer"), 1);
    for (int i = 0; i < 50; i++)
        fail_once(t, "nat", "broken", 0, 2);
    assert_true(refused(t, "nat", "broken", 3));
    assert_true(refused(t, "nat", "stranger", 3));
    assert_false(refused(t, "nat", "printer", 3));
    /* but it is no way round: three wrong ones of that pair, and it is refused as well */
    for (int i = 0; i < 3; i++)
        fail_once(t, "nat", "printer", 0, 4);
    assert_true(refused(t, "nat", "printer", 5));
    throttle_free(&t);
}

static void a_right_password_forgives_ones_own_typos_and_no_guesses_at_others(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    for (int i = 0; i < 40; i++) { /* two typos and then right, all day long: never refused */
        fail_once(t, "desk", "me", 0, i);
        fail_once(t, "desk", "me", 0, i);
        assert_false(refused(t, "desk", "me", i));
        throttle_succeeded(t, span_str("desk"), span_str("me"), i);
    }
    assert_int_equal(fail_once(t, "desk", "me", 0, 41).delay_ms, 1000);
    for (int i = 0; i < 10; i++) { /* own success between the guesses buys nothing */
        fail_once(t, "evil", "boss", 0, i);
        throttle_succeeded(t, span_str("evil"), span_str("mine"), i);
    }
    assert_true(refused(t, "evil", "boss", 11));
    throttle_free(&t);
}

static void the_same_wrong_password_again_is_no_new_guess(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    static const uint32_t want[] = {1000, 1000, 1000, 2000 + 2000, 4000 + 4000};
    for (int i = 0; i < 1000; i++) { /* it costs more and more all the same: peer and account */
        uint32_t delay = fail_once(t, "printer", "scan", 77, i).delay_ms;
        assert_int_equal(delay, i < 5 ? want[i] : delay);
    }
    assert_int_equal(fail_once(t, "printer", "scan", 77, 1000).delay_ms, 30000 + 5000);
    assert_false(refused(t, "printer", "scan", 1000));
    for (uint64_t i = 0; i < 9; i++)
        fail_once(t, "printer", "scan", 100 + i, 1001);
    assert_true(refused(t, "printer", "scan", 1002));
    throttle_free(&t);
}

static void failures_are_forgotten_one_by_one(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    for (int i = 0; i < 6; i++)
        fail_once(t, "p", "a", 0, 0);
    /* six, of which two are forgotten by now; this is the fifth: 4 s of the peer, 4 s of the
     * account */
    assert_int_equal(fail_once(t, "p", "a", 0, 1200000).delay_ms, 8000);
    assert_int_equal(fail_once(t, "p", "a", 0, 1200000 + 5 * 600000).delay_ms, 1000);
    throttle_free(&t);
}

static void memory_is_bounded_and_the_longest_unused_goes_first(void **state)
{
    (void)state;
    struct throttle_options small = plain;
    small.entries = 64;
    struct throttle *t = fresh(&small);
    for (int i = 0; i < 10; i++)
        fail_once(t, "known", "x", 0, i);
    char name[16];
    for (int i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof name, "q%d", i);
        fail_once(t, name, name, 0, 100);
        if (i % 8 == 0)
            fail_once(t, "known", "x", 0, 100); /* stays in use, so it stays */
    }
    assert_true(refused(t, "known", "x", 101));
    for (int i = 0; i < 64; i++) {
        (void)snprintf(name, sizeof name, "r%d", i);
        fail_once(t, name, name, 0, 102);
    }
    assert_false(refused(t, "known", "x", 103)); /* forgotten, not wrong memory */
    throttle_free(&t);
}

static void a_table_of_one_entry_still_works(void **state)
{
    (void)state;
    struct throttle_options tiny = plain;
    tiny.entries = 1;
    struct throttle *t = fresh(&tiny);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fail_once(t, "p", "a", 3, i).delay_ms >= 1000, 1);
        throttle_succeeded(t, span_str("p"), span_str("a"), i);
        (void)refused(t, "p", "a", i);
    }
    throttle_free(&t);
}

static void new_options_hold_at_once_and_keep_the_counters(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    for (int i = 0; i < 5; i++)
        fail_once(t, "p", "a", 0, 0);
    struct throttle_options strict = plain;
    strict.refuse_after = 6;
    throttle_set_options(t, &strict);
    fail_once(t, "p", "a", 0, 1);
    assert_true(refused(t, "p", "a", 2));
    throttle_free(&t);
}

static uint64_t share(const char *text)
{
    struct netaddr a;
    assert_true(netaddr_parse(span_str(text), &a));
    return auth_share_key(&a);
}

static void peers_are_counted_by_address_and_in_ipv6_by_their_64(void **state)
{
    (void)state;
    assert_true(share("192.0.2.7") != share("192.0.2.8"));
    assert_true(share("192.0.2.7") == share("::ffff:192.0.2.7"));
    assert_true(share("2001:db8:1:2::1") == share("2001:db8:1:2:ffff::9"));
    assert_true(share("2001:db8:1:2::1") != share("2001:db8:1:3::1"));
}

struct seen {
    size_t n, stop_at;
    char text[256];
};

static bool see(void *context, const struct throttle_count *c)
{
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    (void)snprintf(seen->text + used, sizeof seen->text - used, "%s %.*s %u/%u %u; ",
                   c->peer ? "peer" : "account", SPAN_ARG(c->who), (unsigned)c->failures,
                   (unsigned)c->guesses, (unsigned)c->refused_ms);
    return ++seen->n != seen->stop_at;
}

static void what_is_counted_can_be_seen_the_newest_first(void **state)
{
    (void)state;
    struct throttle *t = fresh(&plain);
    struct seen seen = {0};
    throttle_each(t, 0, see, &seen);
    assert_int_equal(seen.n, 0);
    for (uint64_t i = 1; i <= 9; i++)
        (void)fail_once(t, "a", "anna", i, 0);
    struct throttle_verdict v = fail_once(t, "a", "anna", 10, 0);
    assert_int_equal(v.refused_ms, 60000);
    assert_int_equal(v.guesses, 10);
    (void)fail_once(t, "b", "bob", 5, 1000);
    v = fail_once(t, "b", "bob", 5, 1000); /* the same again */
    assert_int_equal(v.refused_ms, 0);
    assert_int_equal(v.guesses, 1);
    throttle_succeeded(t, span_str("c"), span_str("carol"), 1000); /* counts nothing */
    throttle_each(t, 2000, see, &seen);
    assert_string_equal(seen.text, "peer b 2/1 0; account bob 2/1 0; peer a 10/10 58000; "
                                   "account anna 10/10 0; ");
    seen = (struct seen){.stop_at = 1};
    throttle_each(t, 2000, see, &seen);
    assert_int_equal(seen.n, 1);
    seen = (struct seen){0};
    throttle_each(t, 11 * 600000, see, &seen); /* all forgotten */
    assert_string_equal(seen.text, "");
    throttle_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_three_cost_the_fixed_delay_then_it_doubles_to_its_cap),
        cmocka_unit_test(a_peer_is_refused_after_ten_and_for_ever_longer),
        cmocka_unit_test(nobody_can_lock_somebody_elses_account),
        cmocka_unit_test(a_known_good_pair_is_not_refused_for_its_neighbours_faults),
        cmocka_unit_test(a_right_password_forgives_ones_own_typos_and_no_guesses_at_others),
        cmocka_unit_test(the_same_wrong_password_again_is_no_new_guess),
        cmocka_unit_test(failures_are_forgotten_one_by_one),
        cmocka_unit_test(memory_is_bounded_and_the_longest_unused_goes_first),
        cmocka_unit_test(a_table_of_one_entry_still_works),
        cmocka_unit_test(new_options_hold_at_once_and_keep_the_counters),
        cmocka_unit_test(peers_are_counted_by_address_and_in_ipv6_by_their_64),
        cmocka_unit_test(what_is_counted_can_be_seen_the_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
