/* How often a domain is asked about an account: never so often that it locks. */
#include "auth/lockout.h"
#include "support/test.h"

static const uint8_t key[KEYED_HASH_KEY] = "0123456789abcdef";
static const struct lockout_limits four = {4, 30 * 60 * 1000};
enum { MINUTE = 60 * 1000 };

static struct lockout *fresh(void)
{
    struct lockout *t = NULL;
    struct err e = {0};
    assert_true(lockout_new(4096, key, &t, &e));
    return t;
}

/* One attempt of a story: when, with which password, what we say, and what the domain answers. */
struct step {
    int64_t minute;
    uint64_t password;
    enum lockout_verdict verdict;
    enum lockout_answer answer; /* of LOCKOUT_ASK */
};

static void play_on(struct lockout *t, const char *account, const struct lockout_limits *limits,
                    const struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t now = steps[i].minute * MINUTE;
        enum lockout_verdict v = lockout_ask(t, span_str(account), steps[i].password, limits, now);
        if (v != steps[i].verdict)
            fail_msg("step %zu: verdict %d, want %d", i, (int)v, (int)steps[i].verdict);
        if (v == LOCKOUT_ASK)
            lockout_tell(t, span_str(account), steps[i].password, steps[i].answer, limits, now);
    }
}

#define PLAY(t, limits, steps) play_on(t, "CORP\\a", limits, steps, sizeof steps / sizeof *steps)

