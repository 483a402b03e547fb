#include "base/host_name.h"
#include "import/mapping.h"
#include "import/values.h"

#include <string.h>

enum { RETRY_MINUTES_MAX = 7 * 24 * 60 };

static void map_smart_host(struct mapping *map)
{
    enum { NONE, AFTER_DIRECT, ALWAYS };
    const char *text = mapping_text(map, IIS_SMART_HOST);
    const struct metabase_property *kind = mapping_get(map, IIS_SMART_HOST_TYPE);
    uint32_t type = ALWAYS;
    bool known = kind != NULL && iis_number(kind->value, &type) && type <= ALWAYS;
    const char *hop = mapping_hop(map, text);
    map->plan.smart_host = "";
    if (kind != NULL)
        mapping_say(map, known ? IMPORT_TAKEN : IMPORT_NEEDS_YOU, IIS_SMART_HOST_TYPE, "%s",
                    !known                 ? "unknown; taken as always"
                    : type == NONE         ? "mail goes by MX"
                    : type == AFTER_DIRECT ? "delivery.direct_first: true"
                                           : "delivery.direct_first: false");
    if (text[strspn(text, " \t\r\n")] == '\0')
        return;
    if (known && type == NONE) {
        mapping_say(map, IMPORT_CHANGED, IIS_SMART_HOST,
                    "not taken over: SmartHostType says that it is not used");
    } else if (hop == NULL) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_SMART_HOST,
                    "neither one host nor one address; left out: set delivery.smart_host, until "
                    "then mail goes by MX");
    } else {
        map->plan.smart_host = hop;
        map->plan.direct_first = known && type == AFTER_DIRECT;
        mapping_say(map,
                    kind == NULL                      ? IMPORT_NEEDS_YOU
                    : hop[0] == '[' && text[0] != '[' ? IMPORT_CHANGED
                                                      : IMPORT_TAKEN,
                    IIS_SMART_HOST, "delivery.smart_host: %s%s%s", hop,
                    hop[0] == '[' && strchr(text, '[') == NULL ? "; an address has brackets here"
                                                               : "",
                    kind == NULL ? "; SmartHostType is not set, taken as always" : "");
    }
}

static void map_masquerade(struct mapping *map)
{
    const char *name = mapping_lower(map, mapping_text(map, IIS_MASQUERADE));
    map->plan.masquerade = "";
    if (name[0] == '\0')
        return;
    if (!host_name_ok(span_str(name))) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_MASQUERADE, "no domain; left out");
        return;
    }
    map->plan.masquerade = name;
    mapping_say(map, IMPORT_TAKEN, IIS_MASQUERADE, "delivery.masquerade: %s", name);
}

static void map_ndr_copy(struct mapping *map)
{
    const char *text = mapping_text(map, IIS_SEND_NDR_TO);
    struct span s = span_trim(span_str(text));
    map->plan.ndr_copy_to = "";
    if (s.n == 0)
        return;
    const char *box = arena_span_str(map->arena, s);
    const char *domain = map->plan.domain_count > 0 ? map->plan.domains[0].name : "";
    bool bare = span_find(s, '@') == s.n;
    if (box != NULL && bare)
        box = mapping_printf(map, "%s@%s", box, domain);
    map->failed = map->failed || box == NULL;
    if (box == NULL || !iis_mailbox(span_str(box))) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_SEND_NDR_TO,
                    "no address; left out: set delivery.ndr_copy_to");
        return;
    }
    map->plan.ndr_copy_to = box;
    mapping_say(map, bare ? IMPORT_CHANGED : IMPORT_TAKEN, IIS_SEND_NDR_TO,
                "delivery.ndr_copy_to: %s", box);
}

