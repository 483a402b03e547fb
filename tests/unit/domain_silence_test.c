/* KDCs and directories that do not serve: whatever they do, a check ends by its deadline, as
 * "no answer" and never as a verdict about the account. */
#include "base/buf.h"
#include "platform/clock.h"
#include "platform/directory.h"
#include "platform/sock.h"
#include "posix/kdc_exchange.h"
#include "support/bad_server.h"
#include "support/test.h"
#include "support/tls_files.h"

enum { DEADLINE_MS = 600, LATE_MS = 400 };

static struct tls_files files;

static const struct {
    enum bad_server_kind kind;
    const char *says;
    size_t n;
    bool waits; /* until the deadline; else it is told at once */
} ways[] = {
    {BAD_SERVER_SILENT, "", 0, true},
    {BAD_SERVER_FULL, "", 0, true},
    {BAD_SERVER_CLOSE, "", 0, false},
    {BAD_SERVER_DRIBBLE, "\0\0\x04\0\x7e", 5, true},         /* a KDC's reply of 1 KiB */
    {BAD_SERVER_DRIBBLE, "\x16\x03\x03\x04\0\x02", 6, true}, /* a TLS record of 1 KiB */
    {BAD_SERVER_GARBAGE, "HTTP/1.1 400 Bad\r\n\r\n", 20, false},
    {BAD_SERVER_GARBAGE, "\xff\xff\xff\xff", 4, false}, /* a reply of 4 GiB */
    {BAD_SERVER_GARBAGE, "\0\0\0\0", 4, false},
    {BAD_SERVER_GARBAGE, "\0\0\0\x20short", 9, false},          /* ends before it said all */
    {BAD_SERVER_GARBAGE, "\x30\x84\x7f\xff\xff\xff", 6, false}, /* an LDAP message of 2 GiB */
};
enum { WAYS = sizeof ways / sizeof ways[0] };

static bool take_all(void *context, struct span reply)
{
    (void)context, (void)reply;
    return false;
}

static void ended_in_time(uint64_t began_ms, bool waits, const char *text)
{
    uint64_t took = clock_monotonic_ms() - began_ms;
    if (took >= DEADLINE_MS + LATE_MS || (waits && took + 50 < DEADLINE_MS))
        fail_msg("after %u ms: %s", (unsigned)took, text);
}

static void a_kdc_that_does_not_serve_is_no_answer_by_the_deadline(void **state)
{
    (void)state;
    struct dialer *dialer;
    struct buf reply;
    assert_true(dialer_open(&dialer, NULL));
    buf_init(&reply, KDC_REPLY_BYTES_MAX);
    for (size_t i = 0; i < WAYS; i++) {
        struct bad_server *s = bad_server_start(ways[i].kind, span_of(ways[i].says, ways[i].n));
        struct kdc_list list = {.count = 1};
        struct err e = {0};
        atomic_uint first = 0;
        list.targets[0].port = bad_server_port(s);
        (void)snprintf(list.targets[0].host, sizeof list.targets[0].host, "127.0.0.1");
        uint64_t began = clock_monotonic_ms();
        bool ok = kdc_exchange(dialer, &list, &first, began + DEADLINE_MS, span_str("question"),
                               take_all, NULL, &reply, &e);
        /* The TLS record's length is absurd for a KDC, who is found out at once. */
        bool waits = ways[i].waits && ways[i].says[0] != '\x16';
        if (ok) /* "HTTP" is a length too large; nothing of this is a reply */
            fail_msg("way %zu was taken for a reply", i);
        assert_int_equal(e.class, ERR_TEMP);
        assert_non_null(strstr(e.text, "127.0.0.1:"));
        ended_in_time(began, waits, e.text);
        bad_server_stop(&s);
    }
    buf_deinit(&reply);
    dialer_close(&dialer);
}

