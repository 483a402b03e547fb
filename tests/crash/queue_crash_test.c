/* What the queue promises, against power cuts, failing disks, full disks and missing memory.
 * A model keeps what was promised: each message whose batch's commit returned true. After a cut the
 * queue must hold exactly the model's messages, bodies byte for byte - or, where the cut hit a
 * commit that never returned, exactly what it held before that batch. Nothing between. */
#include "support/test.h"

#include "queue/queue.h"
#include "support/lossy_vfs.h"
#include "support/queue_kit.h"

#include <sqlite3.h>

enum { MOST = 300, BODY_MAX = 300 * 1000 };

struct promise {
    uint64_t id, seed;
    size_t size;
    uint32_t attempts;
    bool claimed;
};

struct model {
    struct promise now[MOST], before[MOST];
    size_t n, n_before;
    bool in_doubt; /* the commit of the last batch did not return */
    uint64_t random, seeds;
    int64_t time;
    uint64_t receiving, receiving_seed; /* a large body under way; 0: none */
    size_t received;
};

struct world {
    char folder[256], path[300];
    struct queue_options options;
    struct queue *q;
    struct model m;
    unsigned long batches, accepted, delivered;
};

/* POSTERN_CRASH_STEP=N: only each Nth place where power, disk or memory fails, where a process
 * takes long (./test windows, under Wine). The first one is always 0, and each test still wants its
 * share of faults that struck. */
static uint64_t step(void)
{
    const char *given = getenv("POSTERN_CRASH_STEP");
    unsigned long n = given == NULL ? 1 : strtoul(given, NULL, 10);
    return n == 0 ? 1 : n;
}

static uint8_t body[BODY_MAX], other[BODY_MAX];

static uint64_t pick(struct model *m, uint64_t n)
{
    return (kit_random(&m->random) >> 20) % n;
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){0};
    lossy_vfs_register();
    lossy_vfs_reset();
    kit_folder(w->folder, sizeof w->folder);
    snprintf(w->path, sizeof w->path, "%s/queue.db", w->folder);
    w->options = (struct queue_options){
        .path = w->path, .vfs = LOSSY_VFS, .checkpoint_pages = 1 + (unsigned)(seed % 64)};
    w->m.random = seed * 7919 + 1;
    w->m.time = 1000;
}

static void world_deinit(struct world *w)
{
    queue_close(&w->q);
    lossy_vfs_reset();
    kit_folder_remove(w->folder);
}

/* ---- a workload; every step may fail ---- */

static bool accept_one(struct world *w, struct err *e)
{
    struct model *m = &w->m;
    struct kit_mail mail;
    struct promise p = {.seed = ++m->seeds};
    static const size_t sizes[] = {10, 500, 4096, 4096, 9000, 70 * 1000, 270 * 1000};
    p.size = sizes[pick(m, pick(m, 4) == 0 ? 7 : 5)];
    kit_body(p.seed, body, p.size);
    kit_mail(&mail, "a@b.example", "r@x.example", span_of(body, p.size / 2),
             span_of(body + p.size / 2, p.size - p.size / 2));
    if (!queue_accept(w->q, &mail.submission, m->time, &p.id, e))
        return false;
    m->now[m->n++] = p;
    w->accepted++;
    return true;
}

/* A large body: its parts lie in several batches. */
static bool receive_some(struct world *w, struct err *e)
{
    enum { PART = 20000, PARTS = 6 };
    struct model *m = &w->m;
    if (m->receiving == 0) {
        m->receiving_seed = ++m->seeds;
        m->received = 0;
        return queue_receive_open(w->q, &m->receiving, e);
    }
    kit_body(m->receiving_seed, body, (size_t)PART * PARTS);
    if (m->received < (size_t)PART * PARTS) {
        bool ok = queue_receive_chunk(w->q, m->receiving, span_of(body + m->received, PART), e);
        m->received += ok ? PART : 0;
        return ok;
    }
    struct kit_mail mail;
    struct promise p = {.seed = m->receiving_seed, .size = (size_t)PART * PARTS};
    kit_mail(&mail, "a@b.example", "r@x.example", (struct span){0}, (struct span){0});
    mail.submission.receiving = m->receiving;
    if (!queue_accept(w->q, &mail.submission, m->time, &p.id, e))
        return false;
    m->now[m->n++] = p;
    m->receiving = 0;
    return true;
}

static struct promise *find(struct model *m, uint64_t id)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->now[i].id == id)
            return &m->now[i];
    }
    return NULL;
}

