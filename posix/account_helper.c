/* The helper that we start ourselves: one process that lives as long as we do. It hears from us
 * through a channel, a pair of sockets without a name, so that nobody else can even try; each
 * question has a stream of its own, whose other end is passed through the channel. When the helper
 * dies, so does every stream, at once. */
#define _GNU_SOURCE /* posix_spawn_file_actions_addclosefrom_np, eaccess */
#include "posix/account_helper.h"

#include "base/log.h"
#include "platform/clock.h"
#include "platform/local_account.h"
#include "platform/paths.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef POSTERN_LIBEXEC
#define POSTERN_LIBEXEC "/usr/libexec/postern"
#endif

enum { CHANNEL_FD = 3, RETRY_MS = 1000, STOP_MS = 3000, STOP_STEP_MS = 10, USER_BYTES_MAX = 256 };

extern char **environ;

/* The run state of the process's one helper. */
static struct {
    pthread_mutex_t lock;
    int channel; /* -1: none runs */
    pid_t pid;   /* 0: none */
    bool was_started;
    uid_t uid; /* with whose rights */
    uint64_t retry_at_ms;
    char program[PATH_TEXT_MAX];
    char user[USER_BYTES_MAX];
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER, .channel = -1};

static bool find_program(char *out, size_t size, struct err *e)
{
    char self[PATH_TEXT_MAX], folder[PATH_TEXT_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        if (paths_folder(self, folder, sizeof folder) &&
            paths_join(folder, "postern-accounts", out, size) && access(out, X_OK) == 0)
            return true;
    }
    if (paths_join(POSTERN_LIBEXEC, "postern-accounts", out, size) && access(out, X_OK) == 0)
        return true;
    return err_set(e, ERR_PERM,
                   "postern-accounts is neither beside this program nor in " POSTERN_LIBEXEC);
}

static int spawn(const char *program, int theirs, pid_t *pid)
{
    char fd[16], *argv[] = {"postern-accounts", "--channel-fd", fd, NULL, NULL, NULL};
    sigset_t none, all;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    (void)snprintf(fd, sizeof fd, "%d", CHANNEL_FD);
    if (helper.user[0] != '\0') {
        argv[3] = "--allow-user";
        argv[4] = helper.user;
    }
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0)
        return code;
    code = posix_spawnattr_init(&attributes);
    if (code == 0) {
        /* Signals as for a new process, and a group of its own: what a terminal sends to us is not
         * for it. */
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        (void)posix_spawnattr_setpgroup(&attributes, 0);
        code = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        if (code == 0)
            code = posix_spawn_file_actions_adddup2(&actions, theirs, CHANNEL_FD);
        if (code == 0)
            code = posix_spawn_file_actions_addclosefrom_np(&actions, CHANNEL_FD + 1);
        if (code == 0)
            code = posix_spawn(pid, program, &actions, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

static void hang_up(void)
{
    if (helper.channel >= 0)
        (void)close(helper.channel);
    helper.channel = -1;
    if (helper.pid > 0 && waitpid(helper.pid, NULL, WNOHANG) == helper.pid)
        helper.pid = 0;
}

static bool start(struct err *e)
{
    int ends[2];
    if (helper.program[0] == '\0' && !find_program(helper.program, sizeof helper.program, e)) {
        helper.program[0] = '\0';
        return false;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return err_set(e, ERR_TEMP, "account helper: no channel: %s", strerror(errno));
    helper.retry_at_ms = clock_monotonic_ms() + RETRY_MS;
    int code = spawn(helper.program, ends[1], &helper.pid);
    (void)close(ends[1]);
    if (code != 0) {
        (void)close(ends[0]);
        helper.pid = 0;
        return err_set(e, ERR_PERM, "%s: cannot start: %s", helper.program, strerror(code));
    }
    helper.channel = ends[0];
    helper.was_started = true;
    helper.uid = geteuid();
    log_event(LOG_INFO, "accounts.helper.started", LOG_S("program", helper.program),
              LOG_I("pid", helper.pid), LOG_U("uid", helper.uid));
    return true;
}

/* One that has lost root must not take the place of one that had it: without the right to read
 * /etc/shadow it would call right passwords wrong. */
static bool may_start_again(struct err *e)
{
    if (helper.was_started && helper.uid != geteuid() && eaccess("/etc/shadow", R_OK) != 0)
        return err_set(e, ERR_PERM,
                       "the account helper has ended and cannot be started again without root: "
                       "restart the service");
    if (clock_monotonic_ms() < helper.retry_at_ms)
        return err_set(e, ERR_TEMP, "the account helper has just ended");
    return true;
}

/* One byte, with the descriptor. */
static bool pass(int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec v = {.iov_base = "", .iov_len = 1};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    return sendmsg(helper.channel, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

static bool connect_locked(int *fd, struct err *e)
{
    int ends[2];
    if (helper.channel < 0 && (!may_start_again(e) || !start(e)))
        return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return err_set(e, ERR_TEMP, "account helper: no sockets: %s", strerror(errno));
    bool passed = pass(ends[1]);
    bool full = !passed && (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS);
    if (!passed && !full) { /* it has gone */
        hang_up();
        passed = may_start_again(e) && start(e) && pass(ends[1]);
    }
    (void)close(ends[1]);
    *fd = ends[0];
    if (passed)
        return true;
    (void)close(ends[0]);
    return full ? err_set(e, ERR_TEMP, "the account helper takes no more questions") : false;
}

bool account_helper_connect(int *fd, struct err *e)
{
    (void)pthread_mutex_lock(&helper.lock);
    *e = (struct err){0};
    bool ok = connect_locked(fd, e);
    if (!ok && e->class == ERR_NONE)
        (void)err_set(e, ERR_TEMP, "the account helper does not stay");
    (void)pthread_mutex_unlock(&helper.lock);
    return ok;
}

bool local_account_helper_start(const char *program, const char *user, struct err *e)
{
    (void)pthread_mutex_lock(&helper.lock);
    helper.program[0] = '\0';
    bool ok = strlen(user) < sizeof helper.user &&
              (program == NULL || strlen(program) < sizeof helper.program);
    if (ok) {
        (void)snprintf(helper.user, sizeof helper.user, "%s", user);
        (void)snprintf(helper.program, sizeof helper.program, "%s", program == NULL ? "" : program);
        ok = helper.channel >= 0 || start(e);
    } else {
        (void)err_set(e, ERR_PERM, "account helper: the name is too long");
    }
    (void)pthread_mutex_unlock(&helper.lock);
    return ok;
}

void local_account_helper_stop(void)
{
    const struct timespec step = {.tv_nsec = STOP_STEP_MS * 1000000L};
    (void)pthread_mutex_lock(&helper.lock);
    hang_up(); /* at which it ends */
    for (int waited = 0; helper.pid > 0 && waited < STOP_MS; waited += STOP_STEP_MS) {
        (void)nanosleep(&step, NULL);
        if (waitpid(helper.pid, NULL, WNOHANG) == helper.pid)
            helper.pid = 0;
    }
    helper.pid = 0;
    helper.was_started = false;
    helper.retry_at_ms = 0;
    (void)pthread_mutex_unlock(&helper.lock);
}
