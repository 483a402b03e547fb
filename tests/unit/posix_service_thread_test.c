/* The service's side of the system: the manager's datagrams and sockets, signals, users, limits,
 * the log. What changes a process for good is tried in a child. */
#define _GNU_SOURCE
#include "platform/clock.h"
#include "platform/log_sink.h"
#include "platform/process.h"
#include "platform/random.h"
#include "platform/service_host.h"
#include "platform/sock.h"
#include "platform/terminal.h"

#include "support/echo_server.h"
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int manager_socket(const char *name)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(un.sun_path, name, strlen(name));
    if (name[0] == '@')
        un.sun_path[0] = 0;
    else
        (void)unlink(name);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (struct sockaddr *)&un, n), 0);
    struct timeval wait = {5, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    return fd;
}

static void assert_told(int fd, const char *want)
{
    char text[512];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = 0;
    assert_string_equal(text, want);
}

static atomic_uint stops, reloads, reopens;

static void on_stop(void *context)
{
    (void)context;
    atomic_fetch_add(&stops, 1);
}

static void on_reload(void *context)
{
    (void)context;
    atomic_fetch_add(&reloads, 1);
}

static void on_reopen(void *context)
{
    (void)context;
    atomic_fetch_add(&reopens, 1);
}

static void the_manager_is_told_and_its_signals_come_as_requests(void **state)
{
    (void)state;
    char abstract[64], path[64], text[200];
    (void)snprintf(abstract, sizeof abstract, "@postern-test-%d", (int)getpid());
    (void)snprintf(path, sizeof path, "/tmp/postern-notify-%d", (int)getpid());
    const char *names[] = {abstract, path};
    const struct service_host_requests requests = {
        .stop = on_stop, .reload = on_reload, .reopen = on_reopen};
    struct err e;
    for (unsigned i = 0; i < 2; i++) {
        int fd = manager_socket(names[i]);
        assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
        assert_int_equal(setenv("WATCHDOG_USEC", "4000000", 1), 0);
        (void)snprintf(text, sizeof text, "%d", (int)getpid() + (i == 1));
        assert_int_equal(setenv("WATCHDOG_PID", text, 1), 0);
        assert_true(service_host_start(&requests, &e));
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_int_equal(service_host_watchdog_interval_ms(), i == 0 ? 4000 : 0);
        service_host_ready("listening");
        assert_told(fd, "READY=1\nSTATUS=listening");
        uint64_t before = clock_monotonic_us();
        service_host_reloading();
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        text[n < 0 ? 0 : n] = 0;
        unsigned long long usec = 0;
        assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
        assert_in_range(usec, before, clock_monotonic_us());
        service_host_status("idle");
        assert_told(fd, "STATUS=idle");
        service_host_watchdog();
        assert_told(fd, "WATCHDOG=1");
        service_host_extend(1500);
        assert_told(fd, "EXTEND_TIMEOUT_USEC=1500000");
        (void)kill(getpid(), SIGHUP);
        assert_true(wait_for_count(&reloads, i + 1));
        (void)kill(getpid(), SIGUSR1);
        assert_true(wait_for_count(&reopens, i + 1));
        (void)kill(getpid(), i == 0 ? SIGTERM : SIGINT);
        assert_true(wait_for_count(&stops, i + 1));
        service_host_stopping(NULL);
        assert_told(fd, "STOPPING=1");
        service_host_end();
        (void)close(fd);
    }
    (void)unlink(path);
    service_host_ready("nobody hears it"); /* and nothing happens */
}

/* The child is started as a manager would: the sockets are 3 and 4. */
static int take_sockets(int right_pid)
{
    char pid[32];
    struct service_host_socket got[4];
    struct sock_address bound;
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid() + (right_pid ? 0 : 1));
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "2", 1);
    (void)setenv("LISTEN_FDNAMES", "smtp:submission", 1);
    size_t n = service_host_sockets(got, 4);
    if (getenv("LISTEN_FDS") != NULL || service_host_sockets(got + 2, 2) != 0)
        return 1;
    if (!right_pid)
        return n == 0 ? 0 : 2;
    if (n != 2 || got[0].sock != 3 || got[1].sock != 4 || strcmp(got[0].name, "smtp") != 0 ||
        strcmp(got[1].name, "submission") != 0)
        return 3;
    if (!sock_adopt(3, &bound, NULL) || bound.port == 0)
        return 4;
    if (sock_adopt(4, NULL, NULL)) /* a socket that does not listen */
        return 5;
    return (fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(3, F_GETFL) & O_NONBLOCK) != 0 ? 0 : 6;
}

