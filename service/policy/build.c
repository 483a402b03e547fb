#include "policy/build.h"

#include "auth/identity.h"
#include "platform/process.h"
#include "platform/sock.h"
#include "policy/accounts.h"
#include "policy/lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUTE_PROBLEMS_MAX = 64, KEY_MAX = 96 };

const char *build_path(struct policy *p, const char *path)
{
    return path[0] == '\0' ? "" : config_file_path(p->config, &p->arena, path);
}

static struct acl_position acl_at(const struct policy *p, const char *key)
{
    struct config_pos at = config_where(p->config, key, NULL);
    return (struct acl_position){p->config->path, at.line, at.column};
}

static struct route_position route_at(const struct policy *p, const char *key)
{
    struct config_pos at = config_where(p->config, key, NULL);
    return (struct route_position){p->config->path, at.line, at.column};
}

/* ---- the plain parts ---- */

static bool build_names(struct policy *p, const struct policy_machine *machine)
{
    const struct config_service *s = &p->config->service;
    char name[256];
    if (s->hostname[0] != '\0') {
        p->hostname = s->hostname;
    } else if (machine != NULL && machine->hostname != NULL) {
        p->hostname = arena_str(&p->arena, machine->hostname);
    } else {
        process_hostname(name, sizeof name);
        p->hostname = arena_str(&p->arena, name);
    }
    p->data_directory = build_path(p, s->data_directory);
    p->log_file = build_path(p, p->config->logging.file);
    p->ca_file = build_path(p, p->config->delivery.ca_file);
    return p->hostname != NULL && p->data_directory != NULL && p->log_file != NULL &&
           p->ca_file != NULL;
}

static bool build_listeners(struct policy *p)
{
    const struct config *c = p->config;
    struct policy_listener *l = arena_alloc(&p->arena, c->listeners.count * sizeof *l);
    if (l == NULL)
        return false;
    for (size_t i = 0; i < c->listeners.count; i++) {
        const struct config_listener *from = &c->listeners.items[i];
        bool starttls =
            from->tls == CONFIG_LISTENER_OPTIONAL || from->tls == CONFIG_LISTENER_REQUIRED;
        l[i] = (struct policy_listener){
            .config = from,
            .ip = from->address.ip,
            .port = from->address.port,
            .tls = from->tls,
            .starttls = starttls && (c->tls.certificate[0] != '\0' || c->tls.store[0] != '\0'),
            .anonymous = from->anonymous == CONFIG_INHERIT ? c->authentication.anonymous
                                                           : from->anonymous == CONFIG_TRUE,
            .normalise_bare_lf = from->bare_lf == CONFIG_BARE_LF_NORMALISE,
            .mechanisms = from->mechanisms.count == 0 ? AUTH_MECHANISMS_ALL
                                                      : accounts_mechanisms(&from->mechanisms)};
    }
    p->listeners = l;
    p->listener_count = c->listeners.count;
    return true;
}

static bool build_pair(struct policy *p, const struct config_certificate *from,
                       struct tls_pair *pair)
{
    *pair = (struct tls_pair){
        .certificate = build_path(p, from->certificate),
        .store = from->store,
        .subject = from->subject,
        .thumbprint = from->thumbprint,
    };
    pair->key = from->key[0] == '\0' ? pair->certificate : build_path(p, from->key);
    return pair->certificate != NULL && pair->key != NULL;
}

static void bad_ciphers(const struct policy *p, const char *key, const struct err *e,
                        struct config_messages *m)
{
    config_messages_add(m, CONFIG_ERROR, p->config->path, config_where(p->config, key, NULL), key,
                        "%s", e->text);
}

