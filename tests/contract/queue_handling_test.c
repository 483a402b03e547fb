/* The contract of queue.h: what an administrator does with messages - hold, release, retry, remove,
 * list - and the clock. */
#include "support/test.h"

#include "support/queue_contract.h"

static void a_held_message_waits_until_it_is_released(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_true(queue_hold(f->q, id, &e));
    assert_true(queue_hold(f->q, id, &e));
    assert_int_equal(contract_counts(f->q).held, 1);
    assert_int_equal(kit_claim_count(f->q, 1000), 0);
    assert_true(contract_next_due(f->q) == INT64_MAX);
    assert_false(queue_retry(f->q, id, 50, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_true(queue_release(f->q, id, &e));
    assert_true(queue_release(f->q, id, &e));
    assert_int_equal(contract_counts(f->q).held, 0);
    assert_true(contract_next_due(f->q) == 10);
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
}

static void a_hold_of_a_claimed_message_takes_effect_when_the_claim_ends(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    assert_true(queue_hold(f->q, id, &e));
    struct queue_message *m = contract_show(f->q, id);
    assert_int_equal(m->state, QUEUE_CLAIMED);
    assert_true(m->hold_wanted);
    queue_message_free(&m);
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 11);
    assert_true(queue_renew(f->q, id, KIT_OWNER, 100, 11, &e));
    kit_finish(f->q, id, 1, QUEUE_DEFERRED, 20, 11);
    m = contract_show(f->q, id);
    assert_int_equal(m->state, QUEUE_HELD);
    queue_message_free(&m);
    assert_int_equal(kit_claim_count(f->q, 1000), 0);
    assert_true(queue_release(f->q, id, &e));
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(queue_hold(f->q, id, &e));
    assert_true(queue_release(f->q, id, &e)); /* while claimed: as if never held */
    assert_true(queue_defer(f->q, id, KIT_OWNER, 30, (struct span){0}, &e));
    assert_true(contract_next_due(f->q) == 30);
    /* Held and then wholly delivered: it is gone. */
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(queue_hold(f->q, id, &e));
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 40);
    assert_int_equal(contract_counts(f->q).messages, 0);
    assert_int_equal(contract_counts(f->q).held, 0);
}

static void a_retry_makes_what_waits_due_now(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    kit_finish(f->q, id, 0, QUEUE_DEFERRED, 90000, 11);
    assert_true(queue_retry(f->q, id, 50, &e)); /* claimed: for the one whose turn is over */
    kit_finish(f->q, id, 1, QUEUE_DEFERRED, 80000, 51);
    assert_true(contract_next_due(f->q) == 50);
    assert_true(queue_retry(f->q, id, 60, &e));
    assert_true(contract_next_due(f->q) == 50);
    struct queue_message *m = kit_claim(f->q, 60);
    assert_int_equal(m->recipient_count, 2);
    queue_message_free(&m);
}

static void a_removed_message_is_gone_also_for_who_claims_it(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    assert_true(queue_remove(f->q, id, &e));
    assert_int_equal(contract_counts(f->q).claimed, 0);
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED};
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, NULL, 0, 0, NULL, NULL, &e));
    assert_int_equal(e.class, ERR_PERM);
    struct queue_message *m;
    assert_false(queue_show(f->q, id, &m, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_false(queue_hold(f->q, id, &e));
    assert_false(queue_release(f->q, id, &e));
    assert_false(queue_retry(f->q, id, 0, &e));
    assert_false(queue_remove(f->q, id, &e));
    assert_int_equal(e.class, ERR_PERM);
    uint64_t next = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_true(next > id); /* ids are never used twice */
}

static size_t page(struct queue *q, struct queue_filter filter, uint64_t *ids, uint64_t *next)
{
    struct queue_message *m[QUEUE_LIST_MAX];
    struct err e = {0};
    size_t count;
    if (!queue_list(q, &filter, m, &count, next, &e))
        fail_msg("list: %s", e.text);
    for (size_t i = 0; i < count; i++) {
        ids[i] = m[i]->id;
        queue_message_free(&m[i]);
    }
    return count;
}

/* That must be all of it. */
static size_t list(struct queue *q, struct queue_filter filter, uint64_t *ids)
{
    uint64_t next;
    size_t count = page(q, filter, ids, &next);
    assert_true(next == 0);
    return count;
}

static void the_list_pages_and_filters(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id[5], got[10];
    for (size_t i = 0; i < 5; i++)
        id[i] = kit_accept(f->q, i == 1 ? "Boss@b.example" : "a@b.example",
                           i == 2 ? "r@x y@partner.example" : "r@x", "1", (int64_t)i);
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_hold(f->q, id[3], &e));
    assert_int_equal(kit_claim_count(f->q, 0), 1); /* id[0] */
    uint64_t next;
    assert_int_equal(page(f->q, (struct queue_filter){.max = 3}, got, &next), 3);
    assert_int_equal(got[2], id[2]);
    assert_true(next == id[2]);
    assert_int_equal(list(f->q, (struct queue_filter){.max = 3, .after = next}, got), 2);
    assert_int_equal(got[0], id[3]);
    assert_int_equal(list(f->q, (struct queue_filter){.max = 9, .text = span_str("BOSS@")}, got),
                     1);
    assert_int_equal(got[0], id[1]);
    assert_int_equal(list(f->q, (struct queue_filter){.max = 9, .text = span_str("Partner")}, got),
                     1);
    assert_int_equal(got[0], id[2]);
    static const struct {
        enum queue_filter_state state;
        size_t count;
    } by_state[] = {
        {QUEUE_LIST_ALL, 5}, {QUEUE_LIST_QUEUED, 3}, {QUEUE_LIST_CLAIMED, 1}, {QUEUE_LIST_HELD, 1}};
    for (size_t i = 0; i < 4; i++) {
        struct queue_filter filter = {.max = 10, .state = by_state[i].state};
        assert_int_equal(list(f->q, filter, got), by_state[i].count);
    }
}