/* Runs it in a child; its return value. */
static int in_child(int (*what)(int), int argument)
{
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(what(argument));
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int with_sockets(int right_pid)
{
    struct sock_address any = {.port = 0};
    intptr_t listener = SOCK_NONE;
    (void)netaddr_parse(span_str("127.0.0.1"), &any.ip);
    if (!sock_listen(&any, 1, &listener, NULL, NULL))
        return 90;
    int deaf = socket(AF_INET, SOCK_STREAM, 0);
    int high = fcntl((int)listener, F_DUPFD, 20), high_deaf = fcntl(deaf, F_DUPFD, 20);
    if (dup2(high, 3) != 3 || dup2(high_deaf, 4) != 4)
        return 91;
    return take_sockets(right_pid);
}

static void sockets_of_the_manager_are_taken_once_and_only_if_they_are_ours(void **state)
{
    (void)state;
    assert_int_equal(in_child(with_sockets, 1), 0);
    assert_int_equal(in_child(with_sockets, 0), 0);
}

static int become_nobody(int unused)
{
    struct err e;
    (void)unused;
    struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL)
        return 1;
    uid_t uid = nobody->pw_uid;
    if (process_become("no-such-user-here", &e) || e.class != ERR_PERM)
        return 2;
    if (!process_become("", &e) || !process_is_privileged())
        return 3;
    if (!process_become("nobody", &e) || getuid() != uid || geteuid() != uid)
        return 4;
    if (process_is_privileged() || setuid(0) == 0)
        return 5;
    if (process_become("root", &e) || e.class != ERR_PERM)
        return 6;
    return process_become("nobody", &e) ? 0 : 7; /* who we are already */
}

static void root_is_given_up_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(in_child(become_nobody, 0), 0);
}

static int harden(int unused)
{
    struct rlimit r;
    struct err e;
    uint64_t limit = 0;
    (void)unused;
    if (!process_harden(&e) || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 1;
    if (getrlimit(RLIMIT_CORE, &r) != 0 || r.rlim_cur != 0)
        return 2;
    struct rlimit low = {64, 128};
    if (setrlimit(RLIMIT_NOFILE, &low) != 0 || !process_raise_descriptors(&limit, &e))
        return 3;
    return limit == 128 && getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur == 128 ? 0 : 4;
}

static void the_process_keeps_its_memory_to_itself_and_takes_all_descriptors(void **state)
{
    (void)state;
    assert_int_equal(in_child(harden, 0), 0);
    char name[256];
    process_hostname(name, sizeof name);
    assert_true(strlen(name) > 0);
    assert_true(process_cores() >= 1);
}

static int log_to_journal(int fd)
{
    struct stat st;
    char stream[64];
    struct log_sink sink;
    if (dup2(fd, 2) != 2 || fstat(2, &st) != 0)
        return 1;
    (void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    log_sink_stderr(&sink);
    sink.write(sink.context, LOG_WARN, span_str("careful"));
    (void)setenv("JOURNAL_STREAM", "1:2", 1); /* somebody else's */
    log_sink_stderr(&sink);
    sink.write(sink.context, LOG_WARN, span_str("plain"));
    return 0;
}

static void log_lines_carry_their_level_under_a_journal(void **state)
{
    (void)state;
    int fds[2];
    char text[100];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(in_child(log_to_journal, fds[1]), 0);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    text[n < 0 ? 0 : n] = 0;
    assert_string_equal(text, "<4>careful\nplain\n");
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void a_rotated_log_file_is_opened_again(void **state)
{
    (void)state;
    char path[64], moved[80], text[100];
    const struct span none = {NULL, 0};
    struct log_sink sink;
    struct err e;
    (void)snprintf(path, sizeof path, "/tmp/postern-log-%d", (int)getpid());
    (void)snprintf(moved, sizeof moved, "%s.1", path);
    assert_true(log_sink_file(path, none, &sink, &e));
    sink.write(sink.context, LOG_INFO, span_str("first"));
    assert_int_equal(rename(path, moved), 0);
    sink.write(sink.context, LOG_INFO, span_str("second"));
    assert_true(log_sink_reopen(none, &e));
    sink.write(sink.context, LOG_INFO, span_str("third"));
    const char *files[] = {moved, path}, *want[] = {"first\nsecond\n", "third\n"};
    for (int i = 0; i < 2; i++) {
        int fd = open(files[i], O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = 0;
        assert_string_equal(text, want[i]);
        (void)close(fd);
        (void)unlink(files[i]);
    }
    assert_false(log_sink_file("/no/such/folder/log", none, &sink, &e));
    assert_int_equal(log_sink_dropped(), 0);
}

struct writer {
    const struct log_sink *sink;
    atomic_bool *over;
};

static void *write_on(void *arg)
{
    const struct writer *w = arg;
    while (!atomic_load(w->over))
        w->sink->write(w->sink->context, LOG_INFO, span_str("row"));
    return NULL;
}

static void each_file_begins_with_its_head_whoever_writes_meanwhile(void **state)
{
    (void)state;
    enum { WRITERS = 3, FILES = 200 };
    char path[64], moved[80], text[6];
    struct log_sink sink;
    struct err e;
    atomic_bool over = false;
    pthread_t threads[WRITERS];
    (void)snprintf(path, sizeof path, "/tmp/postern-head-%d", (int)getpid());
    (void)snprintf(moved, sizeof moved, "%s.1", path);
    assert_true(log_sink_file(path, span_str("#head"), &sink, &e));
    struct writer w = {&sink, &over};
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_on, &w), 0);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(rename(path, moved), 0);
        assert_true(log_sink_reopen(span_str("#head"), &e));
        int fd = open(moved, O_RDONLY);
        assert_int_equal(read(fd, text, sizeof text), sizeof text);
        (void)close(fd);
        assert_memory_equal(text, "#head\n", sizeof text);
        assert_int_equal(truncate(moved, 0), 0);
    }
    atomic_store(&over, true);
    for (int i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)unlink(path);
    (void)unlink(moved);
    assert_int_equal(log_sink_dropped(), 0);
}

static void a_line_of_input_loses_one_line_end_only(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {{"secret\nrest\n", "secret"},
                 {"secret\r\n", "secret"},
                 {"secret\r\r\n", "secret\r"},
                 {"secret", "secret"},
                 {"\n", ""}};
    int saved = dup(0);
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fds[2];
        struct secret s = {0};
        assert_int_equal(pipe(fds), 0);
        assert_true(write(fds[1], cases[i].in, strlen(cases[i].in)) > 0);
        (void)close(fds[1]);
        assert_int_equal(dup2(fds[0], 0), 0);
        assert_true(terminal_read_line(100, &s, &e));
        assert_int_equal(s.n, strlen(cases[i].out));
        assert_memory_equal(s.p, cases[i].out, s.n);
        secret_wipe(&s);
        if (i == 1)
            assert_false(terminal_read_line(100, &s, &e)); /* the end */
        (void)close(fds[0]);
    }
    (void)dup2(saved, 0);
    (void)close(saved);
}

