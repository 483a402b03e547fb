#define _GNU_SOURCE /* getresuid, sched_getaffinity, pthread_setname_np */
#include "platform/process.h"

#include "base/span.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void process_arguments(int *argc, char ***argv)
{
    (void)argc; /* bytes are bytes here */
    (void)argv;
}

bool process_raise_descriptors(uint64_t *limit, struct err *e)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return err_set(e, ERR_TEMP, "descriptor limit: cannot read: %s", strerror(errno));
    if (r.rlim_cur != r.rlim_max) {
        struct rlimit raised = {r.rlim_max, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            r = raised;
    }
    *limit = r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)r.rlim_cur;
    return true;
}

bool process_is_privileged(void)
{
    return geteuid() == 0;
}

bool process_become(const char *user, struct err *e)
{
    if (user == NULL || user[0] == 0)
        return true;
    struct passwd entry, *found = NULL;
    char memory[4096];
    int code = getpwnam_r(user, &entry, memory, sizeof memory, &found);
    /* getpwnam(3): a name service that is configured and not there says "not found" with any of
     * these. */
    bool unknown = code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM;
    if (found == NULL)
        return err_set(e, unknown ? ERR_PERM : ERR_TEMP, "user %s: %s", user,
                       unknown ? "there is no such user" : strerror(code));
    if (geteuid() == entry.pw_uid && getuid() == entry.pw_uid)
        return true;
    if (geteuid() != 0)
        return err_set(e, ERR_PERM, "user %s: only root can become another user", user);
    /* Groups first: without root they could not be changed any more. glibc carries each of these
     * to all threads. */
    if (initgroups(entry.pw_name, entry.pw_gid) != 0 ||
        setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid) != 0 ||
        setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid) != 0)
        return err_set(e, ERR_PERM, "user %s: cannot become: %s", user, strerror(errno));
    uid_t r, eff, saved;
    gid_t gr, geff, gsaved;
    if (getresuid(&r, &eff, &saved) != 0 || getresgid(&gr, &geff, &gsaved) != 0 ||
        r != entry.pw_uid || eff != r || saved != r || gr != entry.pw_gid || geff != gr ||
        gsaved != gr || (entry.pw_uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)))
        return err_set(e, ERR_BUG, "user %s: root was not given up", user);
    return true;
}

void process_user(char *out, size_t size)
{
    struct passwd entry, *found = NULL;
    char memory[4096];
    bool known = getpwuid_r(geteuid(), &entry, memory, sizeof memory, &found) == 0 && found != NULL;
    (void)snprintf(out, size, "%s", known ? entry.pw_name : "");
}

bool process_harden(struct err *e)
{
    struct rlimit none = {0, 0};
    (void)umask(077);
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(e, ERR_TEMP, "core dumps: cannot turn off: %s", strerror(errno));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(e, ERR_TEMP, "process: cannot protect its memory: %s", strerror(errno));
    return true;
}

unsigned process_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (unsigned)n;
}

uint64_t process_id(void)
{
    return (uint64_t)getpid();
}

void process_name_thread(const char *name)
{
    char cut[16];
    (void)snprintf(cut, sizeof cut, "%s", name);
    (void)pthread_setname_np(pthread_self(), cut);
}

void process_machine_name(char *out, size_t size)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == 0)
        (void)snprintf(name, sizeof name, "localhost");
    ascii_lower_str(name);
    (void)snprintf(out, size, "%s", name);
}

void process_hostname(char *out, size_t size)
{
    char name[256];
    process_machine_name(name, sizeof name);
    if (strchr(name, '.') == NULL) {
        struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        if (getaddrinfo(name, NULL, &hints, &found) == 0) {
            if (found->ai_canonname != NULL && strchr(found->ai_canonname, '.') != NULL)
                (void)snprintf(name, sizeof name, "%s", found->ai_canonname);
            freeaddrinfo(found);
        }
    }
    ascii_lower_str(name);
    (void)snprintf(out, size, "%s", name);
}

void process_exit_now(int code)
{
    _exit(code);
}
