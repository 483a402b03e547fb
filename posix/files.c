#define _GNU_SOURCE /* F_SETLEASE, renameat2 */
#include "platform/files.h"

#include "platform/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static enum files_result result_of(struct err *e, const char *path, const char *act)
{
    int code = errno;
    bool permanent = code == EACCES || code == EPERM || code == ENOENT || code == ENOTDIR ||
                     code == ELOOP || code == EISDIR || code == EROFS || code == EEXIST ||
                     code == ENAMETOOLONG;
    (void)err_set(e, permanent ? ERR_PERM : ERR_TEMP, "%s: cannot %s: %s", path, act,
                  strerror(code));
    return code == ENOENT ? FILES_ABSENT : FILES_FAILED;
}

enum files_result files_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
    if (fd < 0)
        return result_of(e, path, "open");
    struct stat st;
    enum files_result result = FILES_FAILED;
    if (fstat(fd, &st) != 0) {
        result = result_of(e, path, "look at");
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)err_set(e, ERR_PERM, "%s: not a regular file", path);
        goto done;
    }
    size_t total = 0;
    if (st.st_size > 0 && (uint64_t)st.st_size <= max && (uint64_t)st.st_size < out->max - out->n)
        (void)buf_room(out, (size_t)st.st_size + 1); /* at once, where it is known */
    for (;;) {
        uint8_t some[8192];
        ssize_t n = read(fd, some, sizeof some);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            result = result_of(e, path, "read");
            goto done;
        }
        if (n == 0)
            break;
        total += (size_t)n;
        if (total > max || !buf_add(out, span_of(some, (size_t)n))) {
            (void)err_set(e, ERR_PERM, "%s: larger than %zu bytes", path,
                          max < out->max ? max : out->max);
            goto done;
        }
    }
    result = FILES_OK;
done:
    (void)close(fd);
    return result;
}

static void info_of(const struct stat *st, struct files_info *out)
{
    *out = (struct files_info){
        .size = (uint64_t)st->st_size,
        .modified_wall_ms =
            (int64_t)st->st_mtim.tv_sec * 1000 + (int64_t)st->st_mtim.tv_nsec / 1000000,
        .identity = {(uint64_t)st->st_dev, (uint64_t)st->st_ino},
        .regular = S_ISREG(st->st_mode),
        .folder = S_ISDIR(st->st_mode),
        .mode = (unsigned)st->st_mode & 07777u,
        .others_read = (st->st_mode & (S_IRGRP | S_IROTH)) != 0,
        .others_write = (st->st_mode & (S_IWGRP | S_IWOTH)) != 0,
    };
}

enum files_result files_stat(const char *path, struct files_info *out, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return result_of(e, path, "look at");
    info_of(&st, out);
    return FILES_OK;
}

enum files_result files_look(const char *path, struct files_info *out, struct err *e)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return result_of(e, path, "look at");
    info_of(&st, out);
    return FILES_OK;
}

static bool make_one(const char *path, unsigned mode, struct err *e)
{
    if (mkdir(path, (mode_t)mode) == 0) {
        if (chmod(path, (mode_t)mode) != 0) /* past the umask */
            return result_of(e, path, "set the mode of") == FILES_OK;
        return true;
    }
    struct stat st;
    if (errno == EEXIST && stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return true;
        return err_set(e, ERR_PERM, "%s: is there and is no folder", path);
    }
    return result_of(e, path, "make the folder") == FILES_OK;
}

bool files_make_folder(const char *path, unsigned mode, struct err *e)
{
    char part[PATH_TEXT_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return err_set(e, ERR_PERM, "folder: name empty or too long");
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] != '/' || part[i - 1] == '/')
            continue;
        part[i] = 0;
        if (access(part, F_OK) != 0 && !make_one(part, 0755, e))
            return false;
        part[i] = '/';
    }
    return make_one(path, mode, e);
}

bool files_list(const char *folder, size_t max, struct arena *a, const char ***names, size_t *n,
                bool *more, struct err *e)
{
    *names = NULL;
    *n = 0;
    *more = false;
    DIR *d = opendir(folder);
    if (d == NULL)
        return result_of(e, folder, "list") == FILES_OK;
    const char **list = NULL;
    size_t cap = 0;
    bool ok = true;
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (*n == max) {
            *more = true;
            break;
        }
        if (*n ==
            cap) { /* the old array stays in the arena: it doubles, so at most as much again */
            size_t grown = cap == 0 ? 64 : cap * 2;
            const char **bigger = arena_alloc(a, grown * sizeof *bigger);
            if (bigger == NULL) {
                ok = err_set(e, ERR_TEMP, "%s: cannot list: no memory", folder);
                break;
            }
            if (*n > 0)
                memcpy(bigger, list, *n * sizeof *bigger);
            list = bigger;
            cap = grown;
        }
        list[*n] = arena_str(a, entry->d_name);
        if (list[*n] == NULL) {
            ok = err_set(e, ERR_TEMP, "%s: cannot list: no memory", folder);
            break;
        }
        (*n)++;
    }
    if (ok && !*more && errno != 0)
        ok = result_of(e, folder, "list") == FILES_OK;
    (void)closedir(d);
    *names = list;
    return ok;
}