static void addresses_of_sockets_and_interfaces(void **state)
{
    (void)state;
    static const char *const good[] = {"192.0.2.1:25", "[2001:db8::1]:465", "0.0.0.0:0"};
    static const char *const bad[] = {"192.0.2.1",  "::1:25", "[192.0.2.1]:25",
                                      "[::1]",      "a:25",   "192.0.2.1:65536",
                                      "192.0.2.1:", ":25",    ""};
    struct sock_address a;
    char text[SOCK_ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(sock_address_parse(span_str(good[i]), &a));
        sock_address_format(&a, text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sock_address_parse(span_str(bad[i]), &a));
    struct netaddr *list, loopback;
    size_t n;
    struct err e;
    bool found = false;
    assert_true(netaddr_parse(span_str("127.0.0.1"), &loopback));
    assert_true(sock_interface_addresses(&list, &n, &e));
    for (size_t i = 0; i < n; i++)
        found = found || netaddr_equal(&list[i], &loopback);
    free(list);
    assert_true(found);
    unsigned seen = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t r = random_below(3);
        assert_true(r < 3);
        seen |= 1u << r;
    }
    assert_int_equal(seen, 7);
}

static void ipv6_listeners_take_no_ipv4(void **state)
{
    (void)state;
    struct sock_address six = {.port = 0}, four = {.port = 0}, bound;
    struct err e;
    bool both = false;
    (void)netaddr_parse(span_str("0.0.0.0"), &four.ip);
    /* Somebody else's IPv4 listener may have that port just now: then another one. A listener that
     * took IPv4 as well would fail with every port. */
    for (unsigned i = 0; i < 20 && !both; i++) {
        intptr_t a = SOCK_NONE, b = SOCK_NONE;
        if (!sock_listen(&six, 4, &a, &bound, &e))
            skip(); /* a machine without IPv6 */
        four.port = bound.port;
        both = sock_listen(&four, 4, &b, NULL, &e); /* the same port, another listener */
        sock_close(&a);
        sock_close(&b);
    }
    assert_true(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manager_is_told_and_its_signals_come_as_requests),
        cmocka_unit_test(sockets_of_the_manager_are_taken_once_and_only_if_they_are_ours),
        cmocka_unit_test(root_is_given_up_for_good),
        cmocka_unit_test(the_process_keeps_its_memory_to_itself_and_takes_all_descriptors),
        cmocka_unit_test(log_lines_carry_their_level_under_a_journal),
        cmocka_unit_test(a_rotated_log_file_is_opened_again),
        cmocka_unit_test(each_file_begins_with_its_head_whoever_writes_meanwhile),
        cmocka_unit_test(a_line_of_input_loses_one_line_end_only),
        cmocka_unit_test(addresses_of_sockets_and_interfaces),
        cmocka_unit_test(ipv6_listeners_take_no_ipv4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
