#include "base/host_name.h"
#include "import/mapping.h"
#include "import/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    RESULT_MAX = 128 * 1024 * 1024,
    YAML_MAX = 4 * 1024 * 1024, /* the configuration's own bound */
    VALUE_SHOWN = 100,
    TEXT_MAX = 1024,
};

/* Names and numbers as in the IIS SDK's metabase reference. */
static const struct {
    const char *name;
    unsigned id;
} known[IIS_KNOWN] = {
    [IIS_AUTH_FLAGS] = {"AuthFlags", 6000},
    [IIS_LOGON_DOMAIN] = {"SaslLogonDomain", 36940},
    [IIS_SSL_FLAGS] = {"AccessSSLFlags", 6030},
    [IIS_SSL_CERT_HASH] = {"SSLCertHash", 5506},
    [IIS_SSL_STORE] = {"SSLStoreName", 5511},
    [IIS_SERVER_BINDINGS] = {"ServerBindings", 1023},
    [IIS_SECURE_BINDINGS] = {"SecureBindings", 2021},
    [IIS_IP_SECURITY] = {"IPSecurity", 6019},
    [IIS_RELAY_LIST] = {"RelayIpList", 36970},
    [IIS_RELAY_FOR_AUTH] = {"RelayForAuth", 36973},
    [IIS_RESTRICTION_FLAG] = {"SmtpIpRestrictionFlag", 37031},
    [IIS_DISABLE_RELAY] = {"SmtpDisableRelay", 36974},
    [IIS_FQDN] = {"FullyQualifiedDomainName", 0},
    [IIS_DEFAULT_DOMAIN] = {"DefaultDomain", 36908},
    [IIS_MASQUERADE] = {"MasqueradeDomain", 36912},
    [IIS_SMART_HOST] = {"SmartHost", 0},
    [IIS_SMART_HOST_TYPE] = {"SmartHostType", 36905},
    [IIS_SEND_NDR_TO] = {"SendNdrTo", 0},
    [IIS_SEND_BAD_TO] = {"SendBadTo", 0},
    [IIS_RETRY] = {"SmtpRemoteProgressiveRetry", 36996},
    [IIS_ROUTE_ACTION] = {"RouteAction", 36946},
    [IIS_ROUTE_STRING] = {"RouteActionString", 36947},
    [IIS_ROUTE_USER] = {"RouteUserName", 0},
    [IIS_ROUTE_PASSWORD] = {"RoutePassword", 0},
    [IIS_PICKUP] = {"PickupDirectory", 36880},
    [IIS_DROP] = {"DropDirectory", 0},
    [IIS_BADMAIL] = {"BadMailDirectory", 0},
    [IIS_QUEUE] = {"QueueDirectory", 0},
    [IIS_LOG_TYPE] = {"LogType", 4000},
    [IIS_LOG_PLUGIN] = {"LogPluginClsid", 4011},
    [IIS_COMMENT] = {"ServerComment", 1015},
    [IIS_MESSAGE_SIZE] = {"MaxMessageSize", 0},
    [IIS_SESSION_SIZE] = {"MaxSessionSize", 0},
    [IIS_RECIPIENTS] = {"MaxRecipients", 0},
    [IIS_CONNECTIONS] = {"MaxConnections", 1014},
    [IIS_TIMEOUT] = {"ConnectionTimeout", 1013},
    [IIS_OUT_CONNECTIONS] = {"MaxOutConnections", 0},
    [IIS_OUT_PER_DOMAIN] = {"MaxOutConnectionsPerDomain", 0},
    [IIS_BATCH] = {"MaxBatchedMessages", 0},
    [IIS_PORT] = {"RemoteSmtpPort", 0},
    [IIS_REMOTE_TIMEOUT] = {"RemoteTimeout", 0},
    [IIS_HOPS] = {"HopCount", 0},
    [IIS_DELAY_NOTICE] = {"SmtpRemoteDelayExpireMinutes", 37019},
    [IIS_EXPIRE] = {"SmtpRemoteNDRExpireMinutes", 37020},
};

const char *known_name(enum known k)
{
    return known[k].name;
}

bool known_is(const struct metabase_property *p)
{
    for (size_t k = 0; k < IIS_KNOWN; k++)
        if (span_is_nocase(span_str(p->name), known[k].name) ||
            (known[k].id != 0 && p->id == known[k].id))
            return true;
    return false;
}

