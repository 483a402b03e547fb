#include "import/metabase_parts.h"

#include <jansson.h>

#include <string.h>

struct reader {
    struct metabase *m;
    struct err *e;
};

static bool wrong(struct reader *r, const char *where, const char *expected)
{
    return err_set(r->e, ERR_PERM, "%.100s: expected %s", where, expected);
}

static bool out_of_memory(struct reader *r)
{
    return err_set(r->e, ERR_TEMP, "out of memory");
}

/* PowerShell makes a single text of a list of one. */
static size_t list_size(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : json_is_string(value) ? 1 : 0;
}

static const char *list_text(const json_t *value, size_t i)
{
    return json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
}

static bool is_list(const json_t *value)
{
    if (value == NULL || json_is_null(value) || json_is_string(value))
        return true;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_array(value);
}

/* "10.1.0.0, 255.255.0.0"; an address alone stands for itself. */
static bool parse_entry(const char *text, struct ip_entry *entry)
{
    struct span s = span_str(text);
    size_t comma = span_find(s, ',');
    entry->mask = UINT32_MAX;
    return ip_parse(span_trim(span_sub(s, 0, comma)), &entry->address) &&
           (comma == s.n || ip_parse(span_trim(span_from(s, comma + 1)), &entry->mask));
}

static bool read_entries(struct reader *r, const json_t *object, const char *key,
                         struct ip_entries *out)
{
    const json_t *value = json_object_get(object, key);
    if (!is_list(value) || list_size(value) > IP_LIST_ENTRIES_MAX)
        return wrong(r, key, "a list of at most 10000 \"address, mask\"");
    for (size_t i = 0; i < list_size(value); i++) {
        struct ip_entry entry;
        if (!parse_entry(list_text(value, i), &entry))
            return wrong(r, key, "\"address, mask\", as \"10.1.0.0, 255.255.0.0\"");
        if (!ip_entries_add(&r->m->arena, out, entry))
            return out_of_memory(r);
    }
    return true;
}

static bool read_names(struct reader *r, const json_t *object, const char *key,
                       struct ip_names *out)
{
    const json_t *value = json_object_get(object, key);
    if (!is_list(value) || list_size(value) > IP_LIST_ENTRIES_MAX)
        return wrong(r, key, "a list of at most 10000 names");
    for (size_t i = 0; i < list_size(value); i++) {
        const char *name = arena_str(&r->m->arena, list_text(value, i));
        if (name == NULL || !ip_names_add(&r->m->arena, out, name))
            return out_of_memory(r);
    }
    return true;
}

static bool read_ip_list(struct reader *r, const json_t *object, const struct ip_list **out)
{
    struct ip_list *list = arena_alloc(&r->m->arena, sizeof *list);
    const json_t *grants = json_object_get(object, "GrantByDefault");
    if (list == NULL)
        return out_of_memory(r);
    if (grants != NULL && !json_is_boolean(grants))
        return wrong(r, "GrantByDefault", "true or false");
    if (grants != NULL)
        list->by_default = json_is_true(grants) ? IP_DEFAULT_GRANT : IP_DEFAULT_REFUSE;
    *out = list;
    return read_entries(r, object, "IPGrant", &list->granted) &&
           read_entries(r, object, "IPDeny", &list->denied) &&
           read_names(r, object, "DomainGrant", &list->granted_names) &&
           read_names(r, object, "DomainDeny", &list->denied_names);
}

static const char *joined(struct reader *r, const json_t *array)
{
    struct buf text;
    const char *out;
    buf_init(&text, METABASE_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            buf_add_byte(&text, '\n');
        buf_add_str(&text, json_string_value(json_array_get(array, i)));
    }
    out = text.failed ? NULL : arena_span_str(&r->m->arena, buf_span(&text));
    buf_deinit(&text);
    return out;
}

static bool read_property(struct reader *r, struct metabase_node *node, const char *key,
                          const json_t *value)
{
    struct arena *a = &r->m->arena;
    struct metabase_property p = {.name = arena_str(a, key), .value = ""};
    if (json_is_null(value))
        return true;
    if (json_is_string(value))
        p.value = arena_str(a, json_string_value(value));
    else if (json_is_integer(value))
        p.value = arena_printf(a, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        p.value = json_is_true(value) ? "TRUE" : "FALSE";
    else if (json_is_object(value) && !read_ip_list(r, value, &p.list))
        return err_wrap(r->e, "%.60s", key);
    else if (json_is_array(value) && is_list(value))
        p.value = joined(r, value);
    else if (!json_is_object(value))
        return wrong(r, key, "a text, a whole number, true, false, a list of texts, or an object");
    if (p.name == NULL || p.value == NULL)
        return out_of_memory(r);
    return metabase_add_property(r->m, node, p, r->e);
}

static bool read_node(struct reader *r, const json_t *object, enum metabase_kind kind,
                      unsigned server, const char *name)
{
    json_t *properties = json_object_get(object, "properties"), *value;
    const char *key;
    struct metabase_node *node =
        metabase_add_node(r->m, kind, server, arena_str(&r->m->arena, name), r->e);
    if (node == NULL)
        return false;
    if (node->name == NULL)
        return out_of_memory(r);
    if (properties != NULL && !json_is_object(properties))
        return wrong(r, "properties", "an object");
    json_object_foreach(properties, key,
                        value) if (!read_property(r, node, key, value)) return false;
    return true;
}

static bool read_server(struct reader *r, const json_t *server)
{
    json_int_t number = json_integer_value(json_object_get(server, "number"));
    const json_t *domains = json_object_get(server, "domains");
    if (number <= 0 || number > UINT32_MAX)
        return wrong(r, "servers[].number", "1 or more");
    if (!read_node(r, server, METABASE_SERVER, (unsigned)number, ""))
        return false;
    if (domains != NULL && !json_is_null(domains) && !json_is_array(domains))
        return wrong(r, "servers[].domains", "a list");
    for (size_t i = 0; i < json_array_size(domains); i++) {
        const json_t *domain = json_array_get(domains, i);
        const char *name = json_string_value(json_object_get(domain, "name"));
        if (name == NULL)
            return wrong(r, "servers[].domains[].name", "a text");
        if (!read_node(r, domain, METABASE_DOMAIN, (unsigned)number, name))
            return false;
    }
    return true;
}

static bool read_document(struct reader *r, const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *service = json_object_get(root, "service");
    const json_t *servers = json_object_get(root, "servers");
    if (format == NULL || strcmp(format, "postern-iis-smtp") != 0 ||
        json_integer_value(json_object_get(root, "version")) != 1)
        return wrong(r, "format, version",
                     "\"postern-iis-smtp\" and 1, as export-iis-smtp.ps1 writes them");
    if (json_is_object(service) && !read_node(r, service, METABASE_SERVICE, 0, ""))
        return false;
    if (servers != NULL && !json_is_array(servers))
        return wrong(r, "servers", "a list");
    for (size_t i = 0; i < json_array_size(servers); i++)
        if (!read_server(r, json_array_get(servers, i)))
            return false;
    return true;
}

bool metabase_read_json(struct span text, struct metabase *m, struct err *e)
{
    struct reader r = {m, e};
    json_error_t why;
    /* jansson stops at 2048 levels by itself */
    json_t *root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return err_set(e, ERR_PERM, "line %d, column %d: no valid JSON: %s", why.line, why.column,
                       why.text);
    bool ok = read_document(&r, root);
    json_decref(root);
    return ok;
}