static bool build_tls(struct policy *p, struct config_messages *m)
{
    static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3"};
    const struct config_tls *t = &p->config->tls;
    struct err e;
    if (t->ciphers[0] != '\0' && !tls_ciphers_check(t->ciphers, versions[t->minimum_version], &e))
        bad_ciphers(p, "tls.ciphers", &e, m);
    if (t->ciphersuites[0] != '\0' && !tls_ciphersuites_check(t->ciphersuites, &e))
        bad_ciphers(p, "tls.ciphersuites", &e, m);
    const struct config_certificate first = {.certificate = t->certificate,
                                             .key = t->key,
                                             .store = t->store,
                                             .subject = t->subject,
                                             .thumbprint = t->thumbprint};
    if (t->certificate[0] == '\0' && t->store[0] == '\0')
        return true;
    struct tls_server_options *o = arena_alloc(&p->arena, sizeof *o);
    struct tls_pair *more = arena_alloc(&p->arena, t->certificates.count * sizeof *more);
    if (o == NULL || more == NULL || !build_pair(p, &first, &o->main))
        return false;
    for (size_t i = 0; i < t->certificates.count; i++)
        if (!build_pair(p, &t->certificates.items[i], &more[i]))
            return false;
    o->more = more;
    o->more_n = t->certificates.count;
    o->minimum_version = versions[t->minimum_version];
    o->ciphers = t->ciphers;
    o->ciphersuites = t->ciphersuites;
    p->tls = o;
    return true;
}

static void build_schedule(struct policy *p)
{
    const struct config_delivery *d = &p->config->delivery;
    for (size_t i = 0; i < d->retry_ms.count && i < SCHEDULE_RETRY_MAX; i++)
        p->schedule.retry_ms[p->schedule.retry_count++] = (int64_t)d->retry_ms.items[i];
    p->schedule.delay_notice_ms = (int64_t)d->delay_notice_ms;
    p->schedule.expire_ms = (int64_t)d->expire_ms;
}

static bool build_resolver(struct policy *p)
{
    const struct config_resolver *r = &p->config->resolver;
    const char *servers = "";
    for (size_t i = 0; i < r->servers.count && servers != NULL; i++) {
        char ip[NETADDR_TEXT_MAX];
        const struct config_endpoint *at = &r->endpoints[i];
        netaddr_format(&at->ip, ip);
        const char *form = netaddr_is_v4(&at->ip) ? "%s%s%s:%u" : "%s%s[%s]:%u";
        servers = arena_printf(&p->arena, form, servers, i > 0 ? "," : "", ip, (unsigned)at->port);
    }
    p->resolver_servers = servers;
    return servers != NULL;
}

/* ---- access ---- */

static bool build_acl_listeners(struct policy *p, struct acl_options *o)
{
    struct acl_listener_options *l = arena_alloc(&p->arena, p->listener_count * sizeof *l);
    if (l == NULL)
        return false;
    for (size_t i = 0; i < p->listener_count; i++) {
        const struct config_listener *from = p->listeners[i].config;
        char key[KEY_MAX];
        l[i].at = (struct acl_position){p->config->path, from->at.line, from->at.column};
        l[i].tls_required =
            from->tls == CONFIG_LISTENER_REQUIRED || from->tls == CONFIG_LISTENER_IMPLICIT;
        (void)snprintf(key, sizeof key, "listeners[%zu].tls", i);
        l[i].tls_at = acl_at(p, key);
        l[i].anonymous_set = from->anonymous != CONFIG_INHERIT;
        l[i].anonymous = from->anonymous == CONFIG_TRUE;
        (void)snprintf(key, sizeof key, "listeners[%zu].anonymous", i);
        l[i].anonymous_at = acl_at(p, key);
    }
    o->listeners = l;
    o->n_listeners = p->listener_count;
    return true;
}

/* A domain that holds letters beyond ASCII is compared by its A-labels, in acl as in route. */
static const char *ascii_domain(struct policy *p, const struct config_domain *d,
                                struct config_messages *m)
{
    char ascii[ROUTE_DOMAIN_MAX];
    struct err e = {0};
    bool wild = d->name[0] == '*';
    if (route_domain_to_ascii(span_str(d->name + (wild ? 2 : 0)), ascii, &e))
        return arena_printf(&p->arena, "%s%s", wild ? "*." : "", ascii);
    config_messages_add(m, CONFIG_ERROR, p->config->path, d->at, "domains",
                        "\"%s\", expected a domain: %s", d->name, e.text);
    return NULL;
}

