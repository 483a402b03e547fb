/* Opening, migrating and checking a store; what its failures are called. */
#include "store/store.h"
#include "support/queue_kit.h"
#include "support/test.h"

#include "platform/files.h"

#include <sqlite3.h>

static const char *const migrations[] = {
    "CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT NOT NULL);",
    "ALTER TABLE t ADD COLUMN more INTEGER NOT NULL DEFAULT 7;"
    "CREATE TABLE u(id INTEGER PRIMARY KEY);",
};

struct fixture {
    char folder[256], path[300];
    struct store_options options;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    kit_folder(f->folder, sizeof f->folder);
    snprintf(f->path, sizeof f->path, "%s/queue.db", f->folder);
    f->options = (struct store_options){
        .path = f->path, .recovery = "do as docs/queue.md says", .busy_timeout_ms = 20};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    kit_folder_remove(f->folder);
    free(f);
    return 0;
}

static struct store *open_store(struct fixture *f, size_t versions)
{
    struct store *s;
    struct err e = {0};
    if (!store_open(&f->options, migrations, versions, &s, &e))
        fail_msg("open: %s", e.text);
    return s;
}

static int64_t number(struct store *s, const char *sql)
{
    struct sqlite3_stmt *st;
    struct err e = {0};
    if (!store_prepare(s, sql, &st, &e))
        fail_msg("%s", e.text);
    assert_int_equal(store_step(s, st, &e), STORE_ROW);
    int64_t n = store_column_i64(st, 0);
    store_finalize(&st);
    return n;
}

/* Another connection reads the log from the file: whatever it may see must be there. The cache is
 * too small for some of the transactions, and some writes are larger than what is gathered. */
static void a_gathered_log_is_in_the_file_when_a_commit_shows(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    f->options.gather_log = true;
    f->options.cache_kib = 64;
    f->options.checkpoint_pages = 100;
    struct store *s = open_store(f, 1), *r;
    if (!store_open_reader(s, &r, &e))
        fail_msg("reader: %s", e.text);
    int64_t expected = 0;
    for (int64_t i = 1; i <= 200; i++) {
        char sql[120];
        int64_t n = i % 7 == 0 ? 400000 : 300 * i;
        snprintf(sql, sizeof sql, "INSERT INTO t(id, text) VALUES(%d, zeroblob(%d))", (int)i,
                 (int)n);
        assert_true(store_begin(s, &e) && store_exec(s, sql, &e));
        assert_int_equal(number(s, "SELECT total(length(text)) FROM t"), expected + n);
        assert_int_equal(number(r, "SELECT total(length(text)) FROM t"), expected);
        if (i % 5 == 0) {
            store_rollback(s);
        } else {
            assert_true(store_commit(s, &e));
            expected += n;
        }
        assert_int_equal(number(r, "SELECT total(length(text)) FROM t"), expected);
    }
    store_close(&r);
    store_close(&s);
    s = open_store(f, 1);
    assert_int_equal(number(s, "SELECT total(length(text)) FROM t"), expected);
    store_close(&s);
}

static void a_gathered_log_on_a_vfs_that_is_not_there_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct store *s;
    struct err e = {0};
    f->options.gather_log = true;
    f->options.vfs = "no-such-vfs";
    assert_false(store_open(&f->options, migrations, 1, &s, &e));
    assert_null(s);
}

