/* Any delivery options and any recipient: what a route must hold to. The input is two letters of
 * flags and then a line each of smart hosts, host name, masquerade, local part and domain; the
 * lines that follow are domains: a letter of flags, the name, and smart hosts behind a space. */
#include "route/route.h"
#include "lines.h"

#include <stdlib.h>
#include <string.h>

enum { DOMAINS_MAX = 12, TEXT_MAX = 600, MX_MAX = 12, PROBLEMS_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    struct route_options options;
    struct route_domain_options domains[DOMAINS_MAX];
    char names[DOMAINS_MAX][TEXT_MAX], hosts[DOMAINS_MAX][TEXT_MAX];
    char smart_host[TEXT_MAX], hostname[TEXT_MAX], masquerade[TEXT_MAX];
    struct span local, domain;
};

static void read_domain(struct input *in, struct span line)
{
    size_t i = in->options.n_domains, space = span_find(line, ' ');
    if (line.n == 0 || !span_cstr(span_sub(line, 1, space - 1), in->names[i], TEXT_MAX) ||
        !span_cstr(span_from(line, space + 1), in->hosts[i], TEXT_MAX))
        return;
    uint8_t flags = line.p[0];
    in->domains[i] = (struct route_domain_options){
        .name = in->names[i],
        .local = (flags & 1) != 0,
        .smart_host = in->hosts[i],
        .tls_set = (flags & 2) != 0,
        .tls = (enum route_tls)(flags >> 2 & 3),
        .credentials = (flags & 16) != 0 ? i + 1 : ROUTE_NO_CREDENTIALS,
        .at = {"p", (unsigned)i + 1, 1},
        .smart_host_at = {"p", (unsigned)i + 1, 9}};
    in->options.n_domains++;
}

static void read_input(struct input *in, const uint8_t *flags, struct span rest)
{
    memset(in, 0, sizeof *in);
    (void)span_cstr(next_line(&rest), in->smart_host, TEXT_MAX);
    (void)span_cstr(next_line(&rest), in->hostname, TEXT_MAX);
    (void)span_cstr(next_line(&rest), in->masquerade, TEXT_MAX);
    in->local = next_line(&rest);
    in->domain = next_line(&rest);
    in->options = (struct route_options){.hostname = in->hostname,
                                         .domains = in->domains,
                                         .smart_host = in->smart_host,
                                         .direct_first = (flags[0] & 1) != 0,
                                         .tls = (enum route_tls)(flags[0] >> 1 & 3),
                                         .credentials = 0,
                                         .port = (flags[1] & 1) != 0 ? 2525 : 0,
                                         .masquerade = in->masquerade};
    while (rest.n > 0 && in->options.n_domains < DOMAINS_MAX)
        read_domain(in, next_line(&rest));
}

/* ---- names ---- */

/* As the policy compares: without the root's dot, as A-labels. */
static bool ascii_of(const char *name, char out[ROUTE_DOMAIN_MAX])
{
    struct span s = span_str(name);
    if (s.n > 1 && s.p[s.n - 1] == '.')
        s.n--;
    return route_domain_to_ascii(s, out, NULL);
}

/* The listed domain that holds the name, said the slow way: exact, else the longest wildcard. */
static const struct route_domain_options *listed(const struct input *in, const char *domain)
{
    const struct route_domain_options *best = NULL;
    size_t best_n = 0, n = strlen(domain);
    for (size_t i = 0; i < in->options.n_domains; i++) {
        const struct route_domain_options *d = &in->domains[i];
        char name[ROUTE_DOMAIN_MAX];
        bool wildcard = strncmp(d->name, "*.", 2) == 0;
        check(ascii_of(wildcard ? d->name + 2 : d->name, name));
        size_t m = strlen(name);
        if (!wildcard && strcmp(name, domain) == 0)
            return d;
        if (wildcard && n > m + 1 && domain[n - m - 1] == '.' &&
            strcmp(domain + n - m, name) == 0 && m > best_n) {
            best = d;
            best_n = m;
        }
    }
    return best;
}

static void check_ascii(struct span domain)
{
    char once[ROUTE_DOMAIN_MAX], twice[ROUTE_DOMAIN_MAX];
    struct err e = {0};
    memset(once, 0x55, sizeof once);
    if (!route_domain_to_ascii(domain, once, &e)) {
        check(e.class == ERR_PERM && e.text[0] != '\0');
        return;
    }
    check(memchr(once, '\0', sizeof once) != NULL && once[0] != '\0');
    for (const char *c = once; *c != '\0'; c++)
        check((uint8_t)*c < 0x80 && !(*c >= 'A' && *c <= 'Z'));
    check(route_domain_to_ascii(span_str(once), twice, &e) && strcmp(once, twice) == 0);
}

/* ---- routes ---- */

static void check_hosts(const struct route_step *s)
{
    check(s->n_hosts >= 1 && s->n_hosts <= ROUTE_HOSTS_MAX);
    for (size_t i = 0; i < s->n_hosts; i++) {
        const struct route_host *h = &s->hosts[i];
        struct netaddr again;
        check(h->port != 0 && h->name[0] != '\0' && memchr(h->name, '\0', sizeof h->name) != NULL);
        check(netaddr_parse(span_str(h->name), &again) == h->literal);
        check(!h->literal || netaddr_equal(&again, &h->address));
    }
}

