/* decide.c - the three questions, and why the answer is what it is. */
#include "acl/policy.h"
#include "acl/profile.h"
#include "acl/rate.h"

#include <string.h>

#define PUT(field, ...) reason_put(field, sizeof(field), __VA_ARGS__)
#define COPY(field, text) reason_copy(field, sizeof(field), text)
#define APPEND(field, ...) reason_append(field, sizeof(field), __VA_ARGS__)

static void set_rule(struct acl_reason *r, const char *rule, const struct acl_position *at)
{
    COPY(r->rule, rule);
    r->at = *at;
}

static void set_hit(struct acl_reason *r, const struct acl_hit *hit)
{
    COPY(r->entry, hit->text);
    r->at = hit->at;
}

static enum acl_verdict allow(struct acl_reason *r)
{
    return r->verdict = ACL_ALLOW;
}

/* The change for a client that a control's list shuts out. */
static void put_list_change(char *out, size_t size, const struct control *control,
                            const struct acl_facts *facts, const struct acl_hit *hit)
{
    char client[NETADDR_TEXT_MAX];
    if (control->grant == ACL_ONLY) {
        netaddr_format(&facts->client, client);
        reason_append(out, size, "add \"%s\" to %s", client, control->list_rule);
        reason_append_at(out, size, &control->list_at);
        return;
    }
    reason_put_removal(out, size, control, facts, hit);
}

/* The three ways in which something may not be found out, told in *hint and *why. */
static void put_failure(struct acl_reason *r, const struct control *control,
                        const struct acl_facts *facts)
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&facts->client, client);
    if (facts->names.state == FACT_FAILED && acl_list_has_names(control->list)) {
        PUT(r->hint, "for now: the host name of %s could not be looked up", client);
        PUT(r->why, "%s holds host names, and that of %s could not be found out",
            control->list_rule, client);
    } else if (facts->names.state == FACT_VALUE && acl_list_has_names(control->list)) {
        PUT(r->hint, "for now: the host name of %s could not be judged", client);
        PUT(r->why, "a pattern of %s takes too many steps on the host name of %s",
            control->list_rule, client);
    } else {
        COPY(r->hint, "for now: authentication is not available");
        COPY(r->why, "who has authenticated could not be found out");
    }
}

static void put_names_change(struct acl_reason *r, const struct control *control,
                             const struct acl_facts *facts)
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&facts->client, client);
    if (control->grant == ACL_ONLY)
        PUT(r->change, "repair the reverse DNS of %s, or add \"%s\" to %s", client, client,
            control->list_rule);
    else
        PUT(r->change, "repair the reverse DNS of %s, or take the host names out of %s", client,
            control->list_rule);
    reason_append_at(r->change, sizeof r->change, &control->list_at);
}

/* ---- CONNECT ------------------------------------------------------------------------------- */

static enum acl_verdict decide_connect(const struct acl_policy *p, const struct acl_facts *f,
                                       struct acl_reason *r)
{
    const struct control *control = &p->connection;
    struct acl_hit hit = {.text = ""};
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&f->client, client);
    set_rule(r, control->rule, &control->list_at);
    enum acl_match may = control_judge(control, f, &hit);
    if (hit.text[0] != '\0')
        set_hit(r, &hit);
    switch (may) {
    case ACL_MATCH_YES:
        PUT(r->why,
            hit.text[0] != '\0' ? "%s is in the connection list"
                                : "%s is not in the list of those kept out",
            client);
        return allow(r);
    case ACL_MATCH_UNKNOWN: return reason_need(r, ACL_NEED_NAMES);
    case ACL_MATCH_FAILED:
        COPY(r->text, "Try again later");
        put_failure(r, control, f);
        put_names_change(r, control, f);
        return reason_refuse(r, ACL_DEFER, 421, "4.7.1");
    case ACL_MATCH_NO: break;
    }
    COPY(r->text, "Access denied");
    PUT(r->hint, "%s may not connect", client);
    PUT(r->why,
        control->grant == ACL_ONLY ? "only listed clients may connect, and %s is not listed"
                                   : "%s is listed among those that may not connect",
        client);
    put_list_change(r->change, sizeof r->change, control, f, &hit);
    return reason_refuse(r, ACL_DENY, 554, "5.7.1");
}

