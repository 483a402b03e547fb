#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/acceptor.h"

#include "platform/clock.h"
#include "platform/process.h"
#include "platform/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    LISTENERS_MAX = 64,
    LEAVING_MAX = 64, /* those told 421 that we still let read it */
    LEAVING_MS = 1000,
    LEAVING_BYTES = 16384,
    STARVED_MS = 100,    /* without descriptors we look again after that */
    ACCEPTS_A_TURN = 64, /* from one listener before the others have their turn */
    CLIENT_BUCKETS = 1024,
};

struct client {
    struct client *next;
    struct netaddr address;
    size_t n;
};

struct listener {
    intptr_t sock;
    uint32_t tag;
    bool implicit_tls;
    bool removed; /* the thread closes it at its next turn */
};

struct leaving {
    intptr_t sock;
    uint64_t until_ms;
    size_t dropped;
};

struct acceptor {
    struct acceptor_options options;
    struct sock_waker waker;
    uv_thread_t thread;
    bool running;

    uv_mutex_t lock; /* all below */
    uv_cond_t turned;
    uint64_t turns; /* how often the thread has begun to wait with the present settings */
    struct listener listeners[LISTENERS_MAX];
    size_t listeners_n;
    bool paused, stopping;
    struct acceptor_limits limits;
    char refusal_total[512], refusal_client[512];
    size_t connections;
    struct client *clients[CLIENT_BUCKETS];
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */

    /* the thread's own */
    intptr_t reserve;
    bool starved;
    struct leaving leaving[LEAVING_MAX];
    size_t leaving_n;
    size_t next_worker;
};

struct handover {
    struct worker_item item;
    struct acceptor *acceptor;
    struct acceptor_arrival arrival;
};

static struct client **find_client(struct acceptor *a, const struct netaddr *address)
{
    uint64_t h = a->seed;
    for (size_t i = 0; i < sizeof address->b; i++)
        h = (h ^ address->b[i]) * 0x100000001B3u;
    struct client **at = &a->clients[(h ^ h >> 32) % CLIENT_BUCKETS];
    while (*at != NULL && !netaddr_equal(&(*at)->address, address))
        at = &(*at)->next;
    return at;
}

/* NULL: counted. Else the limit that is reached. */
static const char *count_in(struct acceptor *a, const struct netaddr *address)
{
    const char *limit = NULL;
    uv_mutex_lock(&a->lock);
    struct client **at = find_client(a, address);
    if (a->limits.connections > 0 && a->connections >= a->limits.connections)
        limit = "connections";
    else if (*at != NULL && a->limits.connections_per_client > 0 &&
             (*at)->n >= a->limits.connections_per_client)
        limit = "connections_per_client";
    if (limit == NULL && *at == NULL) {
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            limit = "memory";
        else
            (*at)->address = *address;
    }
    if (limit == NULL) {
        (*at)->n++;
        a->connections++;
    }
    uv_mutex_unlock(&a->lock);
    return limit;
}

void acceptor_release(struct acceptor *a, const struct netaddr *client)
{
    bool wake = false;
    uv_mutex_lock(&a->lock);
    struct client **at = find_client(a, client);
    if (*at != NULL) {
        struct client *c = *at;
        a->connections--;
        if (--c->n == 0) {
            *at = c->next;
            free(c);
        }
        wake = a->starved;
    }
    uv_mutex_unlock(&a->lock);
    if (wake) /* a descriptor may be free now */
        sock_waker_wake(&a->waker);
}

size_t acceptor_connections(struct acceptor *a)
{
    uv_mutex_lock(&a->lock);
    size_t n = a->connections;
    uv_mutex_unlock(&a->lock);
    return n;
}

/* On the worker's thread. */
static void arrive(struct worker_item *item, struct worker *w)
{
    struct handover *h = LIST_ENTRY(item, struct handover, item);
    struct acceptor *a = h->acceptor;
    struct netaddr client = h->arrival.peer.ip;
    a->options.on_arrival(w, &h->arrival, a->options.context);
    if (h->arrival.sock != SOCK_NONE) {
        sock_close(&h->arrival.sock);
        acceptor_release(a, &client);
    }
    free(h);
}

