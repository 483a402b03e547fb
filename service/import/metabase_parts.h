/* metabase_parts.h - what the two readers share. Inside import only. */
#ifndef POSTERN_IMPORT_METABASE_PARTS_H
#define POSTERN_IMPORT_METABASE_PARTS_H

#include "base/buf.h"
#include "import/metabase.h"

/* A new node, or NULL with *e set. The pointer holds until the next one is added. */
struct metabase_node *metabase_add_node(struct metabase *m, enum metabase_kind kind,
                                        unsigned server, const char *name, struct err *e);
bool metabase_add_property(struct metabase *m, struct metabase_node *node,
                           struct metabase_property property, struct err *e);

/* Kind, server and name from a Location; false when it does not lie under /LM/SmtpSvc. */
bool metabase_place(struct arena *a, const char *location, enum metabase_kind *kind,
                    unsigned *server, const char **name);

bool metabase_read_xml(struct span text, bool is_utf8, struct metabase *m, struct err *e);
bool metabase_read_json(struct span text, struct metabase *m, struct err *e);

/* Takes a byte order mark off; UTF-16 becomes UTF-8 in out. *is_utf8: it is known to be UTF-8. */
bool text_decode(struct span bytes, struct buf *out, struct span *text, bool *is_utf8,
                 struct err *e);

#endif
