/* What a delivery ended in, made durable: outcomes and the notices that follow from them go to the
 * queue in one transaction, again and again until the store takes them. */
#include "session/courier_parts.h"

#include "base/log.h"
#include "message/dsn.h"
#include "platform/clock.h"
#include "platform/random.h"
#include "queue/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 2000 };

struct record {
    struct lane_job job;
    struct delivery *delivery;
    struct queue_outcome *outcomes;
    struct notice_set *notices;
    struct buf header; /* of a message that is too large to be in hand */
    struct worker_timer *timer;
    bool ok;
    struct err e;
};

static const struct queue_recipient *recipient_of(const struct delivery *d, size_t i)
{
    return &d->parcel->message->recipients[d->recipients[i]];
}

/* ---- recording ---- */

static void record_run(struct lane_job *job, void *context)
{
    struct record *r = LIST_ENTRY(job, struct record, job);
    const struct parcel *p = r->delivery->parcel;
    size_t n = 0;
    const struct queue_submission *notices = notices_submissions(r->notices, &n);
    r->e = (struct err){0};
    r->ok =
        queue_finish(context, p->message->id, p->courier->owner, r->outcomes, r->delivery->count,
                     notices, n, session_queue_now(p->courier->desk->env), NULL, NULL, &r->e);
}

static void record_done(struct lane_job *job);

static void record_submit(void *arg)
{
    struct record *r = arg;
    struct courier *c = r->delivery->parcel->courier;
    worker_timer_free(&r->timer);
    r->job = (struct lane_job){.run = record_run, .done = record_done, .home = c->desk->worker};
    if (lane_submit_always(c->desk->env->store_lane, &r->job) != LANE_OK)
        record_done(&r->job); /* closed: we are ending */
}

static void record_free(struct record *r)
{
    worker_timer_free(&r->timer);
    notices_free(&r->notices);
    buf_deinit(&r->header);
    free(r->outcomes);
    delivery_free(r->delivery);
    free(r);
}

static void record_done(struct lane_job *job)
{
    struct record *r = LIST_ENTRY(job, struct record, job);
    struct parcel *p = r->delivery->parcel;
    struct courier *c = p->courier;
    const struct err *why = job->failed ? &job->err : &r->e;
    bool temporary = job->failed || (!r->ok && why->class == ERR_TEMP);
    if (temporary && job->run != NULL && c->timer != NULL) {
        log_event(LOG_ERROR, "queue.finish.failed", LOG_S("id", p->id), LOG_S("why", why->text));
        r->timer = worker_timer_new(c->desk->worker, record_submit, r);
        if (r->timer != NULL) {
            worker_timer_at(r->timer, worker_now_ms(c->desk->worker) + RETRY_MS);
            return;
        }
    }
    if (!r->ok) /* removed by command meanwhile, most likely */
        log_event(why->class == ERR_BUG ? LOG_ERROR : LOG_INFO, "queue.finish.refused",
                  LOG_S("id", p->id), LOG_S("why", why->text));
    bool later = r->notices != NULL; /* there is something new that will be due */
    for (size_t i = 0; i < r->delivery->count; i++)
        later = later || r->outcomes[i].kind == QUEUE_DEFERRED;
    record_free(r);
    courier_parcel_done(p);
    if (later)
        courier_wake(c);
}

/* ---- outcomes ---- */

static struct schedule_options schedule_of(const struct config_delivery *config)
{
    struct schedule_options s = {.delay_notice_ms = (int64_t)config->delay_notice_ms,
                                 .expire_ms = (int64_t)config->expire_ms};
    for (size_t i = 0; i < config->retry_ms.count && i < SCHEDULE_RETRY_MAX; i++)
        s.retry_ms[s.retry_count++] = (int64_t)config->retry_ms.items[i];
    return s;
}

