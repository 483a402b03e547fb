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

size_t identity_find_domain(struct span name, const struct auth_domain *domains,
                            size_t domain_count)
{
    for (size_t i = 0; i < domain_count; i++) {
        if (span_is_nocase(name, domains[i].name))
            return i;
        for (size_t k = 0; k < domains[i].alias_count; k++)
            if (span_is_nocase(name, domains[i].aliases[k]))
                return i;
    }
    return domain_count;
}

static size_t first_userdb(const struct auth_domain *domains, size_t domain_count)
{
    size_t i = 0;
    while (i < domain_count && domains[i].backend != AUTH_BACKEND_USERDB)
        i++;
    return i;
}

/* Which domain, and which part of the name is the account; domain_count = none. */
static size_t split(struct span name, const struct auth_domain *domains, size_t domain_count,
                    const char *default_domain, struct span *account)
{
    size_t backslash = span_find(name, '\\');
    *account = name;
    if (backslash < name.n) {
        *account = span_from(name, backslash + 1);
        return identity_find_domain(span_sub(name, 0, backslash), domains, domain_count);
    }
    size_t at = span_rfind(name, '@');
    if (at < name.n) {
        size_t domain = identity_find_domain(span_from(name, at + 1), domains, domain_count);
        if (domain == domain_count)
            return first_userdb(domains, domain_count);
        *account = span_sub(name, 0, at);
        return domain;
    }
    if (default_domain == NULL || default_domain[0] == 0)
        return 0; /* with no domain at all this is domain_count */
    return identity_find_domain(span_str(default_domain), domains, domain_count);
}

enum identity_result identity_resolve(struct span name, const struct auth_domain *domains,
                                      size_t domain_count, const char *default_domain,
                                      struct identity *out)
{
    if (name.n == 0)
        return IDENTITY_EMPTY;
    if (name.n > (size_t)2 * IDENTITY_ACCOUNT_MAX || !identity_text_ok(name))
        return IDENTITY_MALFORMED;
    struct span account;
    size_t domain = split(name, domains, domain_count, default_domain, &account);
    if (account.n == 0)
        return IDENTITY_EMPTY;
    if (!identity_account_ok(account))
        return IDENTITY_MALFORMED;
    if (domain >= domain_count)
        return IDENTITY_NO_DOMAIN;
    struct identity id = {.domain = domain};
    if (!span_cstr(account, id.account, sizeof id.account))
        return IDENTITY_MALFORMED;
    enum auth_backend_kind kind = domains[domain].backend;
    if (kind == AUTH_BACKEND_USERDB || kind == AUTH_BACKEND_LDAP)
        ascii_lower_str(id.account);
    int n = snprintf(id.canonical, sizeof id.canonical, "%s\\%s", domains[domain].name, id.account);
    if (n < 0 || (size_t)n >= sizeof id.canonical)
        return IDENTITY_MALFORMED;
    *out = id;
    return IDENTITY_OK;
}
