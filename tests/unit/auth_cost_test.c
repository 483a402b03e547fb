/* What a login costs, and whether time tells who exists. Time is this thread's own on the
 * processor: the work that was done, whatever else the machine is doing. */
#define _GNU_SOURCE
#include "auth/scram.h"
#include "support/auth_lab.h"
#include "support/test.h"

#include <time.h>

enum { SLOW = 15, FAST = 400 };

static uint64_t cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

/* The Mann-Whitney statistic U / (n * n): how probable it is that a value of a is above one of b.
 * 0.5 = nothing can be told from one measurement, 1 or 0 = everything. */
static double above(const double *a, const double *b, size_t n)
{
    double u = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            u += a[i] > b[k] ? 1 : a[i] == b[k] ? 0.5 : 0; /* NOLINT: equal is meant */
    return u / ((double)n * (double)n);
}

static struct auth_exchange *begin(struct auth_lab *lab, const char *mechanism)
{
    struct auth_exchange *x = NULL;
    struct err e = {0};
    auth_lab_must(auth_exchange_new(lab->auth, &lab->peer, span_str(mechanism), &x, &e), &e);
    return x;
}

/* Microseconds of our side alone: PLAIN in one message. */
static double plain_us(struct auth_lab *lab, const char *user, const char *password,
                       enum auth_outcome want)
{
    struct auth_exchange *x = begin(lab, "PLAIN");
    struct auth_step step;
    char buffer[128];
    struct span message = auth_lab_plain(buffer, "", user, password);
    uint64_t start = cpu_us();
    auth_exchange_step(x, true, message, &step);
    uint64_t end = cpu_us();
    if (step.outcome != want)
        fail_msg("%s: outcome %d (%s)", user, (int)step.outcome, step.reason);
    auth_exchange_free(&x);
    return (double)(end - start);
}

static double scram_first_us(struct auth_lab *lab, const char *user)
{
    struct auth_exchange *x = begin(lab, "SCRAM-SHA-256");
    struct auth_step step;
    char first[64];
    (void)snprintf(first, sizeof first, "n,,n=%s,r=abcdefgh", user);
    uint64_t start = cpu_us();
    auth_exchange_step(x, true, span_str(first), &step);
    uint64_t end = cpu_us();
    assert_int_equal(step.outcome, AUTH_CONTINUE);
    auth_exchange_free(&x);
    return (double)(end - start);
}

static double derivation_us(void)
{
    struct scram_verifier v = {.iterations = AUTH_ITERATIONS_LEAST, .salt_n = 16};
    struct err e = {0};
    double took[SLOW];
    for (size_t i = 0; i < SLOW; i++) {
        uint64_t start = cpu_us();
        auth_lab_must(scram_derive(span_str("secret"), &v, &e), &e);
        took[i] = (double)(cpu_us() - start);
    }
    return median(took, SLOW);
}

/* Our side of a whole login by a client of our own, whose derivation is left out. */
static double server_us(struct auth_lab *lab, const char *mechanism)
{
    struct auth_client_options options = {.offered = span_str(mechanism),
                                          .hostname = "relay.example.net",
                                          .user = "alice",
                                          .password = span_str("secret"),
                                          .tls = true,
                                          .binding = lab->peer.bindings[0]};
    struct auth_client *c = NULL;
    struct auth_step step = {0};
    struct err e = {0};
    const char *name;
    bool has_input;
    struct span in;
    uint64_t took = 0;
    if (strcmp(mechanism, "SCRAM-SHA-256") == 0)
        options.binding.type = NULL;
    auth_lab_must(auth_client_new(&options, &c, &e), &e);
    auth_lab_must(auth_client_start(c, &name, &has_input, &in, &e), &e);
    struct auth_exchange *x = begin(lab, name);
    for (;;) {
        uint64_t start = cpu_us();
        auth_exchange_step(x, has_input, in, &step);
        took += cpu_us() - start;
        if (step.outcome != AUTH_CONTINUE)
            break;
        has_input = true;
        auth_lab_must(auth_client_step(c, step.challenge, &in, &e), &e);
    }
    assert_int_equal(step.outcome, AUTH_OK);
    auth_exchange_free(&x);
    auth_client_free(&c);
    return (double)took;
}

