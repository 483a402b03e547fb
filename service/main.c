/* main.c - argv to the table of commands, and nothing else. */
#include "commands/commands.h"
#include "config/value.h"
#include "platform/process.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* NULL: not listed */
};

/* One line a command. */
/* clang-format off */
static const struct command commands[] = {
    {"serve", command_serve, "serve in the foreground"},
    {"service", command_service, "install, start or stop the service, or say how it is"},
    {"check", command_check, "validate the configuration and review it"},
    {"explain", command_explain, "say what would become of a message, by which rule, and how to change it"},
    {"user", command_user, "keep the accounts of the embedded user database"},
    {"queue", command_queue, "list, show, hold, release, retry or remove queued messages"},
    {"sessions", command_sessions, "list or close the clients' sessions"},
    {"reload", command_reload, "let the running service take the changed configuration over"},
    {"access", command_access, "show or change the access lists, or ask them about a client"},
    {"selftest", command_selftest, "attack the running service as a stranger would, and report"},
    {"import", command_import, "make a configuration out of the settings of IIS's SMTP service"},
    {"send", command_send, "send a test message"},
    {"version", command_version, "print the version"},
    {"config-reference", command_config_reference, NULL},
};
/* clang-format on */
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void help(FILE *to)
{
    fprintf(to, "usage: postern COMMAND [OPTIONS]\n\nA guarded SMTP relay.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].help != NULL)
            fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(to,
            "\npostern COMMAND --help tells more about a command.\n"
            "exit codes: 0 done, 1 the answer is no, 2 cannot tell, 64 usage, 66 no such file,\n"
            "70 internal, 74 input/output, 78 invalid configuration\n");
}

static int unknown(const char *name)
{
    const char *nearest = NULL;
    unsigned best = 3; /* farther is no likeness */
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        unsigned distance = value_distance(name, commands[i].name);
        if (commands[i].help == NULL || distance >= best)
            continue;
        best = distance;
        nearest = commands[i].name;
    }
    fprintf(stderr, "postern: there is no command \"%s\"", name);
    if (nearest != NULL)
        fprintf(stderr, ", did you mean \"%s\"?", nearest);
    fprintf(stderr, "\n");
    help(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    process_arguments(&argc, &argv);
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help(stdout);
        return EXIT_DONE;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown(name);
}
