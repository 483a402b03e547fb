/* mutex.h - a lock for the few places where threads share a table: the auth room, the log.
 * Session code has none. Owner: whoever made it. Not recursive. Failure: mutex_new gives NULL
 * without memory; the others cannot fail for a caller that keeps the rules. */
#ifndef POSTERN_PLATFORM_MUTEX_H
#define POSTERN_PLATFORM_MUTEX_H

struct mutex;

struct mutex *mutex_new(void);
void mutex_free(struct mutex **m); /* NULL and a NULL mutex are taken */
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

/* What threads that hold a mutex wait for. Owner, failure: as the mutex. */
struct condition;

struct condition *condition_new(void);
void condition_free(struct condition **c);
/* Gives m free meanwhile, holds it again after. Ends when woken, after timeout_ms, or for nothing:
 * look again whether what was waited for is there. */
void condition_wait(struct condition *c, struct mutex *m, unsigned timeout_ms);
void condition_wake_all(struct condition *c);

#endif
