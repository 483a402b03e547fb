/* shadow.h - how this machine keeps its passwords. Threads: none; reads files. */
#ifndef POSTERN_HELPER_SHADOW_H
#define POSTERN_HELPER_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

enum { SHADOW_SETTING_MAX = 384 };

/* Before it is counted. pam_unix up to Linux-PAM 1.5.2 at least computes each hash twice: its macro
 * x_strdup names what it is given twice, and is given a call of crypt_r. */
enum { SHADOW_HASHES_FIRST = 2, SHADOW_HASHES_MAX = 4, SHADOW_COUNTS = 5 };

struct shadow_scheme {
    int64_t seen[4]; /* the file's identity when it was last read */
    char setting[SHADOW_SETTING_MAX];
    unsigned counted[SHADOW_HASHES_MAX + 1]; /* how often PAM was seen to compute so many */
};

/* A crypt(3) setting with the method and cost that most accounts of /etc/shadow have; without any,
 * or when it may not be read, libcrypt's default. Looks at the file only when it has changed. */
const char *shadow_setting(struct shadow_scheme *s);

/* How many hashes PAM computes for a password of that method, as seen so far; and whether that is
 * not sure yet. */
unsigned shadow_hashes(const struct shadow_scheme *s);
bool shadow_wants_count(const struct shadow_scheme *s);
void shadow_count(struct shadow_scheme *s, unsigned hashes);

/* Whether this hash is of that setting's method and cost. */
bool shadow_same_method(const char *hash, const char *setting);

bool shadow_readable(void);

#endif
