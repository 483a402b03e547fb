/* policy.c - acl_options to acl_policy: everything copied, every fault found. */
#include "acl/policy.h"

#include "base/host_name.h"
#include "acl/entry.h"
#include "acl/list_parts.h"
#include "acl/profile.h"

#include <stdlib.h>
#include <string.h>

/* 10,000 domains with names of usual length stay far below it. */
enum { POLICY_MEMORY_MAX = 256 * 1024 * 1024 };

void reason_put_removal(char *out, size_t size, const struct control *control,
                        const struct acl_facts *facts, const struct acl_hit *hit)
{
    struct acl_hit hits[HOLDERS_TOLD];
    bool unsure = false;
    size_t n = !hit->overlaps ? 1
                              : acl_list_holders(control->list, &facts->client, &facts->names, hits,
                                                 HOLDERS_TOLD, &unsure);
    if (n <= 1) {
        reason_append(out, size, "remove \"%s\" from %s", hit->text, control->list_rule);
        reason_append_at(out, size, &hit->at);
    } else {
        size_t told = 0;
        for (; told < n && told < HOLDERS_TOLD; told++) {
            const struct acl_hit *x = &hits[told];
            if (strlen(out) + strlen(x->text) + strlen(x->at.file) + ITEM_ROOM > size)
                break;
            reason_put_item(out, size, told, n, x->text, &x->at);
        }
        if (told < n)
            reason_append(out, size, "%s%zu more that hold the client", told == 0 ? "" : " and ",
                          n - told);
        reason_append(out, size, " from %s", control->list_rule);
    }
    if (unsure && facts->names.state == FACT_FAILED)
        reason_append(out, size, ", and repair the reverse DNS of the client, for the names there");
    else if (unsure)
        reason_append(out, size,
                      facts->names.state == FACT_VALUE
                          ? ", and every other entry there that holds the client"
                          : ", and every host name there that is the client's");
}

bool policy_keep_at(struct acl_policy *p, const struct acl_position *from, struct acl_position *to)
{
    *to = *from;
    if (from->file == NULL)
        return true;
    to->file = arena_str(&p->memory, from->file);
    return to->file != NULL;
}

bool policy_keep_rates(struct acl_policy *p, const struct acl_rate_limits *from,
                       struct acl_rate_limits *to)
{
    *to = *from;
    for (size_t by = 0; by < ACL_RATE_BYS; by++)
        for (size_t rate = 0; rate < ACL_RATES; rate++) {
            p->has_rates = p->has_rates || from->v[by][rate].most > 0;
            if (!policy_keep_at(p, &from->v[by][rate].at, &to->v[by][rate].at))
                return false;
        }
    return true;
}

static bool keep_control(struct acl_policy *p, const struct acl_control_options *options,
                         struct control *control)
{
    control->grant = options->grant;
    return policy_keep_at(p, &options->grant_at, &control->grant_at) &&
           policy_keep_at(p, &options->list_at, &control->list_at);
}

static bool keep_listeners(struct acl_policy *p, const struct acl_options *options)
{
    if (options->n_listeners == 0)
        return true;
    p->listeners = arena_alloc(&p->memory, options->n_listeners * sizeof *p->listeners);
    if (p->listeners == NULL)
        return false;
    p->n_listeners = options->n_listeners;
    for (size_t i = 0; i < p->n_listeners; i++) {
        const struct acl_listener_options *from = &options->listeners[i];
        struct acl_listener_options *to = &p->listeners[i];
        *to = *from;
        if (!policy_keep_at(p, &from->at, &to->at) ||
            !policy_keep_at(p, &from->tls_at, &to->tls_at) ||
            !policy_keep_at(p, &from->anonymous_at, &to->anonymous_at))
            return false;
    }
    return true;
}

