/* The check of a queue's file by a process that does not own it: beside a running queue, of a
 * stopped one, and what it finds. */
#include "support/test.h"

#include "platform/files.h"
#include "queue/queue.h"
#include "store/store.h"
#include "support/queue_kit.h"

struct file {
    char folder[256], path[300];
    struct queue_options options;
    struct queue *q;
};

static void open_queue(struct file *f)
{
    struct err e = {0};
    if (!queue_sqlite_open(&f->options, &f->q, &e))
        fail_msg("open: %s", e.text);
}

static int set_up(void **state)
{
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    kit_folder(f->folder, sizeof f->folder);
    snprintf(f->path, sizeof f->path, "%s/queue.db", f->folder);
    f->options.path = f->path;
    open_queue(f);
    for (int i = 0; i < 20; i++)
        kit_accept(f->q, "a@b.example", "r0@x r1@x r2@x", "body\r\n", 10);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct file *f = *state;
    queue_close(&f->q);
    kit_folder_remove(f->folder);
    free(f);
    return 0;
}

static bool is_sound(const char *path, char *report, size_t size)
{
    struct buf found;
    struct err e = {0};
    bool sound = false;
    buf_init(&found, size - 1);
    if (!queue_sqlite_check(path, &found, &sound, &e))
        fail_msg("%s", e.text);
    snprintf(report, size, "%s", buf_cstr(&found));
    buf_deinit(&found);
    return sound;
}

static void read_file(const char *path, struct buf *out)
{
    struct err e = {0};
    buf_init(out, 16 * 1024 * 1024);
    assert_int_equal(files_read(path, out->max, out, &e), FILES_OK);
}

static void a_running_queue_is_checked_and_goes_on(void **state)
{
    struct file *f = *state;
    char report[4000];
    struct err e = {0};
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_receive_chunk(f->q, receiving, span_str("on its way"), &e));
    assert_int_equal(kit_claim_count(f->q, 10), 20);
    kit_finish(f->q, 1, 0, QUEUE_DELIVERED, 0, 11);
    if (!is_sound(f->path, report, sizeof report))
        fail_msg("%s", report);
    assert_string_equal(report, "ok");
    assert_true(queue_batch_begin(f->q, &e)); /* the writer is in the midst of something */
    kit_accept(f->q, "a@b.example", "r@x", "more", 12);
    assert_true(is_sound(f->path, report, sizeof report));
    assert_true(queue_batch_commit(f->q, &e));
    kit_finish(f->q, 1, 1, QUEUE_DELIVERED, 0, 12);
    assert_true(queue_receive_chunk(f->q, receiving, span_str("and here"), &e)); /* not swept */
    assert_true(is_sound(f->path, report, sizeof report));
}

static void a_stopped_queue_is_checked_and_left_as_it_is(void **state)
{
    struct file *f = *state;
    char report[4000];
    struct buf before, after;
    struct err e = {0};
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e)); /* the next open would sweep it */
    queue_close(&f->q);
    read_file(f->path, &before);
    assert_true(is_sound(f->path, report, sizeof report));
    read_file(f->path, &after);
    assert_true(span_equal(buf_span(&before), buf_span(&after)));
    buf_deinit(&before);
    buf_deinit(&after);
    open_queue(f);
    assert_int_equal(kit_claim_count(f->q, 10), 20);
}

static void what_is_half_there_is_found(void **state)
{
    struct file *f = *state;
    static const struct {
        const char *sql, *finding;
    } cases[] = {
        {"DELETE FROM recipient WHERE id = (3 << 20) + 1", "1 messages with missing recipients"},
        {"DELETE FROM chunk WHERE id = 4 << 20", "1 messages with missing chunks"},
        {"UPDATE chunk SET bytes = x'00' WHERE id = 5 << 20",
         "2 messages whose size differs"}, /* 4's too */
        {"DELETE FROM message WHERE id = 6", "3 recipients without a message"},
        {"DELETE FROM message WHERE id = 7", "2 chunks without a message"}, /* 6's too */
        {"UPDATE message SET due = NULL WHERE id = 8", "1 messages that would never become due"},
    };
    const struct store_options options = {.path = f->path, .busy_timeout_ms = 100};
    char report[4000];
    queue_close(&f->q);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store *s;
        struct err e = {0};
        static const char *const none[] = {"SELECT 1"};
        if (!store_open(&options, none, 1, &s, &e) || !store_exec(s, cases[i].sql, &e))
            fail_msg("%s", e.text);
        store_close(&s);
        assert_false(is_sound(f->path, report, sizeof report));
        if (strstr(report, cases[i].finding) == NULL)
            fail_msg("%s: %s", cases[i].sql, report);
    }
    open_queue(f); /* for all that it is opened, and gives out what is whole */
}

static void overwrite(const char *path, const char *with, size_t n)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite(with, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void a_file_that_cannot_be_opened_is_a_finding_of_its_own(void **state)
{
    struct file *f = *state;
    static char noise[100];
    char report[4000];
    memset(noise, 'x', sizeof noise);
    queue_close(&f->q);
    overwrite(f->path, noise, sizeof noise);
    assert_false(is_sound(f->path, report, sizeof report));
    assert_non_null(strstr(report, "not a database"));
}

static void another_schema_is_no_finding_but_a_refusal(void **state)
{
    struct file *f = *state;
    const struct store_options options = {.path = f->path, .busy_timeout_ms = 100};
    static const char *const more[] = {"SELECT 1", "CREATE TABLE newer(a)"};
    struct store *s;
    struct buf report;
    struct err e = {0};
    bool sound = true;
    queue_close(&f->q);
    assert_true(store_open(&options, more, 2, &s, &e));
    store_close(&s);
    buf_init(&report, 4000);
    assert_false(queue_sqlite_check(f->path, &report, &sound, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_non_null(strstr(e.text, "it has schema 2, expected 1"));
    assert_false(sound);
    assert_false(queue_sqlite_check("/nonexistent/queue.db", &report, &sound, &e));
    assert_int_equal(e.class, ERR_TEMP);
    buf_deinit(&report);
}

int main(void)
{
#define WITH_FILE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FILE(a_running_queue_is_checked_and_goes_on),
        WITH_FILE(a_stopped_queue_is_checked_and_left_as_it_is),
        WITH_FILE(what_is_half_there_is_found),
        WITH_FILE(a_file_that_cannot_be_opened_is_a_finding_of_its_own),
        WITH_FILE(another_schema_is_no_finding_but_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