static void the_next_kdc_is_asked_in_time_where_the_first_is_silent(void **state)
{
    (void)state;
    static const char answer[] = "\0\0\0\x05hello";
    struct bad_server *silent = bad_server_start(BAD_SERVER_SILENT, span_of("", 0));
    struct bad_server *good = bad_server_start(BAD_SERVER_GARBAGE, span_of(answer, 9));
    struct dialer *dialer;
    struct buf reply;
    struct kdc_list list = {0};
    atomic_uint first = 0;
    assert_true(dialer_open(&dialer, NULL));
    buf_init(&reply, KDC_REPLY_BYTES_MAX);
    for (size_t i = 0; i < 2; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "127.0.0.1:%u",
                       (unsigned)bad_server_port(i == 0 ? silent : good));
        assert_true(kdc_list_add(&list, text));
    }
    for (size_t i = 0; i < 2; i++) { /* the second time the good one is asked first */
        struct err e = {0};
        uint64_t began = clock_monotonic_ms();
        assert_true(kdc_exchange(dialer, &list, &first, began + DEADLINE_MS, span_str("q"),
                                 take_all, NULL, &reply, &e));
        assert_true(span_is(buf_span(&reply), "hello"));
        assert_int_equal(atomic_load(&first), 1);
        assert_true(clock_monotonic_ms() - began < (i == 0 ? DEADLINE_MS : DEADLINE_MS / 4));
    }
    buf_deinit(&reply);
    dialer_close(&dialer);
    bad_server_stop(&silent);
    bad_server_stop(&good);
}

static void a_directory_that_does_not_serve_is_no_answer_by_the_deadline(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * (size_t)WAYS; i++) {
        bool starttls = i >= WAYS;
        size_t way = i % WAYS;
        struct bad_server *b =
            bad_server_start(ways[way].kind, span_of(ways[way].says, ways[way].n));
        const struct directory_server server = {"127.0.0.1", bad_server_port(b), starttls};
        const struct directory_options o = {&server, 1, files.ca, DEADLINE_MS};
        struct directory *d;
        struct directory_session *s;
        struct directory_word word;
        struct err e = {0};
        assert_true(directory_open(&o, &d, &e));
        assert_true(directory_ready(d, &e));
        uint64_t began = clock_monotonic_ms();
        assert_int_equal(directory_bind(d, "uid=a", span_str("secret"), &s, &word),
                         DIRECTORY_NO_ANSWER);
        assert_null(s);
        assert_true(word.text[0] != '\0');
        /* One who dribbles what cannot be right may be found out before the end. */
        bool waits = ways[way].kind == BAD_SERVER_SILENT || ways[way].kind == BAD_SERVER_FULL;
        ended_in_time(began, waits, word.text);
        directory_close(&d);
        bad_server_stop(&b);
    }
}

static void an_empty_name_or_password_is_refused_without_a_connection(void **state)
{
    (void)state;
    const struct directory_server server = {"127.0.0.1", 1, false}; /* nobody there */
    const struct directory_options o = {&server, 1, files.ca, DEADLINE_MS};
    struct directory *d;
    struct directory_session *s;
    struct directory_word word;
    struct err e = {0};
    assert_true(directory_open(&o, &d, &e));
    assert_int_equal(directory_bind(d, "uid=a", span_of("", 0), &s, &word), DIRECTORY_REFUSED);
    assert_int_equal(word.code, DIRECTORY_INVALID_CREDENTIALS);
    assert_int_equal(directory_bind(d, "", span_str("secret"), &s, &word), DIRECTORY_REFUSED);
    assert_int_equal(directory_bind(d, "uid=a", span_str("x"), &s, &word), DIRECTORY_NO_ANSWER);
    directory_close(&d);
}

static void a_name_is_looked_up_and_a_closed_port_told_at_once(void **state)
{
    (void)state;
    struct dialer *dialer;
    struct err e = {0};
    int fd;
    assert_true(dialer_open(&dialer, NULL));
    uint64_t began = clock_monotonic_ms();
    assert_false(dial_tcp(dialer, "localhost", 1, began + DEADLINE_MS, &fd, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_non_null(strstr(e.text, "localhost:1: cannot connect"));
    assert_true(clock_monotonic_ms() - began < DEADLINE_MS);
    dialer_close(&dialer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kdc_that_does_not_serve_is_no_answer_by_the_deadline),
        cmocka_unit_test(the_next_kdc_is_asked_in_time_where_the_first_is_silent),
        cmocka_unit_test(a_directory_that_does_not_serve_is_no_answer_by_the_deadline),
        cmocka_unit_test(an_empty_name_or_password_is_refused_without_a_connection),
        cmocka_unit_test(a_name_is_looked_up_and_a_closed_port_told_at_once),
    };
    if (!sock_start(NULL))
        return 1;
    tls_files_make(&files);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tls_files_remove(&files);
    return failed;
}
