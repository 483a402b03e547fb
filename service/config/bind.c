#include "config/bind.h"

#include "config/value.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(enum config_grant) == sizeof(unsigned), "a word is bound as an unsigned");

enum { PATH_MAX_TEXT = 256, LIST_ENTRY_MAX = 4096 };

/* Where a value is bound to, and its name for people: "domains[2].relay". */
struct place {
    void *base;
    struct span prefix; /* in the schema, with the dot: "domains[]." */
    const char *shown;  /* the same for messages: "domains[2]." */
};

static bool bind_map(struct binder *b, const struct yaml_node *map, struct place place,
                     bool quiet_later);

static void complain(struct binder *b, struct config_pos at, const char *key, const char *what,
                     const char *expected)
{
    config_messages_add(b->m, CONFIG_ERROR, b->file, at, key, "%s, expected %s", what, expected);
}

static const char *quoted(struct binder *b, const char *text)
{
    const char *q = arena_printf(b->arena, "\"%.100s%s\"", text, strlen(text) > 100 ? "..." : "");
    return q != NULL ? q : "a value";
}

static const char *word_list(struct binder *b, const char *const *words)
{
    struct buf out;
    buf_init(&out, 1024);
    for (size_t i = 0; words[i] != NULL; i++)
        buf_addf(&out, "%s%s", i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ", words[i]);
    const char *text = arena_str(b->arena, buf_cstr(&out));
    buf_deinit(&out);
    return text != NULL ? text : "a known word";
}

static const char *range_text(struct binder *b, const struct schema_option *o)
{
    struct buf out;
    buf_init(&out, 128);
    for (int i = 0; i < 2; i++) {
        uint64_t v = i == 0 ? o->min : o->max;
        if (i == 1)
            buf_add_str(&out, " to ");
        if (o->type == SCHEMA_DURATION || o->type == SCHEMA_DURATIONS)
            value_format_duration(v, &out);
        else if (o->type == SCHEMA_SIZE)
            value_format_size(v, &out);
        else
            buf_addf(&out, "%llu", (unsigned long long)v);
    }
    const char *text = arena_str(b->arena, buf_cstr(&out));
    buf_deinit(&out);
    return text != NULL ? text : "a value within the range";
}

static bool bind_number(struct binder *b, const struct schema_option *o, const char *text,
                        uint64_t *value, const char **expected)
{
    uint64_t n = 0;
    bool read = false;
    switch ((int)o->type) {
    case SCHEMA_COUNT:
        read = value_count(text, &n);
        *expected = "a whole number";
        break;
    case SCHEMA_SIZE:
        read = value_size(text, &n);
        *expected = "a size such as 500, 64K, 25M or 1G";
        break;
    default:
        read = value_duration(text, &n);
        *expected = "a duration with its unit, such as 500ms, 10s, 15m, 12h or 2d";
        break;
    }
    if (!read)
        return false;
    if (n < o->min || n > o->max) {
        *expected = range_text(b, o);
        return false;
    }
    *value = n;
    return true;
}

static bool bind_word(struct binder *b, const struct schema_option *o, const char *text, void *at,
                      const char **expected)
{
    unsigned index;
    *expected = word_list(b, o->words);
    if (!value_word(text, o->words, &index))
        return false;
    if (o->offset != SIZE_MAX)
        memcpy(at, &index, sizeof index); /* every enum here is as large as unsigned */
    return true;
}

static bool bind_name(struct binder *b, const struct schema_option *o, const char *text,
                      const char **value, const char **expected)
{
    bool ok = true;
    if (text[0] == '\0' && (o->flags & SCHEMA_REQUIRED) == 0) {
        *value = "";
        return true;
    }
    switch ((int)o->type) {
    case SCHEMA_HOST:
        ok = value_host(text);
        *expected = "a host name such as relay.example.net";
        break;
    case SCHEMA_DOMAIN:
        ok = value_domain(text, strcmp(o->path, "domains[].name") == 0);
        *expected = "a domain such as example.net";
        break;
    case SCHEMA_MAILBOX:
        ok = value_mailbox(text);
        *expected = "an address such as postmaster@example.net";
        break;
    default:
        ok = value_credential(text);
        *expected = ok ? "a text" : "credential:NAME, of letters, digits, -, _ and .";
        break;
    }
    if (!ok || text[0] == '\0')
        return false;
    char *copy = arena_str(b->arena, text);
    if (copy != NULL && o->type == SCHEMA_DOMAIN)
        ascii_lower_str(copy);
    *value = copy != NULL ? copy : "";
    return copy != NULL;
}

bool bind_text(struct binder *b, const struct schema_option *o, const char *text, void *base,
               const char **expected)
{
    void *at = o->offset == SIZE_MAX ? NULL : (char *)base + o->offset;
    switch (o->type) {
    case SCHEMA_BOOL: *expected = "true or false"; return value_bool(text, at);
    case SCHEMA_TRISTATE: {
        bool truth;
        *expected = "true or false";
        if (!value_bool(text, &truth))
            return false;
        *(enum config_tristate *)at = truth ? CONFIG_TRUE : CONFIG_FALSE;
        return true;
    }
    case SCHEMA_TEXT:
    case SCHEMA_HOST:
    case SCHEMA_DOMAIN:
    case SCHEMA_MAILBOX: return bind_name(b, o, text, at, expected);
    case SCHEMA_WORD: return bind_word(b, o, text, at, expected);
    case SCHEMA_COUNT:
    case SCHEMA_SIZE:
    case SCHEMA_DURATION: return bind_number(b, o, text, at, expected);
    case SCHEMA_ENDPOINT:
        *expected = "address:port, such as \"0.0.0.0:25\" or \"[::]:587\"";
        return value_endpoint(b->arena, text, 0, at);
    case SCHEMA_HOP:
        *expected = "host, host:port, \"[address]\" or \"[address]:port\"";
        return value_hop(b->arena, text, at);
    case SCHEMA_SECTION:
    case SCHEMA_ITEMS:
    case SCHEMA_LIST:
    case SCHEMA_WORDS:
    case SCHEMA_DURATIONS: break;
    }
    *expected = "a list such as [a, b]";
    return false;
}

/* One entry of a list of scalars, as a text or a number. */
static void bind_entry(struct binder *b, const struct schema_option *o,
                       const struct yaml_node *node, const char *key, struct config_entry *entry,
                       uint64_t *number)
{
    const char *expected = "a text";
    unsigned index;
    if (node->kind != YAML_SCALAR) {
        complain(b, node->at, key, "not a single value", "one value for each entry of the list");
    } else if (o->type == SCHEMA_DURATIONS) {
        if (!bind_number(b, o, node->text, number, &expected))
            complain(b, node->at, key, quoted(b, node->text), expected);
    } else if (node->text[0] == '\0' || node->null || strlen(node->text) > LIST_ENTRY_MAX) {
        complain(b, node->at, key, "an empty or overlong entry", "a text");
    } else if (o->type == SCHEMA_WORDS && !value_word(node->text, o->words, &index)) {
        complain(b, node->at, key, quoted(b, node->text), word_list(b, o->words));
    } else {
        *entry =
            (struct config_entry){o->type == SCHEMA_WORDS ? o->words[index] : node->text, node->at};
    }
}

static bool bind_list(struct binder *b, const struct schema_option *o, const struct yaml_node *node,
                      const char *key, void *base)
{
    void *at = (char *)base + o->offset;
    if (node->null && o->type != SCHEMA_DURATIONS) {
        *(struct config_list *)at = (struct config_list){NULL, 0};
        return true;
    }
    if (node->kind != YAML_LIST || (o->type == SCHEMA_DURATIONS && node->count == 0)) {
        complain(b, node->at, key, "not a list of values", "a list such as [a, b]");
        return true;
    }
    struct config_entry *entries = arena_alloc(b->arena, node->count * sizeof *entries);
    uint64_t *numbers = arena_alloc(b->arena, node->count * sizeof *numbers);
    if (entries == NULL || numbers == NULL)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < node->count; i++) {
        entries[n] = (struct config_entry){"", node->items[i]->at};
        bind_entry(b, o, node->items[i], key, &entries[n], &numbers[i]);
        n += entries[n].text[0] != '\0';
    }
    if (o->type == SCHEMA_DURATIONS)
        *(struct config_numbers *)at = (struct config_numbers){numbers, node->count};
    else
        *(struct config_list *)at = (struct config_list){entries, n};
    return true;
}

