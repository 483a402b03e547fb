#define _GNU_SOURCE
#include "posix/systemctl.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Reads on when the buffer is full, so that the other end is never kept waiting. */
static void drain(int fd, struct buf *said)
{
    char piece[4096];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        (void)buf_add(said, (struct span){(const uint8_t *)piece, (size_t)n});
    }
}

static int spawn(const char *const *argv, int to, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    int code = posix_spawn_file_actions_init(&files);
    if (code != 0)
        return code;
    code = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (code == 0)
        code = posix_spawn_file_actions_adddup2(&files, to, 1);
    if (code == 0)
        code = posix_spawn_file_actions_adddup2(&files, to, 2);
    if (code == 0)
        code = posix_spawnp(pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    return code;
}

bool systemctl_run(const char *const *argv, struct buf *said, int *code, struct err *e)
{
    int ends[2], status = 0;
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(e, ERR_TEMP, "%s: no pipe for it: %s", argv[0], strerror(errno));
    int failed = spawn(argv, ends[1], &pid);
    (void)close(ends[1]);
    if (failed == 0)
        drain(ends[0], said);
    (void)close(ends[0]);
    if (failed != 0)
        return err_set(e, ERR_TEMP, "%s: cannot be run: %s", argv[0], strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, ERR_TEMP, "%s: waitpid: %s", argv[0], strerror(errno));
    if (!WIFEXITED(status))
        return err_set(e, ERR_TEMP, "%s: ended by signal %d", argv[0], WTERMSIG(status));
    *code = WEXITSTATUS(status);
    return true;
}

/* One line of it, for an error's text. */
static void in_one_line(struct buf *said)
{
    for (size_t i = 0; i < said->n; i++)
        if (said->p[said->start + i] == '\n')
            said->p[said->start + i] = ' ';
}

bool systemctl_do(const char *const *argv, struct err *e)
{
    struct buf said;
    int code = 0;
    buf_init(&said, 4096);
    bool ok = systemctl_run(argv, &said, &code, e);
    if (ok && code != 0) {
        in_one_line(&said);
        ok = err_set(e, ERR_TEMP, "%s %s: exit code %d: %s", argv[0],
                     argv[1] == NULL ? "" : argv[1], code, buf_cstr(&said));
    }
    buf_deinit(&said);
    return ok;
}
