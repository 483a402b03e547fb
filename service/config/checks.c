#include "config/checks.h"

#include "base/cert_name.h"
#include "config/value.h"
#include "platform/cert_store.h"
#include "platform/paths.h"

#include <string.h>

enum { CHECKS_RETRY_MAX = 16 }; /* queue/schedule.h has room for so many */

static void error_at(struct binder *b, const struct config *c, const char *key, const char *text)
{
    config_messages_add(b->m, CONFIG_ERROR, b->file, config_where(c, key, NULL), key, "%s", text);
}

static void warn_at(struct binder *b, const struct config *c, const char *key, const char *text)
{
    config_messages_add(b->m, CONFIG_WARNING, b->file, config_where(c, key, NULL), key, "%s", text);
}

static bool given(const struct config *c, const char *key)
{
    bool it;
    (void)config_where(c, key, &it);
    return it;
}

static bool complete_listeners(struct binder *b, struct config *c)
{
    static const char *const everywhere[] = {"0.0.0.0:25", "[::]:25"};
    if (given(c, "listeners")) {
        if (c->listeners.count == 0)
            error_at(b, c, "listeners", "an empty list, expected at least one listener");
        return true;
    }
    struct config_listener *items = arena_alloc(b->arena, 2 * sizeof *items);
    if (items == NULL)
        return false;
    for (size_t i = 0; i < 2; i++) {
        items[i].tls = CONFIG_LISTENER_OPTIONAL;
        if (!value_endpoint(b->arena, everywhere[i], 0, &items[i].address))
            return false;
    }
    c->listeners.items = items;
    c->listeners.count = 2;
    return true;
}

static void check_listeners(struct binder *b, const struct config *c)
{
    for (size_t i = 0; i < c->listeners.count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct config_endpoint *a = &c->listeners.items[i].address,
                                         *other = &c->listeners.items[j].address;
            if (a->text[0] == '\0' || other->text[0] == '\0' || a->port != other->port ||
                !netaddr_equal(&a->ip, &other->ip))
                continue;
            const char *key = arena_printf(b->arena, "listeners[%zu].address", i);
            if (key != NULL)
                config_messages_add(b->m, CONFIG_ERROR, b->file, config_where(c, key, NULL), key,
                                    "\"%s\" is there already, expected each address once (first "
                                    "at line %u)",
                                    a->text, c->listeners.items[j].at.line);
            break;
        }
}

/* prefix: "tls" or "tls.certificates[2]". */
static void certificate_error(struct binder *b, const struct config *c, const char *prefix,
                              const char *option, const char *text)
{
    const char *key = arena_printf(b->arena, "%s.%s", prefix, option);
    if (key != NULL)
        error_at(b, c, key, text);
}

static void check_store(struct binder *b, const struct config *c, const char *prefix,
                        const struct config_certificate *x)
{
    bool machine;
    struct span name;
    uint8_t thumbprint[THUMBPRINT_BYTES];
    if (cert_store_system() == NULL)
        certificate_error(b, c, prefix, "store",
                          "a certificate store is there only on Windows, expected certificate and "
                          "key, files");
    else if (!cert_store_name(x->store, &machine, &name))
        certificate_error(b, c, prefix, "store",
                          "no name of a store, expected LocalMachine/My or the like");
    if (x->certificate[0] != '\0')
        certificate_error(b, c, prefix, "certificate",
                          "a file besides a store, expected one of both");
    else if (x->key[0] != '\0')
        certificate_error(b, c, prefix, "key",
                          "a file besides a store, which has the key too, expected one of both");
    if (x->subject[0] == '\0' && x->thumbprint[0] == '\0')
        certificate_error(b, c, prefix, "store",
                          "which of its certificates? expected subject or thumbprint too");
    else if (x->subject[0] != '\0' && x->thumbprint[0] != '\0')
        certificate_error(b, c, prefix, "thumbprint",
                          "a thumbprint besides a subject, expected one of both");
    else if (x->thumbprint[0] != '\0' && !thumbprint_parse(x->thumbprint, thumbprint))
        certificate_error(b, c, prefix, "thumbprint",
                          "no thumbprint, expected 40 hexadecimal digits (SHA-1)");
}

