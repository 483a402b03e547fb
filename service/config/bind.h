/* bind.h - from the tree to struct config, by the schema table. Used by config.c.
 * Owner: the caller's arena. Failure: messages; what is wrong keeps its default, so that the rest
 * can be looked at too. */
#ifndef POSTERN_CONFIG_BIND_H
#define POSTERN_CONFIG_BIND_H

#include "config/config.h"
#include "config/schema.h"
#include "config/yaml.h"

struct binder {
    struct arena *arena;
    const char *file;
    struct config_messages *m;
};

/* Sets every default, then binds root. False only without memory. */
bool bind_config(struct binder *b, const struct yaml_node *root, struct config *c);

/* Converts text as the option's type wants it, to base + option->offset; false with *expected (in
 * the arena) saying what would have been right. */
bool bind_text(struct binder *b, const struct schema_option *option, const char *text, void *base,
               const char **expected);

#endif