/* The less loaded of the next two in the round: as even as least-loaded, without looking at all.
 * What is on its way in a mailbox is not in the load yet, hence the round. */
static struct worker *choose_worker(struct acceptor *a)
{
    size_t n = a->options.workers_n;
    struct worker *one = a->options.workers[a->next_worker % n];
    struct worker *two = a->options.workers[(a->next_worker + 1) % n];
    a->next_worker++;
    return worker_load(two) + 1 < worker_load(one) ? two : one;
}

/* Tells who is turned away and lets him read it; without a place he is closed at once. */
static void turn_away(struct acceptor *a, intptr_t sock, const char *words)
{
    (void)sock_send_now(sock, span_str(words));
    sock_shutdown_send(sock);
    if (a->leaving_n == LEAVING_MAX || a->starved) {
        size_t dropped = 0;
        (void)sock_drop_input(sock, &dropped);
        sock_close(&sock);
        return;
    }
    a->leaving[a->leaving_n++] =
        (struct leaving){.sock = sock, .until_ms = clock_monotonic_ms() + LEAVING_MS};
}

static void refuse(struct acceptor *a, const struct listener *l, intptr_t sock,
                   const struct sock_address *peer, const char *limit)
{
    char words[sizeof a->refusal_total];
    uv_mutex_lock(&a->lock);
    bool client = strcmp(limit, "connections_per_client") == 0;
    (void)snprintf(words, sizeof words, "%s", client ? a->refusal_client : a->refusal_total);
    uv_mutex_unlock(&a->lock);
    turn_away(a, sock, l->implicit_tls ? "" : words);
    if (a->options.on_refused != NULL)
        a->options.on_refused(peer, l->tag, limit, a->options.context);
}

static void take_in(struct acceptor *a, const struct listener *l, intptr_t sock,
                    const struct sock_address *peer, const struct sock_address *local)
{
    const char *limit = count_in(a, &peer->ip);
    if (limit != NULL) {
        refuse(a, l, sock, peer, limit);
        return;
    }
    struct handover *h = malloc(sizeof *h);
    if (h == NULL) {
        acceptor_release(a, &peer->ip);
        refuse(a, l, sock, peer, "memory");
        return;
    }
    *h = (struct handover){
        .item.run = arrive,
        .acceptor = a,
        .arrival = {.sock = sock,
                    .peer = *peer,
                    .local = *local,
                    .listener = l->tag,
                    .accepted_us = clock_monotonic_us()},
    };
    worker_post(choose_worker(a), &h->item);
}

static void set_starved(struct acceptor *a, bool starved)
{
    uv_mutex_lock(&a->lock);
    a->starved = starved;
    uv_mutex_unlock(&a->lock);
}

/* No descriptor is left: the reserve is given up for one peer, who is told and leaves, so that the
 * first in the backlog does not wait in silence. Then we pause for a moment instead of spinning on
 * a listener that stays readable. */
static void accept_by_reserve(struct acceptor *a, const struct listener *l)
{
    struct sock_address peer, local;
    intptr_t sock = SOCK_NONE;
    set_starved(a, true);
    if (a->reserve == SOCK_NONE)
        return;
    sock_close(&a->reserve);
    if (sock_accept(l->sock, &sock, &peer, &local) == SOCK_ACCEPTED)
        refuse(a, l, sock, &peer, "descriptors");
    a->reserve = sock_reserve();
}

/* False: that listener is broken. */
static bool accept_some(struct acceptor *a, const struct listener *l)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sock_address peer, local;
        intptr_t sock = SOCK_NONE;
        switch (sock_accept(l->sock, &sock, &peer, &local)) {
        case SOCK_ACCEPTED: take_in(a, l, sock, &peer, &local); break;
        case SOCK_ACCEPT_NOTHING: return true;
        case SOCK_ACCEPT_NO_DESCRIPTORS: accept_by_reserve(a, l); return true;
        case SOCK_ACCEPT_NO_MEMORY: set_starved(a, true); return true;
        case SOCK_ACCEPT_FAILED: return false;
        }
    }
    return true;
}