static bool build_acl_domains(struct policy *p, struct acl_options *o, struct config_messages *m)
{
    const struct config *c = p->config;
    struct acl_domain_options *d = arena_alloc(&p->arena, c->domains.count * sizeof *d);
    if (d == NULL)
        return false;
    for (size_t i = 0; i < c->domains.count; i++) {
        const struct config_domain *from = &c->domains.items[i];
        if (from->name[0] == '\0')
            continue; /* was complained about */
        const char *name = ascii_domain(p, from, m);
        if (name == NULL)
            continue;
        bool local = from->type == CONFIG_LOCAL;
        d[o->n_domains++] = (struct acl_domain_options){
            .name = name,
            .type = local ? ACL_DOMAIN_LOCAL : ACL_DOMAIN_REMOTE,
            .relay = !local && from->relay,
            .at = {c->path, from->at.line, from->at.column},
        };
    }
    o->domains = d;
    return true;
}

static void acl_messages(const struct policy *p, const struct acl_problems *problems,
                         const struct err *e, struct config_messages *m)
{
    for (size_t i = 0; i < problems->n; i++)
        config_messages_add(m, CONFIG_ERROR,
                            problems->v[i].file != NULL ? problems->v[i].file : p->config->path,
                            (struct config_pos){problems->v[i].line, problems->v[i].column},
                            "access", "%s", problems->v[i].text);
    if (problems->n == 0)
        config_messages_add(m, CONFIG_ERROR, p->config->path, (struct config_pos){0, 0}, "access",
                            "%s", e->text);
}

/* The entries of a list with their places. */
static bool build_words(struct policy *p, const struct config_list *from, const char *key,
                        struct acl_words *to)
{
    struct acl_word *v = arena_alloc(&p->arena, from->count * sizeof *v);
    if (v == NULL)
        return false;
    for (size_t i = 0; i < from->count; i++)
        v[i] =
            (struct acl_word){from->items[i].text,
                              {p->config->path, from->items[i].at.line, from->items[i].at.column}};
    *to = (struct acl_words){v, from->count, acl_at(p, key)};
    return true;
}

/* Accounts by their canonical names, as a log-in will have them. */
static bool build_account_words(struct policy *p, const struct config_list *from, const char *key,
                                struct acl_words *to, struct config_messages *m)
{
    struct acl_word *v = arena_alloc(&p->arena, from->count * sizeof *v);
    if (v == NULL)
        return false;
    *to = (struct acl_words){v, from->count, acl_at(p, key)};
    for (size_t i = 0; i < from->count; i++) {
        struct identity id;
        const struct config_entry *entry = &from->items[i];
        v[i].at = (struct acl_position){p->config->path, entry->at.line, entry->at.column};
        v[i].text = entry->text;
        enum identity_result result = identity_resolve(span_str(entry->text), &p->auth, &id);
        if (result == IDENTITY_OK)
            v[i].text = arena_str(&p->arena, id.canonical);
        else /* the domain may be one that only the machine at work knows */
            config_messages_add(m, result == IDENTITY_NO_DOMAIN ? CONFIG_WARNING : CONFIG_ERROR,
                                p->config->path, entry->at, key,
                                "\"%.100s\" can be no account, expected a name of a domain in "
                                "authentication.domains",
                                entry->text);
        if (v[i].text == NULL)
            return false;
    }
    return true;
}

