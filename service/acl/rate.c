/* rate.c - limits by the minute: which one holds for a client or an account at a stage, and what it
 * says once somebody has counted. Counting itself is the session's. */
#include "acl/policy.h"
#include "acl/profile.h"
#include "acl/rate.h"

#include <string.h>

#define PUT(field, ...) reason_put(field, sizeof(field), __VA_ARGS__)
#define COPY(field, text) reason_copy(field, sizeof(field), text)

enum { RATE_TEXT_MAX = 400 };

const char *acl_rate_name(enum acl_rate_by by, enum acl_rate rate)
{
    static const char *const names[ACL_RATE_BYS][ACL_RATES] = {
        {"client.connections", "client.messages", "client.recipients"},
        {"account.connections", "account.messages", "account.recipients"}};
    return names[by][rate];
}

/* Who has logged in is known at MAIL, so that is where the connections of an account are counted.
 */
static bool is_of_stage(enum acl_stage stage, enum acl_rate_by by, enum acl_rate rate)
{
    switch (rate) {
    case ACL_RATE_CONNECTIONS: return stage == (by == ACL_BY_CLIENT ? ACL_CONNECT : ACL_MAIL);
    case ACL_RATE_MESSAGES: return stage == ACL_MAIL;
    case ACL_RATE_RECIPIENTS: return stage == ACL_RCPT;
    case ACL_RATES: break;
    }
    return false;
}

static const struct acl_rate_limit *limit_of(const struct acl_policy *p, const struct profile *x,
                                             enum acl_rate_by by, enum acl_rate rate)
{
    const struct acl_rate_limit *own = x == NULL ? NULL : &x->rates.v[by][rate];
    return own != NULL && own->set ? own : &p->rates.v[by][rate];
}

/* Nobody has logged in when the connection comes. */
static struct acl_facts facts_at(enum acl_stage stage, const struct acl_facts *f)
{
    struct acl_facts then = *f;
    if (stage == ACL_CONNECT)
        then.identity_state = FACT_ABSENT;
    return then;
}

/* The profiles that may be the client's, up to the first that surely is, and whether each sets the
 * same limit. */
struct choice {
    const struct profile *first; /* NULL: none is his */
    const struct acl_rate_limit *limit;
    uint32_t least; /* the smallest limit of theirs; 0: none has one */
    unsigned need;
    bool failed, agree;
};

static void choose(const struct acl_policy *p, const struct acl_facts *f, enum acl_rate_by by,
                   enum acl_rate rate, struct choice *out)
{
    bool sure = false;
    *out = (struct choice){.agree = true};
    for (size_t i = 0; !sure && i <= p->n_profiles; i++) {
        const struct profile *x = i < p->n_profiles ? &p->profiles[i] : NULL;
        enum acl_match match = profile_holds(x, f, &out->need);
        if (match == ACL_MATCH_NO)
            continue;
        const struct acl_rate_limit *limit = limit_of(p, x, by, rate);
        sure = match == ACL_MATCH_YES;
        out->failed = out->failed || match == ACL_MATCH_FAILED;
        if (limit->most > 0 && (out->least == 0 || limit->most < out->least))
            out->least = limit->most;
        if (out->limit == NULL) {
            out->first = x;
            out->limit = limit;
        } else if (limit != out->limit && (limit->most > 0 || out->limit->most > 0)) {
            out->agree = false;
        }
    }
}

static void name_rule(const struct acl_policy *p, const struct choice *c, enum acl_rate_by by,
                      enum acl_rate rate, struct acl_reason *r)
{
    if (c->limit->set && c->first != NULL && c->limit == &c->first->rates.v[by][rate])
        PUT(r->rule, "access.profiles[%zu].rate.%s", (size_t)(c->first - p->profiles),
            acl_rate_name(by, rate));
    else
        PUT(r->rule, "limits.rate.%s", acl_rate_name(by, rate));
    r->at = c->limit->at;
}

static void put_who(const struct acl_facts *f, enum acl_rate_by by, char out[RATE_TEXT_MAX])
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&f->client, client);
    if (by == ACL_BY_CLIENT)
        reason_put(out, RATE_TEXT_MAX, "%s", client);
    else
        reason_put(out, RATE_TEXT_MAX, "%.*s", SPAN_ARG(span_sub(f->identity, 0, 256)));
}

static const char *const done[] = {[ACL_RATE_CONNECTIONS] = "made",
                                   [ACL_RATE_MESSAGES] = "begun",
                                   [ACL_RATE_RECIPIENTS] = "named"};
static const char *const what[] = {[ACL_RATE_CONNECTIONS] = "connections",
                                   [ACL_RATE_MESSAGES] = "messages",
                                   [ACL_RATE_RECIPIENTS] = "recipients"};

static enum acl_verdict deny(const struct acl_facts *f, const struct acl_rate_limit *limit,
                             enum acl_rate_by by, enum acl_rate rate, struct acl_reason *r)
{
    static const struct {
        unsigned code;
        const char *enhanced, *text;
    } replies[] = {[ACL_RATE_CONNECTIONS] = {421, "4.7.0", "Too many connections, try again later"},
                   [ACL_RATE_MESSAGES] = {450, "4.7.1", "Too many messages, try again later"},
                   [ACL_RATE_RECIPIENTS] = {452, "4.7.1", "Too many recipients, try again later"}};
    const struct acl_rate_use *use = &f->rates.use[by][rate];
    char who[RATE_TEXT_MAX];
    put_who(f, by, who);
    COPY(r->text, replies[rate].text);
    PUT(r->hint, "at most %u a minute%s", limit->most,
        by == ACL_BY_CLIENT ? "" : " for this account");
    PUT(r->why, "%s has %s %u %s within the last minute, and %u is the most%s", who, done[rate],
        use->used, what[rate], limit->most, use->wait_s == 0 ? "" : "; ");
    if (use->wait_s > 0)
        reason_append(r->why, sizeof r->why, "there is room again in %u s", use->wait_s);
    if (use->wait_s > 0)
        PUT(r->change, "wait %u s, or ", use->wait_s);
    reason_append(r->change, sizeof r->change, "set %s: %u", r->rule, use->used + 1);
    reason_append_at(r->change, sizeof r->change, &limit->at);
    return reason_refuse(r, ACL_DENY, replies[rate].code, replies[rate].enhanced);
}

