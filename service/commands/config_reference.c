#include "commands/commands.h"
#include "config/schema.h"

#include <stdio.h>

enum { REFERENCE_MAX = 1024 * 1024 };

int command_config_reference(int argc, char **argv)
{
    struct command_line line = {.usage = "postern config-reference",
                                .about = "Prints docs/configuration.md, from the option table."};
    struct buf out;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    buf_init(&out, REFERENCE_MAX);
    bool ok = schema_reference(&out);
    struct span text = buf_span(&out);
    if (!ok)
        code = EXIT_INTERNAL;
    else if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0)
        code = EXIT_IO;
    buf_deinit(&out);
    return code;
}
