/* store.c - opening, migrating, measuring and checking a store. */
#include "store/gather.h"
#include "store/handle.h"

#include "platform/files.h"
#include "platform/paths.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096, CHECKPOINT_PAGES = 1000, CACHE_KIB = 2048, READER_CACHE_KIB = 512 };

static char *copy(const char *text)
{
    if (text == NULL)
        return NULL;
    size_t n = strlen(text) + 1;
    char *p = malloc(n);
    if (p != NULL)
        memcpy(p, text, n);
    return p;
}

static struct store *handle_new(const char *path, const char *vfs, const char *recovery,
                                struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(e, ERR_TEMP, "%s: out of memory", path);
        return NULL;
    }
    s->lock.handle = -1;
    s->path = copy(path);
    s->vfs = copy(vfs);
    s->recovery = copy(recovery);
    if (s->path == NULL || (vfs != NULL && s->vfs == NULL) ||
        (recovery != NULL && s->recovery == NULL)) {
        err_set(e, ERR_TEMP, "%s: out of memory", path);
        store_close(&s);
    }
    return s;
}

/* A statement and its pragma value, which may be the answer that we want to see. */
static bool pragma_i64(struct store *s, const char *sql, int64_t *value, struct err *e)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        *value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
        int last = sqlite3_finalize(statement);
        code = code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : last;
    }
    return code == SQLITE_OK || store_fail(s, code, sql, e);
}

/* "PRAGMA name=value"; the answer, if there is one, is not looked at. */
static bool pragma_set(struct store *s, const char *name, int64_t value, struct err *e)
{
    char sql[96];
    int64_t answer;
    snprintf(sql, sizeof sql, "PRAGMA %s=%" PRId64, name, value);
    return pragma_i64(s, sql, &answer, e);
}

static bool set_wal(struct store *s, struct err *e)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
    bool is_wal = false;
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        is_wal = code == SQLITE_ROW && span_is_nocase(store_column_span(statement, 0), "wal");
        int last = sqlite3_finalize(statement);
        code = code == SQLITE_ROW ? SQLITE_OK : last;
    }
    if (code != SQLITE_OK)
        return store_fail(s, code, "PRAGMA journal_mode=WAL", e);
    return is_wal ||
           err_set(e, ERR_PERM, "%s: this file system does not take a write-ahead log", s->path);
}

/* A database may come from anywhere: nothing in its schema is trusted to run code. */
static bool harden(struct store *s, struct err *e)
{
    static const struct {
        int option, value;
    } switches[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        int code = sqlite3_db_config(s->db, switches[i].option, switches[i].value, NULL);
        if (code != SQLITE_OK)
            return store_fail(s, code, "configure", e);
    }
    return pragma_set(s, "cell_size_check", 1, e) && pragma_set(s, "temp_store", 2, e) &&
           pragma_set(s, "mmap_size", 0, e);
}