static void
after_three_different_wrong_ones_a_new_one_is_held_back_until_the_window_is_over(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG},        {10, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {20, 3, LOCKOUT_ASK, LOCKOUT_WRONG},       {20, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
        {40, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG}, {49, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
        {50, 4, LOCKOUT_ASK, LOCKOUT_WRONG},       {50, 5, LOCKOUT_ASK, LOCKOUT_WRONG},
        {50, 6, LOCKOUT_ASK, LOCKOUT_WRONG},       {50, 7, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    PLAY(t, &four, steps);
    assert_int_equal(lockout_held_back(t, 50 * MINUTE), 1);
    assert_int_equal(lockout_held_back(t, 80 * MINUTE), 0);
    lockout_free(&t);
}

/* NTLM: 7 is where the proof came from, not what it was. */
static void a_wrong_proof_unproves_and_is_not_remembered_as_wrong(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 7, LOCKOUT_ASK, LOCKOUT_RIGHT}, /* proved, so that the last try is kept for it */
        {2, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {2, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {2, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {2, 8, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
        {2, 7, LOCKOUT_ASK, LOCKOUT_WRONG_PROOF},
        {2, 7, LOCKOUT_HELD_BACK, LOCKOUT_WRONG_PROOF},
        {32, 7, LOCKOUT_ASK, LOCKOUT_WRONG_PROOF},
        {32, 7, LOCKOUT_ASK, LOCKOUT_WRONG_PROOF}, /* another password, from the same place */
        {32, 7, LOCKOUT_ASK, LOCKOUT_RIGHT},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void a_right_password_clears_the_account_as_it_does_in_the_domain(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG},       {0, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},       {0, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 4, LOCKOUT_ASK, LOCKOUT_WRONG},       {0, 5, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 6, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void
the_same_wrong_password_is_refused_from_memory_and_never_takes_the_last_try(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG}, /* a device with an old password, every minute */
        {1, 1, LOCKOUT_KNOWN_WRONG, LOCKOUT_WRONG},
        {4, 1, LOCKOUT_KNOWN_WRONG, LOCKOUT_WRONG},
        {5, 1, LOCKOUT_ASK, LOCKOUT_WRONG}, /* it may be right by now */
        {9, 1, LOCKOUT_KNOWN_WRONG, LOCKOUT_WRONG},
        {10, 1, LOCKOUT_HELD_BACK, LOCKOUT_WRONG}, /* not a false "wrong" */
        {11, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},       /* the last try was kept for this one */
        {12, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void a_password_that_was_made_right_meanwhile_is_found_right(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {5, 1, LOCKOUT_ASK, LOCKOUT_RIGHT},
        {5, 1, LOCKOUT_ASK, LOCKOUT_RIGHT},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void a_proved_password_is_tried_for_a_day_whatever_others_guess(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},
        {60, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {60, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {60, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {60, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
        {61, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},
        /* by which the domain's count is clear, so ours is */
        {62, 5, LOCKOUT_ASK, LOCKOUT_WRONG},
        {62, 6, LOCKOUT_ASK, LOCKOUT_WRONG},
        {62, 7, LOCKOUT_ASK, LOCKOUT_WRONG},
        {62, 8, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
        {62 + 24 * 60, 9, LOCKOUT_ASK, LOCKOUT_RIGHT}, /* the window is over anyway */
    };
    PLAY(t, &four, steps);
    static const struct step late[] = {
        {2000, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {2010, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {2020, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {62 + 2 * 24 * 60, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},
    };
    PLAY(t, &four, late);
    lockout_free(&t);
}

static void a_password_proved_longer_ago_than_a_day_is_like_any_other(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    const int64_t day = 24 * 60;
    const struct step steps[] = {
        {0, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},         {day - 3, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {day - 2, 2, LOCKOUT_ASK, LOCKOUT_WRONG},   {day - 1, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {day, 9, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void a_proof_that_no_longer_holds_is_forgotten_and_stays_below_the_threshold(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    static const struct step steps[] = {
        {0, 8, LOCKOUT_ASK, LOCKOUT_RIGHT},
        {0, 9, LOCKOUT_ASK, LOCKOUT_RIGHT},
        {10, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {10, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {10, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {10, 9, LOCKOUT_ASK, LOCKOUT_WRONG},       /* changed in the domain: the fourth */
        {10, 8, LOCKOUT_HELD_BACK, LOCKOUT_WRONG}, /* there is no fifth, not even for a proof */
        {16, 9, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    PLAY(t, &four, steps);
    lockout_free(&t);
}

static void attempts_at_once_get_no_more_than_one_after_the_other(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    struct span a = span_str("CORP\\a");
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(lockout_ask(t, a, i, &four, 0), LOCKOUT_ASK);
    assert_int_equal(lockout_ask(t, a, 4, &four, 0), LOCKOUT_WAIT);
    lockout_tell(t, a, 1, LOCKOUT_NO_ANSWER, &four, 0); /* its place is free again */
    assert_int_equal(lockout_ask(t, a, 4, &four, 0), LOCKOUT_ASK);
    assert_int_equal(lockout_ask(t, a, 5, &four, 0), LOCKOUT_WAIT);
    assert_false(lockout_tell(t, a, 2, LOCKOUT_WRONG, &four, 0));
    assert_int_equal(lockout_ask(t, a, 5, &four, 0), LOCKOUT_WAIT);
    assert_false(lockout_tell(t, a, 3, LOCKOUT_WRONG, &four, 0));
    assert_true(lockout_tell(t, a, 4, LOCKOUT_WRONG, &four, 0));
    assert_int_equal(lockout_ask(t, a, 5, &four, 0), LOCKOUT_HELD_BACK);
    lockout_free(&t);
}

/* Two hundred devices log in at once with one account: they wait for the first answer only. */
static void many_with_the_same_right_password_wait_for_one_answer_and_then_for_none(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    struct span a = span_str("CORP\\relay");
    for (int i = 0; i < 3; i++)
        assert_int_equal(lockout_ask(t, a, 9, &four, 0), LOCKOUT_ASK);
    assert_int_equal(lockout_ask(t, a, 9, &four, 0), LOCKOUT_WAIT);
    lockout_tell(t, a, 9, LOCKOUT_RIGHT, &four, 10);
    for (int i = 0; i < 200; i++)
        assert_int_equal(lockout_ask(t, a, 9, &four, 20), LOCKOUT_ASK);
    lockout_free(&t);
}

/* The promise itself, against a domain that counts as Active Directory does: whatever is tried, in
 * whatever order, it never sees its threshold. */
static void no_story_locks_the_account(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252u;
    for (uint32_t below = 1; below <= 6; below++)
        for (int story = 0; story < 300; story++) {
            struct lockout *t = fresh();
            const struct lockout_limits limits = {below, 30 * MINUTE};
            uint64_t right = 1;
            uint32_t counted = 0;
            int64_t now = 0, last_bad = 0;
            for (int i = 0; i < 400; i++) {
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                now += (int64_t)(random % (12 * MINUTE));
                if (random % 53 == 0)
                    right = 1 + random % 7; /* the password is changed in the domain */
                uint64_t tried = 1 + (random >> 20) % 7;
                if (lockout_ask(t, span_str("CORP\\a"), tried, &limits, now) != LOCKOUT_ASK)
                    continue;
                if (now - last_bad >= 30 * MINUTE || tried == right)
                    counted = 0;
                if (tried != right) {
                    counted++;
                    last_bad = now;
                }
                if (counted > below)
                    fail_msg("below %u: %u wrong passwords", below, counted);
                lockout_tell(t, span_str("CORP\\a"), tried,
                             tried == right ? LOCKOUT_RIGHT : LOCKOUT_WRONG, &limits, now);
            }
            lockout_free(&t);
        }
}

static void accounts_do_not_touch_each_other_and_the_longest_unused_is_forgotten(void **state)
{
    (void)state;
    struct lockout *t = NULL;
    struct err e = {0};
    assert_true(lockout_new(2, key, &t, &e));
    static const struct step spent[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    play_on(t, "CORP\\a", &four, spent, 4);
    play_on(t, "CORP\\b", &four, spent, 4);
    assert_int_equal(lockout_held_back(t, 1), 2);
    play_on(t, "CORP\\c", &four, spent, 4); /* a goes */
    play_on(t, "CORP\\b", &four, spent + 3, 1);
    play_on(t, "CORP\\a", &four, spent, 1);
    lockout_free(&t);
}

static bool see(void *context, const struct lockout_count *c)
{
    char *text = context;
    size_t used = strlen(text);
    (void)snprintf(text + used, 256 - used, "%.*s %u %u; ", SPAN_ARG(c->account),
                   (unsigned)c->wrong, (unsigned)c->held_ms);
    return true;
}

static void what_is_counted_can_be_seen(void **state)
{
    (void)state;
    struct lockout *t = fresh();
    char text[256] = "";
    static const struct step spent[] = {
        {0, 1, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 2, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 3, LOCKOUT_ASK, LOCKOUT_WRONG},
        {0, 4, LOCKOUT_HELD_BACK, LOCKOUT_WRONG},
    };
    play_on(t, "CORP\\anna", &four, spent, 4);
    play_on(t, "CORP\\bob", &four, spent, 1);
    lockout_each(t, MINUTE, see, text);
    assert_string_equal(text, "CORP\\bob 1 0; CORP\\anna 3 1740000; ");
    text[0] = '\0';
    lockout_each(t, 31 * MINUTE, see, text); /* though nobody has asked since */
    assert_string_equal(text, "");
    lockout_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            after_three_different_wrong_ones_a_new_one_is_held_back_until_the_window_is_over),
        cmocka_unit_test(a_wrong_proof_unproves_and_is_not_remembered_as_wrong),
        cmocka_unit_test(a_right_password_clears_the_account_as_it_does_in_the_domain),
        cmocka_unit_test(
            the_same_wrong_password_is_refused_from_memory_and_never_takes_the_last_try),
        cmocka_unit_test(a_password_that_was_made_right_meanwhile_is_found_right),
        cmocka_unit_test(a_proved_password_is_tried_for_a_day_whatever_others_guess),
        cmocka_unit_test(a_password_proved_longer_ago_than_a_day_is_like_any_other),
        cmocka_unit_test(a_proof_that_no_longer_holds_is_forgotten_and_stays_below_the_threshold),
        cmocka_unit_test(attempts_at_once_get_no_more_than_one_after_the_other),
        cmocka_unit_test(many_with_the_same_right_password_wait_for_one_answer_and_then_for_none),
        cmocka_unit_test(no_story_locks_the_account),
        cmocka_unit_test(accounts_do_not_touch_each_other_and_the_longest_unused_is_forgotten),
        cmocka_unit_test(what_is_counted_can_be_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
