/* Mailboxes, lanes and slots under real threads. */
#define _GNU_SOURCE
#include "net/lane.h"
#include "net/slots.h"

#include "platform/clock.h"
#include "support/echo_server.h"
#include "support/test.h"

#include <uv.h>

/* --- the mailbox --- */

enum { POSTERS = 4, POSTS = 20000 };

struct letter {
    struct worker_item item;
    unsigned poster, number;
    struct post_office *office;
};

struct post_office {
    struct worker *worker;
    unsigned next[POSTERS];
    unsigned wrong, got;
    atomic_uint total;
    struct letter *letters;
};

static void open_letter(struct worker_item *item, struct worker *w)
{
    struct letter *l = LIST_ENTRY(item, struct letter, item);
    struct post_office *o = l->office;
    o->wrong += w != o->worker || l->number != o->next[l->poster];
    o->next[l->poster]++;
    o->got++;
    atomic_fetch_add(&o->total, 1);
}

static void post_many(void *arg)
{
    struct letter *l = arg;
    for (unsigned i = 0; i < POSTS; i++)
        worker_post(l->office->worker, &l[i].item);
}

static void every_item_arrives_once_and_in_the_order_of_its_poster(void **state)
{
    (void)state;
    struct err e;
    struct post_office o = {.worker = worker_new("office", 3, &e)};
    assert_non_null(o.worker);
    assert_int_equal(worker_index(o.worker), 3);
    o.letters = calloc((size_t)POSTERS * POSTS, sizeof *o.letters);
    assert_non_null(o.letters);
    for (unsigned i = 0; i < POSTERS * POSTS; i++)
        o.letters[i] = (struct letter){
            .item.run = open_letter, .poster = i / POSTS, .number = i % POSTS, .office = &o};
    assert_true(worker_start(o.worker, &e));
    uv_thread_t threads[POSTERS];
    for (unsigned i = 0; i < POSTERS; i++)
        assert_int_equal(uv_thread_create(&threads[i], post_many, &o.letters[(size_t)i * POSTS]),
                         0);
    /* Stopped in the middle: what the loop does not see any more the join must run. */
    assert_true(wait_for_count(&o.total, POSTS));
    worker_stop(o.worker);
    for (unsigned i = 0; i < POSTERS; i++)
        assert_int_equal(uv_thread_join(&threads[i]), 0);
    worker_join(o.worker);
    assert_int_equal(o.got, POSTERS * POSTS);
    assert_int_equal(o.wrong, 0);
    worker_free(&o.worker);
    free(o.letters);
}

struct ticker {
    struct worker *worker;
    struct worker_timer *timer;
    unsigned ticks;
    uint64_t due_ms, early;
};

static void tick(void *arg)
{
    struct ticker *t = arg;
    t->early += clock_monotonic_ms() + 1 < t->due_ms;
    if (++t->ticks == 3) {
        worker_timer_free(&t->timer);
        worker_stop(t->worker);
        return;
    }
    t->due_ms = worker_now_ms(t->worker) + 10;
    worker_timer_at(t->timer, t->due_ms);
}

static void a_timer_fires_when_it_is_due_and_may_end_itself(void **state)
{
    (void)state;
    struct err e;
    struct ticker t = {.worker = worker_new("ticker", 0, &e)};
    t.timer = worker_timer_new(t.worker, tick, &t);
    worker_timer_at(t.timer, 1); /* long past: at the next turn */
    worker_run(t.worker);
    assert_int_equal(t.ticks, 3);
    assert_int_equal(t.early, 0);
    worker_free(&t.worker);
}

/* --- lanes --- */

enum { JOBS = 1000 };

struct ledger {
    struct worker *worker;
    uv_sem_t gate;
    unsigned begun, ended, in_batch, largest;
    unsigned run_order[JOBS + 8], runs;
    unsigned done_order[JOBS + 8];
    atomic_uint done, gated;
    unsigned fail_begin, fail_end; /* the n-th batch, from 1 */
    unsigned failed_not_run, failed_run;
    bool open, wrong; /* the lane's */
    bool wrong_error; /* the home's */
};

struct entry {
    struct lane_job job;
    struct ledger *ledger;
    unsigned number;
    bool ran;
    uint64_t batch;
};

static bool batch_begin(void *context, struct err *e)
{
    struct ledger *l = context;
    l->begun++;
    l->wrong = l->wrong || l->open;
    if (l->begun == l->fail_begin)
        return err_set(e, ERR_TEMP, "disk: cannot begin");
    l->open = true;
    l->in_batch = 0;
    return true;
}

static bool batch_end(void *context, struct err *e)
{
    struct ledger *l = context;
    l->wrong = l->wrong || !l->open;
    l->open = false;
    l->ended++;
    if (l->in_batch > l->largest)
        l->largest = l->in_batch;
    if (l->begun == l->fail_end)
        return err_set(e, ERR_TEMP, "disk: cannot end");
    return true;
}

