#include "commands/commands.h"
#include "platform/service_host.h"
#include "run.h"

int command_serve(int argc, char **argv)
{
    const char *config = NULL;
    const struct option options[] = {OPTION_CONFIG(&config)};
    struct command_line line = {
        .usage = "postern serve [-c FILE]",
        .about =
            "Serves in the foreground until SIGTERM or Ctrl-C (this is what the service runs).\n"
            "SIGHUP or `postern reload` takes a changed configuration over; SIGUSR1 reopens\n"
            "the log file.",
        OPTIONS(options)};
    int code;
    service_host_enter();
    if (options_parse(&line, argc, argv, &code))
        code = run_service(config);
    service_host_leave(code);
    return code;
}
