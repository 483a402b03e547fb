/* Connections over real loopback: hundreds of sessions over two workers, in clear and under TLS,
 * STARTTLS and what must not get through it, ends that let the peer read the last word. */
#define _GNU_SOURCE
#include "net/conn.h"

#include "platform/clock.h"
#include "support/echo_server.h"
#include "support/test.h"
#include "support/tls_files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tls_files files;
static struct tls_context *server_tls, *client_tls;

/* A client session: sends a pattern, wants it back, closes. */
struct client {
    struct crowd *crowd;
    size_t size, sent, back;
    unsigned seed;
    bool secured;
};

struct crowd {
    struct worker *worker;
    enum echo_mode mode;
    const char *name;
    unsigned n, done, wrong;
    enum conn_end last_end;
    char last_why[sizeof((struct err *)0)->text];
    struct tls_binding binding;
    char version[16];
    bool verified;
    char failure[600];
};

static uint8_t pattern(unsigned seed, size_t at)
{
    return (uint8_t)((at * 2654435761u + seed * 97u) >> 7);
}

static void send_more(struct conn *c, struct client *k)
{
    uint8_t piece[40000];
    while (k->sent < k->size && conn_pending(c) < 100000) {
        size_t n = k->size - k->sent < sizeof piece ? k->size - k->sent : sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(k->seed, k->sent + i);
        if (!conn_write(c, span_of(piece, n)))
            break;
        k->sent += n;
    }
}

static void client_connected(struct conn *c, void *arg)
{
    struct client *k = arg;
    conn_read_start(c);
    if (k->crowd->mode == ECHO_TLS)
        conn_tls_client(c, client_tls, TLS_VERIFY_NAME, k->crowd->name);
    else if (k->crowd->mode == ECHO_STARTTLS)
        (void)conn_write(c, span_str("STARTTLS\r\nINJECTED\r\n"));
    else
        send_more(c, k);
}

static size_t client_data(struct conn *c, void *arg, struct span bytes)
{
    struct client *k = arg;
    if (k->crowd->mode == ECHO_STARTTLS && !k->secured) {
        k->secured = true;
        if (!span_is(bytes, "GO\r\n"))
            k->crowd->wrong++;
        conn_tls_client(c, client_tls, TLS_VERIFY_NAME, k->crowd->name);
        return bytes.n;
    }
    for (size_t i = 0; i < bytes.n; i++)
        if (bytes.p[i] != pattern(k->seed, k->back + i))
            k->crowd->wrong++;
    k->back += bytes.n;
    if (k->back >= k->size)
        conn_close(c);
    return bytes.n;
}

static void client_tls_done(struct conn *c, void *arg, const struct conn_tls_result *result)
{
    struct client *k = arg;
    if (!result->ok) {
        (void)snprintf(k->crowd->failure, sizeof k->crowd->failure, "%s / %s",
                       result->failure->reason, result->failure->change);
        return;
    }
    (void)conn_tls_binding(c, &k->crowd->binding);
    k->crowd->verified = result->info.verified;
    (void)snprintf(k->crowd->version, sizeof k->crowd->version, "%s", result->info.version);
    send_more(c, k);
}

static void client_drained(struct conn *c, void *arg)
{
    struct client *k = arg;
    if (k->crowd->mode != ECHO_STARTTLS || conn_is_tls(c))
        send_more(c, k);
}

static void client_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct client *k = arg;
    struct crowd *crowd = k->crowd;
    (void)c;
    crowd->wrong += k->back != k->size;
    crowd->last_end = end;
    (void)snprintf(crowd->last_why, sizeof crowd->last_why, "%s", why->text);
    free(k);
    if (++crowd->done == crowd->n)
        worker_stop(crowd->worker);
}

static const struct conn_handlers client_handlers = {
    .on_connected = client_connected,
    .on_data = client_data,
    .on_tls = client_tls_done,
    .on_drained = client_drained,
    .on_closed = client_closed,
};