/* ---- MAIL ---------------------------------------------------------------------------------- */

static enum acl_match match_of(enum acl_fact_state state)
{
    switch (state) {
    case FACT_UNKNOWN: return ACL_MATCH_UNKNOWN;
    case FACT_FAILED: return ACL_MATCH_FAILED;
    case FACT_ABSENT: return ACL_MATCH_NO;
    case FACT_VALUE: return ACL_MATCH_YES;
    }
    return ACL_MATCH_FAILED;
}

static void set_listener_rule(struct acl_reason *r, size_t listener, const char *what,
                              const struct acl_position *at)
{
    PUT(r->rule, "listeners[%zu].%s", listener, what);
    r->at = *at;
}

/* The rule that says whether anonymous is on: the listener's own, else the global one. */
static void set_anonymous_rule(const struct acl_policy *p, size_t listener, struct acl_reason *r)
{
    if (listener < p->n_listeners && p->listeners[listener].anonymous_set)
        set_listener_rule(r, listener, "anonymous", &p->listeners[listener].anonymous_at);
    else
        set_rule(r, "authentication.anonymous", &p->anonymous_at);
}

static enum acl_verdict refuse_clear(const struct acl_facts *f, struct acl_reason *r)
{
    COPY(r->text, "Must issue a STARTTLS command first");
    COPY(r->why, "the listener demands TLS, and the session is in clear");
    PUT(r->change, "use TLS, or set tls: optional for listeners[%zu]", f->listener);
    reason_append_at(r->change, sizeof r->change, &r->at);
    return reason_refuse(r, ACL_DENY, 530, "5.7.0");
}

static enum acl_verdict refuse_anonymous(const struct acl_facts *f, struct acl_reason *r)
{
    COPY(r->text, "Client was not authenticated");
    if (f->authentication_failed)
        COPY(r->hint, "authentication failed earlier in this session");
    PUT(r->why, "anonymous mail is off here, and the client has not authenticated%s",
        f->authentication_failed ? " (it tried, and was refused)" : "");
    PUT(r->change, "%s, or set %s: true",
        f->authentication_failed ? "authenticate with a valid name and password" : "authenticate",
        r->rule);
    reason_append_at(r->change, sizeof r->change, &r->at);
    return reason_refuse(r, ACL_DENY, 530, "5.7.1");
}

static bool tls_required(const struct acl_policy *p, const struct acl_facts *f)
{
    return f->listener < p->n_listeners && p->listeners[f->listener].tls_required;
}

static void pass_tls(const struct acl_policy *p, const struct acl_facts *f, struct acl_reason *r)
{
    static const struct acl_position nowhere = {NULL, 0, 0};
    set_listener_rule(r, f->listener, "tls",
                      f->listener < p->n_listeners ? &p->listeners[f->listener].tls_at : &nowhere);
    if (tls_required(p, f))
        COPY(r->why, "the listener demands TLS, and the session is under TLS");
    else if (f->tls == FACT_VALUE)
        COPY(r->why, "the session is under TLS, which the listener does not demand");
    else
        COPY(r->why, "the listener does not demand TLS");
}

static void pass_authentication(const struct acl_policy *p, const struct acl_facts *f,
                                struct acl_reason *r)
{
    set_anonymous_rule(p, f->listener, r);
    if (f->identity_state == FACT_VALUE)
        PUT(r->why, "the client has authenticated as %.*s",
            SPAN_ARG(span_sub(f->identity, 0, 256)));
    else
        COPY(r->why, "anonymous mail is taken here");
}

void decide_passed(const struct acl_policy *p, enum acl_step step, const struct acl_facts *facts,
                   struct acl_reason *reason)
{
    memset(reason, 0, sizeof *reason);
    reason->stage = ACL_MAIL;
    reason->step = step;
    if (step == ACL_STEP_TLS)
        pass_tls(p, facts, reason);
    else
        pass_authentication(p, facts, reason);
    (void)allow(reason);
}

