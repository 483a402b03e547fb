#define _GNU_SOURCE
#include "platform/durable_file.h"

#include "platform/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_class class_of(int code)
{
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ELOOP:
    case ENAMETOOLONG:
    case EXDEV: return ERR_PERM;
    default: return ERR_TEMP;
    }
}

static bool failed(struct err *e, const char *path, const char *act)
{
    int code = errno;
    return err_set(e, class_of(code), "%s: cannot %s: %s", path, act, strerror(code));
}

bool durable_file_begin(struct durable_file *f, const char *unfinished_folder, unsigned mode,
                        struct err *e)
{
    f->handle = -1;
    f->temporary[0] = 0;
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t number;
        random_bytes(&number, sizeof number);
        char name[40];
        (void)snprintf(name, sizeof name, ".%016llx.tmp", (unsigned long long)number);
        if (!paths_join(unfinished_folder, name, f->temporary, sizeof f->temporary))
            return err_set(e, ERR_PERM, "%s: name too long", unfinished_folder);
        int fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0) {
            f->handle = fd;
            if (fchmod(fd, (mode_t)mode) == 0) /* past the umask: the mode is what was asked for */
                return true;
            (void)failed(e, f->temporary, "set the mode");
            durable_file_abort(f);
            return false;
        }
        if (errno != EEXIST)
            break;
    }
    (void)failed(e, f->temporary, "create");
    f->temporary[0] = 0;
    return false;
}

bool durable_file_add(struct durable_file *f, struct span bytes, struct err *e)
{
    while (bytes.n > 0) {
        ssize_t n = write((int)f->handle, bytes.p, bytes.n);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            (void)failed(e, f->temporary, "write");
            durable_file_abort(f);
            return false;
        }
        bytes = span_from(bytes, (size_t)n);
    }
    return true;
}

/* renameat2 keeps what is there; where the file system does not know it, link(2) does too. */
static bool rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    if (link(from, to) != 0)
        return false;
    (void)unlink(from);
    return true;
}

bool durable_file_commit(struct durable_file *f, const char *path, bool replace, struct err *e)
{
    char folder[PATH_TEXT_MAX];
    if (f->handle < 0)
        return err_set(e, ERR_BUG, "%s: commit of a file that is not open", path);
    if (!paths_folder(path, folder, sizeof folder)) {
        durable_file_abort(f);
        return err_set(e, ERR_PERM, "%s: name too long", path);
    }
    if (fsync((int)f->handle) != 0) {
        (void)failed(e, f->temporary, "sync");
        durable_file_abort(f);
        return false;
    }
    bool renamed = replace ? rename(f->temporary, path) == 0 : rename_new(f->temporary, path);
    if (!renamed) {
        (void)failed(e, path, "rename to it");
        durable_file_abort(f);
        return false;
    }
    (void)close((int)f->handle); /* synced already: nothing is left that could fail */
    f->handle = -1;
    f->temporary[0] = 0;
    return durable_folder_sync(folder, e);
}

void durable_file_abort(struct durable_file *f)
{
    if (f->handle >= 0)
        (void)close((int)f->handle);
    f->handle = -1;
    if (f->temporary[0] != 0)
        (void)unlink(f->temporary);
    f->temporary[0] = 0;
}

bool durable_folder_sync(const char *folder, struct err *e)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(e, folder, "open");
    bool ok = fsync(fd) == 0;
    if (!ok)
        (void)failed(e, folder, "sync");
    (void)close(fd);
    return ok;
}

bool file_lock_open(struct file_lock *l, const char *path, bool *busy, struct err *e)
{
    if (busy != NULL)
        *busy = false;
    l->handle = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failed(e, path, "open");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        (void)close(fd);
        if (code == EWOULDBLOCK && busy != NULL)
            *busy = true;
        return err_set(e, ERR_TEMP, "%s: cannot lock: %s", path,
                       code == EWOULDBLOCK ? "another process holds it" : strerror(code));
    }
    l->handle = fd;
    return true;
}

void file_lock_close(struct file_lock *l)
{
    if (l->handle >= 0)
        (void)close((int)l->handle);
    l->handle = -1;
}
