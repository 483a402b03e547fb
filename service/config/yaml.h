/* yaml.h - a YAML file as a tree in which every node knows its line and column.
 * What a configuration does not need is refused, since it only serves surprises and attacks:
 * aliases and anchors, tags, a second document, control characters, duplicate keys, keys that are
 * no scalars. Bounds on size, depth, nodes and keys keep hostile input cheap.
 * Owner: the tree lives in the arena given. Threads: one. Failure: messages; NULL when the text is
 * no YAML at all. */
#ifndef POSTERN_CONFIG_YAML_H
#define POSTERN_CONFIG_YAML_H

#include "config/messages.h"

enum {
    YAML_BYTES_MAX = 4 * 1024 * 1024,
    YAML_DEPTH_MAX = 16,
    YAML_NODES_MAX = 200000,
    YAML_KEYS_MAX = 1000, /* in one mapping */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_pair;

struct yaml_node {
    enum yaml_kind kind;
    struct config_pos at;
    size_t begin, end; /* in characters of the text, without a byte order mark; the end holds for
                          scalars and for what stands in brackets or braces */
    bool flow;         /* a list or mapping in brackets or braces */
    const char *text;  /* of a scalar, free of control characters; "" for the others */
    bool plain;        /* a scalar without quotes */
    bool null;         /* a plain scalar that stands for nothing: empty, ~, null */
    size_t count;
    struct yaml_node **items; /* of a list */
    struct yaml_pair *pairs;  /* of a mapping, in the file's order, each key once */
};

struct yaml_pair {
    const char *key;
    struct config_pos at;      /* of the key */
    size_t key_begin, key_end; /* as a node's */
    struct yaml_node *value;
};

/* file is only named in messages. An empty document gives an empty mapping. */
struct yaml_node *yaml_read(struct arena *a, const char *file, struct span text,
                            struct config_messages *m);

/* The pair with this key, or NULL; also for a node that is no mapping, or NULL. */
const struct yaml_pair *yaml_get(const struct yaml_node *map, struct span key);

#endif
