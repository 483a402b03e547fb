/* The end, in order: no new clients; sessions and deliveries finish what they have begun, for at
 * most service.stop_timeout; then what is left is cut off, lanes end, workers end, the store closes
 * last. What was accepted is in the queue all the time. */
#include "run_parts.h"

#include "base/log.h"
#include "platform/local_account.h"
#include "platform/service_host.h"

#include <uv.h>

enum {
    STOP_POLL_MS = 50,
    STOP_GRACE_MS = 15000, /* to close what is left when service.stop_timeout is over */
};

static void drain_desk(struct worker_item *item, struct worker *w)
{
    (void)item;
    inbound_drain(worker_user(w));
}

static void courier_is_drained(void *arg)
{
    struct run *r = arg;
    atomic_store(&r->courier_drained, true); /* on the courier's thread: no more than a flag */
}

static void drain_courier(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct run *r = LIST_ENTRY(item, struct run, courier_drained_item);
    courier_drain(r->env.courier, courier_is_drained, r);
}

static void stop_poll(void *arg)
{
    struct run *r = arg;
    uint64_t now = worker_now_ms(r->main);
    size_t sessions = acceptor_connections(r->env.acceptor);
    if (now >= r->stop_deadline_ms ||
        (sessions == 0 && atomic_load(&r->courier_drained) && !pickup_is_busy(r->pickup))) {
        if (now >= r->stop_deadline_ms)
            log_event(LOG_WARN, "service.stop.late", LOG_U("sessions", sessions),
                      LOG_B("deliveries", !atomic_load(&r->courier_drained)));
        worker_stop(r->main);
        return;
    }
    worker_timer_at(r->stop_timer, now + STOP_POLL_MS);
}

void run_stop_requested(struct worker_item *item, struct worker *w)
{
    struct run *r = LIST_ENTRY(item, struct run, stop_item);
    atomic_store(&r->stop_posted, false);
    if (r->stopping) { /* asked again: now */
        r->stop_deadline_ms = 0;
        return;
    }
    r->stopping = true;
    log_event(LOG_INFO, "service.stopping",
              LOG_U("sessions", acceptor_connections(r->env.acceptor)));
    service_host_stopping("finishing what has begun");
    service_host_extend(r->policy->config->service.stop_timeout_ms + STOP_GRACE_MS);
    r->stop_deadline_ms = worker_now_ms(w) + r->policy->config->service.stop_timeout_ms;
    acceptor_stop(r->env.acceptor);
    pickup_stop(r->pickup);
    for (size_t i = 0; i < r->desk_count; i++) {
        r->desks[i].drain.run = drain_desk;
        worker_post(r->desks[i].desk.worker, &r->desks[i].drain);
    }
    r->courier_drained_item.run = drain_courier;
    worker_post(r->courier.desk.worker, &r->courier_drained_item);
    r->stop_timer = worker_timer_new(r->main, stop_poll, r);
    if (r->stop_timer == NULL)
        worker_stop(r->main);
    else
        worker_timer_at(r->stop_timer, worker_now_ms(w) + 1);
}

/* ---- after main's loop ---- */

struct call {
    struct worker_item item;
    void (*what)(struct run_desk *d, struct run *r);
    struct run_desk *desk;
    struct run *run;
    uv_sem_t done;
};

static void call_run(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct call *c = LIST_ENTRY(item, struct call, item);
    c->what(c->desk, c->run);
    uv_sem_post(&c->done);
}

/* Runs it on the desk's thread and waits. */
static void call_on(struct run *r, struct run_desk *d,
                    void (*what)(struct run_desk *d, struct run *r))
{
    struct call c = {.item.run = call_run, .what = what, .desk = d, .run = r};
    if (!d->started) { /* the start has failed: there is no other thread */
        if (d->desk.worker != NULL)
            what(d, r);
        return;
    }
    if (uv_sem_init(&c.done, 0) != 0)
        return;
    worker_post(d->desk.worker, &c.item);
    uv_sem_wait(&c.done);
    uv_sem_destroy(&c.done);
}

static void cut_sessions(struct run_desk *d, struct run *r)
{
    (void)r;
    inbound_abort_all(&d->desk);
}

static void cut_deliveries(struct run_desk *d, struct run *r)
{
    (void)d;
    if (r->env.courier != NULL)
        courier_abort(r->env.courier);
}

static void close_desk(struct run_desk *d, struct run *r)
{
    (void)r;
    resolver_close(&d->desk.resolver);
}

static void desk_free(struct run_desk *d)
{
    worker_free(&d->desk.worker);
    slots_deinit(&d->desk.sessions);
    policy_unref(&d->desk.policy);
    tls_unref(&d->desk.tls);
}

void run_tear_down(struct run *r)
{
    control_close(&r->control);
    run_lists_stop(r);
    run_certificates_stop(r);
    worker_timer_free(&r->watchdog);
    worker_timer_free(&r->stop_timer);
    worker_timer_free(&r->log.timer);
    if (r->env.acceptor != NULL)
        acceptor_stop(r->env.acceptor);
    for (size_t i = 0; i < r->desk_count; i++)
        call_on(r, &r->desks[i], cut_sessions);
    call_on(r, &r->courier, cut_deliveries);
    for (size_t i = 0; i < r->env.auth_lane_count; i++)
        lane_close(&r->env.auth_lanes[i]);
    lane_close(&r->env.file_lane);
    lane_close(&r->env.store_lane);
    for (size_t i = 0; i < r->desk_count; i++)
        call_on(r, &r->desks[i], close_desk);
    call_on(r, &r->courier, close_desk);
    resolver_close(&r->home.desk.resolver);
    for (size_t i = 0; i < r->desk_count; i++)
        if (r->desks[i].started)
            worker_stop(r->desks[i].desk.worker);
    if (r->courier.started)
        worker_stop(r->courier.desk.worker);
    for (size_t i = 0; i < r->desk_count; i++)
        if (r->desks[i].desk.worker != NULL)
            worker_join(r->desks[i].desk.worker);
    if (r->courier.desk.worker != NULL)
        worker_join(r->courier.desk.worker);
    if (r->main != NULL)
        worker_join(r->main); /* runs what the lanes still sent */
    run_lists_free(r);
    courier_free(&r->env.courier);
    pickup_free(&r->pickup);
    acceptor_free(&r->env.acceptor);
    for (size_t i = 0; i < r->desk_count; i++)
        desk_free(&r->desks[i]);
    desk_free(&r->courier);
    desk_free(&r->home);
    refusals_close(&r->env.refusals);
    rates_free(&r->env.rates);
    auth_close(&r->env.auth);
    local_account_helper_stop();
    queue_close(&r->env.queue);
    tls_unref(&r->tls);
    policy_unref(&r->policy);
}