const struct metabase_property *mapping_get(const struct mapping *map, enum known k)
{
    const struct metabase_property *p = metabase_get(map->server, known[k].name, known[k].id);
    return p != NULL ? p : metabase_get(map->service, known[k].name, known[k].id);
}

const char *mapping_text(const struct mapping *map, enum known k)
{
    const struct metabase_property *p = mapping_get(map, k);
    return p != NULL ? p->value : "";
}

static void add_line(struct mapping *map, struct import_line line, const char *format, va_list args)
{
    struct import_result *out = map->out;
    char text[TEXT_MAX];
    (void)vsnprintf(text, sizeof text, format, args);
    line.text = iis_shown(map->arena, text, TEXT_MAX, false);
    void *lines =
        arena_grown(map->arena, out->lines, out->line_count, &out->line_capacity, sizeof line);
    if (lines == NULL || line.text == NULL || line.value == NULL || line.property == NULL) {
        map->failed = true;
        return;
    }
    out->lines = lines;
    out->lines[out->line_count++] = line;
    out->counts[line.outcome]++;
}

void mapping_say(struct mapping *map, enum import_outcome outcome, enum known k, const char *format,
                 ...)
{
    const struct metabase_property *p = mapping_get(map, k);
    const struct metabase_property *own = metabase_get(map->server, known[k].name, known[k].id);
    const char *value = p == NULL             ? "(not set)"
                        : p->list != NULL     ? "(a list)"
                        : p->value[0] == '\0' ? "\"\""
                                              : iis_shown(map->arena, p->value, VALUE_SHOWN, false);
    va_list args;
    va_start(args, format);
    add_line(map,
             (struct import_line){.outcome = outcome,
                                  .place = p != NULL && own == NULL ? "service" : "server",
                                  .property = known[k].name,
                                  .value = value,
                                  .line = p != NULL ? p->line : 0},
             format, args);
    va_end(args);
}

void mapping_say_of(struct mapping *map, enum import_outcome outcome, const char *place,
                    const struct metabase_property *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_line(map,
             (struct import_line){
                 .outcome = outcome,
                 .place = place,
                 .property = p->name[0] != '\0' ? iis_shown(map->arena, p->name, VALUE_SHOWN, false)
                                                : mapping_printf(map, "number %u", p->id),
                 .value = p->list != NULL ? "(a list)"
                                          : iis_shown(map->arena, p->value, VALUE_SHOWN, false),
                 .line = p->line},
             format, args);
    va_end(args);
}

const char *mapping_printf(struct mapping *map, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *out = arena_str(map->arena, text);
    map->failed = map->failed || out == NULL;
    return out != NULL ? out : "";
}

const char *mapping_lower(struct mapping *map, const char *text)
{
    const char *out = iis_lower(map->arena, text);
    map->failed = map->failed || out == NULL;
    return out != NULL ? out : "";
}

const char *mapping_hop(struct mapping *map, const char *text)
{
    const char *lower = mapping_lower(map, text);
    struct span s = span_str(lower);
    uint32_t ip;
    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        return ip_parse(span_sub(s, 1, s.n - 2), &ip) ? lower : NULL;
    if (ip_parse(s, &ip))
        return mapping_printf(map, "[%s]", lower);
    return host_name_ok(s) ? lower : NULL;
}

/* The lowest number, which is what IIS's console shows first. */
static unsigned first_server(const struct metabase *m)
{
    unsigned first = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->nodes[i].kind == METABASE_SERVER && (first == 0 || m->nodes[i].server < first))
            first = m->nodes[i].server;
    return first;
}

static const char *comment_of(struct mapping *map, const struct metabase_node *node)
{
    const struct metabase_property *p = metabase_get(node, known[IIS_COMMENT].name, 1015);
    const char *shown = iis_shown(map->arena, p != NULL ? p->value : "", 60, true);
    map->failed = map->failed || shown == NULL;
    return shown != NULL ? shown : "";
}

