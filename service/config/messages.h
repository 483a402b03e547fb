/* messages.h - what is to be said about a configuration file, collected so that one run tells all.
 * A message prints as `file:line:column: key: what, expected ...`, warnings with `warning: ` before
 * the key. Owner: the caller; texts live in the messages' own arena. Threads: one. Failure: without
 * memory a message is dropped but still counted, so an error can never turn into a success. */
#ifndef POSTERN_CONFIG_MESSAGES_H
#define POSTERN_CONFIG_MESSAGES_H

#include "base/arena.h"
#include "base/buf.h"

enum config_severity { CONFIG_ERROR, CONFIG_WARNING };

/* Where something stands in a file, both from 1; line 0 = nowhere (a default). */
struct config_pos {
    unsigned line, column;
};

struct config_message {
    enum config_severity severity;
    const char *file;
    struct config_pos at;
    const char *key;  /* "access.relay.list", "" for the file as a whole */
    const char *text; /* without a newline */
    size_t order;     /* in which it was added: settles equal positions */
};

struct config_messages {
    struct arena arena;
    struct config_message *items;
    size_t count, capacity;
    size_t errors, warnings;
};

void config_messages_init(struct config_messages *m);
void config_messages_deinit(struct config_messages *m);
void config_messages_add(struct config_messages *m, enum config_severity severity, const char *file,
                         struct config_pos at, const char *key, const char *format, ...)
    PRINTF_LIKE(6, 7);
/* By file, line, column, order. */
void config_messages_sort(struct config_messages *m);
/* One message in its printed form, without a newline. */
bool config_message_format(const struct config_message *message, struct buf *out);

#endif
