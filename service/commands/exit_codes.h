/* exit_codes.h - what the exit status of every command means. Scripts rely on it: 1 and 2 are
 * answers and never errors. */
#ifndef POSTERN_COMMANDS_EXIT_CODES_H
#define POSTERN_COMMANDS_EXIT_CODES_H

enum exit_code {
    EXIT_DONE = 0,
    EXIT_NO = 1,          /* the answer is no, the operation was refused */
    EXIT_CANNOT_TELL = 2, /* explain only */
    EXIT_USAGE = 64,
    EXIT_NO_INPUT = 66, /* a file that was named is missing */
    EXIT_INTERNAL = 70,
    EXIT_IO = 74,
    EXIT_CONFIG = 78, /* the configuration or an imported file is invalid */
};

#endif
