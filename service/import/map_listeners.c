#include "base/host_name.h"
#include "base/netaddr.h"
#include "import/mapping.h"
#include "import/values.h"

#include <string.h>

enum { SSL_REQUIRED = 8, SSL_128 = 0x100 };

static const struct iis_flag ssl_flags[] = {
    {"AccessSSL", SSL_REQUIRED},    {"AccessSSL128", SSL_128},  {"AccessSSLNegotiateCert", 0x20},
    {"AccessSSLRequireCert", 0x40}, {"AccessSSLMapCert", 0x80},
};
enum { AUTH_ANONYMOUS = 1, AUTH_BASIC = 2, AUTH_NTLM = 4 };
static const struct iis_flag auth_flags[] = {
    {"AuthAnonymous", AUTH_ANONYMOUS},
    {"AuthBasic", AUTH_BASIC},
    {"AuthNTLM", AUTH_NTLM},
};

static const char *no_null(const char *text)
{
    return text != NULL ? text : "";
}

static bool add_listener(struct mapping *map, const char *address, bool implicit_tls)
{
    struct import_plan *p = &map->plan;
    for (size_t i = 0; i < p->listener_count; i++)
        if (strcmp(p->listeners[i].address, address) == 0)
            return true;
    if (p->listener_count == PLAN_LISTENERS_MAX)
        return false;
    p->listeners[p->listener_count++] = (struct plan_listener){address, implicit_tls};
    return true;
}

/* "IP:Port:Host", or "IP:Port"; an empty IP is every address. Exchange's IPv6 form "[::]:25:" is
 * taken too. */
static const char *read_binding(struct mapping *map, struct span s, bool *with_host)
{
    bool six = s.n > 0 && s.p[0] == '[';
    size_t close = six ? span_find(s, ']') : 0;
    struct span ip = six ? span_sub(s, 1, close - 1) : span_sub(s, 0, span_find(s, ':'));
    struct span rest = six ? span_from(s, close + 1) : span_from(s, ip.n);
    uint64_t port;
    struct netaddr address;
    char text[NETADDR_TEXT_MAX];
    if (rest.n == 0 || rest.p[0] != ':')
        return NULL;
    rest = span_from(rest, 1);
    size_t colon = span_find(rest, ':');
    if (!span_u64(span_sub(rest, 0, colon), 65535, &port) || port == 0)
        return NULL;
    *with_host = span_from(rest, colon + 1).n > 0;
    if (ip.n == 0 && !six)
        return mapping_printf(map, "0.0.0.0:%u", (unsigned)port);
    if (!netaddr_parse(ip, &address) || netaddr_is_v4(&address) == six)
        return NULL;
    netaddr_format(&address, text);
    return mapping_printf(map, six ? "[%s]:%u" : "%s:%u", text, (unsigned)port);
}

static void map_bindings(struct mapping *map, enum known k, bool implicit_tls)
{
    struct span rest = span_str(mapping_text(map, k)), item;
    const char *shown = "";
    size_t odd = 0, hosts = 0, taken = 0;
    while (iis_next(&rest, &item)) {
        bool with_host = false;
        const char *address = read_binding(map, item, &with_host);
        if (address == NULL || !add_listener(map, address, implicit_tls)) {
            odd++;
            continue;
        }
        shown = mapping_printf(map, "%s%s%s", shown, taken > 0 ? ", " : "", address);
        hosts += with_host;
        taken++;
    }
    if (odd > 0)
        mapping_say(map, IMPORT_NEEDS_YOU, k, "listeners: %s; %zu that cannot be read",
                    taken > 0 ? shown : "none", odd);
    else if (hosts > 0)
        mapping_say(map, IMPORT_CHANGED, k,
                    "listeners: %s; a listener has no host name here, it takes all", shown);
    else if (implicit_tls && taken > 0)
        mapping_say(map, IMPORT_NEEDS_YOU, k,
                    "listeners: %s with tls: implicit, which wants a certificate (tls.certificate)",
                    shown);
    else if (taken > 0)
        mapping_say(map, IMPORT_TAKEN, k, "listeners: %s", shown);
}

static void map_ssl(struct mapping *map)
{
    const struct metabase_property *p = mapping_get(map, IIS_SSL_FLAGS);
    uint32_t flags = 0;
    if (p == NULL)
        return;
    if (!iis_flags(p->value, ssl_flags, sizeof ssl_flags / sizeof *ssl_flags, &flags)) {
        map->plan.require_tls = true;
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_SSL_FLAGS,
                    "cannot be read; imported closed: listeners[].tls: required");
        return;
    }
    map->plan.require_tls = (flags & SSL_REQUIRED) != 0;
    mapping_say(map,
                (flags & ~(uint32_t)(SSL_REQUIRED | SSL_128)) != 0 ? IMPORT_NEEDS_YOU
                : (flags & SSL_128) != 0                           ? IMPORT_CHANGED
                                                                   : IMPORT_TAKEN,
                IIS_SSL_FLAGS, "listeners[].tls: %s%s%s",
                map->plan.require_tls ? "required" : "optional",
                (flags & SSL_128) != 0 ? "; every cipher here has 128 bits and more" : "",
                (flags & ~(uint32_t)(SSL_REQUIRED | SSL_128)) != 0
                    ? "; client certificates are not asked for"
                    : "");
}

