#include "acl/profile.h"

#include "acl/policy.h"

#include <string.h>

#define PUT(field, ...) reason_put(field, sizeof(field), __VA_ARGS__)
#define COPY(field, text) reason_copy(field, sizeof(field), text)

static bool make_profile(struct acl_policy *p, const struct acl_profile_options *from,
                         struct profile *to, struct acl_problems *problems)
{
    struct err e;
    to->at = from->at;
    to->fixes_sender = from->fixes_sender;
    if (from->at.file != NULL && (to->at.file = arena_str(&p->memory, from->at.file)) == NULL)
        return false;
    if (from->accounts.n > 0) {
        to->accounts = arena_alloc(&p->memory, from->accounts.n * sizeof *to->accounts);
        if (to->accounts == NULL)
            return false;
    }
    for (; to->n_accounts < from->accounts.n; to->n_accounts++) {
        const char *account = arena_str(&p->memory, from->accounts.v[to->n_accounts].text);
        if (account == NULL)
            return false;
        to->accounts[to->n_accounts] = account;
    }
    return (from->clients == NULL || acl_list_seal(from->clients, &e)) &&
           policy_keep_rates(p, &from->rates, &to->rates) &&
           address_set_make(&p->memory, &from->senders, &to->senders, problems) &&
           address_set_make(&p->memory, &from->recipients_allow, &to->allow, problems) &&
           address_set_make(&p->memory, &from->recipients_refuse, &to->refuse, problems);
}

bool profiles_make(struct acl_policy *p, const struct acl_options *options,
                   struct acl_problems *problems)
{
    if (options->n_profiles == 0)
        return true;
    p->profiles = arena_alloc(&p->memory, options->n_profiles * sizeof *p->profiles);
    if (p->profiles == NULL)
        return false;
    for (size_t i = 0; i < options->n_profiles; i++) {
        p->n_profiles = i + 1;
        if (!make_profile(p, &options->profiles[i], &p->profiles[i], problems))
            return false;
    }
    return true;
}

void profiles_drop(struct acl_policy *p)
{
    for (size_t i = 0; i < p->n_profiles; i++) {
        address_set_drop(&p->profiles[i].senders);
        address_set_drop(&p->profiles[i].allow);
        address_set_drop(&p->profiles[i].refuse);
        acl_list_free(&p->profiles[i].clients);
    }
    p->n_profiles = 0;
}

/* ---- whose profile ---- */

static enum acl_match account_of(const struct profile *x, const struct acl_facts *f)
{
    if (x->n_accounts == 0)
        return ACL_MATCH_YES;
    switch (f->identity_state) {
    case FACT_UNKNOWN: return ACL_MATCH_UNKNOWN;
    case FACT_FAILED: return ACL_MATCH_FAILED;
    case FACT_ABSENT: return ACL_MATCH_NO;
    case FACT_VALUE: break;
    }
    for (size_t i = 0; i < x->n_accounts; i++)
        if (span_is_nocase(f->identity, x->accounts[i]))
            return ACL_MATCH_YES;
    return ACL_MATCH_NO;
}

static enum acl_match client_of(const struct profile *x, const struct acl_facts *f)
{
    return x->clients == NULL ? ACL_MATCH_YES
                              : acl_list_match(x->clients, &f->client, &f->names, NULL);
}

enum acl_match profile_holds(const struct profile *x, const struct acl_facts *f, unsigned *need)
{
    if (x == NULL)
        return ACL_MATCH_YES;
    enum acl_match account = account_of(x, f);
    enum acl_match client = account == ACL_MATCH_NO ? ACL_MATCH_NO : client_of(x, f);
    if (account == ACL_MATCH_NO || client == ACL_MATCH_NO)
        return ACL_MATCH_NO;
    if (account == ACL_MATCH_FAILED || client == ACL_MATCH_FAILED)
        return ACL_MATCH_FAILED; /* what else is unknown would not help */
    if (account == ACL_MATCH_UNKNOWN)
        *need |= ACL_NEED_IDENTITY;
    if (client == ACL_MATCH_UNKNOWN)
        *need |= ACL_NEED_NAMES;
    return account == ACL_MATCH_UNKNOWN ? account : client;
}

