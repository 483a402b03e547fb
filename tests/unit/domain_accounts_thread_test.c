/* What many threads share when they ask KDCs and directories: the guard of deadlines, look-ups that
 * outlive who asked, the server that answered last, the pace of refusals. */
#include "auth/refusal_pace.h"
#include "platform/clock.h"
#include "platform/directory.h"
#include "platform/sock.h"
#include "posix/kdc_exchange.h"
#include "support/bad_server.h"
#include "support/test.h"
#include "support/tls_files.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 6, DEADLINE_MS = 150, LATE_MS = 1500 };

static struct tls_files files;
static struct bad_server *silent, *closing, *garbage, *answering;

struct shared {
    struct directory *directory;
    struct dialer *dialer;
    struct kdc_list kdcs;
    atomic_uint first, bound, late, verdicts;
    struct refusal_pace pace;
};

static bool take_all(void *context, struct span reply)
{
    (void)context, (void)reply;
    return false;
}

static void bind_once(struct shared *x)
{
    struct directory_session *s;
    struct directory_word word;
    uint64_t began = clock_monotonic_ms();
    if (directory_bind(x->directory, "uid=a", span_str("secret"), &s, &word) != DIRECTORY_NO_ANSWER)
        atomic_fetch_add(&x->bound, 1);
    if (clock_monotonic_ms() - began > DEADLINE_MS + LATE_MS)
        atomic_fetch_add(&x->late, 1);
}

static void exchange_once(struct shared *x)
{
    struct buf reply;
    struct err e = {0};
    uint64_t began = clock_monotonic_ms();
    buf_init(&reply, 4096);
    if (kdc_exchange(x->dialer, &x->kdcs, &x->first, began + DEADLINE_MS, span_str("q"), take_all,
                     NULL, &reply, &e))
        atomic_fetch_add(&x->verdicts, span_is(buf_span(&reply), "hello") ? 1 : 1000000);
    if (clock_monotonic_ms() - began > DEADLINE_MS + LATE_MS)
        atomic_fetch_add(&x->late, 1);
    buf_deinit(&reply);
}

static void look_up_once(struct shared *x, unsigned round)
{
    struct err e = {0};
    int fd;
    /* A deadline that is over before the look-up: its thread is left behind. */
    assert_false(dial_tcp(x->dialer, "localhost", 1, clock_monotonic_ms() + round % 3, &fd, &e));
}

static void *work(void *context)
{
    struct shared *x = context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        bind_once(x);
        exchange_once(x);
        look_up_once(x, i);
        (void)refusal_pace_us(&x->pace, i * 40000u);
    }
    return NULL;
}

static void many_threads_ask_servers_of_all_kinds(void **state)
{
    (void)state;
    struct shared x = {0};
    struct bad_server *const all[] = {silent, closing, garbage, answering};
    struct directory_server servers[3];
    for (size_t i = 0; i < 3; i++)
        servers[i] = (struct directory_server){"127.0.0.1", bad_server_port(all[i]), i == 1};
    for (size_t i = 0; i < 4; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "127.0.0.1:%u", (unsigned)bad_server_port(all[i]));
        assert_true(kdc_list_add(&x.kdcs, text));
    }
    const struct directory_options o = {servers, 3, files.ca, DEADLINE_MS};
    struct err e = {0};
    assert_true(directory_open(&o, &x.directory, &e));
    assert_true(dialer_open(&x.dialer, &e));
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &x), 0);
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    directory_close(&x.directory);
    dialer_close(&x.dialer); /* look-ups may still be under way */
    assert_int_equal(atomic_load(&x.bound), 0);
    assert_int_equal(atomic_load(&x.late), 0);
    assert_in_range(atomic_load(&x.verdicts), 1, THREADS * ROUNDS);
    assert_true(refusal_pace_us(&x.pace, 0) >= 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_ask_servers_of_all_kinds),
    };
    if (!sock_start(NULL))
        return 1;
    tls_files_make(&files);
    silent = bad_server_start(BAD_SERVER_SILENT, span_of("", 0));
    closing = bad_server_start(BAD_SERVER_CLOSE, span_of("", 0));
    garbage = bad_server_start(BAD_SERVER_GARBAGE, span_of("\xff\xff\xff\xff", 4));
    answering = bad_server_start(BAD_SERVER_GARBAGE, span_of("\0\0\0\x05hello", 9));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bad_server_stop(&silent);
    bad_server_stop(&closing);
    bad_server_stop(&garbage);
    bad_server_stop(&answering);
    tls_files_remove(&files);
    return failed;
}