static bool claim_some(struct world *w, struct err *e)
{
    struct queue_message *got[4];
    size_t count;
    if (!queue_claim(w->q, KIT_OWNER, KIT_LEASE_MS, w->m.time, 1 + pick(&w->m, 4), got, &count, e))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct promise *p = find(&w->m, got[i]->id);
        assert_non_null(p);
        assert_false(p->claimed);
        p->claimed = true;
        if (got[i]->has_body) {
            kit_body(p->seed, other, p->size);
            assert_true(span_equal(got[i]->body, span_of(other, p->size)));
        }
        queue_message_free(&got[i]);
    }
    return true;
}

/* Delivered, deferred, or failed with a notice. */
static bool finish_one(struct world *w, struct err *e)
{
    struct model *m = &w->m;
    size_t i = m->n == 0 ? 0 : pick(m, m->n);
    for (size_t tries = 0; tries < m->n && !m->now[i].claimed; tries++)
        i = (i + 1) % m->n;
    if (m->n == 0 || !m->now[i].claimed)
        return true;
    struct queue_outcome o = {.recipient = 0, .attempted = true, .reply = span_str("as it is")};
    struct promise notice = {.seed = ++m->seeds, .size = 2000};
    struct kit_mail ndr;
    uint64_t how = pick(m, 4);
    o.kind = how == 0 ? QUEUE_DEFERRED : how == 1 ? QUEUE_FAILED : QUEUE_DELIVERED;
    o.next_ms = m->time + (int64_t)pick(m, 50);
    kit_body(notice.seed, body, notice.size);
    kit_mail(&ndr, "", "a@b.example", span_of(body, notice.size), (struct span){0});
    if (!queue_finish(w->q, m->now[i].id, KIT_OWNER, &o, 1, &ndr.submission, how == 1 ? 1 : 0,
                      m->time, &notice.id, NULL, e))
        return false;
    if (how == 0) {
        m->now[i].attempts++;
        m->now[i].claimed = false;
    } else {
        m->now[i] = m->now[--m->n];
        w->delivered++;
    }
    if (how == 1)
        m->now[m->n++] = notice;
    return true;
}

static bool one_op(struct world *w, struct err *e)
{
    uint64_t what = pick(&w->m, 10);
    if (w->m.n > MOST - 20)
        what = 5 + what % 5;
    return what < 4    ? accept_one(w, e)
           : what == 4 ? receive_some(w, e)
           : what < 7  ? claim_some(w, e)
                       : finish_one(w, e);
}

static void back_to_before(struct model *m)
{
    memcpy(m->now, m->before, sizeof m->now);
    m->n = m->n_before;
    m->receiving = 0; /* a session whose batch failed gives up its upload */
}

/* False when something failed; then the model stands where it stood before the batch. */
static bool one_batch(struct world *w, struct err *e)
{
    struct model *m = &w->m;
    memcpy(m->before, m->now, sizeof m->now);
    m->n_before = m->n;
    m->in_doubt = false;
    m->time += 10;
    if (!queue_batch_begin(w->q, e))
        return false;
    bool ok = true;
    for (uint64_t ops = 1 + pick(m, 8); ok && ops > 0; ops--)
        ok = one_op(w, e);
    if (!ok) {
        queue_batch_rollback(w->q);
        back_to_before(m);
        return false;
    }
    if (queue_batch_commit(w->q, e)) {
        w->batches++;
        return true;
    }
    if (lossy_vfs_is_dead())
        m->in_doubt = true;
    else
        back_to_before(m);
    return false;
}

/* ---- what is really there ---- */

static bool body_is(struct queue *q, const struct queue_message *m, const struct promise *p)
{
    struct queue_reader *r;
    struct buf got;
    struct err e = {0};
    bool ok = m->size == p->size;
    buf_init(&got, BODY_MAX + 1);
    if (!queue_reader_open(q, &r, &e))
        fail_msg("reader: %s", e.text);
    for (uint32_t i = 0; ok && i < m->chunk_count; i++)
        ok = queue_reader_chunk(r, m->id, i, &got, &e);
    kit_body(p->seed, other, p->size);
    ok = ok && span_equal(buf_span(&got), span_of(other, p->size));
    queue_reader_close(&r);
    buf_deinit(&got);
    return ok;
}

