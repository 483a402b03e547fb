#include "policy/accounts.h"

#include "auth/identity.h"
#include "platform/process.h"
#include "policy/build.h"

#include <stdio.h>
#include <string.h>

enum { KEY_MAX = 96, MACHINE_NAMES_MAX = 6, MACHINE_NAME_MAX = 256, NETBIOS_MAX = 15 };

unsigned accounts_mechanisms(const struct config_list *names)
{
    unsigned bits = 0;
    for (size_t i = 0; i < names->count; i++)
        bits |= auth_mechanism_parse(span_str(names->items[i].text));
    return bits;
}

/* ---- the options ---- */

/* The texts of a list; NULL without memory. */
static const char *const *texts(struct policy *p, const struct config_list *list)
{
    const char **out = arena_alloc(&p->arena, (list->count + 1) * sizeof *out);
    for (size_t i = 0; out != NULL && i < list->count; i++)
        out[i] = list->items[i].text;
    return out;
}

/* The realm is the domain's name in upper case where it is not given. */
static const char *realm_of(struct policy *p, const struct config_auth_domain *from)
{
    if (from->backend != CONFIG_KERBEROS || from->realm[0] != '\0')
        return from->realm;
    char *realm = arena_printf(&p->arena, "%s", from->name);
    for (char *c = realm; c != NULL && *c != '\0'; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return realm;
}

static bool build_domains(struct policy *p)
{
    static const enum auth_backend_kind kinds[] = {
        [CONFIG_USERDB] = AUTH_BACKEND_USERDB,
        [CONFIG_SYSTEM] = AUTH_BACKEND_SYSTEM,
        [CONFIG_LDAP] = AUTH_BACKEND_LDAP,
        [CONFIG_KERBEROS] = AUTH_BACKEND_KERBEROS,
    };
    const struct config_authentication *a = &p->config->authentication;
    struct auth_domain *d = arena_alloc(&p->arena, (a->domains.count + 1) * sizeof *d);
    if (d == NULL)
        return false;
    for (size_t i = 0; i < a->domains.count; i++) {
        const struct config_auth_domain *from = &a->domains.items[i];
        d[i] = (struct auth_domain){
            .name = from->name,
            .aliases = texts(p, &from->aliases),
            .alias_count = from->aliases.count,
            .backend = kinds[from->backend],
            .allow = texts(p, &from->allow),
            .allow_count = from->allow.count,
            .system = {from->pam_service, from->pam_name, from->helper},
            .ldap = {from->url, build_path(p, from->ca_file), from->bind, from->base},
            .kerberos = {realm_of(p, from), from->service, build_path(p, from->keytab),
                         texts(p, &from->kdc), from->kdc.count},
            .deadline_ms = (uint32_t)from->deadline_ms,
            .lockout_below = (uint32_t)from->lockout_below,
            .lockout_window_ms = (uint32_t)from->lockout_window_ms,
        };
        if (d[i].aliases == NULL || d[i].allow == NULL || d[i].ldap.ca_file == NULL ||
            d[i].kerberos.keytab == NULL || d[i].kerberos.realm == NULL ||
            d[i].kerberos.kdcs == NULL)
            return false;
    }
    p->auth.domains = d;
    p->auth.domain_count = a->domains.count;
    return true;
}

static bool build_options(struct policy *p)
{
    const struct config_authentication *a = &p->config->authentication;
    const struct config_throttle *t = &a->throttle;
    /* There 0 stands for its default; a millisecond is what 0s means. */
    uint64_t delay_ms = t->delay_ms > 0 ? t->delay_ms : 1;
    uint64_t delay_max_ms = t->delay_max_ms > delay_ms ? t->delay_max_ms : delay_ms;
    uint64_t account_ms = t->account_delay_max_ms > 0 ? t->account_delay_max_ms : 1;
    struct auth_options *o = &p->auth;
    o->mechanisms = accounts_mechanisms(&a->mechanisms);
    if (a->integrated.enabled)
        o->mechanisms |= accounts_mechanisms(&a->integrated.mechanisms);
    o->integrated.enabled = a->integrated.enabled;
    o->integrated.keytab = build_path(p, a->integrated.keytab);
    o->integrated.ntlm_auth = a->integrated.ntlm_auth;
    if (o->integrated.keytab == NULL)
        return false;
    o->hostname = p->hostname;
    o->basic.enabled = a->basic.enabled;
    o->basic.require_tls = a->basic.require_tls;
    o->basic.default_domain = a->basic.default_domain;
    o->scram.require_tls = a->scram.require_tls;
    o->scram.iterations = (uint32_t)a->scram.iterations;
    o->throttle = (struct throttle_options){
        .delay_ms = (uint32_t)delay_ms,
        .delay_max_ms = (uint32_t)delay_max_ms,
        .account_delay_max_ms = (uint32_t)account_ms,
        .free_failures = (uint32_t)t->free_failures,
        .refuse_after = (uint32_t)t->refuse_after,
        .refuse_ms = (uint32_t)t->refuse_ms,
        .refuse_max_ms = (uint32_t)t->refuse_max_ms,
        .decay_ms = (uint32_t)t->decay_ms,
    };
    o->userdb_path = arena_printf(&p->arena, "%s/users.db", p->data_directory);
    return o->userdb_path != NULL;
}

/* ---- what this machine is called ---- */

struct names {
    struct policy *p;
    const char **list;
    size_t n;
    bool ok;
};

static void add_name(struct names *x, struct span name)
{
    if (name.n == 0 || x->n == MACHINE_NAMES_MAX)
        return;
    for (size_t i = 0; i < x->n; i++)
        if (span_is_nocase(name, x->list[i]))
            return;
    const char *copy = arena_printf(&x->p->arena, "%.*s", SPAN_ARG(name));
    x->ok = x->ok && copy != NULL;
    if (copy != NULL)
        x->list[x->n++] = copy;
}

/* A name, its first label, and what NetBIOS keeps of that. */
static void add_names(struct names *x, const char *full)
{
    struct span name = span_str(full);
    struct span label = span_sub(name, 0, span_find(name, '.'));
    add_name(x, name);
    add_name(x, label);
    add_name(x, span_sub(label, 0, label.n < NETBIOS_MAX ? label.n : NETBIOS_MAX));
}

/* Not service.hostname: that is what mail calls us, often a name of the mail domain, whose users
 * are no accounts of this machine. */
static bool build_machine_names(struct policy *p, const struct policy_machine *machine)
{
    struct names x = {.p = p, .ok = true};
    char name[MACHINE_NAME_MAX];
    bool wanted = false;
    for (size_t i = 0; i < p->auth.domain_count; i++)
        wanted = wanted || p->auth.domains[i].backend == AUTH_BACKEND_SYSTEM;
    if (!wanted)
        return true;
    x.list = arena_alloc(&p->arena, MACHINE_NAMES_MAX * sizeof *x.list);
    if (x.list == NULL)
        return false;
    if (machine != NULL && machine->names != NULL) {
        for (size_t i = 0; i < machine->name_count; i++)
            add_names(&x, machine->names[i]);
    } else {
        process_machine_name(name, sizeof name);
        add_names(&x, name);
        process_hostname(name, sizeof name);
        add_names(&x, name);
    }
    p->auth.machine_names = x.list;
    p->auth.machine_name_count = x.n;
    return x.ok;
}

/* ---- what is wrong with names ---- */

static void complain(const struct policy *p, struct config_messages *m,
                     enum config_severity severity, size_t domain, const char *what,
                     const struct config_entry *item, const char *text)
{
    char key[KEY_MAX];
    (void)snprintf(key, sizeof key, "authentication.domains[%zu].%s", domain, what);
    config_messages_add(m, severity, p->config->path,
                        item != NULL ? item->at : config_where(p->config, key, NULL), key, "%s",
                        text);
}

enum { TEXT_MAX = 320 };

/* Which entry already has the name that this one claims; its own index when nobody does. */
static size_t owner(const struct policy *p, const char *name, size_t domain)
{
    size_t i = identity_find_domain(span_str(name), &p->auth);
    return i < domain ? i : domain;
}

static bool name_ok(const char *name)
{
    struct span s = span_str(name);
    return identity_account_ok(s) && span_find(s, '@') == s.n;
}

static void check_name(const struct policy *p, struct config_messages *m, size_t i, const char *key,
                       const struct config_entry *item, const char *name)
{
    char text[TEXT_MAX];
    const struct auth_options *o = &p->auth;
    const struct auth_domain *d = &o->domains[i];
    if (!name_ok(name)) {
        (void)snprintf(text, sizeof text,
                       "\"%.100s\", expected a name without backslash, @ and control characters",
                       name);
        complain(p, m, CONFIG_ERROR, i, key, item, text);
        return;
    }
    if (strcmp(name, ".") == 0 && d->backend != AUTH_BACKEND_SYSTEM) {
        complain(p, m, CONFIG_ERROR, i, key, item,
                 "\".\" stands for the accounts of this machine, expected backend: system");
        return;
    }
    size_t first = owner(p, name, i);
    if (item != NULL && first != i) {
        (void)snprintf(text, sizeof text,
                       "\"%.100s\" names the entry \"%.60s\" (line %u), which comes first: it has "
                       "no effect here",
                       name, o->domains[first].name,
                       p->config->authentication.domains.items[first].at.line);
        complain(p, m, CONFIG_WARNING, i, key, item, text);
    }
}

/* This machine's name on a domain that is not this machine hides its accounts. */
static void check_machine_names(const struct policy *p, struct config_messages *m)
{
    const struct auth_options *o = &p->auth;
    size_t local = 0;
    while (local < o->domain_count && !identity_is_local(&o->domains[local], o))
        local++;
    if (local == o->domain_count)
        return;
    for (size_t i = 0; i < o->machine_name_count; i++) {
        char text[TEXT_MAX];
        size_t first = identity_find_domain(span_str(o->machine_names[i]), o);
        if (first >= o->domain_count || identity_is_local(&o->domains[first], o))
            continue;
        (void)snprintf(text, sizeof text,
                       "this machine is called \"%.100s\" too: clients who say so get this domain, "
                       "and not the machine's accounts (\"%.60s\")",
                       o->machine_names[i], o->domains[local].name);
        complain(p, m, CONFIG_WARNING, first, "name", NULL, text);
    }
}

static void check_realm(const struct policy *p, struct config_messages *m, size_t i)
{
    const struct auth_options *o = &p->auth;
    const struct auth_domain *d = &o->domains[i];
    char text[TEXT_MAX];
    if (d->backend != AUTH_BACKEND_KERBEROS)
        return;
    size_t first = identity_find_domain(span_str(d->kerberos.realm), o);
    if (first == i || first == o->domain_count)
        return;
    (void)snprintf(text, sizeof text,
                   "\"%.100s\" names the entry \"%.60s\" (line %u): user@%.60s is asked there",
                   d->kerberos.realm, o->domains[first].name,
                   p->config->authentication.domains.items[first].at.line, d->kerberos.realm);
    complain(p, m, CONFIG_WARNING, i, "realm", NULL, text);
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;
    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        n++;
    }
    return n;
}

