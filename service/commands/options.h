/* options.h - command line options, the same everywhere: `--name value`, `--name=value`, `-c FILE`,
 * `--help`; `--` ends them; operands may stand before, between and behind them.
 * A value that begins with `--` has to be written `--name=--value`. An option given twice, unknown
 * or without its value is a usage error: said on stderr, exit code 64.
 *
 *     const char *config = NULL;
 *     bool json = false;
 *     const struct option options[] = {OPTION_CONFIG(&config), OPTION_JSON(&json)};
 *     struct command_line line = {.usage = "postern check [-c FILE] [--json]",
 *                                 .about = "Validates the configuration.",
 *                                 OPTIONS(options)};
 *     int code;
 *     if (!options_parse(&line, argc, argv, &code))
 *         return code;
 */
#ifndef POSTERN_COMMANDS_OPTIONS_H
#define POSTERN_COMMANDS_OPTIONS_H

#include "base/compiler.h"
#include "commands/exit_codes.h"

#include <stdbool.h>
#include <stddef.h>

struct option {
    const char *name;  /* without its dashes */
    char letter;       /* 'c' for -c; 0 = none */
    const char *value; /* what the help calls the value; NULL = the option is a flag */
    const char *help;
    const char **text; /* gets the value; stays as it is when the option is not given */
    bool *flag;        /* gets true */
};

#define OPTION_CONFIG(target)                                                                      \
    {                                                                                              \
        .name = "config", .letter = 'c', .value = "FILE",                                          \
        .help = "the configuration file (default: the system's)", .text = (target)                 \
    }
#define OPTION_JSON(target)                                                                        \
    {                                                                                              \
        .name = "json", .help = "print JSON", .flag = (target)                                     \
    }
#define OPTIONS(array) .options = (array), .option_count = sizeof(array) / sizeof *(array)

struct command_line {
    const char *usage; /* one or more lines, each without the word "usage" */
    const char *about; /* one paragraph for --help; lines of its own making */
    const struct option *options;
    size_t option_count;
    int operands_min, operands_max;
    char **operands; /* out: into argv, which is reordered */
    int operand_count;
};

/* argv[0] is the command's name. True: go on. False: return *code (0 after --help, else 64). */
bool options_parse(struct command_line *line, int argc, char **argv, int *code);

/* "postern NAME: message" and the usage on stderr; returns EXIT_USAGE. */
int options_usage_error(const struct command_line *line, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