static void map_retry(struct mapping *map)
{
    static const uint64_t fallback[] = {15, 30, 60, 240};
    struct import_plan *p = &map->plan;
    struct span rest = span_str(mapping_text(map, IIS_RETRY));
    bool given = mapping_get(map, IIS_RETRY) != NULL, ok = given, cut = false;
    while (ok && rest.n > 0) {
        size_t comma = span_find(rest, ',');
        uint64_t minutes;
        ok = span_u64(span_trim(span_sub(rest, 0, comma)), UINT32_MAX, &minutes) &&
             p->retry_count < PLAN_RETRIES_MAX;
        if (ok) {
            uint64_t fit = minutes < 1                   ? 1
                           : minutes > RETRY_MINUTES_MAX ? RETRY_MINUTES_MAX
                                                         : minutes;
            cut = cut || fit != minutes;
            p->retry_min[p->retry_count++] = fit;
        }
        rest = span_from(rest, comma + 1);
    }
    if (ok && p->retry_count > 0) {
        mapping_say(map, cut ? IMPORT_CHANGED : IMPORT_TAKEN, IIS_RETRY, "delivery.retry%s",
                    cut ? ", each between 1 minute and 7 days" : "");
        return;
    }
    p->retry_count = sizeof fallback / sizeof *fallback;
    memcpy(p->retry_min, fallback, sizeof fallback);
    mapping_say(map, given ? IMPORT_NEEDS_YOU : IMPORT_TAKEN, IIS_RETRY, "delivery.retry: %s",
                given ? "cannot be read; IIS's default, 15, 30, 60, 240 minutes"
                      : "15, 30, 60, 240 minutes, which is IIS's default");
}

static void map_route(struct mapping *map)
{
    const char *user = iis_shown(map->arena, mapping_text(map, IIS_ROUTE_USER), 100, true);
    map->plan.outbound_user = user != NULL ? user : "";
    map->failed = map->failed || user == NULL;
    if (mapping_get(map, IIS_ROUTE_ACTION) != NULL)
        mapping_say(
            map, IMPORT_NEEDS_YOU, IIS_ROUTE_ACTION,
            "not taken over: its bits are not documented. They hold the outbound security "
            "(none, Basic, Integrated; TLS): look at Delivery, Outbound Security in IIS and "
            "set delivery.tls and delivery.authentication. Until then mail goes without a "
            "log-in, under TLS where it is offered");
    if (mapping_get(map, IIS_ROUTE_STRING) != NULL)
        mapping_say(
            map, mapping_text(map, IIS_ROUTE_STRING)[0] == '\0' ? IMPORT_CHANGED : IMPORT_NEEDS_YOU,
            IIS_ROUTE_STRING, "not taken over: what it means for a server is not known");
    if (mapping_get(map, IIS_ROUTE_USER) != NULL)
        mapping_say(map, user != NULL && user[0] != '\0' ? IMPORT_NEEDS_YOU : IMPORT_CHANGED,
                    IIS_ROUTE_USER, "%s",
                    user != NULL && user[0] != '\0'
                        ? "delivery.authentication.user stands as a comment: its password has to "
                          "be set too"
                        : "nothing to take over");
    if (mapping_get(map, IIS_ROUTE_PASSWORD) != NULL) {
        bool some = mapping_text(map, IIS_ROUTE_PASSWORD)[0] != '\0';
        mapping_say(map, some ? IMPORT_NEEDS_YOU : IMPORT_CHANGED, IIS_ROUTE_PASSWORD, "%s",
                    some ? "passwords are encrypted in the metabase: put it into a file and name "
                           "that in delivery.authentication.password_file"
                         : "nothing to take over");
    }
}

static void map_directory(struct mapping *map, enum known k, const char *ours, bool used)
{
    if (mapping_get(map, k) == NULL)
        return;
    if (used)
        mapping_say(map, IMPORT_NEEDS_YOU, k,
                    "it is %s in service.data_directory here: tell the programs that use it", ours);
    else
        mapping_say(map, IMPORT_CHANGED, k, "%s in service.data_directory here", ours);
}

void map_delivery(struct mapping *map)
{
    map_smart_host(map);
    map_masquerade(map);
    map_ndr_copy(map);
    if (mapping_get(map, IIS_SEND_BAD_TO) != NULL)
        mapping_say(
            map, mapping_text(map, IIS_SEND_BAD_TO)[0] == '\0' ? IMPORT_CHANGED : IMPORT_NEEDS_YOU,
            IIS_SEND_BAD_TO,
            "not taken over: what cannot be returned goes to mail/Badmail here, to nobody's "
            "mailbox");
    map_retry(map);
    map_route(map);
    map_directory(map, IIS_PICKUP, "mail/Pickup", true);
    map_directory(map, IIS_DROP, "mail/Drop", true);
    map_directory(map, IIS_BADMAIL, "mail/Badmail", false);
    map_directory(map, IIS_QUEUE, "the database queue.db", false);
}
