#include "commands/commands.h"
#include "admin/queue_requests.h"
#include "commands/service_call.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <stdio.h>
#include <string.h>

enum { IDS_AT_ONCE = 100, REPORT_MAX = 1024 * 1024 };

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

static void print_all(const char *verb, json_t *result)
{
    size_t i;
    json_t *m;
    json_array_foreach(result, i, m)
    {
        if (json_is_object(m))
            print_message(m);
        else
            printf("%s: %s\n", json_string_value(m), verb);
    }
}

/* ---- asking ---- */

/* Who answers: the running service, or this process once there was none. */
struct source {
    const struct policy *policy;
    struct queue *q;
    struct queue_clock clock;
};

static int queue_path(const struct policy *policy, char *path, size_t size)
{
    struct files_info info;
    if (!paths_join(policy->data_directory, "queue.db", path, size)) {
        fprintf(stderr, "postern queue: %s: the path is too long\n", policy->data_directory);
        return EXIT_IO;
    }
    if (files_stat(path, &info, NULL) != FILES_ABSENT)
        return EXIT_DONE;
    fprintf(stderr, "postern queue: %s: there is no queue\n", path);
    return EXIT_NO_INPUT;
}

/* No service runs: the store is opened here. Its lock says if that is not so. */
static int open_store(struct source *s)
{
    char path[PATH_TEXT_MAX];
    struct err e = {0};
    int code = queue_path(s->policy, path, sizeof path);
    if (code != EXIT_DONE)
        return code;
    const struct queue_options options = {.reserve_bytes = s->policy->config->queue.reserve,
                                          .path = path};
    if (!queue_sqlite_open(&options, &s->q, &e)) {
        fprintf(stderr, "postern queue: %s\n", e.text);
        return EXIT_IO;
    }
    s->clock = queue_clock_start(s->q, clock_wall_ms(), clock_monotonic_ms());
    return EXIT_DONE;
}

static int ask(struct source *s, json_t *request, json_t **result)
{
    struct err e = {0};
    int code = EXIT_IO;
    *result = NULL;
    if (s->q == NULL &&
        service_call("queue", s->policy, json_incref(request), result, &code) != SERVICE_ABSENT)
        return code;
    if (s->q == NULL && (code = open_store(s)) != EXIT_DONE)
        return code;
    *result =
        queue_request(s->q, request, queue_clock_now(&s->clock, clock_monotonic_ms()), &code, &e);
    if (*result != NULL)
        return EXIT_DONE;
    fprintf(stderr, "postern queue: %s\n", e.text);
    return code;
}

/* ---- the verbs ---- */

/* What the command line asked for. */
struct wish {
    const char *verb, *state, *match;
    bool json, all;
};

/* Page by page, so that the service never stands still for a list. all gets every message, or only
 * its id; NULL: they are printed as they come. */
static int list_pages(struct source *s, const struct wish *w, bool ids_only, json_t *all)
{
    json_int_t after = 0;
    size_t count = 0;
    do {
        json_t *page, *m,
            *request = json_pack("{s:s, s:I}", "command", "queue.list", "after", after);
        size_t i;
        if (w->state != NULL)
            json_object_set_new(request, "state", json_string(w->state));
        if (w->match != NULL)
            json_object_set_new(request, "text", json_string(w->match));
        int code = ask(s, request, &page);
        json_decref(request);
        if (code != EXIT_DONE)
            return code;
        json_array_foreach(json_object_get(page, "messages"), i, m)
        {
            count++;
            if (all != NULL)
                json_array_append(all, ids_only ? json_object_get(m, "id") : m);
            else
                print_message(m);
        }
        after = json_integer_value(json_object_get(page, "next"));
        json_decref(page);
    } while (after != 0);
    if (all == NULL && count == 0)
        printf("the queue is empty\n");
    return EXIT_DONE;
}

/* So many at a time, for the same reason; what an earlier part did stays done. */
static int handle(struct source *s, const struct wish *w, json_t *ids, json_t *results)
{
    char command[32];
    (void)snprintf(command, sizeof command, "queue.%s", w->verb);
    for (size_t at = 0; at < json_array_size(ids);) {
        json_t *some = json_array(), *result;
        for (size_t n = 0; n < IDS_AT_ONCE && at < json_array_size(ids); n++)
            json_array_append(some, json_array_get(ids, at++));
        json_t *request =
            json_pack("{s:s, s:o, s:b}", "command", command, "ids", some, "all", (int)w->all);
        int code = ask(s, request, &result);
        json_decref(request);
        if (code != EXIT_DONE)
            return code;
        if (w->json)
            json_array_extend(results, result);
        else
            print_all(w->verb, result);
        json_decref(result);
    }
    return EXIT_DONE;
}

