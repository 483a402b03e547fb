#include "commands/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { OPTIONS_MOST = 32, LABEL_MAX = 64 };

static void print_usage(const struct command_line *line, FILE *to)
{
    const char *at = line->usage;
    for (bool first = true; at != NULL && *at != '\0'; first = false) {
        const char *end = strchr(at, '\n');
        int n = end != NULL ? (int)(end - at) : (int)strlen(at);
        fprintf(to, "%s %.*s\n", first ? "usage:" : "      ", n, at);
        at = end != NULL ? end + 1 : NULL;
    }
}

static void print_option(const char *label, const char *help)
{
    printf("  %-26s %s\n", label, help);
}

static void print_help(const struct command_line *line)
{
    print_usage(line, stdout);
    printf("\n%s\n\n", line->about);
    for (size_t i = 0; i < line->option_count; i++) {
        const struct option *o = &line->options[i];
        char label[LABEL_MAX], letter[] = {'-', o->letter, ',', ' ', '\0'};
        (void)snprintf(label, sizeof label, "%s--%s%s%s", o->letter != 0 ? letter : "", o->name,
                       o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        print_option(label, o->help);
    }
    print_option("--help", "print this");
}

int options_usage_error(const struct command_line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "postern: ");
    (void)vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    print_usage(line, stderr);
    return EXIT_USAGE;
}

/* The option that an argument names ("--name", "--name=value", "-c"), or NULL; *value is what
 * stands behind the sign. */
static const struct option *find(const struct command_line *line, const char *argument,
                                 const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < line->option_count; i++) {
        const struct option *o = &line->options[i];
        if (argument[1] != '-') {
            if (o->letter != 0 && argument[1] == o->letter && argument[2] == '\0')
                return o;
            continue;
        }
        size_t n = strlen(o->name);
        if (strncmp(argument + 2, o->name, n) != 0)
            continue;
        if (argument[2 + n] == '=')
            *value = argument + 2 + n + 1;
        if (argument[2 + n] == '\0' || argument[2 + n] == '=')
            return o;
    }
    return NULL;
}

/* Takes the option at argv[*at]; true or the exit code. */
static bool take(struct command_line *line, int argc, char **argv, int *at, bool seen[], int *code)
{
    const char *argument = argv[*at], *value;
    const struct option *o = find(line, argument, &value);
    if (o == NULL) {
        *code = options_usage_error(line, "unknown option %s", argument);
        return false;
    }
    size_t index = (size_t)(o - line->options);
    if (seen[index]) {
        *code = options_usage_error(line, "--%s is given twice", o->name);
        return false;
    }
    seen[index] = true;
    if (o->flag != NULL) {
        if (value != NULL) {
            *code = options_usage_error(line, "--%s takes no value", o->name);
            return false;
        }
        *o->flag = true;
        return true;
    }
    if (value == NULL) {
        bool there = *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0;
        if (!there) {
            *code = options_usage_error(line, "--%s needs a value: %s", o->name, o->value);
            return false;
        }
        value = argv[++*at];
    }
    *o->text = value;
    return true;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

bool options_parse(struct command_line *line, int argc, char **argv, int *code)
{
    bool seen[OPTIONS_MOST] = {false};
    *code = EXIT_DONE;
    if (line->option_count > OPTIONS_MOST) {
        *code = EXIT_INTERNAL;
        return false;
    }
    if (wants_help(argc, argv)) {
        print_help(line);
        return false;
    }
    line->operands = argv + 1; /* operands move to the front as they are met */
    line->operand_count = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        if (!ended && strcmp(argv[i], "--") == 0)
            ended = true;
        else if (ended || argv[i][0] != '-' || argv[i][1] == '\0')
            line->operands[line->operand_count++] = argv[i];
        else if (!take(line, argc, argv, &i, seen, code))
            return false;
    }
    if (line->operand_count > line->operands_max)
        *code = options_usage_error(line, "unexpected \"%s\"", line->operands[line->operands_max]);
    else if (line->operand_count < line->operands_min)
        *code = options_usage_error(line, "something is missing");
    return *code == EXIT_DONE;
}
