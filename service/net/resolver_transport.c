/* c-ares as a carrier: our query out, the raw answer in. It chooses servers, tries again, and asks
 * over TCP what came cut short. */
#define _DEFAULT_SOURCE /* uv.h and ares.h name types of POSIX */
#include "net/resolver_internal.h"

#include "platform/random.h"

#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 3000, TRIES = 3 };

struct dns_socket {
    uv_poll_t poll;
    struct list_node node;
    struct resolver *resolver;
    ares_socket_t fd;
};

struct question {
    struct resolver_call *call;
    unsigned slot;
    enum dns_type type;
    char name[DNS_NAME_MAX + 1];
};

static void on_timer(uv_timer_t *timer);

/* c-ares tells how long it can wait. */
static void arm(struct resolver *r)
{
    struct timeval tv, *next;
    if (r->channel == NULL)
        return;
    next = ares_timeout(r->channel, NULL, &tv);
    if (next == NULL) {
        (void)uv_timer_stop(r->timer);
        return;
    }
    uint64_t ms = (uint64_t)next->tv_sec * 1000 + (uint64_t)(next->tv_usec + 999) / 1000;
    (void)uv_timer_start(r->timer, on_timer, ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct resolver *r = timer->data;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(r);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct dns_socket *s = poll->data;
    struct resolver *r = s->resolver;
    ares_socket_t fd = s->fd;
    if (status < 0) /* let c-ares find out by itself what is wrong with it */
        events = UV_READABLE | UV_WRITABLE;
    ares_process_fd(r->channel, (events & UV_READABLE) ? fd : ARES_SOCKET_BAD,
                    (events & UV_WRITABLE) ? fd : ARES_SOCKET_BAD);
    arm(r);
}

static void free_socket(uv_handle_t *handle)
{
    free(handle->data);
}

/* c-ares opens, watches and closes its sockets; the loop follows. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = data;
    struct dns_socket *s = NULL;
    for (struct list_node *n = list_first(&r->sockets); n != NULL; n = list_next(&r->sockets, n)) {
        struct dns_socket *one = LIST_ENTRY(n, struct dns_socket, node);
        if (one->fd == fd)
            s = one;
    }
    if (!readable && !writable) {
        if (s == NULL)
            return;
        list_remove(&s->node);
        (void)uv_poll_stop(&s->poll);
        uv_close((uv_handle_t *)&s->poll, free_socket);
        return;
    }
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL) /* its questions time out */
            return;
        if (uv_poll_init_socket(worker_loop(r->worker), &s->poll, (uv_os_sock_t)fd) != 0) {
            free(s);
            return;
        }
        s->poll.data = s;
        s->resolver = r;
        s->fd = fd;
        list_push_back(&r->sockets, &s->node);
    }
    (void)uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                        on_ready);
}

static uv_once_t library = UV_ONCE_INIT;

static void start_library(void)
{
    (void)ares_library_init(ARES_LIB_INIT_ALL);
}

bool resolver_transport_open(struct resolver *r, const struct resolver_options *o, struct err *e)
{
    struct ares_options options = {
        /* EDNS: c-ares only needs to know that our queries have it, so that it takes answers of
         * that size and asks again without when a server does not know it. */
        .flags = ARES_FLAG_EDNS,
        .timeout = (int)(o->timeout_ms == 0 ? TIMEOUT_MS : o->timeout_ms),
        .tries = (int)(o->tries == 0 ? TRIES : o->tries),
        .sock_state_cb = on_socket,
        .sock_state_cb_data = r,
        .ednspsz = DNS_EDNS_SIZE,
    };
    list_init(&r->sockets);
    uv_once(&library, start_library);
    int code = ares_init_options(&r->channel, &options,
                                 ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                     ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ);
    if (code != ARES_SUCCESS) {
        r->channel = NULL;
        return err_set(e, ERR_TEMP, "resolver: cannot start: %s", ares_strerror(code));
    }
    if (o->servers != NULL && o->servers[0] != 0) {
        code = ares_set_servers_ports_csv(r->channel, o->servers);
        if (code != ARES_SUCCESS) {
            ares_destroy(r->channel);
            r->channel = NULL;
            return err_set(e, ERR_PERM, "resolver: servers \"%s\": %s", o->servers,
                           ares_strerror(code));
        }
    }
    r->timer = calloc(1, sizeof *r->timer);
    if (r->timer == NULL) {
        ares_destroy(r->channel);
        r->channel = NULL;
        return err_set(e, ERR_TEMP, "resolver: no memory");
    }
    r->timer->data = r;
    (void)uv_timer_init(worker_loop(r->worker), r->timer);
    return true;
}

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

void resolver_transport_close(struct resolver *r)
{
    if (r->channel == NULL)
        return;
    ares_destroy(r->channel); /* answers every question, closes every socket */
    r->channel = NULL;
    uv_close((uv_handle_t *)r->timer, free_timer);
}

static const char *why_of(int status)
{
    switch (status) {
    case ARES_ETIMEOUT: return "no DNS server answered in time";
    case ARES_ECONNREFUSED: /* what c-ares says when the last server has failed, however it did */
        return "no DNS server could answer: each failed (SERVFAIL), refuses us or is unreachable";
    case ARES_ESERVFAIL: return "the DNS server failed (SERVFAIL)";
    case ARES_EREFUSED: return "the DNS server refuses us (REFUSED)";
    case ARES_ENOTIMP: return "the DNS server cannot do that (NOTIMP)";
    case ARES_ENOMEM: return "no memory";
    case ARES_EDESTRUCTION: return "the resolver was closed";
    default: return "the DNS query failed";
    }
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int n)
{
    struct question *q = arg;
    (void)timeouts;
    const char *why = bytes == NULL || n <= 0 ? why_of(status) : NULL;
    struct resolver_entry *entry = resolver_entry_new(q->name, q->type, DNS_TEMP_FAILURE, why);
    if (entry != NULL && why == NULL) {
        /* Whatever status says, the message itself is what we judge by. */
        (void)dns_answer_parse(span_of(bytes, (size_t)n), span_str(q->name), q->type, &entry->arena,
                               &entry->answer);
        resolver_cache_put(q->call->resolver, entry);
    }
    resolver_answered(q->call, q->slot, entry);
    free(q);
}

void resolver_send(struct resolver_call *call, unsigned slot, const char *name, enum dns_type type)
{
    struct resolver *r = call->resolver;
    struct question *q = calloc(1, sizeof *q);
    struct buf query;
    uint16_t id;
    random_bytes(&id, sizeof id);
    buf_init(&query, 512);
    if (q == NULL || r->channel == NULL || !dns_query_build(id, span_str(name), type, &query)) {
        free(q);
        buf_deinit(&query);
        resolver_answered(
            call, slot,
            resolver_entry_new(name, type, DNS_TEMP_FAILURE,
                               r->channel == NULL ? "the resolver was closed" : "no memory"));
        return;
    }
    q->call = call;
    q->slot = slot;
    q->type = type;
    memcpy(q->name, name, strlen(name) + 1);
    struct span bytes = buf_span(&query);
    ares_send(r->channel, bytes.p, (int)bytes.n, on_answer, q);
    buf_deinit(&query);
    arm(r);
}
