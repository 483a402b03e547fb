#include "support/lossy_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, FILES_MAX = 8, NAME_MAX_BYTES = 512 };

struct change {
    struct change *next;
    sqlite3_int64 at;
    int n; /* -1: truncate to `at` */
    unsigned char bytes[];
};

/* A file by its path; it outlives the handles on it. */
struct disk_file {
    char path[NAME_MAX_BYTES];
    unsigned char *sure; /* what is on the disk for certain */
    size_t sure_n, sure_cap;
    struct change *first, **last;
    bool sure_exists, deleted;
    unsigned char *remains; /* after a cut */
    size_t remains_n, remains_cap;
    bool remains_exist;
};

struct lossy_file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a file we do not follow */
    sqlite3_file *real;     /* behind this struct */
};

static struct {
    sqlite3_vfs vfs, *real;
    struct disk_file files[FILES_MAX];
    size_t file_count;
    uint64_t changes, calls, writes, syncs;
    uint64_t cut_at, seed;
    bool cut_set, dead, struck, forever, ignore_syncs;
    enum lossy_fault fault;
    uint64_t fault_at;
} g;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "lossy_vfs: %s\n", what);
    abort();
}

static uint64_t random_next(void)
{
    g.seed ^= g.seed << 13;
    g.seed ^= g.seed >> 7;
    g.seed ^= g.seed << 17;
    return g.seed * 2685821657736338717U;
}

/* ---- what the disk surely has ---- */

static struct disk_file *disk_file(const char *path)
{
    for (size_t i = 0; i < g.file_count; i++) {
        if (strcmp(g.files[i].path, path) == 0)
            return &g.files[i];
    }
    must(g.file_count < FILES_MAX && strlen(path) < NAME_MAX_BYTES, "too many files");
    struct disk_file *d = &g.files[g.file_count++];
    *d = (struct disk_file){0};
    memcpy(d->path, path, strlen(path) + 1);
    d->last = &d->first;
    FILE *f = fopen(path, "rb"); /* there before us: surely on the disk */
    if (f == NULL)
        return d;
    d->sure_exists = true;
    fseek(f, 0, SEEK_END);
    d->sure_n = (size_t)ftell(f);
    rewind(f);
    d->sure_cap = d->sure_n + 1;
    d->sure = malloc(d->sure_cap);
    must(d->sure != NULL && fread(d->sure, 1, d->sure_n, f) == d->sure_n, "cannot read");
    fclose(f);
    return d;
}

static void grow(unsigned char **bytes, size_t *n, size_t *cap, size_t to)
{
    if (to > *cap) {
        *cap = to * 2;
        *bytes = realloc(*bytes, *cap);
        must(*bytes != NULL, "out of memory");
    }
    if (to > *n) {
        memset(*bytes + *n, 0, to - *n);
        *n = to;
    }
}

static void apply(unsigned char **bytes, size_t *n, size_t *cap, const struct change *c)
{
    if (c->n < 0) {
        if ((size_t)c->at < *n)
            *n = (size_t)c->at;
        return;
    }
    grow(bytes, n, cap, (size_t)c->at + (size_t)c->n);
    memcpy(*bytes + c->at, c->bytes, (size_t)c->n);
}

static void note(struct disk_file *d, sqlite3_int64 at, int n, const void *bytes)
{
    if (d == NULL)
        return;
    struct change *c = malloc(sizeof *c + (n > 0 ? (size_t)n : 0));
    must(c != NULL, "out of memory");
    c->next = NULL;
    c->at = at;
    c->n = n;
    if (n > 0)
        memcpy(c->bytes, bytes, (size_t)n);
    *d->last = c;
    d->last = &c->next;
}

static void drop_changes(struct disk_file *d)
{
    while (d->first != NULL) {
        struct change *next = d->first->next;
        free(d->first);
        d->first = next;
    }
    d->last = &d->first;
}

static void make_sure(struct disk_file *d)
{
    for (const struct change *c = d->first; c != NULL; c = c->next)
        apply(&d->sure, &d->sure_n, &d->sure_cap, c);
    drop_changes(d);
    d->sure_exists = !d->deleted;
}

/* ---- the cut ---- */

/* Each sector of an unsynced write by itself: new, old or (rarely) rubbish. */
static void tear(struct disk_file *d, const struct change *c, unsigned keep_of_8)
{
    if (c->n < 0) {
        if (random_next() % 8 < keep_of_8)
            apply(&d->remains, &d->remains_n, &d->remains_cap, c);
        return;
    }
    for (int from = 0; from < c->n;) {
        int part = SECTOR - (int)((c->at + from) % SECTOR);
        part = part < c->n - from ? part : c->n - from;
        uint64_t r = random_next();
        size_t start = (size_t)c->at + (size_t)from;
        if (r % 8 < keep_of_8) {
            grow(&d->remains, &d->remains_n, &d->remains_cap, start + (size_t)part);
            memcpy(d->remains + start, c->bytes + from, (size_t)part);
            if (r >> 32 & 1 && (r >> 33 & 15) == 0) {
                for (int i = 0; i < part; i++)
                    d->remains[start + (size_t)i] = (unsigned char)random_next();
            }
        }
        from += part;
    }
}

