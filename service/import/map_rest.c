#include "import/mapping.h"
#include "import/values.h"

#include <string.h>

static const char w3c_plugin[] = "{FF160663-DE82-11CF-BC0A-00AA006111E0}";

void map_logging(struct mapping *map)
{
    uint32_t type = 0;
    const struct metabase_property *p = mapping_get(map, IIS_LOG_TYPE);
    const char *plugin = mapping_text(map, IIS_LOG_PLUGIN);
    bool w3c = plugin[0] == '\0' || span_is_nocase(span_str(plugin), w3c_plugin);
    if (p != NULL && !iis_number(p->value, &type)) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_LOG_TYPE, "no number; taken as off");
    } else if (p != NULL) {
        map->plan.log_protocol = type != 0;
        map->plan.log_w3c = type != 0 && w3c;
        mapping_say(map, type != 0 ? IMPORT_CHANGED : IMPORT_TAKEN, IIS_LOG_TYPE, "%s",
                    type != 0 ? "logging.protocol: true, so that each command is logged"
                              : "logging.protocol: false; the service's own log is there anyway");
    }
    if (mapping_get(map, IIS_LOG_PLUGIN) != NULL)
        mapping_say(map, type == 0 ? IMPORT_CHANGED : IMPORT_NEEDS_YOU, IIS_LOG_PLUGIN, "%s",
                    type == 0 ? "not used: logging is off"
                    : w3c ? "W3C rows: say where they go, logging.file, and then logging.format: "
                            "w3c"
                          : "not taken over: choose logging.format: text, json or w3c");
    if (mapping_get(map, IIS_COMMENT) != NULL)
        mapping_say(map, IMPORT_CHANGED, IIS_COMMENT, "in the configuration's first comment");
}

/* What has no counterpart, and why nothing is missing. Names that end in * stand for all that begin
 * so. needs: a value besides 0, FALSE and nothing wants somebody's eyes. */
static const struct {
    const char *name;
    bool needs;
    const char *why;
} others[] = {
    {"EnableReverseDnsLookup", false,
     "no counterpart: IIS wrote the result into Received and refused nobody; names in access lists "
     "are looked up where they matter"},
    {"ConnectResponse", true, "no counterpart: the greeting has the host's name and ESMTP"},
    {"SmtpMailNoHelo", false, "no counterpart: MAIL without EHLO or HELO is answered 503"},
    {"SmtpHeloNoDomain", false, "EHLO and HELO without a name are taken"},
    {"SmtpLocalDelayExpireMinutes", false, "no counterpart: local mail goes to Drop at once"},
    {"SmtpLocalNDRExpireMinutes", false, "no counterpart: local mail goes to Drop at once"},
    {"LocalRetryInterval", false, "no counterpart: delivery.retry stands for all mail"},
    {"LocalRetryAttempts", false, "no counterpart: delivery.expire stands for all mail"},
    {"RemoteRetryInterval", false, "superseded in IIS by SmtpRemoteProgressiveRetry"},
    {"RemoteRetryAttempts", false, "superseded in IIS by SmtpRemoteNDRExpireMinutes"},
    {"SmtpSSLRequireTrustedCA", false,
     "delivery.tls: verify demands it; it counts once you require TLS outbound"},
    {"SmtpSSLCertHostnameValidation", false,
     "delivery.tls: verify demands it; it counts once you require TLS outbound"},
    {"SmtpInboundCommandSupportOptions", false,
     "no counterpart: the extensions are those that Postern has"},
    {"SmtpOutboundCommandSupportOptions", false,
     "no counterpart: what the next hop offers is used"},
    {"SmtpDs*", true, "LDAP routing has no counterpart"},
    {"Log*", false, "no counterpart: logging.file, and rotation outside"},
    {"NameResolution", true, "no counterpart: resolver.servers, else the system's"},
    {"Etrn*", true, "no counterpart: ETRN and ATRN are not there"},
    {"CSideEtrn*", true, "no counterpart: ETRN and ATRN are not there"},
    {"KeyType", false, "the kind of the node"},
    {"AdminACL", false, "no counterpart: who may administer is the system's matter"},
    {"AdminACLBin", false, "no counterpart: who may administer is the system's matter"},
    {"ServerAutoStart", false, "no counterpart: the service manager starts it"},
    {"ServerState", false, "a state, no setting"},
    {"ServerCommand", false, "a command, no setting"},
    {"Win32Error", false, "a state, no setting"},
    {"ServerSize", false, "no counterpart"},
    {"ServerListenBacklog", false, "no counterpart: the system's largest is used"},
    {"ServerListenTimeout", false, "no counterpart: limits.command_timeout"},
    {"MaxEndpointConnections", false, "no counterpart"},
    {"SmtpServiceVersion", false, "a state, no setting"},
};

static bool matches(const char *pattern, const char *name)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] != '*')
        return span_is_nocase(span_str(name), pattern);
    struct span head = span_sub(span_str(name), 0, n - 1);
    return head.n == n - 1 && span_equal_nocase(head, span_sub(span_str(pattern), 0, n - 1));
}

static bool is_nothing(const char *value)
{
    uint32_t number;
    return value[strspn(value, " \t\r\n")] == '\0' || (iis_number(value, &number) && number == 0);
}

static void say_rest(struct mapping *map, const char *place, const struct metabase_property *p)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (matches(others[i].name, p->name)) {
            mapping_say_of(
                map, others[i].needs && !is_nothing(p->value) ? IMPORT_NEEDS_YOU : IMPORT_CHANGED,
                place, p, "%s", others[i].why);
            return;
        }
    mapping_say_of(map, IMPORT_CHANGED, place, p, "not taken over: the importer does not know it");
}

/* Whether the virtual server sets it too, so that the service's value does not count. */
static bool shadowed(const struct mapping *map, const struct metabase_property *p)
{
    for (size_t i = 0; map->server != NULL && i < map->server->count; i++) {
        const struct metabase_property *own = &map->server->properties[i];
        if ((p->name[0] != '\0' && span_is_nocase(span_str(own->name), p->name)) ||
            (p->id != 0 && own->id == p->id))
            return true;
    }
    return false;
}

/* An IPsec list or a route that hangs on a node below the server, where it counts for that alone.
 */
static void say_below(struct mapping *map, const struct metabase_node *node)
{
    const char *shown = iis_shown(map->arena, node->name, 100, false);
    const char *place = mapping_printf(map, "node %s", shown != NULL ? shown : "");
    for (size_t i = 0; i < node->count; i++) {
        const struct metabase_property *p = &node->properties[i];
        if (known_is(p))
            mapping_say_of(
                map, is_nothing(p->value) && p->list == NULL ? IMPORT_CHANGED : IMPORT_NEEDS_YOU,
                place, p, "not taken over: it stands on a node below the server");
        else
            say_rest(map, place, p);
    }
}

void map_rest(struct mapping *map)
{
    for (size_t i = 0; map->server != NULL && i < map->server->count; i++)
        if (!known_is(&map->server->properties[i]))
            say_rest(map, "server", &map->server->properties[i]);
    for (size_t i = 0; map->service != NULL && i < map->service->count; i++)
        if (!known_is(&map->service->properties[i]) && !shadowed(map, &map->service->properties[i]))
            say_rest(map, "service", &map->service->properties[i]);
    for (size_t i = 0; i < map->m->count; i++) {
        const struct metabase_node *node = &map->m->nodes[i];
        if (node->kind == METABASE_OTHER && node->server == map->out->server && node->server != 0)
            say_below(map, node);
    }
}