/* Those told 421: gone when they have ended, sent too much or had their time. */
static void see_off(struct acceptor *a, const struct sock_poll *polled)
{
    uint64_t now = clock_monotonic_ms();
    size_t kept = 0;
    for (size_t i = 0; i < a->leaving_n; i++) {
        struct leaving *l = &a->leaving[i];
        bool stays = now < l->until_ms;
        if (stays && polled[i].ready)
            stays = sock_drop_input(l->sock, &l->dropped) && l->dropped < LEAVING_BYTES;
        if (stays)
            a->leaving[kept++] = *l;
        else
            sock_close(&l->sock);
    }
    a->leaving_n = kept;
}

/* How long the thread may sleep: for ever, unless somebody leaves or we starve. */
static int sleep_ms(const struct acceptor *a)
{
    if (a->starved)
        return STARVED_MS;
    uint64_t now = clock_monotonic_ms();
    if (a->leaving_n == 0)
        return -1;
    uint64_t until = a->leaving[0].until_ms; /* the oldest */
    return until > now ? (int)(until - now) : 0;
}

static void mark_removed(struct acceptor *a, uint32_t tag)
{
    uv_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->listeners_n; i++)
        if (a->listeners[i].tag == tag)
            a->listeners[i].removed = true;
    uv_mutex_unlock(&a->lock);
}

/* With the lock held. */
static void close_removed(struct acceptor *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->listeners_n; i++) {
        if (a->listeners[i].removed)
            sock_close(&a->listeners[i].sock);
        else
            a->listeners[kept++] = a->listeners[i];
    }
    a->listeners_n = kept;
}

/* One turn: what to wait for is copied under the lock, so that others may change it meanwhile;
 * a listener is closed by this thread alone, thus never under a running accept. */
static bool turn(struct acceptor *a)
{
    struct listener listeners[LISTENERS_MAX];
    struct sock_poll polls[LEAVING_MAX + LISTENERS_MAX + 1];
    size_t n = 0, leaving = a->leaving_n;
    uv_mutex_lock(&a->lock);
    close_removed(a);
    size_t listening = a->paused || a->starved ? 0 : a->listeners_n;
    memcpy(listeners, a->listeners, sizeof listeners);
    bool stopping = a->stopping;
    a->turns++;
    uv_cond_broadcast(&a->turned);
    uv_mutex_unlock(&a->lock);
    if (stopping)
        return false;

    for (size_t i = 0; i < leaving; i++)
        polls[n++] = (struct sock_poll){.sock = a->leaving[i].sock};
    for (size_t i = 0; i < listening; i++)
        polls[n++] = (struct sock_poll){.sock = listeners[i].sock};
    polls[n++] = (struct sock_poll){.sock = a->waker.waiting};
    (void)sock_poll(polls, n, sleep_ms(a));
    if (polls[n - 1].ready)
        sock_waker_drain(&a->waker);
    if (a->starved)
        set_starved(a, false); /* try again; the kernel will say */
    see_off(a, polls);
    for (size_t i = 0; i < listening; i++)
        if (polls[leaving + i].ready && !accept_some(a, &listeners[i]))
            mark_removed(a, listeners[i].tag);
    return true;
}

static void thread_main(void *arg)
{
    struct acceptor *a = arg;
    process_name_thread("acceptor");
    while (turn(a))
        ;
    for (size_t i = 0; i < a->leaving_n; i++)
        sock_close(&a->leaving[i].sock);
    a->leaving_n = 0;
}

/* Returns when the thread has taken note of what was changed before. */
static void wait_for_turn(struct acceptor *a)
{
    uv_mutex_lock(&a->lock);
    uint64_t before = a->turns;
    sock_waker_wake(&a->waker);
    while (a->turns == before && a->running)
        uv_cond_wait(&a->turned, &a->lock);
    uv_mutex_unlock(&a->lock);
}