/* Every option below the prefix that is not in an entry of a further list gets its default. */
static bool set_defaults(struct binder *b, struct span prefix, void *base)
{
    for (size_t i = 0; i < schema_option_count; i++) {
        const struct schema_option *o = &schema_options[i];
        struct span path = span_str(o->path), below = span_from(path, prefix.n);
        bool ours = path.n > prefix.n && span_equal(span_sub(path, 0, prefix.n), prefix) &&
                    span_find(below, '[') == below.n;
        if (!ours || o->offset == SIZE_MAX || o->type == SCHEMA_SECTION)
            continue;
        const char *expected;
        const char *value = o->value != NULL ? o->value : "";
        struct yaml_node list = {.kind = YAML_LIST};
        struct yaml_node *items[8], nodes[8];
        void *at = (char *)base + o->offset;
        switch (o->type) {
        case SCHEMA_LIST:
        case SCHEMA_WORDS:
        case SCHEMA_DURATIONS:
            for (struct span s = span_str(value); s.n > 0 && list.count < 8; list.count++) {
                size_t comma = span_find(s, ',');
                const char *text = arena_span_str(b->arena, span_trim(span_sub(s, 0, comma)));
                if (text == NULL)
                    return false;
                nodes[list.count] = (struct yaml_node){.kind = YAML_SCALAR, .text = text};
                items[list.count] = &nodes[list.count];
                s = span_from(s, comma + 1);
            }
            list.items = items;
            if (list.count > 0 && !bind_list(b, o, &list, o->path, base))
                return false;
            break;
        case SCHEMA_TRISTATE:
        case SCHEMA_ITEMS:
        case SCHEMA_SECTION: break; /* zero is right */
        case SCHEMA_ENDPOINT: ((struct config_endpoint *)at)->text = ""; break;
        case SCHEMA_TEXT:
        case SCHEMA_HOST:
        case SCHEMA_DOMAIN:
        case SCHEMA_MAILBOX: *(const char **)at = value; break;
        case SCHEMA_BOOL:
        case SCHEMA_WORD:
        case SCHEMA_COUNT:
        case SCHEMA_DURATION:
        case SCHEMA_SIZE:
        case SCHEMA_HOP:
            if (o->value != NULL && !bind_text(b, o, o->value, base, &expected))
                return false;
            break;
        }
    }
    return true;
}