static enum acl_verdict decide_mail(const struct acl_policy *p, const struct acl_facts *f,
                                    struct acl_reason *r)
{
    bool with_tls = tls_required(p, f), anonymous = policy_anonymous(p, f->listener);
    enum acl_match tls = with_tls ? match_of(f->tls) : ACL_MATCH_YES;
    enum acl_match login = anonymous ? ACL_MATCH_YES : match_of(f->identity_state);
    r->step = ACL_STEP_TLS;
    if (with_tls)
        set_listener_rule(r, f->listener, "tls", &p->listeners[f->listener].tls_at);
    if (tls == ACL_MATCH_NO)
        return refuse_clear(f, r);
    if (login != ACL_MATCH_YES || tls == ACL_MATCH_YES) {
        r->step = ACL_STEP_AUTHENTICATION;
        set_anonymous_rule(p, f->listener, r);
    }
    if (login == ACL_MATCH_NO)
        return refuse_anonymous(f, r);
    unsigned unknown = (tls == ACL_MATCH_UNKNOWN ? (unsigned)ACL_NEED_TLS : 0u) |
                       (login == ACL_MATCH_UNKNOWN ? (unsigned)ACL_NEED_IDENTITY : 0u);
    if (unknown != 0)
        return reason_need(r, unknown);
    if (tls == ACL_MATCH_FAILED || login == ACL_MATCH_FAILED) {
        COPY(r->text, "Try again later");
        COPY(r->why, "who the client is could not be found out");
        PUT(r->change, "repair what %s asks", r->rule);
        return reason_refuse(r, ACL_DEFER, 450, "4.7.1");
    }
    return profile_decide(p, f, ACL_STEP_SENDER, r);
}

/* ---- RCPT ---------------------------------------------------------------------------------- */

/* What the relay right hangs on, and what grants it. */
struct relay {
    enum acl_match may;
    unsigned need;
    bool by_login;
    struct acl_hit hit; /* of the list; text is empty when no entry was met */
};

static void judge_relay(const struct acl_policy *p, const struct acl_facts *f, struct relay *out)
{
    *out = (struct relay){.may = ACL_MATCH_YES};
    if (f->origin == ACL_FROM_PICKUP)
        return;
    enum acl_match login = p->relay_authenticated ? match_of(f->identity_state) : ACL_MATCH_NO;
    if (login == ACL_MATCH_YES) {
        out->by_login = true;
        return;
    }
    enum acl_match listed = control_judge(&p->relay, f, &out->hit);
    if (listed == ACL_MATCH_YES)
        return;
    if (login == ACL_MATCH_UNKNOWN)
        out->need |= ACL_NEED_IDENTITY;
    if (listed == ACL_MATCH_UNKNOWN)
        out->need |= ACL_NEED_NAMES;
    if (out->need != 0)
        out->may = ACL_MATCH_UNKNOWN;
    else if (login == ACL_MATCH_FAILED || listed == ACL_MATCH_FAILED)
        out->may = ACL_MATCH_FAILED;
    else
        out->may = ACL_MATCH_NO;
}

bool acl_has_relay_right(const struct acl_policy *policy, const struct acl_facts *facts)
{
    struct relay relay;
    judge_relay(policy, facts, &relay);
    return relay.may == ACL_MATCH_YES;
}

static enum acl_verdict allow_relay(const struct acl_policy *p, const struct acl_facts *f,
                                    const struct relay *relay, struct acl_reason *r)
{
    char client[NETADDR_TEXT_MAX];
    r->relay_right = true;
    if (f->origin == ACL_FROM_PICKUP) {
        COPY(r->rule, "pickup");
        COPY(r->why, "the mail lies in the Pickup directory: who may write there may relay");
        return allow(r);
    }
    if (relay->by_login) {
        set_rule(r, "access.relay.authenticated", &p->relay_authenticated_at);
        PUT(r->why, "clients that have authenticated may relay, and this one is %.*s",
            SPAN_ARG(span_sub(f->identity, 0, 256)));
        return allow(r);
    }
    netaddr_format(&f->client, client);
    set_rule(r, p->relay.rule, &p->relay.list_at);
    if (relay->hit.text[0] != '\0')
        set_hit(r, &relay->hit);
    PUT(r->why,
        p->relay.grant == ACL_ONLY ? "%s is in the relay list"
                                   : "%s is not in the list of those that may not relay",
        client);
    return allow(r);
}

