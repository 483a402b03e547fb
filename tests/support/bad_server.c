#define _GNU_SOURCE
#include "support/bad_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, DRIBBLE_MS = 50, FILLERS = 4 };

struct bad_server {
    enum bad_server_kind kind;
    struct span says;
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool stop;
    int fds[CONNECTIONS_MAX];
    size_t sent[CONNECTIONS_MAX], count;
    int fillers[FILLERS];
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void drop(struct bad_server *s, size_t i)
{
    (void)close(s->fds[i]);
    s->count--;
    s->fds[i] = s->fds[s->count];
    s->sent[i] = s->sent[s->count];
}

static void greet(struct bad_server *s, int fd)
{
    if (s->kind == BAD_SERVER_GARBAGE && s->says.n > 0)
        (void)!send(fd, s->says.p, s->says.n, MSG_NOSIGNAL);
    if (s->kind == BAD_SERVER_GARBAGE || s->kind == BAD_SERVER_CLOSE ||
        s->count == CONNECTIONS_MAX) {
        (void)close(fd);
        return;
    }
    s->sent[s->count] = 0;
    s->fds[s->count++] = fd;
}

static void *serve(void *context)
{
    struct bad_server *s = context;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = {.fd = s->listener, .events = POLLIN};
        if (poll(&p, 1, DRIBBLE_MS) > 0) {
            int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                greet(s, fd);
        }
        for (size_t i = 0; s->kind == BAD_SERVER_DRIBBLE && i < s->count;) {
            uint8_t byte = s->sent[i] < s->says.n ? s->says.p[s->sent[i]] : 0;
            if (send(s->fds[i], &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
                s->sent[i++]++;
            else
                drop(s, i);
        }
    }
    while (s->count > 0)
        drop(s, 0);
    return NULL;
}

/* The kernel takes one connection more than the backlog and drops what asks for more. */
static void fill(struct bad_server *s, const struct sockaddr_in *at)
{
    for (size_t i = 0; i < FILLERS; i++) {
        s->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        must(s->fillers[i] >= 0, "socket");
        (void)connect(s->fillers[i], (const struct sockaddr *)at, sizeof *at);
    }
}

struct bad_server *bad_server_start(enum bad_server_kind kind, struct span says)
{
    struct bad_server *s = calloc(1, sizeof *s);
    must(s != NULL, "calloc");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    s->kind = kind;
    s->says = says;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&at, sizeof at) == 0 &&
             listen(s->listener, kind == BAD_SERVER_FULL ? 0 : 64) == 0 &&
             getsockname(s->listener, (struct sockaddr *)&at, &n) == 0,
         "listen");
    s->port = ntohs(at.sin_port);
    if (kind == BAD_SERVER_FULL)
        fill(s, &at);
    else
        must((errno = pthread_create(&s->thread, NULL, serve, s)) == 0, "pthread_create");
    return s;
}

uint16_t bad_server_port(const struct bad_server *s)
{
    return s->port;
}

void bad_server_stop(struct bad_server **server)
{
    struct bad_server *s = *server;
    *server = NULL;
    if (s->kind == BAD_SERVER_FULL) {
        for (size_t i = 0; i < FILLERS; i++)
            (void)close(s->fillers[i]);
    } else {
        atomic_store(&s->stop, true);
        (void)pthread_join(s->thread, NULL);
    }
    (void)close(s->listener);
    free(s);
}
