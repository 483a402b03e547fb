#include "commands/commands.h"
#include "platform/paths.h"
#include "policy/policy.h"

#include <stdio.h>

void command_print_messages(const struct config_messages *m, enum config_severity severity,
                            FILE *to)
{
    struct buf line;
    buf_init(&line, 16 * 1024);
    for (size_t i = 0; i < m->count; i++) {
        if (m->items[i].severity != severity)
            continue;
        buf_reset(&line);
        config_message_format(&m->items[i], &line);
        fprintf(to, "%s\n", buf_cstr(&line));
    }
    buf_deinit(&line);
}

int command_config_exit(enum config_result result)
{
    switch (result) {
    case CONFIG_OK: return EXIT_DONE;
    case CONFIG_MISSING: return EXIT_NO_INPUT;
    case CONFIG_IO: return EXIT_IO;
    case CONFIG_INVALID: return EXIT_CONFIG;
    case CONFIG_MEMORY: return EXIT_INTERNAL;
    }
    return EXIT_INTERNAL;
}

int command_load_policy_for(const char *path, bool with_warnings,
                            const struct policy_machine *machine, struct policy **out)
{
    struct config_messages m;
    config_messages_init(&m);
    enum config_result result =
        policy_load_for(path != NULL ? path : paths_default_config(), machine, out, &m);
    command_print_messages(&m, CONFIG_ERROR, stderr);
    if (with_warnings)
        command_print_messages(&m, CONFIG_WARNING, stderr);
    config_messages_deinit(&m);
    return command_config_exit(result);
}

int command_load_policy(const char *path, bool with_warnings, struct policy **out)
{
    return command_load_policy_for(path, with_warnings, NULL, out);
}