static enum acl_verdict whose_account(const struct acl_facts *f, unsigned need,
                                      struct acl_reason *r)
{
    if (f->identity_state == FACT_UNKNOWN)
        return reason_need(r, need | ACL_NEED_IDENTITY);
    COPY(r->text, "Try again later");
    COPY(r->hint, "for now: authentication is not available");
    COPY(r->why, "who has authenticated could not be found out, and accounts are limited");
    PUT(r->change, "repair what tells who has authenticated, or set %s: 0", r->rule);
    return reason_refuse(r, ACL_DEFER, 450, "4.7.1");
}

/* One limit: what it hangs on is added to *need; *r is filled for what is no ALLOW. */
static enum acl_verdict judge(const struct acl_policy *p, const struct acl_facts *f,
                              enum acl_rate_by by, enum acl_rate rate, struct acl_reason *r,
                              uint32_t *most)
{
    struct choice c;
    if (by == ACL_BY_ACCOUNT && f->identity_state == FACT_ABSENT)
        return ACL_ALLOW;
    choose(p, f, by, rate, &c);
    uint32_t used = f->rates.use[by][rate].used;
    if (c.least == 0 || (f->rates.state == FACT_VALUE && used < c.least))
        return ACL_ALLOW; /* whosever it is */
    struct acl_reason mine = {.stage = r->stage, .step = ACL_STEP_RATE};
    if (!c.agree) {
        (void)profile_unsure(p, c.first, c.failed ? 0 : c.need, &mine);
    } else if (by == ACL_BY_ACCOUNT && f->identity_state != FACT_VALUE) {
        name_rule(p, &c, by, rate, &mine);
        (void)whose_account(f, c.need, &mine);
    } else {
        name_rule(p, &c, by, rate, &mine);
        *most = c.limit->most;
        if (f->rates.state == FACT_VALUE)
            (void)deny(f, c.limit, by, rate, &mine);
        else
            (void)reason_need(&mine, ACL_NEED_RATES);
    }
    *r = mine;
    return r->verdict;
}

/* What is settled comes first, and what is to be found out before what is to be counted: so that
 * nothing is counted for what is not allowed. */
static bool comes_first(const struct acl_reason *a, const struct acl_reason *b)
{
    static const int order[] = {[ACL_DENY] = 0, [ACL_DEFER] = 1, [ACL_NEED] = 2, [ACL_ALLOW] = 3};
    if (a->verdict == ACL_NEED && b->verdict == ACL_NEED)
        return a->need != ACL_NEED_RATES && b->need == ACL_NEED_RATES;
    return order[a->verdict] < order[b->verdict];
}

enum acl_verdict rate_decide(const struct acl_policy *p, const struct acl_facts *f,
                             struct acl_reason *r)
{
    if (!p->has_rates || f->origin != ACL_FROM_NETWORK)
        return r->verdict;
    struct acl_facts then = facts_at(r->stage, f);
    struct acl_reason first = {.verdict = ACL_ALLOW};
    uint32_t limits[ACL_RATE_BYS][ACL_RATES] = {{0}};
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        enum acl_rate_by by = (enum acl_rate_by)(i / ACL_RATES);
        enum acl_rate rate = (enum acl_rate)(i % ACL_RATES);
        struct acl_reason one = {.stage = r->stage};
        if (is_of_stage(r->stage, by, rate) &&
            judge(p, &then, by, rate, &one, &limits[by][rate]) != ACL_ALLOW &&
            comes_first(&one, &first))
            first = one;
    }
    if (first.verdict == ACL_ALLOW)
        return r->verdict;
    if (first.need == ACL_NEED_RATES)
        memcpy(first.limits, limits, sizeof first.limits);
    *r = first;
    return r->verdict;
}

bool rate_passed(const struct acl_policy *p, const struct acl_facts *f, enum acl_stage stage,
                 enum acl_rate_by by, enum acl_rate rate, struct acl_reason *r)
{
    if (!p->has_rates || f->origin != ACL_FROM_NETWORK || !is_of_stage(stage, by, rate) ||
        (by == ACL_BY_ACCOUNT && f->identity_state != FACT_VALUE))
        return false;
    struct acl_facts then = facts_at(stage, f);
    const struct acl_rate_use *use = &f->rates.use[by][rate];
    char who[RATE_TEXT_MAX];
    struct choice c;
    choose(p, &then, by, rate, &c);
    if (!c.agree || c.limit->most == 0 || f->rates.state != FACT_VALUE ||
        use->used >= c.limit->most)
        return false;
    *r = (struct acl_reason){.verdict = ACL_ALLOW, .stage = stage, .step = ACL_STEP_RATE};
    name_rule(p, &c, by, rate, r);
    put_who(f, by, who);
    PUT(r->why, "%s may have %u %s a minute, and has %s %u", who, c.limit->most, what[rate],
        done[rate], use->used);
    PUT(r->change, "%u more within the minute", c.limit->most - use->used);
    return true;
}