size_t acl_profile_of(const struct acl_policy *policy, const struct acl_facts *facts)
{
    unsigned need = 0;
    for (size_t i = 0; i < policy->n_profiles && facts->origin == ACL_FROM_NETWORK; i++) {
        enum acl_match match = profile_holds(&policy->profiles[i], facts, &need);
        if (match != ACL_MATCH_NO)
            return match == ACL_MATCH_YES ? i + 1 : 0;
    }
    return 0;
}

/* ---- the steps ---- */

static void name_rule(const struct acl_policy *p, const struct profile *x, const char *what,
                      const struct acl_position *at, struct acl_reason *r)
{
    PUT(r->rule, "access.profiles[%zu]%s", (size_t)(x - p->profiles), what);
    r->at = *at;
}

enum acl_verdict profile_unsure(const struct acl_policy *p, const struct profile *first,
                                unsigned need, struct acl_reason *r)
{
    enum acl_stage stage = r->stage;
    enum acl_step step = r->step;
    *r = (struct acl_reason){.stage = stage, .step = step};
    name_rule(p, first, "", &first->at, r);
    if (need != 0)
        return reason_need(r, need);
    COPY(r->text, "Try again later");
    COPY(r->hint, "for now: who you are could not be found out");
    PUT(r->why, "whether %s is this client's could not be found out", r->rule);
    COPY(r->change, "repair the reverse DNS of the client, or list its address in the profile");
    return reason_refuse(r, ACL_DEFER, stage == ACL_CONNECT ? 421 : 450, "4.7.1");
}

static enum acl_verdict too_hard(struct acl_reason *r)
{
    COPY(r->text, "Try again later");
    PUT(r->why, "a pattern of %s takes too many steps on this address", r->rule);
    COPY(r->change, "simplify the pattern");
    return reason_refuse(r, ACL_DEFER, 450, "4.7.1");
}

static void put_add(struct acl_reason *r, struct span address, const struct acl_position *at)
{
    if (address.n == 0)
        PUT(r->change, "add \"<>\" to %s", r->rule);
    else
        PUT(r->change, "add \"%.*s\" to %s", SPAN_ARG(span_sub(address, 0, 256)), r->rule);
    reason_append_at(r->change, sizeof r->change, at);
}

static void put_hit(struct acl_reason *r, const struct address *hit)
{
    COPY(r->entry, hit->text);
    r->at = hit->at;
}

static enum acl_verdict pass_sender(const struct acl_policy *p, const struct profile *x,
                                    struct acl_reason *r)
{
    COPY(r->rule, "access.profiles");
    if (x != NULL)
        name_rule(p, x, "", &x->at, r);
    COPY(r->why, x == NULL ? "no profile holds the client: any sender may be used"
                           : "the client's profile lets it use any sender");
    return r->verdict = ACL_ALLOW;
}

/* x NULL: no profile is his. */
static enum acl_verdict judge_sender(const struct acl_policy *p, const struct profile *x,
                                     const struct acl_facts *f, struct acl_reason *r)
{
    const struct address *hit = NULL;
    if (x == NULL || x->senders.n == 0)
        return pass_sender(p, x, r);
    name_rule(p, x, ".senders", &x->senders.at, r);
    enum acl_match match = address_set_match(&x->senders, &f->sender, &hit);
    if (match == ACL_MATCH_FAILED)
        return too_hard(r);
    if (match == ACL_MATCH_YES) {
        put_hit(r, hit);
        COPY(r->why, "the sender is one of those that the client's profile names");
        return r->verdict = ACL_ALLOW;
    }
    struct span sender = span_sub(f->sender.text, 0, 256);
    PUT(r->text, "Client does not have permissions to send as %s%.*s", sender.n == 0 ? "<>" : "",
        SPAN_ARG(sender));
    PUT(r->why, "the client's profile names its senders, and %s%.*s is not among them",
        sender.n == 0 ? "<>" : "", SPAN_ARG(sender));
    put_add(r, sender, &x->senders.at);
    return reason_refuse(r, ACL_DENY, 550, "5.7.1");
}

static enum acl_verdict deny_recipient(const struct acl_facts *f, const char *why,
                                       struct acl_reason *r)
{
    PUT(r->text, "Recipient %.*s is not allowed for this client",
        SPAN_ARG(span_sub(f->recipient.text, 0, 256)));
    COPY(r->why, why);
    return reason_refuse(r, ACL_DENY, 550, "5.7.1");
}

