/* A file with a damaged page: whichever page it is, what can be read is delivered, new mail is
 * taken or refused softly, nothing crashes, and the check says so. */
#include "support/test.h"

#include "queue/queue.h"
#include "support/queue_kit.h"

enum { MESSAGES = 120, SIZE = 3000, PAGE = 16384 };

struct tally {
    unsigned pages, unopenable, found, found_beside, accepting;
    unsigned long claimed;
    unsigned nearly_all;
};

static void fill(const struct queue_options *options)
{
    static uint8_t body[SIZE];
    struct queue *q;
    struct err e = {0};
    if (!queue_sqlite_open(options, &q, &e))
        fail_msg("open: %s", e.text);
    assert_true(queue_batch_begin(q, &e));
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        struct kit_mail mail;
        uint64_t id;
        kit_body(i, body, SIZE);
        kit_mail(&mail, "a@b.example", "r@x.example", span_of(body, SIZE), (struct span){0});
        assert_true(queue_accept(q, &mail.submission, 10, &id, &e));
        assert_int_equal(id, i); /* the body's seed */
    }
    assert_true(queue_batch_commit(q, &e));
    queue_close(&q);
}

/* The page's header and cell pointers become what no page may have. */
static bool damage(const char *path, long page)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    bool there = ftell(f) >= (page + 1) * PAGE;
    if (there) {
        assert_int_equal(fseek(f, page * PAGE, SEEK_SET), 0);
        for (int i = 0; i < 400; i++)
            fputc(0xff, f);
    }
    assert_int_equal(fclose(f), 0);
    return there;
}

/* Ends when nothing is due any more; a claim may fail, but not for ever. */
static unsigned deliver_all(struct queue *q)
{
    struct queue_message *m[10];
    static uint8_t body[SIZE];
    unsigned claimed = 0, failures = 0;
    size_t n = 1;
    while (n > 0 && failures < 5) {
        struct err e = {0};
        if (!queue_claim(q, KIT_OWNER, KIT_LEASE_MS, 100, 10, m, &n, &e)) {
            assert_int_equal(e.class, ERR_TEMP);
            failures++;
            n = 1;
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            kit_body(m[i]->id, body, SIZE);
            assert_true(span_equal(m[i]->body, span_of(body, SIZE)));
            queue_message_free(&m[i]);
            claimed++;
        }
    }
    return claimed;
}

static bool takes_mail(struct queue *q)
{
    struct kit_mail mail;
    struct err e = {0};
    uint64_t id;
    kit_mail(&mail, "a@b.example", "r@x.example", span_str("x"), (struct span){0});
    if (queue_accept(q, &mail.submission, 10, &id, &e))
        return true;
    assert_int_equal(e.class, ERR_TEMP); /* 451: the client keeps it */
    return false;
}

/* What `postern queue check` does: on the file as the damage left it, before anybody opens it. */
static void check_beside(const char *path, struct tally *t)
{
    struct buf report;
    struct err e = {0};
    bool sound = true;
    buf_init(&report, 100000);
    if (!queue_sqlite_check(path, &report, &sound, &e))
        fail_msg("check beside: %s", e.text);
    t->found_beside += sound ? 0 : 1;
    assert_true(sound || report.n > 0);
    buf_deinit(&report);
}

static void try_page(const struct queue_options *options, struct tally *t)
{
    struct queue *q;
    struct buf report;
    struct err e = {0};
    bool sound = true;
    if (!queue_sqlite_open(options, &q, &e)) {
        t->unopenable++;
        assert_int_equal(e.class, ERR_PERM);
        assert_non_null(strstr(e.text, "docs/"));
        return;
    }
    unsigned claimed = deliver_all(q);
    t->claimed += claimed;
    t->nearly_all += claimed >= MESSAGES - 6 ? 1 : 0;
    t->accepting += takes_mail(q) ? 1 : 0;
    buf_init(&report, 100000);
    if (!queue_check(q, &report, &sound, &e))
        fail_msg("check: %s", e.text);
    t->found += sound ? 0 : 1;
    buf_deinit(&report);
    queue_close(&q);
}

static void one_damaged_page_costs_at_most_what_is_on_it(void **state)
{
    (void)state;
    struct tally t = {0};
    for (long page = 1;; page++) {
        char folder[256], path[300];
        kit_folder(folder, sizeof folder);
        snprintf(path, sizeof path, "%s/queue.db", folder);
        struct queue_options options = {.path = path};
        fill(&options);
        bool there = damage(path, page);
        if (there) {
            t.pages++;
            check_beside(path, &t);
            try_page(&options, &t);
        }
        kit_folder_remove(folder);
        if (!there)
            break;
    }
    print_message("%u pages damaged one by one: %u made the file unopenable, the others gave out "
                  "%lu of %u messages (%u pages: all but six at most), %u were found by the check, "
                  "%u left the queue taking mail\n",
                  t.pages, t.unopenable, t.claimed, (t.pages - t.unopenable) * MESSAGES,
                  t.nearly_all, t.found, t.accepting);
    assert_true(t.pages > 25);
    assert_int_equal(t.found, t.pages - t.unopenable);
    assert_int_equal(t.found_beside, t.pages);
    assert_true(t.nearly_all >= t.pages * 3 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_damaged_page_costs_at_most_what_is_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