struct acceptor *acceptor_open(const struct acceptor_options *options, struct err *e)
{
    struct acceptor *a = calloc(1, sizeof *a);
    if (a == NULL) {
        (void)err_set(e, ERR_TEMP, "acceptor: no memory");
        return NULL;
    }
    if (!sock_waker_open(&a->waker, e)) {
        free(a);
        return NULL;
    }
    a->options = *options;
    a->limits = options->limits;
    (void)snprintf(a->refusal_total, sizeof a->refusal_total, "%s", options->refusal_total);
    (void)snprintf(a->refusal_client, sizeof a->refusal_client, "%s", options->refusal_client);
    random_bytes(&a->seed, sizeof a->seed);
    a->reserve = sock_reserve();
    int code = uv_mutex_init(&a->lock);
    if (code == 0 && (code = uv_cond_init(&a->turned)) != 0)
        uv_mutex_destroy(&a->lock);
    if (code == 0) {
        a->running = true;
        if ((code = uv_thread_create(&a->thread, thread_main, a)) == 0)
            return a;
        uv_cond_destroy(&a->turned);
        uv_mutex_destroy(&a->lock);
    }
    (void)err_set(e, ERR_TEMP, "acceptor: cannot start: %s", uv_strerror(code));
    sock_waker_close(&a->waker);
    sock_close(&a->reserve);
    free(a);
    return NULL;
}

bool acceptor_listen(struct acceptor *a, intptr_t *listener, uint32_t tag, bool implicit_tls,
                     struct err *e)
{
    uv_mutex_lock(&a->lock);
    bool ok = a->running && a->listeners_n < LISTENERS_MAX;
    if (ok)
        a->listeners[a->listeners_n++] =
            (struct listener){.sock = *listener, .tag = tag, .implicit_tls = implicit_tls};
    uv_mutex_unlock(&a->lock);
    if (!ok) {
        sock_close(listener);
        return err_set(e, ERR_PERM, "acceptor: more than %d listeners, or stopped", LISTENERS_MAX);
    }
    *listener = SOCK_NONE;
    sock_waker_wake(&a->waker);
    return true;
}

void acceptor_unlisten(struct acceptor *a, uint32_t tag)
{
    mark_removed(a, tag);
    wait_for_turn(a);
}

static void set_paused(struct acceptor *a, bool paused)
{
    uv_mutex_lock(&a->lock);
    a->paused = paused;
    uv_mutex_unlock(&a->lock);
    wait_for_turn(a);
}

void acceptor_pause(struct acceptor *a)
{
    set_paused(a, true);
}

void acceptor_resume(struct acceptor *a)
{
    set_paused(a, false);
}

void acceptor_set_limits(struct acceptor *a, const struct acceptor_limits *limits)
{
    uv_mutex_lock(&a->lock);
    a->limits = *limits;
    uv_mutex_unlock(&a->lock);
}

void acceptor_set_refusals(struct acceptor *a, const char *total, const char *client)
{
    uv_mutex_lock(&a->lock);
    (void)snprintf(a->refusal_total, sizeof a->refusal_total, "%s", total);
    (void)snprintf(a->refusal_client, sizeof a->refusal_client, "%s", client);
    uv_mutex_unlock(&a->lock);
}

void acceptor_stop(struct acceptor *a)
{
    if (!a->running)
        return;
    uv_mutex_lock(&a->lock);
    a->stopping = true;
    uv_mutex_unlock(&a->lock);
    sock_waker_wake(&a->waker);
    (void)uv_thread_join(&a->thread);
    uv_mutex_lock(&a->lock);
    a->running = false;
    for (size_t i = 0; i < a->listeners_n; i++)
        a->listeners[i].removed = true;
    close_removed(a);
    uv_mutex_unlock(&a->lock);
}

void acceptor_free(struct acceptor **a)
{
    if (*a == NULL)
        return;
    acceptor_stop(*a);
    for (size_t i = 0; i < CLIENT_BUCKETS; i++) {
        struct client *next;
        for (struct client *c = (*a)->clients[i]; c != NULL; c = next) {
            next = c->next;
            free(c);
        }
    }
    sock_waker_close(&(*a)->waker);
    sock_close(&(*a)->reserve);
    uv_cond_destroy(&(*a)->turned);
    uv_mutex_destroy(&(*a)->lock);
    free(*a);
    *a = NULL;
}
