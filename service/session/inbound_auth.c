/* AUTH: the exchange travels to the authentication lane and back, one owner at a time. Where the
 * session has died meanwhile, the job disposes of it. */
#include "session/inbound_parts.h"

#include "base/log.h"
#include "base/secret.h"
#include "platform/clock.h"

#include <stdlib.h>
#include <string.h>

struct inbound_auth_job {
    struct lane_job job;
    struct session_desk *desk;
    struct slot_id session;
    struct auth_exchange *exchange;
    struct secret input;
    bool has_input, abandoned;
    uint64_t turn_until_ms; /* after that it is not asked any more; 0 = never */
    struct auth_step step;
};

static void job_free(struct inbound_auth_job *j)
{
    auth_exchange_free(&j->exchange);
    secret_wipe(&j->input);
    free(j);
}

static void auth_run(struct lane_job *job, void *context)
{
    (void)context;
    struct inbound_auth_job *j = LIST_ENTRY(job, struct inbound_auth_job, job);
    if (j->turn_until_ms == 0 || clock_monotonic_ms() <= j->turn_until_ms)
        auth_exchange_step(j->exchange, j->has_input, secret_span(&j->input), &j->step);
    else
        j->step = (struct auth_step){
            .outcome = AUTH_UNAVAILABLE,
            .identity = "",
            .name = "",
            .reason = "waited too long for its turn: what knows these accounts is slow"};
    secret_wipe(&j->input);
}

static void accepted(struct inbound *s, const struct auth_step *step)
{
    size_t n = strlen(step->identity) + 1;
    char *identity = malloc(n);
    if (identity == NULL) {
        inbound_reply(s, s->auth_token, 454, "4.7.0", "Temporary authentication failure");
        return;
    }
    memcpy(identity, step->identity, n);
    free(s->identity);
    s->identity = identity;
    s->account_counted = false;
    s->authentication_failed = false;
    atomic_fetch_add(&s->desk->env->counters.auth_ok, 1);
    inbound_reply(s, s->auth_token, 235, "2.7.0", "Authentication successful");
}

static void refused(struct inbound *s, const struct auth_step *step)
{
    s->authentication_failed = true; /* a later refusal says so: .NET goes on as if nothing were */
    switch (step->outcome) {
    case AUTH_CONTINUE:
    case AUTH_OK: break;
    case AUTH_BAD_CREDENTIALS:
    case AUTH_NO_BACKEND:
        inbound_reply(s, s->auth_token, 535, "5.7.3", "Authentication unsuccessful");
        break;
    case AUTH_UNAVAILABLE:
        inbound_reply(s, s->auth_token, 454, "4.7.0", "Temporary authentication failure");
        break;
    case AUTH_SYNTAX:
        inbound_reply(s, s->auth_token, 501, "5.5.2", "Malformed authentication message");
        break;
    case AUTH_MECHANISM:
        inbound_reply(s, s->auth_token, 504, "5.5.4", "Unrecognized authentication type");
        break;
    case AUTH_THROTTLED:
        inbound_reply(s, s->auth_token, 454, "4.7.0",
                      "Too many failed authentications, try again later");
        break;
    }
}

static void log_step(const struct inbound *s, const struct auth_step *step)
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&s->peer.ip, client);
    if (step->outcome == AUTH_OK)
        log_event(LOG_INFO, "smtp.auth.ok", LOG_S("sid", s->id), LOG_S("client", client),
                  LOG_S("user", step->identity));
    else
        log_event(LOG_WARN, "smtp.auth.refused", LOG_S("sid", s->id), LOG_S("client", client),
                  LOG_S("name", step->name), LOG_S("reason", step->reason),
                  LOG_U("delay_ms", step->delay_ms));
}

/* The outcome reaches the client; the exchange's own texts are read before it is freed. */
static void conclude(struct inbound *s, struct inbound_auth_job *j)
{
    const struct auth_step *step = &j->step;
    if (step->outcome == AUTH_CONTINUE) {
        s->exchange = j->exchange; /* back with us until the next response */
        (void)smtp_server_challenge(&s->engine, s->auth_token, step->challenge, inbound_now(s));
        j->exchange = NULL;
    } else {
        log_step(s, step);
        if (step->outcome == AUTH_OK)
            accepted(s, step);
        else {
            atomic_fetch_add(&s->desk->env->counters.auth_failed, 1);
            refused(s, step);
        }
    }
    s->auth_job = NULL;
    job_free(j);
    inbound_pump(s);
}