static struct queue_outcome outcome_of(const struct delivery *d, size_t i, int64_t now)
{
    const struct config_delivery *config = &d->parcel->courier->desk->policy->config->delivery;
    const struct queue_recipient *rcpt = recipient_of(d, i);
    const struct verdict *v = &d->verdicts[i];
    struct queue_outcome out = {.recipient = rcpt->index,
                                .kind = v->kind,
                                .attempted = v->attempted,
                                .next_ms = now,
                                .reply = span_str(v->text)};
    if (v->kind != QUEUE_DEFERRED || !v->attempted)
        return out;
    struct schedule_options schedule = schedule_of(config);
    uint16_t jitter = (uint16_t)random_below(65536);
    struct schedule_verdict next =
        schedule_next(&schedule, rcpt->attempts + 1, d->parcel->message->accepted_ms, now,
                      rcpt->delay_noticed, jitter);
    if (next.expired && v->maybe_delivered) {
        /* The peer may have it: a report of failure could be a lie. Ask until we know. */
        out.next_ms = now + schedule.retry_ms[schedule.retry_count - 1];
        return out;
    }
    out.kind = next.expired ? QUEUE_EXPIRED : QUEUE_DEFERRED;
    out.next_ms = next.next_ms;
    out.delay_noticed = next.delay_notice && !next.expired;
    return out;
}

static void log_outcome(const struct delivery *d, size_t i, const struct queue_outcome *o,
                        int64_t now)
{
    static const char *const names[] = {[QUEUE_DELIVERED] = "delivery.delivered",
                                        [QUEUE_FAILED] = "delivery.failed",
                                        [QUEUE_EXPIRED] = "delivery.expired",
                                        [QUEUE_DEFERRED] = "delivery.deferred"};
    static const enum log_level levels[] = {[QUEUE_DELIVERED] = LOG_INFO,
                                            [QUEUE_FAILED] = LOG_WARN,
                                            [QUEUE_EXPIRED] = LOG_WARN,
                                            [QUEUE_DEFERRED] = LOG_INFO};
    const struct verdict *v = &d->verdicts[i];
    struct session_counters *n = &d->parcel->courier->desk->env->counters;
    atomic_fetch_add(o->kind == QUEUE_DELIVERED  ? &n->delivered
                     : o->kind == QUEUE_DEFERRED ? &n->deferred
                                                 : &n->failed,
                     1);
    log_event(levels[o->kind], names[o->kind], LOG_S("id", d->parcel->id), LOG_S("aid", d->attempt),
              LOG_SPAN("rcpt", recipient_of(d, i)->address), LOG_S("host", d->remote),
              LOG_I("code", v->code), LOG_S("status", v->status), LOG_S("text", v->text),
              LOG_I("next_s", o->kind == QUEUE_DEFERRED ? (o->next_ms - now) / 1000 : 0));
}

static void record_notices(void *arg)
{
    struct record *r = arg;
    struct delivery *d = r->delivery;
    struct courier *c = d->parcel->courier;
    worker_timer_free(&r->timer);
    struct span body =
        d->parcel->message->has_body ? d->parcel->message->body : buf_span(&r->header);
    r->notices = notices_new(d, r->outcomes, body);
    if (r->notices == NULL) { /* no memory: no outcome without its notice */
        r->timer = worker_timer_new(c->desk->worker, record_notices, r);
        if (r->timer != NULL)
            worker_timer_at(r->timer, worker_now_ms(c->desk->worker) + RETRY_MS);
        return;
    }
    record_submit(r);
}

static void header_run(struct lane_job *job, void *context)
{
    struct record *r = LIST_ENTRY(job, struct record, job);
    struct courier *c = context;
    r->ok = c->reader != NULL || queue_reader_open(c->desk->env->queue, &c->reader, &r->e);
    r->ok = r->ok &&
            queue_reader_chunk(c->reader, r->delivery->parcel->message->id, 0, &r->header, &r->e);
}

static void header_done(struct lane_job *job)
{
    struct record *r = LIST_ENTRY(job, struct record, job);
    if (!r->ok)
        log_event(LOG_WARN, "notice.without-header", LOG_S("id", r->delivery->parcel->id),
                  LOG_S("why", r->e.text));
    record_notices(r);
}

static bool has_failed(const struct delivery *d, const struct queue_outcome *outcomes)
{
    for (size_t i = 0; i < d->count; i++)
        if (outcomes[i].kind == QUEUE_FAILED || outcomes[i].kind == QUEUE_EXPIRED)
            return true;
    return false;
}

