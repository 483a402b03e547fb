/* files.h - folders and plain files. Threads: any; all calls block, so not on a worker's loop.
 * Failure: ERR_PERM for what is missing or forbidden, ERR_TEMP for the rest; a missing file is told
 * apart by FILES_ABSENT. Symbolic links are followed only where it says so. */
#ifndef POSTERN_PLATFORM_FILES_H
#define POSTERN_PLATFORM_FILES_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum files_result { FILES_OK, FILES_ABSENT, FILES_FAILED };

/* A whole file of at most max bytes; follows links. secret reads go to a struct secret by the
 * caller. */
enum files_result files_read(const char *path, size_t max, struct buf *out, struct err *e);

struct files_info {
    uint64_t size;
    int64_t modified_wall_ms;
    uint64_t identity[2]; /* device and inode: the same file under another name has the same */
    bool regular, folder;
    unsigned mode; /* POSIX permission bits; 0 where the system has no such thing */
    bool others_read, others_write; /* somebody besides the owner (and root) may */
};
enum files_result files_stat(const char *path, struct files_info *out, struct err *e); /* no link */

/* The same through links: of what would be read. */
enum files_result files_look(const char *path, struct files_info *out, struct err *e);

/* Makes the folder and its missing parents (parents with 0755); an existing folder is fine and
 * keeps its mode. */
bool files_make_folder(const char *path, unsigned mode, struct err *e);

/* Names in a folder without "." and "..", in no order, at most max of them; *more says that there
 * are others. */
bool files_list(const char *folder, size_t max, struct arena *a, const char ***names, size_t *n,
                bool *more, struct err *e);

enum files_result files_remove(const char *path, struct err *e);
enum files_result files_rename(const char *from, const char *to, bool replace, struct err *e);

/* Reading a file bit by bit, from its start. Refuses anything that is not a regular file, and does
 * not follow a link in the last name. */
struct file_reader {
    intptr_t handle; /* -1: not open */
};
enum files_result file_reader_open(struct file_reader *r, const char *path, struct files_info *info,
                                   struct err *e);
bool file_reader_next(struct file_reader *r, void *out, size_t size, size_t *n, struct err *e);
bool file_reader_seek(struct file_reader *r, uint64_t offset, struct err *e);
void file_reader_close(struct file_reader *r);

/* Is somebody still writing it? UNKNOWN where the system does not tell us. */
enum files_use { FILES_NOT_WRITTEN, FILES_BEING_WRITTEN, FILES_USE_UNKNOWN };
enum files_use files_use(const char *path);

/* Ownership; both do nothing and succeed where we are not privileged or the system has no such
 * thing. give: to that user and his group. like: to whom `like` belongs. */
bool files_give(const char *path, const char *user, struct err *e);
bool files_own_like(const char *path, const char *like, struct err *e);
/* The rights of `like` for a file that the system made with those of its folder (Windows). Nothing
 * to do where SQLite gives them itself; a file that is not there is fine. */
bool files_rights_like(const char *path, const char *like, struct err *e);
/* The name of the user to whom it belongs; false where it is not there, or nobody has that name. */
bool files_owner(const char *path, char *user, size_t size);

/* Bytes that may still be written to the file system of that path by us. */
bool files_free_bytes(const char *path, uint64_t *out, struct err *e);

#endif
