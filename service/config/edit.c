#include "config/edit.h"

#include <string.h>

enum { KEYS_MAX = 8 };

struct edit {
    struct span text;
    struct buf *out;
    struct err *e;
    struct span keys[KEYS_MAX]; /* of the path */
    size_t key_count;
};

static bool refuse(const struct edit *x, const char *what)
{
    return err_set(x->e, ERR_PERM, "%s", what);
}

static size_t split(const char *path, struct span *keys)
{
    struct span rest = span_str(path);
    size_t n = 0;
    while (rest.n > 0 && n < KEYS_MAX) {
        size_t dot = span_find(rest, '.');
        keys[n++] = span_sub(rest, 0, dot);
        rest = span_from(rest, dot + 1);
    }
    return n;
}

/* The byte where that character begins. */
static size_t byte_of(struct span text, size_t characters)
{
    size_t at = text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (; characters > 0 && at < text.n; characters--) {
        uint8_t c = text.p[at];
        at += c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    }
    return at < text.n ? at : text.n;
}

static size_t line_begin(struct span text, size_t at)
{
    while (at > 0 && text.p[at - 1] != '\n')
        at--;
    return at;
}

/* Behind the line's end. */
static size_t line_end(struct span text, size_t at)
{
    while (at < text.n && text.p[at] != '\n')
        at++;
    return at < text.n ? at + 1 : at;
}

static const char *newline(struct span text)
{
    size_t at = span_find(text, '\n');
    return at < text.n && at > 0 && text.p[at - 1] == '\r' ? "\r\n" : "\n";
}

static bool only_blanks(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t')
            return false;
    return true;
}

/* ---- entries as text ---- */

static bool is_plain(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = ascii_lower(s.p[i]);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || strchr("._/-", c) == NULL))
            return false;
    }
    return s.n > 0 && !span_is_nocase(s, "null");
}

/* Where the file is JSON, its quotes are JSON's. */
static void put_text(struct edit *x, struct span s, bool json)
{
    if (!json && is_plain(s)) {
        buf_add(x->out, s);
        return;
    }
    buf_add_byte(x->out, json ? '"' : '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (json && (s.p[i] == '"' || s.p[i] == '\\'))
            buf_add_byte(x->out, '\\');
        if (!json && s.p[i] == '\'')
            buf_add_byte(x->out, '\'');
        buf_add_byte(x->out, s.p[i]);
    }
    buf_add_byte(x->out, json ? '"' : '\'');
}

/* The keys from `from` on and the list: "relay: { list: [entry] }". */
static void put_rest(struct edit *x, size_t from, struct span entry, bool json)
{
    size_t n = x->key_count;
    for (size_t i = from; i < n; i++) {
        put_text(x, x->keys[i], json);
        buf_add_str(x->out, i + 1 < n ? ": { " : ": [");
    }
    put_text(x, entry, json);
    buf_add_byte(x->out, ']');
    for (size_t i = from; i + 1 < n; i++)
        buf_add_str(x->out, " }");
}

static void put_before(struct edit *x, size_t at)
{
    buf_add(x->out, span_sub(x->text, 0, at));
}

static bool put_behind(struct edit *x, size_t at)
{
    buf_add(x->out, span_from(x->text, at));
    return x->out->failed ? refuse(x, "the file would become too large") : true;
}

/* ---- adding ---- */

static bool add_to_flow(struct edit *x, const struct yaml_node *list, struct span entry)
{
    size_t at = list->count > 0 ? byte_of(x->text, list->items[list->count - 1]->end)
                                : byte_of(x->text, list->begin) + 1;
    bool json = list->count > 0 && x->text.p[byte_of(x->text, list->items[0]->begin)] == '"';
    put_before(x, at);
    if (list->count > 0)
        buf_add_str(x->out, ", ");
    put_text(x, entry, json);
    if (at < x->text.n && x->text.p[at] == '#') /* stays a comment */
        buf_add_byte(x->out, ' ');
    return put_behind(x, at);
}

/* Where the dash of an item of a block list stands. */
static bool find_dash(const struct edit *x, const struct yaml_node *item, size_t *dash)
{
    size_t at = byte_of(x->text, item->begin), begin = line_begin(x->text, at);
    while (at > begin && x->text.p[at - 1] == ' ')
        at--;
    if (at == begin || x->text.p[at - 1] != '-')
        return false;
    *dash = at - 1;
    return only_blanks(span_sub(x->text, begin, *dash - begin));
}

static bool add_to_block(struct edit *x, const struct yaml_node *list, struct span entry)
{
    const struct yaml_node *last = list->items[list->count - 1];
    size_t dash, at = line_end(x->text, byte_of(x->text, last->end));
    if (!find_dash(x, last, &dash))
        return refuse(x, "a list of a form that cannot be edited in place");
    size_t begin = line_begin(x->text, dash);
    put_before(x, at);
    if (at > 0 && x->text.p[at - 1] != '\n')
        buf_add_str(x->out, newline(x->text));
    buf_add(x->out, span_sub(x->text, begin, dash - begin));
    buf_add_str(x->out, "- ");
    put_text(x, entry, false);
    buf_add_str(x->out, newline(x->text));
    return put_behind(x, at);
}

