#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

enum { KEY_MAX = 96, OVERLAPS_TOLD = 20 };

static void say(const struct policy *p, struct config_messages *m, const char *key,
                const char *text)
{
    config_messages_add(m, CONFIG_WARNING, p->config->path, config_where(p->config, key, NULL), key,
                        "%s", text);
}

static void review_relay(const struct policy *p, struct config_messages *m)
{
    struct acl_reason why;
    if (!policy_is_open_relay(p, &why))
        return;
    bool declared = p->config->access.i_know_this_is_an_open_relay;
    config_messages_add(m, declared ? CONFIG_WARNING : CONFIG_ERROR,
                        why.at.file != NULL ? why.at.file : p->config->path,
                        (struct config_pos){why.at.line, why.at.column}, why.rule,
                        "open relay: %s%s%s", why.why,
                        why.change[0] != '\0' ? ". To close it: " : "", why.change);
}

static bool is_name(const char *text)
{
    struct netaddr a;
    struct span s = span_str(text);
    bool special = span_is_nocase(s, "self") || span_starts_nocase(s, "file:") ||
                   span_find(s, ':') < s.n || netaddr_parse(s, &a);
    bool digits_only = true; /* an address, a prefix, a mask, a range */
    for (size_t i = 0; i < s.n; i++)
        digits_only = digits_only && strchr("0123456789./-", s.p[i]) != NULL;
    return s.n > 0 && (s.p[0] == '/' || (!special && !digits_only));
}

/* Whoever has no confirmed name is not listed, and a list that refuses lets him in. */
static void review_refusing_list(const struct policy *p, const struct config_list *list,
                                 const char *key, struct config_messages *m)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_name(list->items[i].text))
            config_messages_add(m, CONFIG_WARNING, p->config->path, list->items[i].at, key,
                                "\"%.100s\" is a name in a list that refuses: who takes his "
                                "reverse DNS away gets in, an address is safer",
                                list->items[i].text);
}

/* The same for names that a `file:` brings. */
static void review_refusing_files(const struct policy *p, const struct acl_list *list,
                                  const char *key, struct config_messages *m)
{
    struct acl_hit hit = {.text = ""};
    if (!acl_list_first_name(list, p->config->path, &hit))
        return;
    config_messages_add(
        m, CONFIG_WARNING, hit.at.file, (struct config_pos){hit.at.line, hit.at.column}, key,
        "\"%.100s\" is a name in a list that refuses (the first one of a file): who "
        "takes his reverse DNS away gets in, an address is safer",
        hit.text);
}

static void review_overlaps(const struct policy *p, const struct acl_list *list, const char *key,
                            struct config_messages *m)
{
    size_t n = acl_list_overlaps(list);
    for (size_t i = 0; i < n && i < OVERLAPS_TOLD; i++) {
        struct acl_overlap o;
        acl_list_overlap(list, i, &o);
        config_messages_add(m, CONFIG_WARNING, o.at.file,
                            (struct config_pos){o.at.line, o.at.column}, key,
                            o.same ? "\"%.100s\" is a duplicate of \"%.100s\" (%s:%u)"
                                   : "\"%.100s\" overlaps with \"%.100s\" (%s:%u)",
                            o.text, o.by, o.by_at.file, o.by_at.line);
    }
    if (n > OVERLAPS_TOLD)
        config_messages_add(m, CONFIG_WARNING, p->config->path, config_where(p->config, key, NULL),
                            key, "%zu further entries are duplicates or overlap",
                            n - OVERLAPS_TOLD);
}

static void review_lists(const struct policy *p, struct config_messages *m)
{
    const struct config_access *a = &p->config->access;
    const struct acl_list *connection =
                              acl_connection_list(p->observed != NULL ? p->observed : p->acl),
                          *relay = acl_relay_list(p->acl);
    if (a->connection.grant == CONFIG_ALL_EXCEPT) {
        review_refusing_list(p, &a->connection.list, "access.connection.list", m);
        review_refusing_files(p, connection, "access.connection.list", m);
    }
    if (a->relay.grant == CONFIG_ALL_EXCEPT) {
        review_refusing_list(p, &a->relay.list, "access.relay.list", m);
        review_refusing_files(p, relay, "access.relay.list", m);
    }
    review_overlaps(p, connection, "access.connection.list", m);
    review_overlaps(p, relay, "access.relay.list", m);
}