/* Runs n clients against the address on this thread. */
static void run_crowd(struct crowd *crowd, const struct sock_address *at, size_t size)
{
    struct err e;
    crowd->worker = worker_new("crowd", 0, &e);
    assert_non_null(crowd->worker);
    for (unsigned i = 0; i < crowd->n; i++) {
        struct client *k = calloc(1, sizeof *k);
        assert_non_null(k);
        *k = (struct client){.crowd = crowd, .size = size + i * 37, .seed = i};
        assert_non_null(conn_connect(crowd->worker, at, NULL, 5000, &client_handlers, k, &e));
    }
    worker_run(crowd->worker);
    worker_free(&crowd->worker);
}

static void echo_crowd(enum echo_mode mode, unsigned n, size_t size)
{
    struct echo_server server;
    echo_server_start(&server, mode, server_tls, NULL);
    struct crowd crowd = {.mode = mode, .n = n, .name = "main.test"};
    run_crowd(&crowd, &server.at, size);
    assert_int_equal(crowd.done, n);
    assert_int_equal(crowd.wrong, 0);
    assert_true(wait_for_count(&server.closed, n));
    assert_int_equal(acceptor_connections(server.acceptor), 0);
    assert_int_equal(worker_load(server.workers[0]) + worker_load(server.workers[1]), 0);
    struct echo_seen seen = echo_server_seen(&server);
    if (mode != ECHO_PLAIN) {
        assert_int_equal(seen.handshakes, n);
        assert_true(crowd.verified);
    }
    if (mode == ECHO_STARTTLS)
        assert_int_equal(seen.discarded, strlen("INJECTED\r\n"));
    echo_server_stop(&server);
}

static void hundreds_of_plain_sessions_get_their_bytes_back(void **state)
{
    (void)state;
    echo_crowd(ECHO_PLAIN, 400, 3000);
    echo_crowd(ECHO_PLAIN, 8, 3 * 1024 * 1024);
}

static void tls_sessions_get_their_bytes_back(void **state)
{
    (void)state;
    echo_crowd(ECHO_TLS, 100, 3000);
    echo_crowd(ECHO_TLS, 4, 2 * 1024 * 1024);
}

static void what_came_in_clear_behind_starttls_is_thrown_away(void **state)
{
    (void)state;
    echo_crowd(ECHO_STARTTLS, 100, 30000);
}

static void both_sides_have_the_same_channel_binding(void **state)
{
    (void)state;
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, server_tls, NULL);
    struct crowd crowd = {.mode = ECHO_TLS, .n = 1, .name = "main.test"};
    run_crowd(&crowd, &server.at, 100);
    struct echo_seen seen = echo_server_seen(&server);
    assert_string_equal(crowd.version, "TLSv1.3");
    assert_string_equal(crowd.binding.type, "tls-exporter");
    assert_string_equal(seen.binding.type, "tls-exporter");
    assert_int_equal(seen.binding.n, 32);
    assert_memory_equal(seen.binding.data, crowd.binding.data, 32);
    echo_server_stop(&server);
}

static void a_wrong_name_or_an_unknown_root_ends_the_handshake(void **state)
{
    (void)state;
    struct err e;
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, server_tls, NULL);
    struct crowd crowd = {.mode = ECHO_TLS, .n = 1, .name = "elsewhere.test"};
    run_crowd(&crowd, &server.at, 0);
    assert_int_equal(crowd.last_end, CONN_END_TLS);
    assert_non_null(strstr(crowd.failure, "mismatch"));

    struct tls_context *saved = client_tls;
    struct tls_client_options co = {.ca_file = files.other_certificate};
    client_tls = tls_client_context(&co, &e);
    assert_non_null(client_tls);
    crowd = (struct crowd){.mode = ECHO_TLS, .n = 1, .name = "main.test"};
    run_crowd(&crowd, &server.at, 0);
    assert_int_equal(crowd.last_end, CONN_END_TLS);
    assert_non_null(strstr(crowd.failure, "certificate"));
    assert_true(wait_for_count(&server.closed, 2));
    struct echo_seen seen = echo_server_seen(&server);
    assert_false(seen.ok);
    assert_non_null(strstr(seen.failure.reason, "unknown CA"));
    assert_non_null(strstr(seen.failure.change, "install its CA on the client"));
    tls_unref(&client_tls);
    client_tls = saved;
    echo_server_stop(&server);
}