static bool ends_document(struct span text)
{
    for (size_t at = 0; at < text.n; at = line_end(text, at))
        if (text.n - at >= 3 && memcmp(text.p + at, "...", 3) == 0)
            return true;
    return false;
}

/* A key that is not there yet, into a mapping that is. */
static bool add_key(struct edit *x, const struct yaml_node *map, size_t from, struct span entry,
                    bool root)
{
    bool braces = map->flow && map->count == 0;
    if (map->null && map->end > map->begin) /* a file that says null */
        return refuse(x, "a section of a form that cannot be edited in place");
    if (root && !map->flow && !ends_document(x->text)) {
        put_before(x, x->text.n);
        if (x->text.n > 0 && x->text.p[x->text.n - 1] != '\n')
            buf_add_str(x->out, newline(x->text));
        if (map->count > 0) { /* as far in as the other keys */
            size_t first = byte_of(x->text, map->pairs[0].key_begin);
            size_t begin = line_begin(x->text, first);
            if (!only_blanks(span_sub(x->text, begin, first - begin)))
                return refuse(x, "a section of a form that cannot be edited in place");
            buf_add(x->out, span_sub(x->text, begin, first - begin));
        }
        put_rest(x, from, entry, false);
        buf_add_str(x->out, newline(x->text));
        return put_behind(x, x->text.n);
    }
    if (map->count == 0 && !braces)
        return refuse(x, "a section of a form that cannot be edited in place");
    size_t at =
        braces ? byte_of(x->text, map->begin) + 1 : byte_of(x->text, map->pairs[0].key_begin);
    /* A key of nothing (`?`) stands at the text's end. */
    bool json = !braces && map->flow && at < x->text.n && x->text.p[at] == '"';
    put_before(x, at);
    put_rest(x, from, entry, json);
    if (!braces && map->flow) {
        buf_add_str(x->out, ", ");
    } else if (!braces) {
        size_t begin = line_begin(x->text, at);
        if (!only_blanks(span_sub(x->text, begin, at - begin)))
            return refuse(x, "a section of a form that cannot be edited in place");
        buf_add_str(x->out, newline(x->text));
        buf_add(x->out, span_sub(x->text, begin, at - begin));
    }
    return put_behind(x, at);
}

/* A value that stands for nothing: `list:`, `relay: ~`. */
static bool fill_null(struct edit *x, const struct yaml_node *node, size_t from, struct span entry)
{
    size_t begin = byte_of(x->text, node->begin), end = byte_of(x->text, node->end);
    put_before(x, begin);
    if (begin == end)
        buf_add_byte(x->out, ' ');
    if (from < x->key_count) {
        buf_add_str(x->out, "{ ");
        put_rest(x, from, entry, false);
        buf_add_str(x->out, " }");
    } else {
        buf_add_byte(x->out, '[');
        put_text(x, entry, false);
        buf_add_byte(x->out, ']');
    }
    return put_behind(x, end);
}

bool config_edit_add(struct span text, const struct yaml_node *root, const char *path,
                     const char *entry, struct buf *out, struct err *e)
{
    struct edit x = {.text = text, .out = out, .e = e};
    const struct yaml_node *node = root;
    struct span s = span_str(entry);
    x.key_count = split(path, x.keys);
    for (size_t i = 0; i < x.key_count; i++) {
        if (node->kind == YAML_SCALAR && node->null)
            return fill_null(&x, node, i, s);
        if (node->kind != YAML_MAP)
            return refuse(&x, "not a mapping");
        const struct yaml_pair *pair = yaml_get(node, x.keys[i]);
        if (pair == NULL)
            return add_key(&x, node, i, s, node == root);
        node = pair->value;
        size_t from = byte_of(text, pair->key_end), to = byte_of(text, node->begin);
        if (node->null && span_find(span_sub(text, from, to - from), ':') == to - from)
            return refuse(&x, "a key without a colon, which cannot be edited in place");
    }
    if (node->kind == YAML_SCALAR && node->null)
        return fill_null(&x, node, x.key_count, s);
    if (node->kind != YAML_LIST)
        return refuse(&x, "not a list");
    if (node->count > 0 && node->items[node->count - 1]->kind != YAML_SCALAR)
        return refuse(&x, "not a list of texts");
    return node->flow ? add_to_flow(&x, node, s) : add_to_block(&x, node, s);
}

/* ---- removing ---- */

/* Behind a comma that follows at, with the blanks behind it; at itself where none does. */
static size_t behind_comma(struct span text, size_t at)
{
    size_t comma = at;
    while (comma < text.n && memchr(" \t\r\n", text.p[comma], 4) != NULL)
        comma++;
    if (comma == text.n || text.p[comma] != ',')
        return at;
    for (comma++; comma < text.n && (text.p[comma] == ' ' || text.p[comma] == '\t');)
        comma++;
    return comma;
}

