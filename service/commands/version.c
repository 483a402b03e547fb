#include "commands/commands.h"

#include <stdio.h>

int command_version(int argc, char **argv)
{
    struct command_line line = {.usage = "postern version", .about = "Prints the version."};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    printf("postern %s\n", POSTERN_VERSION);
    return EXIT_DONE;
}