/* False: no certificate is named. */
static bool check_certificate(struct binder *b, const struct config *c, const char *prefix,
                              const struct config_certificate *x)
{
    if (x->store[0] != '\0') {
        check_store(b, c, prefix, x);
        return true;
    }
    if (x->subject[0] != '\0')
        certificate_error(b, c, prefix, "subject", "a subject of no store, expected store too");
    if (x->thumbprint[0] != '\0')
        certificate_error(b, c, prefix, "thumbprint",
                          "a thumbprint of no store, expected store too");
    if (x->key[0] != '\0' && x->certificate[0] == '\0')
        certificate_error(b, c, prefix, "key",
                          "a key without a certificate, expected certificate too");
    return x->certificate[0] != '\0' || x->subject[0] != '\0' || x->thumbprint[0] != '\0' ||
           x->key[0] != '\0';
}

static void check_tls(struct binder *b, const struct config *c)
{
    const struct config_tls *t = &c->tls;
    const struct config_certificate first = {.certificate = t->certificate,
                                             .key = t->key,
                                             .store = t->store,
                                             .subject = t->subject,
                                             .thumbprint = t->thumbprint};
    if (!check_certificate(b, c, "tls", &first) && t->certificates.count > 0)
        error_at(b, c, "tls.certificates",
                 "further certificates without a first, expected tls.certificate too");
    for (size_t i = 0; i < t->certificates.count; i++) {
        const char *prefix = arena_printf(b->arena, "tls.certificates[%zu]", i);
        if (prefix != NULL && !check_certificate(b, c, prefix, &t->certificates.items[i]))
            error_at(b, c, prefix, "no certificate is named, expected certificate (or store)");
    }
}

static bool has_name(const struct config_auth_domain *d, const char *name)
{
    if (span_is_nocase(span_str(d->name), name))
        return true;
    for (size_t i = 0; i < d->aliases.count; i++)
        if (span_is_nocase(span_str(d->aliases.items[i].text), name))
            return true;
    return false;
}

static bool complete_accounts(struct binder *b, struct config *c)
{
    if (given(c, "authentication.domains")) {
        if (c->authentication.domains.count == 0)
            error_at(b, c, "authentication.domains",
                     "an empty list, expected at least one domain, or the key left out");
        return true;
    }
    struct config_auth_domain *item = arena_alloc(b->arena, sizeof *item);
    if (item == NULL)
        return false;
    *item = (struct config_auth_domain){.name = "users",
                                        .backend = CONFIG_USERDB,
                                        .pam_service = "",
                                        .pam_name = "",
                                        .helper = "",
                                        .base = "",
                                        .url = "",
                                        .ca_file = "",
                                        .bind = "",
                                        .realm = "",
                                        .service = "",
                                        .keytab = ""};
    c->authentication.domains.items = item;
    c->authentication.domains.count = 1;
    return true;
}

/* Names that an earlier entry has never reach the later one. */
static void check_accounts(struct binder *b, const struct config *c)
{
    const struct config_auth_domain *d = c->authentication.domains.items;
    size_t n = c->authentication.domains.count;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (has_name(&d[j], d[i].name)) {
                const char *key = arena_printf(b->arena, "authentication.domains[%zu].name", i);
                if (key != NULL)
                    config_messages_add(b->m, CONFIG_ERROR, b->file, config_where(c, key, NULL),
                                        key,
                                        "\"%s\" is there already, expected each name once (first "
                                        "at line %u)",
                                        d[i].name, d[j].at.line);
                break;
            }
    const char *wanted = c->authentication.basic.default_domain;
    bool known = wanted[0] == '\0';
    for (size_t i = 0; i < n && !known; i++)
        known = has_name(&d[i], wanted) || d[i].backend != CONFIG_USERDB; /* policy knows more */
    if (!known)
        error_at(b, c, "authentication.basic.default_domain",
                 "no such domain, expected a name of authentication.domains");
}

static void check_credentials(struct binder *b, const struct config *c, const char *section,
                              const struct config_credentials *own, enum config_delivery_tls tls)
{
    const char *key = arena_printf(b->arena, "%s.authentication", section);
    if (key == NULL)
        return;
    if ((own->user[0] == '\0') != (own->password_file[0] == '\0'))
        error_at(b, c, key, "one of two keys, expected user and password_file");
    else if (own->user[0] != '\0' && tls == CONFIG_DELIVERY_NONE)
        error_at(b, c, key,
                 "a password that would travel in clear, expected tls: required or verify");
}

