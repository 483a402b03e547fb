#include "commands/check_certificates.h"
#include "commands/commands.h"
#include "platform/paths.h"
#include "platform/service_control.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAID_MAX = 16 * 1024 };

static const char *const state_names[] = {
    [SERVICE_STATE_ABSENT] = "not installed", [SERVICE_STATE_STOPPED] = "stopped",
    [SERVICE_STATE_STARTING] = "starting",    [SERVICE_STATE_RUNNING] = "running",
    [SERVICE_STATE_RELOADING] = "reloading",  [SERVICE_STATE_PAUSING] = "pausing",
    [SERVICE_STATE_PAUSED] = "paused",        [SERVICE_STATE_CONTINUING] = "continuing",
    [SERVICE_STATE_STOPPING] = "stopping",    [SERVICE_STATE_FAILED] = "failed"};

static bool serves(enum service_state state)
{
    return state == SERVICE_STATE_RUNNING || state == SERVICE_STATE_RELOADING;
}

static int exit_code(enum service_control_result result)
{
    switch (result) {
    case SERVICE_CONTROL_DONE: return EXIT_DONE;
    case SERVICE_CONTROL_ABSENT: return EXIT_NO_INPUT;
    case SERVICE_CONTROL_REFUSED: return EXIT_NO;
    case SERVICE_CONTROL_FAILED: return EXIT_IO;
    }
    return EXIT_INTERNAL;
}

static void print_line(const char *name, const char *text)
{
    if (text[0] != '\0')
        printf("    %-9s %s\n", name, text);
}

static void print_status(const struct service_control_status *s)
{
    char pid[24] = "";
    if (s->process_id != 0)
        (void)snprintf(pid, sizeof pid, "%llu", (unsigned long long)s->process_id);
    printf("%s: %s", s->name, state_names[s->state]);
    if (s->state != SERVICE_STATE_ABSENT)
        printf(", %s", s->automatic ? "starts with the machine" : "does not start by itself");
    printf("\n");
    print_line("says", s->detail);
    print_line("process", pid);
    print_line("account", s->account);
    print_line("defined", s->where);
}

static int print_status_json(const struct service_control_status *s)
{
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:b, s:I, s:s, s:s, s:s}", "manager", service_control_manager(), "name",
        s->name, "state", state_names[s->state], "automatic", (int)s->automatic, "process",
        (json_int_t)s->process_id, "account", s->account, "defined", s->where, "says", s->detail);
    char *text = o == NULL ? NULL : json_dumps(o, JSON_INDENT(2));
    if (text != NULL)
        printf("%s\n", text);
    json_decref(o);
    int code = text == NULL ? EXIT_INTERNAL : EXIT_DONE;
    free(text);
    return code;
}

static int status(bool json)
{
    struct service_control_status s;
    struct err e = {0};
    enum service_control_result result = service_control_status(&s, &e);
    if (result != SERVICE_CONTROL_DONE) {
        fprintf(stderr, "postern service status: %s\n", e.text);
        return exit_code(result);
    }
    int code = EXIT_DONE;
    if (json)
        code = print_status_json(&s);
    else
        print_status(&s);
    if (code != EXIT_DONE)
        return code;
    return s.state == SERVICE_STATE_ABSENT ? EXIT_NO_INPUT : serves(s.state) ? EXIT_DONE : EXIT_NO;
}

struct act {
    const char *name;
    enum service_control_result (*run)(struct buf *said, struct err *e);
};

static const struct act acts[] = {
    {"uninstall", service_control_uninstall}, {"start", service_control_start},
    {"stop", service_control_stop},           {"pause", service_control_pause},
    {"continue", service_control_continue},
};

static int perform(const char *name, const char *config)
{
    char path[PATH_TEXT_MAX];
    struct err e = {0};
    struct buf said;
    enum service_control_result result = SERVICE_CONTROL_FAILED;
    /* What is registered has to mean the same from any folder. */
    if (config != NULL && !paths_absolute(config, path, sizeof path)) {
        fprintf(stderr, "postern service: %s: the path is too long\n", config);
        return EXIT_USAGE;
    }
    buf_init(&said, SAID_MAX);
    if (strcmp(name, "install") == 0)
        result = service_control_install(config == NULL ? NULL : path, &said, &e);
    if (strcmp(name, "install") == 0 && result == SERVICE_CONTROL_DONE)
        (void)check_certificates_grant(config == NULL ? paths_default_config() : path, &said);
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(name, acts[i].name) == 0)
            result = acts[i].run(&said, &e);
    printf("%s", buf_cstr(&said));
    buf_deinit(&said);
    if (result != SERVICE_CONTROL_DONE)
        fprintf(stderr, "postern service %s: %s\n", name, e.text);
    return exit_code(result);
}

static bool is_act(const char *name)
{
    bool found = strcmp(name, "install") == 0;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        found = found || strcmp(name, acts[i].name) == 0;
    return found;
}

int command_service(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false;
    const struct option options[] = {OPTION_CONFIG(&config), OPTION_JSON(&json)};
    struct command_line line = {
        .usage = "postern service install [-c FILE]\n"
                 "postern service uninstall|start|stop|pause|continue\n"
                 "postern service status [--json]",
        .about = "Registers Postern with the service manager of this system (systemd; on Windows\n"
                 "the service control manager), takes it away again, starts, stops, asks.\n"
                 "install makes it start with the machine, with FILE or the system's\n"
                 "configuration, and does not start it now; uninstall keeps configuration and\n"
                 "data. pause takes no new clients (Windows alone).\n"
                 "status: exit code 0 it runs, 1 it does not, 66 it is not installed.",
        OPTIONS(options),
        .operands_min = 1,
        .operands_max = 1};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    const char *verb = line.operands[0];
    bool is_status = strcmp(verb, "status") == 0;
    if (!is_status && !is_act(verb))
        return options_usage_error(&line, "there is no \"%s\"", verb);
    if (json && !is_status)
        return options_usage_error(&line, "--json goes with status");
    if (config != NULL && strcmp(verb, "install") != 0)
        return options_usage_error(&line, "-c goes with install");
    return is_status ? status(json) : perform(verb, config);
}
