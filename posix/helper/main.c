/* postern-accounts: answers whether a password is right, to the service that may not know itself.
 * The only program of Postern that needs root, so it is small, has no network and no thread, reads
 * one message of bounded size from peers whose uid it has checked, and does everything with PAM in
 * children that it kills when they are late. docs/decisions/0050-account-helper.md says why. */
#define _GNU_SOURCE /* O_CLOEXEC with older headers, struct passwd */
#include "base/log.h"
#include "posix/helper/server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 64,
    EXIT_FAILED = 74,
    LISTEN_FDS_START = 3, /* sd_listen_fds(3) */
    BACKLOG = 128,
    RESTART_FIRST_MS = 200,
    RESTART_MOST_MS = 10000,
    ALIVE_MS = 60000, /* who lived that long failed by chance */
};

struct options {
    struct server_options server;
    const char *path;
    bool activated;
    int channel; /* -1: none */
};

static const char usage[] =
    "usage: postern-accounts [option...] (--socket-activated | --socket PATH | --channel-fd N)\n"
    "Checks passwords of this machine's accounts for postern, through PAM.\n"
    "  --socket-activated     systemd passes the listening socket\n"
    "  --socket PATH          listen there\n"
    "  --channel-fd N         connected sockets come through descriptor N (as postern starts it)\n"
    "  --allow-user NAME      who may ask besides root; a name or a uid; up to eight times\n"
    "  --checks N             checks at a time (16)\n"
    "  --burst N              questions at once (400), all together ...\n"
    "  --rate N               ... and a minute in the long run (6000)\n"
    "  --account-burst N      wrong passwords at once for one account (30) ...\n"
    "  --account-rate N       ... and a minute in the long run (60)\n"
    "  --pam-directory PATH   where PAM services are, instead of the system's\n";

/* ---- the log: standard error, which whoever started us has chosen ---- */

static void write_line(void *context, enum log_level level, struct span line)
{
    (void)context;
    (void)level;
    fprintf(stderr, "%.*s\n", SPAN_ARG(line));
}

static int64_t wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int fail(const char *what, const char *cause)
{
    log_event(LOG_ERROR, "accounts.helper.failed", LOG_S("act", what), LOG_S("why", cause));
    return EXIT_FAILED;
}

/* ---- options ---- */