/* All entries that hold the recipient. */
static void put_remove(const struct profile *x, const struct address *hit,
                       const struct acl_facts *f, struct acl_reason *r)
{
    const struct address *holders[HOLDERS_TOLD] = {hit};
    size_t n = 1;
    bool more = false;
    for (const struct address *a = hit + 1; a < x->refuse.v + x->refuse.n; a++) {
        const struct address_set one = {.v = x->refuse.v + (a - x->refuse.v), .n = 1};
        const struct address *found;
        if (address_set_match(&one, &f->recipient, &found) == ACL_MATCH_NO)
            continue;
        if (n < HOLDERS_TOLD)
            holders[n++] = a;
        else
            more = true;
    }
    if (n == 1) {
        PUT(r->change, "remove \"%s\" from %s", hit->text, r->rule);
        reason_append_at(r->change, sizeof r->change, &hit->at);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (strlen(r->change) + strlen(holders[i]->text) +
                strlen(holders[i]->at.file == NULL ? "" : holders[i]->at.file) + ITEM_ROOM >
            sizeof r->change) {
            more = true;
            break;
        }
        reason_put_item(r->change, sizeof r->change, i, n, holders[i]->text, &holders[i]->at);
    }
    reason_append(r->change, sizeof r->change, " from %s", r->rule);
    if (more)
        reason_append(r->change, sizeof r->change,
                      ", and every other entry there that holds the recipient");
}

static enum acl_verdict judge_recipient(const struct acl_policy *p, const struct profile *x,
                                        const struct acl_facts *f, struct acl_reason *r)
{
    const struct address *hit = NULL;
    if (x == NULL)
        return r->verdict = ACL_ALLOW;
    name_rule(p, x, ".recipients.refuse", &x->refuse.at, r);
    enum acl_match refused = address_set_match(&x->refuse, &f->recipient, &hit);
    if (refused == ACL_MATCH_FAILED)
        return too_hard(r);
    if (refused == ACL_MATCH_YES) {
        put_hit(r, hit);
        put_remove(x, hit, f, r);
        return deny_recipient(f, "the client's profile refuses this recipient", r);
    }
    if (x->allow.n == 0)
        return r->verdict = ACL_ALLOW;
    name_rule(p, x, ".recipients.allow", &x->allow.at, r);
    enum acl_match allowed = address_set_match(&x->allow, &f->recipient, &hit);
    if (allowed == ACL_MATCH_FAILED)
        return too_hard(r);
    if (allowed == ACL_MATCH_YES)
        return r->verdict = ACL_ALLOW;
    put_add(r, f->recipient.text, &x->allow.at);
    return deny_recipient(
        f, "the client's profile names its recipients, and this one is not among them", r);
}

static bool fixes(const struct profile *x)
{
    return x != NULL && x->fixes_sender;
}

/* All profiles that may be his are asked, up to the first that surely is. Where they agree, and
 * name the same rule where they refuse, it does not matter which it is, and nothing has to be found
 * out. */
enum acl_verdict profile_decide(const struct acl_policy *p, const struct acl_facts *f,
                                enum acl_step step, struct acl_reason *r)
{
    const struct profile *first = NULL;
    struct acl_reason other;
    unsigned need = 0;
    bool sure = false, asked = false, agree = true, failed = false, same_rule = true;
    for (size_t i = 0; !sure && i <= p->n_profiles; i++) {
        const struct profile *x = i < p->n_profiles ? &p->profiles[i] : NULL;
        enum acl_match match = profile_holds(x, f, &need);
        if (match == ACL_MATCH_NO || (x != NULL && f->origin != ACL_FROM_NETWORK))
            continue;
        sure = match == ACL_MATCH_YES;
        failed = failed || match == ACL_MATCH_FAILED;
        struct acl_reason *into = asked ? &other : r;
        *into = (struct acl_reason){.stage = r->stage, .step = step};
        if (step == ACL_STEP_SENDER)
            (void)judge_sender(p, x, f, into);
        else
            (void)judge_recipient(p, x, f, into);
        agree = agree && into->verdict == r->verdict &&
                (step != ACL_STEP_SENDER || !asked || (!fixes(first) && !fixes(x)));
        same_rule = same_rule && (r->verdict != ACL_DENY || strcmp(into->rule, r->rule) == 0);
        if (!asked)
            first = x;
        asked = true;
    }
    if (agree && (same_rule || failed || need == 0))
        return r->verdict;
    return profile_unsure(p, first, failed ? 0 : need, r);
}
