/* The contract of queue.h: its state table, cell by cell. */
#include "support/test.h"

#include "support/queue_contract.h"

static uint64_t bring_into(struct queue *q, enum contract_state state)
{
    struct err e = {0};
    uint64_t id = 0;
    if (state == STATE_RECEIVING) {
        assert_true(queue_receive_open(q, &id, &e));
        assert_true(queue_receive_chunk(q, id, span_str("chunk\r\n"), &e));
        return id;
    }
    id = kit_accept(q, "a@b", "r0@x r1@x", "x\r\n", 100);
    if (state == STATE_CLAIMED || state == STATE_CLAIMED_HOLD)
        assert_int_equal(kit_claim_count(q, 100), 1);
    if (state == STATE_HELD || state == STATE_CLAIMED_HOLD)
        assert_true(queue_hold(q, id, &e));
    if (state == STATE_NONE)
        assert_true(queue_remove(q, id, &e));
    return id;
}

static bool op_receive_chunk(struct queue *q, uint64_t id, struct err *e)
{
    return queue_receive_chunk(q, id, span_str("more\r\n"), e);
}
static bool op_receive_abort(struct queue *q, uint64_t id, struct err *e)
{
    return queue_receive_abort(q, id, e);
}
static bool op_accept(struct queue *q, uint64_t id, struct err *e)
{
    struct kit_mail m;
    uint64_t got;
    kit_mail(&m, "a@b", "r0@x", span_str("head\r\n"), (struct span){0});
    m.submission.receiving = id;
    return queue_accept(q, &m.submission, 100, &got, e) && got == id;
}
static bool op_claim(struct queue *q, uint64_t id, struct err *e)
{
    (void)id;
    (void)e;
    return kit_claim_count(q, 100) == 1;
}
static bool op_renew(struct queue *q, uint64_t id, struct err *e)
{
    return queue_renew(q, id, KIT_OWNER, 1000, 100, e);
}
static bool op_finish_part(struct queue *q, uint64_t id, struct err *e)
{
    struct queue_outcome o = {.recipient = 1, .kind = QUEUE_DELIVERED};
    return queue_finish(q, id, KIT_OWNER, &o, 1, NULL, 0, 100, NULL, NULL, e);
}
static bool finish_both(struct queue *q, uint64_t id, enum queue_outcome_kind second, struct err *e)
{
    struct queue_outcome o[] = {{.recipient = 0, .kind = QUEUE_DELIVERED},
                                {.recipient = 1, .kind = second, .next_ms = 200}};
    return queue_finish(q, id, KIT_OWNER, o, 2, NULL, 0, 100, NULL, NULL, e);
}
static bool op_finish_deferred(struct queue *q, uint64_t id, struct err *e)
{
    return finish_both(q, id, QUEUE_DEFERRED, e);
}
static bool op_finish_all(struct queue *q, uint64_t id, struct err *e)
{
    return finish_both(q, id, QUEUE_EXPIRED, e);
}
static bool op_defer(struct queue *q, uint64_t id, struct err *e)
{
    return queue_defer(q, id, KIT_OWNER, 200, (struct span){0}, e);
}
static bool op_hold(struct queue *q, uint64_t id, struct err *e)
{
    return queue_hold(q, id, e);
}
static bool op_release(struct queue *q, uint64_t id, struct err *e)
{
    return queue_release(q, id, e);
}
static bool op_retry(struct queue *q, uint64_t id, struct err *e)
{
    return queue_retry(q, id, 100, e);
}
static bool op_remove(struct queue *q, uint64_t id, struct err *e)
{
    return queue_remove(q, id, e);
}
static bool op_show(struct queue *q, uint64_t id, struct err *e)
{
    struct queue_message *m;
    bool ok = queue_show(q, id, &m, e);
    queue_message_free(&m);
    return ok;
}
static bool op_read_chunk(struct queue *q, uint64_t id, struct err *e)
{
    struct queue_reader *r;
    struct buf out;
    buf_init(&out, 1000);
    assert_true(queue_reader_open(q, &r, e));
    bool ok = queue_reader_chunk(r, id, 0, &out, e);
    ok = ok && out.n > 0;
    queue_reader_close(&r);
    buf_deinit(&out);
    return ok;
}

/* What follows: a state, or a refusal. */
enum { PERM = 100, BUG, NOTHING };

