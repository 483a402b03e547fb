#include "support/echo_server.h"

#include "platform/clock.h"
#include "support/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { HIGH_WATER = 256 * 1024 };

struct echo_session {
    struct echo_server *server;
    struct netaddr client;
    bool secured;
};

void sleep_ms(unsigned ms)
{
    test_sleep_ms(ms);
}

bool wait_for_count(atomic_uint *counter, unsigned n)
{
    for (uint64_t until = clock_monotonic_ms() + 10000; atomic_load(counter) < n; sleep_ms(2))
        if (clock_monotonic_ms() > until)
            return false;
    return true;
}

static size_t on_data(struct conn *c, void *arg, struct span bytes)
{
    struct echo_session *s = arg;
    if (s->server->mode == ECHO_HOLD)
        return bytes.n;
    if (s->server->mode == ECHO_STARTTLS && !s->secured) {
        size_t end = span_find(bytes, '\n');
        if (end == bytes.n)
            return 0;
        s->secured = true;
        (void)conn_write(c, span_str("GO\r\n"));
        conn_tls_server(c, s->server->tls);
        conn_read_start(c);
        return end + 1;
    }
    (void)conn_write(c, bytes);
    if (conn_pending(c) > HIGH_WATER)
        conn_read_stop(c);
    return bytes.n;
}

static void on_drained(struct conn *c, void *arg)
{
    (void)arg;
    conn_read_start(c);
}

static void on_tls(struct conn *c, void *arg, const struct conn_tls_result *result)
{
    struct echo_session *s = arg;
    struct echo_seen *seen = &s->server->seen;
    uv_mutex_lock(s->server->lock);
    seen->handshakes++;
    seen->ok = result->ok;
    seen->discarded = result->discarded;
    seen->binding = (struct tls_binding){0};
    if (result->ok) {
        (void)snprintf(seen->version, sizeof seen->version, "%s", result->info.version);
        (void)snprintf(seen->server_name, sizeof seen->server_name, "%s", result->info.server_name);
        seen->resumed = result->info.resumed;
        (void)conn_tls_binding(c, &seen->binding);
        conn_tls_end_points(c, &seen->ends);
    } else {
        seen->failure = *result->failure;
    }
    uv_mutex_unlock(s->server->lock);
}

static void on_eof(struct conn *c, void *arg)
{
    (void)arg;
    conn_close(c);
}

static void on_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct echo_session *s = arg;
    (void)c;
    (void)end;
    (void)why;
    acceptor_release(s->server->acceptor, &s->client);
    atomic_fetch_add(&s->server->closed, 1);
    free(s);
}

static const struct conn_handlers handlers = {
    .on_data = on_data,
    .on_drained = on_drained,
    .on_tls = on_tls,
    .on_eof = on_eof,
    .on_closed = on_closed,
};

static void on_arrival(struct worker *w, struct acceptor_arrival *arrival, void *context)
{
    struct echo_session *s = calloc(1, sizeof *s);
    struct err e;
    if (s == NULL)
        return;
    s->server = context;
    s->client = arrival->peer.ip;
    struct conn *c = conn_accept(w, &arrival->sock, &handlers, s, &e);
    if (c == NULL) {
        acceptor_release(s->server->acceptor, &s->client);
        free(s);
        return;
    }
    atomic_fetch_add(&s->server->opened, 1);
    if (s->server->mode == ECHO_TLS)
        conn_tls_server(c, s->server->tls);
    if (s->server->mode == ECHO_HOLD)
        (void)conn_write(c, span_str("HI\r\n"));
    if (s->server->mode == ECHO_LINGER) {
        (void)conn_write(c, span_str("BYE\r\n"));
        conn_linger(c, 2000, 4 * 1024 * 1024);
        return;
    }
    conn_read_start(c);
}

static void on_refused(const struct sock_address *peer, uint32_t listener, const char *limit,
                       void *context)
{
    struct echo_server *s = context;
    (void)peer;
    (void)listener;
    (void)limit;
    atomic_fetch_add(&s->refused, 1);
}

static void must(bool ok, const struct err *e)
{
    if (ok)
        return;
    (void)fprintf(stderr, "echo_server: %s\n", e->text);
    abort();
}

void echo_server_start(struct echo_server *s, enum echo_mode mode, struct tls_context *tls,
                       const struct acceptor_limits *limits)
{
    struct err e = {0};
    *s = (struct echo_server){.mode = mode, .tls = tls};
    s->lock = malloc(sizeof(uv_mutex_t));
    must(s->lock != NULL && uv_mutex_init(s->lock) == 0, &e);
    must(sock_start(&e), &e);
    for (unsigned i = 0; i < 2; i++) {
        s->workers[i] = worker_new("echo", i, &e);
        must(s->workers[i] != NULL && worker_start(s->workers[i], &e), &e);
    }
    struct acceptor_options options = {
        .limits = limits == NULL ? (struct acceptor_limits){0} : *limits,
        .workers = s->workers,
        .workers_n = 2,
        .refusal_total = "421 4.3.2 too many connections\r\n",
        .refusal_client = "421 4.7.0 too many connections from you\r\n",
        .on_arrival = on_arrival,
        .on_refused = on_refused,
        .context = s,
    };
    s->acceptor = acceptor_open(&options, &e);
    must(s->acceptor != NULL, &e);
    struct sock_address any = {.port = 0};
    (void)netaddr_parse(span_str("127.0.0.1"), &any.ip);
    intptr_t listener = SOCK_NONE;
    must(sock_listen(&any, 1024, &listener, &s->at, &e), &e);
    must(acceptor_listen(s->acceptor, &listener, 7, mode == ECHO_TLS, &e), &e);
}

void echo_server_stop(struct echo_server *s)
{
    acceptor_stop(s->acceptor);
    for (unsigned i = 0; i < 2; i++)
        worker_stop(s->workers[i]);
    for (unsigned i = 0; i < 2; i++)
        worker_join(s->workers[i]);
    for (unsigned i = 0; i < 2; i++)
        worker_free(&s->workers[i]);
    acceptor_free(&s->acceptor);
    uv_mutex_destroy(s->lock);
    free(s->lock);
}

struct echo_seen echo_server_seen(struct echo_server *s)
{
    uv_mutex_lock(s->lock);
    struct echo_seen seen = s->seen;
    uv_mutex_unlock(s->lock);
    return seen;
}
