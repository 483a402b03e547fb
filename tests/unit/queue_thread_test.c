/* One writer (the store lane) and two readers (workers) at the same time, for ThreadSanitizer: on
 * the memory queue and on SQLite. */
#include "support/test.h"

#include "queue/queue.h"
#include "support/queue_kit.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ROUNDS = 60, SLOTS = 4, SIZE = 150 * 1000, READERS = 2 };

struct slot {
    atomic_uint_fast64_t id; /* 0: nothing to read */
    atomic_uint_fast64_t seed;
};

struct world {
    struct queue *q;
    struct slot slots[SLOTS];
    atomic_bool stop;
    atomic_ulong whole, gone;
};

struct reading {
    struct world *w;
    struct queue_reader *reader;
    char failure[300];
    uint8_t want[SIZE];
};

/* True when it was read whole, or had been removed meanwhile. */
static bool read_one(struct reading *r, uint64_t id, uint64_t seed)
{
    struct buf got;
    struct err e = {0};
    bool ok = true;
    buf_init(&got, SIZE + 1);
    for (uint32_t i = 0; ok && got.n < SIZE; i++)
        ok = queue_reader_chunk(r->reader, id, i, &got, &e);
    if (!ok && e.class == ERR_PERM) {
        atomic_fetch_add(&r->w->gone, 1);
        ok = true;
    } else if (ok) {
        kit_body(seed, r->want, SIZE);
        ok = span_equal(buf_span(&got), span_of(r->want, SIZE));
        atomic_fetch_add(&r->w->whole, 1);
    }
    if (!ok)
        snprintf(r->failure, sizeof r->failure, "message %d: %s", (int)id, e.text);
    buf_deinit(&got);
    return ok;
}

static void *read_on(void *argument)
{
    struct reading *r = argument;
    for (size_t i = 0; !atomic_load(&r->w->stop); i++) {
        struct slot *s = &r->w->slots[i % SLOTS];
        uint64_t id = atomic_load(&s->id), seed = atomic_load(&s->seed);
        if (id == 0 ||
            atomic_load(&s->id) != id) /* it changed between: the seed may be another's */
            continue;
        if (!read_one(r, id, seed))
            break;
    }
    return NULL;
}

static void write_round(struct world *w, uint64_t round)
{
    static uint8_t body[SIZE];
    struct slot *s = &w->slots[round % SLOTS];
    struct err e = {0};
    struct kit_mail mail;
    uint64_t old = atomic_exchange(&s->id, 0), id;
    if (old != 0)
        assert_true(queue_remove(w->q, old, &e));
    kit_body(round, body, SIZE);
    kit_mail(&mail, "a@b", "r@x", span_of(body, SIZE), (struct span){0});
    if (!queue_accept(w->q, &mail.submission, 10, &id, &e))
        fail_msg("accept: %s", e.text);
    atomic_store(&s->seed, round);
    atomic_store(&s->id, id);
}

static void readers_beside_the_writer(struct queue *q)
{
    static struct world w;
    static struct reading readings[READERS];
    pthread_t threads[READERS];
    struct err e = {0};
    memset(&w, 0, sizeof w);
    w.q = q;
    for (size_t i = 0; i < READERS; i++) {
        readings[i].w = &w;
        readings[i].failure[0] = '\0';
        if (!queue_reader_open(q, &readings[i].reader, &e))
            fail_msg("reader: %s", e.text);
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readings[i]), 0);
    }
    for (uint64_t round = 1; round <= ROUNDS; round++)
        write_round(&w, round);
    /* On a busy machine the readers may not have had their turn yet. */
    for (uint64_t round = ROUNDS; atomic_load(&w.whole) < 10 && round < 100000; round++)
        write_round(&w, round + 1);
    atomic_store(&w.stop, true);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_string_equal(readings[i].failure, "");
        queue_reader_close(&readings[i].reader);
    }
    print_message("read whole: %lu, removed meanwhile: %lu\n", atomic_load(&w.whole),
                  atomic_load(&w.gone));
    assert_true(atomic_load(&w.whole) >= 10);
}

static void memory_queue_readers_run_beside_the_writer(void **state)
{
    (void)state;
    struct queue_options options = {.max_bytes = 1U << 30};
    struct queue *q;
    struct err e = {0};
    assert_true(queue_memory_new(&options, &q, &e));
    readers_beside_the_writer(q);
    queue_close(&q);
}

static void sqlite_queue_readers_run_beside_the_writer(void **state)
{
    (void)state;
    char folder[256], path[300];
    struct queue *q;
    struct err e = {0};
    kit_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/queue.db", folder);
    struct queue_options options = {.path = path, .checkpoint_pages = 50};
    if (!queue_sqlite_open(&options, &q, &e))
        fail_msg("open: %s", e.text);
    readers_beside_the_writer(q);
    queue_close(&q);
    kit_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_queue_readers_run_beside_the_writer),
        cmocka_unit_test(sqlite_queue_readers_run_beside_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
