#include "commands/commands.h"
#include "admin/queue_requests.h"
#include "commands/service_call.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <stdio.h>
#include <string.h>

static const char *text(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s == NULL ? "" : s;
}

static void print_message(json_t *m)
{
    size_t i;
    json_t *r;
    printf("%-8s %-7s %10lld  %s  <%s>\n", text(m, "id"), text(m, "state"),
           (long long)json_integer_value(json_object_get(m, "size")), text(m, "created"),
           text(m, "sender"));
    json_array_foreach(json_object_get(m, "recipients"), i, r)
    {
        printf("         <%s> %s, attempts %lld", text(r, "address"), text(r, "state"),
               (long long)json_integer_value(json_object_get(r, "attempts")));
        if (text(r, "next")[0] != '\0')
            printf(", next %s", text(r, "next"));
        printf("\n");
        if (text(r, "last_reply")[0] != '\0')
            printf("           %s\n", text(r, "last_reply"));
    }
    if (json_object_get(m, "header") != NULL)
        printf("         client [%s] helo %s user %s origin %s\n\n%s\n", text(m, "client"),
               text(m, "helo"), text(m, "user"), text(m, "origin"), text(m, "header"));
}

static void print_result(const char *verb, json_t *result)
{
    size_t i;
    json_t *m;
    if (strcmp(verb, "list") == 0 && json_array_size(result) == 0)
        printf("the queue is empty\n");
    json_array_foreach(result, i, m)
    {
        if (json_is_object(m))
            print_message(m);
        else
            printf("%s: %s\n", json_string_value(m), verb);
    }
}

/* No service runs: the store is opened here. Its lock says if that is not so. */
static int without_service(const struct policy *policy, json_t *request, json_t **result)
{
    char path[PATH_TEXT_MAX];
    struct queue *q = NULL;
    struct err e = {0};
    struct files_info info;
    int code = EXIT_IO;
    if (!paths_join(policy->data_directory, "queue.db", path, sizeof path))
        return EXIT_IO;
    if (files_stat(path, &info, NULL) == FILES_ABSENT) {
        fprintf(stderr, "postern queue: %s: there is no queue\n", path);
        return EXIT_NO_INPUT;
    }
    const struct queue_options options = {.reserve_bytes = policy->config->queue.reserve,
                                          .path = path};
    if (!queue_sqlite_open(&options, &q, &e)) {
        fprintf(stderr, "postern queue: %s\n", e.text);
        return EXIT_IO;
    }
    struct queue_clock clock = queue_clock_start(q, clock_wall_ms(), clock_monotonic_ms());
    *result = queue_request(q, request, queue_clock_now(&clock, clock_monotonic_ms()), &code, &e);
    queue_close(&q);
    if (*result != NULL)
        return EXIT_DONE;
    fprintf(stderr, "postern queue: %s\n", e.text);
    return code;
}

static json_t *request_of(const struct command_line *line, const char *state, const char *match,
                          bool all)
{
    char command[32];
    const char *verb = line->operands[0];
    (void)snprintf(command, sizeof command, "queue.%s", verb);
    json_t *request = json_pack("{s:s}", "command", command);
    if (state != NULL)
        json_object_set_new(request, "state", json_string(state));
    if (match != NULL)
        json_object_set_new(request, "text", json_string(match));
    json_t *ids = json_array();
    for (int i = 1; i < line->operand_count; i++)
        json_array_append_new(ids, json_string(line->operands[i]));
    json_object_set_new(request, "ids", ids);
    if (all)
        json_object_set_new(request, "all", json_true());
    return request;
}

static bool is_verb(const char *word)
{
    static const char *const verbs[] = {"list", "show", "hold", "release", "retry", "remove"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(word, verbs[i]) == 0)
            return true;
    return false;
}

int command_queue(int argc, char **argv)
{
    const char *config = NULL, *state = NULL, *match = NULL;
    bool json = false, all = false;
    const struct option options[] = {
        OPTION_CONFIG(&config),
        OPTION_JSON(&json),
        {.name = "state", .value = "STATE", .help = "list: queued, active or held", .text = &state},
        {.name = "match",
         .value = "TEXT",
         .help = "list: part of the sender or a recipient",
         .text = &match},
        {.name = "all", .help = "every message, instead of ids", .flag = &all}};
    struct command_line line = {
        .usage = "postern queue list [--state STATE] [--match TEXT] [--json] [-c FILE]\n"
                 "postern queue show|hold|release|retry|remove ID... | --all [--json] [-c FILE]",
        .about = "Looks at the messages that wait, and handles them. hold keeps a message back,\n"
                 "release lets it go on, retry makes it due now, remove takes it out without a\n"
                 "report to its sender. Works with and without a running service.",
        OPTIONS(options),
        .operands_min = 1,
        .operands_max = 1000};
    struct policy *policy = NULL;
    json_t *result = NULL;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    const char *verb = line.operands[0];
    bool list = strcmp(verb, "list") == 0;
    if (!is_verb(verb))
        return options_usage_error(&line, "%s: list, show, hold, release, retry or remove", verb);
    if (list ? line.operand_count > 1 : all == (line.operand_count > 1))
        return options_usage_error(&line,
                                   list ? "list takes no id" : "which message? ids, or --all");
    if (state != NULL && strcmp(state, "queued") != 0 && strcmp(state, "active") != 0 &&
        strcmp(state, "held") != 0)
        return options_usage_error(&line, "--state: queued, active or held");
    if ((code = command_load_policy(config, false, &policy)) != EXIT_DONE)
        return code;
    json_t *request = request_of(&line, state, match, all);
    enum service_call call = service_call("queue", policy, json_incref(request), &result, &code);
    if (call == SERVICE_ABSENT)
        code = without_service(policy, request, &result);
    if (code == EXIT_DONE && json)
        service_print_json(json_incref(result));
    else if (code == EXIT_DONE)
        print_result(verb, result);
    json_decref(result);
    json_decref(request);
    policy_unref(&policy);
    return code;
}
