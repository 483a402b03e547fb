/* The access rules at work: facts of this session, the verdict of acl_decide, the look-up of names
 * where it is asked for, and the refusal with its id. */
#include "session/inbound_parts.h"

#include "acl/explain.h"
#include "base/log.h"
#include "route/route.h"
#include "session/rates.h"
#include "session/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct acl_path path_facts(const struct smtp_path *path, struct span domain)
{
    return (struct acl_path){.text = span_str(path->address),
                             .local = span_of(path->local, path->local_n),
                             .domain = domain,
                             .postmaster = path->bare_postmaster,
                             .literal = path->literal};
}

static struct acl_facts facts_of(const struct inbound *s)
{
    return (struct acl_facts){
        .origin = ACL_FROM_NETWORK,
        .client = s->peer.ip,
        .names = {.state = s->names.state, .v = s->names.list, .n = s->names.n},
        .listener = s->listener,
        .tls = conn_is_tls(s->conn) ? FACT_VALUE : FACT_ABSENT,
        .identity_state = s->identity == NULL ? FACT_ABSENT : FACT_VALUE,
        .identity = span_str(s->identity),
        .authentication_failed = s->authentication_failed,
        .sender = path_facts(&s->sender, span_str(s->sender.domain))};
}

bool inbound_may_relay(const struct inbound *s)
{
    struct acl_facts facts = facts_of(s);
    return acl_has_relay_right(s->policy->acl, &facts);
}

static void refuse(struct inbound *s, uint32_t token, const struct acl_facts *facts,
                   const struct acl_reason *reason)
{
    static const char *const events[] = {[ACL_CONNECT] = "smtp.connect.refused",
                                         [ACL_MAIL] = "smtp.mail.refused",
                                         [ACL_RCPT] = "smtp.rcpt.refused"};
    char id[SESSION_ID_MAX], text[640], client[NETADDR_TEXT_MAX];
    session_id_make(s->desk->env, id);
    const struct refusal kept = {.id = id,
                                 .session = s->id,
                                 .policy = s->policy,
                                 .facts = facts,
                                 .reason = reason,
                                 .helo = span_str(s->helo)};
    refusals_add(s->desk->env->refusals, &kept);
    struct session_counters *n = &s->desk->env->counters;
    atomic_fetch_add(
        reason->stage == ACL_CONNECT ? &n->refused_connections : &n->refused_recipients, 1);
    netaddr_format(&s->peer.ip, client);
    log_event(LOG_WARN, events[reason->stage], LOG_S("sid", s->id), LOG_S("refusal", id),
              LOG_S("rule", reason->rule), LOG_U("line", reason->at.line),
              LOG_S("entry", reason->entry), LOG_S("client", client),
              LOG_S("user", s->identity == NULL ? "" : s->identity),
              LOG_SPAN("sender", facts->sender.text), LOG_SPAN("rcpt", facts->recipient.text),
              LOG_U("code", reason->code), LOG_S("change", reason->change));
    (void)snprintf(text, sizeof text, "%s%s%s%s [%s]", reason->text,
                   reason->hint[0] == '\0' ? "" : " (", reason->hint,
                   reason->hint[0] == '\0' ? "" : ")", id);
    inbound_reply(s, token, reason->code, reason->enhanced, text);
}

/* access.mode: observe: taken down as a refusal is, and let in. */
static void note_observed(struct inbound *s, const struct acl_facts *facts,
                          const struct acl_reason *reason)
{
    char id[SESSION_ID_MAX], client[NETADDR_TEXT_MAX];
    session_id_make(s->desk->env, id);
    const struct refusal kept = {.id = id,
                                 .session = s->id,
                                 .policy = s->policy,
                                 .facts = facts,
                                 .reason = reason,
                                 .observed = true};
    refusals_add(s->desk->env->refusals, &kept);
    netaddr_format(&s->peer.ip, client);
    log_event(LOG_WARN, "smtp.connect.observed", LOG_S("sid", s->id), LOG_S("refusal", id),
              LOG_S("rule", reason->rule), LOG_U("line", reason->at.line),
              LOG_S("entry", reason->entry), LOG_S("client", client),
              LOG_S("change", reason->change));
}

/* ---- names ---- */

static void decide_again(struct inbound *s);