static bool holds(struct queue *q, struct queue_message **listed, size_t count,
                  const struct promise *promised, size_t n)
{
    if (count != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < count && listed[k]->id != promised[i].id)
            k++;
        if (k == count || listed[k]->recipients[0].attempts != promised[i].attempts ||
            !body_is(q, listed[k], &promised[i]))
            return false;
    }
    return true;
}

static bool is_sound(struct queue *q, char *why, size_t size)
{
    struct buf report;
    struct err e = {0};
    bool sound = false;
    buf_init(&report, 20000);
    if (!queue_check(q, &report, &sound, &e))
        snprintf(why, size, "check: %s", e.text);
    else
        snprintf(why, size, "%s", buf_cstr(&report));
    buf_deinit(&report);
    return sound;
}

static bool list_all(struct queue *q, struct queue_message **out, size_t max, size_t *count,
                     struct err *e)
{
    struct queue_filter page = {.max = 0};
    uint64_t next;
    do {
        size_t n;
        assert_true(*count < max);
        page.max = max - *count < QUEUE_LIST_MAX ? max - *count : QUEUE_LIST_MAX;
        if (!queue_list(q, &page, out + *count, &n, &next, e))
            return false;
        *count += n;
        page.after = next; /* not filled in place: it is part of what is asked */
    } while (next != 0);
    return true;
}

/* False, and why, when a promise is broken. The model then is what is there; no claims. */
static bool verify(struct world *w, char *why, size_t size)
{
    struct model *m = &w->m;
    struct queue_message *listed[MOST + 50];
    struct err e = {0};
    size_t count = 0;
    if (!is_sound(w->q, why, size))
        return false;
    if (!list_all(w->q, listed, MOST + 50, &count, &e)) {
        snprintf(why, size, "list: %s", e.text);
        return false;
    }
    bool ok = holds(w->q, listed, count, m->now, m->n);
    if (!ok && m->in_doubt && holds(w->q, listed, count, m->before, m->n_before)) {
        back_to_before(m);
        ok = true;
    }
    if (!ok)
        snprintf(why, size, "%zu messages are there, %zu were promised (in doubt: %d, before: %zu)",
                 count, m->n, m->in_doubt, m->n_before);
    for (size_t i = 0; i < count; i++)
        queue_message_free(&listed[i]);
    for (size_t i = 0; i < m->n; i++)
        m->now[i].claimed = false;
    m->in_doubt = false;
    m->receiving = 0;
    return ok;
}

/* Opens; where the power fails again meanwhile, once more. */
static bool reopen(struct world *w, struct err *e)
{
    for (int i = 0; i < 3; i++) {
        if (queue_sqlite_open(&w->options, &w->q, e))
            return true;
        if (!lossy_vfs_is_dead())
            return false;
        lossy_vfs_restart();
    }
    return false;
}

/* Runs until the power fails or `batches` are done; then restarts and verifies. */
static bool run_into_cut(struct world *w, int batches, bool *was_cut, char *why, size_t size)
{
    struct err e = {0};
    for (int i = 0; i < batches && !lossy_vfs_is_dead(); i++) {
        if (!one_batch(w, &e) && !lossy_vfs_is_dead()) {
            snprintf(why, size, "a batch failed without a cut: %s", e.text);
            return false;
        }
    }
    *was_cut = lossy_vfs_is_dead();
    queue_close(&w->q);
    *was_cut = *was_cut || lossy_vfs_is_dead(); /* closing writes too */
    if (lossy_vfs_is_dead())
        lossy_vfs_restart();
    else
        lossy_vfs_cut_in(UINT64_MAX / 2, 1);
    if (!reopen(w, &e)) {
        snprintf(why, size, "open after the cut: %s", e.text);
        return false;
    }
    return verify(w, why, size);
}

/* ---- power cuts ---- */

static void a_power_cut_at_any_write_or_sync_loses_no_promise(void **state)
{
    (void)state;
    enum { BATCHES = 12 };
    unsigned long cuts = 0, promised = 0;
    /* The same workload again and again, the power fails one change later each time, until it does
     * not fail any more. */
    for (uint64_t at = 0;; at += step()) {
        struct world w;
        struct err e = {0};
        char why[600] = "";
        bool was_cut = false;
        world_init(&w, 5);
        w.options.checkpoint_pages = 12;
        lossy_vfs_cut_in(at, at + 1);
        if (!reopen(&w, &e))
            fail_msg("open: %s", e.text);
        bool cut_at_open = lossy_vfs_changes() == 0;
        if (!run_into_cut(&w, BATCHES, &was_cut, why, sizeof why))
            fail_msg("cut at change %d: %s", (int)at, why);
        promised += w.m.n;
        cuts += was_cut || cut_at_open ? 1 : 0;
        bool done = !was_cut && at > 100;
        world_deinit(&w);
        if (done)
            break;
    }
    print_message("every change: %lu cuts, %lu messages verified\n", cuts, promised);
    assert_true(cuts > 150 / step() && promised > 500 / step());
}

