/* When a log file gives way, and the names of the old ones. */
#include "base/log_rotation.h"

#include "support/test.h"

enum { HOUR = 3600 * 1000 };
#define DAY ((int64_t)24 * HOUR)
/* 2026-11-24 00:00:00 UTC */
#define MIDNIGHT ((int64_t)1795478400 * 1000)

static void a_day_ends_at_midnight_and_an_hour_with_the_hour(void **state)
{
    (void)state;
    const struct log_rotation daily = {.age_ms = (uint64_t)DAY}, hourly = {.age_ms = HOUR};
    assert_false(log_rotation_due(&daily, 1, MIDNIGHT, MIDNIGHT));
    assert_false(log_rotation_due(&daily, 1, MIDNIGHT, MIDNIGHT + DAY - 1));
    assert_true(log_rotation_due(&daily, 1, MIDNIGHT, MIDNIGHT + DAY));
    assert_true(log_rotation_due(&daily, 1, MIDNIGHT - 1, MIDNIGHT));
    assert_true(log_rotation_due(&daily, 1, MIDNIGHT - 40 * DAY, MIDNIGHT + 5));
    assert_false(log_rotation_due(&hourly, 1, MIDNIGHT + 1, MIDNIGHT + HOUR - 1));
    assert_true(log_rotation_due(&hourly, 1, MIDNIGHT + HOUR - 1, MIDNIGHT + HOUR));
}

static void size_counts_by_itself_and_nothing_is_asked_of_an_empty_file(void **state)
{
    (void)state;
    const struct log_rotation large = {.size = 100}, never = {0};
    assert_false(log_rotation_due(&large, 99, MIDNIGHT, MIDNIGHT + 9 * DAY));
    assert_true(log_rotation_due(&large, 100, MIDNIGHT, MIDNIGHT));
    const struct log_rotation both = {.size = 100, .age_ms = (uint64_t)DAY};
    assert_false(log_rotation_due(&both, 0, MIDNIGHT - DAY, MIDNIGHT));
    assert_false(log_rotation_due(&never, UINT64_MAX, 0, MIDNIGHT));
}

static void a_clock_that_is_set_back_is_no_new_day(void **state)
{
    (void)state;
    const struct log_rotation daily = {.age_ms = (uint64_t)DAY};
    assert_false(log_rotation_due(&daily, 1, MIDNIGHT, MIDNIGHT - 3 * DAY));
    assert_false(log_rotation_due(&daily, 1, -5, MIDNIGHT));
}

static void old_ones_are_named_by_their_time_and_known_by_their_name(void **state)
{
    (void)state;
    char out[64];
    assert_true(log_rotation_name("relay.log", MIDNIGHT + 13 * HOUR + 62000, 0, out, sizeof out));
    assert_string_equal(out, "relay.log.20261124-130102");
    assert_true(log_rotation_is_old("relay.log", out));
    assert_true(log_rotation_name("relay.log", MIDNIGHT, 12, out, sizeof out));
    assert_string_equal(out, "relay.log.20261124-000000-12");
    assert_true(log_rotation_is_old("relay.log", out));
    assert_false(log_rotation_name("relay.log", MIDNIGHT, 0, out, 20));
    static const char *const others[] = {"relay.log",
                                         "relay.log.1",
                                         "relay.log.gz",
                                         "relay.log.20261124-130102.gz",
                                         "relay.log.20261124",
                                         "relay.log.20261124-13010",
                                         "relay.log.20261124-",
                                         "relay.log.20261124-130102-",
                                         "other.20261124-1301",
                                         "relay.log.20261124-1301022",
                                         "relay",
                                         "relay.log.20261124-130102-1x",
                                         "",
                                         "relay.log2.20261124-130102"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(log_rotation_is_old("relay.log", others[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_ends_at_midnight_and_an_hour_with_the_hour),
        cmocka_unit_test(size_counts_by_itself_and_nothing_is_asked_of_an_empty_file),
        cmocka_unit_test(a_clock_that_is_set_back_is_no_new_day),
        cmocka_unit_test(old_ones_are_named_by_their_time_and_known_by_their_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