static void keep_names(struct inbound *s, const struct resolver_names *answer)
{
    size_t size = answer->n * sizeof(struct span);
    for (size_t i = 0; i < answer->n; i++)
        size += strlen(answer->names[i]);
    s->names.state = answer->result == RESOLVER_FAILED   ? FACT_FAILED
                     : answer->result == RESOLVER_ABSENT ? FACT_ABSENT
                                                         : FACT_VALUE;
    s->names.list = answer->n == 0 ? NULL : malloc(size);
    if (s->names.list == NULL) {
        if (answer->n > 0)
            s->names.state = FACT_FAILED;
        return;
    }
    char *text = (char *)(s->names.list + answer->n);
    for (size_t i = 0; i < answer->n; i++) {
        size_t n = strlen(answer->names[i]);
        memcpy(text, answer->names[i], n);
        s->names.list[i] = span_of(text, n);
        text += n;
    }
    s->names.n = answer->n;
}

static void got_names(void *arg, const struct resolver_names *answer)
{
    struct inbound *s = arg;
    s->names_call = NULL;
    keep_names(s, answer);
    log_event(LOG_DEBUG, "smtp.client.names", LOG_S("sid", s->id),
              LOG_S("name", answer->n > 0 ? answer->names[0] : ""),
              LOG_I("result", (int)answer->result), LOG_S("why", answer->why));
    decide_again(s);
}

/* The command waits; the engine looks at no other meanwhile. */
static void wait_for_names(struct inbound *s, enum acl_stage stage, uint32_t token,
                           const struct smtp_path *path, const struct smtp_rcpt_params *params)
{
    struct inbound_pending *p = calloc(1, sizeof *p);
    bool ok = p != NULL;
    if (ok) {
        p->stage = stage;
        p->token = token;
        if (path != NULL)
            p->path = *path;
        if (params != NULL) {
            p->notify = params->notify;
            p->orcpt = malloc(params->orcpt.n + 1);
            ok = p->orcpt != NULL && span_cstr(params->orcpt, p->orcpt, params->orcpt.n + 1);
        }
    }
    if (!ok) {
        if (p != NULL)
            free(p->orcpt);
        free(p);
        inbound_reply(s, token, 421, "4.3.0", "No memory, try again later");
        return;
    }
    s->pending = p;
    s->names_call = resolver_confirmed_names(s->desk->resolver, &s->peer.ip, got_names, s);
}

void inbound_access_forget(struct inbound *s)
{
    resolver_cancel(&s->names_call);
    if (s->pending != NULL)
        free(s->pending->orcpt);
    free(s->pending);
    s->pending = NULL;
}

/* ---- the three stages ---- */

/* All else allows: counts it, and asks again with what was counted. A connection is counted once
 * for an account, with its first message. */
static enum acl_verdict decide_counted(struct inbound *s, enum acl_stage stage,
                                       struct acl_facts *facts, struct acl_reason *reason)
{
    uint32_t limits[ACL_RATE_BYS][ACL_RATES];
    memcpy(limits, reason->limits, sizeof limits);
    uint32_t *connections = &limits[ACL_BY_ACCOUNT][ACL_RATE_CONNECTIONS];
    if (s->account_counted)
        *connections = 0;
    rates_take(s->desk->env->rates, inbound_now(s), &s->peer.ip, facts->identity, limits,
               &facts->rates);
    enum acl_verdict verdict = acl_decide(s->policy->acl, stage, facts, reason);
    if (verdict == ACL_ALLOW && *connections > 0)
        s->account_counted = true;
    return verdict;
}

/* True: allowed. Otherwise it was refused, or waits. */
static bool decide(struct inbound *s, enum acl_stage stage, uint32_t token,
                   const struct acl_facts *facts, const struct smtp_path *path,
                   const struct smtp_rcpt_params *params, struct acl_reason *reason)
{
    struct acl_facts counted = *facts;
    enum acl_verdict verdict = acl_decide(s->policy->acl, stage, facts, reason);
    if (verdict == ACL_NEED && reason->need == ACL_NEED_RATES)
        verdict = decide_counted(s, stage, &counted, reason);
    switch (verdict) {
    case ACL_ALLOW: return true;
    case ACL_DENY:
    case ACL_DEFER: refuse(s, token, &counted, reason); return false;
    case ACL_NEED: wait_for_names(s, stage, token, path, params); return false;
    }
    return false;
}

/* False: the verdict that would have been hangs on names, which are looked up first. */
static bool observe(struct inbound *s, uint32_t token, const struct acl_facts *facts)
{
    struct acl_reason reason;
    switch (acl_decide(s->policy->observed, ACL_CONNECT, facts, &reason)) {
    case ACL_ALLOW: break;
    case ACL_DENY:
    case ACL_DEFER: note_observed(s, facts, &reason); break;
    case ACL_NEED: wait_for_names(s, ACL_CONNECT, token, NULL, NULL); return false;
    }
    return true;
}