static void run_entry(struct lane_job *job, void *context)
{
    struct ledger *l = context;
    struct entry *en = LIST_ENTRY(job, struct entry, job);
    l->wrong = l->wrong || !l->open;
    l->in_batch++;
    l->run_order[l->runs++] = en->number;
    en->ran = true;
    en->batch = l->begun;
}

static void entry_done(struct lane_job *job)
{
    struct entry *en = LIST_ENTRY(job, struct entry, job);
    struct ledger *l = en->ledger;
    if (job->failed) {
        if (en->ran)
            l->failed_run++;
        else
            l->failed_not_run++;
        l->wrong_error = l->wrong_error || strncmp(job->err.text, "disk: cannot", 12) != 0;
    }
    unsigned n = atomic_load(&l->done);
    l->done_order[n] = en->number;
    atomic_store(&l->done, n + 1);
}

static void run_gate(struct lane_job *job, void *context)
{
    struct ledger *l = context;
    (void)job;
    atomic_fetch_add(&l->gated, 1);
    uv_sem_wait(&l->gate);
}

static struct entry *entries_new(struct ledger *l, unsigned n)
{
    struct entry *all = calloc(n, sizeof *all);
    assert_non_null(all);
    for (unsigned i = 0; i < n; i++)
        all[i] = (struct entry){.job = {.run = run_entry, .done = entry_done, .home = l->worker},
                                .ledger = l,
                                .number = i};
    return all;
}

static void ledger_open(struct ledger *l)
{
    struct err e;
    *l = (struct ledger){.worker = worker_new("home", 0, &e)};
    assert_non_null(l->worker);
    assert_true(worker_start(l->worker, &e));
    assert_int_equal(uv_sem_init(&l->gate, 0), 0);
}

static void ledger_close(struct ledger *l)
{
    worker_stop(l->worker);
    worker_join(l->worker);
    worker_free(&l->worker);
    uv_sem_destroy(&l->gate);
}

static void a_batch_begins_once_runs_in_order_ends_once_and_then_answers(void **state)
{
    (void)state;
    struct err e;
    struct ledger l;
    ledger_open(&l);
    struct lane_options o = {.name = "store",
                             .bound = JOBS,
                             .context = &l,
                             .batch_max = 64,
                             .batch_begin = batch_begin,
                             .batch_end = batch_end};
    struct lane *lane = lane_open(&o, &e);
    assert_non_null(lane);
    struct entry *all = entries_new(&l, JOBS);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(lane_submit(lane, &all[i].job), LANE_OK);
    assert_true(wait_for_count(&l.done, JOBS));
    lane_close(&lane);
    assert_false(l.wrong);
    assert_int_equal(l.begun, l.ended);
    assert_true(l.largest <= 64 && l.begun >= JOBS / 64);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(l.run_order[i], i);
        assert_int_equal(l.done_order[i], i);
        assert_false(all[i].job.failed);
    }
    ledger_close(&l);
    free(all);
}

static void all_that_wait_share_one_batch_and_its_failure(void **state)
{
    (void)state;
    struct err e;
    for (unsigned which = 0; which < 2; which++) {
        struct ledger l;
        ledger_open(&l);
        l.fail_begin = which == 0 ? 2 : 0;
        l.fail_end = which == 1 ? 2 : 0;
        struct lane_options o = {.name = "store",
                                 .bound = 100,
                                 .context = &l,
                                 .batch_max = 64,
                                 .batch_begin = batch_begin,
                                 .batch_end = batch_end};
        struct lane *lane = lane_open(&o, &e);
        struct entry *all = entries_new(&l, 40);
        struct lane_job gate = {.run = run_gate, .done = entry_done, .home = l.worker};
        struct entry holder = {.ledger = &l, .number = 99};
        holder.job = gate;
        assert_int_equal(lane_submit(lane, &holder.job), LANE_OK);
        assert_true(wait_for_count(&l.gated, 1)); /* the first batch is under way */
        for (unsigned i = 0; i < 40; i++)
            assert_int_equal(lane_submit(lane, &all[i].job), LANE_OK);
        assert_int_equal(lane_waiting(lane), 40);
        uv_sem_post(&l.gate);
        assert_true(wait_for_count(&l.done, 41));
        assert_int_equal(lane_batches(lane), 2);
        lane_close(&lane);
        ledger_close(&l);
        assert_false(l.wrong || l.wrong_error);
        assert_false(holder.job.failed);
        assert_int_equal(l.failed_not_run, which == 0 ? 40 : 0);
        assert_int_equal(l.failed_run, which == 1 ? 40 : 0);
        free(all);
    }
}

