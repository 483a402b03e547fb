/* When a backend that is silent is asked again. */
#include "auth/breaker.h"
#include "support/test.h"

static void three_silences_in_a_row_open_it_and_an_answer_between_them_does_not(void **state)
{
    (void)state;
    struct breaker b = {0};
    assert_false(breaker_tell(&b, false, 1000));
    assert_false(breaker_tell(&b, false, 1000));
    assert_false(breaker_tell(&b, true, 1000));
    assert_false(breaker_tell(&b, false, 1000));
    assert_false(breaker_tell(&b, false, 1000));
    assert_true(breaker_ask(&b, 1000));
    assert_true(breaker_tell(&b, false, 1000));
    assert_true(breaker_is_open(&b));
    assert_false(breaker_ask(&b, 1000 + BREAKER_PAUSE_MS - 1));
}

static void after_the_pause_one_asks_for_all_and_its_answer_closes_it(void **state)
{
    (void)state;
    struct breaker b = {0};
    for (unsigned i = 0; i < BREAKER_FAILURES; i++)
        (void)breaker_tell(&b, false, 1000);
    assert_true(breaker_ask(&b, 1000 + BREAKER_PAUSE_MS));
    assert_false(breaker_ask(&b, 1000 + BREAKER_PAUSE_MS)); /* the second waits for the first */
    assert_true(breaker_tell(&b, true, 1000 + BREAKER_PAUSE_MS));
    assert_false(breaker_is_open(&b));
    assert_true(breaker_ask(&b, 1000 + BREAKER_PAUSE_MS));
}

static void the_pause_doubles_up_to_its_maximum(void **state)
{
    (void)state;
    struct breaker b = {0};
    uint64_t now = 1000, pause = BREAKER_PAUSE_MS;
    for (unsigned i = 0; i < BREAKER_FAILURES; i++)
        (void)breaker_tell(&b, false, now);
    for (unsigned i = 0; i < 8; i++) {
        assert_false(breaker_ask(&b, now + pause - 1));
        now += pause;
        assert_true(breaker_ask(&b, now));
        assert_false(breaker_tell(&b, false, now)); /* open before and after: no news */
        pause = pause * 2 > BREAKER_PAUSE_MAX_MS ? BREAKER_PAUSE_MAX_MS : pause * 2;
    }
    assert_int_equal(pause, BREAKER_PAUSE_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_silences_in_a_row_open_it_and_an_answer_between_them_does_not),
        cmocka_unit_test(after_the_pause_one_asks_for_all_and_its_answer_closes_it),
        cmocka_unit_test(the_pause_doubles_up_to_its_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