static void an_address_can_be_the_name_that_is_checked(void **state)
{
    (void)state;
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, server_tls, NULL);
    struct crowd crowd = {.mode = ECHO_TLS, .n = 1, .name = "127.0.0.1"};
    run_crowd(&crowd, &server.at, 10);
    assert_true(crowd.verified);
    assert_int_equal(crowd.wrong, 0);
    assert_string_equal(echo_server_seen(&server).server_name, "");
    echo_server_stop(&server);
}

static void a_connection_that_is_refused_says_so(void **state)
{
    (void)state;
    struct err e;
    intptr_t listener = SOCK_NONE;
    struct sock_address any = {0}, at;
    assert_true(netaddr_parse(span_str("127.0.0.1"), &any.ip));
    assert_true(sock_listen(&any, 1, &listener, &at, &e));
    sock_close(&listener); /* now nobody listens there */
    struct crowd crowd = {.mode = ECHO_PLAIN, .n = 3};
    run_crowd(&crowd, &at, 0);
    assert_int_equal(crowd.last_end, CONN_END_CONNECT);
    assert_non_null(strstr(crowd.last_why, "refused"));
}

static int plain_client(const struct sock_address *at)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(at->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {10, 0};
    assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

/* Reads to the end; returns the number of bytes, or -errno. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t used = 0;
    for (;;) {
        ssize_t n = read(fd, out + used, size - 1 - used);
        if (n < 0)
            return -errno;
        out[used += (size_t)n] = 0;
        if (n == 0)
            return (ssize_t)used;
    }
}

static void a_peer_that_still_sends_can_read_the_last_word(void **state)
{
    (void)state;
    struct echo_server server;
    echo_server_start(&server, ECHO_LINGER, NULL, NULL);
    for (int i = 0; i < 20; i++) {
        char text[64], junk[65536];
        memset(junk, 'x', sizeof junk);
        int fd = plain_client(&server.at);
        for (int k = 0; k < 20; k++) /* 1.3 MB that nobody wants */
            assert_int_equal(send(fd, junk, sizeof junk, MSG_NOSIGNAL), sizeof junk);
        assert_int_equal(read_all(fd, text, sizeof text), 5); /* a reset would be -ECONNRESET */
        assert_string_equal(text, "BYE\r\n");
        (void)close(fd);
    }
    assert_true(wait_for_count(&server.closed, 20));
    echo_server_stop(&server);
}

static void stopping_a_worker_closes_what_is_open(void **state)
{
    (void)state;
    struct echo_server server;
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    int fds[50];
    for (int i = 0; i < 50; i++)
        fds[i] = plain_client(&server.at);
    assert_true(wait_for_count(&server.opened, 50));
    echo_server_stop(&server);
    assert_int_equal(atomic_load(&server.closed), 50);
    for (int i = 0; i < 50; i++)
        (void)close(fds[i]);
}

/* One connection to the holding server, on this thread's worker. */
struct lone {
    struct worker *worker;
    unsigned deadlines;
    uint64_t due_ms, fired_ms;
    size_t take, taken;
    char text[64];
};

static void lone_connected(struct conn *c, void *arg)
{
    struct lone *l = arg;
    conn_read_start(c);
    conn_deadline(c, worker_now_ms(l->worker) + 5); /* moved away before it comes */
    l->due_ms = worker_now_ms(l->worker) + 60;
    conn_deadline(c, l->due_ms);
}

static size_t lone_data(struct conn *c, void *arg, struct span bytes)
{
    struct lone *l = arg;
    size_t n = bytes.n < l->take ? bytes.n : l->take;
    memcpy(l->text + l->taken, bytes.p, n);
    l->taken += n;
    if (n < bytes.n)
        conn_read_start(c); /* the rest comes again, but not from inside here */
    return n;
}

static void lone_deadline(struct conn *c, void *arg)
{
    struct lone *l = arg;
    l->deadlines++;
    l->fired_ms = clock_monotonic_ms();
    conn_close(c);
}

static void lone_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct lone *l = arg;
    (void)c;
    (void)why;
    assert_int_equal(end, CONN_END_LOCAL);
    worker_stop(l->worker);
}

