#include "acl/explain.h"

#include "acl/policy.h"
#include "acl/profile.h"
#include "acl/rate.h"

#define CHANGE(r, ...) reason_put((r)->change, sizeof(r)->change, __VA_ARGS__)

static void add_at(struct acl_reason *r, const struct acl_position *at)
{
    reason_append_at(r->change, sizeof r->change, at);
}

/* What would shut out whom a control lets pass. */
static void turn_control(const struct control *control, const struct acl_facts *f,
                         struct acl_reason *r)
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&f->client, client);
    if (control->grant == ACL_ALL_EXCEPT) {
        CHANGE(r, "add \"%s\" to %s", client, control->list_rule);
        add_at(r, &control->list_at);
        return;
    }
    struct acl_hit hit = {.text = ""};
    (void)control_judge(control, f, &hit);
    r->change[0] = '\0';
    reason_put_removal(r->change, sizeof r->change, control, f, &hit);
}

static void turn_relay(const struct acl_policy *p, const struct acl_facts *f, struct acl_reason *r)
{
    if (f->origin == ACL_FROM_PICKUP)
        CHANGE(r, "set pickup.relay: false");
    else if (r->relay_right && f->identity_state == FACT_VALUE && p->relay_authenticated)
        CHANGE(r, "set access.relay.authenticated: false");
    else if (r->relay_right)
        turn_control(&p->relay, f, r);
    else if (r->postmaster)
        CHANGE(r, "none: a server that takes mail takes it for postmaster (RFC 5321 4.5.1)");
    else
        CHANGE(r, r->local ? "remove %s" : "set %s.relay: false", r->rule);
    if (!(r->relay_right && !(f->identity_state == FACT_VALUE && p->relay_authenticated)))
        add_at(r, &r->at);
}

/* The smallest change that would make a refusal of what is allowed. */
static void turn(const struct acl_policy *p, const struct acl_facts *f, struct acl_reason *r)
{
    if (r->verdict != ACL_ALLOW)
        return;
    switch (r->step) {
    case ACL_STEP_CONNECTION:
        if (f->origin == ACL_FROM_NETWORK)
            turn_control(&p->connection, f, r);
        break;
    case ACL_STEP_TLS:
        if (f->tls == FACT_VALUE)
            CHANGE(r, "none: the session is under TLS");
        else
            CHANGE(r, "set %s: required", r->rule);
        break;
    case ACL_STEP_AUTHENTICATION:
        if (f->identity_state == FACT_VALUE)
            CHANGE(r, "none: the client has authenticated");
        else
            CHANGE(r, "set %s: false", r->rule);
        break;
    case ACL_STEP_SENDER:
        if (f->origin == ACL_FROM_PICKUP)
            break;
        if (r->entry[0] != '\0')
            CHANGE(r, "remove \"%s\" from %s", r->entry, r->rule);
        else
            CHANGE(r, "give the client a profile in access.profiles that names its senders");
        add_at(r, &r->at);
        return;
    case ACL_STEP_RELAY: turn_relay(p, f, r); return;
    case ACL_STEP_RATE: return; /* rate_passed has said it */
    }
    if (r->step != ACL_STEP_CONNECTION && r->change[0] == 's')
        add_at(r, &r->at);
}

static struct acl_reason *push(struct acl_explanation *x)
{
    return &x->steps[x->n++];
}

/* The steps of MAIL that the settling one has behind it. */
static void pass(const struct acl_policy *p, const struct acl_facts *f, enum acl_step before,
                 struct acl_explanation *x)
{
    for (enum acl_step step = ACL_STEP_TLS; step < before; step++) {
        bool unknown = step == ACL_STEP_TLS && (f->tls == FACT_UNKNOWN || f->tls == FACT_FAILED);
        if (!unknown)
            decide_passed(p, step, f, push(x));
    }
}

/* The limits by the minute that let the client pass. */
static void pass_rates(const struct acl_policy *p, const struct acl_facts *f, enum acl_stage stage,
                       struct acl_explanation *x)
{
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        struct acl_reason r;
        if (rate_passed(p, f, stage, (enum acl_rate_by)(i / ACL_RATES),
                        (enum acl_rate)(i % ACL_RATES), &r))
            *push(x) = r;
    }
}

/* What the stage would say if nothing were counted: the step before the limits. */
static void decide_uncounted(const struct acl_policy *p, enum acl_stage stage,
                             const struct acl_facts *facts, struct acl_reason *r)
{
    struct acl_facts uncounted = *facts;
    uncounted.rates = (struct acl_rate_facts){.state = FACT_VALUE};
    (void)acl_decide(p, stage, &uncounted, r);
}

