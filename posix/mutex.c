#define _GNU_SOURCE /* pthread_condattr_setclock */
#include "platform/mutex.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct mutex {
    pthread_mutex_t lock;
};

struct mutex *mutex_new(void)
{
    struct mutex *m = malloc(sizeof *m);
    if (m == NULL)
        return NULL;
    if (pthread_mutex_init(&m->lock, NULL) != 0) {
        free(m);
        return NULL;
    }
    return m;
}

void mutex_free(struct mutex **m)
{
    if (m == NULL || *m == NULL)
        return;
    (void)pthread_mutex_destroy(&(*m)->lock);
    free(*m);
    *m = NULL;
}

/* An error here means a lock that was never made or is already held by this thread: going on would
 * break what the lock guards. */
void mutex_lock(struct mutex *m)
{
    if (pthread_mutex_lock(&m->lock) != 0)
        abort();
}

void mutex_unlock(struct mutex *m)
{
    if (pthread_mutex_unlock(&m->lock) != 0)
        abort();
}

struct condition {
    pthread_cond_t cond;
};

struct condition *condition_new(void)
{
    struct condition *c = malloc(sizeof *c);
    pthread_condattr_t attributes;
    if (c == NULL || pthread_condattr_init(&attributes) != 0) {
        free(c);
        return NULL;
    }
    bool ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&c->cond, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (!ok) {
        free(c);
        return NULL;
    }
    return c;
}

void condition_free(struct condition **c)
{
    if (c == NULL || *c == NULL)
        return;
    (void)pthread_cond_destroy(&(*c)->cond);
    free(*c);
    *c = NULL;
}

void condition_wait(struct condition *c, struct mutex *m, unsigned timeout_ms)
{
    struct timespec until;
    if (clock_gettime(CLOCK_MONOTONIC, &until) != 0)
        abort();
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&c->cond, &m->lock, &until);
}

void condition_wake_all(struct condition *c)
{
    (void)pthread_cond_broadcast(&c->cond);
}
