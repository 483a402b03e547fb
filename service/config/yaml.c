#include "config/yaml.h"

#include <string.h>

#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    struct arena *arena;
    const char *file;
    struct config_messages *m;
    size_t nodes;
};

static struct config_pos mark_pos(yaml_mark_t mark)
{
    return (struct config_pos){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* Says what is wrong and stops the reading: after it the tree is not trustworthy. */
static struct yaml_node *stop(struct reader *r, struct config_pos at, const char *text)
{
    config_messages_add(r->m, CONFIG_ERROR, r->file, at, "", "%s", text);
    return NULL;
}

static bool next(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return true;
    struct config_pos at = mark_pos(r->parser.problem_mark);
    const char *problem = r->parser.problem != NULL ? r->parser.problem : "cannot be read";
    if (r->parser.error == YAML_READER_ERROR)
        config_messages_add(r->m, CONFIG_ERROR, r->file, mark_pos(r->parser.mark), "",
                            "%s at byte %zu, expected UTF-8 text", problem,
                            r->parser.problem_offset);
    else if (r->parser.context != NULL)
        config_messages_add(r->m, CONFIG_ERROR, r->file, at, "", "no valid YAML: %s (%s)", problem,
                            r->parser.context);
    else
        config_messages_add(r->m, CONFIG_ERROR, r->file, at, "", "no valid YAML: %s", problem);
    return false;
}

static bool is_null(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

static struct yaml_node *new_node(struct reader *r, enum yaml_kind kind, yaml_mark_t mark)
{
    if (r->nodes++ >= YAML_NODES_MAX)
        return stop(r, mark_pos(mark), "too many values, expected at most 200000");
    struct yaml_node *node = arena_alloc(r->arena, sizeof *node);
    if (node == NULL)
        return stop(r, mark_pos(mark), "out of memory");
    node->kind = kind;
    node->at = mark_pos(mark);
    node->begin = mark.index;
    node->text = "";
    return node;
}

static struct yaml_node *read_scalar(struct reader *r, const yaml_event_t *event)
{
    struct span text = span_of(event->data.scalar.value, event->data.scalar.length);
    struct yaml_node *node = new_node(r, YAML_SCALAR, event->start_mark);
    if (node == NULL)
        return NULL;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < 0x20 || text.p[i] == 0x7f)
            return stop(r, node->at, "a control character, expected one line of text");
    node->text = arena_span_str(r->arena, text);
    if (node->text == NULL)
        return stop(r, node->at, "out of memory");
    node->end = event->end_mark.index;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->null = node->plain && is_null(node->text);
    return node;
}

/* Doubles an array in the arena when it is full; the old copy stays behind until the end. */
static void *grown(struct arena *a, void *old, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return old; /* not a power of two: there is room */
    void *p = arena_alloc(a, (count == 0 ? 1 : 2 * count) * size);
    if (p != NULL && count > 0)
        memcpy(p, old, count * size);
    return p;
}

static struct yaml_node *read_node(struct reader *r, const yaml_event_t *event, unsigned depth);

static struct yaml_node *read_list(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct yaml_node *list = new_node(r, YAML_LIST, start->start_mark);
    if (list != NULL)
        list->flow = start->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
    while (list != NULL) {
        yaml_event_t event;
        if (!next(r, &event))
            return NULL;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            list->end = event.end_mark.index;
            yaml_event_delete(&event);
            return list;
        }
        struct yaml_node *item = read_node(r, &event, depth + 1);
        yaml_event_delete(&event);
        if (item == NULL)
            return NULL;
        list->items = grown(r->arena, list->items, list->count, sizeof(struct yaml_node *));
        if (list->items == NULL)
            return stop(r, item->at, "out of memory");
        list->items[list->count++] = item;
    }
    return NULL;
}

/* Keeps the pair unless its key was there already. */
static bool add_pair(struct reader *r, struct yaml_node *map, struct yaml_pair pair)
{
    const struct yaml_pair *first = yaml_get(map, span_str(pair.key));
    if (first != NULL) {
        config_messages_add(r->m, CONFIG_ERROR, r->file, pair.at, pair.key,
                            "duplicate key, expected once (first at line %u)", first->at.line);
        return true;
    }
    if (map->count >= YAML_KEYS_MAX)
        return stop(r, pair.at, "too many keys, expected at most 1000 in one mapping") != NULL;
    map->pairs = grown(r->arena, map->pairs, map->count, sizeof pair);
    if (map->pairs == NULL)
        return stop(r, pair.at, "out of memory") != NULL;
    map->pairs[map->count++] = pair;
    return true;
}

static struct yaml_node *read_map(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct yaml_node *map = new_node(r, YAML_MAP, start->start_mark);
    if (map != NULL)
        map->flow = start->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    while (map != NULL) {
        yaml_event_t event;
        if (!next(r, &event))
            return NULL;
        if (event.type == YAML_MAPPING_END_EVENT) {
            map->end = event.end_mark.index;
            yaml_event_delete(&event);
            return map;
        }
        struct config_pos at = mark_pos(event.start_mark);
        bool scalar = event.type == YAML_SCALAR_EVENT;
        struct yaml_node *key = read_node(r, &event, depth + 1);
        yaml_event_delete(&event);
        if (key == NULL)
            return NULL;
        if (!scalar)
            return stop(r, at, "a key that is no text, expected key: value");
        if (!next(r, &event))
            return NULL;
        struct yaml_node *value = read_node(r, &event, depth + 1);
        yaml_event_delete(&event);
        if (value == NULL ||
            !add_pair(r, map, (struct yaml_pair){key->text, at, key->begin, key->end, value}))
            return NULL;
    }
    return NULL;
}

static struct yaml_node *read_node(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    struct config_pos at = mark_pos(event->start_mark);
    if (depth > YAML_DEPTH_MAX)
        return stop(r, at, "nested too deeply, expected at most 16 levels");
    switch ((int)event->type) {
    case YAML_ALIAS_EVENT: return stop(r, at, "an alias (*name), expected the value itself");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor != NULL)
            return stop(r, at, "an anchor (&name), expected a value without it");
        if (event->data.scalar.tag != NULL)
            return stop(r, at, "a tag (!name), expected a value without it");
        return read_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor != NULL)
            return stop(r, at, "an anchor (&name), expected a value without it");
        if (event->data.sequence_start.tag != NULL)
            return stop(r, at, "a tag (!name), expected a value without it");
        return read_list(r, event, depth);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor != NULL)
            return stop(r, at, "an anchor (&name), expected a value without it");
        if (event->data.mapping_start.tag != NULL)
            return stop(r, at, "a tag (!name), expected a value without it");
        return read_map(r, event, depth);
    default: return stop(r, at, "no value, expected key: value");
    }
}