static int run(struct source *s, const struct wish *w, char *const *words, int count)
{
    json_t *results = json_array(), *ids = json_array();
    int code = EXIT_DONE;
    for (int i = 0; i < count; i++)
        json_array_append_new(ids, json_string(words[i]));
    if (strcmp(w->verb, "list") == 0)
        code = list_pages(s, w, false, w->json ? results : NULL);
    else if (w->all)
        code = list_pages(s, w, true, ids);
    if (code == EXIT_DONE)
        code = handle(s, w, ids, results);
    if (code == EXIT_DONE && w->json)
        service_print_json(json_incref(results));
    json_decref(results);
    json_decref(ids);
    return code;
}

/* Reads beside the service, whether or not it runs. */
static int check(const struct policy *policy, bool json)
{
    char path[PATH_TEXT_MAX];
    struct buf report;
    struct err e = {0};
    bool sound = false;
    int code = queue_path(policy, path, sizeof path);
    if (code != EXIT_DONE)
        return code;
    buf_init(&report, REPORT_MAX);
    if (!queue_sqlite_check(path, &report, &sound, &e)) {
        fprintf(stderr, "postern queue: %s\n", e.text);
        buf_deinit(&report);
        return e.class == ERR_BUG ? EXIT_INTERNAL : EXIT_IO;
    }
    json_t *findings = json_array();
    struct span rest = buf_span(&report);
    while (rest.n > 0) {
        size_t end = span_find(rest, '\n');
        struct span line = span_sub(rest, 0, end);
        if (line.n > 0 && !span_is(line, "ok"))
            json_array_append_new(findings, json_stringn_nocheck((const char *)line.p, line.n));
        rest = span_from(rest, end + 1);
    }
    size_t i;
    json_t *finding;
    if (json) {
        service_print_json(
            json_pack("{s:s, s:b, s:O}", "file", path, "sound", (int)sound, "findings", findings));
    } else {
        json_array_foreach(findings, i, finding) printf("%s\n", json_string_value(finding));
        printf("%s: %s\n", path,
               sound ? "sound" : "damaged: see docs/queue.md, \"A damaged queue\"");
    }
    json_decref(findings);
    buf_deinit(&report);
    return sound ? EXIT_DONE : EXIT_NO;
}

static bool is_verb(const char *word)
{
    static const char *const verbs[] = {"list",  "show",   "hold", "release",
                                        "retry", "remove", "check"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(word, verbs[i]) == 0)
            return true;
    return false;
}

int command_queue(int argc, char **argv)
{
    const char *config = NULL;
    struct wish wish = {0};
    const struct option options[] = {
        OPTION_CONFIG(&config),
        OPTION_JSON(&wish.json),
        {.name = "state",
         .value = "STATE",
         .help = "list: queued, active or held",
         .text = &wish.state},
        {.name = "match",
         .value = "TEXT",
         .help = "list: part of the sender or a recipient",
         .text = &wish.match},
        {.name = "all", .help = "every message, instead of ids", .flag = &wish.all}};
    struct command_line line = {
        .usage = "postern queue list [--state STATE] [--match TEXT] [--json] [-c FILE]\n"
                 "postern queue show|hold|release|retry|remove ID... | --all [--json] [-c FILE]\n"
                 "postern queue check [--json] [-c FILE]",
        .about = "Looks at the messages that wait, and handles them. hold keeps a message back,\n"
                 "release lets it go on, retry makes it due now, remove takes it out without a\n"
                 "report to its sender. check reads the whole file and says if it is sound (exit\n"
                 "code 0) or damaged (1). Works with and without a running service.",
        OPTIONS(options),
        .operands_min = 1,
        .operands_max = 1000};
    struct policy *policy = NULL;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    wish.verb = line.operands[0];
    bool checks = strcmp(wish.verb, "check") == 0;
    bool whole = checks || strcmp(wish.verb, "list") == 0;
    if (!is_verb(wish.verb))
        return options_usage_error(&line, "%s: list, show, hold, release, retry, remove or check",
                                   wish.verb);
    if (whole ? line.operand_count > 1 || wish.all : wish.all == (line.operand_count > 1))
        return options_usage_error(
            &line, whole ? "%s takes no id" : "%s: which message? ids, or --all", wish.verb);
    if (wish.state != NULL && strcmp(wish.state, "queued") != 0 &&
        strcmp(wish.state, "active") != 0 && strcmp(wish.state, "held") != 0)
        return options_usage_error(&line, "--state: queued, active or held");
    if ((code = command_load_policy(config, false, &policy)) != EXIT_DONE)
        return code;
    struct source source = {.policy = policy};
    if (checks)
        code = check(policy, wish.json);
    else
        code = run(&source, &wish, line.operands + 1, line.operand_count - 1);
    queue_close(&source.q);
    policy_unref(&policy);
    return code;
}