static void put_unable(const struct acl_facts *f, struct acl_reason *r)
{
    PUT(r->text, "Unable to relay for %.*s", SPAN_ARG(span_sub(f->recipient.text, 0, 320)));
}

static enum acl_verdict defer_relay(const struct acl_policy *p, const struct acl_facts *f,
                                    struct acl_reason *r)
{
    set_rule(r, p->relay.rule, &p->relay.list_at);
    put_unable(f, r);
    put_failure(r, &p->relay, f);
    put_names_change(r, &p->relay, f);
    return reason_refuse(r, ACL_DEFER, 450, "4.7.1");
}

static enum acl_verdict deny_relay(const struct acl_policy *p, const struct acl_facts *f,
                                   const struct relay *relay, const char *whom,
                                   struct acl_reason *r)
{
    char client[NETADDR_TEXT_MAX];
    bool login_helps = p->relay_authenticated && f->identity_state != FACT_VALUE;
    netaddr_format(&f->client, client);
    set_rule(r, p->relay.rule, &p->relay.list_at);
    if (relay->hit.text[0] != '\0')
        set_hit(r, &relay->hit);
    put_unable(f, r);
    if (f->authentication_failed)
        PUT(r->hint, "authentication failed earlier in this session, and %s is not granted",
            client);
    else
        PUT(r->hint,
            login_helps ? "%s is not granted and has not authenticated" : "%s is not granted",
            client);
    PUT(r->why, "%s; %s %s%s", whom, client,
        p->relay.grant == ACL_ONLY ? "is not in the relay list"
                                   : "is in the list of those that may not relay",
        login_helps && f->authentication_failed
            ? " and its authentication failed earlier in this session"
        : login_helps ? " and has not authenticated"
        : !p->relay_authenticated && f->identity_state == FACT_VALUE
            ? ", and authentication gives no relay right"
            : "");
    if (login_helps)
        PUT(r->change, "%s, or ",
            f->authentication_failed ? "authenticate with a valid name and password"
                                     : "authenticate");
    put_list_change(r->change, sizeof r->change, &p->relay, f, &relay->hit);
    return reason_refuse(r, ACL_DENY, 550, "5.7.1");
}

/* whom: the half sentence that says why the relay right is asked for. */
static enum acl_verdict ask_relay(const struct acl_policy *p, const struct acl_facts *f,
                                  const char *whom, struct acl_reason *r)
{
    struct relay relay;
    judge_relay(p, f, &relay);
    switch (relay.may) {
    case ACL_MATCH_YES: return allow_relay(p, f, &relay, r);
    case ACL_MATCH_FAILED: return defer_relay(p, f, r);
    case ACL_MATCH_NO: return deny_relay(p, f, &relay, whom, r);
    case ACL_MATCH_UNKNOWN: break;
    }
    set_rule(r, p->relay.rule, &p->relay.list_at);
    return reason_need(r, relay.need);
}

/* What could route the mail onwards from inside the local part (facts: the open-relay list). */
static bool is_trapped(struct span local)
{
    for (size_t i = 0; i < local.n; i++)
        if (local.p[i] == '@' || local.p[i] == '%' || local.p[i] == '!' || local.p[i] == ':')
            return true;
    return false;
}

static enum acl_verdict allow_domain(const struct acl_policy *p, const struct policy_domain *d,
                                     struct acl_reason *r)
{
    PUT(r->rule, "domains[%zu]", (size_t)(d - p->domains));
    COPY(r->entry, d->name);
    r->at = d->at;
    PUT(r->why, d->local ? "%s is a local domain" : "mail for %s is taken from everybody", d->name);
    return allow(r);
}

