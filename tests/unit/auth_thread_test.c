/* Many lanes at once: exchanges, reloads and changes of the user database side by side. */
#define _GNU_SOURCE
#include "support/auth_lab.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 8, LOGINS = 100, SLOW_EVERY = 10 };

struct worker_thread {
    pthread_t thread;
    struct auth_lab *lab;
    unsigned index;
    unsigned wrong; /* outcomes that should not have been */
    char first_wrong[256];
};

static atomic_bool stop;

static void complain(struct worker_thread *w, const struct auth_lab_result *r, const char *what)
{
    if (w->wrong++ == 0)
        (void)snprintf(w->first_wrong, sizeof w->first_wrong, "%s: outcome %d (%.100s; %.50s)",
                       what, (int)r->outcome, r->reason, r->client_error);
}

/* Every tenth login derives a key (SCRAM on the client's side, a wrong password on ours); the rest
 * is PLAIN and LOGIN out of the cache. */
static void *log_in(void *context)
{
    struct worker_thread *w = context;
    struct auth_peer peer = w->lab->peer;
    peer.client = netaddr_v4((const uint8_t[]){10, 0, 0, (uint8_t)w->index});
    for (unsigned i = 0; i < LOGINS; i++) {
        bool slow = i % SLOW_EVERY == 0;
        bool wrong = slow && w->index % 4 == 3;
        struct auth_client_options options = {
            .offered = span_str(slow && !wrong ? "SCRAM-SHA-256-PLUS SCRAM-SHA-256"
                                : i % 2        ? "PLAIN"
                                               : "LOGIN"),
            .hostname = "relay.example.net",
            .user = i % 3 ? "alice" : "app@example.net",
            .password = span_str(wrong ? "Secret" : "secret"),
            .tls = true,
            .binding = i % 20 == 0 ? peer.bindings[0] : (struct auth_binding){NULL, {NULL, 0}},
        };
        struct auth_lab_result r = auth_lab_login_as(w->lab, &peer, &options);
        if (r.outcome != (wrong ? AUTH_BAD_CREDENTIALS : AUTH_OK))
            complain(w, &r, options.user);
    }
    return NULL;
}

static void *reload(void *context)
{
    struct worker_thread *w = context;
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        struct auth_options o = w->lab->options;
        struct err e = {0};
        char text[AUTH_MECHANISMS_TEXT_MAX];
        o.domain_count = i % 2 ? 3 : 1;
        /* Twice users.db is opened anew, with an empty cache, below the others' feet. */
        o.cache_ttl_ms = i < 20 || i > 100 ? 120000 : 60000;
        if (!auth_reload(w->lab->auth, &o, &e) ||
            !auth_mechanisms(w->lab->auth, &w->lab->peer.channel, text, sizeof text))
            w->wrong++;
        const struct timespec pause = {.tv_nsec = 2000000};
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

/* What `postern user` does meanwhile, to another account. */
static void *change_users(void *context)
{
    struct worker_thread *w = context;
    struct err e = {0};
    while (!atomic_load(&stop)) {
        bool ok = userdb_add(w->lab->db, "temp", span_str("t"), AUTH_ITERATIONS_LEAST, &e) ==
                      USERDB_DONE &&
                  userdb_set_disabled(w->lab->db, "temp", true, &e) == USERDB_DONE &&
                  userdb_remove(w->lab->db, "temp", &e) == USERDB_DONE;
        if (!ok && w->wrong++ == 0)
            (void)snprintf(w->first_wrong, sizeof w->first_wrong, "%.200s", e.text);
        const struct timespec pause = {.tv_nsec = 100000000};
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void eight_threads_log_in_a_hundred_times_each(void **state)
{
    (void)state;
    static struct auth_lab lab;
    static struct worker_thread workers[THREADS + 2];
    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    for (unsigned i = 0; i < THREADS + 2; i++) {
        workers[i] = (struct worker_thread){.lab = &lab, .index = i};
        void *(*work)(void *) = i < THREADS ? log_in : i == THREADS ? reload : change_users;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    atomic_store(&stop, true);
    for (unsigned i = THREADS; i < THREADS + 2; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (unsigned i = 0; i < THREADS + 2; i++)
        if (workers[i].wrong > 0)
            fail_msg("thread %u: %u wrong, first: %s", i, workers[i].wrong, workers[i].first_wrong);
    auth_lab_close(&lab);
}

/* The session dies and the lane ends the exchange; auth may be closed before. */
static void *step_and_free(void *context)
{
    struct auth_exchange *x = context;
    struct auth_step step;
    char buffer[64];
    auth_exchange_step(x, true, auth_lab_plain(buffer, "", "alice", "secret"), &step);
    auth_exchange_free(&x);
    return step.outcome == AUTH_OK ? context : NULL;
}

static void exchanges_outlive_the_auth_that_made_them(void **state)
{
    (void)state;
    static struct auth_lab lab;
    struct auth_exchange *x[THREADS];
    pthread_t threads[THREADS];
    struct err e = {0};
    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    for (unsigned i = 0; i < THREADS; i++) {
        auth_lab_must(auth_exchange_new(lab.auth, &lab.peer, span_str("PLAIN"), &x[i], &e), &e);
        assert_int_equal(pthread_create(&threads[i], NULL, step_and_free, x[i]), 0);
    }
    auth_close(&lab.auth);
    for (unsigned i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    auth_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_log_in_a_hundred_times_each),
        cmocka_unit_test(exchanges_outlive_the_auth_that_made_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
