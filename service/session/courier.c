#include "session/courier_parts.h"

#include "base/log.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARCELS_MAX = 512,                   /* messages in hand at a time */
    PARCEL_BYTES_MAX = 32 * 1024 * 1024, /* of bodies that came with their claims */
    CLAIM_MAX = 64,                      /* messages by one claim */
    LEASE_MS = 60 * 60 * 1000,
    RETRY_STORE_MS = 5000,
    STUCK_MS = 5000, /* in hand all the time: give others their turn */
    POLL_MAX_MS = 60 * 60 * 1000,
    PASSWORD_MAX = 4096,
};

struct claim_job {
    struct lane_job job;
    struct courier *courier;
    struct queue_message *messages[CLAIM_MAX];
    size_t max, count;
    int64_t now_ms, due_ms;
    bool ok;
    struct err e;
};

static void tick(void *arg);

static void wake_run(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct courier *c = LIST_ENTRY(item, struct courier, wake_item);
    atomic_store(&c->woken, false);
    if (atomic_exchange(&c->try_now, false))
        destinations_try_now(c);
    tick(c);
}

void courier_wake(struct courier *c)
{
    if (c != NULL && !atomic_exchange(&c->woken, true))
        worker_post(c->desk->worker, &c->wake_item);
}

void courier_try_now(struct courier *c)
{
    if (c != NULL)
        atomic_store(&c->try_now, true);
    courier_wake(c);
}

/* ---- parcels ---- */

void delivery_free(struct delivery *d)
{
    if (d == NULL)
        return;
    free(d->route);
    free(d->recipients);
    free(d->verdicts);
    free(d);
}

void courier_check_drained(struct courier *c)
{
    if (!c->draining || c->drained == NULL || c->parcel_count > 0 || c->connection_count > 0 ||
        c->claiming)
        return;
    void (*done)(void *) = c->drained;
    c->drained = NULL;
    done(c->drained_arg);
}

void courier_parcel_done(struct parcel *p)
{
    struct courier *c = p->courier;
    if (--p->deliveries > 0)
        return;
    list_remove(&p->node);
    c->parcel_count--;
    c->parcel_bytes -= p->message->body.n;
    c->full_since_ms = 0;
    queue_message_free(&p->message);
    free(p);
    if (c->claim_again)
        tick(c);
    courier_check_drained(c);
}

void courier_send_on(struct delivery *d)
{
    session_id_make(d->parcel->courier->desk->env, d->attempt);
    if (d->route->steps[d->step].kind == ROUTE_DROP)
        drop_delivery(d);
    else
        destination_add(d->parcel->courier, d);
}

static struct delivery *delivery_new(struct parcel *p, size_t room)
{
    struct delivery *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->parcel = p;
    d->route = calloc(1, sizeof *d->route);
    d->recipients = calloc(room, sizeof *d->recipients);
    d->verdicts = calloc(room, sizeof *d->verdicts);
    if (d->route == NULL || d->recipients == NULL || d->verdicts == NULL) {
        delivery_free(d);
        return NULL;
    }
    return d;
}

static bool route_recipient(struct courier *c, struct span address, struct route *route,
                            struct err *e)
{
    size_t at = span_rfind(address, '@');
    return route_decide(c->desk->policy->route, span_sub(address, 0, at),
                        span_from(address, at + 1), route, e);
}

/* Sorts the claimed recipients into deliveries. False without memory. */
static bool parcel_sort(struct parcel *p, struct list *deliveries)
{
    struct courier *c = p->courier;
    struct queue_message *m = p->message;
    struct route *route = calloc(1, sizeof *route);
    bool ok = route != NULL;
    for (size_t i = 0; ok && i < m->recipient_count; i++) {
        struct err why = {0};
        struct delivery *d = NULL;
        bool routed = route_recipient(c, m->recipients[i].address, route, &why);
        for (struct list_node *n = list_first(deliveries); n != NULL && routed;
             n = list_next(deliveries, n)) {
            struct delivery *other = LIST_ENTRY(n, struct delivery, node);
            if (other->route->n > 0 && other->route->n == route->n &&
                strcmp(other->route->steps[0].key, route->steps[0].key) == 0)
                d = other;
        }
        if (d == NULL) {
            d = delivery_new(p, m->recipient_count);
            ok = d != NULL;
            if (!ok)
                break;
            if (routed)
                *d->route = *route;
            list_push_back(deliveries, &d->node);
        }
        d->recipients[d->count++] = (uint32_t)i;
        if (!routed) { /* route->n stays 0: each such recipient fails by itself */
            struct verdict *v = &d->verdicts[0];
            *v = (struct verdict){.kind = QUEUE_FAILED, .attempted = true, .status = "5.1.2"};
            (void)snprintf(v->text, sizeof v->text, "%.500s", why.text);
        }
    }
    free(route);
    return ok;
}

