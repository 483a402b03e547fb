/* decide.c - recipient and policy to next hop. */
#include "route/parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct route_entry *route_find(const struct route_policy *p, const char *domain)
{
    struct route_entry key = {.name = domain};
    if (p->n_entries == 0)
        return NULL;
    const struct route_entry *found =
        bsearch(&key, p->entries, p->n_entries, sizeof key, route_entry_compare);
    key.wildcard = true;
    for (const char *dot = strchr(domain, '.'); found == NULL && dot != NULL;
         dot = strchr(dot + 1, '.')) {
        key.name = dot + 1;
        found = bsearch(&key, p->entries, p->n_entries, sizeof key, route_entry_compare);
    }
    return found;
}

static void put(char *out, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
static void put(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out, size, format, args);
    va_end(args);
}

static void set_rule(struct route *out, const char *rule, const struct route_position *at)
{
    put(out->rule, sizeof out->rule, "%s", rule);
    put(out->file, sizeof out->file, "%s", at->file == NULL ? "" : at->file);
    out->line = at->line;
}

/* Many long host names do not fit: then a hash of all of them tells keys apart. */
static void put_hosts_key(struct route_step *step)
{
    char all[ROUTE_HOSTS_MAX * (ROUTE_DOMAIN_MAX + 16) + 64];
    size_t at = 0;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < step->n_hosts; i++)
        at += (size_t)snprintf(all + at, sizeof all - at,
                               step->hosts[i].literal ? "%s[%s]:%u" : "%s%s:%u", i == 0 ? "" : ",",
                               step->hosts[i].name, (unsigned)step->hosts[i].port);
    for (size_t i = 0; i < at; i++)
        hash = (hash ^ (uint8_t)all[i]) * 0x100000001b3u;
    if (at > ROUTE_KEY_MAX - 80)
        put(all + ROUTE_KEY_MAX - 80, 24, "#%016" PRIx64, hash);
    put(step->key, sizeof step->key, "hosts %s tls=%d auth=%zd", all, (int)step->tls,
        (ptrdiff_t)step->credentials);
}

static struct route_step *add_step(struct route *out, enum route_kind kind, enum route_tls tls,
                                   size_t credentials)
{
    struct route_step *step = &out->steps[out->n++];
    step->kind = kind;
    step->tls = tls;
    step->credentials = credentials;
    return step;
}

static void add_hosts(struct route *out, const struct route_host *hosts, size_t n,
                      enum route_tls tls, size_t credentials)
{
    struct route_step *step = add_step(out, ROUTE_HOSTS, tls, credentials);
    memcpy(step->hosts, hosts, n * sizeof *hosts);
    step->n_hosts = n;
    put_hosts_key(step);
}

static void add_mx(struct route *out, uint16_t port, enum route_tls tls, size_t credentials)
{
    struct route_step *step = add_step(out, ROUTE_MX, tls, credentials);
    step->port = port;
    put(step->domain, sizeof step->domain, "%s", out->domain);
    put(step->key, sizeof step->key, "mx %s:%u tls=%d auth=%zd", out->domain, (unsigned)port,
        (int)tls, (ptrdiff_t)credentials);
}

static bool drop(struct route *out)
{
    struct route_step *step = add_step(out, ROUTE_DROP, ROUTE_TLS_NONE, ROUTE_NO_CREDENTIALS);
    put(step->key, sizeof step->key, "drop");
    return true;
}

/* user@[1.2.3.4]: straight there (RFC 5321 4.1.3). */
static bool decide_literal(const struct route_policy *p, struct route *out, struct err *e)
{
    struct span literal = span_str(out->domain);
    struct route_host host = {.literal = true, .port = p->port};
    if (literal.p[literal.n - 1] != ']' ||
        !route_literal_parse(span_sub(literal, 1, literal.n - 2), &host.address))
        return err_set(e, ERR_PERM, "domain %s: no address between the brackets", out->domain);
    netaddr_format(&host.address, host.name);
    set_rule(out, "address-literal", &(struct route_position){0});
    add_hosts(out, &host, 1, p->tls, ROUTE_NO_CREDENTIALS);
    return true;
}

/* d is NULL for a domain that is not listed. */
static void decide_remote(const struct route_policy *p, const struct route_entry *d,
                          struct route *out)
{
    enum route_tls tls = d == NULL ? p->tls : d->tls;
    size_t own = d == NULL ? ROUTE_NO_CREDENTIALS : d->credentials;
    char rule[sizeof out->rule];
    if (d != NULL && d->n_hosts > 0) {
        put(rule, sizeof rule, "domains[%zu].smart_host", d->index);
        set_rule(out, rule, &d->smart_host_at);
        add_hosts(out, d->hosts, d->n_hosts, tls, own);
        return;
    }
    if (p->n_hosts == 0 || p->direct_first)
        add_mx(out, p->port, tls, own);
    if (p->n_hosts > 0) {
        set_rule(out, p->direct_first ? "delivery.direct_first" : "delivery.smart_host",
                 &p->smart_host_at);
        add_hosts(out, p->hosts, p->n_hosts, tls,
                  own == ROUTE_NO_CREDENTIALS ? p->credentials : own);
    } else if (d != NULL) {
        put(rule, sizeof rule, "domains[%zu]", d->index);
        set_rule(out, rule, &d->at);
    } else {
        set_rule(out, "mx", &p->delivery_at);
    }
}

bool route_decide(const struct route_policy *policy, struct span local, struct span domain,
                  struct route *out, struct err *e)
{
    char rule[sizeof out->rule];
    memset(out, 0, sizeof *out);
    if (!route_domain_to_ascii(domain, out->domain, e))
        return false;
    if (out->domain[0] == '[')
        return decide_literal(policy, out, e);
    if (!route_name_ok(span_str(out->domain)))
        return err_set(e, ERR_PERM, "domain %s: not a name that DNS could hold", out->domain);
    const struct route_entry *d = route_find(policy, out->domain);
    if (d != NULL && d->local) {
        put(rule, sizeof rule, "domains[%zu]", d->index);
        set_rule(out, rule, &d->at);
        return drop(out);
    }
    if (span_is_nocase(local, "postmaster") && strcmp(out->domain, policy->hostname) == 0) {
        set_rule(out, "service.hostname", &(struct route_position){0});
        return drop(out);
    }
    decide_remote(policy, d, out);
    return true;
}

bool route_masquerade(const struct route_policy *policy, struct span sender_domain,
                      struct span *domain)
{
    char ascii[ROUTE_DOMAIN_MAX];
    if (policy->masquerade[0] == '\0')
        return false;
    if (sender_domain.n > 0) {
        if (!route_domain_to_ascii(sender_domain, ascii, NULL))
            return false;
        const struct route_entry *d = route_find(policy, ascii);
        if ((d == NULL || !d->local) && strcmp(ascii, policy->hostname) != 0)
            return false;
    }
    *domain = span_str(policy->masquerade);
    return true;
}
