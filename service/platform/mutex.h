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

#endif