static void check_pam_name(const struct policy *p, struct config_messages *m, size_t i)
{
    const char *name = p->auth.domains[i].system.pam_name;
    unsigned user = count(name, "{user}"), domain = count(name, "{domain}");
    char text[TEXT_MAX];
    if (p->auth.domains[i].backend != AUTH_BACKEND_SYSTEM ||
        (user == 1 && domain <= 1 && count(name, "{") == user + domain &&
         count(name, "}") == user + domain))
        return;
    (void)snprintf(text, sizeof text,
                   "\"%.100s\", expected a name with {user} once and {domain} at most once", name);
    complain(p, m, CONFIG_ERROR, i, "pam_name", NULL, text);
}

static void check_allow(const struct policy *p, struct config_messages *m, size_t i)
{
    const struct auth_domain *d = &p->auth.domains[i];
    const struct config_list *allow = &p->config->authentication.domains.items[i].allow;
    for (size_t k = 0; k < d->allow_count; k++) {
        char text[TEXT_MAX];
        const char *name = identity_allow_name(d->allow[k], i, &p->auth);
        if (name != NULL)
            continue;
        (void)snprintf(text, sizeof text,
                       "\"%.100s\", expected an account%s of this domain: %.60s\\name", d->allow[k],
                       d->backend == AUTH_BACKEND_USERDB ? "" : " or a group", d->name);
        complain(p, m, CONFIG_ERROR, i, "allow", &allow->items[k], text);
    }
}

