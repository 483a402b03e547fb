/* platform/local_account.h over the account helper: a connection for each question, so that one
 * that is late or dead harms no other. */
#define _GNU_SOURCE /* struct ucred */
#include "platform/local_account.h"

#include "base/account_protocol.h"
#include "base/secret.h"
#include "platform/clock.h"
#include "posix/account_helper.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_DEFAULT_MS = 5000, AGAIN_MS = 10 };

struct local_accounts {
    char *service;
    char *name;                /* with {domain} and {user} */
    struct sockaddr_un helper; /* sun_path "": our own */
    uint32_t deadline_ms;
};

static const char default_name[] = "{domain}\\{user}";

/* How names of that domain are written, with {user}: what the helper is told. */
static bool form_of(const struct local_accounts *l, const char *domain, char *out, size_t size)
{
    static const char key[] = "{domain}";
    const char *at = strstr(l->name, key);
    if (domain == NULL || domain[0] == '\0')
        return span_cstr(span_of(NULL, 0), out, size);
    if (at == NULL)
        return span_cstr(span_str(l->name), out, size);
    int n =
        snprintf(out, size, "%.*s%s%s", (int)(at - l->name), l->name, domain, at + sizeof key - 1);
    return n > 0 && (size_t)n < size;
}

bool local_accounts_open(const struct local_accounts_options *o, struct local_accounts **out,
                         struct err *e)
{
    struct local_accounts *l = calloc(1, sizeof *l);
    const char *helper = o->helper == NULL ? "" : o->helper;
    const char *name = o->name == NULL || o->name[0] == '\0' ? default_name : o->name;
    if (l == NULL || (l->service = strdup(o->service)) == NULL ||
        (l->name = strdup(name)) == NULL) {
        local_accounts_close(&l);
        return err_set(e, ERR_TEMP, "accounts of the machine: no memory");
    }
    l->helper.sun_family = AF_UNIX;
    l->deadline_ms = o->deadline_ms == 0 ? DEADLINE_DEFAULT_MS : o->deadline_ms;
    if (strlen(helper) >= sizeof l->helper.sun_path) {
        local_accounts_close(&l);
        return err_set(e, ERR_PERM, "helper: a socket's path has at most %zu bytes",
                       sizeof l->helper.sun_path - 1);
    }
    memcpy(l->helper.sun_path, helper, strlen(helper));
    *out = l;
    return true;
}

void local_accounts_close(struct local_accounts **l)
{
    if (*l != NULL) {
        free((*l)->service);
        free((*l)->name);
    }
    free(*l);
    *l = NULL;
}

/* ---- one question ---- */

/* Whoever listens there gets passwords: root, or ourselves. */
static bool is_trusted(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && n == sizeof peer &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static bool connect_path(const struct local_accounts *l, int *out, struct err *e)
{
    const char *path = l->helper.sun_path;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(e, ERR_TEMP, "helper %s: no socket: %s", path, strerror(errno));
    bool ok = connect(fd, (const struct sockaddr *)&l->helper, sizeof l->helper) == 0;
    if (!ok) /* EAGAIN: its backlog is full */
        (void)err_set(e, errno == EAGAIN ? ERR_TEMP : ERR_PERM, "helper %s: cannot connect: %s",
                      path, strerror(errno));
    else if (!(ok = is_trusted(fd)))
        (void)err_set(e, ERR_PERM, "helper %s: it runs neither as root nor as this user", path);
    if (ok)
        *out = fd;
    else
        (void)close(fd);
    return ok;
}

static bool connect_helper(const struct local_accounts *l, uint64_t until_ms, int *fd,
                           struct err *e)
{
    const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
    for (;;) {
        bool ok =
            l->helper.sun_path[0] != '\0' ? connect_path(l, fd, e) : account_helper_connect(fd, e);
        if (ok || e->class != ERR_TEMP || clock_monotonic_ms() + AGAIN_MS >= until_ms)
            return ok;
        (void)nanosleep(&pause, NULL);
    }
}

static bool wait_for(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        struct pollfd p = {.fd = fd, .events = events};
        if (now >= until_ms)
            return false;
        int n = poll(&p, 1, (int)(until_ms - now));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static bool send_all(int fd, struct span bytes, uint64_t until_ms)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0)
            bytes = span_from(bytes, (size_t)n);
        else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLOUT, until_ms)))
            return false;
    }
    return true;
}

enum heard { HEARD, HEARD_NOTHING, HEARD_END, HEARD_NONSENSE };