static void cut(void)
{
    g.dead = true;
    g.cut_set = false;
    /* All lost, all kept and everything between are each likely enough. */
    unsigned keep_of_8 = (unsigned)(random_next() % 9);
    for (size_t i = 0; i < g.file_count; i++) {
        struct disk_file *d = &g.files[i];
        free(d->remains);
        d->remains_cap = d->sure_n + 1;
        d->remains = malloc(d->remains_cap);
        must(d->remains != NULL, "out of memory");
        if (d->sure_n > 0)
            memcpy(d->remains, d->sure, d->sure_n);
        d->remains_n = d->sure_n;
        for (const struct change *c = d->first; c != NULL; c = c->next)
            tear(d, c, keep_of_8);
        d->remains_exist = d->sure_exists || random_next() % 2 == 0;
        if (d->deleted && random_next() % 2 == 0)
            d->remains_exist = false;
    }
}

/* True: this call is to fail with *code. */
static bool fails(bool change, bool write, int io_code, int *code)
{
    *code = SQLITE_IOERR;
    if (g.dead)
        return true;
    if (change && g.cut_set && g.changes >= g.cut_at) {
        cut();
        return true;
    }
    g.calls++;
    g.changes += change ? 1 : 0;
    g.writes += write ? 1 : 0;
    if (g.fault == LOSSY_NONE)
        return false;
    uint64_t now = g.fault == LOSSY_FULL ? g.writes : g.calls;
    bool eligible = g.fault != LOSSY_FULL || write;
    if (!eligible || now < g.fault_at || (now > g.fault_at && !g.forever))
        return false;
    g.struck = true;
    *code = g.fault == LOSSY_FULL ? SQLITE_FULL : io_code;
    return true;
}

/* ---- io methods ---- */

static struct lossy_file *lossy(sqlite3_file *f)
{
    return (struct lossy_file *)(void *)f;
}

static int io_close(sqlite3_file *file)
{
    return lossy(file)->real->pMethods->xClose(lossy(file)->real);
}

static int io_read(sqlite3_file *file, void *out, int n, sqlite3_int64 at)
{
    int code;
    if (fails(false, false, SQLITE_IOERR_READ, &code))
        return code;
    return lossy(file)->real->pMethods->xRead(lossy(file)->real, out, n, at);
}

static int io_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    int code;
    /* The write that the power cut hits is under way: some of its sectors may be on the disk. */
    if (!g.dead && g.cut_set && g.changes >= g.cut_at)
        note(lossy(file)->disk, at, n, bytes);
    if (fails(true, true, SQLITE_IOERR_WRITE, &code))
        return code;
    note(lossy(file)->disk, at, n, bytes);
    return lossy(file)->real->pMethods->xWrite(lossy(file)->real, bytes, n, at);
}

static int io_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code;
    if (fails(true, false, SQLITE_IOERR_TRUNCATE, &code))
        return code;
    note(lossy(file)->disk, size, -1, NULL);
    return lossy(file)->real->pMethods->xTruncate(lossy(file)->real, size);
}

static int io_sync(sqlite3_file *file, int flags)
{
    int code;
    (void)flags; /* the real file is only the process's view; no need to wait for a disk */
    if (fails(true, false, SQLITE_IOERR_FSYNC, &code))
        return code;
    g.syncs++;
    if (lossy(file)->disk != NULL && !g.ignore_syncs)
        make_sure(lossy(file)->disk);
    return SQLITE_OK;
}

static int io_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int code;
    if (fails(false, false, SQLITE_IOERR_FSTAT, &code))
        return code;
    return lossy(file)->real->pMethods->xFileSize(lossy(file)->real, size);
}

static int io_lock(sqlite3_file *file, int level)
{
    int code;
    if (fails(false, false, SQLITE_IOERR_LOCK, &code))
        return code;
    return lossy(file)->real->pMethods->xLock(lossy(file)->real, level);
}

static int io_unlock(sqlite3_file *file, int level)
{
    return lossy(file)->real->pMethods->xUnlock(lossy(file)->real, level);
}

static int io_check_lock(sqlite3_file *file, int *out)
{
    return lossy(file)->real->pMethods->xCheckReservedLock(lossy(file)->real, out);
}

static int io_control(sqlite3_file *file, int op, void *argument)
{
    return lossy(file)->real->pMethods->xFileControl(lossy(file)->real, op, argument);
}

static int io_sector_size(sqlite3_file *file)
{
    return lossy(file)->real->pMethods->xSectorSize(lossy(file)->real);
}

static int io_characteristics(sqlite3_file *file)
{
    return lossy(file)->real->pMethods->xDeviceCharacteristics(lossy(file)->real);
}

static int io_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    int code;
    if (fails(false, false, SQLITE_IOERR_SHMMAP, &code))
        return code;
    return lossy(file)->real->pMethods->xShmMap(lossy(file)->real, page, size, extend, out);
}

static int io_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return lossy(file)->real->pMethods->xShmLock(lossy(file)->real, offset, n, flags);
}