static void record_start(struct delivery *d)
{
    struct record *r = calloc(1, sizeof *r);
    struct queue_outcome *outcomes = calloc(d->count, sizeof *outcomes);
    struct courier *c = d->parcel->courier;
    if (r == NULL || outcomes == NULL) { /* stays claimed until the next start */
        log_event(LOG_ERROR, "courier.no-memory", LOG_S("id", d->parcel->id));
        free(r);
        free(outcomes);
        return;
    }
    r->delivery = d;
    r->outcomes = outcomes;
    buf_init(&r->header, QUEUE_CHUNK_MAX);
    int64_t now = session_queue_now(c->desk->env);
    for (size_t i = 0; i < d->count; i++) {
        outcomes[i] = outcome_of(d, i, now);
        log_outcome(d, i, &outcomes[i], now);
    }
    if (!notices_are_due(d, outcomes)) {
        record_submit(r);
        return;
    }
    r->job = (struct lane_job){.run = header_run, .done = header_done, .home = c->desk->worker};
    if (d->parcel->message->has_body || lane_submit(c->reading_lane, &r->job) != LANE_OK)
        record_notices(r);
}

/* Recipients put off for now go on by the route's next step; the others are recorded. */
static void split_deferred(struct delivery *d)
{
    if (d->step + 1 >= d->route->n)
        return;
    struct delivery *rest = calloc(1, sizeof *rest);
    if (rest == NULL)
        return;
    rest->parcel = d->parcel;
    rest->route = malloc(sizeof *rest->route);
    rest->recipients = calloc(d->count, sizeof *rest->recipients);
    rest->verdicts = calloc(d->count, sizeof *rest->verdicts);
    if (rest->route == NULL || rest->recipients == NULL || rest->verdicts == NULL) {
        delivery_free(rest);
        return;
    }
    *rest->route = *d->route;
    rest->step = d->step + 1;
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct verdict *v = &d->verdicts[i];
        if (v->kind == QUEUE_DEFERRED && v->attempted && !v->maybe_delivered) {
            rest->recipients[rest->count++] = d->recipients[i];
            continue;
        }
        d->recipients[kept] = d->recipients[i];
        d->verdicts[kept++] = d->verdicts[i];
    }
    d->count = kept;
    if (rest->count == 0) {
        delivery_free(rest);
        return;
    }
    rest->parcel->deliveries++;
    courier_send_on(rest);
}

void delivery_settle(struct delivery *d)
{
    struct parcel *p = d->parcel;
    split_deferred(d);
    if (d->count == 0) {
        delivery_free(d);
        courier_parcel_done(p);
        return;
    }
    /* A non-delivery that nobody is to be told of is kept where an administrator finds it. */
    bool returnable = p->message->envelope.sender.n > 0;
    struct queue_outcome *outcomes = returnable ? NULL : calloc(d->count, sizeof *outcomes);
    if (outcomes != NULL) {
        int64_t now = session_queue_now(p->courier->desk->env);
        for (size_t i = 0; i < d->count; i++)
            outcomes[i] = outcome_of(d, i, now);
        if (has_failed(d, outcomes)) {
            free(outcomes);
            badmail_delivery(d, d->verdicts[0].text, record_start);
            return;
        }
        free(outcomes);
    }
    record_start(d);
}

void delivery_fail(struct delivery *d, enum queue_outcome_kind kind, int code, const char *status,
                   const char *text)
{
    for (size_t i = 0; i < d->count; i++) {
        struct verdict *v = &d->verdicts[i];
        *v = (struct verdict){.kind = kind, .attempted = true, .code = code};
        (void)snprintf(v->status, sizeof v->status, "%s", status);
        (void)snprintf(v->text, sizeof v->text, "%s", text);
    }
    delivery_settle(d);
}

void delivery_give_back(struct delivery *d, int64_t next_ms)
{
    struct record *r = calloc(1, sizeof *r);
    struct queue_outcome *outcomes = calloc(d->count, sizeof *outcomes);
    if (r == NULL || outcomes == NULL) {
        free(r);
        free(outcomes);
        return;
    }
    for (size_t i = 0; i < d->count; i++)
        outcomes[i] = (struct queue_outcome){
            .recipient = recipient_of(d, i)->index, .kind = QUEUE_DEFERRED, .next_ms = next_ms};
    r->delivery = d;
    r->outcomes = outcomes;
    record_submit(r);
}
