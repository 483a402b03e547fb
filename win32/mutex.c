#include "platform/mutex.h"

#include <windows.h>

#include <stdlib.h>

struct mutex {
    SRWLOCK lock;
};

struct mutex *mutex_new(void)
{
    struct mutex *m = malloc(sizeof *m);
    if (m != NULL)
        InitializeSRWLock(&m->lock);
    return m;
}

void mutex_free(struct mutex **m)
{
    if (m == NULL || *m == NULL)
        return;
    free(*m);
    *m = NULL;
}

void mutex_lock(struct mutex *m)
{
    AcquireSRWLockExclusive(&m->lock);
}

void mutex_unlock(struct mutex *m)
{
    ReleaseSRWLockExclusive(&m->lock);
}