void inbound_access_connect(struct inbound *s, uint32_t token)
{
    struct acl_facts facts = facts_of(s);
    struct acl_reason reason;
    if (s->policy->observed != NULL && !observe(s, token, &facts))
        return;
    if (decide(s, ACL_CONNECT, token, &facts, NULL, NULL, &reason))
        (void)smtp_server_answer(&s->engine, token, NULL, inbound_now(s));
}

/* The profile's sender stands for whatever the client gave; never for the null sender, which keeps
 * reports from being answered. And its address in From:, for that of the message. */
static bool fix_sender(struct inbound *s, const struct acl_facts *facts)
{
    const struct config_profile *p = policy_profile(s->policy, facts);
    if (p == NULL)
        return true;
    if (p->from[0] != '\0' && !intake_rewrite_from(s->intake, span_str(p->from)))
        return false;
    if (s->sender.address[0] == '\0' || p->sender[0] == '\0' ||
        span_is(span_str(s->sender.address), p->sender))
        return true;
    log_event(LOG_INFO, "smtp.sender.fixed", LOG_S("sid", s->id), LOG_S("profile", p->name),
              LOG_S("given", s->sender.address), LOG_S("sender", p->sender));
    return intake_resend(s->intake, span_str(p->sender));
}

bool inbound_access_bare_lf(const struct inbound *s, bool listener)
{
    const struct config_profile *p = policy_profile_by_address(s->policy, &s->peer.ip);
    enum config_profile_lf lf = p == NULL ? CONFIG_LF_LISTENER : p->bare_lf;
    return lf == CONFIG_LF_LISTENER ? listener : lf == CONFIG_LF_NORMALISE;
}

static void mail_allowed(struct inbound *s, uint32_t token, const struct acl_facts *facts)
{
    if (!fix_sender(s, facts)) {
        inbound_mail_drop(s);
        inbound_reply(s, token, 452, "4.3.1", "Insufficient system resources");
        return;
    }
    (void)smtp_server_answer(&s->engine, token, NULL, inbound_now(s));
}

void inbound_access_mail(struct inbound *s, uint32_t token)
{
    struct acl_facts facts = facts_of(s);
    struct acl_reason reason;
    if (decide(s, ACL_MAIL, token, &facts, NULL, NULL, &reason))
        mail_allowed(s, token, &facts);
    else if (s->pending == NULL)
        inbound_mail_drop(s);
}

void inbound_access_rcpt(struct inbound *s, uint32_t token, const struct smtp_path *path,
                         const struct smtp_rcpt_params *params)
{
    char domain[ROUTE_DOMAIN_MAX] = "", address[SMTP_PATH_MAX + ROUTE_DOMAIN_MAX];
    struct err e = {0};
    if (!path->bare_postmaster &&
        !route_domain_to_ascii(span_of(path->domain, path->domain_n), domain, &e)) {
        inbound_reply(s, token, 550, "5.1.2", "The recipient's domain can be no mail domain");
        return;
    }
    struct acl_facts facts = facts_of(s);
    struct acl_reason reason;
    facts.recipient = path_facts(path, span_str(domain));
    if (!decide(s, ACL_RCPT, token, &facts, path, params, &reason))
        return;
    log_event(LOG_DEBUG, "smtp.rcpt.allowed", LOG_S("sid", s->id), LOG_S("rule", reason.rule),
              LOG_U("line", reason.at.line), LOG_S("entry", reason.entry),
              LOG_SPAN("rcpt", facts.recipient.text));
    if (reason.postmaster)
        (void)snprintf(address, sizeof address, "postmaster@%s",
                       acl_postmaster_domain(s->policy->acl));
    else
        (void)snprintf(address, sizeof address, "%s", path->address);
    inbound_mail_recipient(s, token, path, address, params->notify, params->orcpt);
}

static void decide_again(struct inbound *s)
{
    struct inbound_pending *p = s->pending;
    s->pending = NULL;
    if (p == NULL)
        return;
    switch (p->stage) {
    case ACL_CONNECT: inbound_access_connect(s, p->token); break;
    case ACL_MAIL: inbound_access_mail(s, p->token); break;
    case ACL_RCPT: {
        const struct smtp_rcpt_params params = {.notify = (uint8_t)p->notify,
                                                .orcpt = span_str(p->orcpt)};
        inbound_access_rcpt(s, p->token, &p->path, &params);
        break;
    }
    }
    free(p->orcpt);
    free(p);
    inbound_pump(s);
}