/* The whole line where the item is alone on it; between others with one comma. */
static bool remove_from_flow(struct edit *x, const struct yaml_node *list, size_t index)
{
    const struct yaml_node *item = list->items[index];
    size_t begin = byte_of(x->text, item->begin), end = byte_of(x->text, item->end);
    size_t line = line_begin(x->text, begin), after = behind_comma(x->text, end);
    bool first_on_line = only_blanks(span_sub(x->text, line, begin - line));
    size_t seen = after;
    while (seen < x->text.n && (x->text.p[seen] == ' ' || x->text.p[seen] == '\t'))
        seen++;
    uint8_t next = seen < x->text.n ? x->text.p[seen] : '\n';
    if (first_on_line && (next == '\n' || next == '\r' || next == '#')) {
        begin = line;
        end = line_end(x->text, after);
    } else if (index + 1 < list->count || list->count == 1 || first_on_line) {
        end = after;
    } else {
        begin = byte_of(x->text, list->items[index - 1]->end);
    }
    put_before(x, begin);
    return put_behind(x, end);
}

static bool remove_from_block(struct edit *x, const struct yaml_pair *pair, size_t index)
{
    const struct yaml_node *list = pair->value, *item = list->items[index];
    size_t dash, end = line_end(x->text, byte_of(x->text, item->end));
    if (!find_dash(x, item, &dash))
        return refuse(x, "a list of a form that cannot be edited in place");
    size_t begin = line_begin(x->text, dash);
    if (list->count > 1) {
        put_before(x, begin);
        return put_behind(x, end);
    }
    size_t colon = byte_of(x->text, pair->key_end); /* the last one: an empty list stays */
    while (colon < begin && x->text.p[colon] != ':')
        colon++;
    if (colon >= begin)
        return refuse(x, "a list of a form that cannot be edited in place");
    put_before(x, colon + 1);
    buf_add_str(x->out, " []");
    buf_add(x->out, span_sub(x->text, colon + 1, begin - colon - 1));
    return put_behind(x, end);
}

bool config_edit_remove(struct span text, const struct yaml_node *root, const char *path,
                        size_t index, struct buf *out, struct err *e)
{
    struct edit x = {.text = text, .out = out, .e = e};
    const struct yaml_node *node = root;
    const struct yaml_pair *pair = NULL;
    x.key_count = split(path, x.keys);
    for (size_t i = 0; i < x.key_count; i++) {
        pair = yaml_get(node, x.keys[i]);
        if (pair == NULL)
            return refuse(&x, "there is no such list");
        node = pair->value;
    }
    if (pair == NULL || node->kind != YAML_LIST || index >= node->count)
        return refuse(&x, "there is no such entry");
    return node->flow ? remove_from_flow(&x, node, index) : remove_from_block(&x, pair, index);
}

/* ---- comparing ---- */

static bool nothing(const struct yaml_node *n)
{
    return n == NULL || (n->kind == YAML_SCALAR && n->null) || (n->kind == YAML_MAP && !n->count);
}

static bool same(const struct yaml_node *a, const struct yaml_node *b, const struct span *keys,
                 size_t n);

/* Each pair of a but the one on the path is in b. */
static bool holds(const struct yaml_node *a, const struct yaml_node *b, const struct span *keys,
                  size_t n)
{
    for (size_t i = 0; a != NULL && a->kind == YAML_MAP && i < a->count; i++) {
        struct span key = span_str(a->pairs[i].key);
        if (n > 0 && span_equal(key, keys[0]))
            continue;
        const struct yaml_pair *other = yaml_get(b, key);
        if (other == NULL || !same(a->pairs[i].value, other->value, NULL, 0))
            return false;
    }
    return true;
}

static const struct yaml_node *value_of(const struct yaml_node *map, struct span key)
{
    const struct yaml_pair *pair = yaml_get(map, key);
    return pair != NULL ? pair->value : NULL;
}

/* With keys: but for what stands there. Recursion goes as deep as the reader lets a file go. */
static bool same(const struct yaml_node *a, const struct yaml_node *b, const struct span *keys,
                 size_t n)
{
    if (n > 0) {
        bool maps = (nothing(a) || a->kind == YAML_MAP) && (nothing(b) || b->kind == YAML_MAP);
        return maps && holds(a, b, keys, n) && holds(b, a, keys, n) &&
               (n == 1 || same(value_of(a, keys[0]), value_of(b, keys[0]), keys + 1, n - 1));
    }
    if (a->kind != b->kind || a->count != b->count || a->null != b->null ||
        strcmp(a->text, b->text) != 0)
        return false;
    for (size_t i = 0; a->kind == YAML_LIST && i < a->count; i++)
        if (!same(a->items[i], b->items[i], NULL, 0))
            return false;
    return holds(a, b, NULL, 0);
}

bool config_edit_same(const struct yaml_node *before, const struct yaml_node *after,
                      const char *path)
{
    struct span keys[KEYS_MAX];
    size_t n = split(path, keys);
    return same(before, after, keys, n);
}