static void check_domain(struct binder *b, struct config *c, size_t i, struct config_domain *d)
{
    const char *name = arena_printf(b->arena, "domains[%zu]", i);
    const char *tls = arena_printf(b->arena, "domains[%zu].tls", i);
    const char *ca_file = arena_printf(b->arena, "domains[%zu].ca_file", i);
    if (name == NULL || tls == NULL || ca_file == NULL)
        return;
    d->tls_given = given(c, tls);
    if (!d->tls_given)
        d->tls = c->delivery.tls;
    if (!given(c, ca_file))
        d->ca_file = c->delivery.ca_file;
    for (size_t j = 0; j < i; j++)
        if (d->name[0] != '\0' && strcmp(d->name, c->domains.items[j].name) == 0)
            config_messages_add(
                b->m, CONFIG_ERROR, b->file, d->at, name,
                "\"%s\" is there already, expected each domain once (first at line %u)", d->name,
                c->domains.items[j].at.line);
    if (d->type == CONFIG_LOCAL && (d->relay || d->smart_host.text[0] != '\0' || d->tls_given ||
                                    d->authentication.user[0] != '\0'))
        config_messages_add(b->m, CONFIG_WARNING, b->file, d->at, name,
                            "relay, smart_host, tls and authentication have no effect for a local "
                            "domain");
    else
        check_credentials(b, c, name, &d->authentication, d->tls);
}

static bool check_domains(struct binder *b, struct config *c)
{
    struct config_domain *d = arena_alloc(b->arena, c->domains.count * sizeof *d);
    if (d == NULL)
        return false;
    if (c->domains.count > 0)
        memcpy(d, c->domains.items, c->domains.count * sizeof *d);
    for (size_t i = 0; i < c->domains.count; i++)
        check_domain(b, c, i, &d[i]);
    c->domains.items = d;
    return true;
}

static bool complete_resolver(struct binder *b, struct config *c)
{
    const struct config_list *servers = &c->resolver.servers;
    struct config_endpoint *endpoints = arena_alloc(b->arena, servers->count * sizeof *endpoints);
    if (endpoints == NULL)
        return false;
    for (size_t i = 0; i < servers->count; i++)
        if (!value_endpoint(b->arena, servers->items[i].text, 53, &endpoints[i]))
            config_messages_add(b->m, CONFIG_ERROR, b->file, servers->items[i].at,
                                "resolver.servers",
                                "\"%.100s\", expected an address such as 10.0.0.53 or "
                                "\"10.0.0.53:5353\"",
                                servers->items[i].text);
    c->resolver.endpoints = endpoints;
    return true;
}

static void check_order(struct binder *b, const struct config *c)
{
    if (c->limits.session_size < c->limits.message_size)
        warn_at(b, c, "limits.session_size", "smaller than limits.message_size");
    if (c->limits.message_memory > c->limits.memory)
        error_at(b, c, "limits.message_memory", "too large, expected at most limits.memory");
    if (c->delivery.delay_notice_ms >= c->delivery.expire_ms)
        warn_at(b, c, "delivery.delay_notice", "not before delivery.expire: never sent");
    if (c->delivery.retry_ms.count > CHECKS_RETRY_MAX)
        error_at(b, c, "delivery.retry", "too many, expected at most 16 durations");
    if (c->queue.store == CONFIG_STORE_MEMORY)
        warn_at(b, c, "queue.store", "messages are lost when the service ends");
}

static void check_logging(struct binder *b, const struct config *c)
{
    if (c->logging.format == CONFIG_LOG_W3C && c->logging.file[0] == '\0')
        error_at(b, c, "logging.format", "rows without a place, expected logging.file too");
}

bool checks_run(struct binder *b, struct config *c)
{
    if (!given(c, "service.data_directory")) /* the table's default is for one system only */
        c->service.data_directory = paths_default_data_directory();
    else if (c->service.data_directory[0] == '\0')
        error_at(b, c, "service.data_directory", "an empty text, expected a folder");
    if (!complete_listeners(b, c) || !complete_accounts(b, c) || !complete_resolver(b, c))
        return false;
    check_listeners(b, c);
    check_tls(b, c);
    check_accounts(b, c);
    check_credentials(b, c, "delivery", &c->delivery.authentication, c->delivery.tls);
    check_order(b, c);
    check_logging(b, c);
    return check_domains(b, c);
}
