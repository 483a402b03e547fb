#include "auth/userdb.h"

#include "auth/identity.h"
#include "auth/scram.h"
#include "base/secret.h"
#include "platform/clock.h"
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/mutex.h"
#include "platform/random.h"
#include "store/store.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_SIZE = 32, DECOY_NAME_MAX = 1024 };

/* `counter` counts the changes; an account's version is the counter's value at its last change.
 * `secret` is what decoys are made from; it never leaves the file but for that. */
static const char *const migrations[] = {
    "CREATE TABLE account ("
    "  name TEXT NOT NULL PRIMARY KEY,"
    "  iterations INTEGER NOT NULL CHECK (iterations > 0),"
    "  salt BLOB NOT NULL,"
    "  stored_key BLOB NOT NULL CHECK (length(stored_key) = 32),"
    "  server_key BLOB NOT NULL CHECK (length(server_key) = 32),"
    "  disabled INTEGER NOT NULL DEFAULT 0,"
    "  version INTEGER NOT NULL,"
    "  changed_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), counter INTEGER NOT NULL,"
    "  secret BLOB NOT NULL);"
    "INSERT INTO meta VALUES (1, 0, randomblob(32));",
};

enum statement {
    SQL_GET,
    SQL_LIST,
    SQL_META,
    SQL_USUAL_ITERATIONS,
    SQL_COUNT_UP,
    SQL_ADD,
    SQL_PASSWD,
    SQL_REMOVE,
    SQL_DISABLE,
    SQL_STATEMENTS,
};

#define THIS_VERSION "(SELECT counter FROM meta)"
static const char *const sql[SQL_STATEMENTS] = {
    [SQL_GET] = "SELECT name, disabled, version, changed_ms, iterations, salt, stored_key,"
                " server_key FROM account WHERE name = ?1",
    [SQL_LIST] = "SELECT name, disabled, version, changed_ms FROM account ORDER BY name",
    [SQL_META] = "SELECT counter, secret FROM meta",
    [SQL_USUAL_ITERATIONS] = "SELECT iterations FROM account GROUP BY iterations"
                             " ORDER BY count(*) DESC, iterations DESC LIMIT 1",
    [SQL_COUNT_UP] = "UPDATE meta SET counter = counter + 1",
    [SQL_ADD] = "INSERT INTO account (name, changed_ms, iterations, salt, stored_key, server_key,"
                " version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, " THIS_VERSION ")"
                " ON CONFLICT (name) DO NOTHING",
    [SQL_PASSWD] = "UPDATE account SET changed_ms = ?2, iterations = ?3, salt = ?4,"
                   " stored_key = ?5, server_key = ?6, version = " THIS_VERSION " WHERE name = ?1",
    [SQL_REMOVE] = "DELETE FROM account WHERE name = ?1",
    [SQL_DISABLE] = "UPDATE account SET changed_ms = ?2, disabled = ?3,"
                    " version = " THIS_VERSION " WHERE name = ?1",
};

struct userdb {
    struct mutex *lock; /* guards all below; keys are derived without it */
    struct store *store;
    sqlite3_stmt *statements[SQL_STATEMENTS];
    uint8_t secret[SECRET_SIZE];
    /* The iterations that most accounts have, as of that counter. */
    int64_t usual_counter;
    uint32_t usual_iterations; /* 0 = there is no account */
};

bool userdb_normalise(struct span name, char *out)
{
    out[0] = 0;
    if (!identity_account_ok(name) || !span_cstr(name, out, USERDB_NAME_MAX + 1))
        return false;
    ascii_lower_str(out);
    return true;
}

bool userdb_password_ok(struct span password)
{
    return password.n > 0 && password.n <= USERDB_PASSWORD_MAX && identity_text_ok(password);
}

/* The file has to be there, private and with its right owner, before SQLite opens it: SQLite gives
 * the -wal and -shm files beside it the same mode and owner. */