/* All item structs begin with their position. */
static bool bind_item(struct binder *b, const struct schema_option *o, const struct yaml_node *node,
                      size_t index, const char *key, void *item)
{
    char prefix[PATH_MAX_TEXT];
    (void)snprintf(prefix, sizeof prefix, "%s[].", o->path);
    struct place place = {item, span_str(prefix), arena_printf(b->arena, "%s[%zu].", key, index)};
    if (place.shown == NULL || !set_defaults(b, place.prefix, item))
        return false;
    memcpy(item, &node->at, sizeof node->at);
    const char *name = arena_printf(b->arena, "%s[%zu]", key, index);
    if (name == NULL)
        return false;
    if (node->kind != YAML_MAP) {
        complain(b, node->at, name, "not a mapping", "{ key: value, ... }");
        return true;
    }
    for (size_t i = 0; i < schema_option_count; i++) {
        const struct schema_option *child = &schema_options[i];
        if ((child->flags & SCHEMA_REQUIRED) == 0 || !schema_is_child(child, place.prefix))
            continue;
        struct span last = span_from(span_str(child->path), place.prefix.n);
        if (yaml_get(node, last) == NULL)
            config_messages_add(b->m, CONFIG_ERROR, b->file, node->at, name,
                                "%.*s is missing, expected in every entry", SPAN_ARG(last));
    }
    return bind_map(b, node, place, false);
}

static bool bind_items(struct binder *b, const struct schema_option *o,
                       const struct yaml_node *node, const char *key, void *base)
{
    /* every ITEMS member has this shape */
    struct {
        void *items;
        size_t count;
    } bound = {NULL, 0};
    if (node->kind != YAML_LIST && !node->null) {
        complain(b, node->at, key, "not a list", "a list of { key: value, ... }");
        return true;
    }
    bound.items = arena_alloc(b->arena, node->count * o->item_size);
    if (bound.items == NULL)
        return false;
    for (; bound.count < node->count; bound.count++)
        if (!bind_item(b, o, node->items[bound.count], bound.count, key,
                       (char *)bound.items + bound.count * o->item_size))
            return false;
    memcpy((char *)base + o->offset, &bound, sizeof bound);
    return true;
}

static void unknown_key(struct binder *b, struct config_pos at, const char *shown, const char *key,
                        struct span prefix)
{
    struct buf all;
    buf_init(&all, 2048);
    const char *nearest = NULL;
    unsigned nearest_distance = 3; /* farther is no likeness */
    for (size_t i = 0; i < schema_option_count; i++) {
        if (!schema_is_child(&schema_options[i], prefix))
            continue;
        const char *name = schema_options[i].path + prefix.n;
        buf_addf(&all, "%s%s", all.n > 0 ? ", " : "", name);
        unsigned distance = value_distance(key, name);
        if (distance < nearest_distance || (distance == 3 && strlen(name) > 8 && nearest == NULL)) {
            nearest = name;
            nearest_distance = distance;
        }
    }
    if (nearest != NULL)
        config_messages_add(b->m, CONFIG_ERROR, b->file, at, shown, "unknown key, expected \"%s\"",
                            nearest);
    else
        config_messages_add(b->m, CONFIG_ERROR, b->file, at, shown,
                            "unknown key, expected one of %s", buf_cstr(&all));
    buf_deinit(&all);
}