static void hundreds_of_random_cuts_lose_no_promise(void **state)
{
    (void)state;
    enum { WORLDS = 40, CUTS = 15 };
    unsigned long cuts = 0, promised = 0, accepted = 0, delivered = 0;
    for (uint64_t seed = 1; seed <= WORLDS; seed += step()) {
        struct world w;
        struct err e = {0};
        world_init(&w, seed);
        if (!reopen(&w, &e))
            fail_msg("open: %s", e.text);
        for (uint64_t i = 0; i < CUTS; i++) {
            char why[600] = "";
            bool was_cut = false;
            lossy_vfs_cut_in(pick(&w.m, 200), seed * 1000 + i);
            if (!run_into_cut(&w, 40, &was_cut, why, sizeof why))
                fail_msg("world %d, cut %d: %s", (int)seed, (int)i, why);
            cuts += was_cut ? 1 : 0;
            promised += w.m.n;
        }
        accepted += w.accepted;
        delivered += w.delivered;
        world_deinit(&w);
    }
    print_message("random: %lu cuts, %lu accepted, %lu finished, %lu messages verified\n", cuts,
                  accepted, delivered, promised);
    assert_true(cuts > 400 / step() && promised > 5000 / step());
}

/* The test of the test: a disk that lies about syncs must be found out. */
static void a_disk_that_ignores_syncs_is_found_out(void **state)
{
    (void)state;
    unsigned long broken = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        struct err e = {0};
        char why[600] = "";
        bool was_cut = false;
        world_init(&w, seed);
        if (!reopen(&w, &e))
            fail_msg("open: %s", e.text);
        lossy_vfs_ignore_syncs(true);
        lossy_vfs_cut_in(100 + pick(&w.m, 200), seed);
        broken += run_into_cut(&w, 40, &was_cut, why, sizeof why) ? 0 : 1;
        world_deinit(&w);
    }
    print_message("a lying disk: broken promises found in %lu of 20\n", broken);
    assert_true(broken > 5);
}

/* ---- failing calls ---- */

/* Every kind of op once; *failed counts batches that failed. */
static char last_failure[512];

static void work_through(struct world *w, int batches, unsigned long *failed)
{
    for (int i = 0; i < batches; i++) {
        struct err e = {0};
        if (one_batch(w, &e))
            continue;
        if (e.class != ERR_TEMP)
            fail_msg("a failing disk gave class %d: %s", (int)e.class, e.text);
        ++*failed;
        snprintf(last_failure, sizeof last_failure, "%s", e.text);
    }
}

static void heal_and_verify(struct world *w, uint64_t at)
{
    char why[600] = "";
    struct err e = {0};
    unsigned long failed = 0;
    lossy_vfs_heal();
    /* The claim that is refused finds out that the disk is back. */
    struct queue_message *none[1];
    size_t count;
    if (!queue_can_record(w->q))
        assert_false(queue_claim(w->q, 99, 10, 0, 1, none, &count, &e));
    assert_true(queue_can_record(w->q));
    work_through(w, 3, &failed);
    if (failed != 0)
        fail_msg("fault at %d: still failing after it was mended: %s", (int)at, last_failure);
    queue_close(&w->q);
    if (!queue_sqlite_open(&w->options, &w->q, &e))
        fail_msg("fault at %d: open: %s", (int)at, e.text);
    if (!verify(w, why, sizeof why))
        fail_msg("fault at %d: %s", (int)at, why);
}

static void fault_everywhere(enum lossy_fault fault, bool forever, uint64_t every, const char *name)
{
    unsigned long struck = 0, failed = 0;
    for (uint64_t at = 0;; at += every * step()) {
        struct world w;
        struct err e = {0};
        world_init(&w, 11);
        w.options.checkpoint_pages = 15;
        if (!queue_sqlite_open(&w.options, &w.q, &e))
            fail_msg("open: %s", e.text);
        lossy_vfs_fail_in(fault, at, forever);
        work_through(&w, 8, &failed);
        bool hit = lossy_vfs_fault_struck();
        struck += hit ? 1 : 0;
        heal_and_verify(&w, at);
        world_deinit(&w);
        if (!hit)
            break;
    }
    print_message("%s: %lu faults struck, %lu batches failed, none lost anything\n", name, struck,
                  failed);
    assert_true(struck > 20 / step());
}