/* The name as it is looked up: without `*.` and the root's dot. */
static struct span bare_name(const char *name, bool *wildcard)
{
    struct span s = span_str(name);
    *wildcard = span_starts_nocase(s, "*.");
    if (*wildcard)
        s = span_from(s, 2);
    if (s.n > 1 && s.p[s.n - 1] == '.')
        s.n--;
    return s;
}

static bool keep_domain(struct acl_policy *p, const struct acl_domain_options *from, uint32_t index,
                        size_t *pool_used, struct acl_problems *problems)
{
    struct policy_domain *d = &p->domains[index];
    bool wildcard;
    struct span name = bare_name(from->name, &wildcard);
    char text[256];
    d->name = arena_str(&p->memory, from->name == NULL ? "" : from->name);
    d->local = from->type == ACL_DOMAIN_LOCAL;
    d->relay = from->type == ACL_DOMAIN_REMOTE && from->relay;
    if (d->name == NULL || !policy_keep_at(p, &from->at, &d->at))
        return false;
    if (!host_name_ok(name)) {
        reason_put(text, sizeof text,
                   "%s: not a domain, expected a name as example.net or *.example.net", d->name);
        return problems_add(problems, text, from->at.file, from->at.line, from->at.column);
    }
    uint32_t offset = (uint32_t)*pool_used;
    memcpy(p->pool + offset, name.p, name.n);
    *pool_used += name.n + 1;
    uint32_t there =
        name_table_put(wildcard ? &p->suffix : &p->exact, p->pool, offset, name_hash(name), index);
    if (there != NAME_NONE) {
        reason_put(text, sizeof text, "%s: stands already at line %u, expected each domain once",
                   d->name, p->domains[there].at.line);
        return problems_add(problems, text, from->at.file, from->at.line, from->at.column);
    }
    if (d->local && !wildcard && p->postmaster == NAME_NONE)
        p->postmaster = index;
    return true;
}

static bool keep_domains(struct acl_policy *p, const struct acl_options *options,
                         struct acl_problems *problems)
{
    size_t pool_size = 0, pool_used = 0;
    if (options->n_domains == 0)
        return true;
    for (size_t i = 0; i < options->n_domains; i++)
        pool_size += span_str(options->domains[i].name).n + 1;
    p->domains = arena_alloc(&p->memory, options->n_domains * sizeof *p->domains);
    p->pool = arena_alloc(&p->memory, pool_size);
    if (p->domains == NULL || p->pool == NULL || !name_table_init(&p->exact, options->n_domains) ||
        !name_table_init(&p->suffix, options->n_domains))
        return false;
    p->n_domains = options->n_domains;
    for (size_t i = 0; i < p->n_domains; i++)
        if (!keep_domain(p, &options->domains[i], (uint32_t)i, &pool_used, problems))
            return false;
    return true;
}

static bool keep_all(struct acl_policy *p, const struct acl_options *options,
                     struct acl_problems *problems)
{
    p->connection.rule = "access.connection";
    p->connection.list_rule = "access.connection.list";
    p->relay.rule = "access.relay";
    p->relay.list_rule = "access.relay.list";
    p->relay_authenticated = options->relay_authenticated;
    p->anonymous = options->anonymous;
    p->hostname = arena_str(&p->memory, options->hostname == NULL ? "" : options->hostname);
    return p->hostname != NULL && keep_control(p, &options->connection, &p->connection) &&
           keep_control(p, &options->relay, &p->relay) &&
           policy_keep_at(p, &options->relay_authenticated_at, &p->relay_authenticated_at) &&
           policy_keep_at(p, &options->anonymous_at, &p->anonymous_at) &&
           policy_keep_at(p, &options->hostname_at, &p->hostname_at) &&
           keep_listeners(p, options) && keep_domains(p, options, problems) &&
           profiles_make(p, options, problems) && policy_keep_rates(p, &options->rates, &p->rates);
}