static bool connect(struct store *s, const char *vfs, int flags, struct err *e)
{
    int code =
        sqlite3_open_v2(s->path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
    if (code != SQLITE_OK)
        return store_fail(s, code, "open", e);
    code = sqlite3_busy_timeout(s->db, (int)s->busy_timeout_ms);
    if (code != SQLITE_OK)
        return store_fail(s, code, "busy timeout", e);
    return harden(s, e);
}

/* synchronous: EXTRA while the file becomes a WAL one, so that the removal of the rollback journal
 * is on the disk too; a journal that came back after a power cut would undo that change and take
 * the log with everything in it away. FULL from then on: each commit syncs the log.
 * journal_size_limit -1: the log keeps the space that it once had, so that results can still be
 * written into it when the disk is full. */
static bool configure(struct store *s, const struct store_options *o, struct err *e)
{
    unsigned page = o->page_bytes != 0 ? o->page_bytes : PAGE_BYTES;
    unsigned checkpoint = o->checkpoint_pages != 0 ? o->checkpoint_pages : CHECKPOINT_PAGES;
    unsigned cache = o->cache_kib != 0 ? o->cache_kib : CACHE_KIB;
    int64_t actual = 0;
    if (!pragma_set(s, "page_size", page, e) || !pragma_set(s, "synchronous", 3, e) ||
        !set_wal(s, e) || !pragma_set(s, "synchronous", 2, e) ||
        !pragma_set(s, "foreign_keys", 1, e) ||
        !pragma_set(s, "secure_delete", o->secure_delete ? 1 : 0, e) ||
        !pragma_set(s, "wal_autocheckpoint", checkpoint, e) ||
        !pragma_set(s, "journal_size_limit", -1, e) ||
        !pragma_set(s, "cache_size", -(int64_t)cache, e) ||
        !pragma_i64(s, "PRAGMA page_size", &actual, e))
        return false;
    if (actual <= 0)
        return err_set(e, ERR_BUG, "%s: no page size", s->path);
    s->page_bytes = (uint64_t)actual;
    s->max_bytes = o->max_bytes;
    if (o->max_bytes != 0 &&
        !pragma_set(s, "max_page_count", (int64_t)(o->max_bytes / s->page_bytes), e))
        return false;
    return store_prepare(s, "PRAGMA freelist_count", &s->free_pages, e) &&
           store_prepare(s, "PRAGMA page_count", &s->pages, e);
}

/* Another process may do the same at the same time (users.db): look again under the lock. */
static bool migrate_one(struct store *s, const char *sql, int64_t from, struct err *e)
{
    int64_t version = 0;
    if (!store_begin(s, e))
        return false;
    if (!pragma_i64(s, "PRAGMA user_version", &version, e))
        goto fail;
    if (version == from && (!store_exec(s, sql, e) || !pragma_set(s, "user_version", from + 1, e)))
        goto fail;
    return store_commit(s, e);
fail:
    store_rollback(s);
    return false;
}

static bool migrate(struct store *s, const char *const *migrations, size_t count, struct err *e)
{
    int64_t version = 0;
    if (!pragma_i64(s, "PRAGMA user_version", &version, e))
        return false;
    if (version < 0 || (uint64_t)version > count)
        return err_set(e, ERR_PERM,
                       "%s: made by a newer version of this program (schema %" PRId64
                       ", known up to %zu)",
                       s->path, version, count);
    for (size_t i = (size_t)version; i < count; i++) {
        if (!migrate_one(s, migrations[i], (int64_t)i, e))
            return err_wrap(e, "schema %zu", i + 1);
    }
    return true;
}

/* SQLite would make the file as the umask wants it; ours is there before, for the owner alone. The
 * log and its index take mode and owner of the database. A file made by root for the service
 * belongs to whom the folder belongs. */
static bool create_private(const char *path, const char *folder, struct err *e)
{
    struct files_info info;
    enum files_result found = files_stat(path, &info, e);
    if (found != FILES_ABSENT)
        return found == FILES_OK;
    struct durable_file f;
    if (!durable_file_begin(&f, folder, 0600, e))
        return false;
    if (!durable_file_commit(&f, path, false, e)) {
        durable_file_abort(&f);
        return files_stat(path, &info, e) == FILES_OK; /* somebody else was faster */
    }
    return files_own_like(path, folder, e);
}

/* Once there is a log, it and its index are as private as the database. */
static bool seal_log(const struct store *s, struct err *e)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    char path[PATH_TEXT_MAX];
    bool ok = true;
    for (size_t i = 0; ok && i < 2; i++) {
        int n = snprintf(path, sizeof path, "%s%s", s->path, suffixes[i]);
        ok = n > 0 && (size_t)n < sizeof path ? files_rights_like(path, s->path, e)
                                              : err_set(e, ERR_PERM, "%s: path too long", s->path);
    }
    return ok;
}

static bool lock(struct store *s, const char *folder, struct err *e)
{
    char path[PATH_TEXT_MAX];
    bool busy = false;
    int n = snprintf(path, sizeof path, "%s.lock", s->path);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_PERM, "%s: path too long", s->path);
    if (file_lock_open(&s->lock, path, &busy, e))
        return files_own_like(path, folder, e);
    return busy ? err_set(e, ERR_PERM, "%s: another process has it open", s->path) : false;
}

bool store_open(const struct store_options *options, const char *const *migrations, size_t count,
                struct store **out, struct err *e)
{
    *out = NULL;
    struct store *s = handle_new(options->path, options->vfs, options->recovery, e);
    if (s == NULL)
        return false;
    s->busy_timeout_ms = options->busy_timeout_ms;
    const char *vfs = options->gather_log ? gather_vfs(s->vfs) : s->vfs;
    char folder[PATH_TEXT_MAX];
    if (!paths_folder(options->path, folder, sizeof folder)) {
        err_set(e, ERR_PERM, "%s: path too long", options->path);
        store_close(&s);
        return false;
    }
    if ((options->exclusive && !lock(s, folder, e)) || !create_private(s->path, folder, e) ||
        !connect(s, vfs, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e) ||
        !configure(s, options, e) || !migrate(s, migrations, count, e) || !seal_log(s, e)) {
        store_close(&s);
        return false;
    }
    *out = s;
    return true;
}