static void an_io_error_at_any_call_fails_softly(void **state)
{
    (void)state;
    fault_everywhere(LOSSY_IOERR, false, 1, "one I/O error");
}

static void io_errors_from_any_call_on_fail_softly(void **state)
{
    (void)state;
    fault_everywhere(LOSSY_IOERR, true, 3, "I/O errors for a while");
}

static void a_disk_full_from_any_write_on_fails_softly(void **state)
{
    (void)state;
    fault_everywhere(LOSSY_FULL, true, 1, "full disk for a while");
}

static void an_open_that_fails_anywhere_can_be_tried_again(void **state)
{
    (void)state;
    unsigned long failed = 0;
    for (uint64_t at = 0; at < 400; at += step()) {
        struct world w;
        struct err e = {0};
        unsigned long failures = 0;
        char why[600] = "";
        world_init(&w, 13);
        if (!queue_sqlite_open(&w.options, &w.q, &e))
            fail_msg("open: %s", e.text);
        work_through(&w, 4, &failures);
        assert_int_equal(failures, 0);
        queue_close(&w.q);
        lossy_vfs_fail_in(LOSSY_IOERR, at, false);
        bool opened = queue_sqlite_open(&w.options, &w.q, &e);
        bool hit = lossy_vfs_fault_struck();
        lossy_vfs_heal();
        if (!opened) {
            failed++;
            assert_int_equal(e.class, ERR_TEMP);
            assert_null(w.q);
            if (!queue_sqlite_open(&w.options, &w.q, &e))
                fail_msg("fault at %d: second open: %s", (int)at, e.text);
        }
        if (!verify(&w, why, sizeof why))
            fail_msg("fault at %d: %s", (int)at, why);
        world_deinit(&w);
        if (!hit)
            break;
    }
    print_message("open: failed at %lu calls\n", failed);
    assert_true(failed > 5 / step());
}

/* ---- missing memory ---- */

static sqlite3_mem_methods real_memory;
static uint64_t allocations, allocation_fails_at; /* 0: none fails */

static bool allocation_fails(void)
{
    return ++allocations == allocation_fails_at;
}

static void *failing_malloc(int n)
{
    return allocation_fails() ? NULL : real_memory.xMalloc(n);
}

static void *failing_realloc(void *p, int n)
{
    return allocation_fails() ? NULL : real_memory.xRealloc(p, n);
}

static void missing_memory_at_any_allocation_fails_softly(void **state)
{
    (void)state;
    unsigned long failed = 0, struck = 0;
    for (uint64_t at = 1;; at += (1 + at / 40) * step()) {
        struct world w;
        struct err e = {0};
        world_init(&w, 17);
        if (!queue_sqlite_open(&w.options, &w.q, &e))
            fail_msg("open: %s", e.text);
        allocation_fails_at = allocations + at;
        work_through(&w, 6, &failed);
        bool hit = allocations >= allocation_fails_at;
        allocation_fails_at = 0;
        struck += hit ? 1 : 0;
        heal_and_verify(&w, at);
        world_deinit(&w);
        if (!hit)
            break;
    }
    print_message("memory: %lu allocations failed, %lu batches failed, none lost anything\n",
                  struck, failed);
    assert_true(struck > 50 / step());
}

int main(void)
{
    /* Before SQLite starts: its allocations go through ours. */
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK)
        return 2;
    sqlite3_mem_methods ours = real_memory;
    ours.xMalloc = failing_malloc;
    ours.xRealloc = failing_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) != SQLITE_OK)
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_at_any_write_or_sync_loses_no_promise),
        cmocka_unit_test(hundreds_of_random_cuts_lose_no_promise),
        cmocka_unit_test(a_disk_that_ignores_syncs_is_found_out),
        cmocka_unit_test(an_io_error_at_any_call_fails_softly),
        cmocka_unit_test(io_errors_from_any_call_on_fail_softly),
        cmocka_unit_test(a_disk_full_from_any_write_on_fails_softly),
        cmocka_unit_test(an_open_that_fails_anywhere_can_be_tried_again),
        cmocka_unit_test(missing_memory_at_any_allocation_fails_softly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
