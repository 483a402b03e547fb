#define _GNU_SOURCE /* accept4, pipe2 */
#include "platform/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool sock_start(struct err *e)
{
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return err_set(e, ERR_BUG, "SIGPIPE: cannot ignore: %s", strerror(errno));
    return true;
}

bool sock_address_from(const void *sockaddr, struct sock_address *out)
{
    sa_family_t family = ((const struct sockaddr *)sockaddr)->sa_family;
    *out = (struct sock_address){0};
    if (family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sockaddr, sizeof in);
        uint8_t four[4];
        memcpy(four, &in.sin_addr, 4);
        out->ip = netaddr_v4(four);
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sockaddr, sizeof in6);
        memcpy(out->ip.b, &in6.sin6_addr, 16);
        out->port = ntohs(in6.sin6_port);
        out->scope = in6.sin6_scope_id;
        return true;
    }
    return false;
}

size_t sock_address_to(const struct sock_address *a, void *sockaddr_storage)
{
    if (netaddr_is_v4(&a->ip)) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
        memcpy(&in.sin_addr, a->ip.b + 12, 4);
        memcpy(sockaddr_storage, &in, sizeof in);
        return sizeof in;
    }
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(a->port), .sin6_scope_id = a->scope};
    memcpy(&in6.sin6_addr, a->ip.b, 16);
    memcpy(sockaddr_storage, &in6, sizeof in6);
    return sizeof in6;
}

static bool tell_bound(int fd, struct sock_address *bound)
{
    if (bound == NULL)
        return true;
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    return getsockname(fd, (struct sockaddr *)&ss, &n) == 0 && sock_address_from(&ss, bound);
}

bool sock_listen(const struct sock_address *at, int backlog, intptr_t *out,
                 struct sock_address *bound, struct err *e)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = (socklen_t)sock_address_to(at, &ss);
    char text[SOCK_ADDRESS_TEXT_MAX];
    sock_address_format(at, text);
    const char *act = "make a socket";
    int one = 1;
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        goto fail;
    act = "set options";
    if (ss.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0)
        goto fail;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        goto fail;
    act = "bind";
    if (bind(fd, (const struct sockaddr *)&ss, n) != 0)
        goto fail;
    act = "listen";
    if (listen(fd, backlog) != 0 || !tell_bound(fd, bound))
        goto fail;
    *out = fd;
    return true;

fail:;
    int code = errno;
    if (fd >= 0)
        (void)close(fd);
    bool permanent = code == EACCES || code == EPERM || code == EADDRNOTAVAIL ||
                     code == EAFNOSUPPORT || code == EINVAL;
    return err_set(e, permanent ? ERR_PERM : ERR_TEMP, "listener %s: cannot %s: %s", text, act,
                   strerror(code));
}

bool sock_adopt(intptr_t listener, struct sock_address *bound, struct err *e)
{
    int fd = (int)listener;
    int listening = 0, type = 0;
    socklen_t n = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) != 0)
        return err_set(e, ERR_PERM, "descriptor %d: not a socket: %s", fd, strerror(errno));
    n = sizeof type;
    if (!listening || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM)
        return err_set(e, ERR_PERM, "descriptor %d: not a listening stream socket", fd);
    struct sock_address address;
    if (!tell_bound(fd, &address))
        return err_set(e, ERR_PERM, "descriptor %d: not a TCP socket", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_set(e, ERR_TEMP, "descriptor %d: cannot set flags: %s", fd, strerror(errno));
    if (bound != NULL)
        *bound = address;
    return true;
}

enum sock_accept_result sock_accept(intptr_t listener, intptr_t *out, struct sock_address *peer,
                                    struct sock_address *local)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    int fd = accept4((int)listener, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        switch (errno) {
        case EMFILE:
        case ENFILE: return SOCK_ACCEPT_NO_DESCRIPTORS;
        case ENOBUFS:
        case ENOMEM: return SOCK_ACCEPT_NO_MEMORY;
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
        case EOPNOTSUPP:
        case EFAULT: return SOCK_ACCEPT_FAILED;
        default: /* EAGAIN, ECONNABORTED, and on Linux the errors of the network, accept(2) */
            return SOCK_ACCEPT_NOTHING;
        }
    }
    if (!sock_address_from(&ss, peer) || !tell_bound(fd, local)) {
        (void)close(fd);
        return SOCK_ACCEPT_NOTHING;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *out = fd;
    return SOCK_ACCEPTED;
}

size_t sock_poll(struct sock_poll *entries, size_t n, int timeout_ms)
{
    enum { ON_STACK = 64 };
    struct pollfd few[ON_STACK], *fds = few;
    if (n > ON_STACK) {
        fds = calloc(n, sizeof *fds);
        if (fds == NULL) { /* rather late than never: look at the first ones */
            fds = few;
            n = ON_STACK;
        }
    }
    for (size_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = (int)entries[i].sock, .events = POLLIN};
        entries[i].ready = false;
    }
    int found = poll(fds, (nfds_t)n, timeout_ms);
    size_t ready = 0;
    for (size_t i = 0; found > 0 && i < n; i++) {
        entries[i].ready = fds[i].fd >= 0 && fds[i].revents != 0;
        ready += entries[i].ready;
    }
    if (fds != few)
        free(fds);
    return ready;
}

bool sock_waker_open(struct sock_waker *w, struct err *e)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_set(e, ERR_TEMP, "waker: cannot make a pipe: %s", strerror(errno));
    w->waiting = fds[0];
    w->waking = fds[1];
    return true;
}

void sock_waker_wake(const struct sock_waker *w)
{
    /* A full pipe already wakes. */
    while (write((int)w->waking, "", 1) < 0 && errno == EINTR)
        ;
}

void sock_waker_drain(const struct sock_waker *w)
{
    char some[256];
    ssize_t n;
    do {
        n = read((int)w->waiting, some, sizeof some);
    } while (n == (ssize_t)sizeof some || (n < 0 && errno == EINTR));
}

void sock_waker_close(struct sock_waker *w)
{
    sock_close(&w->waiting);
    sock_close(&w->waking);
}

size_t sock_send_now(intptr_t sock, struct span bytes)
{
    ssize_t n;
    do {
        n = send((int)sock, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n;
}

void sock_shutdown_send(intptr_t sock)
{
    (void)shutdown((int)sock, SHUT_WR);
}

bool sock_drop_input(intptr_t sock, size_t *dropped)
{
    char some[4096];
    for (int i = 0; i < 16; i++) { /* a fast sender must not hold the thread */
        ssize_t n = recv((int)sock, some, sizeof some, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        if (n == 0)
            return false;
        *dropped += (size_t)n;
    }
    return true;
}

void sock_close(intptr_t *sock)
{
    if (*sock != SOCK_NONE)
        (void)close((int)*sock);
    *sock = SOCK_NONE;
}

intptr_t sock_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool sock_interface_addresses(struct netaddr **out, size_t *n, struct err *e)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return err_set(e, ERR_TEMP, "interfaces: cannot list: %s", strerror(errno));
    size_t count = 0;
    for (struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
        count++;
    struct netaddr *list = calloc(count + 1, sizeof *list);
    if (list == NULL) {
        freeifaddrs(all);
        return err_set(e, ERR_TEMP, "interfaces: no memory");
    }
    size_t used = 0;
    for (struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        struct sock_address a;
        if (i->ifa_addr != NULL && sock_address_from(i->ifa_addr, &a))
            list[used++] = a.ip;
    }
    freeifaddrs(all);
    *out = list;
    *n = used;
    return true;
}
