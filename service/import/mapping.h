/* mapping.h - one run from metabase to plan. Inside import only. A function that runs out of memory
 * sets `failed`; the others go on. */
#ifndef POSTERN_IMPORT_MAPPING_H
#define POSTERN_IMPORT_MAPPING_H

#include "base/compiler.h"
#include "import/import.h"
#include "import/plan.h"

/* The properties that are understood. */
enum known {
    IIS_AUTH_FLAGS,
    IIS_LOGON_DOMAIN,
    IIS_SSL_FLAGS,
    IIS_SSL_CERT_HASH,
    IIS_SSL_STORE,
    IIS_SERVER_BINDINGS,
    IIS_SECURE_BINDINGS,
    IIS_IP_SECURITY,
    IIS_RELAY_LIST,
    IIS_RELAY_FOR_AUTH,
    IIS_RESTRICTION_FLAG,
    IIS_DISABLE_RELAY,
    IIS_FQDN,
    IIS_DEFAULT_DOMAIN,
    IIS_MASQUERADE,
    IIS_SMART_HOST,
    IIS_SMART_HOST_TYPE,
    IIS_SEND_NDR_TO,
    IIS_SEND_BAD_TO,
    IIS_RETRY,
    IIS_ROUTE_ACTION,
    IIS_ROUTE_STRING,
    IIS_ROUTE_USER,
    IIS_ROUTE_PASSWORD,
    IIS_PICKUP,
    IIS_DROP,
    IIS_BADMAIL,
    IIS_QUEUE,
    IIS_LOG_TYPE,
    IIS_LOG_PLUGIN,
    IIS_COMMENT,
    IIS_NUMBERS, /* from here on: numbers with a key of their own */
    IIS_MESSAGE_SIZE = IIS_NUMBERS,
    IIS_SESSION_SIZE,
    IIS_RECIPIENTS,
    IIS_CONNECTIONS,
    IIS_TIMEOUT,
    IIS_OUT_CONNECTIONS,
    IIS_OUT_PER_DOMAIN,
    IIS_BATCH,
    IIS_PORT,
    IIS_REMOTE_TIMEOUT,
    IIS_HOPS,
    IIS_DELAY_NOTICE,
    IIS_EXPIRE,
    IIS_KNOWN
};

struct mapping {
    const struct metabase *m;
    const struct metabase_node *service, *server; /* either may be NULL, not both */
    const struct import_options *options;
    struct import_result *out;
    struct arena *arena; /* of out */
    struct import_plan plan;
    bool failed;
};

const char *known_name(enum known k);
/* Whether this is one of them. */
bool known_is(const struct metabase_property *p);

/* The virtual server's own property, else the service's; NULL = not set. */
const struct metabase_property *mapping_get(const struct mapping *map, enum known k);
/* Its value, "" where it is not set. */
const char *mapping_text(const struct mapping *map, enum known k);

/* A line of the report about a known property, set or not. */
void mapping_say(struct mapping *map, enum import_outcome outcome, enum known k, const char *format,
                 ...) PRINTF_LIKE(4, 5);
/* The same about a property that stands in a node. */
void mapping_say_of(struct mapping *map, enum import_outcome outcome, const char *place,
                    const struct metabase_property *p, const char *format, ...) PRINTF_LIKE(5, 6);

/* Texts in the arena; failed is set and "" returned without memory. */
const char *mapping_printf(struct mapping *map, const char *format, ...) PRINTF_LIKE(2, 3);
const char *mapping_lower(struct mapping *map, const char *text);

/* "[10.0.0.1]", "10.0.0.1" or a host's name, as IIS has it, to what the configuration has; NULL
 * when it is none of these. */
const char *mapping_hop(struct mapping *map, const char *text);

/* One concern each, in the report's order. */
void map_listeners(struct mapping *map);
void map_authentication(struct mapping *map);
void map_access(struct mapping *map);
void map_domains(struct mapping *map);
void map_numbers(struct mapping *map);
void map_delivery(struct mapping *map);
void map_logging(struct mapping *map);
void map_rest(struct mapping *map);

#endif
