#define _GNU_SOURCE /* accept4, struct ucred, POLLRDHUP */
#include "posix/helper/server.h"

#include "base/log.h"
#include "base/secret.h"
#include "posix/helper/ready.h"
#include "posix/helper/server_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REAP_MS = 10, ACCEPT_PAUSE_MS = 100, PASSED_MAX = 4, IDLE_MS = 60000 };

uint64_t server_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void drop(struct connection *c)
{
    (void)close(c->fd);
    secret_wipe_bytes(c->in, sizeof c->in);
    *c = (struct connection){.fd = -1};
}

void server_answer(struct server *s, struct connection *c, enum local_account_result result,
                   struct span text)
{
    (void)s;
    uint8_t out[ACCOUNT_ANSWER_MAX];
    const struct account_answer a = {.result = (uint8_t)result, .text = text};
    size_t n = account_answer_format(&a, out, sizeof out);
    /* A fresh socket takes it whole; a peer that has gone needs none. */
    (void)send(c->fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    drop(c);
}

/* ---- who comes in ---- */

static bool may_ask(const struct server *s, int fd)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 || n != sizeof peer)
        return false;
    bool may = peer.uid == 0 || peer.uid == geteuid();
    for (size_t i = 0; i < s->options->uid_count; i++)
        may = may || peer.uid == s->options->uids[i];
    if (!may)
        log_event(LOG_WARN, "accounts.peer.refused", LOG_U("uid", peer.uid),
                  LOG_I("pid", peer.pid));
    return may;
}

static bool is_unix_stream(int fd)
{
    int domain = 0, type = 0;
    socklen_t n = sizeof domain, m = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &m) == 0 && domain == AF_UNIX &&
           type == SOCK_STREAM;
}

static struct connection *free_connection(struct server *s)
{
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++)
        if (s->connections[i].fd < 0)
            return &s->connections[i];
    return NULL;
}

static void welcome(struct server *s, int fd)
{
    struct connection *c = free_connection(s);
    if (c == NULL || !is_unix_stream(fd) || !may_ask(s, fd)) {
        (void)close(fd);
        return;
    }
    c->fd = fd;
    c->until_ms = server_now_ms() + SERVER_READ_MS;
}

static void accept_one(struct server *s)
{
    int fd = accept4(s->options->socket, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        welcome(s, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        s->pause_until_ms = server_now_ms() + ACCEPT_PAUSE_MS;
}

/* One datagram with one descriptor. False: the service has ended. */
static bool receive_one(struct server *s)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(PASSED_MAX * sizeof(int))];
    } control;
    char byte;
    struct iovec v = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(s->options->socket, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
        s->pause_until_ms = server_now_ms() + ACCEPT_PAUSE_MS;
        return true;
    }
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (count == 1)
                welcome(s, fd);
            else
                (void)close(fd);
        }
    }
    return n > 0;
}

/* ---- questions ---- */

static void answer_ready(struct server *s, struct connection *c, struct span service)
{
    char reason[LOCAL_ACCOUNT_TEXT_MAX], cure[LOCAL_ACCOUNT_TEXT_MAX];
    char both[2 * LOCAL_ACCOUNT_TEXT_MAX];
    if (ready_look(s->options->pam_directory, service, reason, cure)) {
        server_answer(s, c, LOCAL_ACCOUNT_OK, span_str(""));
        return;
    }
    size_t n = strlen(reason) + 1, m = strlen(cure);
    memcpy(both, reason, n);
    memcpy(both + n, cure, m);
    server_answer(s, c, LOCAL_ACCOUNT_UNAVAILABLE, span_of(both, n + m));
}

static uint32_t clamp_deadline(uint32_t ms)
{
    return ms < SERVER_DEADLINE_LEAST_MS  ? SERVER_DEADLINE_LEAST_MS
           : ms > SERVER_DEADLINE_MOST_MS ? SERVER_DEADLINE_MOST_MS
                                          : ms;
}

/* A question that has just become whole: answered, refused, or waiting for a place. */
static void question(struct server *s, struct connection *c, struct account_question *q)
{
    uint64_t now = server_now_ms();
    if (q->act == ACCOUNT_READY) {
        answer_ready(s, c, q->service);
        return;
    }
    if (!limits_take(&s->limits, q, now, &c->key)) {
        log_event(LOG_WARN, "accounts.check.limited", LOG_SPAN("account", q->account));
        server_answer(s, c, LOCAL_ACCOUNT_BUSY,
                      span_str("asked too often just now; nothing was checked"));
        return;
    }
    c->whole = true;
    c->until_ms = now + clamp_deadline(q->deadline_ms);
    q->deadline_ms = clamp_deadline(q->deadline_ms);
    (void)children_start(s, c, q);
}