static bool number(const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    uint64_t value;
    if (!span_u64(span_str(text), most, &value) || value < least)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool allow(struct server_options *o, const char *user)
{
    uint32_t uid;
    if (o->uid_count == SERVER_UIDS_MAX)
        return false;
    if (!number(user, 0, UINT_MAX - 1, &uid)) {
        const struct passwd *entry = getpwnam(user);
        if (entry == NULL) {
            fprintf(stderr, "postern-accounts: there is no user %s\n", user);
            return false;
        }
        uid = entry->pw_uid;
    }
    o->uids[o->uid_count++] = uid;
    return true;
}

static bool take(struct options *o, int option, const char *value)
{
    uint32_t n = 0;
    bool ok = true;
    switch (option) {
    case 'a': o->activated = true; break;
    case 's': o->path = value; break;
    case 'f':
        ok = number(value, 3, INT_MAX, &n);
        o->channel = (int)n;
        break;
    case 'u': ok = allow(&o->server, value); break;
    case 'c':
        ok = number(value, 1, SERVER_CHECKS_MAX, &n);
        o->server.checks = n;
        break;
    case 'b': ok = number(value, 1, 1000000, &o->server.all_rate.burst); break;
    case 'r': ok = number(value, 0, 1000000, &o->server.all_rate.per_minute); break;
    case 'B': ok = number(value, 1, 1000000, &o->server.account_rate.burst); break;
    case 'R': ok = number(value, 0, 1000000, &o->server.account_rate.per_minute); break;
    case 'p': o->server.pam_directory = value; break;
    default: ok = false; break;
    }
    return ok;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option table[] = {{"socket-activated", no_argument, NULL, 'a'},
                                          {"socket", required_argument, NULL, 's'},
                                          {"channel-fd", required_argument, NULL, 'f'},
                                          {"allow-user", required_argument, NULL, 'u'},
                                          {"checks", required_argument, NULL, 'c'},
                                          {"burst", required_argument, NULL, 'b'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"account-burst", required_argument, NULL, 'B'},
                                          {"account-rate", required_argument, NULL, 'R'},
                                          {"pam-directory", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    int found;
    while ((found = getopt_long(argc, argv, "", table, NULL)) != -1)
        if (!take(o, found, optarg))
            return false;
    int ways = (o->activated ? 1 : 0) + (o->path != NULL ? 1 : 0) + (o->channel >= 0 ? 1 : 0);
    return optind == argc && ways == 1;
}

/* ---- the socket ---- */

static int adopt(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int listening = 0, domain = 0;
    socklen_t n = sizeof listening, m = sizeof domain;
    uint32_t is = 0;
    if (pid == NULL || count == NULL || !number(pid, 1, INT_MAX, &is) || (pid_t)is != getpid() ||
        strcmp(count, "1") != 0 ||
        getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) != 0 ||
        getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_DOMAIN, &domain, &m) != 0 || listening == 0 ||
        domain != AF_UNIX) {
        errno = EBADF;
        return -1;
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return LISTEN_FDS_START;
}

/* The file is the first allowed user's alone; who connects is looked at in any case. */
static int listen_at(const struct options *o)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat there;
    size_t n = strlen(o->path);
    if (n >= sizeof at.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(at.sun_path, o->path, n + 1);
    if (lstat(o->path, &there) == 0 && S_ISSOCK(there.st_mode))
        (void)unlink(o->path); /* of one that was killed */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        (geteuid() == 0 && o->server.uid_count > 0 &&
         chown(o->path, o->server.uids[0], (gid_t)-1) != 0) ||
        listen(fd, BACKLOG) != 0)
        return -1;
    return fd;
}

static bool prepare_socket(struct options *o, const char **what)
{
    int fd = o->channel;
    if (o->activated) {
        *what = "take the socket of systemd";
        fd = adopt();
    } else if (o->path != NULL) {
        *what = "listen";
        fd = listen_at(o);
    } else {
        *what = "use the channel";
    }
    o->server.socket = fd;
    o->server.channel = o->channel >= 0;
    return fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
           fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

/* ---- the process ---- */

static bool harden(void)
{
    const struct rlimit none = {0, 0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return false;
    (void)close(null);
    return setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
           chdir("/") == 0;
}

static void rest(uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

/* The process that was started keeps the socket and starts the one that serves again when that
 * dies: it runs modules' code, this one runs none. Both go when the service's end of the channel
 * closes, or by a signal where there is no channel. */
static int supervise(const struct options *o)
{
    uint32_t pause_ms = RESTART_FIRST_MS;
    pid_t self = getpid();
    for (;;) {
        int64_t started = wall_ms();
        pid_t pid = fork();
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != self)
                _exit(EXIT_FAILED);
            _exit(server_run(&o->server));
        }
        int status = 0;
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
        if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return 0;
        if (wall_ms() - started > ALIVE_MS)
            pause_ms = RESTART_FIRST_MS;
        log_event(LOG_ERROR, "accounts.helper.restarted",
                  LOG_I("signal", pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0),
                  LOG_U("pause_ms", pause_ms));
        rest(pause_ms);
        pause_ms = pause_ms * 2 > RESTART_MOST_MS ? RESTART_MOST_MS : pause_ms * 2;
    }
}

int main(int argc, char **argv)
{
    const struct log_sink sink = {.write = write_line, .wall_ms = wall_ms};
    struct options o = {.channel = -1,
                        .server = {.checks = SERVER_CHECKS_DEFAULT,
                                   .all_rate = {.burst = 400, .per_minute = 6000},
                                   .account_rate = {.burst = 30, .per_minute = 60}}};
    const char *what = "";
    log_setup(LOG_INFO, LOG_TEXT, &sink);
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    (void)umask(077); /* the socket too */
    (void)signal(SIGPIPE, SIG_IGN);
    if (o.channel >= 0) { /* it ends with the service, not before: a stop lets sessions finish */
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
    }
    if (!prepare_socket(&o, &what))
        return fail(what, strerror(errno));
    if (!harden())
        return fail("protect the process", strerror(errno));
    log_event(LOG_INFO, "accounts.helper.ready", LOG_U("uid", geteuid()),
              LOG_U("pid", (uint64_t)getpid()));
    return supervise(&o);
}