static void io_shm_barrier(sqlite3_file *file)
{
    lossy(file)->real->pMethods->xShmBarrier(lossy(file)->real);
}

static int io_shm_unmap(sqlite3_file *file, int delete_it)
{
    return lossy(file)->real->pMethods->xShmUnmap(lossy(file)->real, delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* shared memory, no mapped pages: those would go round xWrite */
    .xClose = io_close,
    .xRead = io_read,
    .xWrite = io_write,
    .xTruncate = io_truncate,
    .xSync = io_sync,
    .xFileSize = io_size,
    .xLock = io_lock,
    .xUnlock = io_unlock,
    .xCheckReservedLock = io_check_lock,
    .xFileControl = io_control,
    .xSectorSize = io_sector_size,
    .xDeviceCharacteristics = io_characteristics,
    .xShmMap = io_shm_map,
    .xShmLock = io_shm_lock,
    .xShmBarrier = io_shm_barrier,
    .xShmUnmap = io_shm_unmap,
};

/* ---- VFS methods ---- */

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    int code;
    struct lossy_file *f = lossy(file);
    f->base.pMethods = NULL;
    if (fails(false, false, SQLITE_CANTOPEN, &code))
        return code;
    f->real = (sqlite3_file *)(void *)(f + 1);
    bool followed =
        path != NULL &&
        (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
    f->disk = followed ? disk_file(path) : NULL;
    code = g.real->xOpen(g.real, path, f->real, flags, out);
    if (code != SQLITE_OK)
        return code;
    if (f->disk != NULL)
        f->disk->deleted = false;
    f->base.pMethods = &methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    (void)vfs;
    int code;
    if (fails(true, false, SQLITE_IOERR_DELETE, &code))
        return code;
    code = g.real->xDelete(g.real, path, 0);
    if (code != SQLITE_OK)
        return code;
    struct disk_file *d = disk_file(path);
    d->deleted = true;
    note(d, 0, -1, NULL);
    if (sync_folder)
        make_sure(d);
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    return g.real->xAccess(g.real, path, flags, out);
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    return g.real->xFullPathname(g.real, path, size, out);
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    return g.real->xRandomness(g.real, n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return g.real->xSleep(g.real, microseconds);
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    return g.real->xCurrentTimeInt64(g.real, out);
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    return g.real->xGetLastError(g.real, n, out);
}

void lossy_vfs_register(void)
{
    if (g.real != NULL)
        return;
    g.real = sqlite3_vfs_find(NULL);
    must(g.real != NULL, "no VFS to stand on");
    g.vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = (int)sizeof(struct lossy_file) + g.real->szOsFile,
        .mxPathname = g.real->mxPathname,
        .zName = LOSSY_VFS,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time,
    };
    must(sqlite3_vfs_register(&g.vfs, 0) == SQLITE_OK, "cannot register");
}

/* ---- handling it ---- */

void lossy_vfs_reset(void)
{
    for (size_t i = 0; i < g.file_count; i++) {
        drop_changes(&g.files[i]);
        free(g.files[i].sure);
        free(g.files[i].remains);
    }
    g.file_count = 0;
    g.changes = g.calls = g.writes = g.syncs = 0;
    g.cut_set = g.dead = g.struck = g.ignore_syncs = false;
    g.fault = LOSSY_NONE;
}

uint64_t lossy_vfs_changes(void)
{
    return g.changes;
}

uint64_t lossy_vfs_calls(void)
{
    return g.calls;
}

uint64_t lossy_vfs_syncs(void)
{
    return g.syncs;
}

void lossy_vfs_cut_in(uint64_t changes, uint64_t seed)
{
    g.cut_at = g.changes + changes;
    g.cut_set = true;
    g.seed = seed * 0x9E3779B97F4A7C15U + 1;
    for (int i = 0; i < 8; i++)
        random_next();
}

bool lossy_vfs_is_dead(void)
{
    return g.dead;
}

static void put_remains(struct disk_file *d)
{
    char shm[NAME_MAX_BYTES + 8];
    snprintf(shm, sizeof shm, "%s-shm", d->path);
    remove(shm);
    if (!d->remains_exist) {
        remove(d->path);
        return;
    }
    FILE *f = fopen(d->path, "wb");
    must(f != NULL && fwrite(d->remains, 1, d->remains_n, f) == d->remains_n, "cannot write");
    must(fclose(f) == 0, "cannot close");
}

void lossy_vfs_restart(void)
{
    must(g.dead, "restart without a cut");
    for (size_t i = 0; i < g.file_count; i++)
        put_remains(&g.files[i]);
    lossy_vfs_reset();
}

void lossy_vfs_fail_in(enum lossy_fault fault, uint64_t calls, bool from_then_on)
{
    g.fault = fault;
    g.fault_at = (fault == LOSSY_FULL ? g.writes : g.calls) + 1 + calls;
    g.forever = from_then_on;
    g.struck = false;
}

bool lossy_vfs_fault_struck(void)
{
    return g.struck;
}

void lossy_vfs_heal(void)
{
    g.fault = LOSSY_NONE;
}

void lossy_vfs_ignore_syncs(bool ignore)
{
    g.ignore_syncs = ignore;
}
