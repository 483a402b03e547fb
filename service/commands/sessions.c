#include "commands/commands.h"
#include "commands/service_call.h"

#include <stdio.h>
#include <string.h>

static const char *text(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s == NULL ? "" : s;
}

static void print_list(json_t *list)
{
    size_t i;
    json_t *s;
    printf("%-12s  %-24s %-14s %-9s %5s  %s\n", "id", "client", "state", "tls", "mails", "user");
    json_array_foreach(list, i, s)
        printf("%-12s  %-24s %-14s %-9s %5lld  %s\n", text(s, "id"), text(s, "client"),
               text(s, "state"), text(s, "tls")[0] == '\0' ? "-" : text(s, "tls"),
               (long long)json_integer_value(json_object_get(s, "messages")), text(s, "user"));
}

static void print_guesses(json_t *list, const char *title, const char *key, const char *what)
{
    size_t i;
    json_t *g;
    if (json_array_size(list) == 0)
        return;
    printf("%-40s %8s %8s  %s\n", title, "wrong", "guesses", what);
    json_array_foreach(list, i, g)
    {
        json_int_t refused = json_integer_value(json_object_get(g, "refused_ms"));
        json_t *n = json_object_get(g, "guesses");
        char number[24] = "-", until[32] = "-";
        if (n != NULL)
            (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(n));
        if (refused > 0)
            (void)snprintf(until, sizeof until, "%lld s", (long long)(refused + 999) / 1000);
        printf("%-40s %8lld %8s  %s\n", text(g, key),
               (long long)json_integer_value(json_object_get(g, "failures")), number, until);
    }
}

static void print_all_guesses(json_t *all)
{
    print_guesses(json_object_get(all, "clients"), "client", "client", "refused for");
    print_guesses(json_object_get(all, "users"), "user", "user", "");
    print_guesses(json_object_get(all, "domain_users"), "user, as its domain counts", "user",
                  "held back for");
    if (json_is_true(json_object_get(all, "more")))
        printf("... and others\n");
}

int command_sessions(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false, guesses = false;
    const struct option options[] = {
        OPTION_CONFIG(&config),
        OPTION_JSON(&json),
        {.name = "guesses",
         .help = "the wrong passwords that are counted now, instead of the clients",
         .flag = &guesses}};
    struct command_line line = {.usage = "postern sessions list [--guesses] [--json] [-c FILE]\n"
                                         "postern sessions close ID [-c FILE]",
                                .about = "Shows the clients that are connected now (or who is "
                                         "counted for wrong passwords,\nand who is refused for "
                                         "them), or says 421 to one and closes it.",
                                OPTIONS(options),
                                .operands_min = 1,
                                .operands_max = 2};
    struct policy *policy = NULL;
    json_t *result = NULL, *request = NULL;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    if (strcmp(line.operands[0], "list") == 0 && line.operand_count == 1)
        request = json_pack("{s:s}", "command", guesses ? "sessions.guesses" : "sessions.list");
    else if (strcmp(line.operands[0], "close") == 0 && line.operand_count == 2 && !guesses)
        request = json_pack("{s:s, s:s}", "command", "sessions.close", "id", line.operands[1]);
    if (request == NULL)
        return options_usage_error(&line, "list, or close and a session's id");
    if ((code = command_load_policy(config, false, &policy)) != EXIT_DONE) {
        json_decref(request);
        return code;
    }
    enum service_call call = service_call("sessions", policy, request, &result, &code);
    if (call == SERVICE_ABSENT)
        code = service_absent("sessions", policy);
    if (call == SERVICE_ANSWERED && json)
        service_print_json(json_incref(result));
    else if (call == SERVICE_ANSWERED && json_is_array(result))
        print_list(result);
    else if (call == SERVICE_ANSWERED && guesses)
        print_all_guesses(result);
    json_decref(result);
    policy_unref(&policy);
    return code;
}
