#define _GNU_SOURCE /* pipe2, close_range */
#include "posix/helper/server_parts.h"

#include "base/log.h"
#include "base/secret.h"
#include "posix/helper/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A check's word to the server: how many hashes were counted (a byte), and the answer; less than
 * what a pipe takes in one piece. */
enum { CHILD_PIPE = 3, CHILD_SPARE_S = 2, CHILD_ANSWER_MAX = 1 + ACCOUNT_ANSWER_MAX };

/* In the child, from here to _exit. */
static void become_child(int pipe, pid_t parent, uint32_t deadline_ms)
{
    (void)setpgid(0, 0); /* with all that a module starts */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    (void)signal(SIGCHLD, SIG_DFL); /* modules wait for their own children */
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    (void)alarm(deadline_ms / 1000 + CHILD_SPARE_S); /* should the server be stuck */
    if (pipe != CHILD_PIPE && dup2(pipe, CHILD_PIPE) < 0)
        _exit(1);
    (void)fcntl(CHILD_PIPE, F_SETFD, FD_CLOEXEC);
    (void)close_range(CHILD_PIPE + 1, ~0U, 0);
}

NO_RETURN static void check_and_exit(struct server *s, struct connection *c,
                                     const struct account_question *q)
{
    char text[LOCAL_ACCOUNT_TEXT_MAX] = "";
    uint8_t out[CHILD_ANSWER_MAX];
    unsigned hashes = 0;
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) /* others' secrets are none of its */
        if (&s->connections[i] != c)
            secret_wipe_bytes(s->connections[i].in, s->connections[i].n);
    const struct check_options options = {.pam_directory = s->options->pam_directory,
                                          .decoy = s->scheme.setting,
                                          .decoy_hashes = shadow_hashes(&s->scheme),
                                          .count = shadow_wants_count(&s->scheme)};
    enum local_account_result result = check_answer(&options, q, &hashes, text);
    secret_wipe_bytes(c->in, sizeof c->in);
    const struct account_answer a = {.result = (uint8_t)result, .text = span_str(text)};
    out[0] = (uint8_t)hashes;
    size_t n = 1 + account_answer_format(&a, out + 1, sizeof out - 1);
    _exit(write(CHILD_PIPE, out, n) == (ssize_t)n ? 0 : 1);
}

static struct child *free_child(struct server *s)
{
    for (size_t i = 0; i < s->options->checks; i++)
        if (s->children[i].pid == 0)
            return &s->children[i];
    return NULL;
}

bool children_start(struct server *s, struct connection *c, const struct account_question *q)
{
    struct child *ch = free_child(s);
    int ends[2];
    if (ch == NULL)
        return false;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        server_answer(s, c, LOCAL_ACCOUNT_UNAVAILABLE, span_str("the helper has no descriptors"));
        return true;
    }
    (void)shadow_setting(&s->scheme);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become_child(ends[1], parent, q->deadline_ms);
        check_and_exit(s, c, q);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        server_answer(s, c, LOCAL_ACCOUNT_UNAVAILABLE, span_str("the helper cannot fork"));
        return true;
    }
    (void)setpgid(pid, pid); /* whichever of the two comes first */
    *ch = (struct child){.pid = pid, .pipe = ends[0], .connection = c, .until_ms = c->until_ms};
    secret_wipe_bytes(c->in, sizeof c->in);
    c->n = 0;
    c->checking = true;
    return true;
}

static void end(struct child *ch)
{
    if (ch->pipe >= 0)
        (void)close(ch->pipe);
    ch->pipe = -1;
    ch->connection = NULL;
}

/* What spends a guess: the password was looked at and did not do. */
static bool is_wrong(enum local_account_result result)
{
    return result == LOCAL_ACCOUNT_BAD_PASSWORD || result == LOCAL_ACCOUNT_NO_ACCOUNT ||
           result == LOCAL_ACCOUNT_DISABLED || result == LOCAL_ACCOUNT_GUEST;
}

void children_read(struct server *s, struct child *ch)
{
    uint8_t in[CHILD_ANSWER_MAX];
    struct account_answer a;
    ssize_t n = read(ch->pipe, in, sizeof in);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct connection *c = ch->connection;
    if (n > 0 && account_answer_parse(span_of(in + 1, (size_t)n - 1), LOCAL_ACCOUNT_RESULTS, &a) ==
                     ACCOUNT_PARSED_WHOLE) {
        shadow_count(&s->scheme, in[0]);
        if (c != NULL) {
            if (!is_wrong((enum local_account_result)a.result))
                limits_give_back(&s->limits, c->key);
            server_answer(s, c, (enum local_account_result)a.result, a.text);
        }
    } else if (c != NULL) {
        log_event(LOG_ERROR, "accounts.check.died", LOG_I("pid", ch->pid));
        limits_give_back(&s->limits, c->key);
        server_answer(s, c, LOCAL_ACCOUNT_UNAVAILABLE, span_str("the check died"));
    }
    end(ch);
}

static void stop(struct child *ch)
{
    if (!ch->killed)
        (void)kill(-ch->pid, SIGKILL);
    ch->killed = true;
}

void children_forget(struct server *s, struct connection *c)
{
    for (size_t i = 0; i < s->options->checks; i++)
        if (s->children[i].connection == c) {
            stop(&s->children[i]);
            end(&s->children[i]);
        }
}

static struct child *child_of(struct server *s, pid_t pid)
{
    for (size_t i = 0; i < s->options->checks; i++)
        if (s->children[i].pid == pid)
            return &s->children[i];
    return NULL;
}

static void reap(struct server *s)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        struct child *ch = child_of(s, pid);
        if (ch == NULL)
            continue;      /* a stray */
        if (ch->pipe >= 0) /* it may have answered in its last moment */
            children_read(s, ch);
        end(ch);
        s->strays = s->strays || ch->killed;
        ch->pid = 0;
    }
}

/* A module may have put what it started into a session of its own, out of the group's reach
 * (pam_exec does). As the subreaper we become its parent when the check dies. */
static void kill_strays(struct server *s)
{
    char path[64], pid[32];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    s->strays = false;
    while (f != NULL && fscanf(f, "%31s", pid) == 1) {
        pid_t stray = (pid_t)strtol(pid, NULL, 10);
        if (stray <= 1 || child_of(s, stray) != NULL)
            continue;
        (void)kill(stray, SIGKILL);
        s->strays = true; /* until there is none */
    }
    if (f != NULL)
        (void)fclose(f);
}

void children_watch(struct server *s, uint64_t now_ms)
{
    for (size_t i = 0; i < s->options->checks; i++) {
        struct child *ch = &s->children[i];
        if (ch->pid == 0 || ch->killed || now_ms < ch->until_ms)
            continue;
        stop(ch);
        if (ch->connection != NULL) {
            log_event(LOG_ERROR, "accounts.check.late", LOG_I("pid", ch->pid));
            limits_give_back(&s->limits, ch->connection->key);
            server_answer(s, ch->connection, LOCAL_ACCOUNT_UNAVAILABLE,
                          span_str("the check took too long and was ended"));
        }
        end(ch);
    }
    reap(s);
    if (s->strays)
        kill_strays(s);
}
