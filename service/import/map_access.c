#include "base/host_name.h"
#include "import/mapping.h"
#include "import/values.h"

/* What a list says, before polarity and safety are looked at. */
enum list_state {
    LIST_ABSENT,  /* not set */
    LIST_EMPTY,   /* set to nothing */
    LIST_READ,    /* *list */
    LIST_DAMAGED, /* e says how */
};

static enum list_state read_list(struct mapping *map, enum known k, struct ip_list *list,
                                 struct err *e)
{
    const struct metabase_property *p = mapping_get(map, k);
    if (p == NULL)
        return LIST_ABSENT;
    if (p->list != NULL) {
        *list = *p->list;
        return LIST_READ;
    }
    struct span digits = span_trim(span_str(p->value));
    if (digits.n == 0)
        return LIST_EMPTY;
    if (ip_list_parse_hex(map->arena, digits, list, e))
        return LIST_READ;
    map->failed = map->failed || e->class == ERR_TEMP;
    return LIST_DAMAGED;
}

/* How IIS writes "only the list below" with an empty list: one address that nobody has. */
static bool is_nobody(struct ip_entry entry)
{
    return entry.address == 0 && entry.mask == UINT32_MAX;
}

static void add_entry(struct mapping *map, struct plan_control *c, const char *text)
{
    for (size_t i = 0; i < c->entries.count; i++)
        if (span_is_nocase(span_str(text), c->entries.items[i]))
            return;
    if (!ip_names_add(map->arena, &c->entries, text))
        map->failed = true;
}

/* False for a mask with holes, which no list of ours can say. */
static bool add_addresses(struct mapping *map, struct plan_control *c, const struct ip_entry *entry)
{
    char ip[IP_TEXT_MAX];
    unsigned bits;
    if (!ip_mask_bits(entry->mask, &bits))
        return false;
    ip_format(entry->address & entry->mask, ip);
    add_entry(map, c,
              bits == 32 ? mapping_printf(map, "%s", ip) : mapping_printf(map, "%s/%u", ip, bits));
    return true;
}

static void close_control(struct plan_control *c)
{
    c->only = true;
    c->entries.count = 0;
}

/* Whether a denied entry touches it: IIS looks at the list of one polarity only, but which one wins
 * where both are there was not seen. */
static bool touched(const struct ip_list *list, struct ip_entry entry)
{
    for (size_t i = 0; i < list->denied.count; i++)
        if (ip_entries_overlap(entry, list->denied.items[i]))
            return true;
    return false;
}

/* Names of the exporter's lists. In a list that lets in only what stands there is taken; in one
 * that refuses, what lies below each name too. */
static size_t add_names(struct mapping *map, struct plan_control *c, const struct ip_names *names,
                        bool refusing)
{
    size_t odd = 0;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = mapping_lower(map, names->items[i]);
        struct span s = span_str(name);
        /* A list of ours takes `self` for this machine. */
        if (!iis_domain(s) || host_name_looks_numeric(s) || span_is(s, "self")) {
            odd++;
            continue;
        }
        add_entry(map, c, name);
        if (refusing && s.p[0] != '*')
            add_entry(map, c, mapping_printf(map, "*.%s", name));
    }
    return odd;
}

struct outcome {
    size_t holes;   /* entries with a mask that has holes */
    size_t touched; /* granted entries left out for a denied one */
    size_t odd;     /* names that are none */
};

static struct outcome fill_granted(struct mapping *map, struct plan_control *c,
                                   const struct ip_list *list)
{
    struct outcome o = {0};
    c->only = true;
    for (size_t i = 0; i < list->granted.count; i++) {
        struct ip_entry entry = list->granted.items[i];
        if (is_nobody(entry))
            continue;
        if (touched(list, entry))
            o.touched++;
        else if (!add_addresses(map, c, &entry))
            o.holes++;
    }
    o.odd = add_names(map, c, &list->granted_names, false);
    return o;
}

static struct outcome fill_denied(struct mapping *map, struct plan_control *c,
                                  const struct ip_list *list)
{
    struct outcome o = {0};
    c->only = false;
    for (size_t i = 0; i < list->denied.count; i++)
        if (!is_nobody(list->denied.items[i]) && !add_addresses(map, c, &list->denied.items[i]))
            o.holes++;
    o.odd = add_names(map, c, &list->denied_names, true);
    return o;
}

/* The binary form does not say what happens to the others; some granted entry makes it "only". */
static bool is_only(const struct ip_list *list)
{
    if (list->by_default != IP_DEFAULT_UNSAID)
        return list->by_default == IP_DEFAULT_REFUSE;
    return list->granted.count > 0 || list->granted_names_unread;
}

static void say_granted(struct mapping *map, enum known k, const struct plan_control *c,
                        const struct ip_list *list, struct outcome o)
{
    const char *key = k == IIS_RELAY_LIST ? "access.relay" : "access.connection";
    if (list->granted_names_unread)
        mapping_say(
            map, IMPORT_NEEDS_YOU, k,
            "%s: only %zu entr%s; the list has host names too, whose form is not known: add "
            "them to %s.list",
            key, c->entries.count, c->entries.count == 1 ? "y" : "ies", key);
    else if (o.holes + o.touched + o.odd > 0)
        mapping_say(map, IMPORT_NEEDS_YOU, k,
                    "%s: only %zu entr%s; left out: %zu with a mask that has holes, %zu that a "
                    "denied entry touches, %zu that are no names",
                    key, c->entries.count, c->entries.count == 1 ? "y" : "ies", o.holes, o.touched,
                    o.odd);
    else if (list->granted_names.count > 0)
        mapping_say(
            map, IMPORT_CHANGED, k,
            "%s: only %zu entr%s; a name counts here when reverse DNS gives it and its "
            "address is the client's, and stands for itself alone (*.name: what lies below)",
            key, c->entries.count, c->entries.count == 1 ? "y" : "ies");
    else
        mapping_say(map, IMPORT_TAKEN, k, "%s: only %zu entr%s", key, c->entries.count,
                    c->entries.count == 1 ? "y" : "ies");
}