static bool skip(struct reader *r, yaml_event_type_t *type, yaml_event_t *event)
{
    if (!next(r, event))
        return false;
    *type = event->type;
    return true;
}

static struct yaml_node *read_document(struct reader *r)
{
    yaml_event_t event;
    yaml_event_type_t type;
    do { /* the start of the stream and of the document */
        if (!skip(r, &type, &event))
            return NULL;
        if (type == YAML_STREAM_END_EVENT) {
            struct yaml_node *empty = new_node(r, YAML_MAP, event.start_mark);
            yaml_event_delete(&event);
            return empty;
        }
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT)
            yaml_event_delete(&event);
    } while (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT);
    struct yaml_node *root = read_node(r, &event, 0);
    yaml_event_delete(&event);
    while (root != NULL) {
        if (!skip(r, &type, &event))
            return NULL;
        struct config_pos at = mark_pos(event.start_mark);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            break;
        if (type == YAML_DOCUMENT_START_EVENT)
            return stop(r, at, "a second document, expected one");
    }
    return root;
}

struct yaml_node *yaml_read(struct arena *a, const char *file, struct span text,
                            struct config_messages *m)
{
    struct reader r = {.arena = a, .file = file, .m = m};
    if (text.n > YAML_BYTES_MAX)
        return stop(&r, (struct config_pos){0, 0}, "too large, expected at most 4 MiB");
    if (!yaml_parser_initialize(&r.parser))
        return stop(&r, (struct config_pos){0, 0}, "out of memory");
    yaml_parser_set_input_string(&r.parser, text.p != NULL ? text.p : (const uint8_t *)"", text.n);
    struct yaml_node *root = read_document(&r);
    yaml_parser_delete(&r.parser);
    if (root != NULL && root->kind == YAML_SCALAR && root->null)
        root->kind = YAML_MAP;
    return root;
}

const struct yaml_pair *yaml_get(const struct yaml_node *map, struct span key)
{
    if (map == NULL || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (span_equal(span_str(map->pairs[i].key), key))
            return &map->pairs[i];
    return NULL;
}
