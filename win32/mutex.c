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

struct condition {
    CONDITION_VARIABLE variable;
};

struct condition *condition_new(void)
{
    struct condition *c = malloc(sizeof *c);
    if (c != NULL)
        InitializeConditionVariable(&c->variable);
    return c;
}

void condition_free(struct condition **c)
{
    if (c == NULL || *c == NULL)
        return;
    free(*c);
    *c = NULL;
}

void condition_wait(struct condition *c, struct mutex *m, unsigned timeout_ms)
{
    (void)SleepConditionVariableSRW(&c->variable, &m->lock, timeout_ms, 0);
}

void condition_wake_all(struct condition *c)
{
    WakeAllConditionVariable(&c->variable);
}
