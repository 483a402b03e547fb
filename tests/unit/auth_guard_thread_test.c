/* The guard under many threads: a domain that counts wrong passwords never sees its threshold,
 * whoever tries at once; who waits is answered, or told so when the deadline passes. */
#define _GNU_SOURCE
#include "auth/guard.h"
#include "support/auth_lab.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 16, TRIES = 40, THRESHOLD = 4 };

static struct auth_lab lab;
static const struct auth_domain corp = {
    .name = "CORP", .deadline_ms = 3000, .lockout_below = THRESHOLD, .lockout_window_ms = 600000};
static atomic_uint counted, worst, asked, waited;

static int open_lab(void **state)
{
    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    counted = worst = asked = waited = 0;
    *state = &lab;
    return 0;
}

static int close_lab(void **state)
{
    auth_lab_close(*state);
    return 0;
}

static void pause_us(long us)
{
    const struct timespec t = {.tv_nsec = us * 1000};
    (void)nanosleep(&t, NULL);
}

/* The domain: takes its time, counts, and sets its counter back for the right one. */
static enum lockout_answer the_domain(bool right)
{
    pause_us(200);
    atomic_fetch_add(&asked, 1);
    if (right) {
        atomic_store(&counted, 0);
        return LOCKOUT_RIGHT;
    }
    unsigned now = atomic_fetch_add(&counted, 1) + 1, seen = atomic_load(&worst);
    while (now > seen && !atomic_compare_exchange_weak(&worst, &seen, now))
        ;
    return LOCKOUT_WRONG;
}

static void try_one(const char *account, const char *password, bool right)
{
    enum lockout_verdict v = auth_lockout_ask(lab.auth, &corp, account, span_str(password));
    if (v == LOCKOUT_ASK)
        auth_lockout_tell(lab.auth, &corp, account, span_str(password), the_domain(right));
    else if (v == LOCKOUT_WAIT)
        atomic_fetch_add(&waited, 1);
}

static void *guess(void *arg)
{
    const unsigned *number = arg;
    char password[32];
    for (unsigned i = 0; i < TRIES; i++) {
        struct netaddr peer = {.b = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)*number}};
        (void)snprintf(password, sizeof password, "guess %u %u", *number, i);
        (void)auth_throttle_check(lab.auth, &peer, "CORP\\alice");
        try_one("CORP\\alice", password, false);
        (void)auth_throttle_failed(lab.auth, &peer, "CORP\\alice", span_str(password));
    }
    return NULL;
}

static void *look(void *arg)
{
    struct auth_guesses list[60];
    bool more;
    (void)arg;
    for (unsigned i = 0; i < TRIES; i++) {
        assert_true(auth_guesses(lab.auth, list, 60, &more) <= 60);
        assert_true(auth_held_back(lab.auth) <= 2);
        pause_us(100);
    }
    return NULL;
}

static void *know(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < TRIES; i++)
        try_one("CORP\\bob", "right", true);
    return NULL;
}

static void run_all(void *(*work)(void *), size_t n)
{
    pthread_t threads[THREADS + 1];
    unsigned numbers[THREADS];
    assert_int_equal(pthread_create(&threads[n], NULL, look, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = (unsigned)i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &numbers[i]), 0);
    }
    for (size_t i = 0; i <= n; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void guesses_at_once_stay_below_the_threshold(void **state)
{
    (void)state;
    run_all(guess, THREADS);
    assert_int_equal(asked, THRESHOLD - 1); /* the last one is for the owner */
    assert_int_equal(worst, THRESHOLD - 1);
    assert_int_equal(auth_held_back(lab.auth), 1);
}

static void the_right_password_is_asked_about_each_time_and_nobody_waits_in_vain(void **state)
{
    (void)state;
    run_all(know, THREADS);
    assert_int_equal(asked, THREADS * TRIES);
    assert_int_equal(waited, 0);
    assert_int_equal(auth_held_back(lab.auth), 0);
}

static void *ask_late(void *arg)
{
    const struct auth_domain hasty = {
        .name = "CORP", .deadline_ms = 100, .lockout_below = 2, .lockout_window_ms = 600000};
    enum lockout_verdict *v = arg;
    *v = auth_lockout_ask(lab.auth, &hasty, "CORP\\carol", span_str("second"));
    return NULL;
}

static void who_waits_longer_than_the_deadline_is_told_so(void **state)
{
    (void)state;
    pthread_t thread;
    enum lockout_verdict v = LOCKOUT_ASK;
    const struct auth_domain hasty = {
        .name = "CORP", .deadline_ms = 100, .lockout_below = 2, .lockout_window_ms = 600000};
    assert_int_equal(auth_lockout_ask(lab.auth, &hasty, "CORP\\carol", span_str("first")),
                     LOCKOUT_ASK); /* and the domain is silent */
    assert_int_equal(pthread_create(&thread, NULL, ask_late, &v), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(v, LOCKOUT_WAIT);
    auth_lockout_tell(lab.auth, &hasty, "CORP\\carol", span_str("first"), LOCKOUT_NO_ANSWER);
    assert_int_equal(auth_lockout_ask(lab.auth, &hasty, "CORP\\carol", span_str("second")),
                     LOCKOUT_ASK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(guesses_at_once_stay_below_the_threshold, open_lab,
                                        close_lab),
        cmocka_unit_test_setup_teardown(
            the_right_password_is_asked_about_each_time_and_nobody_waits_in_vain, open_lab,
            close_lab),
        cmocka_unit_test_setup_teardown(who_waits_longer_than_the_deadline_is_told_so, open_lab,
                                        close_lab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