static void a_new_file_is_durable_hardened_and_for_its_owner_alone(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    f->options.secure_delete = true;
    struct store *s = open_store(f, 1);
    assert_int_equal(number(s, "PRAGMA synchronous"), 2);
    assert_int_equal(number(s, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(s, "PRAGMA trusted_schema"), 0);
    assert_int_equal(number(s, "PRAGMA cell_size_check"), 1);
    assert_int_equal(number(s, "PRAGMA secure_delete"), 1);
    assert_int_equal(number(s, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    assert_true(store_exec(s, "INSERT INTO t(text) VALUES('x')", &e));
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[320];
        struct files_info info;
        snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
        assert_int_equal(files_stat(path, &info, &e), FILES_OK);
        assert_false(info.others_read || info.others_write);
    }
    store_close(&s);
    assert_null(s);
    store_close(&s);
    f->options.secure_delete = false;
    s = open_store(f, 1);
    assert_int_equal(number(s, "PRAGMA secure_delete"), 0);
    store_close(&s);
}

static void migrations_lead_from_any_version_to_the_newest(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct store *s = open_store(f, 1);
    assert_int_equal(number(s, "PRAGMA user_version"), 1);
    assert_true(store_exec(s, "INSERT INTO t(id, text) VALUES(1, 'old')", &e));
    store_close(&s);
    s = open_store(f, 2);
    assert_int_equal(number(s, "PRAGMA user_version"), 2);
    assert_int_equal(number(s, "SELECT more FROM t WHERE text = 'old'"), 7);
    store_close(&s);
    assert_false(store_open(&f->options, migrations, 1, &s, &e));
    assert_null(s);
    assert_int_equal(e.class, ERR_PERM);
    assert_non_null(strstr(e.text, "newer version"));
}

static void a_migration_that_fails_leaves_the_version_before_it(void **state)
{
    struct fixture *f = *state;
    static const char *const broken[] = {"CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);",
                                         "CREATE TABLE half(id); CREATE TABLE t(id);"};
    struct store *s;
    struct err e = {0};
    assert_false(store_open(&f->options, broken, 2, &s, &e));
    assert_int_equal(e.class, ERR_BUG);
    s = open_store(f, 1);
    assert_int_equal(number(s, "PRAGMA user_version"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    store_close(&s);
}

static void an_exclusive_store_is_opened_once(void **state)
{
    struct fixture *f = *state;
    struct store *again;
    struct err e = {0};
    f->options.exclusive = true;
    struct store *s = open_store(f, 1);
    assert_false(store_open(&f->options, migrations, 1, &again, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_non_null(strstr(e.text, "another process"));
    store_close(&s);
    s = open_store(f, 1);
    store_close(&s);
}

static void two_handles_share_a_file_and_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct store *a = open_store(f, 1), *b = open_store(f, 1);
    assert_true(store_begin(a, &e));
    assert_false(store_begin(b, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_true(store_exec(a, "INSERT INTO t(text) VALUES('x')", &e));
    assert_int_equal(number(b, "SELECT count(*) FROM t"), 0);
    assert_true(store_commit(a, &e));
    assert_int_equal(number(b, "SELECT count(*) FROM t"), 1);
    assert_true(store_begin(b, &e));
    store_rollback(b);
    store_rollback(b); /* none is open: harmless */
    assert_false(store_commit(b, &e));
    assert_int_equal(e.class, ERR_TEMP);
    store_close(&a);
    store_close(&b);
}

static void a_reader_reads_and_never_writes(void **state)
{
    struct fixture *f = *state;
    struct store *reader;
    struct err e = {0};
    struct store *s = open_store(f, 1);
    assert_true(store_open_reader(s, &reader, &e));
    assert_true(store_exec(s, "INSERT INTO t(text) VALUES('x')", &e));
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 1);
    assert_false(store_exec(reader, "DELETE FROM t", &e));
    assert_int_equal(e.class, ERR_TEMP); /* SQLITE_READONLY */
    assert_int_equal(number(s, "SELECT count(*) FROM t"), 1);
    store_close(&reader);
    store_close(&s);
}

static void statements_carry_bytes_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct store *s = open_store(f, 1);
    struct sqlite3_stmt *add, *get;
    int changed;
    static const char text[] = "a\0b'; DROP TABLE t; --";
    assert_true(store_prepare(s, "INSERT INTO t(id, text) VALUES(?1, ?2)", &add, &e));
    assert_true(store_prepare(s, "SELECT text FROM t WHERE id = ?1", &get, &e));
    store_bind_i64(add, 1, INT64_MAX);
    store_bind_text(add, 2, span_of(text, sizeof text - 1));
    assert_true(store_run_counted(s, add, &changed, &e));
    assert_int_equal(changed, 1);
    store_bind_i64(get, 1, INT64_MAX);
    assert_int_equal(store_step(s, get, &e), STORE_ROW);
    assert_true(span_equal(store_column_span(get, 0), span_of(text, sizeof text - 1)));
    assert_int_equal(store_step(s, get, &e), STORE_DONE);
    store_bind_i64(add, 1, 2);
    store_bind_text(add, 2, (struct span){0});
    assert_true(store_run(s, add, &e)); /* empty, not NULL: the column takes no NULL */
    store_bind_i64(add, 1, 2);
    assert_false(store_run(s, add, &e)); /* the key is there: our own mistake */
    assert_int_equal(e.class, ERR_BUG);
    store_bind_i64(add, 1, 3);
    assert_true(store_run(s, add, &e)); /* and the statement is usable again */
    assert_false(store_prepare(s, "SELECT nothing FROM nowhere", &get, &e));
    assert_int_equal(e.class, ERR_BUG);
    store_close(&s);
}

static void room_shrinks_with_use_and_comes_back_with_removal(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    f->options.max_bytes = 1024 * 1024;
    struct store *s = open_store(f, 1);
    uint64_t empty, used, again;
    assert_true(store_room(s, &empty, &e));
    assert_in_range(empty, 900 * 1024, 1024 * 1024);
    assert_true(store_exec(s, "INSERT INTO t(text) VALUES(zeroblob(500000))", &e));
    assert_true(store_room(s, &used, &e));
    assert_in_range(empty - used, 490000, 520000);
    assert_true(store_exec(s, "DELETE FROM t", &e));
    assert_true(store_room(s, &again, &e));
    assert_in_range(empty - again, 0, 8192);
    assert_false(store_exec(s, "INSERT INTO t(text) VALUES(zeroblob(2000000))", &e));
    assert_int_equal(e.class, ERR_TEMP); /* full */
    store_close(&s);
}

static void overwrite(const char *path, long at, size_t n, int with)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    for (size_t i = 0; i < n; i++)
        fputc(with, file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_that_is_no_database_is_told_with_the_way_out(void **state)
{
    struct fixture *f = *state;
    struct store *s = open_store(f, 1);
    struct err e = {0};
    store_close(&s);
    overwrite(f->path, 0, 4096, 'x');
    assert_false(store_open(&f->options, migrations, 1, &s, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_non_null(strstr(e.text, "do as docs/queue.md says"));
}

static void a_damaged_page_is_found_by_the_check(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct store *s = open_store(f, 1);
    struct buf report;
    bool sound;
    buf_init(&report, 10000);
    for (int i = 0; i < 400; i++)
        assert_true(store_exec(s, "INSERT INTO t(text) VALUES(hex(randomblob(50)))", &e));
    assert_true(store_check(s, &report, &sound, &e));
    assert_true(sound);
    assert_string_equal(buf_cstr(&report), "ok");
    store_close(&s);
    overwrite(f->path, 4096 * 3, 200, 0xff);
    s = open_store(f, 1);
    buf_reset(&report);
    assert_true(store_check(s, &report, &sound, &e));
    assert_false(sound);
    assert_string_not_equal(buf_cstr(&report), "ok");
    store_close(&s);
    buf_deinit(&report);
}

static void a_folder_that_is_missing_is_an_error_and_no_crash(void **state)
{
    struct fixture *f = *state;
    struct store *s;
    struct err e = {0};
    f->options.path = "/nonexistent/folder/queue.db";
    assert_false(store_open(&f->options, migrations, 1, &s, &e));
    assert_null(s);
    assert_true(e.class != ERR_NONE && e.text[0] != '\0');
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_new_file_is_durable_hardened_and_for_its_owner_alone),
        WITH(migrations_lead_from_any_version_to_the_newest),
        WITH(a_migration_that_fails_leaves_the_version_before_it),
        WITH(an_exclusive_store_is_opened_once),
        WITH(two_handles_share_a_file_and_wait_for_each_other),
        WITH(a_reader_reads_and_never_writes),
        WITH(a_gathered_log_is_in_the_file_when_a_commit_shows),
        WITH(a_gathered_log_on_a_vfs_that_is_not_there_is_an_error),
        WITH(statements_carry_bytes_as_they_are),
        WITH(room_shrinks_with_use_and_comes_back_with_removal),
        WITH(a_file_that_is_no_database_is_told_with_the_way_out),
        WITH(a_damaged_page_is_found_by_the_check),
        WITH(a_folder_that_is_missing_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
