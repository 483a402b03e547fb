/* One next hop: what waits for it, and its connections. */
#include "base/log.h"
#include "session/courier_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GIVE_BACK_MS = 30 * 1000,
    GROWTH_MS = 500,
    AGAIN_MS = 250,             /* between attempts to reach a next hop that could not be reached */
    LOGIN_PAUSE_MS = 60 * 1000, /* after a refused log-in; doubles with each further one ... */
    LOGIN_PAUSE_MAX_MS = 16 * 60 * 1000, /* ... up to this: some 90 a day */
};

static struct destination *find(struct courier *c, const char *key)
{
    for (struct list_node *n = list_first(&c->destinations); n != NULL;
         n = list_next(&c->destinations, n)) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        if (strcmp(d->step.key, key) == 0)
            return d;
    }
    return NULL;
}

static struct destination *make(struct courier *c, const struct route_step *step,
                                const char *domain)
{
    struct destination *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->courier = c;
    d->step = *step;
    memcpy(d->domain, domain, strlen(domain) + 1);
    list_init(&d->waiting);
    list_init(&d->outbound);
    list_push_front(&c->destinations, &d->node);
    c->destination_count++;
    return d;
}

void destination_add(struct courier *c, struct delivery *delivery)
{
    const struct route_step *step = &delivery->route->steps[delivery->step];
    struct destination *d = find(c, step->key);
    if (d == NULL)
        d = make(c, step, delivery->route->domain);
    if (d == NULL) {
        delivery_fail(delivery, QUEUE_DEFERRED, 0, "4.3.0", "no memory");
        return;
    }
    list_push_back(&d->waiting, &delivery->node);
    d->waiting_count++;
    destination_pump(d);
}

struct delivery *destination_take(struct destination *d)
{
    struct list_node *n = list_pop_front(&d->waiting);
    if (n == NULL)
        return NULL;
    d->waiting_count--;
    d->unreached = false; /* whoever takes one is connected and ready */
    return LIST_ENTRY(n, struct delivery, node);
}

void destination_put_back(struct destination *d, struct delivery *delivery)
{
    list_push_front(&d->waiting, &delivery->node);
    d->waiting_count++;
}

/* A next hop that is down is asked now and then, not once for each message that arrives: all that
 * has come until then shares the answer. Nothing is put off without an attempt of its own time. */
static bool is_paused(const struct destination *d)
{
    return d->unreached && d->courier->again != NULL &&
           (d->outbound_count > 0 || worker_now_ms(d->courier->desk->worker) < d->again_ms);
}

static bool may_open(const struct destination *d)
{
    const struct courier *c = d->courier;
    bool unproved = d->step.credentials != ROUTE_NO_CREDENTIALS && !d->login_proved;
    if (is_paused(d) || (unproved && d->outbound_count > 0))
        return false;
    const struct config_delivery *limits = &c->desk->policy->config->delivery;
    return d->outbound_count < limits->connections_per_destination &&
           c->connection_count < limits->connections &&
           (d->outbound_count == 0 || worker_now_ms(c->desk->worker) >= d->pause_until_ms);
}

static bool login_is_paused(const struct destination *d)
{
    return d->login_again_ms != 0 && worker_now_ms(d->courier->desk->worker) < d->login_again_ms;
}

static void fail_waiting(struct destination *d, enum queue_outcome_kind kind, int code,
                         const char *status, const char *text)
{
    struct list waiting;
    list_init(&waiting);
    struct list_node *n;
    while ((n = list_pop_front(&d->waiting)) != NULL)
        list_push_back(&waiting, n);
    d->waiting_count = 0;
    while ((n = list_pop_front(&waiting)) != NULL)
        delivery_fail(LIST_ENTRY(n, struct delivery, node), kind, code, status, text);
}

/* Idle connections first; then new ones. A connection is good for more than one message: there are
 * more of them only when more waits than they can take soon, or when it has waited (growth). */
void destination_pump(struct destination *d)
{
    struct courier *c = d->courier;
    if (login_is_paused(d) && d->outbound_count == 0) { /* the answer is known */
        fail_waiting(d, QUEUE_DEFERRED, d->login_code, "4.7.8", d->login_text);
        return;
    }
    struct list_node *n = list_first(&d->outbound);
    while (n != NULL && d->idle_count > 0 && d->waiting_count > 0) {
        struct list_node *next = list_next(&d->outbound, n);
        if (outbound_is_idle(outbound_of(n)))
            outbound_next(outbound_of(n));
        n = next;
    }
    while (d->waiting_count > d->opening_count + d->outbound_count && may_open(d))
        if (!outbound_open(d))
            break;
    if (d->waiting_count > 0 && !c->growing && c->growth != NULL) {
        c->growing = true;
        worker_timer_at(c->growth, worker_now_ms(c->desk->worker) + GROWTH_MS);
    }
}

void destinations_grow(void *arg)
{
    struct courier *c = arg;
    c->growing = false;
    for (struct list_node *n = list_first(&c->destinations); n != NULL;
         n = list_next(&c->destinations, n)) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        if (d->waiting_count > d->opening_count && may_open(d))
            (void)outbound_open(d);
        if (d->waiting_count > 0 && !c->growing) {
            c->growing = true;
            worker_timer_at(c->growth, worker_now_ms(c->desk->worker) + GROWTH_MS);
        }
    }
}

