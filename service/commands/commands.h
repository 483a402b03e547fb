/* commands.h - the commands of the program, one file each: service/commands/NAME.c.
 * argv[0] is the command's own name. The return value is the exit code (exit_codes.h). Answers go
 * to standard output, complaints to standard error. main.c holds the table. */
#ifndef POSTERN_COMMANDS_COMMANDS_H
#define POSTERN_COMMANDS_COMMANDS_H

#include "commands/exit_codes.h"
#include "commands/options.h"
#include "policy/policy.h"

#include <stdio.h>

int command_serve(int argc, char **argv);
int command_service(int argc, char **argv);
int command_check(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_user(int argc, char **argv);
int command_queue(int argc, char **argv);
int command_sessions(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_version(int argc, char **argv);
int command_send(int argc, char **argv);
int command_access(int argc, char **argv);
int command_selftest(int argc, char **argv);
int command_import(int argc, char **argv);
int command_config_reference(int argc, char **argv); /* hidden: makes docs/configuration.md */

/* Loads the policy for a command: path NULL = the system's file. Messages go to stderr (errors, and
 * warnings too where wanted). Returns EXIT_DONE and *out with one reference, or the exit code to
 * end with. */
int command_load_policy(const char *path, bool with_warnings, struct policy **out);
int command_load_policy_for(const char *path, bool with_warnings,
                            const struct policy_machine *machine, struct policy **out);

/* Those of one severity, a line each. */
void command_print_messages(const struct config_messages *m, enum config_severity severity,
                            FILE *to);
int command_config_exit(enum config_result result);

#endif
