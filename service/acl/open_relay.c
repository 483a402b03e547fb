/* open_relay.c - is there a global address from which a stranger could relay?
 * The controls are sets of addresses; the question is whether their intersection meets the global
 * unicast space. No set is built: one address climbs, and each control in turn lifts it to the next
 * that it lets pass (a leapfrog join), so a million entries cost a million steps at the worst. */
#include "acl/entry.h"
#include "acl/list_parts.h"
#include "acl/policy.h"

#include <string.h>

/* IANA's special-purpose registries (RFC 6890): what is left of IPv4 and of 2000::/3. */
static const char *const global_v4[][2] = {
    {"1.0.0.0", "9.255.255.255"},       {"11.0.0.0", "100.63.255.255"},
    {"100.128.0.0", "126.255.255.255"}, {"128.0.0.0", "169.253.255.255"},
    {"169.255.0.0", "172.15.255.255"},  {"172.32.0.0", "191.255.255.255"},
    {"192.0.1.0", "192.0.1.255"},       {"192.0.3.0", "192.167.255.255"},
    {"192.169.0.0", "198.17.255.255"},  {"198.20.0.0", "198.51.99.255"},
    {"198.51.101.0", "203.0.112.255"},  {"203.0.114.0", "223.255.255.255"},
};
static const char *const global_v6[][2] = {
    {"2000::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"2001:db9::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

/* The next address; false past the last. */
static bool step(struct netaddr *a)
{
    for (size_t i = sizeof a->b; i > 0; i--)
        if (++a->b[i - 1] != 0)
            return true;
    return false;
}

/* The first interval that ends at or after the address. */
static bool interval_from(const struct acl_list *list, const struct netaddr *at,
                          struct netaddr *first, struct netaddr *last, uint32_t *entry)
{
    bool v4 = netaddr_is_v4(at);
    size_t low = 0, high = v4 ? list->n_v4 : list->n_v6, n = high;
    uint32_t number = v4 ? v4_number(at) : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool before =
            v4 ? list->v4[middle].last < number : netaddr_compare(&list->v6[middle].last, at) < 0;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == n)
        return false;
    *first = v4 ? v4_address(list->v4[low].first) : list->v6[low].first;
    *last = v4 ? v4_address(list->v4[low].last) : list->v6[low].last;
    *entry = v4 ? list->v4[low].entry : list->v6[low].entry;
    return true;
}

/* An address of this machine by itself, or the entry `self`: no stranger connects from there. */
static bool is_own(const struct acl_list *list, const struct netaddr *first,
                   const struct netaddr *last, uint32_t entry)
{
    if (entry == list->self_entry)
        return true;
    if (!netaddr_equal(first, last))
        return false;
    for (size_t i = 0; i < list->n_self; i++)
        if (netaddr_equal(first, &list->self[i]))
            return true;
    return false;
}

/* Lifts *at to the next address that an ONLY list lets pass. */
static bool lift_only(const struct acl_list *list, struct netaddr *at)
{
    struct netaddr first, last;
    uint32_t entry;
    if (list->open_name != NAME_NONE)
        return true;
    while (interval_from(list, at, &first, &last, &entry)) {
        if (!is_own(list, &first, &last, entry)) {
            if (netaddr_compare(&first, at) > 0)
                *at = first;
            return true;
        }
        *at = last;
        if (!step(at))
            return false;
    }
    return false;
}

/* The same for an ALL_EXCEPT list: names are taken as shutting nobody out. */
static bool lift_except(const struct acl_list *list, struct netaddr *at)
{
    struct netaddr first, last;
    uint32_t entry;
    while (interval_from(list, at, &first, &last, &entry) && netaddr_compare(&first, at) <= 0) {
        *at = last;
        if (!step(at))
            return false;
    }
    return true;
}

static bool lift(const struct control *control, struct netaddr *at)
{
    return control->grant == ACL_ONLY ? lift_only(control->list, at)
                                      : lift_except(control->list, at);
}

/* A global address that passes connection control and, where relay is given, that too. */
static bool find_in(const struct control *connection, const struct control *relay,
                    struct netaddr first, const struct netaddr *last, struct netaddr *found)
{
    struct netaddr at = first;
    for (;;) {
        struct netaddr before = at;
        if (!lift(connection, &at) || netaddr_compare(&at, last) > 0)
            return false;
        if (relay != NULL && (!lift(relay, &at) || netaddr_compare(&at, last) > 0))
            return false;
        if (netaddr_equal(&before, &at)) {
            *found = at;
            return true;
        }
    }
}

static bool find_global(const struct control *connection, const struct control *relay,
                        struct netaddr *found)
{
    struct netaddr first, last;
    for (size_t i = 0; i < sizeof global_v4 / sizeof *global_v4; i++)
        if (netaddr_parse(span_str(global_v4[i][0]), &first) &&
            netaddr_parse(span_str(global_v4[i][1]), &last) &&
            find_in(connection, relay, first, &last, found))
            return true;
    for (size_t i = 0; i < sizeof global_v6 / sizeof *global_v6; i++)
        if (netaddr_parse(span_str(global_v6[i][0]), &first) &&
            netaddr_parse(span_str(global_v6[i][1]), &last) &&
            find_in(connection, relay, first, &last, found))
            return true;
    return false;
}

static bool some_listener_is_anonymous(const struct acl_policy *p)
{
    for (size_t i = 0; i < p->n_listeners; i++)
        if (policy_anonymous(p, i))
            return true;
    return p->n_listeners == 0 && p->anonymous;
}

/* `*.com` with relay: true lists half the world. */
static const struct policy_domain *open_domain(const struct acl_policy *p)
{
    for (size_t i = 0; i < p->n_domains; i++) {
        struct span name = span_str(p->domains[i].name);
        if (p->domains[i].relay && span_starts_nocase(name, "*.") &&
            acl_is_public_suffix(span_from(name, 2)))
            return &p->domains[i];
    }
    return NULL;
}

static void tell_list(const struct acl_policy *p, const struct netaddr *found, struct acl_reason *r)
{
    const struct acl_list *list = p->relay.list;
    struct acl_names none = {.state = FACT_ABSENT};
    struct acl_hit hit = {.text = ""};
    char client[NETADDR_TEXT_MAX];
    netaddr_format(found, client);
    reason_put(r->rule, sizeof r->rule, "%s", p->relay.rule);
    r->at = p->relay.list_at;
    if (p->relay.grant == ACL_ALL_EXCEPT) {
        reason_put(
            r->why, sizeof r->why,
            "all clients but those in the list may relay without authentication, %s among them",
            client);
        reason_put(r->change, sizeof r->change, "set access.relay.grant: only");
        reason_append_at(r->change, sizeof r->change, &p->relay.grant_at);
        return;
    }
    if (list->open_name != NAME_NONE) {
        list_describe(list, list->open_name, found, found, &hit);
        reason_put(r->why, sizeof r->why,
                   "anybody can give an address a name that %s matches, and may then relay without "
                   "authentication",
                   hit.text);
    } else {
        (void)acl_list_match(list, found, &none, &hit);
        reason_put(r->why, sizeof r->why,
                   "%s is a public address and may relay without authentication", client);
    }
    reason_put(r->entry, sizeof r->entry, "%s", hit.text);
    r->at = hit.at;
    reason_put(r->change, sizeof r->change, "remove \"%s\" from access.relay.list", hit.text);
    reason_append_at(r->change, sizeof r->change, &hit.at);
}

bool acl_is_open_relay(const struct acl_policy *policy, struct acl_reason *reason)
{
    struct netaddr found;
    memset(reason, 0, sizeof *reason);
    reason_put(reason->rule, sizeof reason->rule, "access.relay");
    reason->stage = ACL_RCPT;
    if (!some_listener_is_anonymous(policy)) {
        reason_put(reason->why, sizeof reason->why, "no listener takes anonymous mail");
        return false;
    }
    if (find_global(&policy->connection, &policy->relay, &found)) {
        tell_list(policy, &found, reason);
        return true;
    }
    const struct policy_domain *d = open_domain(policy);
    if (d != NULL && find_global(&policy->connection, NULL, &found)) {
        reason_put(reason->rule, sizeof reason->rule, "domains[%zu]",
                   (size_t)(d - policy->domains));
        reason_put(reason->entry, sizeof reason->entry, "%s", d->name);
        reason->at = d->at;
        reason_put(reason->why, sizeof reason->why,
                   "mail for all of %s is taken from everybody who may connect", d->name);
        reason_put(reason->change, sizeof reason->change,
                   "name the domains that are meant instead of \"%s\"", d->name);
        reason_append_at(reason->change, sizeof reason->change, &d->at);
        return true;
    }
    reason_put(reason->why, sizeof reason->why,
               "no public address may relay without authentication");
    return false;
}
