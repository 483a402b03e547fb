#include "commands/commands.h"
#include "commands/service_call.h"

#include <stdio.h>

int command_reload(int argc, char **argv)
{
    const char *config = NULL;
    const struct option options[] = {OPTION_CONFIG(&config)};
    struct command_line line = {
        .usage = "postern reload [-c FILE]",
        .about = "Lets the running service take its changed configuration over. Listeners and TLS\n"
                 "hold for the next connection; access, authentication and limits from the next\n"
                 "message on. A file with errors changes nothing (exit code 78).",
        OPTIONS(options)};
    struct policy *policy = NULL;
    json_t *result = NULL;
    int code;
    if (!options_parse(&line, argc, argv, &code) ||
        (code = command_load_policy(config, false, &policy)) != EXIT_DONE)
        return code;
    enum service_call call =
        service_call("reload", policy, json_pack("{s:s}", "command", "reload"), &result, &code);
    if (call == SERVICE_ABSENT)
        code = service_absent("reload", policy);
    if (call == SERVICE_ANSWERED)
        printf("reloaded\n");
    json_decref(result);
    policy_unref(&policy);
    return code;
}