static void a_full_lane_refuses_and_a_key_has_its_share(void **state)
{
    (void)state;
    struct err e;
    struct ledger l;
    ledger_open(&l);
    struct lane_options o = {
        .name = "auth", .threads = 2, .bound = 4, .share_max = 2, .context = &l};
    struct lane *lane = lane_open(&o, &e);
    struct entry *all = entries_new(&l, 12);
    for (unsigned i = 0; i < 12; i++)
        all[i].job.run = run_gate;
    all[0].job.share_key = all[1].job.share_key = all[2].job.share_key = 77;
    all[3].job.share_key = 78;
    assert_int_equal(lane_submit(lane, &all[0].job), LANE_OK);
    assert_int_equal(lane_submit(lane, &all[1].job), LANE_OK);
    assert_true(wait_for_count(&l.gated, 2)); /* both run: running counts too */
    assert_int_equal(lane_submit(lane, &all[2].job), LANE_SHARE_FULL);
    assert_int_equal(lane_submit(lane, &all[3].job), LANE_OK);
    for (unsigned i = 4; i < 7; i++)
        assert_int_equal(lane_submit(lane, &all[i].job), LANE_OK);
    assert_int_equal(lane_submit(lane, &all[7].job), LANE_FULL);
    assert_int_equal(lane_submit_always(lane, &all[8].job), LANE_OK);
    for (unsigned i = 0; i < 7; i++)
        uv_sem_post(&l.gate);
    assert_true(wait_for_count(&l.done, 7));
    uv_sem_post(&l.gate);
    assert_int_equal(lane_submit(lane, &all[2].job), LANE_OK); /* the share is free again */
    lane_close(&lane);
    ledger_close(&l);
    assert_int_equal(atomic_load(&l.done), 8);
    free(all);
}

static void closing_finishes_what_waits_and_answers_it(void **state)
{
    (void)state;
    struct err e;
    struct ledger l;
    ledger_open(&l);
    struct lane_options o = {.name = "store",
                             .bound = JOBS,
                             .context = &l,
                             .batch_max = 16,
                             .batch_begin = batch_begin,
                             .batch_end = batch_end};
    struct lane *lane = lane_open(&o, &e);
    struct entry *all = entries_new(&l, JOBS);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(lane_submit(lane, &all[i].job), LANE_OK);
    lane_close(&lane);
    ledger_close(&l);
    assert_int_equal(atomic_load(&l.done), JOBS);
    assert_int_equal(l.runs, JOBS);
    free(all);
}

static void without_a_home_the_lane_itself_answers(void **state)
{
    (void)state;
    struct err e;
    struct ledger l = {.open = true};
    struct lane_options o = {.name = "bare", .bound = 4, .context = &l};
    struct lane *lane = lane_open(&o, &e);
    struct entry *one = entries_new(&l, 1);
    assert_int_equal(lane_submit(lane, &one->job), LANE_OK);
    lane_close(&lane);
    assert_int_equal(atomic_load(&l.done), 1);
    free(one);
}

/* --- slots --- */

static void a_slot_used_again_has_another_name(void **state)
{
    (void)state;
    struct slots s;
    int things[3];
    struct slot_id a, b, c;
    slots_init(&s, 2);
    assert_true(slots_add(&s, &things[0], &a));
    assert_true(slots_add(&s, &things[1], &b));
    assert_false(slots_add(&s, &things[2], &c)); /* full */
    assert_ptr_equal(slots_get(&s, a), &things[0]);
    slots_remove(&s, a);
    slots_remove(&s, a); /* once is enough */
    assert_int_equal(slots_count(&s), 1);
    assert_true(slots_add(&s, &things[2], &c));
    assert_int_equal(c.index, a.index);
    assert_null(slots_get(&s, a));
    assert_ptr_equal(slots_get(&s, c), &things[2]);
    assert_null(slots_get(&s, (struct slot_id){0, 0}));
    assert_null(slots_get(&s, (struct slot_id){1000, 1}));
    size_t cursor = 0, n = 0;
    while (slots_next(&s, &cursor) != NULL)
        n++;
    assert_int_equal(n, 2);
    slots_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_arrives_once_and_in_the_order_of_its_poster),
        cmocka_unit_test(a_timer_fires_when_it_is_due_and_may_end_itself),
        cmocka_unit_test(a_batch_begins_once_runs_in_order_ends_once_and_then_answers),
        cmocka_unit_test(all_that_wait_share_one_batch_and_its_failure),
        cmocka_unit_test(a_full_lane_refuses_and_a_key_has_its_share),
        cmocka_unit_test(closing_finishes_what_waits_and_answers_it),
        cmocka_unit_test(without_a_home_the_lane_itself_answers),
        cmocka_unit_test(a_slot_used_again_has_another_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