static enum heard hear(int fd, uint8_t *room, size_t size, uint64_t until_ms,
                       struct account_answer *a)
{
    for (size_t got = 0;;) {
        if (!wait_for(fd, POLLIN, until_ms))
            return HEARD_NOTHING;
        ssize_t n = recv(fd, room + got, size - got, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return HEARD_END;
        got += n < 0 ? 0 : (size_t)n;
        switch (account_answer_parse(span_of(room, got), LOCAL_ACCOUNT_RESULTS, a)) {
        case ACCOUNT_PARSED_WHOLE: return HEARD;
        case ACCOUNT_PARSED_WRONG: return HEARD_NONSENSE;
        case ACCOUNT_PARSED_MORE: break;
        }
    }
}

/* The whole exchange; *a points into room. Wipes what it sent. */
static bool ask(const struct local_accounts *l, struct account_question *q, uint8_t *room,
                size_t size, struct account_answer *a, struct err *e)
{
    uint64_t until_ms = clock_monotonic_ms() + l->deadline_ms;
    uint8_t out[ACCOUNT_QUESTION_MAX];
    int fd = -1;
    q->service = span_str(l->service);
    q->deadline_ms = l->deadline_ms - l->deadline_ms / 10; /* its "too late" comes before ours */
    size_t n = account_question_format(q, out, sizeof out);
    if (n == 0)
        return err_set(e, ERR_PERM, "the question does not fit the helper's protocol");
    enum heard heard = HEARD_END;
    bool connected = connect_helper(l, until_ms, &fd, e);
    if (connected && send_all(fd, span_of(out, n), until_ms))
        heard = hear(fd, room, size, until_ms, a);
    secret_wipe_bytes(out, n);
    if (!connected)
        return false;
    (void)close(fd);
    switch (heard) {
    case HEARD: return true;
    case HEARD_NOTHING:
        return err_set(e, ERR_TEMP, "the account helper did not answer within %u ms",
                       (unsigned)l->deadline_ms);
    case HEARD_END: return err_set(e, ERR_TEMP, "the account helper hung up without an answer");
    case HEARD_NONSENSE: break;
    }
    return err_set(e, ERR_TEMP, "the account helper's answer is malformed");
}

static enum local_account_result put_question(struct local_accounts *l, enum account_act act,
                                              const struct local_account_question *from,
                                              struct span password,
                                              char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    char form[ACCOUNT_NAME_MAX + 1];
    bool fits = form_of(l, from->domain, form, sizeof form);
    struct account_question q = {.act = act,
                                 .domain = span_str(form),
                                 .account = span_str(from->account),
                                 .password = password};
    struct account_answer a;
    struct err e = {0};
    uint8_t room[ACCOUNT_ANSWER_MAX + 1];
    text[0] = '\0';
    if (from->group_count > ACCOUNT_GROUPS_MAX) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "more than %d groups", ACCOUNT_GROUPS_MAX);
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    for (; q.group_count < from->group_count; q.group_count++)
        q.groups[q.group_count] = span_str(from->groups[q.group_count]);
    /* What no account and no password of ours can be; it needs no helper to say so. */
    if (!fits || q.account.n > ACCOUNT_NAME_MAX || password.n > ACCOUNT_PASSWORD_MAX) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "the name or the password is too long");
        return LOCAL_ACCOUNT_BAD_PASSWORD;
    }
    if (!ask(l, &q, room, sizeof room, &a, &e)) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%.150s", e.text);
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%.*s", SPAN_ARG(a.text));
    return (enum local_account_result)a.result;
}

enum local_account_result local_accounts_verify(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                struct span password,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    return put_question(l, ACCOUNT_VERIFY, q, password, text);
}

enum local_account_result local_accounts_member(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    return put_question(l, ACCOUNT_MEMBER, q, span_of(NULL, 0), text);
}

bool local_accounts_ready(struct local_accounts *l, char reason[LOCAL_ACCOUNT_TEXT_MAX],
                          char cure[LOCAL_ACCOUNT_TEXT_MAX])
{
    struct account_question q = {.act = ACCOUNT_READY};
    struct account_answer a;
    struct err e = {0};
    uint8_t room[ACCOUNT_ANSWER_MAX + 1];
    bool own = l->helper.sun_path[0] == '\0';
    reason[0] = cure[0] = '\0';
    if (!ask(l, &q, room, sizeof room, &a, &e)) {
        (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX, "%.150s", e.text);
        (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX, "%s",
                       own ? "see the lines accounts.helper in the log; restart the service"
                           : "systemctl status postern-accounts.socket; its --allow-user must "
                             "name the service's user");
        return false;
    }
    if (a.result == LOCAL_ACCOUNT_OK)
        return true;
    size_t cut = span_find(a.text, 0);
    struct span first = span_sub(a.text, 0, cut), second = span_from(a.text, cut + 1);
    (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX, "%.*s", SPAN_ARG(first));
    (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX, "%.*s", SPAN_ARG(second));
    return false;
}
