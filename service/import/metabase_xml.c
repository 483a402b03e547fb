#include "import/metabase_parts.h"

#include <expat.h>

#include <string.h>

enum { PIECE = 1024 * 1024 }; /* Expat counts in int; the file goes in by pieces */

struct reader {
    XML_Parser parser;
    struct metabase *m;
    struct err *e;
    bool failed;
    unsigned depth;
    size_t node;         /* the one being read, or NO_NODE */
    unsigned node_depth; /* of its element */
};
#define NO_NODE SIZE_MAX

static void stop(struct reader *r)
{
    r->failed = true;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void stop_with(struct reader *r, const char *what)
{
    (void)err_set(r->e, ERR_PERM, "line %lu, column %lu: %s",
                  (unsigned long)XML_GetCurrentLineNumber(r->parser),
                  (unsigned long)XML_GetCurrentColumnNumber(r->parser) + 1, what);
    stop(r);
}

static const char *attribute(const char **attributes, const char *name)
{
    for (size_t i = 0; attributes[i] != NULL; i += 2)
        if (span_is_nocase(span_str(attributes[i]), name))
            return attributes[i + 1];
    return NULL;
}

static bool is_number(const char *name, const char *prefix, unsigned *id)
{
    struct span s = span_str(name);
    uint64_t number;
    if (!span_starts_nocase(s, prefix) ||
        !span_u64(span_from(s, strlen(prefix)), UINT32_MAX, &number))
        return false;
    *id = (unsigned)number;
    return true;
}

static void add(struct reader *r, const char *name, unsigned id, const char *value)
{
    struct metabase_property p = {
        .name = arena_str(&r->m->arena, name),
        .id = id,
        .value = arena_str(&r->m->arena, value),
        .line = (unsigned)XML_GetCurrentLineNumber(r->parser),
    };
    if (p.name == NULL || p.value == NULL) {
        (void)err_set(r->e, ERR_TEMP, "out of memory");
        stop(r);
    } else if (!metabase_add_property(r->m, &r->m->nodes[r->node], p, r->e)) {
        stop(r);
    }
}

/* What the schema does not know has the name UnknownName_36974. */
static void add_custom(struct reader *r, const char **attributes)
{
    const char *name = attribute(attributes, "Name"), *value = attribute(attributes, "Value");
    const char *number = attribute(attributes, "ID");
    uint64_t id = 0;
    unsigned from_name = 0;
    if (number != NULL)
        (void)span_u64(span_str(number), UINT32_MAX, &id);
    if (name == NULL)
        name = "";
    if (id == 0 && is_number(name, "UnknownName_", &from_name))
        id = from_name;
    if (name[0] != '\0' || id != 0)
        add(r, name, (unsigned)id, value == NULL ? "" : value);
}

/* A second element with the same Location adds to the first. */
static bool open_node(struct reader *r, const char *location, const char **attributes)
{
    enum metabase_kind kind;
    unsigned server;
    const char *name;
    if (!metabase_place(&r->m->arena, location, &kind, &server, &name))
        return true;
    r->node = NO_NODE;
    if (kind == METABASE_SERVICE || kind == METABASE_SERVER)
        for (size_t i = 0; i < r->m->count; i++)
            if (r->m->nodes[i].kind == kind && r->m->nodes[i].server == server)
                r->node = i;
    if (r->node == NO_NODE) {
        struct metabase_node *node = metabase_add_node(r->m, kind, server, name, r->e);
        if (node == NULL)
            return false;
        node->line = (unsigned)XML_GetCurrentLineNumber(r->parser);
        r->node = r->m->count - 1;
    }
    r->node_depth = r->depth;
    for (size_t i = 0; attributes[i] != NULL && !r->failed; i += 2)
        if (!span_is_nocase(span_str(attributes[i]), "Location"))
            add(r, attributes[i], 0, attributes[i + 1]);
    return true;
}

static void XMLCALL on_start(void *user, const XML_Char *element, const XML_Char **attributes)
{
    struct reader *r = user;
    if (r->failed)
        return;
    if (++r->depth > METABASE_DEPTH_MAX) {
        stop_with(r, "elements nested too deeply");
        return;
    }
    const char *location = attribute(attributes, "Location");
    if (location != NULL) {
        r->node = NO_NODE;
        if (!open_node(r, location, attributes))
            stop(r);
    } else if (r->node != NO_NODE && r->depth == r->node_depth + 1 &&
               span_is_nocase(span_str(element), "Custom")) {
        add_custom(r, attributes);
    }
}

static void XMLCALL on_end(void *user, const XML_Char *element)
{
    struct reader *r = user;
    (void)element;
    if (r->node != NO_NODE && r->depth == r->node_depth)
        r->node = NO_NODE;
    r->depth--;
}

/* Entities are the way to make much out of little, and to other files. A metabase has none. */
static void XMLCALL on_doctype(void *user, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public_id, int internal)
{
    (void)name, (void)system, (void)public_id, (void)internal;
    stop_with(user, "a DOCTYPE, which a metabase does not have");
}

static bool failure(struct reader *r)
{
    if (r->failed)
        return false;
    return err_set(r->e, ERR_PERM, "line %lu, column %lu: no valid XML: %s",
                   (unsigned long)XML_GetCurrentLineNumber(r->parser),
                   (unsigned long)XML_GetCurrentColumnNumber(r->parser) + 1,
                   XML_ErrorString(XML_GetErrorCode(r->parser)));
}

bool metabase_read_xml(struct span text, bool is_utf8, struct metabase *m, struct err *e)
{
    struct reader r = {.parser = XML_ParserCreate(is_utf8 ? "UTF-8" : NULL), .m = m, .e = e};
    bool ok = true;
    if (r.parser == NULL)
        return err_set(e, ERR_TEMP, "out of memory");
    r.node = NO_NODE;
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    for (size_t at = 0; ok; at += PIECE) {
        struct span piece = span_sub(text, at, PIECE);
        bool last = at + piece.n >= text.n;
        ok = XML_Parse(r.parser, piece.n > 0 ? (const char *)piece.p : "", (int)piece.n, last) ==
                 XML_STATUS_OK ||
             failure(&r);
        if (last)
            break;
    }
    XML_ParserFree(r.parser);
    return ok && !r.failed;
}
