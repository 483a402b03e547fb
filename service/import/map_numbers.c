#include "import/mapping.h"
#include "import/values.h"

#include <inttypes.h>

#define AT(member) .offset = offsetof(struct import_plan, member)
#define GIB ((uint64_t)1 << 30)

/* A number of IIS that has a key of ours. */
static const struct number {
    enum known k;
    size_t offset; /* of the struct plan_number */
    const char *key;
    const char *unit;
    uint64_t fallback;  /* IIS's default, in IIS's unit */
    uint64_t min, max;  /* ours, in IIS's unit */
    uint64_t unlimited; /* what stands for IIS's "unlimited"; 0: Postern's own default */
    bool zero_unlimited;
} numbers[] = {
    {IIS_MESSAGE_SIZE, AT(message_size), "limits.message_size", " bytes", 2097152, 1024, 2 * GIB,
     2 * GIB, true},
    {IIS_SESSION_SIZE, AT(session_size), "limits.session_size", " bytes", 10485760, 1024,
     1024 * GIB, 1024 * GIB, true},
    {IIS_RECIPIENTS, AT(recipients), "limits.recipients", "", 100, 1, 50000, 50000, true},
    {IIS_CONNECTIONS, AT(connections), "limits.connections", "", 2000000000, 1, 100000, 0, true},
    {IIS_TIMEOUT, AT(idle_s), "limits.idle", " s", 600, 1, 86400, 86400, false},
    {IIS_OUT_CONNECTIONS, AT(out_connections), "delivery.connections", "", 1000, 1, 100000, 100000,
     true},
    {IIS_OUT_PER_DOMAIN, AT(out_per_domain), "delivery.connections_per_destination", "", 100, 1,
     100000, 100000, true},
    {IIS_BATCH, AT(out_messages), "delivery.messages_per_connection", "", 20, 1, 100000, 100000,
     true},
    {IIS_PORT, AT(out_port), "delivery.port", "", 25, 1, 65535, 25, false},
    {IIS_REMOTE_TIMEOUT, AT(out_idle_s), "delivery.idle", " s", 600, 1, 3600, 3600, false},
    {IIS_HOPS, AT(hop_limit), "delivery.hop_limit", "", 15, 1, 1000, 1000, false},
    {IIS_DELAY_NOTICE, AT(delay_notice_min), "delivery.delay_notice", " min", 60, 0, 43200, 43200,
     false},
    {IIS_EXPIRE, AT(expire_min), "delivery.expire", " min", 2880, 1, 43200, 43200, false},
};

static void map_number(struct mapping *map, const struct number *n)
{
    const struct metabase_property *p = mapping_get(map, n->k);
    struct plan_number *out = (struct plan_number *)(void *)((char *)&map->plan + n->offset);
    uint32_t raw = (uint32_t)n->fallback;
    bool read = p == NULL || iis_number(p->value, &raw);
    bool unlimited = raw >= 2000000000u || (raw == 0 && n->zero_unlimited);
    *out = (struct plan_number){true, n->fallback};
    if (!read) {
        mapping_say(map, IMPORT_NEEDS_YOU, n->k, "no number; %s has IIS's default, %" PRIu64 "%s",
                    n->key, n->fallback, n->unit);
        out->written = n->fallback <= n->max;
    } else if (unlimited && n->unlimited == 0) {
        out->written = false;
        mapping_say(map, IMPORT_CHANGED, n->k,
                    "unlimited in IIS; %s stays at Postern's default, which no client can use up "
                    "alone (limits.connections_per_client)",
                    n->key);
    } else if (unlimited) {
        out->value = n->unlimited;
        mapping_say(map, IMPORT_CHANGED, n->k, "unlimited in IIS; %s has the most: %" PRIu64 "%s",
                    n->key, n->unlimited, n->unit);
    } else {
        out->value = raw < n->min ? n->min : raw > n->max ? n->max : raw;
        mapping_say(map, out->value == raw ? IMPORT_TAKEN : IMPORT_CHANGED, n->k,
                    "%s: %" PRIu64 "%s%s", n->key, out->value, n->unit,
                    out->value != raw ? ", the nearest that there is"
                    : p == NULL       ? ", which is IIS's default"
                                      : "");
    }
}

void map_numbers(struct mapping *map)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        map_number(map, &numbers[i]);
}