static bool make_file(const char *path, struct err *e)
{
    char folder[PATH_TEXT_MAX];
    struct durable_file f;
    if (!paths_folder(path, folder, sizeof folder))
        return err_set(e, ERR_PERM, "%s: the path is too long", path);
    if (!durable_file_begin(&f, folder, 0600, e))
        return err_wrap(e, "%s: cannot make it", path);
    if (!files_own_like(f.temporary, folder, e) || !durable_file_commit(&f, path, false, e)) {
        durable_file_abort(&f);
        struct files_info info;
        if (files_stat(path, &info, NULL) == FILES_OK)
            return true; /* somebody else has made it meanwhile */
        return err_wrap(e, "%s: cannot make it", path);
    }
    return true;
}

static bool read_meta(struct userdb *db, int64_t *counter, struct err *e)
{
    sqlite3_stmt *st = db->statements[SQL_META];
    if (store_step(db->store, st, e) != STORE_ROW)
        return err_wrap(e, "users.db");
    *counter = store_column_i64(st, 0);
    struct span secret = store_column_span(st, 1);
    bool ok = secret.n == SECRET_SIZE;
    if (ok)
        memcpy(db->secret, secret.p, SECRET_SIZE);
    store_reset(st);
    return ok || err_set(e, ERR_PERM, "users.db: its secret is damaged");
}

bool userdb_open(const char *path, bool create, struct userdb **out, struct err *e)
{
    struct files_info info;
    enum files_result found = files_stat(path, &info, e);
    if (found == FILES_FAILED)
        return false;
    if (found == FILES_ABSENT && !create)
        return err_set(e, ERR_PERM, "%s: there is no user database", path);
    if (found == FILES_ABSENT && !make_file(path, e))
        return false;
    struct userdb *db = calloc(1, sizeof *db);
    if (db == NULL || (db->lock = mutex_new()) == NULL) {
        free(db);
        return err_set(e, ERR_TEMP, "users.db: no memory");
    }
    struct store_options options = {
        .path = path,
        .secure_delete = true,
        .busy_timeout_ms = 5000,
        .cache_kib = 512,
        .recovery = "see docs/administration.md, \"The user database\"",
    };
    bool ok =
        store_open(&options, migrations, sizeof migrations / sizeof *migrations, &db->store, e);
    for (size_t i = 0; ok && i < SQL_STATEMENTS; i++)
        ok = store_prepare(db->store, sql[i], &db->statements[i], e);
    db->usual_counter = -1;
    int64_t counter;
    if (!ok || !read_meta(db, &counter, e)) {
        userdb_close(&db);
        return false;
    }
    *out = db;
    return true;
}

void userdb_close(struct userdb **db)
{
    if (db == NULL || *db == NULL)
        return;
    store_close(&(*db)->store);
    mutex_free(&(*db)->lock);
    secret_wipe_bytes((*db)->secret, SECRET_SIZE);
    free(*db);
    *db = NULL;
}

static enum userdb_result bad_name(struct err *e)
{
    err_set(e, ERR_PERM,
            "a user name is 1 to %d bytes of UTF-8 without control characters, backslashes and "
            "spaces at its ends",
            USERDB_NAME_MAX);
    return USERDB_BAD_NAME;
}

static enum userdb_result new_verifier(struct span password, uint32_t iterations,
                                       struct scram_verifier *v, struct err *e)
{
    if (!userdb_password_ok(password)) {
        err_set(e, ERR_PERM,
                password.n == 0
                    ? "the password is empty"
                    : "a password is at most %d bytes of UTF-8 without control characters",
                USERDB_PASSWORD_MAX);
        return USERDB_BAD_PASSWORD;
    }
    if (iterations < AUTH_ITERATIONS_LEAST) {
        err_set(e, ERR_BUG, "users.db: %u iterations are too few", (unsigned)iterations);
        return USERDB_FAILED;
    }
    *v = (struct scram_verifier){.iterations = iterations, .salt_n = SCRAM_SALT_SIZE};
    random_bytes(v->salt, v->salt_n);
    return scram_derive(password, v, e) ? USERDB_DONE : USERDB_FAILED;
}

/* One change: the counter goes up and the statement, whose parameters from 2 on are bound, runs on
 * the account. Releases the lock that the caller took to bind them. */