static void name_others(struct mapping *map)
{
    struct import_result *out = map->out;
    size_t n = 0;
    for (size_t i = 0; i < map->m->count; i++)
        n += map->m->nodes[i].kind == METABASE_SERVER && map->m->nodes[i].server != out->server;
    out->others = arena_alloc(map->arena, (n + 1) * sizeof *out->others);
    if (out->others == NULL) {
        map->failed = true;
        return;
    }
    for (size_t i = 0; i < map->m->count; i++) {
        const struct metabase_node *node = &map->m->nodes[i];
        if (node->kind != METABASE_SERVER || node->server == out->server)
            continue;
        size_t at = out->other_count++; /* in order; they are few */
        for (; at > 0 && out->others[at - 1].number > node->server; at--)
            out->others[at] = out->others[at - 1];
        out->others[at] = (struct import_other){node->server, comment_of(map, node)};
    }
}

static bool find_server(struct mapping *map, struct err *e)
{
    unsigned wanted = map->options->server;
    unsigned number = wanted != 0 ? wanted : first_server(map->m);
    map->service = metabase_find(map->m, METABASE_SERVICE, 0);
    map->server = number != 0 ? metabase_find(map->m, METABASE_SERVER, number) : NULL;
    map->out->server = map->server != NULL ? number : 0;
    map->out->comment = comment_of(map, map->server);
    name_others(map);
    if (wanted == 0 || map->server != NULL)
        return true;
    const char *list = "";
    for (size_t i = 0; i < map->out->other_count; i++)
        list = mapping_printf(map, "%s%s%u", list, i > 0 ? ", " : "", map->out->others[i].number);
    return err_set(e, ERR_PERM, "there is no virtual server %u, only: %s", wanted,
                   list[0] != '\0' ? list : "the service's own settings");
}

bool import_run(const struct metabase *m, const struct import_options *options,
                struct import_result *out, struct err *e)
{
    struct mapping map = {.m = m, .options = options, .out = out, .arena = &out->arena};
    const char *input;
    *out = (struct import_result){.comment = ""};
    arena_init(&out->arena, RESULT_MAX);
    buf_init(&out->yaml, YAML_MAX);
    if (!find_server(&map, e))
        return false;
    map_listeners(&map);
    map_authentication(&map);
    map_access(&map);
    map_domains(&map);
    map_numbers(&map);
    map_delivery(&map);
    map_logging(&map);
    map_rest(&map);
    input = iis_shown(map.arena, options->input, 200, true);
    if (map.failed || input == NULL ||
        !plan_write(&map.plan, input, out->server, out->comment, &out->yaml))
        return err_set(e, ERR_TEMP, "out of memory");
    return true;
}

void import_deinit(struct import_result *r)
{
    buf_deinit(&r->yaml);
    arena_deinit(&r->arena);
}

const char *import_outcome_name(enum import_outcome outcome)
{
    switch (outcome) {
    case IMPORT_TAKEN: return "taken over";
    case IMPORT_CHANGED: return "changed";
    case IMPORT_NEEDS_YOU: return "needs you";
    }
    return "";
}

bool import_report(const struct import_result *r, struct buf *out)
{
    for (int outcome = 0; outcome < IMPORT_OUTCOMES; outcome++)
        for (size_t i = 0; i < r->line_count; i++) {
            const struct import_line *line = &r->lines[i];
            if ((int)line->outcome != outcome)
                continue;
            buf_addf(out, "%-10s  ", import_outcome_name(line->outcome));
            if (strcmp(line->place, "server") != 0)
                buf_addf(out, "%s: ", line->place);
            buf_addf(out, "%s = %s", line->property, line->value);
            if (line->line != 0)
                buf_addf(out, " (line %u)", line->line);
            buf_addf(out, ": %s\n", line->text);
        }
    buf_addf(out, "\nvirtual server %u%s%s%s: %zu taken over, %zu changed, %zu need you\n",
             r->server, r->comment[0] != '\0' ? " (" : "", r->comment,
             r->comment[0] != '\0' ? ")" : "", r->counts[IMPORT_TAKEN], r->counts[IMPORT_CHANGED],
             r->counts[IMPORT_NEEDS_YOU]);
    for (size_t i = 0; i < r->other_count; i++)
        buf_addf(out, "not imported: virtual server %u%s%s%s, ask for it with --server %u\n",
                 r->others[i].number, r->others[i].comment[0] != '\0' ? " (" : "",
                 r->others[i].comment, r->others[i].comment[0] != '\0' ? ")" : "",
                 r->others[i].number);
    return !out->failed;
}