static void a_login_costs_one_derivation_and_a_repeated_one_next_to_nothing(void **state)
{
    (void)state;
    static struct auth_lab lab;
    static const char *const mechanisms[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256",
                                             "SCRAM-SHA-256-PLUS"};
    double took[FAST];
    auth_lab_prepare(&lab);
    lab.options.cache_ttl_ms = 1; /* practically none */
    auth_lab_open(&lab);
    double bare = derivation_us();
    printf("one derivation (PBKDF2, %d iterations): %.1f ms, %.0f/s\n", AUTH_ITERATIONS_LEAST,
           bare / 1000, 1e6 / bare);
    for (size_t m = 0; m < 4; m++) {
        for (size_t i = 0; i < SLOW; i++) {
            const struct timespec pause = {.tv_nsec = 3000000}; /* the cache's entry ends */
            (void)nanosleep(&pause, NULL);
            took[i] = server_us(&lab, mechanisms[m]);
        }
        double us = median(took, SLOW);
        printf("%-18s %9.1f us of the server, %7.0f/s a core, %.3f derivations\n", mechanisms[m],
               us, 1e6 / us, us / bare);
        assert_true(us < 4 * bare);
        if (m < 2) /* there is no way round the derivation */
            assert_true(us > bare / 4);
    }
    auth_lab_close(&lab);

    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    (void)plain_us(&lab, "alice", "secret", AUTH_OK);
    for (size_t i = 0; i < FAST; i++)
        took[i] = plain_us(&lab, "alice", "secret", AUTH_OK);
    double cached = median(took, FAST);
    printf("PLAIN, cached      %9.1f us of the server, %7.0f/s a core, %.4f derivations\n", cached,
           1e6 / cached, cached / bare);
    assert_true(cached < bare / 10);
    auth_lab_close(&lab);
}

static void time_does_not_tell_who_exists(void **state)
{
    (void)state;
    static struct auth_lab lab;
    static double known[FAST], unknown[FAST], off[FAST];
    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    for (size_t i = 0; i < SLOW; i++) { /* in turn, so that what else the machine does hits all */
        known[i] = plain_us(&lab, "alice", "guess", AUTH_BAD_CREDENTIALS);
        unknown[i] = plain_us(&lab, "ghost", "guess", AUTH_BAD_CREDENTIALS);
        off[i] = plain_us(&lab, "off", "secret", AUTH_BAD_CREDENTIALS);
    }
    printf("PLAIN refused, %d each: known above unknown %.2f, known above disabled %.2f "
           "(Mann-Whitney, 0.5 = the same)\n",
           SLOW, above(known, unknown, SLOW), above(known, off, SLOW));
    double k = median(known, SLOW), u = median(unknown, SLOW), o = median(off, SLOW);
    printf("  medians: known %.0f us, unknown %.0f us, disabled %.0f us\n", k, u, o);
    assert_true(u > k / 2 && u < k * 2 && o > k / 2 && o < k * 2);

    for (size_t i = 0; i < FAST; i++) {
        known[i] = scram_first_us(&lab, "alice");
        unknown[i] = scram_first_us(&lab, "ghost");
        off[i] = scram_first_us(&lab, "off");
    }
    printf("SCRAM's first answer, %d each: known above unknown %.2f, known above disabled %.2f\n",
           FAST, above(known, unknown, FAST), above(known, off, FAST));
    k = median(known, FAST), u = median(unknown, FAST), o = median(off, FAST);
    printf("  medians: known %.0f us, unknown %.0f us, disabled %.0f us\n", k, u, o);
    assert_true(u > k / 4 && u < k * 4 && o > k / 4 && o < k * 4);
    auth_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_login_costs_one_derivation_and_a_repeated_one_next_to_nothing),
        cmocka_unit_test(time_does_not_tell_who_exists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