/* base: "limits" or "access.profiles[2]". */
static void build_rates(const struct policy *p, const struct config_rates *from, const char *base,
                        struct acl_rate_limits *to)
{
    const struct config_rate *by[ACL_RATE_BYS] = {&from->client, &from->account};
    for (size_t i = 0; i < ACL_RATE_BYS; i++) {
        const uint64_t most[ACL_RATES] = {by[i]->connections, by[i]->messages, by[i]->recipients};
        for (size_t rate = 0; rate < ACL_RATES; rate++) {
            char key[KEY_MAX];
            struct acl_rate_limit *limit = &to->v[i][rate];
            (void)snprintf(key, sizeof key, "%s.rate.%s", base,
                           acl_rate_name((enum acl_rate_by)i, (enum acl_rate)rate));
            struct config_pos at = config_where(p->config, key, &limit->set);
            limit->most = (uint32_t)most[rate];
            limit->at = (struct acl_position){p->config->path, at.line, at.column};
        }
    }
}

static bool build_profile(struct policy *p, size_t i, struct lists_context *x,
                          struct acl_profile_options *to)
{
    const struct config_profile *from = &p->config->access.profiles.items[i];
    char key[KEY_MAX], base[KEY_MAX / 2];
    (void)snprintf(base, sizeof base, "access.profiles[%zu]", i);
    to->at = (struct acl_position){p->config->path, from->at.line, from->at.column};
    to->fixes_sender = from->sender[0] != '\0' || from->from[0] != '\0';
    build_rates(p, &from->rate, base, &to->rates);
    (void)snprintf(key, sizeof key, "%s.clients", base);
    if (from->clients.count > 0 && !lists_load(x, &from->clients, key, &to->clients))
        return false;
    (void)snprintf(key, sizeof key, "%s.accounts", base);
    if (!build_account_words(p, &from->accounts, key, &to->accounts, x->m))
        return false;
    (void)snprintf(key, sizeof key, "%s.senders", base);
    if (!build_words(p, &from->senders, key, &to->senders))
        return false;
    (void)snprintf(key, sizeof key, "%s.recipients.allow", base);
    if (!build_words(p, &from->recipients.allow, key, &to->recipients_allow))
        return false;
    (void)snprintf(key, sizeof key, "%s.recipients.refuse", base);
    return build_words(p, &from->recipients.refuse, key, &to->recipients_refuse);
}

static bool build_acl_lists(struct policy *p, const struct policy_machine *machine,
                            struct acl_options *o, struct config_messages *m)
{
    const struct config_access *a = &p->config->access;
    struct lists_context x = {.config = p->config, .arena = &p->arena, .m = m};
    struct netaddr *asked = NULL;
    struct err e = {0};
    size_t n = lists_files(&a->connection.list) + lists_files(&a->relay.list);
    bool self = lists_need_self(&a->connection.list) || lists_need_self(&a->relay.list);
    for (size_t i = 0; i < a->profiles.count; i++) {
        n += lists_files(&a->profiles.items[i].clients);
        self = self || lists_need_self(&a->profiles.items[i].clients);
    }
    x.files = arena_alloc(&p->arena, n * sizeof *x.files);
    if (x.files == NULL)
        return false;
    if (machine != NULL && machine->self != NULL) {
        x.self = machine->self;
        x.self_count = machine->self_count;
    } else if (self) {
        if (!sock_interface_addresses(&asked, &x.self_count, &e)) {
            config_messages_add(m, CONFIG_ERROR, p->config->path, (struct config_pos){0, 0},
                                "access", "self: %s", e.text);
            return false;
        }
        x.self = asked;
    }
    bool ok = lists_load(&x, &a->connection.list, "access.connection.list", &o->connection.list) &&
              lists_load(&x, &a->relay.list, "access.relay.list", &o->relay.list);
    o->profiles = arena_alloc(&p->arena, a->profiles.count * sizeof *o->profiles);
    ok = ok && o->profiles != NULL;
    for (size_t i = 0; ok && i < a->profiles.count; i++) {
        o->n_profiles = i + 1;
        ok = build_profile(p, i, &x, &o->profiles[i]);
    }
    free(asked);
    p->list_files = x.files;
    p->list_file_count = x.file_count;
    return ok;
}

/* access.mode: observe. The connection control that is written becomes a policy of its own, which
 * is asked only whom it would have refused; the one in force lets everybody connect, for explain
 * and for the open relay's question alike. */