static enum userdb_result change(struct userdb *db, enum statement which, const char *name,
                                 enum userdb_result when_none, struct err *e)
{
    sqlite3_stmt *st = db->statements[which];
    int changed = 0;
    store_bind_text(st, 1, span_str(name));
    bool ok = store_begin(db->store, e) && store_run(db->store, db->statements[SQL_COUNT_UP], e) &&
              store_run_counted(db->store, st, &changed, e);
    if (!ok || changed == 0)
        store_rollback(db->store);
    else
        ok = store_commit(db->store, e);
    mutex_unlock(db->lock);
    if (!ok) {
        err_wrap(e, "users.db");
        return USERDB_FAILED;
    }
    if (changed > 0)
        return USERDB_DONE;
    err_set(e, ERR_PERM,
            when_none == USERDB_EXISTS ? "there is already a user %s" : "there is no user %s",
            name);
    return when_none;
}

static enum userdb_result set_password(struct userdb *db, bool add, const char *name,
                                       struct span password, uint32_t iterations, struct err *e)
{
    char normal[USERDB_NAME_MAX + 1];
    struct scram_verifier v;
    if (!userdb_normalise(span_str(name), normal))
        return bad_name(e);
    enum userdb_result result = new_verifier(password, iterations, &v, e);
    if (result != USERDB_DONE)
        return result;
    enum statement which = add ? SQL_ADD : SQL_PASSWD;
    mutex_lock(db->lock);
    sqlite3_stmt *st = db->statements[which];
    store_bind_i64(st, 2, clock_wall_ms());
    store_bind_i64(st, 3, v.iterations);
    store_bind_blob(st, 4, span_of(v.salt, v.salt_n));
    store_bind_blob(st, 5, span_of(v.stored_key, SCRAM_KEY_SIZE));
    store_bind_blob(st, 6, span_of(v.server_key, SCRAM_KEY_SIZE));
    result = change(db, which, normal, add ? USERDB_EXISTS : USERDB_UNKNOWN, e);
    secret_wipe_bytes(&v, sizeof v);
    return result;
}

enum userdb_result userdb_add(struct userdb *db, const char *name, struct span password,
                              uint32_t iterations, struct err *e)
{
    return set_password(db, true, name, password, iterations, e);
}

enum userdb_result userdb_passwd(struct userdb *db, const char *name, struct span password,
                                 uint32_t iterations, struct err *e)
{
    return set_password(db, false, name, password, iterations, e);
}

enum userdb_result userdb_remove(struct userdb *db, const char *name, struct err *e)
{
    char normal[USERDB_NAME_MAX + 1];
    if (!userdb_normalise(span_str(name), normal))
        return bad_name(e);
    mutex_lock(db->lock);
    return change(db, SQL_REMOVE, normal, USERDB_UNKNOWN, e);
}

enum userdb_result userdb_set_disabled(struct userdb *db, const char *name, bool disabled,
                                       struct err *e)
{
    char normal[USERDB_NAME_MAX + 1];
    if (!userdb_normalise(span_str(name), normal))
        return bad_name(e);
    mutex_lock(db->lock);
    store_bind_i64(db->statements[SQL_DISABLE], 2, clock_wall_ms());
    store_bind_i64(db->statements[SQL_DISABLE], 3, disabled ? 1 : 0);
    return change(db, SQL_DISABLE, normal, USERDB_UNKNOWN, e);
}

static bool read_entry(sqlite3_stmt *st, struct userdb_entry *entry)
{
    *entry = (struct userdb_entry){
        .disabled = store_column_i64(st, 1) != 0,
        .version = (uint64_t)store_column_i64(st, 2),
        .changed_wall_ms = store_column_i64(st, 3),
    };
    return span_cstr(store_column_span(st, 0), entry->name, sizeof entry->name);
}

static bool read_verifier(sqlite3_stmt *st, struct scram_verifier *v)
{
    int64_t iterations = store_column_i64(st, 4);
    struct span salt = store_column_span(st, 5), stored = store_column_span(st, 6),
                server = store_column_span(st, 7);
    if (iterations <= 0 || iterations > INT32_MAX || salt.n == 0 || salt.n > SCRAM_SALT_MAX ||
        stored.n != SCRAM_KEY_SIZE || server.n != SCRAM_KEY_SIZE)
        return false;
    v->iterations = (uint32_t)iterations;
    v->salt_n = salt.n;
    memcpy(v->salt, salt.p, salt.n);
    memcpy(v->stored_key, stored.p, SCRAM_KEY_SIZE);
    memcpy(v->server_key, server.p, SCRAM_KEY_SIZE);
    return true;
}