static void what_is_not_taken_comes_again_and_the_deadline_comes_once(void **state)
{
    (void)state;
    static const struct conn_handlers handlers = {.on_connected = lone_connected,
                                                  .on_data = lone_data,
                                                  .on_deadline = lone_deadline,
                                                  .on_closed = lone_closed};
    struct err e;
    struct echo_server server;
    echo_server_start(&server, ECHO_HOLD, NULL, NULL);
    struct lone l = {.worker = worker_new("lone", 0, &e), .take = 1};
    struct sock_address from = {.port = 0};
    assert_true(netaddr_parse(span_str("127.0.0.9"), &from.ip));
    struct conn *c = conn_connect(l.worker, &server.at, &from, 5000, &handlers, &l, &e);
    assert_non_null(c);
    worker_run(l.worker);
    assert_int_equal(l.deadlines, 1);
    assert_true(l.fired_ms + 5 >= l.due_ms);
    assert_string_equal(l.text, "HI\r\n");
    worker_free(&l.worker);
    echo_server_stop(&server);
}

static int set_up(void **state)
{
    struct err e = {0};
    (void)state;
    tls_files_make(&files);
    struct tls_server_options so = {.main = {files.main_certificate, files.main_key}};
    struct tls_client_options co = {.ca_file = files.ca};
    server_tls = tls_server_context(&so, &e);
    client_tls = tls_client_context(&co, &e);
    if (server_tls == NULL || client_tls == NULL)
        (void)fprintf(stderr, "%s\n", e.text);
    return server_tls != NULL && client_tls != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tls_unref(&server_tls);
    tls_unref(&client_tls);
    tls_files_remove(&files);
    return 0;
}

/* ---- a peer that goes before our hello ---- */

struct deserted {
    struct worker *worker;
    int listener, ends, failures;
};

static void deserted_connected(struct conn *c, void *arg)
{
    struct deserted *d = arg;
    const struct linger at_once = {.l_onoff = 1};
    int fd = accept(d->listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    (void)close(fd); /* resets; on loopback it has arrived */
    conn_tls_client(c, client_tls, TLS_VERIFY_NONE, "main.test");
}

static void deserted_tls(struct conn *c, void *arg, const struct conn_tls_result *result)
{
    (void)c;
    assert_false(result->ok);
    assert_string_not_equal(result->failure->reason, "");
    ((struct deserted *)arg)->failures++;
}

static void deserted_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct deserted *d = arg;
    (void)c;
    (void)end;
    (void)why;
    d->ends++;
    worker_stop(d->worker);
}

static void a_peer_that_goes_before_our_hello_has_refused_the_handshake(void **state)
{
    (void)state;
    static const struct conn_handlers handlers = {
        .on_connected = deserted_connected, .on_tls = deserted_tls, .on_closed = deserted_closed};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    struct sock_address at;
    struct err e;
    struct deserted d = {.worker = worker_new("deserted", 0, &e)};
    assert_non_null(d.worker);
    d.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(d.listener, (struct sockaddr *)&in, n), 0);
    assert_int_equal(listen(d.listener, 1), 0);
    assert_int_equal(getsockname(d.listener, (struct sockaddr *)&in, &n), 0);
    assert_true(sock_address_from(&in, &at));
    assert_non_null(conn_connect(d.worker, &at, NULL, 5000, &handlers, &d, &e));
    worker_run(d.worker);
    worker_free(&d.worker);
    assert_int_equal(d.failures, 1);
    assert_int_equal(d.ends, 1);
    (void)close(d.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_of_plain_sessions_get_their_bytes_back),
        cmocka_unit_test(tls_sessions_get_their_bytes_back),
        cmocka_unit_test(what_came_in_clear_behind_starttls_is_thrown_away),
        cmocka_unit_test(both_sides_have_the_same_channel_binding),
        cmocka_unit_test(a_wrong_name_or_an_unknown_root_ends_the_handshake),
        cmocka_unit_test(an_address_can_be_the_name_that_is_checked),
        cmocka_unit_test(a_connection_that_is_refused_says_so),
        cmocka_unit_test(a_peer_that_goes_before_our_hello_has_refused_the_handshake),
        cmocka_unit_test(a_peer_that_still_sends_can_read_the_last_word),
        cmocka_unit_test(stopping_a_worker_closes_what_is_open),
        cmocka_unit_test(what_is_not_taken_comes_again_and_the_deadline_comes_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