static void read_question(struct server *s, struct connection *c)
{
    struct account_question q;
    ssize_t n = recv(c->fd, c->in + c->n, sizeof c->in - c->n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(c);
        return;
    }
    c->n += (size_t)n;
    switch (account_question_parse(span_of(c->in, c->n), &q)) {
    case ACCOUNT_PARSED_WHOLE: question(s, c, &q); return;
    case ACCOUNT_PARSED_MORE: return;
    case ACCOUNT_PARSED_WRONG: drop(c); return; /* it does not speak our language */
    }
}

/* The peer of a question under way has gone: nobody wants the answer. Its guess stays spent, else
 * hanging up before the answer would be free. */
static void gone(struct server *s, struct connection *c)
{
    children_forget(s, c);
    drop(c);
}

static void expire(struct server *s, uint64_t now_ms)
{
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];
        if (c->fd < 0 || c->checking || now_ms < c->until_ms)
            continue;
        if (c->whole)
            server_answer(s, c, LOCAL_ACCOUNT_UNAVAILABLE, span_str("too many checks wait"));
        else
            drop(c);
    }
}

/* Those that wait for a place, the one whose time ends first before the others. */
static void start_waiting(struct server *s)
{
    for (;;) {
        struct connection *next = NULL;
        struct account_question q;
        for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
            struct connection *c = &s->connections[i];
            if (c->fd >= 0 && c->whole && !c->checking &&
                (next == NULL || c->until_ms < next->until_ms))
                next = c;
        }
        if (next == NULL ||
            account_question_parse(span_of(next->in, next->n), &q) != ACCOUNT_PARSED_WHOLE)
            return;
        q.deadline_ms = clamp_deadline(q.deadline_ms);
        if (!children_start(s, next, &q))
            return;
    }
}

/* ---- the loop ---- */

struct polled {
    struct pollfd fds[1 + SERVER_CONNECTIONS_MAX + SERVER_CHECKS_MAX];
    uint64_t until_ms;
};

static void earliest(struct polled *p, uint64_t at_ms)
{
    if (at_ms < p->until_ms)
        p->until_ms = at_ms;
}

static void gather(struct server *s, struct polled *p, uint64_t now_ms)
{
    bool room = free_connection(s) != NULL && now_ms >= s->pause_until_ms;
    p->until_ms = now_ms + IDLE_MS;
    if (s->pause_until_ms > now_ms)
        earliest(p, s->pause_until_ms);
    p->fds[0] = (struct pollfd){.fd = room ? s->options->socket : -1, .events = POLLIN};
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        const struct connection *c = &s->connections[i];
        p->fds[1 + i] = (struct pollfd){
            .fd = c->fd, .events = c->whole ? POLLRDHUP : (short)(POLLIN | POLLRDHUP)};
        if (c->fd >= 0 && !c->checking)
            earliest(p, c->until_ms);
    }
    if (s->strays)
        earliest(p, now_ms + REAP_MS);
    for (size_t i = 0; i < SERVER_CHECKS_MAX; i++) {
        const struct child *ch = &s->children[i];
        p->fds[1 + SERVER_CONNECTIONS_MAX + i] =
            (struct pollfd){.fd = ch->pid == 0 ? -1 : ch->pipe, .events = POLLIN};
        if (ch->pid != 0)
            earliest(p, ch->pipe < 0 ? now_ms + REAP_MS : ch->until_ms);
    }
}

static bool turn(struct server *s, struct polled *p)
{
    uint64_t now = server_now_ms();
    gather(s, p, now);
    int wait = p->until_ms <= now ? 0 : (int)(p->until_ms - now);
    if (poll(p->fds, sizeof p->fds / sizeof *p->fds, wait) < 0)
        return errno == EINTR;
    for (size_t i = 0; i < SERVER_CHECKS_MAX; i++)
        if (p->fds[1 + SERVER_CONNECTIONS_MAX + i].revents != 0)
            children_read(s, &s->children[i]);
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];
        if (p->fds[1 + i].revents == 0 || c->fd != p->fds[1 + i].fd)
            continue; /* answered just now */
        if (c->whole)
            gone(s, c);
        else
            read_question(s, c);
    }
    now = server_now_ms();
    children_watch(s, now);
    expire(s, now);
    start_waiting(s);
    if (p->fds[0].revents == 0)
        return true;
    if (s->options->channel)
        return receive_one(s);
    accept_one(s);
    return true;
}

int server_run(const struct server_options *options)
{
    struct server *s = calloc(1, sizeof *s);
    struct polled *p = calloc(1, sizeof *p);
    if (s == NULL || p == NULL || getrandom(&s->limits.seed, sizeof s->limits.seed, 0) < 0) {
        free(s);
        free(p);
        return 1;
    }
    s->options = options;
    s->limits.all_rate = options->all_rate;
    s->limits.account_rate = options->account_rate;
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++)
        s->connections[i].fd = -1;
    for (size_t i = 0; i < SERVER_CHECKS_MAX; i++)
        s->children[i].pipe = -1;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    while (turn(s, p))
        continue;
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++)
        if (s->connections[i].fd >= 0)
            gone(s, &s->connections[i]);
    free(s);
    free(p);
    return 0;
}