bool store_open_reader(const struct store *s, struct store **reader, struct err *e)
{
    *reader = NULL;
    struct store *r = handle_new(s->path, s->vfs, s->recovery, e);
    if (r == NULL)
        return false;
    r->page_bytes = s->page_bytes;
    r->busy_timeout_ms = s->busy_timeout_ms;
    if (!connect(r, r->vfs, SQLITE_OPEN_READONLY, e) || !pragma_set(r, "query_only", 1, e) ||
        !pragma_set(r, "cache_size", -(int64_t)READER_CACHE_KIB, e)) {
        store_close(&r);
        return false;
    }
    *reader = r;
    return true;
}

bool store_open_beside(const struct store_options *options, size_t schema, struct store **out,
                       bool *damaged, struct err *e)
{
    int64_t version = 0;
    *out = NULL;
    *damaged = false;
    struct store *s = handle_new(options->path, options->vfs, NULL, e);
    if (s == NULL)
        return false;
    s->busy_timeout_ms = options->busy_timeout_ms;
    bool ok = connect(s, s->vfs, SQLITE_OPEN_READONLY, e) && pragma_set(s, "query_only", 1, e) &&
              pragma_i64(s, "PRAGMA user_version", &version, e);
    if (ok && version != (int64_t)schema)
        ok = err_set(e, ERR_PERM, "%s: it has schema %" PRId64 ", expected %zu", s->path, version,
                     schema);
    else if (!ok && s->db != NULL) {
        int code = sqlite3_errcode(s->db) & 0xff; /* without the extension */
        *damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    }
    if (!ok)
        store_close(&s);
    *out = s;
    return ok;
}

void store_close(struct store **s)
{
    if (s == NULL || *s == NULL)
        return;
    struct store *gone = *s;
    if (gone->db != NULL) {
        store_rollback(gone);
        for (sqlite3_stmt *p; (p = sqlite3_next_stmt(gone->db, NULL)) != NULL;)
            sqlite3_finalize(p);
        sqlite3_close(gone->db);
    }
    file_lock_close(&gone->lock);
    free(gone->path);
    free(gone->vfs);
    free(gone->recovery);
    free(gone);
    *s = NULL;
}

static bool count_pages(struct store *s, sqlite3_stmt *statement, uint64_t *pages, struct err *e)
{
    enum store_step step = store_step(s, statement, e);
    if (step == STORE_FAILED)
        return false;
    *pages = step == STORE_ROW ? (uint64_t)store_column_i64(statement, 0) : 0;
    store_reset(statement);
    return true;
}

/* What the file will still grow by when the log is written back: that space is spoken for. */
static bool owed(struct store *s, uint64_t used, uint64_t *bytes, struct err *e)
{
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    int code = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK && file != NULL && file->pMethods != NULL)
        code = file->pMethods->xFileSize(file, &size);
    if (code != SQLITE_OK)
        return store_fail(s, code, "file size", e);
    *bytes = used > (uint64_t)size ? used - (uint64_t)size : 0;
    return true;
}

bool store_room(struct store *s, uint64_t *bytes, struct err *e)
{
    uint64_t inside = 0, pages = 0, growth = 0, spoken_for = 0;
    if (!count_pages(s, s->free_pages, &inside, e) || !count_pages(s, s->pages, &pages, e) ||
        !owed(s, pages * s->page_bytes, &spoken_for, e) || !files_free_bytes(s->path, &growth, e))
        return false;
    growth -= spoken_for < growth ? spoken_for : growth;
    if (s->max_bytes != 0) {
        uint64_t used = pages * s->page_bytes;
        uint64_t left = used < s->max_bytes ? s->max_bytes - used : 0;
        growth = left < growth ? left : growth;
    }
    *bytes = inside * s->page_bytes + growth;
    return true;
}

bool store_check(struct store *s, struct buf *report, bool *sound, struct err *e)
{
    sqlite3_stmt *statement = NULL;
    struct err cause = {0};
    *sound = false;
    if (e == NULL)
        e = &cause;
    if (!store_prepare(s, "PRAGMA integrity_check(100)", &statement, e))
        return false;
    size_t rows = 0;
    bool ok = true;
    enum store_step step;
    while ((step = store_step(s, statement, e)) == STORE_ROW) {
        struct span line = store_column_span(statement, 0);
        ok = ok && span_is(line, "ok");
        if (rows++ > 0)
            buf_add_byte(report, '\n');
        buf_add(report, line);
    }
    sqlite3_finalize(statement);
    *sound = step == STORE_DONE && ok && rows == 1;
    if (step == STORE_DONE || e->class != ERR_PERM)
        return step == STORE_DONE;
    buf_addf(report, "%s%s", rows > 0 ? "\n" : "", e->text); /* too damaged to be gone through */
    return true;
}
