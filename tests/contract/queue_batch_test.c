/* The contract of queue.h: batches that fail or are rolled back, a store that cannot record or is
 * full, and what only a store on disk has. */
#include "support/test.h"

#include "support/lossy_vfs.h"
#include "support/queue_contract.h"

static void a_failed_commit_changes_nothing(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t held = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_true(queue_hold(f->q, held, &e));
    uint64_t claimed = kit_accept(f->q, "a@b", "r0@x r1@x", "2", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    uint64_t queued = kit_accept(f->q, "a@b", "r0@x r1@x", "3", 10);
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_receive_chunk(f->q, receiving, span_str("one"), &e));
    struct queue_counts before = contract_counts(f->q);

    assert_true(queue_batch_begin(f->q, &e));
    kit_accept(f->q, "a@b", "r@x", "4", 10);
    kit_finish(f->q, claimed, 0, QUEUE_DELIVERED, 0, 20);
    kit_finish(f->q, claimed, 1, QUEUE_DELIVERED, 0, 20);
    struct queue_message *m[9];
    size_t count;
    assert_true(queue_claim(f->q, 3, 100, 20, 9, m, &count, &e));
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++)
        queue_message_free(&m[i]);
    assert_true(queue_release(f->q, held, &e));
    assert_true(queue_remove(f->q, held, &e));
    assert_true(queue_receive_chunk(f->q, receiving, span_str("two"), &e));
    contract_next_commit_fails(f);
    e = (struct err){0};
    assert_false(queue_batch_commit(f->q, &e));
    assert_int_equal(e.class, ERR_TEMP);
    lossy_vfs_heal();

    struct queue_counts after = contract_counts(f->q);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(contract_state(f->q, held), STATE_HELD);
    assert_int_equal(contract_state(f->q, claimed), STATE_CLAIMED);
    assert_int_equal(contract_state(f->q, queued), STATE_QUEUED);
    /* Looking does not heal it: the first commit that writes does. */
    assert_false(queue_can_record(f->q));
    kit_finish(f->q, claimed, 0, QUEUE_DELIVERED, 0, 20);
    assert_true(queue_can_record(f->q));
    struct kit_mail mail;
    uint64_t id;
    kit_mail(&mail, "a@b", "r@x", span_str("head-"), (struct span){0});
    mail.submission.receiving = receiving;
    assert_true(queue_accept(f->q, &mail.submission, 30, &id, &e));
    struct queue_message *shown = contract_show(f->q, id);
    assert_span(shown->body, "head-one");
    queue_message_free(&shown);
}

static void a_rolled_back_batch_changes_nothing(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t first = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_true(queue_batch_begin(f->q, &e));
    kit_accept(f->q, "a@b", "r@x", "2", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 2);
    kit_finish(f->q, first, 0, QUEUE_DELIVERED, 0, 20);
    queue_batch_rollback(f->q);
    assert_int_equal(contract_counts(f->q).messages, 1);
    assert_true(queue_can_record(f->q));
    assert_int_equal(kit_claim_count(f->q, 10), 1);
}

static void a_refused_op_leaves_its_batch_sound(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    struct queue_outcome half_wrong[] = {{.recipient = 0, .kind = QUEUE_DELIVERED},
                                         {.recipient = 9, .kind = QUEUE_DELIVERED}};
    assert_true(queue_batch_begin(f->q, &e));
    uint64_t second = kit_accept(f->q, "a@b", "r@x", "2", 10);
    assert_false(queue_finish(f->q, id, KIT_OWNER, half_wrong, 2, NULL, 0, 10, NULL, NULL, &e));
    assert_int_equal(e.class, ERR_BUG);
    assert_false(queue_remove(f->q, 123456, &e));
    uint64_t third = kit_accept(f->q, "a@b", "r@x", "3", 10);
    assert_true(queue_batch_commit(f->q, &e));
    assert_int_equal(contract_state(f->q, id), STATE_CLAIMED);
    assert_int_equal(contract_state(f->q, second), STATE_QUEUED);
    assert_int_equal(contract_state(f->q, third), STATE_QUEUED);
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 20); /* still open */
}