static void pause_until(struct courier *c, uint64_t at_ms)
{
    if (c->again == NULL || (c->pausing && c->pausing_until_ms <= at_ms))
        return;
    c->pausing = true;
    c->pausing_until_ms = at_ms;
    worker_timer_at(c->again, at_ms);
}

void destinations_again(void *arg)
{
    struct courier *c = arg;
    uint64_t now = worker_now_ms(c->desk->worker), next_ms = UINT64_MAX;
    c->pausing = false;
    struct list_node *n = list_first(&c->destinations);
    while (n != NULL) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        n = list_next(&c->destinations, n);
        uint64_t at = d->login_again_ms > now ? d->login_again_ms : d->again_ms;
        if (!d->unreached && d->login_again_ms == 0)
            continue;
        if (at > now) {
            next_ms = at < next_ms ? at : next_ms;
            continue;
        }
        destination_pump(d);
        destination_release(d);
    }
    if (next_ms != UINT64_MAX)
        pause_until(c, next_ms);
}

void destination_unreachable(struct destination *d, enum queue_outcome_kind kind, int code,
                             const char *status, const char *text)
{
    if (d->outbound_count > d->opening_count) /* others are through: they will serve it */
        return;
    d->unreached = true;
    d->again_ms = worker_now_ms(d->courier->desk->worker) + AGAIN_MS;
    pause_until(d->courier, d->again_ms);
    fail_waiting(d, kind, code, status, text);
}

void destination_login_ok(struct destination *d)
{
    d->login_proved = true;
    d->login_pause_ms = 0;
    d->login_again_ms = 0;
    destination_pump(d); /* what waited for this may have connections of its own */
}

void destination_login_refused(struct destination *d, int code, const char *text)
{
    uint32_t pause_ms = d->login_pause_ms == 0 ? LOGIN_PAUSE_MS : d->login_pause_ms * 2;
    d->login_proved = false;
    d->login_pause_ms = pause_ms > LOGIN_PAUSE_MAX_MS ? LOGIN_PAUSE_MAX_MS : pause_ms;
    d->login_again_ms = worker_now_ms(d->courier->desk->worker) + d->login_pause_ms;
    d->login_code = code;
    (void)snprintf(d->login_text, sizeof d->login_text, "%s", text);
    pause_until(d->courier, d->login_again_ms);
}

/* How long the next pause is, is kept: only a log-in that succeeds takes it back. */
void destinations_try_now(struct courier *c)
{
    struct list_node *n = list_first(&c->destinations);
    while (n != NULL) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        n = list_next(&c->destinations, n);
        d->login_again_ms = 0;
        destination_release(d);
    }
}

void destination_release(struct destination *d)
{
    struct courier *c = d->courier;
    if (d->waiting_count > 0 || d->outbound_count > 0 || is_paused(d) || login_is_paused(d))
        return; /* its timer comes back to it */
    list_remove(&d->node);
    c->destination_count--;
    free(d);
}

void destinations_forget(struct courier *c)
{
    struct list_node *n = list_first(&c->destinations);
    while (n != NULL) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        n = list_next(&c->destinations, n);
        d->unreached = false;
        d->login_again_ms = 0;
        destination_release(d);
    }
}

void destinations_quit_idle(struct courier *c)
{
    for (struct list_node *n = list_first(&c->destinations); n != NULL;
         n = list_next(&c->destinations, n)) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        for (struct list_node *o = list_first(&d->outbound); o != NULL;
             o = list_next(&d->outbound, o))
            if (outbound_is_idle(outbound_of(o)))
                outbound_quit(outbound_of(o));
    }
}

void destinations_abort(struct courier *c)
{
    struct list_node *n;
    while ((n = list_pop_front(&c->destinations)) != NULL) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        struct delivery *delivery;
        c->destination_count--;
        while ((delivery = destination_take(d)) != NULL)
            delivery_free(delivery);
        d->outbound_count++; /* we hold it; its last connection frees it after us */
        struct list_node *o = list_first(&d->outbound);
        while (o != NULL) {
            struct list_node *next = list_next(&d->outbound, o);
            outbound_abort(outbound_of(o));
            o = next;
        }
        if (--d->outbound_count == 0)
            free(d);
    }
}

void destinations_make_room(struct courier *c)
{
    struct destination *fullest = NULL;
    for (struct list_node *n = list_first(&c->destinations); n != NULL;
         n = list_next(&c->destinations, n)) {
        struct destination *d = LIST_ENTRY(n, struct destination, node);
        if (fullest == NULL || d->waiting_count > fullest->waiting_count)
            fullest = d;
    }
    if (fullest == NULL)
        return;
    size_t surplus = fullest->waiting_count / 2;
    log_event(LOG_INFO, "courier.makes-room", LOG_S("destination", fullest->step.key),
              LOG_U("deliveries", surplus));
    for (; surplus > 0; surplus--) {
        struct delivery *d = LIST_ENTRY(fullest->waiting.head.prev, struct delivery, node);
        list_remove(&d->node);
        fullest->waiting_count--;
        delivery_give_back(d, session_queue_now(c->desk->env) + GIVE_BACK_MS);
    }
}