static void take_parcel(struct courier *c, struct queue_message *m)
{
    struct parcel *p = calloc(1, sizeof *p);
    struct list deliveries;
    list_init(&deliveries);
    bool ok = p != NULL;
    if (ok) {
        p->courier = c;
        p->message = m;
        session_queue_id_format(m->id, p->id);
        ok = parcel_sort(p, &deliveries);
    }
    struct list_node *n;
    if (!ok) { /* the claim stays with us until the next start; that is all that can be done */
        log_event(LOG_ERROR, "courier.no-memory", LOG_U("id", m->id));
        while ((n = list_pop_front(&deliveries)) != NULL)
            delivery_free(LIST_ENTRY(n, struct delivery, node));
        queue_message_free(&m);
        free(p);
        return;
    }
    list_push_back(&c->parcels, &p->node);
    c->parcel_count++;
    c->parcel_bytes += m->body.n;
    p->deliveries = 1; /* ours, until all are on their way */
    for (n = list_first(&deliveries); n != NULL; n = list_next(&deliveries, n))
        p->deliveries++;
    while ((n = list_pop_front(&deliveries)) != NULL) {
        struct delivery *d = LIST_ENTRY(n, struct delivery, node);
        if (d->route->n == 0)
            delivery_settle(d);
        else
            courier_send_on(d);
    }
    courier_parcel_done(p);
}

/* ---- claims ---- */

static void claim_run(struct lane_job *job, void *context)
{
    struct claim_job *j = LIST_ENTRY(job, struct claim_job, job);
    j->now_ms = session_queue_now(j->courier->desk->env);
    j->ok = queue_claim(context, j->courier->owner, LEASE_MS, j->now_ms, j->max, j->messages,
                        &j->count, &j->e);
    /* What was claimed is ours, whatever becomes of the second question: ask it again soon. */
    if (j->ok && !queue_next_due(context, &j->due_ms, NULL))
        j->due_ms = j->now_ms + RETRY_STORE_MS;
}

static void claim_done(struct lane_job *job)
{
    struct claim_job *j = LIST_ENTRY(job, struct claim_job, job);
    struct courier *c = j->courier;
    uint64_t now = worker_now_ms(c->desk->worker);
    c->claiming = false;
    bool ok = j->ok && !job->failed;
    if (!ok) {
        log_event(LOG_WARN, "courier.claim.failed",
                  LOG_S("why", job->failed ? job->err.text : j->e.text));
        worker_timer_at(c->timer, now + RETRY_STORE_MS);
    }
    for (size_t i = 0; i < j->count; i++)
        if (ok)
            take_parcel(c, j->messages[i]);
        else
            queue_message_free(&j->messages[i]);
    if (ok && (c->claim_again || j->count == j->max)) {
        c->claim_again = true;
        tick(c);
    } else if (ok && j->due_ms != INT64_MAX) {
        int64_t wait = j->due_ms - j->now_ms;
        wait = wait < 0 ? 0 : wait > POLL_MAX_MS ? POLL_MAX_MS : wait;
        worker_timer_at(c->timer, now + (uint64_t)wait + 1);
    }
    free(j);
    courier_check_drained(c);
}

static void claim(struct courier *c, size_t max)
{
    struct claim_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        j->courier = c;
        j->max = max;
        j->job = (struct lane_job){.run = claim_run, .done = claim_done, .home = c->desk->worker};
        c->claiming = true;
        c->claim_again = false;
        if (lane_submit(c->desk->env->store_lane, &j->job) == LANE_OK)
            return;
        c->claiming = false;
        free(j);
    }
    worker_timer_at(c->timer, worker_now_ms(c->desk->worker) + RETRY_STORE_MS);
}

/* Asks the queue for more, when there is room for it. */
static void tick(void *arg)
{
    struct courier *c = arg;
    if (!c->started || c->draining)
        return;
    if (c->claiming) {
        c->claim_again = true;
        return;
    }
    if (c->parcel_count >= PARCELS_MAX || c->parcel_bytes >= PARCEL_BYTES_MAX) {
        uint64_t now = worker_now_ms(c->desk->worker);
        c->claim_again = true;
        if (c->full_since_ms == 0)
            c->full_since_ms = now;
        else if (now >= c->full_since_ms + STUCK_MS) {
            c->full_since_ms = 0;
            destinations_make_room(c);
        }
        worker_timer_at(c->timer, now + STUCK_MS);
        return;
    }
    size_t room = PARCELS_MAX - c->parcel_count;
    claim(c, room < CLAIM_MAX ? room : CLAIM_MAX);
}

/* ---- passwords and trusted roots ---- */

struct trust {
    struct list_node node;
    char *ca_file;
    struct tls_context *tls; /* NULL: the file is not usable */
};

static void credentials_clear(struct courier *c)
{
    for (size_t i = 0; i < c->credential_count; i++)
        secret_wipe(&c->credentials[i].password);
    free(c->credentials);
    c->credentials = NULL;
    c->credential_count = 0;
    struct list_node *n;
    while ((n = list_pop_front(&c->trusts)) != NULL) {
        struct trust *t = LIST_ENTRY(n, struct trust, node);
        tls_unref(&t->tls);
        free(t->ca_file);
        free(t);
    }
}