static void tarpit_over(void *arg)
{
    struct inbound *s = arg;
    struct inbound_auth_job *j = s->auth_job;
    worker_timer_free(&s->tarpit);
    if (j != NULL)
        conclude(s, j);
}

static void auth_done(struct lane_job *job)
{
    struct inbound_auth_job *j = LIST_ENTRY(job, struct inbound_auth_job, job);
    struct inbound *s = j->abandoned ? NULL : slots_get(&j->desk->sessions, j->session);
    if (s == NULL) {
        job_free(j);
        return;
    }
    if (j->step.reply_at_ms > worker_now_ms(s->desk->worker)) {
        s->tarpit = worker_timer_new(s->desk->worker, tarpit_over, s);
        if (s->tarpit != NULL) {
            worker_timer_at(s->tarpit, j->step.reply_at_ms);
            j->job.run = NULL; /* off the lane: the session may free it now */
            return;
        }
    }
    conclude(s, j);
}

static void submit(struct inbound *s, bool has_input, struct span input)
{
    struct inbound_auth_job *j = calloc(1, sizeof *j);
    if (j == NULL || !secret_set(&j->input, input)) {
        free(j);
        inbound_reply(s, s->auth_token, 454, "4.7.0", "Temporary authentication failure");
        auth_exchange_free(&s->exchange);
        return;
    }
    j->desk = s->desk;
    j->session = s->slot;
    j->exchange = s->exchange;
    j->has_input = has_input;
    s->exchange = NULL;
    s->auth_job = j;
    j->job = (struct lane_job){.run = auth_run,
                               .done = auth_done,
                               .home = s->desk->worker,
                               .share_key = auth_share_key(&s->peer.ip)};
    uint32_t patience_ms;
    unsigned lane = auth_exchange_lane(j->exchange, has_input, input, &patience_ms);
    j->turn_until_ms = patience_ms > 0 ? clock_monotonic_ms() + patience_ms : 0;
    if (lane_submit(session_auth_lane(s->desk->env, lane), &j->job) == LANE_OK)
        return;
    s->auth_job = NULL;
    job_free(j);
    log_event(LOG_WARN, "smtp.auth.busy", LOG_S("sid", s->id));
    inbound_reply(s, s->auth_token, 454, "4.7.0", "Too many authentications, try again later");
}

void inbound_auth_begin(struct inbound *s, const struct smtp_server_event *event)
{
    struct err e = {0};
    struct tls_binding binding = {0};
    struct tls_end_points ends = {0};
    struct auth_peer peer = {
        .client = s->peer.ip,
        .channel = {.tls = conn_is_tls(s->conn),
                    .mechanisms = s->policy->listeners[s->listener].mechanisms}};
    if (peer.channel.tls && conn_tls_binding(s->conn, &binding)) {
        peer.channel.channel_binding = true;
        peer.bindings[0] =
            (struct auth_binding){.type = binding.type, .bytes = span_of(binding.data, binding.n)};
        peer.binding_count = 1;
    }
    conn_tls_end_points(s->conn, &ends);
    for (; peer.end_point_count < ends.count && peer.end_point_count < AUTH_END_POINTS_MAX;
         peer.end_point_count++)
        peer.end_points[peer.end_point_count] =
            span_of(ends.data[peer.end_point_count], ends.n[peer.end_point_count]);
    s->auth_token = event->token;
    auth_exchange_free(&s->exchange);
    bool ok = s->desk->env->auth != NULL &&
              auth_exchange_new(s->desk->env->auth, &peer, span_str(event->auth.mechanism),
                                &s->exchange, &e);
    secret_wipe_bytes(&binding, sizeof binding);
    if (ok)
        submit(s, event->auth.has_initial, event->auth.bytes);
    else
        inbound_reply(s, event->token, 454, "4.7.0", "Temporary authentication failure");
}

void inbound_auth_response(struct inbound *s, const struct smtp_server_event *event)
{
    s->auth_token = event->token;
    if (s->exchange == NULL)
        inbound_reply(s, event->token, 454, "4.7.0", "Temporary authentication failure");
    else
        submit(s, true, event->auth.bytes);
}

void inbound_auth_end(struct inbound *s)
{
    auth_exchange_free(&s->exchange);
    worker_timer_free(&s->tarpit);
    struct inbound_auth_job *j = s->auth_job;
    s->auth_job = NULL;
    if (j == NULL)
        return;
    if (j->job.run == NULL) /* back already, it waited in the tarpit */
        job_free(j);
    else
        j->abandoned = true; /* auth_done disposes of it */
}
