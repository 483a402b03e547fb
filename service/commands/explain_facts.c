#include "commands/explain_facts.h"

#include "auth/identity.h"
#include "commands/explain_identity.h"

#include <stdio.h>
#include <string.h>

/* An address as it may be given: in angle brackets as on the wire, or without them; source routes
 * are taken both ways. */
static enum smtp_path_result parse(const char *text, struct smtp_path *path)
{
    char wire[4 * SMTP_PATH_MAX];
    size_t used = 0;
    int n = snprintf(wire, sizeof wire, text[0] == '<' ? "%s" : "<%s>", text);
    memset(path, 0, sizeof *path);
    if (n < 0 || (size_t)n >= sizeof wire)
        return SMTP_PATH_LONG;
    enum smtp_path_result result = smtp_path_parse(span_str(wire), path, &used);
    return result == SMTP_PATH_OK && used != (size_t)n ? SMTP_PATH_SYNTAX : result;
}

static enum smtp_path_result parse_sender(const char *text, struct smtp_path *path)
{
    memset(path, 0, sizeof *path);
    if (text[0] == '\0') {
        path->null = true;
        return SMTP_PATH_OK;
    }
    enum smtp_path_result result = parse(text, path);
    return result == SMTP_PATH_OK && path->bare_postmaster ? SMTP_PATH_BARE : result;
}

static enum smtp_path_result parse_recipient(const char *text, struct smtp_path *path)
{
    enum smtp_path_result result = parse(text, path);
    return result == SMTP_PATH_OK && path->null ? SMTP_PATH_EMPTY : result;
}

/* The path for acl; ascii holds the domain's A-labels, on which everything is compared. False when
 * the domain has none. */
static bool acl_path_of(const struct smtp_path *from, char ascii[ROUTE_DOMAIN_MAX],
                        struct acl_path *to)
{
    struct err e = {0};
    ascii[0] = '\0';
    if (from->domain_n > 0 && !route_domain_to_ascii(span_str(from->domain), ascii, &e))
        return false;
    *to = (struct acl_path){.text = span_str(from->address),
                            .local = span_of(from->local, from->local_n),
                            .domain = span_str(ascii),
                            .postmaster = from->bare_postmaster,
                            .literal = from->literal};
    return true;
}

static bool read_count(struct span item, struct acl_rate_facts *out)
{
    size_t colon = span_find(item, ':');
    uint64_t n;
    if (!span_u64(span_from(item, colon + 1), 1000000000, &n))
        return false;
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        enum acl_rate_by by = (enum acl_rate_by)(i / ACL_RATES);
        enum acl_rate rate = (enum acl_rate)(i % ACL_RATES);
        if (!span_is(span_sub(item, 0, colon), acl_rate_name(by, rate)))
            continue;
        out->use[by][rate].used = (uint32_t)n;
        return true;
    }
    return false;
}

bool explain_read_counted(const char *text, struct acl_rate_facts *out, struct err *e)
{
    struct span rest = span_str(text);
    while (rest.n > 0) {
        struct span item = span_sub(rest, 0, span_find(rest, ','));
        if (!read_count(item, out))
            return err_set(e, ERR_PERM,
                           "counted: \"%.*s\", expected client or account, a dot, connections, "
                           "messages or recipients, a colon and a number",
                           SPAN_ARG(span_sub(item, 0, 100)));
        rest = span_from(rest, item.n + 1);
    }
    return true;
}

/* A refusal that the grammar makes and no rule of the configuration. */
static void refuse(struct explain_answer *out, enum acl_stage stage, unsigned code,
                   const char *enhanced, const char *text)
{
    struct acl_explanation *w = &out->walk;
    while (w->n > 0 && w->steps[w->n - 1].stage >= stage)
        w->n--;
    struct acl_reason *r = &w->steps[w->n++];
    *r = (struct acl_reason){.verdict = ACL_DENY,
                             .stage = stage,
                             .step = stage == ACL_MAIL ? ACL_STEP_SENDER : ACL_STEP_RELAY,
                             .code = code};
    (void)snprintf(r->rule, sizeof r->rule, "smtp.address");
    (void)snprintf(r->enhanced, sizeof r->enhanced, "%s", enhanced);
    (void)snprintf(r->text, sizeof r->text, "%s", text);
    (void)snprintf(r->why, sizeof r->why, "the %s is not acceptable to any server: %s",
                   stage == ACL_MAIL ? "sender" : "recipient", text);
    (void)snprintf(r->change, sizeof r->change, "correct the address");
    w->outcome = ACL_REFUSED;
}

static void refuse_pickup(const struct policy *p, const struct smtp_path *recipient,
                          struct explain_answer *out)
{
    struct config_pos at = config_where(p->config, "pickup.relay", NULL);
    char text[SMTP_PATH_MAX + 32];
    (void)snprintf(text, sizeof text, "Unable to relay for %s", recipient->address);
    refuse(out, ACL_RCPT, 550, "5.7.1", text);
    struct acl_reason *r = &out->walk.steps[out->walk.n - 1];
    r->at = (struct acl_position){p->config->path, at.line, at.column};
    (void)snprintf(r->rule, sizeof r->rule, "pickup.relay");
    (void)snprintf(r->why, sizeof r->why, "pickup.relay is false: the file goes to mail/Badmail");
    (void)snprintf(r->change, sizeof r->change, "set pickup.relay: true");
}

