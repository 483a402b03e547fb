#define _GNU_SOURCE /* F_DUPFD_CLOEXEC, pthread_condattr_setclock */
#include "posix/fd_guard.h"

#include "platform/clock.h"
#include "platform/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct fd_watch {
    struct fd_guard *guard;
    struct fd_watch *next, *before;
    int fd;
    uint64_t deadline_ms;
    bool cut;
};

struct fd_guard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stop;
    struct fd_watch *watches;
};

bool fd_guard_open(struct fd_guard **out, struct err *e)
{
    struct fd_guard *g = calloc(1, sizeof *g);
    pthread_condattr_t monotonic;
    if (g == NULL || pthread_condattr_init(&monotonic) != 0)
        goto no_memory;
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int code = pthread_cond_init(&g->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (code != 0)
        goto no_memory;
    if (pthread_mutex_init(&g->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&g->changed);
        goto no_memory;
    }
    *out = g;
    return true;
no_memory:
    free(g);
    return err_set(e, ERR_TEMP, "no memory");
}

void fd_guard_close(struct fd_guard **guard)
{
    if (guard == NULL || *guard == NULL)
        return;
    struct fd_guard *g = *guard;
    *guard = NULL;
    if (g->running) {
        (void)pthread_mutex_lock(&g->lock);
        g->stop = true;
        (void)pthread_cond_signal(&g->changed);
        (void)pthread_mutex_unlock(&g->lock);
        (void)pthread_join(g->thread, NULL);
    }
    (void)pthread_cond_destroy(&g->changed);
    (void)pthread_mutex_destroy(&g->lock);
    free(g);
}

/* Cuts what is due; the next deadline, or 0 when there is none. */
static uint64_t cut_due(struct fd_guard *g, uint64_t now_ms)
{
    uint64_t next_ms = 0;
    for (struct fd_watch *w = g->watches; w != NULL; w = w->next) {
        if (w->cut)
            continue;
        if (w->deadline_ms <= now_ms) {
            (void)shutdown(w->fd, SHUT_RDWR);
            w->cut = true;
        } else if (next_ms == 0 || w->deadline_ms < next_ms) {
            next_ms = w->deadline_ms;
        }
    }
    return next_ms;
}

static void *guard(void *context)
{
    struct fd_guard *g = context;
    process_name_thread("deadlines");
    (void)pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        uint64_t next_ms = cut_due(g, clock_monotonic_ms());
        const struct timespec until = {.tv_sec = (time_t)(next_ms / 1000),
                                       .tv_nsec = (long)(next_ms % 1000) * 1000000};
        if (next_ms == 0)
            (void)pthread_cond_wait(&g->changed, &g->lock);
        else
            (void)pthread_cond_timedwait(&g->changed, &g->lock, &until);
    }
    (void)pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* Signals are for the threads that wait for them. */
static bool start(struct fd_guard *g)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    g->running = pthread_create(&g->thread, NULL, guard, g) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return g->running;
}

bool fd_watch_begin(struct fd_guard *g, int fd, uint64_t deadline_ms, struct fd_watch **out,
                    struct err *e)
{
    struct fd_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    *w = (struct fd_watch){.guard = g, .deadline_ms = deadline_ms};
    w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (w->fd < 0) {
        int code = errno;
        free(w);
        return err_set(e, ERR_TEMP, "%s", strerror(code));
    }
    (void)pthread_mutex_lock(&g->lock);
    bool ok = g->running || start(g);
    if (ok) {
        w->next = g->watches;
        if (w->next != NULL)
            w->next->before = w;
        g->watches = w;
        (void)pthread_cond_signal(&g->changed);
    }
    (void)pthread_mutex_unlock(&g->lock);
    if (!ok) {
        (void)close(w->fd);
        free(w);
        return err_set(e, ERR_TEMP, "no thread for a deadline");
    }
    *out = w;
    return true;
}

void fd_watch_move(struct fd_watch *w, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&w->guard->lock);
    w->deadline_ms = deadline_ms;
    (void)pthread_cond_signal(&w->guard->changed);
    (void)pthread_mutex_unlock(&w->guard->lock);
}

bool fd_watch_end(struct fd_watch **watch)
{
    if (watch == NULL || *watch == NULL)
        return false;
    struct fd_watch *w = *watch;
    *watch = NULL;
    (void)pthread_mutex_lock(&w->guard->lock);
    if (w->next != NULL)
        w->next->before = w->before;
    if (w->before != NULL)
        w->before->next = w->next;
    else
        w->guard->watches = w->next;
    (void)pthread_mutex_unlock(&w->guard->lock);
    bool cut = w->cut;
    (void)close(w->fd);
    free(w);
    return cut;
}
