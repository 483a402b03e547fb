#define _GNU_SOURCE /* fgetspent_r, crypt_gensalt */
#include "posix/helper/shadow.h"

#include "base/secret.h"

#include <crypt.h>
#include <shadow.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { METHODS_MAX = 16, LINE_MAX_BYTES = 4096, BCRYPT_COST_BYTES = 7, BCRYPT_SALT_BYTES = 29 };

static const char path[] = "/etc/shadow";

struct method {
    size_t key_n; /* of setting: method and cost, without the salt */
    unsigned accounts;
    char setting[SHADOW_SETTING_MAX];
};

/* "$id$cost$salt$hash": the setting ends with the salt; bcrypt has no "$" behind its salt, and what
 * has none at all is the old DES with two bytes of it. */
static bool read_method(const char *hash, struct method *m)
{
    size_t n;
    if (strncmp(hash, "$2", 2) == 0) {
        n = BCRYPT_SALT_BYTES;
        m->key_n = BCRYPT_COST_BYTES;
    } else if (hash[0] == '$') {
        const char *last = strrchr(hash, '$');
        const char *salt = last;
        while (salt > hash && salt[-1] != '$')
            salt--;
        n = (size_t)(last - hash);
        m->key_n = (size_t)(salt - hash);
    } else {
        n = 2;
        m->key_n = 0;
    }
    if (n == 0 || n >= sizeof m->setting || strlen(hash) <= n)
        return false;
    memcpy(m->setting, hash, n);
    m->setting[n] = '\0';
    return true;
}

static void count(struct method *methods, size_t *n, const char *hash)
{
    struct method m = {0};
    if (hash == NULL || hash[0] == '\0' || strchr("!*", hash[0]) != NULL || !read_method(hash, &m))
        return;
    for (size_t i = 0; i < *n; i++)
        if (methods[i].key_n == m.key_n && memcmp(methods[i].setting, m.setting, m.key_n) == 0) {
            methods[i].accounts++;
            return;
        }
    if (*n < METHODS_MAX) {
        m.accounts = 1;
        methods[(*n)++] = m;
    }
}

bool shadow_same_method(const char *hash, const char *setting)
{
    struct method m = {0};
    return hash[0] != '\0' && read_method(hash, &m) && strncmp(m.setting, setting, m.key_n) == 0 &&
           (m.key_n > 0 || setting[0] != '$');
}

unsigned shadow_hashes(const struct shadow_scheme *s)
{
    unsigned best = SHADOW_HASHES_FIRST, seen = 0;
    for (unsigned i = 1; i <= SHADOW_HASHES_MAX; i++)
        if (s->counted[i] > seen) {
            best = i;
            seen = s->counted[i];
        }
    return best;
}

bool shadow_wants_count(const struct shadow_scheme *s)
{
    unsigned n = 0;
    for (unsigned i = 1; i <= SHADOW_HASHES_MAX; i++)
        n += s->counted[i];
    return n < SHADOW_COUNTS;
}

void shadow_count(struct shadow_scheme *s, unsigned hashes)
{
    if (hashes > 0 && hashes <= SHADOW_HASHES_MAX && shadow_wants_count(s))
        s->counted[hashes]++;
}

static void read_setting(struct shadow_scheme *s)
{
    struct method methods[METHODS_MAX];
    char buffer[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    size_t n = 0, best = 0;
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        (void)setvbuf(f, buffer, _IOFBF, sizeof buffer);
        struct spwd entry, *found;
        while (fgetspent_r(f, &entry, line, sizeof line, &found) == 0)
            count(methods, &n, entry.sp_pwdp);
        (void)fclose(f);
        secret_wipe_bytes(buffer, sizeof buffer);
        secret_wipe_bytes(line, sizeof line);
    }
    for (size_t i = 1; i < n; i++)
        if (methods[i].accounts > methods[best].accounts)
            best = i;
    if (n > 0) {
        memcpy(s->setting, methods[best].setting, sizeof s->setting);
        return;
    }
    struct crypt_data work = {0};
    const char *made = crypt_gensalt_rn(NULL, 0, NULL, 0, work.setting, sizeof work.setting);
    (void)snprintf(s->setting, sizeof s->setting, "%s", made == NULL ? "$6$postern" : made);
}

const char *shadow_setting(struct shadow_scheme *s)
{
    struct stat now = {0};
    (void)stat(path, &now);
    const int64_t seen[4] = {(int64_t)now.st_ino, (int64_t)now.st_size, (int64_t)now.st_mtim.tv_sec,
                             (int64_t)now.st_mtim.tv_nsec};
    if (s->setting[0] == '\0' || memcmp(seen, s->seen, sizeof seen) != 0) {
        read_setting(s);
        memcpy(s->seen, seen, sizeof seen);
    }
    return s->setting;
}

bool shadow_readable(void)
{
    return eaccess(path, R_OK) == 0;
}