enum userdb_result userdb_get(struct userdb *db, const char *name, struct userdb_entry *entry,
                              struct err *e)
{
    mutex_lock(db->lock);
    sqlite3_stmt *st = db->statements[SQL_GET];
    store_bind_text(st, 1, span_str(name));
    enum store_step step = store_step(db->store, st, e);
    enum userdb_result result = step == STORE_ROW    ? USERDB_DONE
                                : step == STORE_DONE ? USERDB_UNKNOWN
                                                     : USERDB_FAILED;
    if (result == USERDB_DONE) {
        if (!read_entry(st, entry) || !read_verifier(st, &entry->verifier)) {
            err_set(e, ERR_PERM, "users.db: the entry of %s is damaged", name);
            result = USERDB_FAILED;
        }
        store_reset(st);
    } else if (result == USERDB_UNKNOWN) {
        err_set(e, ERR_PERM, "there is no user %s", name);
    }
    mutex_unlock(db->lock);
    return result;
}

bool userdb_list(struct userdb *db, bool (*each)(void *context, const struct userdb_entry *entry),
                 void *context, struct err *e)
{
    mutex_lock(db->lock);
    sqlite3_stmt *st = db->statements[SQL_LIST];
    enum store_step step;
    bool more = true;
    while ((step = store_step(db->store, st, e)) == STORE_ROW && more) {
        struct userdb_entry entry;
        more = !read_entry(st, &entry) || each(context, &entry);
    }
    if (step == STORE_ROW)
        store_reset(st);
    mutex_unlock(db->lock);
    return step != STORE_FAILED || err_wrap(e, "users.db");
}

static bool refresh_usual(struct userdb *db, struct err *e)
{
    int64_t counter = 0;
    if (!read_meta(db, &counter, e))
        return false;
    if (counter == db->usual_counter)
        return true;
    sqlite3_stmt *st = db->statements[SQL_USUAL_ITERATIONS];
    enum store_step step = store_step(db->store, st, e);
    if (step == STORE_FAILED)
        return err_wrap(e, "users.db");
    db->usual_iterations = 0;
    if (step == STORE_ROW) {
        db->usual_iterations = (uint32_t)store_column_i64(st, 0);
        store_reset(st);
    }
    db->usual_counter = counter;
    return true;
}

static bool decoy_part(const uint8_t secret[SECRET_SIZE], uint8_t label, const char *name,
                       uint8_t out[SCRAM_KEY_SIZE])
{
    uint8_t text[DECOY_NAME_MAX + 1];
    size_t n = strlen(name);
    if (n > DECOY_NAME_MAX) /* no name that comes here is so long */
        return false;
    text[0] = label;
    memcpy(text + 1, name, n);
    unsigned written = 0;
    return HMAC(EVP_sha256(), secret, SECRET_SIZE, text, n + 1, out, &written) != NULL;
}

bool userdb_decoy(struct userdb *db, const char *name, uint32_t iterations,
                  struct scram_verifier *v, struct err *e)
{
    uint8_t secret[SECRET_SIZE], salt[SCRAM_KEY_SIZE] = {0};
    mutex_lock(db->lock);
    bool ok = refresh_usual(db, e);
    *v = (struct scram_verifier){
        .iterations = db->usual_iterations != 0 ? db->usual_iterations : iterations,
        .salt_n = SCRAM_SALT_SIZE,
    };
    memcpy(secret, db->secret, SECRET_SIZE);
    mutex_unlock(db->lock);
    if (ok &&
        (!decoy_part(secret, 's', name, salt) || !decoy_part(secret, 'k', name, v->stored_key) ||
         !decoy_part(secret, 'v', name, v->server_key)))
        ok = err_set(e, ERR_TEMP, "users.db: the crypto library failed");
    memcpy(v->salt, salt, v->salt_n);
    secret_wipe_bytes(secret, sizeof secret);
    return ok;
}
