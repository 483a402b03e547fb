/* metabase.h - what an IIS metabase says about its SMTP service, as nodes with properties.
 * Two sources give the same tree: MetaBase.xml (through Expat), and the JSON of
 * packaging/iis/export-iis-smtp.ps1 (through jansson; docs/from-iis.md has its form). Texts may be
 * UTF-8 with or without a byte order mark, or UTF-16 of either order.
 *
 * MetaBase.xml: elements IIsSmtpService (/LM/SmtpSvc), IIsSmtpServer (/LM/SmtpSvc/1), IIsSmtpDomain
 * (/LM/SmtpSvc/1/Domain/NAME) and others; element names and Location in any case; a property is an
 * attribute or a child <Custom Name= ID= Value= Type=>. All that lies elsewhere is passed over.
 *
 * Owner: everything lives in the metabase's arena until metabase_deinit. Threads: one. Failure:
 * ERR_PERM with line and column for an input that nothing can be made of (no XML, a DOCTYPE, no
 * SMTP node, past a limit), ERR_TEMP without memory. PURE: bytes in, values out. */
#ifndef POSTERN_IMPORT_METABASE_H
#define POSTERN_IMPORT_METABASE_H

#include "base/err.h"
#include "import/ip_list.h"

enum {
    METABASE_BYTES_MAX = 64 * 1024 * 1024,
    METABASE_DEPTH_MAX = 16, /* of elements; a metabase has four */
    METABASE_NODES_MAX = 10000,
    METABASE_PROPERTIES_MAX = 100000,
};

enum metabase_kind {
    METABASE_SERVICE, /* what all virtual servers inherit */
    METABASE_SERVER,
    METABASE_DOMAIN,
    METABASE_OTHER, /* routing sources, sessions, users: below a server (or the service: 0) */
};

struct metabase_property {
    const char *name;           /* as written; "" when only the number is known */
    unsigned id;                /* 0 = not said */
    const char *value;          /* several texts: a line each */
    const struct ip_list *list; /* the exporter's form of IPSecurity and RelayIpList, else NULL */
    unsigned line;              /* 0 in JSON */
};

struct metabase_node {
    enum metabase_kind kind;
    unsigned server;  /* 1, 2 ...; 0 = of the service */
    const char *name; /* of the domain; for OTHER what stands behind the server in its location */
    unsigned line;
    struct metabase_property *properties;
    size_t count, capacity;
};

struct metabase {
    struct arena arena;
    struct metabase_node *nodes;
    size_t count, capacity;
    size_t property_count; /* of all nodes */
};

/* Either source, told apart by the first character. */
bool metabase_read(struct span bytes, struct metabase *out, struct err *e);
void metabase_deinit(struct metabase *m);

/* The node of that kind and server number, or NULL. */
const struct metabase_node *metabase_find(const struct metabase *m, enum metabase_kind kind,
                                          unsigned server);
/* By name in any case, or by number (0 = none); the last one stands. NULL = not there. node may be
 * NULL. */
const struct metabase_property *metabase_get(const struct metabase_node *node, const char *name,
                                             unsigned id);

#endif