static void map_connection(struct mapping *map)
{
    struct plan_control *c = &map->plan.connection;
    struct ip_list list = {0};
    struct err e = {0};
    struct outcome o;
    switch (read_list(map, IIS_IP_SECURITY, &list, &e)) {
    case LIST_ABSENT:
    case LIST_EMPTY:
        mapping_say(map, IMPORT_TAKEN, IIS_IP_SECURITY,
                    "access.connection: all-except, empty list");
        return;
    case LIST_DAMAGED:
        close_control(c);
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_IP_SECURITY,
                    "%s; imported closed (access.connection: only, empty list): nobody can connect "
                    "until you write the list",
                    e.text);
        return;
    case LIST_READ: break;
    }
    if (is_only(&list)) {
        o = fill_granted(map, c, &list);
        say_granted(map, IIS_IP_SECURITY, c, &list, o);
        return;
    }
    o = fill_denied(map, c, &list);
    if (list.denied_names_unread || o.holes + o.odd > 0) {
        close_control(c);
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_IP_SECURITY,
                    "the list refuses clients that could not be read (%s); imported closed "
                    "(access.connection: only, empty list): nobody can connect until you write it",
                    list.denied_names_unread ? "host names, whose form is not known"
                                             : "masks with holes, or odd names");
    } else {
        mapping_say(map, list.denied_names.count > 0 ? IMPORT_CHANGED : IMPORT_TAKEN,
                    IIS_IP_SECURITY, "access.connection: all-except %zu entr%s%s", c->entries.count,
                    c->entries.count == 1 ? "y" : "ies",
                    list.denied_names.count > 0
                        ? "; a client can take its reverse DNS away, an address is safer"
                        : "");
    }
}

/* Three states: absent is "only the list below", empty; "" is "all except the list below", empty,
 * which is an open relay; else the list. A relay list that refuses is an open relay too. */
static void map_relay_list(struct mapping *map)
{
    struct plan_control *c = &map->plan.relay;
    struct ip_list list = {0};
    struct err e = {0};
    c->only = true;
    enum list_state state = read_list(map, IIS_RELAY_LIST, &list, &e);
    if (state == LIST_ABSENT) {
        mapping_say(map, IMPORT_TAKEN, IIS_RELAY_LIST, "access.relay: only, empty list");
    } else if (state == LIST_DAMAGED) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_RELAY_LIST,
                    "%s; imported closed (access.relay: only, empty list)", e.text);
    } else if (state == LIST_EMPTY || !is_only(&list)) {
        mapping_say(
            map, IMPORT_NEEDS_YOU, IIS_RELAY_LIST,
            "in IIS this lets %s relay: an open relay. Imported closed (access.relay: only, "
            "empty list): write the clients that may relay into access.relay.list",
            list.denied.count > 0 || list.denied_names_unread || list.denied_names.count > 0
                ? "everybody but the listed clients"
                : "everybody");
    } else if (map->options->close_relay) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_RELAY_LIST,
                    "its %zu entr%s let strangers relay: an open relay. Imported closed "
                    "(access.relay: only, empty list): write the clients that may relay into "
                    "access.relay.list",
                    list.granted.count, list.granted.count == 1 ? "y" : "ies");
    } else {
        struct outcome o = fill_granted(map, c, &list);
        say_granted(map, IIS_RELAY_LIST, c, &list, o);
    }
}

static void map_relay_for_auth(struct mapping *map)
{
    const struct metabase_property *p = mapping_get(map, IIS_RELAY_FOR_AUTH);
    uint32_t value = 0;
    if (p != NULL && !iis_number(p->value, &value)) {
        mapping_say(map, IMPORT_NEEDS_YOU, IIS_RELAY_FOR_AUTH,
                    "no number; imported as off (access.relay.authenticated: false)");
        return;
    }
    map->plan.relay_authenticated = value != 0;
    mapping_say(map, IMPORT_TAKEN, IIS_RELAY_FOR_AUTH, "access.relay.authenticated: %s%s",
                value != 0 ? "true" : "false", p == NULL ? ", which is IIS's default" : "");
}

/* Both are undocumented. What a fresh server has is what the list says anyway. */
static void map_switches(struct mapping *map)
{
    const struct metabase_property *flag = mapping_get(map, IIS_RESTRICTION_FLAG);
    const struct metabase_property *off = mapping_get(map, IIS_DISABLE_RELAY);
    uint32_t value;
    if (flag != NULL)
        mapping_say(
            map, iis_number(flag->value, &value) && value == 1 ? IMPORT_CHANGED : IMPORT_NEEDS_YOU,
            IIS_RESTRICTION_FLAG,
            "not taken over: what it means is not documented, a fresh server has 1; the "
            "lists alone say who may relay");
    if (off != NULL)
        mapping_say(
            map, iis_number(off->value, &value) && value != 0 ? IMPORT_CHANGED : IMPORT_NEEDS_YOU,
            IIS_DISABLE_RELAY,
            "not taken over: a fresh server has TRUE; nobody may relay here but the list "
            "and whoever has authenticated");
}

void map_access(struct mapping *map)
{
    map_connection(map);
    map_relay_list(map);
    map_relay_for_auth(map);
    map_switches(map);
}