static void read_password(const struct policy_credentials *from, struct courier_credentials *out)
{
    struct err e = {0};
    struct buf text;
    out->user = from->user;
    buf_init(&text, PASSWORD_MAX);
    enum files_result result = files_read(from->password_file, PASSWORD_MAX - 1, &text, &e);
    struct span line = buf_span(&text);
    line = span_sub(line, 0, span_find(line, '\n'));
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    out->usable = result == FILES_OK && line.n > 0 && secret_set(&out->password, line);
    if (!out->usable)
        log_event(LOG_ERROR, "delivery.password.unreadable", LOG_S("file", from->password_file),
                  LOG_S("why", result == FILES_OK       ? "the file is empty"
                               : result == FILES_ABSENT ? "there is no such file"
                                                        : e.text));
    secret_wipe_bytes(text.p, text.cap);
    buf_deinit(&text);
}

struct tls_context *courier_tls(struct courier *c, const char *domain)
{
    const char *ca_file = policy_ca_file(c->desk->policy, span_str(domain));
    for (struct list_node *n = list_first(&c->trusts); n != NULL; n = list_next(&c->trusts, n)) {
        struct trust *t = LIST_ENTRY(n, struct trust, node);
        if (strcmp(t->ca_file, ca_file) == 0)
            return t->tls;
    }
    struct trust *t = calloc(1, sizeof *t);
    char *copy = malloc(strlen(ca_file) + 1);
    if (t == NULL || copy == NULL) {
        free(t);
        free(copy);
        return NULL;
    }
    struct err e = {0};
    const struct tls_client_options options = {.ca_file = ca_file};
    t->ca_file = strcpy(copy, ca_file);
    t->tls = tls_client_context(&options, &e);
    if (t->tls == NULL)
        log_event(LOG_ERROR, "delivery.tls.unusable", LOG_S("ca_file", ca_file),
                  LOG_S("why", e.text));
    list_push_back(&c->trusts, &t->node);
    return t->tls;
}

void courier_adopt(struct courier *c)
{
    destinations_try_now(c); /* the password may be another one now */
    credentials_clear(c);
    const struct policy *policy = c->desk->policy;
    c->credentials = calloc(policy->credentials_count + 1, sizeof *c->credentials);
    if (c->credentials == NULL)
        return;
    c->credential_count = policy->credentials_count;
    for (size_t i = 0; i < c->credential_count; i++)
        read_password(&policy->credentials[i], &c->credentials[i]);
}

/* ---- life ---- */

static void reading_stop(void *context)
{
    struct courier *c = context;
    queue_reader_close(&c->reader);
}

struct courier *courier_open(struct session_desk *desk, struct err *e)
{
    struct courier *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)err_set(e, ERR_TEMP, "courier: no memory");
        return NULL;
    }
    c->desk = desk;
    c->wake_item.run = wake_run;
    list_init(&c->parcels);
    list_init(&c->destinations);
    list_init(&c->trusts);
    random_bytes(&c->owner, sizeof c->owner);
    const struct lane_options options = {
        .name = "reading", .threads = 1, .bound = 65536, .context = c, .thread_stop = reading_stop};
    c->timer = worker_timer_new(desk->worker, tick, c);
    c->growth = worker_timer_new(desk->worker, destinations_grow, c);
    c->again = worker_timer_new(desk->worker, destinations_again, c);
    c->reading_lane = lane_open(&options, e);
    if (c->timer == NULL || c->growth == NULL || c->again == NULL || c->reading_lane == NULL) {
        (void)err_wrap(e, "courier");
        courier_free(&c);
        return NULL;
    }
    courier_adopt(c);
    return c;
}

void courier_start(struct courier *c)
{
    c->started = true;
    tick(c);
}

void courier_drain(struct courier *c, void (*done)(void *arg), void *arg)
{
    c->draining = true;
    c->drained = done;
    c->drained_arg = arg;
    destinations_quit_idle(c);
    courier_check_drained(c);
}

void courier_abort(struct courier *c)
{
    c->draining = true;
    c->drained = NULL;
    worker_timer_free(&c->timer);
    worker_timer_free(&c->growth);
    worker_timer_free(&c->again);
    destinations_abort(c);
    lane_close(&c->reading_lane);
}

void courier_free(struct courier **pointer)
{
    struct courier *c = *pointer;
    if (c == NULL)
        return;
    *pointer = NULL;
    worker_timer_free(&c->timer);
    worker_timer_free(&c->growth);
    worker_timer_free(&c->again);
    destinations_forget(c);
    lane_close(&c->reading_lane);
    struct list_node *n;
    while ((n = list_pop_front(&c->parcels)) != NULL) {
        struct parcel *p = LIST_ENTRY(n, struct parcel, node);
        queue_message_free(&p->message);
        free(p);
    }
    credentials_clear(c);
    free(c);
}

struct courier_status courier_status(const struct courier *c)
{
    return (struct courier_status){.parcels = c->parcel_count,
                                   .connections = c->connection_count,
                                   .destinations = c->destination_count};
}
