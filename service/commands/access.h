/* access.h - what the verbs of `postern access` share. */
#ifndef POSTERN_COMMANDS_ACCESS_H
#define POSTERN_COMMANDS_ACCESS_H

#include "commands/commands.h"

struct access_request {
    const char *config, *host;
    bool json;
    char **operands; /* behind the verb */
    size_t count;
};

int access_show(const struct access_request *r);
int access_test(const struct access_request *r);
int access_suggest(const struct access_request *r);
/* add, or remove. */
int access_change(const struct access_request *r, bool add);

#endif
