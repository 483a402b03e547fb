#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "posix/dial.h"

#include "platform/clock.h"
#include "posix/dial_lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

uint64_t dial_share(uint64_t deadline_ms, size_t left)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t rest = deadline_ms > now ? deadline_ms - now : 0;
    uint64_t share = left > 1 ? rest / left : rest;
    return now + (share > 0 ? share : 1);
}

bool dial_wait(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        if (now >= deadline_ms)
            return false;
        struct pollfd p = {.fd = fd, .events = events};
        uint64_t left = deadline_ms - now;
        int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return true; /* the call that follows will say what it is */
    }
}

bool dial_send(int fd, struct span bytes, uint64_t deadline_ms, struct err *e)
{
    while (bytes.n > 0) {
        if (!dial_wait(fd, POLLOUT, deadline_ms))
            return err_set(e, ERR_TEMP, "no answer in time");
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0)
            bytes = span_from(bytes, (size_t)n);
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(e, ERR_TEMP, "%s", strerror(errno));
    }
    return true;
}

bool dial_receive(int fd, void *out, size_t n, uint64_t deadline_ms, struct err *e)
{
    uint8_t *to = out;
    while (n > 0) {
        if (!dial_wait(fd, POLLIN, deadline_ms))
            return err_set(e, ERR_TEMP, "no answer in time");
        ssize_t got = recv(fd, to, n, 0);
        if (got == 0)
            return err_set(e, ERR_TEMP, "closed the connection without an answer");
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(e, ERR_TEMP, "%s", strerror(errno));
        if (got > 0) {
            to += got;
            n -= (size_t)got;
        }
    }
    return true;
}

static bool connect_one(const struct sockaddr_storage *address, uint64_t deadline_ms, int *out,
                        int *cause)
{
    bool v6 = address->ss_family == AF_INET6;
    socklen_t size = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        *cause = errno;
        return false;
    }
    const int on = 1; /* small questions, each waited for */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *cause = 0;
    if (connect(fd, (const struct sockaddr *)address, size) != 0) {
        *cause = errno;
        if (*cause == EINPROGRESS || *cause == EINTR) {
            socklen_t n = sizeof *cause;
            if (!dial_wait(fd, POLLOUT, deadline_ms))
                *cause = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, cause, &n) != 0)
                *cause = errno;
        }
    }
    if (*cause == 0) {
        *out = fd;
        return true;
    }
    (void)close(fd);
    return false;
}

bool dial_tcp(struct dialer *d, const char *host, uint16_t port, uint64_t deadline_ms, int *fd,
              struct err *e)
{
    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX];
    size_t n;
    if (!dial_addresses(d, host, port, deadline_ms, addresses, &n, e))
        return err_wrap(e, "%.100s:%u", host, (unsigned)port);
    int cause = 0;
    for (size_t i = 0; i < n; i++)
        if (connect_one(&addresses[i], dial_share(deadline_ms, n - i), fd, &cause))
            return true;
    return err_set(e, ERR_TEMP, "%.100s:%u: cannot connect: %s", host, (unsigned)port,
                   strerror(cause));
}