static bool observe_connections(struct policy *p, struct acl_options *o,
                                struct acl_problems *problems, struct err *e)
{
    struct acl_options written = *o;
    written.relay.list = NULL;
    written.n_profiles = 0; /* their lists of clients are for the policy in force */
    written.rates = (struct acl_rate_limits){0};
    o->connection = (struct acl_control_options){.grant = ACL_ALL_EXCEPT,
                                                 .grant_at = acl_at(p, "access.mode"),
                                                 .list_at = acl_at(p, "access.mode")};
    bool ok = acl_policy_new(&written, &p->observed, problems, e);
    acl_list_free(&written.connection.list);
    return ok;
}

static bool build_acl(struct policy *p, const struct policy_machine *machine,
                      struct config_messages *m)
{
    const struct config *c = p->config;
    struct acl_options o = {
        .connection = {.grant =
                           c->access.connection.grant == CONFIG_ONLY ? ACL_ONLY : ACL_ALL_EXCEPT,
                       .grant_at = acl_at(p, "access.connection.grant"),
                       .list_at = acl_at(p, "access.connection.list")},
        .relay = {.grant = c->access.relay.grant == CONFIG_ONLY ? ACL_ONLY : ACL_ALL_EXCEPT,
                  .grant_at = acl_at(p, "access.relay.grant"),
                  .list_at = acl_at(p, "access.relay.list")},
        .relay_authenticated = c->access.relay.authenticated,
        .relay_authenticated_at = acl_at(p, "access.relay.authenticated"),
        .anonymous = c->authentication.anonymous,
        .anonymous_at = acl_at(p, "authentication.anonymous"),
        .hostname = p->hostname,
        .hostname_at = acl_at(p, "service.hostname"),
    };
    struct acl_problems problems;
    struct err e = {0};
    build_rates(p, &c->limits.rate, "limits", &o.rates);
    acl_problems_init(&problems);
    bool ok = build_acl_lists(p, machine, &o, m) && build_acl_listeners(p, &o) &&
              build_acl_domains(p, &o, m);
    bool observe = c->access.mode == CONFIG_OBSERVE;
    if (ok && m->errors == 0 &&
        ((observe && !observe_connections(p, &o, &problems, &e)) ||
         !acl_policy_new(&o, &p->acl, &problems, &e))) {
        acl_messages(p, &problems, &e, m);
        ok = false;
    }
    acl_list_free(&o.connection.list);
    acl_list_free(&o.relay.list);
    for (size_t i = 0; i < o.n_profiles; i++)
        acl_list_free(&o.profiles[i].clients);
    acl_problems_deinit(&problems);
    return ok;
}

/* ---- routes ---- */

static enum route_tls route_tls_of(enum config_delivery_tls tls)
{
    switch (tls) {
    case CONFIG_DELIVERY_NONE: return ROUTE_TLS_NONE;
    case CONFIG_DELIVERY_OPTIONAL: return ROUTE_TLS_OPTIONAL;
    case CONFIG_DELIVERY_REQUIRED: return ROUTE_TLS_REQUIRED;
    case CONFIG_DELIVERY_VERIFY: return ROUTE_TLS_VERIFY;
    }
    return ROUTE_TLS_VERIFY;
}

/* The index for route; the table has room for every domain and delivery. */
static size_t add_credentials(struct policy *p, struct policy_credentials *table,
                              const struct config_credentials *from)
{
    if (from->user[0] == '\0')
        return ROUTE_NO_CREDENTIALS;
    table[p->credentials_count] =
        (struct policy_credentials){from->user, build_path(p, from->password_file)};
    return p->credentials_count++;
}