/* One stage: the steps that let the client pass, and what settled it. */
static enum acl_verdict explain_stage(const struct acl_policy *policy, enum acl_stage stage,
                                      const struct acl_facts *facts, struct acl_explanation *out)
{
    struct acl_reason r, before;
    enum acl_verdict verdict = acl_decide(policy, stage, facts, &r);
    before = r;
    if (r.step == ACL_STEP_RATE)
        decide_uncounted(policy, stage, facts, &before);
    if (stage == ACL_MAIL && facts->origin == ACL_FROM_NETWORK && before.step != ACL_STEP_RATE)
        pass(policy, facts, before.step, out);
    if (r.step == ACL_STEP_RATE && before.step != ACL_STEP_RATE)
        *push(out) = before;
    bool last = verdict == ACL_ALLOW && stage == ACL_RCPT; /* the rule that grants closes it */
    if (verdict == ACL_ALLOW && !last)
        *push(out) = r;
    if (verdict == ACL_ALLOW || r.step == ACL_STEP_RATE)
        pass_rates(policy, facts, stage, out);
    if (verdict != ACL_ALLOW || last)
        *push(out) = r;
    return verdict;
}

void acl_explain(const struct acl_policy *policy, const struct acl_facts *facts,
                 struct acl_explanation *out)
{
    out->n = 0;
    out->outcome = ACL_ALLOWED;
    for (enum acl_stage stage = ACL_CONNECT; stage <= ACL_RCPT && out->outcome == ACL_ALLOWED;
         stage++) {
        switch (explain_stage(policy, stage, facts, out)) {
        case ACL_ALLOW: break;
        case ACL_DENY: out->outcome = ACL_REFUSED; break;
        case ACL_DEFER:
        case ACL_NEED: out->outcome = ACL_CANNOT_TELL; break;
        }
    }
    for (size_t i = 0; i < out->n; i++)
        turn(policy, facts, &out->steps[i]);
}

size_t acl_explain_until(const struct acl_explanation *x, enum acl_stage stage)
{
    size_t n = 0;
    while (n < x->n && x->steps[n].stage < stage)
        n++;
    return n;
}

const struct acl_reason *acl_explain_last(const struct acl_explanation *x)
{
    return &x->steps[x->n - 1];
}

const char *acl_outcome_name(enum acl_outcome outcome)
{
    switch (outcome) {
    case ACL_ALLOWED: return "allowed";
    case ACL_REFUSED: return "refused";
    case ACL_CANNOT_TELL: break;
    }
    return "unknown";
}

const char *acl_stage_name(enum acl_stage stage)
{
    switch (stage) {
    case ACL_CONNECT: return "connect";
    case ACL_MAIL: return "mail";
    case ACL_RCPT: break;
    }
    return "rcpt";
}

const char *acl_step_name(enum acl_step step)
{
    switch (step) {
    case ACL_STEP_CONNECTION: return "connection";
    case ACL_STEP_TLS: return "tls";
    case ACL_STEP_AUTHENTICATION: return "authentication";
    case ACL_STEP_SENDER: return "sender";
    case ACL_STEP_RATE: return "rate";
    case ACL_STEP_RELAY: break;
    }
    return "relay";
}

bool acl_reason_reply(const struct acl_reason *reason, struct buf *out)
{
    if (reason->code == 0)
        return true;
    return buf_addf(out, "%u %s %s", reason->code, reason->enhanced, reason->text);
}

const char *acl_verdict_name(enum acl_verdict verdict)
{
    switch (verdict) {
    case ACL_ALLOW: return "allowed";
    case ACL_DENY: return "refused";
    case ACL_DEFER: return "not now";
    case ACL_NEED: break;
    }
    return "unknown";
}

bool acl_explain_steps(const struct acl_explanation *x, size_t from, size_t to, struct buf *out)
{
    for (size_t i = from; i < to && i < x->n; i++) {
        const struct acl_reason *r = &x->steps[i];
        (void)buf_addf(out, "%-14s %-8s %s: %s", acl_step_name(r->step),
                       acl_verdict_name(r->verdict), r->rule, r->why);
        if (r->at.line > 0)
            (void)buf_addf(out, " (%s:%u)", r->at.file == NULL ? "" : r->at.file, r->at.line);
        if (r->entry[0] != '\0')
            (void)buf_addf(out, "\n%24sentry: %s", "", r->entry);
        if (r->change[0] != '\0')
            (void)buf_addf(out, "\n%24sturn:  %s", "", r->change);
        (void)buf_add_byte(out, '\n');
    }
    return !out->failed;
}

bool acl_explain_text(const struct acl_explanation *x, struct buf *out)
{
    const struct acl_reason *r = acl_explain_last(x);
    (void)buf_addf(out, "\nverdict: %s\nrule:    %s\n", acl_outcome_name(x->outcome), r->rule);
    if (r->at.line > 0)
        (void)buf_addf(out, "at:      %s:%u\n", r->at.file == NULL ? "" : r->at.file, r->at.line);
    if (r->entry[0] != '\0')
        (void)buf_addf(out, "entry:   %s\n", r->entry);
    if (r->code != 0) {
        (void)buf_add_str(out, "reply:   ");
        (void)acl_reason_reply(r, out);
        (void)buf_add_byte(out, '\n');
    }
    if (r->change[0] != '\0' && x->outcome != ACL_ALLOWED)
        (void)buf_addf(out, "change:  %s\n", r->change);
    return !out->failed;
}