static const struct {
    const char *name;
    bool (*op)(struct queue *q, uint64_t id, struct err *e);
    int after[STATE_COUNT];
} table[] = {
    /* op              none     RECEIVING    QUEUED    CLAIMED    HELD    CLAIMED* */
    {"receive_chunk", op_receive_chunk, {BUG, STATE_RECEIVING, BUG, BUG, BUG, BUG}},
    {"receive_abort", op_receive_abort, {BUG, STATE_NONE, BUG, BUG, BUG, BUG}},
    {"accept", op_accept, {BUG, STATE_QUEUED, BUG, BUG, BUG, BUG}},
    {"claim", op_claim, {NOTHING, NOTHING, STATE_CLAIMED, NOTHING, NOTHING, NOTHING}},
    {"renew", op_renew, {PERM, PERM, PERM, STATE_CLAIMED, PERM, STATE_CLAIMED_HOLD}},
    {"finish part", op_finish_part, {PERM, PERM, PERM, STATE_CLAIMED, PERM, STATE_CLAIMED_HOLD}},
    {"finish rest", op_finish_deferred, {PERM, PERM, PERM, STATE_QUEUED, PERM, STATE_HELD}},
    {"finish all", op_finish_all, {PERM, PERM, PERM, STATE_NONE, PERM, STATE_NONE}},
    {"defer", op_defer, {PERM, PERM, PERM, STATE_QUEUED, PERM, STATE_HELD}},
    {"hold", op_hold, {PERM, PERM, STATE_HELD, STATE_CLAIMED_HOLD, STATE_HELD, STATE_CLAIMED_HOLD}},
    {"release", op_release, {PERM, PERM, STATE_QUEUED, STATE_CLAIMED, STATE_QUEUED, STATE_CLAIMED}},
    {"retry", op_retry, {PERM, PERM, STATE_QUEUED, STATE_CLAIMED, PERM, PERM}},
    {"remove", op_remove, {PERM, PERM, STATE_NONE, STATE_NONE, STATE_NONE, STATE_NONE}},
    {"show", op_show, {PERM, PERM, STATE_QUEUED, STATE_CLAIMED, STATE_HELD, STATE_CLAIMED_HOLD}},
    {"read_chunk",
     op_read_chunk,
     {PERM, PERM, STATE_QUEUED, STATE_CLAIMED, STATE_HELD, STATE_CLAIMED_HOLD}},
};

static void check_cell(struct queue *q, size_t row, enum contract_state before, bool batched)
{
    struct err e = {0};
    uint64_t id = bring_into(q, before);
    uint64_t bytes = contract_counts(q).bytes;
    int want = table[row].after[before];
    if (batched)
        assert_true(queue_batch_begin(q, &e));
    bool ok = table[row].op(q, id, &e);
    if (batched && table[row].op != op_read_chunk)
        assert_true(queue_batch_commit(q, &e));
    else if (batched)
        queue_batch_rollback(q);
    bool refused = want == PERM || want == BUG || want == NOTHING;
    enum contract_state after = contract_state(q, id);
    if (ok == refused || (want == PERM && e.class != ERR_PERM) ||
        (want == BUG && e.class != ERR_BUG) ||
        after != (refused ? before : (enum contract_state)want))
        fail_msg("%s in state %d: ok=%d class=%d, then state %d: %s", table[row].name, (int)before,
                 ok, (int)e.class, (int)after, e.text);
    if (refused)
        assert_int_equal(contract_counts(q).bytes, bytes);
    /* Away with it, whatever it is, so that the next cell begins with nothing. */
    if (after == STATE_RECEIVING)
        assert_true(queue_receive_abort(q, id, &e));
    else if (after != STATE_NONE)
        assert_true(queue_remove(q, id, &e));
    struct queue_counts c = contract_counts(q);
    assert_true(c.messages == 0 && c.claimed == 0 && c.held == 0 && c.receiving == 0 &&
                c.bytes == 0);
}

static void every_op_in_every_state_does_what_the_table_says(void **state)
{
    struct contract *f = *state;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        for (int before = 0; before < STATE_COUNT; before++)
            check_cell(f->q, row, (enum contract_state)before, false);
    }
}

static void every_cell_holds_within_a_batch_too(void **state)
{
    struct contract *f = *state;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        for (int before = 0; before < STATE_COUNT; before++) {
            /* A reader waits for the memory queue's batch: it is another thread's affair. */
            if (f->kind == CONTRACT_MEMORY && table[row].op == op_read_chunk)
                continue;
            check_cell(f->q, row, (enum contract_state)before, true);
        }
    }
}

static void what_our_own_code_must_not_ask_is_a_bug(void **state)
{
    struct contract *f = *state;
    struct kit_mail mail;
    struct queue_message *m[1];
    struct err e = {0};
    uint64_t id;
    size_t count;
    kit_mail(&mail, "a@b", "", (struct span){0}, (struct span){0});
    assert_false(queue_accept(f->q, &mail.submission, 0, &id, &e));
    assert_int_equal(e.class, ERR_BUG);
    assert_false(queue_claim(f->q, 0, 10, 0, 1, m, &count, &e));
    assert_int_equal(e.class, ERR_BUG);
    assert_false(queue_claim(f->q, 1, 10, 0, QUEUE_CLAIM_MAX + 1, m, &count, &e));
    assert_false(queue_finish(f->q, 1, 1, NULL, 0, NULL, 0, 0, NULL, NULL, &e));
    assert_int_equal(e.class, ERR_BUG);
    assert_false(queue_receive_chunk(f->q, 1, (struct span){0}, &e));
    assert_false(queue_batch_commit(f->q, &e));
    assert_int_equal(e.class, ERR_BUG);
    assert_true(queue_batch_begin(f->q, &e));
    assert_false(queue_batch_begin(f->q, &e));
    assert_int_equal(e.class, ERR_BUG);
    queue_batch_rollback(f->q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(every_op_in_every_state_does_what_the_table_says),
        ON_ALL(every_cell_holds_within_a_batch_too),
        ON_ALL(what_our_own_code_must_not_ask_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