static void review_listener(const struct policy *p, size_t i, struct config_messages *m)
{
    const struct policy_listener *l = &p->listeners[i];
    char key[KEY_MAX];
    (void)snprintf(key, sizeof key, "listeners[%zu].tls", i);
    bool wants = l->tls == CONFIG_LISTENER_REQUIRED || l->tls == CONFIG_LISTENER_IMPLICIT;
    if (wants && p->tls == NULL)
        say(p, m, key,
            "TLS is required here and there is no certificate: nobody can use this "
            "listener (set tls.certificate and tls.key)");
    bool can_tls = p->tls != NULL && l->tls != CONFIG_LISTENER_NONE;
    unsigned possible = policy_mechanisms(p, can_tls);
    if (!wants)
        possible |= policy_mechanisms(p, false);
    (void)snprintf(key, sizeof key, "listeners[%zu].anonymous", i);
    possible &= l->mechanisms;
    if (!l->anonymous && possible == 0)
        say(p, m, key,
            "authentication is demanded here and no mechanism can be offered: nobody "
            "can send through this listener");
}

static void review_tls(const struct policy *p, struct config_messages *m)
{
    bool optional = false;
    for (size_t i = 0; i < p->listener_count; i++)
        optional = optional || p->listeners[i].tls == CONFIG_LISTENER_OPTIONAL;
    if (p->tls == NULL && optional)
        say(p, m, "tls.certificate", "no certificate: STARTTLS is not offered");
    if (p->tls != NULL && p->config->tls.minimum_version < CONFIG_TLS_1_2)
        say(p, m, "tls.minimum_version", "TLS before 1.2 is broken, keep it to old devices");
}

/* What is needed before the first command goes by the address alone; and nobody has logged in when
 * he connects. */
static void review_profile(const struct policy *p, size_t i, struct config_messages *m)
{
    const struct config_profile *x = &p->config->access.profiles.items[i];
    char key[KEY_MAX];
    bool old = x->tls_minimum != CONFIG_TLS_DEFAULT && x->tls_minimum < CONFIG_FROM_1_2;
    (void)snprintf(key, sizeof key, "access.profiles[%zu].tls_minimum", i);
    if (x->accounts.count > 0 && x->tls_minimum != CONFIG_TLS_DEFAULT)
        say(p, m, key, "a profile with accounts: who has logged in is not known before TLS");
    if (old && x->accounts.count == 0 && x->clients.count == 0)
        say(p, m, key,
            "TLS before 1.2 is broken, and this profile is every client's, expected "
            "clients that are old devices");
    (void)snprintf(key, sizeof key, "access.profiles[%zu].bare_lf", i);
    if (x->accounts.count > 0 && x->bare_lf != CONFIG_LF_LISTENER)
        say(p, m, key, "a profile with accounts: who has logged in is not known at the first line");
    (void)snprintf(key, sizeof key, "access.profiles[%zu].rate.client.connections", i);
    if (x->accounts.count > 0 && x->rate.client.connections > 0)
        say(p, m, key,
            "a profile with accounts: who has logged in is not known when the connection comes, "
            "expected rate.account.connections");
}

void policy_review(const struct policy *p, struct config_messages *m)
{
    const struct config *c = p->config;
    for (size_t i = 0; i < c->access.profiles.count; i++)
        review_profile(p, i, m);
    review_relay(p, m);
    review_lists(p, m);
    for (size_t i = 0; i < p->listener_count; i++)
        review_listener(p, i, m);
    review_tls(p, m);
    if (p->observed != NULL)
        say(p, m, "access.mode",
            "observe: connection control refuses nobody, expected enforce once the lists are "
            "complete (postern access suggest)");
    if (c->authentication.basic.enabled && !c->authentication.basic.require_tls)
        say(p, m, "authentication.basic.require_tls",
            "passwords may travel in clear, expected true");
    if (strchr(p->hostname, '.') == NULL)
        config_messages_add(m, CONFIG_WARNING, c->path, config_where(c, "service.hostname", NULL),
                            "service.hostname",
                            "\"%s\" is no full name, expected one such as relay.example.net: other "
                            "servers may refuse our mail",
                            p->hostname);
    config_messages_sort(m);
}
