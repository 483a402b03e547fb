#include "base/host_name.h"
#include "import/mapping.h"
#include "import/values.h"

#include <string.h>

static bool has_domain(const struct mapping *map, const char *name)
{
    for (size_t i = 0; i < map->plan.domain_count; i++)
        if (strcmp(map->plan.domains[i].name, name) == 0)
            return true;
    return false;
}

static void add_domain(struct mapping *map, struct plan_domain d)
{
    struct import_plan *p = &map->plan;
    void *domains =
        arena_grown(map->arena, p->domains, p->domain_count, &p->domain_capacity, sizeof d);
    if (domains == NULL) {
        map->failed = true;
        return;
    }
    p->domains = domains;
    p->domains[p->domain_count++] = d;
}

/* The name that bare addresses get and whose mail goes to Drop. Microsoft's reference calls it the
 * default of log-ins, real files hold the mail domain. */
static void map_default(struct mapping *map)
{
    const struct metabase_property *p = mapping_get(map, IIS_DEFAULT_DOMAIN);
    const char *name = mapping_lower(map, mapping_text(map, IIS_DEFAULT_DOMAIN));
    struct span s = span_str(name);
    if (p == NULL) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_DEFAULT_DOMAIN,
                    "IIS then takes the machine's name as its local domain; here no domain is "
                    "local: add it to domains if mail for it is to go to Drop");
        return;
    }
    if (!host_name_ok(s)) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_DEFAULT_DOMAIN,
                    "no domain; left out: add the local domain to domains");
        return;
    }
    add_domain(map, (struct plan_domain){name, true, ""});
    bool logon = span_is_nocase(s, map->plan.logon_domain) || span_find(s, '.') == s.n;
    mapping_say(map, logon ? IMPORT_NEEDS_YOU : IMPORT_TAKEN, IIS_DEFAULT_DOMAIN,
                "domains: %s, local%s", name,
                logon ? "; it looks like a Windows domain or a machine: if it is no mail domain, "
                        "take it out"
                      : "");
}

/* What RouteActionString tells for certain: a path is a Drop directory, an address or a host is
 * where a remote domain's mail goes. */
static const char *route_of(struct mapping *map, const struct metabase_node *node)
{
    const struct metabase_property *p = metabase_get(node, "RouteActionString", 36947);
    struct span s = span_trim(span_str(p != NULL ? p->value : ""));
    const char *hop = s.n > 0 ? mapping_hop(map, p->value) : NULL;
    return hop != NULL && (hop[0] == '[' || span_find(s, '.') < s.n) ? hop : "";
}

static void say_route(struct mapping *map, const char *place, const struct metabase_property *p,
                      const char *hop)
{
    struct span name = span_str(p->name);
    if (span_is_nocase(name, "RouteAction") || p->id == 36946)
        mapping_say_of(
            map, IMPORT_NEEDS_YOU, place, p,
            "not taken over: its bits are not documented. They say whether the domain is "
            "local or remote, whether everybody's mail for it is taken (relay: true), "
            "and its outbound security: look at the domain's properties in IIS");
    else if ((span_is_nocase(name, "RouteActionString") || p->id == 36947) && hop[0] != '\0')
        mapping_say_of(map, IMPORT_TAKEN, place, p, "domains: smart_host: %s", hop);
    else if (span_is_nocase(name, "RouteActionString") || p->id == 36947)
        mapping_say_of(map, p->value[0] == '\0' ? IMPORT_CHANGED : IMPORT_NEEDS_YOU, place, p,
                       p->value[0] == '\0' ? "nothing to take over"
                       : strchr(p->value, '\\') != NULL
                           ? "a directory: mail for local domains goes to mail/Drop here"
                           : "neither a host nor an address: set smart_host");
    else if (span_is_nocase(name, "RouteUserName") || span_is_nocase(name, "RoutePassword"))
        mapping_say_of(map, p->value[0] == '\0' ? IMPORT_CHANGED : IMPORT_NEEDS_YOU, place, p,
                       p->value[0] == '\0'
                           ? "nothing to take over"
                           : "passwords are encrypted in the metabase: set authentication: { user, "
                             "password_file } of the domain");
    else
        mapping_say_of(map, IMPORT_CHANGED, place, p, "not taken over: no counterpart");
}

/* A line that stands for the domain itself. */
static void say_domain(struct mapping *map, const struct metabase_node *node,
                       enum import_outcome outcome, const char *text)
{
    struct metabase_property self = {.name = "domain", .value = node->name, .line = node->line};
    mapping_say_of(map, outcome, "server", &self, "%s", text);
}

static void map_domain(struct mapping *map, const struct metabase_node *node)
{
    const char *name = mapping_lower(map, node->name);
    const char *hop = route_of(map, node);
    const char *shown = iis_shown(map->arena, node->name, 100, false);
    const char *place = mapping_printf(map, "domain %s", shown != NULL ? shown : "");
    struct span s = span_str(name);
    bool wildcard = span_starts_nocase(s, "*.");
    if (!iis_domain(s)) {
        say_domain(map, node, IMPORT_NEEDS_YOU,
                   "no domain name (international ones as xn--...); "
                   "left out");
    } else if (has_domain(map, name)) {
        say_domain(map, node, IMPORT_TAKEN, "is in domains already");
    } else if (wildcard || hop[0] != '\0') {
        add_domain(map, (struct plan_domain){name, false, hop});
        say_domain(map, node, IMPORT_NEEDS_YOU,
                   wildcard ? "domains: remote, since only remote domains have a wildcard; without "
                              "relay: true, which RouteAction may have meant"
                            : "domains: remote, since it has a smart host; without relay: true, "
                              "which RouteAction may have meant");
    } else {
        map->failed = map->failed || !ip_names_add(map->arena, &map->plan.undecided, name);
        say_domain(map, node, IMPORT_NEEDS_YOU,
                   "whether it is local or remote cannot be told; left out, so mail for it needs "
                   "the relay right");
    }
    for (size_t i = 0; i < node->count; i++)
        if (!span_is_nocase(span_str(node->properties[i].name), "KeyType"))
            say_route(map, place, &node->properties[i], hop);
}

void map_domains(struct mapping *map)
{
    map_default(map);
    for (size_t i = 0; i < map->m->count; i++)
        if (map->m->nodes[i].kind == METABASE_DOMAIN && map->out->server != 0 &&
            map->m->nodes[i].server == map->out->server)
            map_domain(map, &map->m->nodes[i]);
}