enum files_result files_remove(const char *path, struct err *e)
{
    return unlink(path) == 0 ? FILES_OK : result_of(e, path, "remove");
}

enum files_result files_rename(const char *from, const char *to, bool replace, struct err *e)
{
    int rc = replace ? rename(from, to) : renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (rc != 0 && !replace && (errno == EINVAL || errno == ENOSYS)) {
        rc = link(from, to);
        if (rc == 0)
            rc = unlink(from);
    }
    return rc == 0 ? FILES_OK : result_of(e, from, "rename");
}

enum files_result file_reader_open(struct file_reader *r, const char *path, struct files_info *info,
                                   struct err *e)
{
    r->handle = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return result_of(e, path, "open");
    struct stat st;
    if (fstat(fd, &st) != 0) {
        enum files_result result = result_of(e, path, "look at");
        (void)close(fd);
        return result;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)close(fd);
        (void)err_set(e, ERR_PERM, "%s: not a regular file", path);
        return FILES_FAILED;
    }
    if (info != NULL)
        info_of(&st, info);
    r->handle = fd;
    return FILES_OK;
}

bool file_reader_next(struct file_reader *r, void *out, size_t size, size_t *n, struct err *e)
{
    ssize_t got;
    do {
        got = read((int)r->handle, out, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_set(e, ERR_TEMP, "file: cannot read: %s", strerror(errno));
    *n = (size_t)got;
    return true;
}

bool file_reader_seek(struct file_reader *r, uint64_t offset, struct err *e)
{
    if (offset > INT64_MAX || lseek((int)r->handle, (off_t)offset, SEEK_SET) < 0)
        return err_set(e, ERR_TEMP, "file: cannot seek");
    return true;
}

void file_reader_close(struct file_reader *r)
{
    if (r->handle >= 0)
        (void)close((int)r->handle);
    r->handle = -1;
}

/* A read lease is granted only while nobody has the file open for writing (fcntl(2), F_SETLEASE);
 * it wants the file to be ours, or CAP_LEASE, and a file system that knows leases. */
enum files_use files_use(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return FILES_USE_UNKNOWN;
    enum files_use use = FILES_USE_UNKNOWN;
    /* Who opens it for writing between here and the close would have us signalled: SIGURG is
     * ignored by default, SIGIO would end the process. */
    (void)fcntl(fd, F_SETSIG, SIGURG);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        use = FILES_NOT_WRITTEN;
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    } else if (errno == EAGAIN) {
        use = FILES_BEING_WRITTEN;
    }
    (void)close(fd);
    return use;
}

static bool own(const char *path, uid_t uid, gid_t gid, struct err *e)
{
    if (geteuid() != 0)
        return true;
    /* lchown: a link that somebody planted must not give away what it points to. */
    if (lchown(path, uid, gid) != 0)
        return result_of(e, path, "change the owner of") == FILES_OK;
    return true;
}

bool files_give(const char *path, const char *user, struct err *e)
{
    if (geteuid() != 0 || user == NULL || user[0] == 0)
        return true;
    struct passwd entry, *found = NULL;
    char memory[4096];
    int code = getpwnam_r(user, &entry, memory, sizeof memory, &found);
    if (found == NULL)
        return err_set(e, code == 0 ? ERR_PERM : ERR_TEMP, "user %s: %s", user,
                       code == 0 ? "there is no such user" : strerror(code));
    return own(path, entry.pw_uid, entry.pw_gid, e);
}

bool files_rights_like(const char *path, const char *like, struct err *e)
{
    (void)path;
    (void)like;
    (void)e;
    return true;
}

bool files_own_like(const char *path, const char *like, struct err *e)
{
    struct stat st;
    if (geteuid() != 0)
        return true;
    if (stat(like, &st) != 0)
        return result_of(e, like, "look at") == FILES_OK;
    return own(path, st.st_uid, st.st_gid, e);
}

bool files_owner(const char *path, char *user, size_t size)
{
    struct stat st;
    struct passwd entry, *found = NULL;
    char memory[4096];
    if (stat(path, &st) != 0 || getpwuid_r(st.st_uid, &entry, memory, sizeof memory, &found) != 0 ||
        found == NULL)
        return false;
    int n = snprintf(user, size, "%s", entry.pw_name);
    return n > 0 && (size_t)n < size;
}

bool files_free_bytes(const char *path, uint64_t *out, struct err *e)
{
    struct statvfs s;
    if (statvfs(path, &s) != 0)
        return result_of(e, path, "look at the file system of") == FILES_OK;
    *out = (uint64_t)s.f_bavail * (uint64_t)s.f_frsize;
    return true;
}
