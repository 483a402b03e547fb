/* store.h - one SQLite file, opened the way we need it, for the queue and for the user database.
 *
 * A store is durable or it says no: WAL with synchronous=FULL, so that store_commit returns true
 * only when the log is on the disk (SQLite, "Write-Ahead Logging" and "PRAGMA synchronous").
 * Files are made with mode 0600; -wal and -shm take the mode of the database.
 *
 * Owner: whoever opened it; closing it finalises every statement that it prepared.
 * Threads: one at a time for each handle; open a reader (its own connection) for another thread.
 * Failure: ERR_TEMP for a full disk, an I/O error, a busy file, no memory, no descriptor;
 *     ERR_PERM for a damaged file, a file that is none of ours, one made by a newer version, or one
 *     that another process holds; ERR_BUG for SQL that is wrong. A damaged file's text tells how to
 *     recover it. An error inside a transaction may have rolled it back: roll back and start again.
 */
#ifndef POSTERN_STORE_STORE_H
#define POSTERN_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct sqlite3;
struct sqlite3_stmt;
struct store;

struct store_options {
    const char *path;
    const char *vfs;           /* NULL: the system's own */
    const char *recovery;      /* for a damaged file: "see docs/queue.md" */
    bool exclusive;            /* for one process only: holds an OS lock on `path`.lock */
    bool secure_delete;        /* overwrite what is deleted (users.db yes, queue.db no) */
    bool gather_log;           /* few large writes; synchronous must then stay FULL */
    unsigned busy_timeout_ms;  /* how long a statement waits for another connection */
    unsigned page_bytes;       /* of a new file; 0: 4096 */
    unsigned checkpoint_pages; /* WAL pages before a checkpoint; 0: SQLite's 1000 */
    unsigned cache_kib;        /* page cache at most; 0: 2048 */
    uint64_t max_bytes;        /* the database file at most; 0: no bound of ours */
};

/* Opens the file, makes it when it is missing, and brings its schema to version `count`:
 * migrations[i] is the SQL that leads from user_version i to i + 1; each runs in a transaction of
 * its own. A file with a higher user_version is refused. */
bool store_open(const struct store_options *options, const char *const *migrations, size_t count,
                struct store **s, struct err *e);
/* A second, read-only connection to the same file, for another thread. It keeps the path, not s. */
bool store_open_reader(const struct store *s, struct store **reader, struct err *e);
/* A read-only connection to a file that another process may own; takes no lock of ours and migrates
 * nothing. Refused with ERR_PERM unless its schema is of this version; *damaged: because the file
 * is damaged. Of the options, path, vfs and busy_timeout_ms count. */
bool store_open_beside(const struct store_options *options, size_t schema, struct store **s,
                       bool *damaged, struct err *e);
void store_close(struct store **s); /* NULL and a NULL store are taken */

/* Statements are prepared once, belong to the store and are finalised by store_close. */
bool store_prepare(struct store *s, const char *sql, struct sqlite3_stmt **statement,
                   struct err *e);

void store_finalize(struct sqlite3_stmt **statement); /* one that is used once */

/* Parameters count from 1. Spans are borrowed until the statement is reset; an empty span binds
 * an empty text or blob, never NULL. A failure of a bind shows in the following step. */
void store_bind_i64(struct sqlite3_stmt *statement, int n, int64_t value);
void store_bind_text(struct sqlite3_stmt *statement, int n, struct span text);
void store_bind_blob(struct sqlite3_stmt *statement, int n, struct span bytes);
void store_bind_null(struct sqlite3_stmt *statement, int n);

enum store_step { STORE_ROW, STORE_DONE, STORE_FAILED };

/* One row at a time. After STORE_DONE and STORE_FAILED the statement is already reset; leave off
 * earlier with store_reset. */
enum store_step store_step(struct store *s, struct sqlite3_stmt *statement, struct err *e);
void store_reset(struct sqlite3_stmt *statement);
/* Steps a statement that gives no rows, and resets it. */
bool store_run(struct store *s, struct sqlite3_stmt *statement, struct err *e);
/* As store_run; *changed tells how many rows it changed. */
bool store_run_counted(struct store *s, struct sqlite3_stmt *statement, int *changed,
                       struct err *e);

/* Columns count from 0; spans live until the next step or reset. NULL is 0 and the empty span. */
int64_t store_column_i64(struct sqlite3_stmt *statement, int n);
struct span store_column_span(struct sqlite3_stmt *statement, int n);
bool store_column_is_null(struct sqlite3_stmt *statement, int n);

/* Runs SQL text without results (several statements are taken). Not for outside bytes. */
bool store_exec(struct store *s, const char *sql, struct err *e);

/* BEGIN IMMEDIATE; COMMIT (durable when it returns true); ROLLBACK (also after a failure that has
 * rolled back already). A failed commit has been rolled back. */
bool store_begin(struct store *s, struct err *e);
bool store_commit(struct store *s, struct err *e);
void store_rollback(struct store *s);

/* Bytes that can still be stored: free pages inside the file, plus what the file may still grow by
 * (the free disk space, and max_bytes). Pages freed earlier count at once. */
bool store_room(struct store *s, uint64_t *bytes, struct err *e);

/* Writes the log back into the database and starts the log anew where no reader is in the way. Used
 * after SQLITE_FULL, since the log can then be written from its start again. Never fails loudly. */
void store_checkpoint(struct store *s);

/* `pragma integrity_check`: true when it ran; the report gets "ok" or the findings, one a line. */
bool store_check(struct store *s, struct buf *report, bool *sound, struct err *e);

/* For the rare call that has no helper here. */
struct sqlite3 *store_handle(struct store *s);
/* Fills *e from an SQLite result code of this store and returns false. */
bool store_fail(struct store *s, int code, const char *act, struct err *e);

#endif
