/* statement.c - statements, transactions and what SQLite's result codes mean to us. */
#include "store/handle.h"

#include <limits.h>

/* Extended codes carry the primary one in their low byte. */
static enum err_class class_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_NOMEM:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
    case SQLITE_NOLFS: return ERR_TEMP;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_PERM:
    case SQLITE_TOOBIG: return ERR_PERM;
    default: return ERR_BUG;
    }
}

static bool is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

bool store_fail(struct store *s, int code, const char *act, struct err *e)
{
    /* The connection's message is about its last failure; use it only when that is this one. */
    const char *cause = s->db != NULL && sqlite3_extended_errcode(s->db) == code
                            ? sqlite3_errmsg(s->db)
                            : sqlite3_errstr(code);
    err_set(e, class_of(code), "%s: %s: %s (SQLite %d)", s->path, act, cause, code);
    if (is_damage(code) && s->recovery != NULL && e != NULL)
        err_set(e, ERR_PERM, "%s: %s: the file is damaged: %s (SQLite %d); %s", s->path, act, cause,
                code, s->recovery);
    return false;
}

bool store_prepare(struct store *s, const char *sql, sqlite3_stmt **statement, struct err *e)
{
    *statement = NULL;
    int code = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return code == SQLITE_OK || store_fail(s, code, "prepare", e);
}

void store_finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
    *statement = NULL;
}

/* A failed bind leaves the parameter NULL. Every parameter that must not be NULL has a NOT NULL
 * column or a comparison behind it, so the step fails or finds nothing; binding fails only without
 * memory or beyond SQLITE_MAX_LENGTH, which callers bound before. */
void store_bind_i64(sqlite3_stmt *statement, int n, int64_t value)
{
    sqlite3_bind_int64(statement, n, value);
}

void store_bind_text(sqlite3_stmt *statement, int n, struct span text)
{
    sqlite3_bind_text64(statement, n, text.n == 0 ? "" : (const char *)text.p, text.n,
                        SQLITE_STATIC, SQLITE_UTF8);
}

void store_bind_blob(sqlite3_stmt *statement, int n, struct span bytes)
{
    sqlite3_bind_blob64(statement, n, bytes.n == 0 ? (const uint8_t *)"" : bytes.p, bytes.n,
                        SQLITE_STATIC);
}

void store_bind_null(sqlite3_stmt *statement, int n)
{
    sqlite3_bind_null(statement, n);
}

enum store_step store_step(struct store *s, sqlite3_stmt *statement, struct err *e)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return STORE_ROW;
    bool done = code == SQLITE_DONE;
    if (!done)
        store_fail(s, code, sqlite3_sql(statement), e);
    sqlite3_reset(statement);
    return done ? STORE_DONE : STORE_FAILED;
}

void store_reset(sqlite3_stmt *statement)
{
    if (statement != NULL)
        sqlite3_reset(statement);
}

bool store_run(struct store *s, sqlite3_stmt *statement, struct err *e)
{
    enum store_step step = store_step(s, statement, e);
    if (step != STORE_ROW)
        return step == STORE_DONE;
    store_reset(statement);
    return err_set(e, ERR_BUG, "%s: unexpected row from: %s", s->path, sqlite3_sql(statement));
}

bool store_run_counted(struct store *s, sqlite3_stmt *statement, int *changed, struct err *e)
{
    *changed = 0;
    if (!store_run(s, statement, e))
        return false;
    *changed = sqlite3_changes(s->db);
    return true;
}

int64_t store_column_i64(sqlite3_stmt *statement, int n)
{
    return sqlite3_column_int64(statement, n);
}

struct span store_column_span(sqlite3_stmt *statement, int n)
{
    const void *p = sqlite3_column_blob(statement, n);
    int size = sqlite3_column_bytes(statement, n);
    return p == NULL || size <= 0 ? (struct span){0} : span_of(p, (size_t)size);
}

bool store_column_is_null(sqlite3_stmt *statement, int n)
{
    return sqlite3_column_type(statement, n) == SQLITE_NULL;
}

bool store_exec(struct store *s, const char *sql, struct err *e)
{
    int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK || store_fail(s, code, sql, e);
}

bool store_begin(struct store *s, struct err *e)
{
    return store_exec(s, "BEGIN IMMEDIATE", e);
}

bool store_commit(struct store *s, struct err *e)
{
    if (sqlite3_get_autocommit(s->db) != 0)
        return err_set(e, ERR_TEMP, "%s: commit: the transaction was rolled back", s->path);
    if (store_exec(s, "COMMIT", e))
        return true;
    store_rollback(s);
    return false;
}

void store_rollback(struct store *s)
{
    if (sqlite3_get_autocommit(s->db) == 0)
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

void store_checkpoint(struct store *s)
{
    (void)sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
}

struct sqlite3 *store_handle(struct store *s)
{
    return s->db;
}
