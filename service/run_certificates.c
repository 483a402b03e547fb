/* Certificates of the system's store: looked at every ten seconds, since they are renewed there by
 * others, and since time itself makes one valid or ends it. The look opens the store, and a key
 * only where a certificate is newer than the one in use; it happens on the file lane. What is found
 * serves the next connection; sessions go on with the certificate that they began with. One that
 * cannot be used is said once, with the command that mends it, and the earlier one stays. */
#include "run_parts.h"

#include "base/civil.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_EVERY_MS = 10000 };

static void look_again(struct run *r)
{
    worker_timer_at(r->certificates.timer, worker_now_ms(r->main) + LOOK_EVERY_MS);
}

void run_certificates_tell(struct run *r, const struct tls_renewal *n, bool renewed)
{
    struct run_certificates *c = &r->certificates;
    char until[32];
    struct civil end = civil_from_wall_ms(n->not_after_wall_ms);
    (void)snprintf(until, sizeof until, "%04d-%02d-%02d", end.year, end.month, end.day);
    if (n->renewed && renewed)
        log_event(LOG_INFO, "tls.certificate.renewed", LOG_S("subject", n->subject),
                  LOG_S("thumbprint", n->thumbprint), LOG_S("until", until));
    else if (n->renewed)
        log_event(LOG_INFO, "tls.certificate.taken", LOG_S("subject", n->subject),
                  LOG_S("thumbprint", n->thumbprint), LOG_S("until", until));
    if (n->refused[0] != '\0' && strcmp(n->refused, c->told) != 0)
        log_event(LOG_ERROR, "tls.certificate.refused", LOG_S("why", n->refused),
                  LOG_S("change", n->locked ? "as an administrator: postern check --grant-key"
                                            : "postern check lists what the store has, and why it "
                                              "does not fit"));
    (void)snprintf(c->told, sizeof c->told, "%s", n->refused);
}

/* ---- on the lane ---- */

static void look(struct lane_job *job, void *context)
{
    struct run_certificates *c = LIST_ENTRY(job, struct run_certificates, job);
    (void)context;
    c->ok = tls_server_renew(c->policy->tls, c->in_force, &c->fresh, &c->found, &c->error);
}

/* ---- on main ---- */

static void looked(struct lane_job *job)
{
    struct run_certificates *c = LIST_ENTRY(job, struct run_certificates, job);
    struct run *r = LIST_ENTRY(c, struct run, certificates);
    if (r->tls == c->in_force && c->timer != NULL &&
        !r->stopping) { /* no reload has come between */
        if (!c->ok)
            (void)snprintf(c->found.refused, sizeof c->found.refused, "%.380s", c->error.text);
        bool taken = c->fresh != NULL && run_hand_out(r, r->policy, c->fresh);
        c->found.renewed = c->found.renewed && taken; /* without memory: at the next look */
        run_certificates_tell(r, &c->found, true);
        if (taken) {
            tls_unref(&r->tls);
            r->tls = tls_ref(c->fresh);
        }
    }
    tls_unref(&c->fresh);
    tls_unref(&c->in_force);
    policy_unref(&c->policy);
    if (c->timer != NULL && !r->stopping)
        look_again(r);
}

static void tick(void *arg)
{
    struct run *r = arg;
    struct run_certificates *c = &r->certificates;
    if (r->stopping)
        return;
    if (r->tls != NULL && r->policy->tls != NULL && tls_server_has_store(r->policy->tls)) {
        c->policy = policy_ref(r->policy);
        c->in_force = tls_ref(r->tls);
        c->job = (struct lane_job){.run = look, .done = looked, .home = r->main};
        if (lane_submit(r->env.file_lane, &c->job) == LANE_OK)
            return;
        tls_unref(&c->in_force);
        policy_unref(&c->policy);
    }
    look_again(r);
}

bool run_certificates_start(struct run *r, struct err *e)
{
    r->certificates.timer = worker_timer_new(r->main, tick, r);
    if (r->certificates.timer == NULL)
        return err_set(e, ERR_TEMP, "certificates: no memory");
    look_again(r);
    return true;
}

void run_certificates_stop(struct run *r)
{
    worker_timer_free(&r->certificates.timer);
}
