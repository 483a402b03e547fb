#include "auth/identity.h"

#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 character at p, 0 when it is none (RFC 3629 section 4). */
static size_t utf8_length(const uint8_t *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t want = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < want)
        return 0;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;  /* no longer form */
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf; /* no surrogate, <= 10FFFF */
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < want; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return want;
}

bool identity_text_ok(struct span text)
{
    for (size_t i = 0; i < text.n;) {
        const uint8_t *p = text.p + i;
        size_t n = utf8_length(p, text.n - i);
        bool control = p[0] < 0x20 || p[0] == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
        if (n == 0 || control)
            return false;
        i += n;
    }
    return true;
}

bool identity_account_ok(struct span account)
{
    return account.n > 0 && account.n <= IDENTITY_ACCOUNT_MAX && account.p[0] != ' ' &&
           account.p[account.n - 1] != ' ' && span_find(account, '\\') == account.n &&
           identity_text_ok(account);
}

static bool written(struct span name, const struct auth_domain *d)
{
    bool is = span_is_nocase(name, d->name);
    for (size_t k = 0; !is && k < d->alias_count; k++)
        is = span_is_nocase(name, d->aliases[k]);
    return is;
}

bool identity_is_local(const struct auth_domain *d, const struct auth_options *o)
{
    if (d->backend != AUTH_BACKEND_SYSTEM)
        return false;
    bool is = written(span_str("."), d);
    for (size_t i = 0; !is && i < o->machine_name_count; i++)
        is = written(span_str(o->machine_names[i]), d);
    return is;
}

static bool names_machine(struct span name, const struct auth_options *o)
{
    bool is = span_is(name, ".");
    for (size_t i = 0; !is && i < o->machine_name_count; i++)
        is = span_is_nocase(name, o->machine_names[i]);
    return is;
}

/* What follows from a domain's other settings. */
static bool implied(struct span name, const struct auth_domain *d)
{
    static const char user_at[] = "{user}@";
    if (d->backend == AUTH_BACKEND_KERBEROS)
        return d->kerberos.realm != NULL && d->kerberos.realm[0] != 0 &&
               span_is_nocase(name, d->kerberos.realm);
    return d->backend == AUTH_BACKEND_LDAP && d->ldap.bind != NULL &&
           strncmp(d->ldap.bind, user_at, sizeof user_at - 1) == 0 &&
           span_is_nocase(name, d->ldap.bind + sizeof user_at - 1);
}

static size_t find_domain(struct span name, const struct auth_options *o, enum identity_match *by)
{
    if (name.n == 0)
        return o->domain_count;
    *by = IDENTITY_BY_NAME;
    for (size_t i = 0; i < o->domain_count; i++)
        if (written(name, &o->domains[i]))
            return i;
    *by = IDENTITY_BY_MACHINE;
    if (names_machine(name, o))
        for (size_t i = 0; i < o->domain_count; i++)
            if (identity_is_local(&o->domains[i], o))
                return i;
    *by = IDENTITY_BY_IMPLIED;
    for (size_t i = 0; i < o->domain_count; i++)
        if (implied(name, &o->domains[i]))
            return i;
    return o->domain_count;
}

size_t identity_find_domain(struct span name, const struct auth_options *o)
{
    enum identity_match by;
    return find_domain(name, o, &by);
}

static size_t first_userdb(const struct auth_options *o)
{
    size_t i = 0;
    while (i < o->domain_count && o->domains[i].backend != AUTH_BACKEND_USERDB)
        i++;
    return i;
}

/* Which domain, and which part of the name is the account; domain_count = none. */
static size_t split(struct span name, const struct auth_options *o, struct span *account,
                    enum identity_match *by)
{
    size_t backslash = span_find(name, '\\');
    *account = name;
    if (backslash < name.n) {
        *account = span_from(name, backslash + 1);
        return find_domain(span_sub(name, 0, backslash), o, by);
    }
    size_t at = span_rfind(name, '@');
    if (at < name.n) {
        size_t domain = find_domain(span_from(name, at + 1), o, by);
        if (domain == o->domain_count) {
            *by = IDENTITY_BY_WHOLE;
            return first_userdb(o);
        }
        *account = span_sub(name, 0, at);
        return domain;
    }
    if (o->basic.default_domain == NULL || o->basic.default_domain[0] == 0) {
        *by = IDENTITY_BY_FIRST;
        return 0; /* with no domain at all this is domain_count */
    }
    size_t domain = identity_find_domain(span_str(o->basic.default_domain), o);
    *by = IDENTITY_BY_DEFAULT;
    return domain;
}

