/* edit.h - one entry into or out of a list of the configuration, in the text itself: bytes are
 * spliced in at the positions that the YAML reader gives, so that comments, order and everything
 * else stay as they are. Flow and block lists, quoted keys, lists and sections that are not there
 * yet; CRLF and a byte order mark.
 * Owner: the caller's. Threads: one. Failure: ERR_PERM, out is then of no use. Whoever writes the
 * result reads it again and compares with config_edit_same first. */
#ifndef POSTERN_CONFIG_EDIT_H
#define POSTERN_CONFIG_EDIT_H

#include "base/err.h"
#include "config/yaml.h"

/* root is what yaml_read made of text (UTF-8); path as "access.relay.list". The entry goes to the
 * end of the list. */
bool config_edit_add(struct span text, const struct yaml_node *root, const char *path,
                     const char *entry, struct buf *out, struct err *e);

/* Takes out the entry with that index. The comment on its line goes with it. */
bool config_edit_remove(struct span text, const struct yaml_node *root, const char *path,
                        size_t index, struct buf *out, struct err *e);

/* Whether both trees say the same but for the value of path. A section that is empty, null or not
 * there is the same where it leads to path. */
bool config_edit_same(const struct yaml_node *before, const struct yaml_node *after,
                      const char *path);

#endif