static void bind_scalar(struct binder *b, const struct schema_option *o,
                        const struct yaml_node *node, const char *key, void *base)
{
    const char *expected = "";
    if (node->kind != YAML_SCALAR) {
        complain(b, node->at, key, "not a single value", "one value");
        return;
    }
    bool truth = o->type == SCHEMA_BOOL || o->type == SCHEMA_TRISTATE;
    if (node->null) {
        complain(b, node->at, key, "no value", "one, or the key left out for the default");
        return;
    }
    /* A quoted "true" is a text in YAML, and a text is no truth value. */
    bool ok = bind_text(b, o, node->text, base, &expected) && (node->plain || !truth);
    static const char *const old_words[] = {"yes", "no", "on", "off"};
    const char *hint = truth && ok == false && !node->plain ? " without quotes" : "";
    for (size_t i = 0; truth && i < 4; i++)
        if (span_is_nocase(span_str(old_words[i]), node->text))
            hint = " (YAML 1.2 has no yes, no, on, off)";
    if (!ok)
        config_messages_add(b->m, CONFIG_ERROR, b->file, node->at, key, "%s, expected %s%s",
                            quoted(b, node->text), expected, hint);
    unsigned index;
    if (ok && o->type == SCHEMA_WORD && value_word(node->text, o->words, &index) &&
        (o->later_words >> index & 1u) != 0)
        config_messages_add(b->m, CONFIG_WARNING, b->file, node->at, key,
                            "%s is not in this version", o->words[index]);
}

static bool bind_pair(struct binder *b, const struct yaml_pair *pair, struct place place,
                      bool quiet_later)
{
    char path[PATH_MAX_TEXT];
    const char *shown = arena_printf(b->arena, "%s%.100s", place.shown, pair->key);
    if (shown == NULL)
        return false;
    int n = snprintf(path, sizeof path, "%.*s%s", SPAN_ARG(place.prefix), pair->key);
    const struct schema_option *o = NULL;
    if (n > 0 && (size_t)n < sizeof path && strpbrk(pair->key, ".[") == NULL)
        o = schema_find(span_str(path));
    if (o == NULL) {
        unknown_key(b, pair->at, shown, pair->key, place.prefix);
        return true;
    }
    if ((o->flags & SCHEMA_LATER) != 0 && !quiet_later)
        config_messages_add(b->m, CONFIG_WARNING, b->file, pair->at, shown,
                            "not in this version, has no effect");
    switch (o->type) {
    case SCHEMA_SECTION: {
        if (pair->value->null)
            return true;
        if (pair->value->kind != YAML_MAP) {
            complain(b, pair->value->at, shown, "not a mapping", "{ key: value, ... }");
            return true;
        }
        const char *prefix = arena_printf(b->arena, "%s.", path);
        struct place inner = {place.base, span_str(prefix), arena_printf(b->arena, "%s.", shown)};
        return prefix != NULL && inner.shown != NULL &&
               bind_map(b, pair->value, inner, quiet_later || (o->flags & SCHEMA_LATER) != 0);
    }
    case SCHEMA_ITEMS: return bind_items(b, o, pair->value, shown, place.base);
    case SCHEMA_LIST:
    case SCHEMA_WORDS:
    case SCHEMA_DURATIONS: return bind_list(b, o, pair->value, shown, place.base);
    case SCHEMA_BOOL:
    case SCHEMA_TRISTATE:
    case SCHEMA_TEXT:
    case SCHEMA_HOST:
    case SCHEMA_DOMAIN:
    case SCHEMA_MAILBOX:
    case SCHEMA_WORD:
    case SCHEMA_COUNT:
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
    case SCHEMA_ENDPOINT:
    case SCHEMA_HOP: bind_scalar(b, o, pair->value, shown, place.base); break;
    }
    return true;
}

static bool bind_map(struct binder *b, const struct yaml_node *map, struct place place,
                     bool quiet_later)
{
    for (size_t i = 0; i < map->count; i++)
        if (!bind_pair(b, &map->pairs[i], place, quiet_later))
            return false;
    return true;
}

bool bind_config(struct binder *b, const struct yaml_node *root, struct config *c)
{
    struct place top = {c, span_of("", 0), ""};
    if (!set_defaults(b, top.prefix, c))
        return false;
    if (root->kind != YAML_MAP) {
        complain(b, root->at, "", "not a mapping", "sections such as listeners: and access:");
        return true;
    }
    return bind_map(b, root, top, false);
}
