#define _GNU_SOURCE /* posix_spawn_file_actions_addclosefrom_np */
#include "posix/ntlm_process.h"

#include "base/base64.h"
#include "base/secret.h"
#include "platform/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENVIRONMENT_MAX = 16, ENVIRONMENT_BYTES = 4096 };

/* What a helper may know of our environment. */
static const char *const passed_on[] = {
    "KRB5_CONFIG", "KRB5_KTNAME", "KRB5CCNAME", "TMPDIR", "TZ", "WINBINDD_SOCKET_DIR",
};

static bool make_environment(char *memory, size_t size, char **environment)
{
    size_t used = 0, count = 0;
    static const char *const fixed[] = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        environment[count++] = memory + used;
        used += (size_t)snprintf(memory + used, size - used, "%s", fixed[i]) + 1;
    }
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++) {
        const char *value = getenv(passed_on[i]);
        if (value == NULL)
            continue;
        size_t n = strlen(passed_on[i]) + strlen(value) + 2;
        if (n > size - used)
            return false;
        environment[count++] = memory + used;
        used += (size_t)snprintf(memory + used, size - used, "%s=%s", passed_on[i], value) + 1;
    }
    environment[count] = NULL;
    return true;
}

static bool prepare(posix_spawn_file_actions_t *files, posix_spawnattr_t *how, int fd)
{
    sigset_t all, none;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    const short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP;
    return posix_spawn_file_actions_adddup2(files, fd, 0) == 0 &&
           posix_spawn_file_actions_adddup2(files, fd, 1) == 0 &&
           posix_spawn_file_actions_addopen(files, 2, "/dev/null", O_WRONLY, 0) == 0 &&
           posix_spawn_file_actions_addclosefrom_np(files, 3) == 0 &&
           posix_spawnattr_setsigdefault(how, &all) == 0 &&
           posix_spawnattr_setsigmask(how, &none) == 0 && posix_spawnattr_setpgroup(how, 0) == 0 &&
           posix_spawnattr_setflags(how, flags) == 0;
}

bool ntlm_process_start(struct ntlm_process *p, char *const *argv, struct err *e)
{
    int ends[2];
    char memory[ENVIRONMENT_BYTES], *environment[ENVIRONMENT_MAX];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    *p = (struct ntlm_process){.pid = 0, .fd = -1};
    if (!make_environment(memory, sizeof memory, environment))
        return err_set(e, ERR_PERM, "%.80s: the environment is too long", argv[0]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return err_set(e, ERR_TEMP, "%.80s: no sockets for it: %s", argv[0], strerror(errno));
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&how);
    pid_t pid = 0;
    int code = fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 && prepare(&files, &how, ends[1])
                   ? posix_spawn(&pid, argv[0], &files, &how, argv, environment)
                   : ENOMEM;
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&how);
    (void)close(ends[1]);
    if (code != 0) {
        (void)close(ends[0]);
        return err_set(e, ERR_TEMP, "%.80s: cannot start: %s", argv[0], strerror(code));
    }
    *p = (struct ntlm_process){.pid = pid, .fd = ends[0]};
    return true;
}

static void close_end(struct ntlm_process *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    *p = (struct ntlm_process){.pid = 0, .fd = -1};
}

void ntlm_process_stop(struct ntlm_process *p)
{
    if (p->pid > 0) {
        (void)kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    close_end(p);
}

bool ntlm_process_alive(struct ntlm_process *p)
{
    if (p->pid > 0 && waitpid(p->pid, NULL, WNOHANG) == 0)
        return true;
    close_end(p);
    return false;
}

/* False when nothing happens until then. */
static bool wait_for(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        struct pollfd one = {.fd = fd, .events = events};
        int n = now >= until_ms ? 0 : poll(&one, 1, (int)(until_ms - now));
        if (n != 0 && !(n < 0 && errno == EINTR))
            return n > 0;
        if (n == 0)
            return false;
    }
}

static bool silent(struct err *e)
{
    return err_set(e, ERR_TEMP, "ntlm_auth does not answer in time");
}

static bool send_all(int fd, struct span bytes, uint64_t until_ms, struct err *e)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0)
            bytes = span_from(bytes, (size_t)n);
        else if (n < 0 && errno == EAGAIN) {
            if (!wait_for(fd, POLLOUT, until_ms))
                return silent(e);
        } else if (n < 0 && errno != EINTR) {
            return err_set(e, ERR_TEMP, "ntlm_auth has gone: %s", strerror(errno));
        }
    }
    return true;
}

static bool read_line(int fd, uint64_t until_ms, struct buf *line, struct err *e)
{
    for (;;) {
        uint8_t *room = buf_room(line, 4096);
        if (room == NULL)
            return err_set(e, ERR_TEMP, "ntlm_auth says a line that does not end");
        ssize_t n = recv(fd, room, 4096, 0);
        if (n > 0) {
            buf_grew(line, (size_t)n);
            struct span all = buf_span(line);
            size_t end = span_find(all, '\n');
            if (end == all.n)
                continue;
            /* It speaks only when it is asked: what stands behind its line is none of the talk. */
            if (end + 1 < all.n)
                return err_set(e, ERR_TEMP, "ntlm_auth says more than one line");
            line->n = end; /* keeps the memory */
            return true;
        }
        if (n == 0)
            return err_set(e, ERR_TEMP, "ntlm_auth has gone");
        if (errno == EAGAIN && !wait_for(fd, POLLIN, until_ms))
            return silent(e);
        if (errno != EAGAIN && errno != EINTR)
            return err_set(e, ERR_TEMP, "ntlm_auth has gone: %s", strerror(errno));
    }
}

bool ntlm_process_ask(struct ntlm_process *p, const char *verb, struct span token, int timeout_ms,
                      struct buf *line, struct err *e)
{
    uint64_t until_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    struct buf request;
    buf_init(&request, line->max);
    buf_reset(line);
    bool ok = (buf_add_str(&request, verb) && buf_add_byte(&request, ' ') &&
               base64_encode(token, &request) && buf_add_byte(&request, '\n')) ||
              err_set(e, ERR_TEMP, "the token is too long");
    ok = ok && send_all(p->fd, buf_span(&request), until_ms, e) &&
         read_line(p->fd, until_ms, line, e);
    if (request.p != NULL) /* a response to a challenge can be guessed at */
        secret_wipe_bytes(request.p, request.cap);
    buf_deinit(&request);
    return ok;
}