static enum acl_verdict allow_postmaster(const struct acl_policy *p, struct acl_reason *r)
{
    r->local = r->postmaster = true;
    if (p->postmaster != NAME_NONE) {
        enum acl_verdict verdict = allow_domain(p, &p->domains[p->postmaster], r);
        PUT(r->why, "postmaster is taken from everybody, for the first local domain, %s",
            p->domains[p->postmaster].name);
        return verdict;
    }
    set_rule(r, "service.hostname", &p->hostname_at);
    COPY(r->entry, p->hostname);
    PUT(r->why, "postmaster is taken from everybody, for %s", p->hostname);
    return allow(r);
}

static enum acl_verdict deny_bare(const struct acl_facts *f, struct acl_reason *r)
{
    COPY(r->rule, "recipient.domain");
    PUT(r->text, "Invalid address %.*s", SPAN_ARG(span_sub(f->recipient.text, 0, 320)));
    COPY(r->hint, "a recipient needs a domain");
    COPY(r->why, "the recipient has no domain; only postmaster may go without one");
    COPY(r->change, "write the recipient with its domain");
    return reason_refuse(r, ACL_DENY, 550, "5.1.3");
}

static enum acl_verdict judge_rcpt(const struct acl_policy *p, const struct acl_facts *f,
                                   struct acl_reason *r)
{
    const struct acl_path *to = &f->recipient;
    const struct policy_domain *d = to->literal ? NULL : policy_domain_find(p, to->domain);
    bool local = d != NULL && d->local;
    if (to->domain.n == 0)
        return to->postmaster ? allow_postmaster(p, r) : deny_bare(f, r);
    if (!local && span_is_nocase(to->local, "postmaster") &&
        span_equal_nocase(to->domain, span_str(p->hostname)))
        return allow_postmaster(p, r);
    r->local = local;
    bool trapped = is_trapped(to->local);
    if (d != NULL && (d->local || d->relay) && !trapped)
        return allow_domain(p, d, r);
    return ask_relay(
        p, f,
        trapped     ? "the local part could route the mail onwards, which takes the relay right"
        : d != NULL ? "the domain is listed as remote without relay, which takes the relay right"
                    : "the domain is not listed, which takes the relay right",
        r);
}

/* The client's profile comes first, and then the domains and the relay right: so the rule that is
 * named is the same however much is known. Postmaster is no profile's to refuse. */
static enum acl_verdict decide_rcpt(const struct acl_policy *p, const struct acl_facts *f,
                                    struct acl_reason *r)
{
    enum acl_verdict verdict = judge_rcpt(p, f, r);
    if (p->n_profiles == 0 || r->postmaster || f->recipient.domain.n == 0)
        return verdict;
    struct acl_reason profile = {.stage = r->stage};
    unsigned need = r->need;
    switch (profile_decide(p, f, ACL_STEP_RELAY, &profile)) {
    case ACL_ALLOW: return verdict;
    case ACL_DENY: break;
    case ACL_DEFER:
        if (verdict == ACL_DENY) /* whatever the profile would say */
            return verdict;
        break;
    case ACL_NEED: profile.need |= need; break;
    }
    *r = profile;
    return r->verdict;
}

enum acl_verdict acl_decide(const struct acl_policy *policy, enum acl_stage stage,
                            const struct acl_facts *facts, struct acl_reason *reason)
{
    memset(reason, 0, sizeof *reason);
    reason->stage = stage;
    reason->step = stage == ACL_RCPT   ? ACL_STEP_RELAY
                   : stage == ACL_MAIL ? ACL_STEP_SENDER
                                       : ACL_STEP_CONNECTION;
    if (stage != ACL_RCPT && facts->origin == ACL_FROM_PICKUP) {
        PUT(reason->rule, "pickup");
        PUT(reason->why, "the mail lies in the Pickup directory: who may write there may relay");
        return allow(reason);
    }
    enum acl_verdict verdict = stage == ACL_CONNECT ? decide_connect(policy, facts, reason)
                               : stage == ACL_MAIL  ? decide_mail(policy, facts, reason)
                                                    : decide_rcpt(policy, facts, reason);
    return verdict == ACL_ALLOW ? rate_decide(policy, facts, reason) : verdict;
}