static void check_route(const struct input *in, const struct route *r)
{
    bool literal = r->domain[0] == '[', last = r->n == 1;
    const struct route_domain_options *d = literal ? NULL : listed(in, r->domain);
    enum route_tls tls = d != NULL && d->tls_set ? d->tls : in->options.tls;
    size_t own = d == NULL ? ROUTE_NO_CREDENTIALS : d->credentials;
    char hostname[ROUTE_DOMAIN_MAX];
    bool ours = span_is_nocase(in->local, "postmaster") &&
                route_domain_to_ascii(span_str(in->hostname), hostname, NULL) &&
                strcmp(hostname, r->domain) == 0;
    check(r->n >= 1 && r->n <= ROUTE_STEPS_MAX && r->rule[0] != '\0');
    check((r->steps[0].kind == ROUTE_DROP) == ((d != NULL && d->local) || (ours && !literal)));
    for (size_t i = 0; i < r->n; i++) {
        const struct route_step *s = &r->steps[i];
        check(s->key[0] != '\0' && memchr(s->key, '\0', sizeof s->key) != NULL);
        if (s->kind == ROUTE_DROP) {
            check(last);
            continue;
        }
        check(s->tls == tls);      /* no demand is ever lost on the way */
        if (s->kind == ROUTE_MX) { /* the smart host's password goes to nobody else */
            check(i == 0 && s->port != 0 && s->credentials == own && !literal);
            check(strcmp(s->domain, r->domain) == 0);
            continue;
        }
        check_hosts(s);
        check(literal
                  ? s->credentials == ROUTE_NO_CREDENTIALS
                  : s->credentials == own || (own == ROUTE_NO_CREDENTIALS && s->credentials == 0 &&
                                              in->smart_host[0] != '\0'));
    }
    if (!last)
        check(in->options.direct_first && r->steps[0].kind == ROUTE_MX &&
              r->steps[1].kind == ROUTE_HOSTS && strcmp(r->steps[0].key, r->steps[1].key) != 0);
}

/* The same whatever the case, and twice the same. */
static void check_again(const struct route_policy *policy, const struct input *in,
                        const struct route *r)
{
    static struct route again;
    char other[1024];
    struct err e;
    memset(&again, 0x55, sizeof again);
    check(route_decide(policy, in->local, in->domain, &again, &e));
    check(memcmp(r, &again, sizeof again) == 0);
    check(span_cstr(in->domain, other, sizeof other));
    for (char *c = other; *c != '\0'; c++) {
        if ((uint8_t)*c >= 0x80)
            return;
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
    check(route_decide(policy, in->local, span_str(other), &again, &e));
    check(memcmp(r, &again, sizeof again) == 0);
}

/* Recipients that share a key share everything that the key stands for. */
static void check_keys(const struct route_policy *policy, const struct input *in,
                       const struct route *r)
{
    static struct route other;
    struct err e;
    for (size_t i = 0; i < in->options.n_domains; i++) {
        const char *name = in->domains[i].name;
        if (!route_decide(policy, in->local, span_str(name), &other, &e))
            continue;
        const struct route_step *a = &r->steps[0], *b = &other.steps[0];
        if (strcmp(a->key, b->key) != 0)
            continue;
        check(a->kind == b->kind && a->tls == b->tls && a->credentials == b->credentials);
        check(a->n_hosts == b->n_hosts && a->port == b->port && strcmp(a->domain, b->domain) == 0);
        for (size_t k = 0; k < a->n_hosts; k++)
            check(strcmp(a->hosts[k].name, b->hosts[k].name) == 0 &&
                  a->hosts[k].port == b->hosts[k].port);
    }
}

/* ---- MX answers ---- */

static void check_mx(struct span names, uint8_t seed)
{
    struct route_mx in[MX_MAX], out[MX_MAX];
    size_t n = 0, kept;
    uint64_t random = seed;
    uint16_t self = 0;
    bool have_self = false;
    while (names.n > 0 && n < MX_MAX) {
        struct span name = next_line(&names);
        in[n] = (struct route_mx){.preference = name.n > 0 ? name.p[0] & 3 : 0,
                                  .self = name.n > 1 && (name.p[1] & 15) == 15};
        if (!span_cstr(span_from(name, 1), in[n].host, sizeof in[n].host))
            continue;
        if (in[n].self && in[n].host[0] != '\0' && strcmp(in[n].host, ".") != 0 &&
            (!have_self || in[n].preference < self)) {
            have_self = true;
            self = in[n].preference;
        }
        n++;
    }
    enum route_mx_result result = route_order_mx(in, n, NULL, random, out, &kept);
    check((result == ROUTE_MX_NONE) == (n == 0) && (result == ROUTE_MX_USE) == (kept > 0));
    check(kept <= n && (result != ROUTE_MX_TO_SELF || have_self));
    for (size_t i = 0; i < kept; i++) {
        check(out[i].host[0] != '\0' && !out[i].self);
        check(i == 0 || out[i - 1].preference <= out[i].preference);
        check(!have_self || out[i].preference < self);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input in;
    static struct route r;
    struct route_policy *policy = NULL;
    struct route_problem problems[PROBLEMS_MAX];
    struct err e = {0};
    struct span masquerade;
    size_t n;
    if (size < 3)
        return 0;
    struct span rest = span_of(data + 3, size - 3);
    check_mx(rest, data[0]);
    read_input(&in, data, rest);
    check_ascii(in.domain);
    if (!route_policy_new(&in.options, &policy, problems, PROBLEMS_MAX, &n, &e)) {
        check(policy == NULL && e.class == ERR_PERM && n >= 1);
        for (size_t i = 0; i < n; i++)
            check(problems[i].text[0] != '\0');
        return 0;
    }
    check(n == 0);
    if (route_decide(policy, in.local, in.domain, &r, &e)) {
        check_route(&in, &r);
        check_again(policy, &in, &r);
        check_keys(policy, &in, &r);
    } else {
        check(e.class == ERR_PERM && e.text[0] != '\0');
    }
    if (route_masquerade(policy, in.domain, &masquerade))
        check(masquerade.n > 0 && in.masquerade[0] != '\0');
    route_policy_free(&policy);
    return 0;
}
