/* Authenticating at the next hop: each step of the mechanism runs on the authentication lane. */
#include "session/outbound_parts.h"

#include "auth/client.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct outbound_auth_job {
    struct lane_job job;
    struct outbound *outbound; /* NULL: it is gone */
    struct auth_client *client;
    struct buf challenge;
    bool starting, ok, has_initial;
    const char *mechanism;
    struct span response;
    struct err e;
};

/* NULL: this hop wants no authentication. */
static const struct courier_credentials *credentials_of(const struct outbound *o)
{
    size_t i = o->destination->step.credentials;
    return i < o->courier->credential_count ? &o->courier->credentials[i] : NULL;
}

static void auth_run(struct lane_job *job, void *context)
{
    (void)context;
    struct outbound_auth_job *j = LIST_ENTRY(job, struct outbound_auth_job, job);
    if (j->starting)
        j->ok = auth_client_start(j->client, &j->mechanism, &j->has_initial, &j->response, &j->e);
    else
        j->ok = auth_client_step(j->client, buf_span(&j->challenge), &j->response, &j->e);
}

static void auth_unusable(struct outbound *o, const char *text)
{
    log_event(LOG_ERROR, "outbound.auth.impossible", LOG_S("host", o->hosts[o->host].name),
              LOG_S("why", text));
    o->final = true;
    outbound_failed(o, QUEUE_DEFERRED, 0, "4.7.0", text);
    smtp_client_quit(&o->engine, outbound_now(o));
}

static void auth_done(struct lane_job *job)
{
    struct outbound_auth_job *j = LIST_ENTRY(job, struct outbound_auth_job, job);
    struct outbound *o = j->outbound;
    if (o == NULL) {
        auth_client_free(&j->client);
    } else {
        int64_t now = outbound_now(o);
        o->auth_job = NULL;
        if (j->ok && j->starting)
            smtp_client_auth(&o->engine, j->mechanism, j->has_initial, j->response, now);
        else if (j->ok)
            smtp_client_auth_answer(&o->engine, j->response, now);
        else if (j->starting)
            auth_unusable(o, j->e.text);
        else
            smtp_client_auth_cancel(&o->engine, now);
        outbound_pump(o);
    }
    secret_wipe_bytes(j->challenge.p, j->challenge.cap);
    buf_deinit(&j->challenge);
    free(j);
}

static void auth_submit(struct outbound *o, bool starting, struct span challenge)
{
    struct outbound_auth_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        buf_init(&j->challenge, 16384);
        j->outbound = o;
        j->client = o->auth;
        j->starting = starting;
        j->job =
            (struct lane_job){.run = auth_run, .done = auth_done, .home = o->courier->desk->worker};
        if (buf_add(&j->challenge, challenge) &&
            lane_submit(session_auth_lane(o->courier->desk->env, 0), &j->job) == LANE_OK) {
            o->auth_job = j;
            return;
        }
        buf_deinit(&j->challenge);
        free(j);
    }
    auth_unusable(o, "the authentication lane has too much to do");
}

void outbound_auth_begin(struct outbound *o, struct span offered)
{
    const struct courier_credentials *credentials = credentials_of(o);
    struct err e = {0};
    struct tls_binding binding = {0};
    if (credentials == NULL || !credentials->usable) {
        auth_unusable(o, "the password file of this next hop cannot be read");
        return;
    }
    bool tls = conn_is_tls(o->conn);
    if (tls)
        (void)conn_tls_binding(o->conn, &binding);
    const struct auth_client_options options = {
        .offered = offered,
        .hostname = o->hosts[o->host].name,
        .user = credentials->user,
        .password = secret_span(&credentials->password),
        .tls = tls,
        .binding = {.type = binding.type, .bytes = span_of(binding.data, binding.n)}};
    auth_client_free(&o->auth);
    if (auth_client_new(&options, &o->auth, &e))
        auth_submit(o, true, span_str(""));
    else
        auth_unusable(o, e.text);
    secret_wipe_bytes(&binding, sizeof binding);
}

void outbound_auth_challenge(struct outbound *o, struct span challenge)
{
    auth_submit(o, false, challenge);
}

void outbound_auth_end(struct outbound *o)
{
    struct err e = {0};
    if (auth_client_finish(o->auth, &e))
        destination_login_ok(o->destination);
    else
        auth_unusable(o, e.text);
}

void outbound_auth_refused(struct outbound *o, const struct smtp_client_outcome *outcome)
{
    char text[512];
    const struct courier_credentials *credentials = credentials_of(o);
    (void)snprintf(text, sizeof text, "authentication as %s was refused: %d %s %.300s",
                   credentials == NULL ? "?" : credentials->user, outcome->code, outcome->status,
                   outcome->text);
    log_event(LOG_ERROR, "outbound.auth.refused", LOG_S("host", o->hosts[o->host].name),
              LOG_S("why", text));
    o->final = true; /* the mail waits; nobody gets a report of it */
    if (outcome->code >= 500)
        destination_login_refused(o->destination, outcome->code, text);
    outbound_failed(o, QUEUE_DEFERRED, outcome->code, "4.7.8", text);
    smtp_client_quit(&o->engine, outbound_now(o));
}

void outbound_auth_forget(struct outbound *o)
{
    if (o->auth_job != NULL)
        o->auth_job->outbound = NULL; /* its client goes with it */
    else
        auth_client_free(&o->auth);
}