static void a_queue_that_cannot_record_gives_nothing_out(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    kit_accept(f->q, "a@b", "r@x", "2", 10);
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED};
    contract_next_commit_fails(f);
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, NULL, 0, 10, NULL, NULL, &e));
    assert_false(queue_can_record(f->q));
    struct queue_message *m[1];
    size_t count = 9;
    if (f->kind == CONTRACT_MEMORY)
        queue_memory_fail_commit(f->q);
    assert_false(queue_claim(f->q, 1, 10, 20, 1, m, &count, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_int_equal(count, 0);
    assert_false(queue_can_record(f->q));
    lossy_vfs_heal();
    /* The refused claim tries the disk; the next one is served. */
    assert_false(queue_claim(f->q, 1, 10, 20, 1, m, &count, &e));
    assert_true(queue_can_record(f->q));
    assert_true(queue_claim(f->q, 1, 10, 20, 1, m, &count, &e));
    assert_int_equal(count, 1);
    queue_message_free(&m[0]);
}

/* ---- a full store ---- */

static void a_full_queue_refuses_mail_records_results_and_takes_mail_again(void **state)
{
    struct contract *f = *state;
    enum { RESERVE = 512 * 1024, MAX = 2 * 1024 * 1024, BODY = 20000, MOST = 200 };
    static uint8_t body[BODY];
    contract_options(f, false, MAX, RESERVE);
    struct kit_mail mail, ndr;
    struct err e = {0};
    uint64_t ids[MOST];
    kit_body(3, body, BODY);
    kit_mail(&mail, "a@b", "r@x", span_of(body, BODY), (struct span){0});
    for (int round = 0; round < 3; round++) {
        size_t n = 0;
        while (n < MOST && queue_accept(f->q, &mail.submission, 10, &ids[n], &e))
            n++;
        assert_in_range(n, 40, MOST - 1);
        assert_int_equal(e.class, ERR_TEMP);
        assert_true(queue_err_is_full(&e));
        assert_true(queue_can_record(f->q)); /* a refusal is no failure of the disk */
        /* Each fails, with a notice as large as the message: the reserve takes it. */
        kit_mail(&ndr, "", "a@b", span_str("NDR\r\n\r\n"), span_of(body, BODY));
        struct queue_outcome failed = {.recipient = 0, .kind = QUEUE_FAILED};
        assert_int_equal(kit_claim_count(f->q, 10) + kit_claim_count(f->q, 10), n);
        for (size_t i = 0; i < n; i++) {
            uint64_t notice;
            if (!queue_finish(f->q, ids[i], KIT_OWNER, &failed, 1, &ndr.submission, 1, 20, &notice,
                              NULL, &e))
                fail_msg("finish %zu of %zu: %s", i, n, e.text);
            ids[i] = notice;
        }
        for (size_t i = 0; i < n; i++)
            assert_true(queue_remove(f->q, ids[i], &e));
        assert_int_equal(contract_counts(f->q).bytes, 0);
    }
}

/* ---- what only a store on disk has ---- */

static void opening_again_frees_claims_and_sweeps_what_was_received(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t receiving;
    uint64_t claimed = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    kit_finish(f->q, claimed, 1, QUEUE_DELIVERED, 0, 10);
    uint64_t hold_wanted = kit_accept(f->q, "a@b", "r@x", "2", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    assert_true(queue_hold(f->q, hold_wanted, &e));
    uint64_t queued = kit_accept(f->q, "a@b", "r@x", "3", 7777);
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_receive_chunk(f->q, receiving, span_str("x"), &e));
    struct queue_counts before = contract_counts(f->q);
    queue_close(&f->q);
    contract_open(f);
    struct queue_counts after = contract_counts(f->q);
    assert_int_equal(after.messages, before.messages);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(after.held, 1);
    assert_int_equal(after.claimed, 0);
    assert_int_equal(after.receiving, 0);
    assert_int_equal(contract_state(f->q, claimed), STATE_QUEUED);
    assert_int_equal(contract_state(f->q, hold_wanted), STATE_HELD);
    assert_int_equal(contract_state(f->q, queued), STATE_QUEUED);
    struct queue_message *m = kit_claim(f->q, 10);
    assert_int_equal(m->recipient_count, 1); /* the delivered one is not tried again */
    queue_message_free(&m);
    assert_true(kit_accept(f->q, "a@b", "r@x", "4", 10) > receiving);
    struct queue_clock c = queue_clock_start(f->q, 0, 0);
    assert_true(queue_clock_now(&c, 0) == 7777); /* remembered over the restart */
    struct buf report;
    bool sound = false;
    buf_init(&report, 10000);
    assert_true(queue_check(f->q, &report, &sound, &e));
    if (!sound)
        fail_msg("%s", buf_cstr(&report));
    buf_deinit(&report);
}

static void only_one_process_opens_the_file(void **state)
{
    struct contract *f = *state;
    struct queue *second = NULL;
    struct err e = {0};
    assert_false(queue_sqlite_open(&f->options, &second, &e));
    assert_null(second);
    assert_non_null(strstr(e.text, "another process"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_failed_commit_changes_nothing),
        ON_ALL(a_rolled_back_batch_changes_nothing),
        ON_ALL(a_refused_op_leaves_its_batch_sound),
        ON_ALL(a_queue_that_cannot_record_gives_nothing_out),
        ON_ALL(a_full_queue_refuses_mail_records_results_and_takes_mail_again),
        ON(SQLITE, opening_again_frees_claims_and_sweeps_what_was_received),
        ON(SQLITE, only_one_process_opens_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