/* Whether the walk ended before that stage, so that what is wrong with a later one is moot. */
static bool ended_before(const struct acl_explanation *walk, enum acl_stage stage)
{
    const struct acl_reason *last = acl_explain_last(walk);
    return last != NULL && last->verdict != ACL_ALLOW && last->stage < stage;
}

static void find_route(const struct policy *p, const struct acl_reason *reason,
                       const struct acl_path *recipient, struct explain_answer *out)
{
    struct err e = {0};
    struct span local = recipient->local, domain = recipient->domain;
    if (reason->postmaster) {
        local = span_str("postmaster");
        domain = span_str(acl_postmaster_domain(p->acl));
    }
    out->has_route = route_decide(p->route, local, domain, &out->route, &e);
    if (!out->has_route)
        refuse(out, ACL_RCPT, 550, "5.1.2", e.text);
}

/* What the facts point to. */
struct parsed_request {
    struct smtp_path sender, recipient;
    char sender_ascii[ROUTE_DOMAIN_MAX], recipient_ascii[ROUTE_DOMAIN_MAX];
    struct identity id;
    struct acl_facts facts;
};

static void judge(const struct policy *p, const struct explain_request *r, struct parsed_request *x,
                  struct explain_answer *out)
{
    enum smtp_path_result sender_is = parse_sender(r->from, &x->sender);
    enum smtp_path_result recipient_is = parse_recipient(r->to, &x->recipient);
    x->facts = (struct acl_facts){
        .origin = r->pickup ? ACL_FROM_PICKUP : ACL_FROM_NETWORK,
        .client = r->client,
        .names = r->names,
        .listener = r->listener != NULL ? (size_t)(r->listener - p->listeners) : 0,
        .tls = r->tls ? FACT_VALUE : FACT_ABSENT,
        .identity_state = r->user != NULL ? FACT_VALUE : FACT_ABSENT,
        .identity = span_str(r->user),
        .rates = r->counted,
    };
    x->facts.rates.state = FACT_VALUE;
    /* the service's sessions have the canonical name */
    if (r->user != NULL && identity_resolve(span_str(r->user), &p->auth, &x->id) == IDENTITY_OK)
        x->facts.identity = span_str(x->id.canonical);
    memset(out, 0, sizeof *out);
    if (!acl_path_of(&x->sender, x->sender_ascii, &x->facts.sender)) /* a sender is not looked up */
        x->facts.sender = (struct acl_path){.text = span_str(x->sender.address),
                                            .local = span_of(x->sender.local, x->sender.local_n),
                                            .domain = span_str(x->sender.domain)};
    bool recipient_ok = acl_path_of(&x->recipient, x->recipient_ascii, &x->facts.recipient);
    acl_explain(p->acl, &x->facts, &out->walk);
    if (ended_before(&out->walk, ACL_MAIL))
        return;
    if (sender_is != SMTP_PATH_OK) {
        refuse(out, ACL_MAIL, 501, "5.1.7", smtp_path_why(sender_is));
        return;
    }
    if (ended_before(&out->walk, ACL_RCPT))
        return;
    if (recipient_is == SMTP_PATH_BARE) /* "Policy in words" */
        refuse(out, ACL_RCPT, 550, "5.1.3", smtp_path_why(recipient_is));
    else if (recipient_is != SMTP_PATH_OK)
        refuse(out, ACL_RCPT, 501, "5.1.3", smtp_path_why(recipient_is));
    else if (!recipient_ok)
        refuse(out, ACL_RCPT, 550, "5.1.2", "The recipient's domain can be no mail domain");
    else if (out->walk.outcome == ACL_ALLOWED && r->pickup && !p->config->pickup.relay &&
             acl_explain_last(&out->walk)->relay_right)
        refuse_pickup(p, &x->recipient, out);
    else if (out->walk.outcome == ACL_ALLOWED)
        find_route(p, acl_explain_last(&out->walk), &x->facts.recipient, out);
}

void explain_judge(const struct policy *p, const struct explain_request *r,
                   struct explain_answer *out)
{
    struct parsed_request x;
    judge(p, r, &x, out);
    explain_effects(p, r, &x.facts, out);
}

void explain_doubt(const struct policy *p, const struct explain_request *r, struct buf *out)
{
    if (r->pickup)
        return;
    const struct policy_listener *l = r->listener;
    const char *address = l->config->address.text;
    bool can_tls = l->tls != CONFIG_LISTENER_NONE && p->tls != NULL;
    if (r->tls && !can_tls)
        buf_addf(out, "%s offers no TLS: %s. ", address,
                 l->tls == CONFIG_LISTENER_NONE ? "its tls is none"
                                                : "there is no tls.certificate");
    if (!r->tls && l->tls == CONFIG_LISTENER_IMPLICIT)
        buf_addf(out, "%s speaks TLS from the first byte: no session in clear comes about. ",
                 address);
    if (r->user == NULL)
        return;
    if (policy_mechanisms(p, r->tls) == 0)
        buf_addf(out, "no mechanism is offered %s: nobody can authenticate. ",
                 r->tls ? "within TLS" : "in clear");
    struct explain_identity who;
    explain_identity_judge(p, r->user, &who);
    if (who.outcome == ACL_REFUSED)
        buf_addf(out, "%s: %s ", r->user, who.why);
}
