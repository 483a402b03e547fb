/* When a message is tried again, when its sender is told, when we give up (schedule.h). */
#include "queue/schedule.h"
#include "support/test.h"

static const int64_t MIN = 60 * 1000;
static const int64_t HOUR = 60 * 60 * 1000;
static const int64_t T0 = 1000000;

static struct schedule_verdict after(uint32_t attempts, int64_t age, bool noticed, uint16_t jitter)
{
    struct schedule_options o = schedule_defaults();
    return schedule_next(&o, attempts, T0, T0 + age, noticed, jitter);
}

static void intervals_grow_and_the_last_repeats(void **state)
{
    (void)state;
    static const int64_t minutes[] = {15, 15, 30, 60, 240, 240};
    for (uint32_t n = 0; n < 6; n++)
        assert_int_equal(after(n, 0, false, 0).next_ms, T0 + minutes[n] * MIN);
    assert_int_equal(after(UINT32_MAX, 0, false, 0).next_ms, T0 + 240 * MIN);
}

static void jitter_lengthens_by_at_most_a_sixteenth(void **state)
{
    (void)state;
    int64_t interval = 15 * MIN;
    assert_int_equal(after(1, 0, false, UINT16_MAX).next_ms, T0 + interval + interval / 16);
    for (unsigned j = 0; j <= UINT16_MAX; j += 4095) {
        int64_t next = after(1, 0, false, (uint16_t)j).next_ms;
        assert_true(next >= T0 + interval && next <= T0 + interval + interval / 16);
    }
}

static void the_sender_is_told_once_and_from_the_time_on(void **state)
{
    (void)state;
    assert_false(after(3, 12 * HOUR - 1, false, 0).delay_notice);
    assert_true(after(3, 12 * HOUR, false, 0).delay_notice);
    assert_false(after(3, 12 * HOUR, true, 0).delay_notice);
    struct schedule_options o = schedule_defaults();
    o.delay_notice_ms = 0;
    assert_false(schedule_next(&o, 3, T0, T0 + 13 * HOUR, false, 0).delay_notice);
}

static void the_last_attempt_is_made_at_the_very_end(void **state)
{
    (void)state;
    struct schedule_verdict v = after(9, 47 * HOUR, true, UINT16_MAX);
    assert_false(v.expired);
    assert_int_equal(v.next_ms, T0 + 48 * HOUR);
    assert_false(after(9, 48 * HOUR - 1, true, 0).expired);
    assert_true(after(9, 48 * HOUR, true, 0).expired);
    assert_false(after(9, 48 * HOUR, false, 0).delay_notice);
}

static void a_clock_before_acceptance_counts_as_no_age(void **state)
{
    (void)state;
    struct schedule_verdict v = after(1, -5 * HOUR, false, 0);
    assert_false(v.expired || v.delay_notice);
    assert_int_equal(v.next_ms, T0 - 5 * HOUR + 15 * MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_grow_and_the_last_repeats),
        cmocka_unit_test(jitter_lengthens_by_at_most_a_sixteenth),
        cmocka_unit_test(the_sender_is_told_once_and_from_the_time_on),
        cmocka_unit_test(the_last_attempt_is_made_at_the_very_end),
        cmocka_unit_test(a_clock_before_acceptance_counts_as_no_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