static void check_names(const struct policy *p, struct config_messages *m)
{
    const struct auth_options *o = &p->auth;
    for (size_t i = 0; i < o->domain_count; i++) {
        const struct config_auth_domain *from = &p->config->authentication.domains.items[i];
        check_name(p, m, i, "name", NULL, from->name);
        for (size_t k = 0; k < from->aliases.count; k++)
            check_name(p, m, i, "aliases", &from->aliases.items[k], from->aliases.items[k].text);
        check_realm(p, m, i);
        check_pam_name(p, m, i);
        check_allow(p, m, i);
    }
    check_machine_names(p, m);
    const char *wanted = o->basic.default_domain;
    if (wanted[0] != '\0' && identity_find_domain(span_str(wanted), o) == o->domain_count)
        config_messages_add(m, CONFIG_ERROR, p->config->path,
                            config_where(p->config, "authentication.basic.default_domain", NULL),
                            "authentication.basic.default_domain",
                            "no such domain, expected a name of authentication.domains");
}

bool accounts_build(struct policy *p, const struct policy_machine *machine,
                    struct config_messages *m)
{
    if (!build_options(p) || !build_domains(p) || !build_machine_names(p, machine))
        return false;
    if (m->errors == 0) /* what the binder left out would only be complained about twice */
        check_names(p, m);
    return true;
}