static void map_certificate(struct mapping *map)
{
    const char *hash =
        no_null(iis_shown(map->arena, mapping_text(map, IIS_SSL_CERT_HASH), 64, true));
    map->plan.store = no_null(iis_shown(map->arena, mapping_text(map, IIS_SSL_STORE), 32, true));
    map->plan.thumbprint = hash[0] != '\0'         ? mapping_printf(map, "certificate %s", hash)
                           : map->plan.require_tls ? "a certificate"
                                                   : "";
    if (mapping_get(map, IIS_SSL_CERT_HASH) != NULL)
        mapping_say(
            map, IMPORT_NEEDS_YOU, IIS_SSL_CERT_HASH,
            "the certificate with this thumbprint in the machine's store: on Windows name it "
            "by tls.store and tls.subject; elsewhere export it with its key and name the "
            "files in tls.certificate and tls.key");
    else if (map->plan.require_tls)
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_SSL_CERT_HASH,
                    "TLS is required and no certificate is named: set tls.certificate and tls.key");
    if (mapping_get(map, IIS_SSL_STORE) != NULL)
        mapping_say(map, IMPORT_CHANGED, IIS_SSL_STORE, "not taken over: see SSLCertHash");
}

static void map_hostname(struct mapping *map)
{
    const char *name = mapping_lower(map, mapping_text(map, IIS_FQDN));
    map->plan.hostname = "";
    if (mapping_get(map, IIS_FQDN) == NULL)
        return;
    if (!host_name_ok(span_str(name))) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_FQDN,
                    "no host name; left out, the machine's own is taken (service.hostname)");
        return;
    }
    map->plan.hostname = name;
    mapping_say(map, IMPORT_TAKEN, IIS_FQDN, "service.hostname: %s", name);
}

void map_listeners(struct mapping *map)
{
    map_hostname(map);
    if (mapping_get(map, IIS_SERVER_BINDINGS) == NULL) {
        (void)add_listener(map, "0.0.0.0:25", false);
        mapping_say(map, IMPORT_TAKEN, IIS_SERVER_BINDINGS,
                    "listeners: 0.0.0.0:25, which is IIS's default");
    } else {
        map_bindings(map, IIS_SERVER_BINDINGS, false);
    }
    if (mapping_get(map, IIS_SECURE_BINDINGS) != NULL)
        map_bindings(map, IIS_SECURE_BINDINGS, true);
    if (map->plan.listener_count == 0) {
        (void)add_listener(map, "127.0.0.1:25", false);
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_SERVER_BINDINGS,
                    "no address could be read: imported closed, listeners: 127.0.0.1:25");
    }
    map_ssl(map);
    map_certificate(map);
}

/* The domain that Basic takes for a bare name. `\` and an empty one stand for this machine. */
static void map_logon_domain(struct mapping *map)
{
    const struct metabase_property *p = mapping_get(map, IIS_LOGON_DOMAIN);
    const char *name = iis_shown(map->arena, p != NULL ? p->value : "", 255, true);
    map->plan.logon_domain = "";
    map->failed = map->failed || name == NULL;
    if (name == NULL || p == NULL)
        return;
    if (name[0] == '\0' || strcmp(name, "\\") == 0) {
        mapping_say(map, IMPORT_TAKEN, IIS_LOGON_DOMAIN,
                    "none: a bare name is an account of this machine");
    } else if (!host_name_ok(span_str(name))) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_LOGON_DOMAIN,
                    "no domain; left out (authentication.basic.default_domain)");
    } else {
        map->plan.logon_domain = name;
        mapping_say(map, IMPORT_TAKEN, IIS_LOGON_DOMAIN, "authentication.basic.default_domain: %s",
                    name);
    }
}

void map_authentication(struct mapping *map)
{
    const struct metabase_property *p = mapping_get(map, IIS_AUTH_FLAGS);
    uint32_t flags = AUTH_ANONYMOUS;
    map_logon_domain(map);
    if (p != NULL &&
        !iis_flags(p->value, auth_flags, sizeof auth_flags / sizeof *auth_flags, &flags)) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_AUTH_FLAGS,
                    "cannot be read; imported closed: authentication.anonymous: false");
        return;
    }
    map->plan.anonymous = (flags & AUTH_ANONYMOUS) != 0;
    map->plan.basic = (flags & AUTH_BASIC) != 0;
    map->plan.integrated = (flags & AUTH_NTLM) != 0;
    bool accounts = map->plan.basic || map->plan.integrated;
    bool more = (flags & ~(uint32_t)(AUTH_ANONYMOUS | AUTH_BASIC | AUTH_NTLM)) != 0;
    mapping_say(map, accounts || more ? IMPORT_NEEDS_YOU : IMPORT_TAKEN, IIS_AUTH_FLAGS,
                "authentication: anonymous %s, basic %s, integrated %s%s%s%s",
                map->plan.anonymous ? "on" : "off", map->plan.basic ? "on" : "off",
                map->plan.integrated ? "on" : "off", p == NULL ? ", as a fresh server has it" : "",
                map->plan.basic ? "; passwords inside TLS alone (basic.require_tls)" : "",
                accounts ? "; say in authentication.domains who knows the accounts: this machine "
                           "and its domain (system), ldap, kerberos, or users of Postern's own"
                : more   ? "; what else it has is not known"
                         : "");
}