static bool may_hold_at(const struct auth_domain *d)
{
    return d->backend == AUTH_BACKEND_USERDB ||
           (d->backend == AUTH_BACKEND_LDAP && d->ldap.bind != NULL &&
            strchr(d->ldap.bind, '@') == NULL);
}

/* CORP\alice@corp.example; false: an `@` stays where none may be. */
static bool drop_own_realm(struct span *account, bool backslash, size_t domain,
                           const struct auth_options *o)
{
    const struct auth_domain *d = &o->domains[domain];
    if (d->backend == AUTH_BACKEND_USERDB)
        return true;
    size_t at = span_rfind(*account, '@');
    if (backslash && at < account->n && at > 0 &&
        identity_find_domain(span_from(*account, at + 1), o) == domain)
        *account = span_sub(*account, 0, at);
    return may_hold_at(d) || span_find(*account, '@') == account->n;
}

enum identity_result identity_resolve(struct span name, const struct auth_options *o,
                                      struct identity *out)
{
    if (name.n == 0)
        return IDENTITY_EMPTY;
    if (name.n > (size_t)2 * IDENTITY_ACCOUNT_MAX || !identity_text_ok(name))
        return IDENTITY_MALFORMED;
    struct span account;
    enum identity_match by = IDENTITY_BY_NAME;
    size_t domain = split(name, o, &account, &by);
    if (account.n == 0)
        return IDENTITY_EMPTY;
    if (!identity_account_ok(account))
        return IDENTITY_MALFORMED;
    if (domain >= o->domain_count)
        return IDENTITY_NO_DOMAIN;
    if (!drop_own_realm(&account, span_find(name, '\\') < name.n, domain, o) ||
        !identity_account_ok(account))
        return IDENTITY_MALFORMED;
    const struct auth_domain *d = &o->domains[domain];
    struct identity id = {.domain = domain, .match = by};
    if (!span_cstr(account, id.account, sizeof id.account))
        return IDENTITY_MALFORMED;
    if (!identity_is_local(d, o))
        ascii_lower_str(id.account);
    int n = snprintf(id.canonical, sizeof id.canonical, "%s\\%s", d->name, id.account);
    if (n < 0 || (size_t)n >= sizeof id.canonical)
        return IDENTITY_MALFORMED;
    *out = id;
    return IDENTITY_OK;
}

const char *identity_allow_name(const char *entry, size_t domain, const struct auth_options *o)
{
    const char *backslash = strchr(entry, '\\');
    const char *name = backslash == NULL ? entry : backslash + 1;
    if (!identity_account_ok(span_str(name)))
        return NULL;
    if (backslash != NULL &&
        identity_find_domain(span_of(entry, (size_t)(backslash - entry)), o) != domain)
        return NULL;
    return name;
}

enum identity_allowance identity_allowed(const struct identity *id, const struct auth_options *o,
                                         size_t *entry)
{
    const struct auth_domain *d = &o->domains[id->domain];
    bool local = identity_is_local(d, o);
    *entry = d->allow_count;
    if (d->allow_count == 0)
        return IDENTITY_EVERYONE;
    for (size_t i = 0; i < d->allow_count; i++) {
        const char *name = identity_allow_name(d->allow[i], id->domain, o);
        if (name == NULL)
            continue;
        if (local ? strcmp(name, id->account) != 0 : !span_is_nocase(span_str(name), id->account))
            continue;
        *entry = i;
        return IDENTITY_LISTED;
    }
    return IDENTITY_ONLY_BY_GROUP;
}
