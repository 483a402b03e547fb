#include "platform/mutex.h"

#include <pthread.h>
#include <stdlib.h>

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
