/* shadow.h - how this machine keeps its passwords. Threads: none; reads files. */
#ifndef POSTERN_HELPER_SHADOW_H
#define POSTERN_HELPER_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

enum { SHADOW_SETTING_MAX = 384 };

struct shadow_scheme {
    int64_t seen[4]; /* the file's identity when it was last read */
    char setting[SHADOW_SETTING_MAX];
};

/* A crypt(3) setting with the method and cost that most accounts of /etc/shadow have; without any,
 * or when it may not be read, libcrypt's default. Looks at the file only when it has changed. */
const char *shadow_setting(struct shadow_scheme *s);

bool shadow_readable(void);

#endif
