#include "store/gather.h"

#include <sqlite3.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GATHER_BYTES = 120 * 1024, /* SQLite's own VFS for Unix writes less than 128 KiB at a time */
    NAME_MAX_BYTES = 64,
};

struct gather_vfs {
    sqlite3_vfs vfs; /* first: SQLite knows us by it */
    sqlite3_vfs *below;
    char name[NAME_MAX_BYTES];
};

struct log_file {
    sqlite3_file base; /* first: SQLite knows us by it */
    sqlite3_file *real;
    uint8_t *bytes; /* n of them, to be written at that place */
    int n;
    sqlite3_int64 at;
};

static struct log_file *log_of(sqlite3_file *file)
{
    return (struct log_file *)(void *)file;
}

/* What cannot be written is dropped: SQLite takes the transaction back that it belongs to. */
static int pass_on(struct log_file *f)
{
    int n = f->n;
    f->n = 0;
    return n == 0 ? SQLITE_OK : f->real->pMethods->xWrite(f->real, f->bytes, n, f->at);
}

static int log_close(sqlite3_file *file)
{
    struct log_file *f = log_of(file);
    int code = pass_on(f), closed = f->real->pMethods->xClose(f->real);
    free(f->bytes);
    f->bytes = NULL;
    return code != SQLITE_OK ? code : closed;
}

static int log_read(sqlite3_file *file, void *out, int n, sqlite3_int64 at)
{
    struct log_file *f = log_of(file);
    int code = pass_on(f);
    return code != SQLITE_OK ? code : f->real->pMethods->xRead(f->real, out, n, at);
}

static int log_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    struct log_file *f = log_of(file);
    if (f->n > 0 && (at != f->at + f->n || n > GATHER_BYTES - f->n)) {
        int code = pass_on(f);
        if (code != SQLITE_OK)
            return code;
    }
    if (f->bytes == NULL)
        f->bytes = malloc(GATHER_BYTES);
    if (f->bytes == NULL || n > GATHER_BYTES)
        return f->real->pMethods->xWrite(f->real, bytes, n, at);
    if (f->n == 0)
        f->at = at;
    memcpy(f->bytes + f->n, bytes, (size_t)n);
    f->n += n;
    return SQLITE_OK;
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct log_file *f = log_of(file);
    int code = pass_on(f);
    return code != SQLITE_OK ? code : f->real->pMethods->xTruncate(f->real, size);
}

static int log_sync(sqlite3_file *file, int flags)
{
    struct log_file *f = log_of(file);
    int code = pass_on(f);
    return code != SQLITE_OK ? code : f->real->pMethods->xSync(f->real, flags);
}

static int log_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct log_file *f = log_of(file);
    int code = pass_on(f);
    return code != SQLITE_OK ? code : f->real->pMethods->xFileSize(f->real, size);
}

static int log_lock(sqlite3_file *file, int level)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xLock(f->real, level);
}

static int log_unlock(sqlite3_file *file, int level)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xUnlock(f->real, level);
}

static int log_check_lock(sqlite3_file *file, int *reserved)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xCheckReservedLock(f->real, reserved);
}

static int log_control(sqlite3_file *file, int op, void *arg)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xFileControl(f->real, op, arg);
}

static int log_sector(sqlite3_file *file)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xSectorSize(f->real);
}

static int log_traits(sqlite3_file *file)
{
    struct log_file *f = log_of(file);
    return f->real->pMethods->xDeviceCharacteristics(f->real);
}

static const sqlite3_io_methods log_methods = {
    .iVersion = 1, /* no shared memory, no mapping: SQLite asks neither of a log */
    .xClose = log_close,
    .xRead = log_read,
    .xWrite = log_write,
    .xTruncate = log_truncate,
    .xSync = log_sync,
    .xFileSize = log_size,
    .xLock = log_lock,
    .xUnlock = log_unlock,
    .xCheckReservedLock = log_check_lock,
    .xFileControl = log_control,
    .xSectorSize = log_sector,
    .xDeviceCharacteristics = log_traits,
};

static int gather_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                       int *flags_out)
{
    sqlite3_vfs *below = ((struct gather_vfs *)(void *)vfs)->below;
    if ((flags & SQLITE_OPEN_WAL) == 0)
        return below->xOpen(below, name, file, flags, flags_out);
    struct log_file *f = log_of(file);
    *f = (struct log_file){.real = (sqlite3_file *)(void *)(f + 1)};
    f->real->pMethods = NULL;
    int code = below->xOpen(below, name, f->real, flags, flags_out);
    if (f->real->pMethods != NULL) /* then xClose is called, whatever the code */
        f->base.pMethods = &log_methods;
    return code;
}

const char *gather_vfs(const char *below_name)
{
    char name[NAME_MAX_BYTES];
    sqlite3_vfs *below = sqlite3_vfs_find(below_name);
    if (below == NULL)
        return below_name; /* opening will say so */
    int n = snprintf(name, sizeof name, "gather-%s", below->zName);
    if (n < 0 || (size_t)n >= sizeof name)
        return below->zName;
    sqlite3_vfs *found = sqlite3_vfs_find(name);
    if (found != NULL)
        return found->zName;
    struct gather_vfs *g = malloc(sizeof *g); /* for good: SQLite keeps it in its list */
    if (g == NULL)
        return below->zName;
    /* Everything but opening files is the VFS's below, and sees its own data. */
    *g = (struct gather_vfs){.vfs = *below, .below = below};
    memcpy(g->name, name, sizeof name);
    g->vfs.pNext = NULL;
    g->vfs.zName = g->name;
    g->vfs.szOsFile = (int)sizeof(struct log_file) + below->szOsFile;
    g->vfs.xOpen = gather_open;
    if (sqlite3_vfs_register(&g->vfs, 0) == SQLITE_OK)
        return g->name;
    free(g);
    return below->zName;
}