/* However few are wanted: who takes mail waits for one page at most. */
static void a_page_looks_at_no_more_than_it_may(void **state)
{
    struct contract *f = *state;
    enum { MANY = 3 * QUEUE_LIST_MAX + 7 };
    struct err e = {0};
    uint64_t wanted = 0, next = 0, got[QUEUE_LIST_MAX];
    assert_true(queue_batch_begin(f->q, &e));
    for (size_t i = 0; i < MANY; i++)
        wanted = kit_accept(f->q, i == MANY - 1 ? "needle@b" : "a@b", "r@x", "1", 10);
    assert_true(queue_batch_commit(f->q, &e));
    size_t pages = 0, found = 0;
    do {
        struct queue_filter filter = {.max = 5, .after = next, .text = span_str("needle")};
        found += page(f->q, filter, got, &next);
        pages++;
    } while (next != 0);
    assert_int_equal(pages, MANY / QUEUE_LIST_MAX + 1);
    assert_int_equal(found, 1);
    assert_true(got[0] == wanted);
    assert_int_equal(page(f->q, (struct queue_filter){.max = QUEUE_LIST_MAX}, got, &next),
                     QUEUE_LIST_MAX);
    assert_true(next == got[QUEUE_LIST_MAX - 1]);
}

static void a_page_ends_behind_very_many_recipients(void **state)
{
    struct contract *f = *state;
    enum { EACH = QUEUE_LIST_RECIPIENTS_MAX / 4 + 1, MESSAGES = 6 };
    static struct queue_addressee to[EACH];
    struct queue_submission s = {.recipients = to, .recipient_count = EACH};
    struct err e = {0};
    uint64_t id, next, got[QUEUE_LIST_MAX];
    for (size_t i = 0; i < EACH; i++)
        to[i].address = span_str("r@x");
    for (size_t i = 0; i < MESSAGES; i++)
        assert_true(queue_accept(f->q, &s, 10, &id, &e));
    assert_int_equal(page(f->q, (struct queue_filter){.max = 9}, got, &next), 4);
    assert_int_equal(list(f->q, (struct queue_filter){.max = 9, .after = next}, got), 2);
}

/* ---- the clock ---- */

static void the_clock_never_goes_back(void **state)
{
    struct contract *f = *state;
    kit_accept(f->q, "a@b", "r@x", "1", 5000);
    struct queue_clock c = queue_clock_start(f->q, 4000, 70); /* the wall clock was set back */
    assert_true(queue_clock_now(&c, 70) == 5000);
    assert_true(queue_clock_now(&c, 100) == 5030);
    assert_true(queue_clock_now(&c, 10) == 5000);
    c = queue_clock_start(f->q, 9000, 70);
    assert_true(queue_clock_now(&c, 71) == 9001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_held_message_waits_until_it_is_released),
        ON_ALL(a_hold_of_a_claimed_message_takes_effect_when_the_claim_ends),
        ON_ALL(a_retry_makes_what_waits_due_now),
        ON_ALL(a_removed_message_is_gone_also_for_who_claims_it),
        ON_ALL(the_list_pages_and_filters),
        ON_ALL(a_page_looks_at_no_more_than_it_may),
        ON_ALL(a_page_ends_behind_very_many_recipients),
        ON_ALL(the_clock_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