/* Seals the caller's list, or makes an empty one in its place. */
static bool take_list(struct acl_list *given, struct acl_list **mine, struct err *e)
{
    *mine = given != NULL ? given : acl_list_new(NULL, 0);
    if (*mine == NULL)
        return err_set(e, ERR_TEMP, "access policy: no memory");
    return acl_list_seal(*mine, e);
}

bool acl_policy_new(struct acl_options *options, struct acl_policy **policy,
                    struct acl_problems *problems, struct err *e)
{
    size_t problems_before = problems->n + problems->left_out;
    struct acl_policy *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_TEMP, "access policy: no memory");
    arena_init(&p->memory, POLICY_MEMORY_MAX);
    p->postmaster = NAME_NONE;
    bool done = take_list(options->connection.list, &p->connection.list, e) &&
                take_list(options->relay.list, &p->relay.list, e);
    if (done && !keep_all(p, options, problems))
        done = err_set(e, ERR_TEMP, "access policy: no memory");
    if (done && problems->n + problems->left_out > problems_before)
        done = err_set(e, ERR_PERM, "access policy: faulty domains or profiles");
    if (!done) { /* the given lists stay the caller's */
        if (p->connection.list == options->connection.list)
            p->connection.list = NULL;
        if (p->relay.list == options->relay.list)
            p->relay.list = NULL;
        acl_policy_free(&p);
        return false;
    }
    options->connection.list = options->relay.list = NULL;
    for (size_t i = 0; i < p->n_profiles; i++) {
        p->profiles[i].clients = options->profiles[i].clients;
        options->profiles[i].clients = NULL;
    }
    *policy = p;
    return true;
}

void acl_policy_free(struct acl_policy **policy)
{
    struct acl_policy *p = *policy;
    if (p == NULL)
        return;
    acl_list_free(&p->connection.list);
    acl_list_free(&p->relay.list);
    name_table_deinit(&p->exact);
    name_table_deinit(&p->suffix);
    profiles_drop(p);
    arena_deinit(&p->memory);
    free(p);
    *policy = NULL;
}

const struct policy_domain *policy_domain_find(const struct acl_policy *p, struct span name)
{
    uint32_t index = name_table_get(&p->exact, p->pool, name);
    if (index == NAME_NONE)
        index = name_table_get_suffix(&p->suffix, p->pool, name);
    return index == NAME_NONE ? NULL : &p->domains[index];
}

bool policy_anonymous(const struct acl_policy *p, size_t listener)
{
    if (listener < p->n_listeners && p->listeners[listener].anonymous_set)
        return p->listeners[listener].anonymous;
    return p->anonymous;
}

const char *acl_postmaster_domain(const struct acl_policy *policy)
{
    return policy->postmaster == NAME_NONE ? policy->hostname
                                           : policy->domains[policy->postmaster].name;
}

bool acl_uses_names(const struct acl_policy *policy)
{
    bool names =
        acl_list_has_names(policy->connection.list) || acl_list_has_names(policy->relay.list);
    for (size_t i = 0; i < policy->n_profiles; i++)
        names = names || (policy->profiles[i].clients != NULL &&
                          acl_list_has_names(policy->profiles[i].clients));
    return names;
}

const struct acl_list *acl_connection_list(const struct acl_policy *policy)
{
    return policy->connection.list;
}

const struct acl_list *acl_relay_list(const struct acl_policy *policy)
{
    return policy->relay.list;
}

enum acl_match control_judge(const struct control *control, const struct acl_facts *facts,
                             struct acl_hit *hit)
{
    enum acl_match match = acl_list_match(control->list, &facts->client, &facts->names, hit);
    if (control->grant == ACL_ONLY)
        return match;
    switch (match) {
    case ACL_MATCH_YES: return ACL_MATCH_NO;
    case ACL_MATCH_NO: return ACL_MATCH_YES;
    case ACL_MATCH_FAILED:
    case ACL_MATCH_UNKNOWN: return match;
    }
    return ACL_MATCH_FAILED;
}