static void build_route_domain(struct policy *p, size_t i, struct policy_credentials *table,
                               struct policy_authorities *authorities,
                               struct route_domain_options *out)
{
    const struct config_domain *d = &p->config->domains.items[i];
    char key[KEY_MAX], ascii[ROUTE_DOMAIN_MAX];
    struct err e = {0};
    bool wild = d->name[0] == '*';
    (void)snprintf(key, sizeof key, "domains[%zu].smart_host", i);
    *out = (struct route_domain_options){
        .name = d->name,
        .local = d->type == CONFIG_LOCAL,
        .smart_host = d->type == CONFIG_LOCAL ? "" : d->smart_host.text,
        .tls_set = d->tls_given,
        .tls = route_tls_of(d->tls),
        .credentials = add_credentials(p, table, &d->authentication),
        .at = {p->config->path, d->at.line, d->at.column},
        .smart_host_at = route_at(p, key),
    };
    if (d->type == CONFIG_REMOTE &&
        route_domain_to_ascii(span_str(d->name + (wild ? 2 : 0)), ascii, &e))
        authorities[p->authorities_count++] = (struct policy_authorities){
            arena_printf(&p->arena, "%s%s", wild ? "*." : "", ascii), build_path(p, d->ca_file)};
}

static bool tables_complete(const struct policy *p)
{
    for (size_t i = 0; i < p->credentials_count; i++)
        if (p->credentials[i].password_file == NULL)
            return false;
    for (size_t i = 0; i < p->authorities_count; i++)
        if (p->authorities[i].domain == NULL || p->authorities[i].file == NULL)
            return false;
    return true;
}

static bool build_route(struct policy *p, struct config_messages *m)
{
    const struct config *c = p->config;
    size_t n = c->domains.count, n_problems = 0;
    struct route_domain_options *domains = arena_alloc(&p->arena, n * sizeof *domains);
    struct policy_credentials *table = arena_alloc(&p->arena, (n + 1) * sizeof *table);
    struct policy_authorities *authorities = arena_alloc(&p->arena, n * sizeof *authorities);
    struct route_problem *problems = arena_alloc(&p->arena, ROUTE_PROBLEMS_MAX * sizeof *problems);
    struct err e = {0};
    if (domains == NULL || table == NULL || authorities == NULL || problems == NULL)
        return false;
    p->credentials = table;
    p->authorities = authorities;
    for (size_t i = 0; i < n; i++)
        build_route_domain(p, i, table, authorities, &domains[i]);
    struct route_options o = {
        .hostname = p->hostname,
        .domains = domains,
        .n_domains = n,
        .smart_host = c->delivery.smart_host.text,
        .smart_host_at = route_at(p, "delivery.smart_host"),
        .direct_first = c->delivery.direct_first,
        .tls = route_tls_of(c->delivery.tls),
        .credentials = add_credentials(p, table, &c->delivery.authentication),
        .port = (uint16_t)c->delivery.port,
        .masquerade = c->delivery.masquerade,
        .masquerade_at = route_at(p, "delivery.masquerade"),
        .delivery_at = route_at(p, "delivery"),
    };
    if (!tables_complete(p))
        return false;
    if (route_policy_new(&o, &p->route, problems, ROUTE_PROBLEMS_MAX, &n_problems, &e))
        return true;
    for (size_t i = 0; i < n_problems; i++)
        config_messages_add(m, CONFIG_ERROR, c->path,
                            (struct config_pos){problems[i].line, problems[i].column}, "delivery",
                            "%s", problems[i].text);
    if (n_problems == 0)
        config_messages_add(m, CONFIG_ERROR, c->path, (struct config_pos){0, 0}, "delivery", "%s",
                            e.text);
    return false;
}

bool build_policy(struct policy *p, const struct policy_machine *machine, struct config_messages *m)
{
    if (!build_names(p, machine) || !build_listeners(p) || !build_tls(p, m) ||
        !accounts_build(p, machine, m) || !build_resolver(p))
        return false;
    build_schedule(p);
    size_t errors = m->errors;
    bool acl = build_acl(p, machine, m);
    if (m->errors > errors || !acl)
        return acl;
    if (m->errors > 0) /* what the binder left out would only be complained about twice */
        return true;
    return build_route(p, m);
}
