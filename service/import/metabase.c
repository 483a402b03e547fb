#include "import/metabase_parts.h"

#include <string.h>

enum { ARENA_MAX = 256 * 1024 * 1024 };

static bool out_of_memory(struct err *e)
{
    return err_set(e, ERR_TEMP, "out of memory");
}

struct metabase_node *metabase_add_node(struct metabase *m, enum metabase_kind kind,
                                        unsigned server, const char *name, struct err *e)
{
    if (m->count >= METABASE_NODES_MAX) {
        (void)err_set(e, ERR_PERM, "more than %d SMTP nodes", METABASE_NODES_MAX);
        return NULL;
    }
    void *p = arena_grown(&m->arena, m->nodes, m->count, &m->capacity, sizeof *m->nodes);
    if (p == NULL) {
        (void)out_of_memory(e);
        return NULL;
    }
    m->nodes = p;
    struct metabase_node *node = &m->nodes[m->count++];
    *node = (struct metabase_node){.kind = kind, .server = server, .name = name};
    return node;
}

bool metabase_add_property(struct metabase *m, struct metabase_node *node,
                           struct metabase_property property, struct err *e)
{
    if (m->property_count++ >= METABASE_PROPERTIES_MAX)
        return err_set(e, ERR_PERM, "more than %d properties", METABASE_PROPERTIES_MAX);
    void *p =
        arena_grown(&m->arena, node->properties, node->count, &node->capacity, sizeof property);
    if (p == NULL)
        return out_of_memory(e);
    node->properties = p;
    node->properties[node->count++] = property;
    return true;
}

/* The part before the next slash, which goes too. */
static struct span next_part(struct span *rest)
{
    size_t slash = span_find(*rest, '/');
    struct span part = span_sub(*rest, 0, slash);
    *rest = span_from(*rest, slash + 1);
    return part;
}

bool metabase_place(struct arena *a, const char *location, enum metabase_kind *kind,
                    unsigned *server, const char **name)
{
    struct span rest = span_str(location), part;
    uint64_t number;
    while (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    if (rest.n == 0 || rest.p[0] != '/')
        return false;
    rest = span_from(rest, 1);
    if (!span_is_nocase(next_part(&rest), "LM") || !span_is_nocase(next_part(&rest), "SmtpSvc"))
        return false;
    *server = 0;
    *name = "";
    *kind = METABASE_SERVICE;
    if (rest.n == 0)
        return true;
    struct span whole = rest;
    part = next_part(&rest);
    if (!span_u64(part, UINT32_MAX, &number) || number == 0) {
        *kind = METABASE_OTHER;
        *name = arena_span_str(a, whole);
        return *name != NULL;
    }
    *server = (unsigned)number;
    *kind = METABASE_SERVER;
    if (rest.n == 0)
        return true;
    whole = rest;
    bool domain = span_is_nocase(next_part(&rest), "Domain") && rest.n > 0;
    *kind = domain ? METABASE_DOMAIN : METABASE_OTHER;
    *name = arena_span_str(a, domain ? rest : whole);
    return *name != NULL;
}

static uint32_t unit_at(struct span s, size_t at, bool big)
{
    return big ? (uint32_t)s.p[at] << 8 | s.p[at + 1] : (uint32_t)s.p[at + 1] << 8 | s.p[at];
}

static void add_character(struct buf *out, uint32_t c)
{
    uint8_t bytes[4];
    size_t n = 0;
    if (c < 0x80) {
        bytes[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        bytes[n++] = (uint8_t)(0xc0 | c >> 6);
        bytes[n++] = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        bytes[n++] = (uint8_t)(0xe0 | c >> 12);
        bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        bytes[n++] = (uint8_t)(0x80 | (c & 63));
    } else {
        bytes[n++] = (uint8_t)(0xf0 | c >> 18);
        bytes[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        bytes[n++] = (uint8_t)(0x80 | (c & 63));
    }
    buf_add(out, span_of(bytes, n));
}

/* RFC 2781 2.2; a surrogate without its other half is an error. */
static bool from_utf16(struct span s, bool big, struct buf *out, struct err *e)
{
    if (s.n % 2 != 0)
        return err_set(e, ERR_PERM, "UTF-16 that ends within a character");
    for (size_t i = 0; i < s.n; i += 2) {
        uint32_t c = unit_at(s, i, big);
        if (c >= 0xd800 && c < 0xe000) {
            uint32_t low = i + 2 < s.n ? unit_at(s, i + 2, big) : 0;
            if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
                return err_set(e, ERR_PERM, "no valid UTF-16 at byte %zu", i);
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        }
        add_character(out, c);
    }
    return out->failed ? out_of_memory(e) : true;
}

bool text_decode(struct span bytes, struct buf *out, struct span *text, bool *is_utf8,
                 struct err *e)
{
    const uint8_t *p = bytes.p;
    *text = bytes;
    *is_utf8 = false;
    bool marked =
        bytes.n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff));
    bool little = bytes.n >= 2 && ((marked && p[0] == 0xff) || (p[0] != 0 && p[1] == 0));
    bool big = bytes.n >= 2 && !little && (marked || (p[0] == 0 && p[1] != 0));
    if (bytes.n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) {
        *text = span_from(bytes, 3);
        *is_utf8 = true;
    } else if (little || big) {
        if (!from_utf16(span_from(bytes, marked ? 2 : 0), big, out, e))
            return false;
        *text = buf_span(out);
        *is_utf8 = true;
    }
    return true;
}

bool metabase_read(struct span bytes, struct metabase *out, struct err *e)
{
    struct buf decoded;
    struct span text;
    bool is_utf8, ok;
    *out = (struct metabase){0};
    arena_init(&out->arena, ARENA_MAX);
    if (bytes.n > METABASE_BYTES_MAX)
        return err_set(e, ERR_PERM, "larger than %d MiB", METABASE_BYTES_MAX / 1024 / 1024);
    buf_init(&decoded, (size_t)METABASE_BYTES_MAX * 2);
    ok = text_decode(bytes, &decoded, &text, &is_utf8, e);
    if (ok) {
        size_t i = 0;
        while (i < text.n && memchr(" \t\r\n", text.p[i], 4) != NULL)
            i++;
        ok = i < text.n && text.p[i] == '{' ? metabase_read_json(text, out, e)
                                            : metabase_read_xml(text, is_utf8, out, e);
    }
    buf_deinit(&decoded);
    for (size_t i = 0; ok && i < out->count; i++)
        if (out->nodes[i].kind == METABASE_SERVICE || out->nodes[i].kind == METABASE_SERVER)
            return true;
    return ok ? err_set(e, ERR_PERM,
                        "no SMTP service in it: neither /LM/SmtpSvc nor a virtual "
                        "server below")
              : false;
}

void metabase_deinit(struct metabase *m)
{
    arena_deinit(&m->arena);
    m->nodes = NULL;
    m->count = 0;
}

const struct metabase_node *metabase_find(const struct metabase *m, enum metabase_kind kind,
                                          unsigned server)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->nodes[i].kind == kind && m->nodes[i].server == server)
            return &m->nodes[i];
    return NULL;
}

const struct metabase_property *metabase_get(const struct metabase_node *node, const char *name,
                                             unsigned id)
{
    const struct metabase_property *found = NULL;
    for (size_t i = 0; node != NULL && i < node->count; i++) {
        const struct metabase_property *p = &node->properties[i];
        if (span_is_nocase(span_str(p->name), name) || (id != 0 && p->id == id))
            found = p;
    }
    return found;
}
