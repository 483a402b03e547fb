#define _GNU_SOURCE
#include "platform/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

/* Byte by byte: what follows the line belongs to whoever reads next. */
static bool read_line(int fd, size_t max, struct secret *out, struct err *e)
{
    uint8_t line[LINE_MAX_BYTES];
    size_t n = 0;
    bool ended = false, ok = false;
    if (max > sizeof line)
        max = sizeof line;
    while (!ended) {
        uint8_t byte;
        ssize_t got = read(fd, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 && n == 0) {
            (void)err_set(e, ERR_PERM, "input: no line to read");
            goto done;
        }
        if (got <= 0 || byte == '\n') {
            ended = true;
            if (got > 0 && n > 0 && line[n - 1] == '\r')
                n--;
        } else if (n == max) {
            (void)err_set(e, ERR_PERM, "input: the line is longer than %zu bytes", max);
            goto done;
        } else {
            line[n++] = byte;
        }
    }
    ok = secret_set(out, span_of(line, n)) || err_set(e, ERR_TEMP, "input: no memory");
done:
    secret_wipe_bytes(line, sizeof line);
    return ok;
}

bool terminal_read_line(size_t max, struct secret *out, struct err *e)
{
    return read_line(STDIN_FILENO, max, out, e);
}

bool terminal_read_password(const char *prompt, struct secret *out, struct err *e)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios before;
    if (fd < 0 || tcgetattr(fd, &before) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return err_set(e, ERR_PERM, "password: there is no terminal to ask on");
    }
    struct termios quiet = before;
    quiet.c_lflag &= (tcflag_t) ~(ECHO | ECHONL);
    sigset_t stop, old; /* Ctrl-C while the echo is off would leave it off */
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGINT);
    (void)sigaddset(&stop, SIGTSTP);
    (void)sigprocmask(SIG_BLOCK, &stop, &old);
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    bool ok = write(fd, prompt, strlen(prompt)) >= 0 && read_line(fd, LINE_MAX_BYTES, out, e);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    (void)!write(fd, "\n", 1);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    (void)close(fd);
    return ok;
}
