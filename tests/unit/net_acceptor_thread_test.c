/* The acceptor: limits, pauses, listeners that come and go, and no descriptors left. */
#define _GNU_SOURCE
#include "net/acceptor.h"

#include "support/echo_server.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int connect_from(const struct sock_address *at, uint32_t from)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(at->port)};
    here.sin_addr.s_addr = htonl(from);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {10, 0};
    assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    if (connect(fd, (struct sockaddr *)&there, sizeof there) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

enum { HOST_1 = 0x7f000001, HOST_2 = 0x7f000002, HOST_3 = 0x7f000003 };

/* Talks first, as an impatient client would; the first line that comes back. */
static void first_line(int fd, const char *say, char *out, size_t size)
{
    if (say != NULL)
        (void)send(fd, say, strlen(say), MSG_NOSIGNAL);
    ssize_t n = read(fd, out, size - 1);
    out[n < 0 ? 0 : n] = 0;
}

static bool quiet_for(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 0;
}

static void each_client_and_all_together_have_their_limit(void **state)
{
    (void)state;
    struct acceptor_limits limits = {.connections = 5, .connections_per_client = 2};
    struct echo_server server;
    char line[200];
    echo_server_start(&server, ECHO_HOLD, NULL, &limits);
    int fds[8];
    static const uint32_t from[] = {HOST_1, HOST_1, HOST_2, HOST_2, HOST_3};
    for (int i = 0; i < 5; i++) {
        fds[i] = connect_from(&server.at, from[i]);
        first_line(fds[i], NULL, line, sizeof line);
        assert_string_equal(line, "HI\r\n");
        if (i != 1)
            continue;
        int third = connect_from(&server.at, HOST_1);
        first_line(third, "EHLO early\r\n", line, sizeof line);
        assert_string_equal(line, "421 4.7.0 too many connections from you\r\n");
        assert_int_equal(read(third, line, sizeof line), 0); /* an end, not a reset */
        (void)close(third);
    }
    int sixth = connect_from(&server.at, HOST_3);
    first_line(sixth, "EHLO early\r\n", line, sizeof line);
    assert_string_equal(line, "421 4.3.2 too many connections\r\n");
    (void)close(sixth);
    /* Told after the 421 was sent. */
    assert_true(wait_for_count(&server.refused, 2));
    assert_int_equal(atomic_load(&server.refused), 2);
    assert_int_equal(acceptor_connections(server.acceptor), 5);

    (void)close(fds[0]); /* its place is free again, for that client */
    assert_true(wait_for_count(&server.closed, 1));
    fds[0] = connect_from(&server.at, HOST_1);
    first_line(fds[0], NULL, line, sizeof line);
    assert_string_equal(line, "HI\r\n");

    acceptor_set_limits(server.acceptor, &(struct acceptor_limits){.connections_per_client = 100});
    for (int i = 5; i < 8; i++) {
        fds[i] = connect_from(&server.at, HOST_1);
        first_line(fds[i], NULL, line, sizeof line);
        assert_string_equal(line, "HI\r\n");
    }
    for (int i = 0; i < 8; i++)
        (void)close(fds[i]);
    assert_true(wait_for_count(&server.closed, 9));
    assert_int_equal(acceptor_connections(server.acceptor), 0);
    echo_server_stop(&server);
}

static void sessions_are_spread_over_the_workers(void **state)
{
    (void)state;
    struct echo_server server;
    char line[64];
    int fds[40];
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    for (int i = 0; i < 40; i++) {
        fds[i] = connect_from(&server.at, HOST_1);
        first_line(fds[i], NULL, line, sizeof line);
    }
    assert_int_equal(worker_load(server.workers[0]) + worker_load(server.workers[1]), 40);
    assert_in_range(worker_load(server.workers[0]), 15, 25);
    for (int i = 0; i < 40; i++)
        (void)close(fds[i]);
    echo_server_stop(&server);
}

static void paused_it_lets_peers_wait_and_resumed_it_serves_them(void **state)
{
    (void)state;
    struct echo_server server;
    char line[64];
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    acceptor_pause(server.acceptor);
    int fd = connect_from(&server.at, HOST_1);
    assert_true(fd >= 0 && quiet_for(fd, 50));
    acceptor_resume(server.acceptor);
    first_line(fd, NULL, line, sizeof line);
    assert_string_equal(line, "HI\r\n");
    (void)close(fd);
    echo_server_stop(&server);
}

static void a_listener_comes_and_goes_while_the_others_serve(void **state)
{
    (void)state;
    struct err e;
    struct echo_server server;
    char line[64];
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    struct sock_address any = {.port = 0}, second;
    (void)netaddr_parse(span_str("127.0.0.1"), &any.ip);
    intptr_t listener = SOCK_NONE, again = SOCK_NONE;
    assert_true(sock_listen(&any, 8, &listener, &second, &e));
    assert_false(sock_listen(&second, 8, &again, NULL, &e)); /* in use */
    assert_int_equal(e.class, ERR_TEMP);
    assert_true(acceptor_listen(server.acceptor, &listener, 8, false, &e));
    assert_int_equal(listener, SOCK_NONE);
    int fd = connect_from(&second, HOST_1);
    first_line(fd, NULL, line, sizeof line);
    assert_string_equal(line, "HI\r\n");
    acceptor_unlisten(server.acceptor, 8);
    assert_int_equal(connect_from(&second, HOST_1), -1); /* closed when it returned */
    int other = connect_from(&server.at, HOST_1);
    first_line(other, NULL, line, sizeof line);
    assert_string_equal(line, "HI\r\n");
    (void)close(fd);
    (void)close(other);
    echo_server_stop(&server);
}

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 +
           (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6;
}

/* The real limit of the kernel: all descriptors up to it are taken. */
static void without_descriptors_it_refuses_waits_and_recovers(void **state)
{
    (void)state;
    struct echo_server server;
    struct rlimit before, tight;
    char line[200];
    enum { MOST = 256 };
    int taken[MOST], n = 0;
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    int early = connect_from(&server.at, HOST_1);
    first_line(early, NULL, line, sizeof line);
    int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {10, 0};
    (void)setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(two, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = MOST;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    while (n < MOST && (taken[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    assert_true(n > 0 && errno == EMFILE);

    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(server.at.port)};
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(one, (struct sockaddr *)&there, sizeof there), 0);
    first_line(one, NULL, line, sizeof line);
    assert_string_equal(line, "421 4.3.2 too many connections\r\n");
    assert_true(wait_for_count(&server.refused, 1));
    double cpu = cpu_seconds();
    sleep_ms(500);
    assert_true(cpu_seconds() - cpu < 0.1); /* it does not spin */

    for (int i = 0; i < n; i++)
        (void)close(taken[i]);
    assert_int_equal(connect(two, (struct sockaddr *)&there, sizeof there), 0);
    first_line(two, NULL, line, sizeof line);
    assert_string_equal(line, "HI\r\n");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    (void)close(early);
    (void)close(one);
    (void)close(two);
    echo_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_client_and_all_together_have_their_limit),
        cmocka_unit_test(sessions_are_spread_over_the_workers),
        cmocka_unit_test(paused_it_lets_peers_wait_and_resumed_it_serves_them),
        cmocka_unit_test(a_listener_comes_and_goes_while_the_others_serve),
        cmocka_unit_test(without_descriptors_it_refuses_waits_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
