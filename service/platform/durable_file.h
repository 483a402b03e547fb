/* durable_file.h - a file that is there whole and on disk, or not there at all.
 * Written in a folder for unfinished files (of the same file system), fsync'ed, renamed to its
 * name, and the folder of that name fsync'ed: after commit returns true a power cut loses nothing.
 * Owner: the caller's struct. Threads: one at a time. Failure: ERR_TEMP for a full or failing disk,
 * ERR_PERM for a missing right or folder; the unfinished file is then gone. */
#ifndef POSTERN_PLATFORM_DURABLE_FILE_H
#define POSTERN_PLATFORM_DURABLE_FILE_H

#include "base/err.h"
#include "base/span.h"
#include "platform/paths.h"

struct durable_file {
    intptr_t handle; /* -1: not open */
    char temporary[PATH_TEXT_MAX];
};

/* unfinished_folder: on the same file system as the name to come. mode: POSIX permission bits. */
bool durable_file_begin(struct durable_file *f, const char *unfinished_folder, unsigned mode,
                        struct err *e);
bool durable_file_add(struct durable_file *f, struct span bytes, struct err *e);

/* replace: an existing file of that name gives way; else it is an error (ERR_PERM) and stays. */
bool durable_file_commit(struct durable_file *f, const char *path, bool replace, struct err *e);
void durable_file_abort(struct durable_file *f); /* harmless after commit */

/* The three in one, in the folder of path itself, replacing. */
static inline bool durable_file_write(const char *path, struct span bytes, unsigned mode,
                                      struct err *e)
{
    struct durable_file f;
    char folder[PATH_TEXT_MAX];
    if (!paths_folder(path, folder, sizeof folder))
        return err_set(e, ERR_PERM, "%s: name too long", path);
    return durable_file_begin(&f, folder, mode, e) && durable_file_add(&f, bytes, e) &&
           durable_file_commit(&f, path, true, e);
}

/* Makes a rename or a removal in that folder durable. */
bool durable_folder_sync(const char *folder, struct err *e);

/* An exclusive lock that the system releases when the process ends, however it ends. The file is
 * made if it is not there and stays. *busy tells "somebody else has it" (also in this process)
 * from other failures. */
struct file_lock {
    intptr_t handle; /* -1: not held */
};
bool file_lock_open(struct file_lock *l, const char *path, bool *busy, struct err *e);
void file_lock_close(struct file_lock *l);

#endif
