/* The contract of queue.h, on every implementation: memory (the specification) and SQLite. */
#include "support/test.h"

#include "queue/queue.h"
#include "support/lossy_vfs.h"
#include "support/queue_kit.h"

enum kind { MEMORY, SQLITE, KINDS };

struct fixture {
    enum kind kind;
    char folder[256], path[300];
    struct queue_options options;
    struct queue *q;
};

static void open_queue(struct fixture *f)
{
    struct err e = {0};
    bool ok = f->kind == MEMORY ? queue_memory_new(&f->options, &f->q, &e)
                                : queue_sqlite_open(&f->options, &f->q, &e);
    if (!ok)
        fail_msg("open: %s", e.text);
}

static struct fixture *fixture_new(enum kind kind)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->kind = kind;
    f->options.max_bytes = 64 * 1024 * 1024;
    if (kind == SQLITE) {
        lossy_vfs_register();
        lossy_vfs_reset();
        kit_folder(f->folder, sizeof f->folder);
        snprintf(f->path, sizeof f->path, "%s/queue.db", f->folder);
        f->options.path = f->path;
        f->options.vfs = LOSSY_VFS;
    }
    open_queue(f);
    return f;
}

static void fixture_free(struct fixture *f)
{
    queue_close(&f->q);
    if (f->kind == SQLITE)
        kit_folder_remove(f->folder);
    free(f);
}

static int set_up(void **state)
{
    *state = fixture_new(*(const enum kind *)*state);
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

/* The options hold for the queue that is opened anew: nothing may be in it yet. */
static void with_options(struct fixture *f, bool leases_expire, uint64_t max, uint64_t reserve)
{
    queue_close(&f->q);
    f->options.leases_expire = leases_expire;
    f->options.max_bytes = max;
    f->options.reserve_bytes = reserve;
    open_queue(f);
}

static void next_commit_fails(struct fixture *f)
{
    if (f->kind == MEMORY)
        queue_memory_fail_commit(f->q);
    else
        lossy_vfs_fail_in(LOSSY_FULL, 0, true);
}

static struct queue_counts counts(struct queue *q)
{
    struct queue_counts c;
    struct err e = {0};
    assert_true(queue_counts(q, &c, &e));
    return c;
}

static int64_t next_due(struct queue *q)
{
    int64_t due = 0;
    struct err e = {0};
    assert_true(queue_next_due(q, &due, &e));
    return due;
}

static struct queue_message *show(struct queue *q, uint64_t id)
{
    struct queue_message *m = NULL;
    struct err e = {0};
    if (!queue_show(q, id, &m, &e))
        fail_msg("show: %s", e.text);
    return m;
}

#define assert_span(s, text) assert_true(span_is((s), (text)))

/* ---- one message, its whole way ---- */

static void what_is_accepted_is_what_is_claimed(void **state)
{
    struct fixture *f = *state;
    struct kit_mail mail;
    struct err e = {0};
    uint64_t id;
    kit_mail(&mail, "a@b.example", "c@d.example e@f.example", span_str("Received: x\r\n"),
             span_str("Subject: s\r\n\r\nbody\r\n"));
    struct queue_envelope *v = &mail.submission.envelope;
    v->envid = span_str("QQ314159");
    v->identity = span_str("CORP\\printer");
    v->ret = QUEUE_RET_HDRS;
    v->origin = QUEUE_ORIGIN_PICKUP;
    v->eight_bit = v->smtputf8 = v->may_relay = true;
    assert_true(netaddr_parse(span_str("2001:db8::7"), &v->client));
    mail.recipients[1].orcpt = span_str("rfc822;x@y.example");
    mail.recipients[1].notify = QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_DELAY;
    assert_true(queue_accept(f->q, &mail.submission, 1000, &id, &e));

    struct queue_message *m = kit_claim(f->q, 1000);
    assert_int_equal(m->id, id);
    assert_int_equal(m->accepted_ms, 1000);
    assert_int_equal(m->state, QUEUE_CLAIMED);
    assert_true(m->has_body);
    assert_span(m->body, "Received: x\r\nSubject: s\r\n\r\nbody\r\n");
    assert_int_equal(m->size, m->body.n);
    assert_span(m->envelope.sender, "a@b.example");
    assert_span(m->envelope.helo, "client.example");
    assert_span(m->envelope.envid, "QQ314159");
    assert_span(m->envelope.identity, "CORP\\printer");
    assert_true(netaddr_equal(&m->envelope.client, &v->client));
    assert_int_equal(m->envelope.ret, QUEUE_RET_HDRS);
    assert_int_equal(m->envelope.origin, QUEUE_ORIGIN_PICKUP);
    assert_true(m->envelope.eight_bit && m->envelope.smtputf8 && m->envelope.may_relay);
    assert_int_equal(m->recipient_count, 2);
    assert_span(m->recipients[0].address, "c@d.example");
    assert_span(m->recipients[1].address, "e@f.example");
    assert_span(m->recipients[1].orcpt, "rfc822;x@y.example");
    assert_int_equal(m->recipients[1].notify, QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_DELAY);
    assert_int_equal(m->recipients[1].index, 1);
    assert_int_equal(m->recipients[1].attempts, 0);
    queue_message_free(&m);

    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 1001);
    assert_int_equal(counts(f->q).messages, 1);
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 1002);
    assert_int_equal(counts(f->q).messages, 0);
    assert_int_equal(counts(f->q).claimed, 0);
    assert_int_equal(counts(f->q).bytes, 0);
    assert_true(next_due(f->q) == INT64_MAX);
}

static void a_deferred_recipient_comes_back_alone_and_in_time(void **state)
{
    struct fixture *f = *state;
    uint64_t id = kit_accept(f->q, "a@b.example", "r0@x r1@x r2@x", "m\r\n", 10);
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);
    assert_true(next_due(f->q) == INT64_MAX);
    struct queue_outcome o[] = {
        {.recipient = 0, .kind = QUEUE_DELIVERED, .attempted = true, .reply = span_str("250 ok")},
        {.recipient = 2, .kind = QUEUE_FAILED, .attempted = true, .reply = span_str("550 no")},
        {.recipient = 1,
         .kind = QUEUE_DEFERRED,
         .attempted = true,
         .delay_noticed = true,
         .next_ms = 5000,
         .reply = span_str("451 later")},
    };
    struct err e = {0};
    bool ended = false;
    assert_true(queue_finish(f->q, id, KIT_OWNER, o, 3, NULL, 0, 20, NULL, &ended, &e));
    assert_true(ended);
    assert_true(next_due(f->q) == 5000);
    assert_int_equal(kit_claim_count(f->q, 4999), 0);
    m = kit_claim(f->q, 5000);
    assert_int_equal(m->recipient_count, 1);
    assert_int_equal(m->recipients[0].index, 1);
    assert_int_equal(m->recipients[0].attempts, 1);
    assert_true(m->recipients[0].delay_noticed);
    assert_span(m->recipients[0].last_reply, "451 later");
    queue_message_free(&m);
    m = show(f->q, id);
    assert_int_equal(m->recipient_count, 3);
    assert_int_equal(m->recipients[0].state, QUEUE_RCPT_DELIVERED);
    assert_int_equal(m->recipients[2].state, QUEUE_RCPT_FAILED);
    assert_span(m->recipients[2].last_reply, "550 no");
    assert_span(m->body, "Received: here\r\nm\r\n");
    queue_message_free(&m);
}

static void a_claim_ends_only_when_each_of_its_recipients_has_an_outcome(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b.example", "r0@x r1@x", "m\r\n", 10);
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);
    kit_finish(f->q, id, 0, QUEUE_DEFERRED, 15, 12);
    assert_int_equal(kit_claim_count(f->q, 100), 0); /* still claimed */
    struct queue_outcome twice = {.recipient = 0, .kind = QUEUE_DELIVERED};
    assert_false(queue_finish(f->q, id, KIT_OWNER, &twice, 1, NULL, 0, 12, NULL, NULL, &e));
    assert_int_equal(e.class, ERR_BUG);
    kit_finish(f->q, id, 1, QUEUE_DEFERRED, 200, 13);
    m = kit_claim(f->q, 100);
    assert_int_equal(m->recipient_count, 1);
    assert_int_equal(m->recipients[0].index, 0);
    queue_message_free(&m);
}

static void a_notice_and_the_failure_that_it_tells_of_are_one(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct kit_mail ndr[2];
    uint64_t ids[2] = {0}, id = kit_accept(f->q, "a@b.example", "r0@x", "m\r\n", 10);
    kit_mail(&ndr[0], "", "a@b.example", span_str("Subject: undeliverable\r\n\r\n"), span_str("x"));
    kit_mail(&ndr[1], "", "copy@b.example", span_str("Subject: copy\r\n\r\n"), span_str("y"));
    ndr[0].submission.envelope.origin = ndr[1].submission.envelope.origin = QUEUE_ORIGIN_DSN;
    struct queue_submission notices[] = {ndr[0].submission, ndr[1].submission};
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_FAILED, .attempted = true};
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);

    next_commit_fails(f);
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, notices, 2, 20, ids, NULL, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_false(queue_can_record(f->q));
    lossy_vfs_heal();
    assert_int_equal(counts(f->q).messages, 1);
    assert_int_equal(counts(f->q).claimed, 1);

    assert_true(queue_finish(f->q, id, KIT_OWNER, &o, 1, notices, 2, 30, ids, NULL, &e));
    assert_true(queue_can_record(f->q));
    assert_int_equal(counts(f->q).messages, 2);
    m = show(f->q, ids[1]);
    assert_span(m->envelope.sender, "");
    assert_int_equal(m->envelope.origin, QUEUE_ORIGIN_DSN);
    assert_int_equal(m->accepted_ms, 30);
    assert_span(m->body, "Subject: copy\r\n");
    queue_message_free(&m);
    assert_int_equal(kit_claim_count(f->q, 30), 2);
}

static void a_claim_given_back_costs_no_attempt(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b.example", "r0@x r1@x", "m\r\n", 10);
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 11);
    assert_true(queue_defer(f->q, id, KIT_OWNER, 500, span_str("no slot"), &e));
    assert_true(next_due(f->q) == 500);
    m = kit_claim(f->q, 600);
    assert_int_equal(m->recipient_count, 1);
    assert_int_equal(m->recipients[0].attempts, 0);
    assert_span(m->recipients[0].last_reply, "no slot");
    queue_message_free(&m);
    assert_true(queue_defer(f->q, id, KIT_OWNER, 0, (struct span){0}, &e));
    m = kit_claim(f->q, 600); /* due in the past: at once */
    assert_span(m->recipients[0].last_reply, "no slot");
    queue_message_free(&m);
}

static void the_oldest_due_comes_first_and_no_more_than_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t late = kit_accept(f->q, "a@b", "r@x", "1", 300);
    uint64_t early = kit_accept(f->q, "a@b", "r@x", "2", 100);
    uint64_t middle = kit_accept(f->q, "a@b", "r@x", "3", 200);
    struct queue_message *m[2];
    size_t count;
    assert_true(queue_claim(f->q, 1, 1000, 299, 2, m, &count, &e));
    assert_int_equal(count, 2);
    assert_int_equal(m[0]->id, early);
    assert_int_equal(m[1]->id, middle);
    queue_message_free(&m[0]);
    queue_message_free(&m[1]);
    assert_true(next_due(f->q) == 300);
    assert_true(queue_defer(f->q, middle, 1, 301, (struct span){0}, &e));
    assert_true(queue_claim(f->q, 1, 1000, 400, 2, m, &count, &e));
    assert_int_equal(count, 2);
    assert_int_equal(m[0]->id, late);
    assert_int_equal(m[1]->id, middle);
    queue_message_free(&m[0]);
    queue_message_free(&m[1]);
}

/* ---- owners and leases ---- */

static void only_the_owner_may_finish_renew_or_defer(void **state)
{
    struct fixture *f = *state;
    struct err e;
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 0);
    assert_int_equal(kit_claim_count(f->q, 0), 1);
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED};
    static const uint64_t others[] = {KIT_OWNER + 1, 0};
    for (size_t i = 0; i < 2; i++) {
        e = (struct err){0};
        assert_false(queue_finish(f->q, id, others[i], &o, 1, NULL, 0, 0, NULL, NULL, &e));
        assert_int_equal(e.class, ERR_PERM);
        assert_false(queue_renew(f->q, id, others[i], 10, 0, &e));
        assert_int_equal(e.class, ERR_PERM);
        assert_false(queue_defer(f->q, id, others[i], 10, (struct span){0}, &e));
        assert_int_equal(e.class, ERR_PERM);
    }
    assert_true(queue_renew(f->q, id, KIT_OWNER, 10, 0, &e));
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 0);
}

static void a_lease_ends_by_time_only_where_the_store_is_shared(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    kit_accept(f->q, "a@b", "r@x", "1", 0);
    assert_int_equal(kit_claim_count(f->q, 0), 1);
    assert_int_equal(kit_claim_count(f->q, INT64_MAX / 2), 0);

    if (f->kind == SQLITE)
        assert_true(queue_remove(f->q, 1, &e));
    with_options(f, true, f->options.max_bytes, 0);
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 1000);
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(next_due(f->q) == 1000 + KIT_LEASE_MS);
    assert_true(queue_renew(f->q, id, KIT_OWNER, KIT_LEASE_MS, 2000, &e));
    assert_int_equal(kit_claim_count(f->q, 1999 + KIT_LEASE_MS), 0);
    struct queue_message *m[1];
    size_t count;
    assert_true(queue_claim(f->q, 99, 10, 2000 + KIT_LEASE_MS, 1, m, &count, &e));
    assert_int_equal(count, 1);
    queue_message_free(&m[0]);
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED};
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, NULL, 0, 0, NULL, NULL, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_true(queue_finish(f->q, id, 99, &o, 1, NULL, 0, 0, NULL, NULL, &e));
}

/* ---- holding and handling ---- */

static void a_held_message_waits_until_it_is_released(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_true(queue_hold(f->q, id, &e));
    assert_true(queue_hold(f->q, id, &e));
    assert_int_equal(counts(f->q).held, 1);
    assert_int_equal(kit_claim_count(f->q, 1000), 0);
    assert_true(next_due(f->q) == INT64_MAX);
    assert_false(queue_retry(f->q, id, 50, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_true(queue_release(f->q, id, &e));
    assert_true(queue_release(f->q, id, &e));
    assert_int_equal(counts(f->q).held, 0);
    assert_true(next_due(f->q) == 10);
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
}

static void a_hold_of_a_claimed_message_takes_effect_when_the_claim_ends(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    assert_true(queue_hold(f->q, id, &e));
    struct queue_message *m = show(f->q, id);
    assert_int_equal(m->state, QUEUE_CLAIMED);
    assert_true(m->hold_wanted);
    queue_message_free(&m);
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 11);
    assert_true(queue_renew(f->q, id, KIT_OWNER, 100, 11, &e));
    kit_finish(f->q, id, 1, QUEUE_DEFERRED, 20, 11);
    m = show(f->q, id);
    assert_int_equal(m->state, QUEUE_HELD);
    queue_message_free(&m);
    assert_int_equal(kit_claim_count(f->q, 1000), 0);
    assert_true(queue_release(f->q, id, &e));
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(queue_hold(f->q, id, &e));
    assert_true(queue_release(f->q, id, &e)); /* while claimed: as if never held */
    assert_true(queue_defer(f->q, id, KIT_OWNER, 30, (struct span){0}, &e));
    assert_true(next_due(f->q) == 30);
    /* Held and then wholly delivered: it is gone. */
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(queue_hold(f->q, id, &e));
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 40);
    assert_int_equal(counts(f->q).messages, 0);
    assert_int_equal(counts(f->q).held, 0);
}

static void a_retry_makes_what_waits_due_now(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    kit_finish(f->q, id, 0, QUEUE_DEFERRED, 90000, 11);
    assert_true(queue_retry(f->q, id, 50, &e)); /* claimed: for the one whose turn is over */
    kit_finish(f->q, id, 1, QUEUE_DEFERRED, 80000, 51);
    assert_true(next_due(f->q) == 50);
    assert_true(queue_retry(f->q, id, 60, &e));
    assert_true(next_due(f->q) == 50);
    struct queue_message *m = kit_claim(f->q, 60);
    assert_int_equal(m->recipient_count, 2);
    queue_message_free(&m);
}

static void a_removed_message_is_gone_also_for_who_claims_it(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    assert_true(queue_remove(f->q, id, &e));
    assert_int_equal(counts(f->q).claimed, 0);
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

static size_t list(struct queue *q, struct queue_filter filter, uint64_t *ids)
{
    struct queue_message *m[QUEUE_LIST_MAX];
    struct err e = {0};
    size_t count;
    if (!queue_list(q, &filter, m, &count, &e))
        fail_msg("list: %s", e.text);
    for (size_t i = 0; i < count; i++) {
        ids[i] = m[i]->id;
        queue_message_free(&m[i]);
    }
    return count;
}

static void the_list_pages_and_filters(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id[5], got[10];
    for (size_t i = 0; i < 5; i++)
        id[i] = kit_accept(f->q, i == 1 ? "Boss@b.example" : "a@b.example",
                           i == 2 ? "r@x y@partner.example" : "r@x", "1", (int64_t)i);
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_hold(f->q, id[3], &e));
    assert_int_equal(kit_claim_count(f->q, 0), 1); /* id[0] */
    assert_int_equal(list(f->q, (struct queue_filter){.max = 3}, got), 3);
    assert_int_equal(got[2], id[2]);
    assert_int_equal(list(f->q, (struct queue_filter){.max = 3, .after = got[2]}, got), 2);
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

/* ---- the state table of queue.h, cell by cell ---- */

enum table_state { T_NONE, T_RECEIVING, T_QUEUED, T_CLAIMED, T_HELD, T_CLAIMED_HOLD, T_STATES };

static uint64_t bring_into(struct queue *q, enum table_state state)
{
    struct err e = {0};
    uint64_t id = 0;
    if (state == T_RECEIVING) {
        assert_true(queue_receive_open(q, &id, &e));
        assert_true(queue_receive_chunk(q, id, span_str("chunk\r\n"), &e));
        return id;
    }
    id = kit_accept(q, "a@b", "r0@x r1@x", "x\r\n", 100);
    if (state == T_CLAIMED || state == T_CLAIMED_HOLD)
        assert_int_equal(kit_claim_count(q, 100), 1);
    if (state == T_HELD || state == T_CLAIMED_HOLD)
        assert_true(queue_hold(q, id, &e));
    if (state == T_NONE)
        assert_true(queue_remove(q, id, &e));
    return id;
}

/* What the queue says of it now, in the words of the table. */
static enum table_state state_of(struct queue *q, uint64_t id)
{
    struct queue_message *m;
    struct err e = {0};
    if (!queue_show(q, id, &m, &e))
        return counts(q).receiving > 0 ? T_RECEIVING : T_NONE;
    enum table_state s = m->state == QUEUE_HELD                        ? T_HELD
                         : m->state == QUEUE_CLAIMED && m->hold_wanted ? T_CLAIMED_HOLD
                         : m->state == QUEUE_CLAIMED                   ? T_CLAIMED
                                                                       : T_QUEUED;
    queue_message_free(&m);
    return s;
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
    int after[T_STATES];
} table[] = {
    /* op              none     RECEIVING    QUEUED    CLAIMED    HELD    CLAIMED* */
    {"receive_chunk", op_receive_chunk, {BUG, T_RECEIVING, BUG, BUG, BUG, BUG}},
    {"receive_abort", op_receive_abort, {BUG, T_NONE, BUG, BUG, BUG, BUG}},
    {"accept", op_accept, {BUG, T_QUEUED, BUG, BUG, BUG, BUG}},
    {"claim", op_claim, {NOTHING, NOTHING, T_CLAIMED, NOTHING, NOTHING, NOTHING}},
    {"renew", op_renew, {PERM, PERM, PERM, T_CLAIMED, PERM, T_CLAIMED_HOLD}},
    {"finish part", op_finish_part, {PERM, PERM, PERM, T_CLAIMED, PERM, T_CLAIMED_HOLD}},
    {"finish rest", op_finish_deferred, {PERM, PERM, PERM, T_QUEUED, PERM, T_HELD}},
    {"finish all", op_finish_all, {PERM, PERM, PERM, T_NONE, PERM, T_NONE}},
    {"defer", op_defer, {PERM, PERM, PERM, T_QUEUED, PERM, T_HELD}},
    {"hold", op_hold, {PERM, PERM, T_HELD, T_CLAIMED_HOLD, T_HELD, T_CLAIMED_HOLD}},
    {"release", op_release, {PERM, PERM, T_QUEUED, T_CLAIMED, T_QUEUED, T_CLAIMED}},
    {"retry", op_retry, {PERM, PERM, T_QUEUED, T_CLAIMED, PERM, PERM}},
    {"remove", op_remove, {PERM, PERM, T_NONE, T_NONE, T_NONE, T_NONE}},
    {"show", op_show, {PERM, PERM, T_QUEUED, T_CLAIMED, T_HELD, T_CLAIMED_HOLD}},
    {"read_chunk", op_read_chunk, {PERM, PERM, T_QUEUED, T_CLAIMED, T_HELD, T_CLAIMED_HOLD}},
};

static void check_cell(struct queue *q, size_t row, enum table_state before, bool batched)
{
    struct err e = {0};
    uint64_t id = bring_into(q, before);
    uint64_t bytes = counts(q).bytes;
    int want = table[row].after[before];
    if (batched)
        assert_true(queue_batch_begin(q, &e));
    bool ok = table[row].op(q, id, &e);
    if (batched && table[row].op != op_read_chunk)
        assert_true(queue_batch_commit(q, &e));
    else if (batched)
        queue_batch_rollback(q);
    bool refused = want == PERM || want == BUG || want == NOTHING;
    enum table_state after = state_of(q, id);
    if (ok == refused || (want == PERM && e.class != ERR_PERM) ||
        (want == BUG && e.class != ERR_BUG) || after != (refused ? before : (enum table_state)want))
        fail_msg("%s in state %d: ok=%d class=%d, then state %d: %s", table[row].name, (int)before,
                 ok, (int)e.class, (int)after, e.text);
    if (refused)
        assert_int_equal(counts(q).bytes, bytes);
    /* Away with it, whatever it is, so that the next cell begins with nothing. */
    if (after == T_RECEIVING)
        assert_true(queue_receive_abort(q, id, &e));
    else if (after != T_NONE)
        assert_true(queue_remove(q, id, &e));
    struct queue_counts c = counts(q);
    assert_true(c.messages == 0 && c.claimed == 0 && c.held == 0 && c.receiving == 0 &&
                c.bytes == 0);
}

static void every_op_in_every_state_does_what_the_table_says(void **state)
{
    struct fixture *f = *state;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        for (int before = 0; before < T_STATES; before++)
            check_cell(f->q, row, (enum table_state)before, false);
    }
}

static void every_cell_holds_within_a_batch_too(void **state)
{
    struct fixture *f = *state;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        for (int before = 0; before < T_STATES; before++) {
            /* A reader waits for the memory queue's batch: it is another thread's affair. */
            if (f->kind == MEMORY && table[row].op == op_read_chunk)
                continue;
            check_cell(f->q, row, (enum table_state)before, true);
        }
    }
}

static void what_our_own_code_must_not_ask_is_a_bug(void **state)
{
    struct fixture *f = *state;
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

/* ---- batches ---- */

static void a_failed_commit_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t held = kit_accept(f->q, "a@b", "r0@x r1@x", "1", 10);
    assert_true(queue_hold(f->q, held, &e));
    uint64_t claimed = kit_accept(f->q, "a@b", "r0@x r1@x", "2", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    uint64_t queued = kit_accept(f->q, "a@b", "r0@x r1@x", "3", 10);
    uint64_t receiving;
    assert_true(queue_receive_open(f->q, &receiving, &e));
    assert_true(queue_receive_chunk(f->q, receiving, span_str("one"), &e));
    struct queue_counts before = counts(f->q);

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
    next_commit_fails(f);
    e = (struct err){0};
    assert_false(queue_batch_commit(f->q, &e));
    assert_int_equal(e.class, ERR_TEMP);
    lossy_vfs_heal();

    struct queue_counts after = counts(f->q);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(state_of(f->q, held), T_HELD);
    assert_int_equal(state_of(f->q, claimed), T_CLAIMED);
    assert_int_equal(state_of(f->q, queued), T_QUEUED);
    /* Looking does not heal it: the first commit that writes does. */
    assert_false(queue_can_record(f->q));
    kit_finish(f->q, claimed, 0, QUEUE_DELIVERED, 0, 20);
    assert_true(queue_can_record(f->q));
    struct kit_mail mail;
    uint64_t id;
    kit_mail(&mail, "a@b", "r@x", span_str("head-"), (struct span){0});
    mail.submission.receiving = receiving;
    assert_true(queue_accept(f->q, &mail.submission, 30, &id, &e));
    struct queue_message *shown = show(f->q, id);
    assert_span(shown->body, "head-one");
    queue_message_free(&shown);
}

static void a_rolled_back_batch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t first = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_true(queue_batch_begin(f->q, &e));
    kit_accept(f->q, "a@b", "r@x", "2", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 2);
    kit_finish(f->q, first, 0, QUEUE_DELIVERED, 0, 20);
    queue_batch_rollback(f->q);
    assert_int_equal(counts(f->q).messages, 1);
    assert_true(queue_can_record(f->q));
    assert_int_equal(kit_claim_count(f->q, 10), 1);
}

static void a_refused_op_leaves_its_batch_sound(void **state)
{
    struct fixture *f = *state;
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
    assert_int_equal(state_of(f->q, id), T_CLAIMED);
    assert_int_equal(state_of(f->q, second), T_QUEUED);
    assert_int_equal(state_of(f->q, third), T_QUEUED);
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 20); /* still open */
}

static void a_queue_that_cannot_record_gives_nothing_out(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 10);
    assert_int_equal(kit_claim_count(f->q, 10), 1);
    kit_accept(f->q, "a@b", "r@x", "2", 10);
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED};
    next_commit_fails(f);
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, NULL, 0, 10, NULL, NULL, &e));
    assert_false(queue_can_record(f->q));
    struct queue_message *m[1];
    size_t count = 9;
    if (f->kind == MEMORY)
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

/* ---- large bodies ---- */

static void read_all(struct queue *q, uint64_t id, uint32_t chunks, struct buf *out)
{
    struct queue_reader *r;
    struct err e = {0};
    assert_true(queue_reader_open(q, &r, &e));
    for (uint32_t i = 0; i < chunks; i++) {
        size_t before = out->n;
        if (!queue_reader_chunk(r, id, i, out, &e))
            fail_msg("chunk %u: %s", i, e.text);
        assert_true(out->n - before <= QUEUE_CHUNK_MAX);
    }
    assert_false(queue_reader_chunk(r, id, chunks, out, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_false(queue_reader_chunk(r, id, UINT32_MAX, out, &e));
    queue_reader_close(&r);
}

static void a_body_that_arrives_in_chunks_is_read_in_chunks(void **state)
{
    struct fixture *f = *state;
    enum { PART = 100 * 1000, PARTS = 11 };
    struct err e = {0};
    struct kit_mail mail;
    uint64_t id, receiving;
    uint8_t *body = malloc((size_t)PART * PARTS);
    assert_non_null(body);
    kit_body(1, body, (size_t)PART * PARTS);
    assert_true(queue_receive_open(f->q, &receiving, &e));
    for (size_t i = 0; i < PARTS; i++)
        assert_true(queue_receive_chunk(f->q, receiving, span_of(body + i * PART, PART), &e));
    assert_int_equal(counts(f->q).messages, 0);
    assert_int_equal(counts(f->q).receiving, 1);
    assert_int_equal(kit_claim_count(f->q, 1000), 0);
    kit_mail(&mail, "a@b", "r@x", span_str("Received: x\r\n"), (struct span){0});
    mail.submission.receiving = receiving;
    assert_true(queue_accept(f->q, &mail.submission, 10, &id, &e));
    assert_int_equal(id, receiving);
    struct queue_message *m = kit_claim(f->q, 10);
    assert_false(m->has_body);
    assert_int_equal(m->size, (size_t)PART * PARTS + 13);
    struct buf out;
    buf_init(&out, 4000000);
    read_all(f->q, id, m->chunk_count, &out);
    assert_int_equal(out.n, m->size);
    assert_memory_equal(buf_span(&out).p, "Received: x\r\n", 13);
    assert_memory_equal(buf_span(&out).p + 13, body, (size_t)PART * PARTS);
    buf_deinit(&out);
    queue_message_free(&m);
    kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 11);
    assert_int_equal(counts(f->q).bytes, 0);
    free(body);
}

static void bodies_of_every_size_come_back_byte_for_byte(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   QUEUE_INLINE_MAX - 1,
                                   QUEUE_INLINE_MAX,
                                   QUEUE_INLINE_MAX + 1,
                                   QUEUE_CHUNK_MAX - 1,
                                   QUEUE_CHUNK_MAX,
                                   QUEUE_CHUNK_MAX + 1,
                                   3 * QUEUE_CHUNK_MAX,
                                   3 * QUEUE_CHUNK_MAX + 17};
    uint8_t *body = malloc(4 * QUEUE_CHUNK_MAX);
    assert_non_null(body);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct kit_mail mail;
        struct err e = {0};
        uint64_t id;
        kit_body(i, body, sizes[i]);
        size_t split = sizes[i] / 3;
        kit_mail(&mail, "a@b", "r@x", span_of(body, split),
                 span_of(body + split, sizes[i] - split));
        assert_true(queue_accept(f->q, &mail.submission, 10, &id, &e));
        struct queue_message *m = kit_claim(f->q, 10);
        assert_int_equal(m->size, sizes[i]);
        assert_int_equal(m->has_body, sizes[i] <= QUEUE_INLINE_MAX);
        if (m->has_body) {
            assert_int_equal(m->body.n, sizes[i]);
            assert_true(sizes[i] == 0 || memcmp(m->body.p, body, sizes[i]) == 0);
        }
        struct buf out;
        buf_init(&out, 4 * QUEUE_CHUNK_MAX);
        read_all(f->q, id, m->chunk_count, &out);
        assert_true(span_equal(buf_span(&out), span_of(body, sizes[i])));
        buf_deinit(&out);
        queue_message_free(&m);
        kit_finish(f->q, id, 0, QUEUE_DELIVERED, 0, 11);
    }
    free(body);
}

static void a_message_may_have_thousands_of_recipients(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 3000 };
    struct queue_addressee *to = calloc(MANY, sizeof *to);
    char(*names)[32] = calloc(MANY, 32);
    struct queue_outcome *o = calloc(MANY, sizeof *o);
    assert_true(to != NULL && names != NULL && o != NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(names[i], 32, "user%u@x.example", (unsigned)i);
        to[i].address = span_str(names[i]);
        o[i] = (struct queue_outcome){.recipient = MANY - 1 - i,
                                      .kind = i % 2 == 0 ? QUEUE_DELIVERED : QUEUE_DEFERRED,
                                      .next_ms = 50};
    }
    struct queue_submission s = {.recipients = to, .recipient_count = MANY};
    struct err e = {0};
    uint64_t id;
    assert_true(queue_accept(f->q, &s, 10, &id, &e));
    struct queue_message *m = kit_claim(f->q, 10);
    assert_int_equal(m->recipient_count, MANY);
    assert_span(m->recipients[MANY - 1].address, "user2999@x.example");
    queue_message_free(&m);
    assert_true(queue_finish(f->q, id, KIT_OWNER, o, MANY, NULL, 0, 20, NULL, NULL, &e));
    m = kit_claim(f->q, 50);
    assert_int_equal(m->recipient_count, MANY / 2);
    queue_message_free(&m);
    free(to);
    free(names);
    free(o);
}

/* ---- a full store ---- */

static void a_full_queue_refuses_mail_records_results_and_takes_mail_again(void **state)
{
    struct fixture *f = *state;
    enum { RESERVE = 512 * 1024, MAX = 2 * 1024 * 1024, BODY = 20000, MOST = 200 };
    static uint8_t body[BODY];
    with_options(f, false, MAX, RESERVE);
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
        assert_int_equal(counts(f->q).bytes, 0);
    }
}

/* ---- the clock ---- */

static void the_clock_never_goes_back(void **state)
{
    struct fixture *f = *state;
    kit_accept(f->q, "a@b", "r@x", "1", 5000);
    struct queue_clock c = queue_clock_start(f->q, 4000, 70); /* the wall clock was set back */
    assert_true(queue_clock_now(&c, 70) == 5000);
    assert_true(queue_clock_now(&c, 100) == 5030);
    assert_true(queue_clock_now(&c, 10) == 5000);
    c = queue_clock_start(f->q, 9000, 70);
    assert_true(queue_clock_now(&c, 71) == 9001);
}

/* ---- what only a store on disk has ---- */

static void opening_again_frees_claims_and_sweeps_what_was_received(void **state)
{
    struct fixture *f = *state;
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
    struct queue_counts before = counts(f->q);
    queue_close(&f->q);
    open_queue(f);
    struct queue_counts after = counts(f->q);
    assert_int_equal(after.messages, before.messages);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(after.held, 1);
    assert_int_equal(after.claimed, 0);
    assert_int_equal(after.receiving, 0);
    assert_int_equal(state_of(f->q, claimed), T_QUEUED);
    assert_int_equal(state_of(f->q, hold_wanted), T_HELD);
    assert_int_equal(state_of(f->q, queued), T_QUEUED);
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
    struct fixture *f = *state;
    struct queue *second = NULL;
    struct err e = {0};
    assert_false(queue_sqlite_open(&f->options, &second, &e));
    assert_null(second);
    assert_non_null(strstr(e.text, "another process"));
}

/* ---- random walks: the memory queue says what is right ---- */

struct pair {
    uint64_t id[KINDS];
    bool receiving;
};

struct walk {
    struct fixture *f[KINDS];
    struct pair known[400];
    size_t count;
    uint64_t random;
    int64_t now;
    bool in_batch;
    size_t known_at_begin;
    unsigned long accepted, ok, refused, batches, failed;
};

static uint64_t pick(struct walk *w, uint64_t n)
{
    return (kit_random(&w->random) >> 20) % n;
}

static void compare_messages(const struct queue_message *a, const struct queue_message *b)
{
    assert_int_equal(a->accepted_ms, b->accepted_ms);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->chunk_count, b->chunk_count);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->hold_wanted, b->hold_wanted);
    assert_int_equal(a->has_body, b->has_body);
    assert_true(span_equal(a->body, b->body));
    assert_true(span_equal(a->envelope.sender, b->envelope.sender));
    assert_int_equal(a->recipient_count, b->recipient_count);
    for (size_t i = 0; i < a->recipient_count; i++) {
        const struct queue_recipient *x = &a->recipients[i], *y = &b->recipients[i];
        assert_int_equal(x->index, y->index);
        assert_int_equal(x->attempts, y->attempts);
        assert_int_equal(x->state, y->state);
        assert_int_equal(x->delay_noticed, y->delay_noticed);
        assert_int_equal(x->next_ms, y->next_ms);
        assert_true(span_equal(x->address, y->address));
        assert_true(span_equal(x->last_reply, y->last_reply));
    }
}

/* Both said the same, and refused with the same class. */
static bool same(struct walk *w, const bool ok[KINDS], const struct err e[KINDS], const char *op)
{
    if (ok[MEMORY] != ok[SQLITE] || (!ok[MEMORY] && e[MEMORY].class != e[SQLITE].class))
        fail_msg("%s: memory %d (%s), sqlite %d (%s)", op, ok[MEMORY], e[MEMORY].text, ok[SQLITE],
                 e[SQLITE].text);
    if (ok[MEMORY])
        w->ok++;
    else
        w->refused++;
    return ok[MEMORY];
}

static void forget(struct walk *w, size_t i)
{
    /* Within a batch nothing is forgotten: the batch may fail. */
    if (!w->in_batch)
        w->known[i] = w->known[--w->count];
}

static void walk_accept(struct walk *w, size_t which)
{
    struct kit_mail mail;
    struct err e[KINDS] = {0};
    bool ok[KINDS];
    static uint8_t body[70000];
    struct pair p = {.receiving = false};
    size_t n = pick(w, 8) == 0 ? 60000 + pick(w, 10000) : pick(w, 3000);
    kit_body(kit_random(&w->random), body, n);
    char to[64] = "r0@x";
    for (size_t i = 1, more = pick(w, 4); i <= more; i++)
        snprintf(to + strlen(to), sizeof to - strlen(to), " r%zu@y", i);
    kit_mail(&mail, "a@b", to, span_str("Received: z\r\n\r\n"), span_of(body, n));
    if (w->count == sizeof w->known / sizeof w->known[0])
        return;
    for (int k = 0; k < KINDS; k++) {
        mail.submission.receiving = which == SIZE_MAX ? 0 : w->known[which].id[k];
        ok[k] = queue_accept(w->f[k]->q, &mail.submission, w->now, &p.id[k], &e[k]);
    }
    if (!same(w, ok, e, "accept"))
        return;
    w->accepted++;
    if (which == SIZE_MAX)
        w->known[w->count++] = p;
    else if (!w->in_batch)
        w->known[which].receiving = false;
}

static void walk_receive(struct walk *w, size_t which)
{
    struct err e[KINDS] = {0};
    bool ok[KINDS];
    static uint8_t bytes[5000];
    struct pair p = {.receiving = true};
    size_t n = 1 + pick(w, sizeof bytes - 1);
    uint64_t what = which == SIZE_MAX ? 0 : 1 + pick(w, 5);
    if (w->count == sizeof w->known / sizeof w->known[0])
        return;
    kit_body(n, bytes, n);
    for (int k = 0; k < KINDS; k++) {
        struct queue *q = w->f[k]->q;
        uint64_t id = which == SIZE_MAX ? 0 : w->known[which].id[k];
        ok[k] = what == 0  ? queue_receive_open(q, &p.id[k], &e[k])
                : what < 5 ? queue_receive_chunk(q, id, span_of(bytes, n), &e[k])
                           : queue_receive_abort(q, id, &e[k]);
    }
    if (!same(w, ok, e, "receive"))
        return;
    if (what == 0)
        w->known[w->count++] = p;
    else if (what == 5)
        forget(w, which);
}

static void walk_claim(struct walk *w)
{
    struct queue_message *m[KINDS][20];
    struct err e[KINDS] = {0};
    bool ok[KINDS];
    size_t n[KINDS], max = 1 + pick(w, 20);
    uint64_t owner = 1 + pick(w, 2);
    for (int k = 0; k < KINDS; k++)
        ok[k] = queue_claim(w->f[k]->q, owner, 1000, w->now, max, m[k], &n[k], &e[k]);
    same(w, ok, e, "claim");
    assert_int_equal(n[MEMORY], n[SQLITE]);
    for (size_t i = 0; i < n[MEMORY]; i++) {
        compare_messages(m[MEMORY][i], m[SQLITE][i]);
        queue_message_free(&m[MEMORY][i]);
        queue_message_free(&m[SQLITE][i]);
    }
}

static void walk_finish(struct walk *w, size_t which)
{
    struct err e[KINDS] = {0};
    bool ok[KINDS], ended[KINDS] = {false};
    struct queue_outcome o[4];
    struct kit_mail ndr;
    uint64_t owner = 1 + pick(w, 2), notice[KINDS][1] = {{0}};
    size_t n = 1 + pick(w, 3), notices = pick(w, 4) == 0 ? 1 : 0;
    if (w->count == sizeof w->known / sizeof w->known[0])
        notices = 0;
    for (size_t i = 0; i < n; i++)
        o[i] = (struct queue_outcome){.recipient = (uint32_t)pick(w, 4),
                                      .kind = (enum queue_outcome_kind)pick(w, 4),
                                      .attempted = pick(w, 2) == 0,
                                      .delay_noticed = pick(w, 4) == 0,
                                      .next_ms = w->now + (int64_t)pick(w, 300),
                                      .reply = span_str(pick(w, 2) == 0 ? "" : "450 hm")};
    kit_mail(&ndr, "", "a@b", span_str("Subject: no\r\n\r\n"), span_str("gone"));
    for (int k = 0; k < KINDS; k++)
        ok[k] = queue_finish(w->f[k]->q, w->known[which].id[k], owner, o, n, &ndr.submission,
                             notices, w->now, notice[k], &ended[k], &e[k]);
    if (!same(w, ok, e, "finish"))
        return;
    assert_int_equal(ended[MEMORY], ended[SQLITE]);
    if (notices > 0)
        w->known[w->count++] = (struct pair){.id = {notice[MEMORY][0], notice[SQLITE][0]}};
}

static void walk_handle(struct walk *w, size_t which, uint64_t what)
{
    struct err e[KINDS] = {0};
    bool ok[KINDS];
    uint64_t owner = 1 + pick(w, 2);
    int64_t next = w->now + (int64_t)pick(w, 300);
    for (int k = 0; k < KINDS; k++) {
        struct queue *q = w->f[k]->q;
        uint64_t id = w->known[which].id[k];
        switch (what) {
        case 0: ok[k] = queue_hold(q, id, &e[k]); break;
        case 1:
        case 2: ok[k] = queue_release(q, id, &e[k]); break;
        case 3: ok[k] = queue_retry(q, id, w->now, &e[k]); break;
        case 4: ok[k] = queue_remove(q, id, &e[k]); break;
        case 5: ok[k] = queue_renew(q, id, owner, 500, w->now, &e[k]); break;
        default: ok[k] = queue_defer(q, id, owner, next, span_str("later"), &e[k]); break;
        }
    }
    same(w, ok, e, "handle");
}

static void walk_compare(struct walk *w)
{
    struct queue_message *m[KINDS][QUEUE_LIST_MAX];
    size_t n[KINDS];
    struct err e = {0};
    struct queue_filter filter = {.max = QUEUE_LIST_MAX,
                                  .state = (enum queue_filter_state)pick(w, 4)};
    struct queue_counts c[KINDS];
    for (int k = 0; k < KINDS; k++) {
        c[k] = counts(w->f[k]->q);
        assert_true(queue_list(w->f[k]->q, &filter, m[k], &n[k], &e));
    }
    assert_memory_equal(&c[MEMORY], &c[SQLITE], sizeof c[0]);
    assert_true(next_due(w->f[MEMORY]->q) == next_due(w->f[SQLITE]->q));
    assert_int_equal(n[MEMORY], n[SQLITE]);
    for (size_t i = 0; i < n[MEMORY]; i++) {
        compare_messages(m[MEMORY][i], m[SQLITE][i]);
        queue_message_free(&m[MEMORY][i]);
        queue_message_free(&m[SQLITE][i]);
    }
}

static void walk_batch(struct walk *w)
{
    struct err e[KINDS] = {0};
    bool ok[KINDS];
    if (!w->in_batch) {
        for (int k = 0; k < KINDS; k++)
            assert_true(queue_batch_begin(w->f[k]->q, &e[k]));
        w->in_batch = true;
        w->known_at_begin = w->count;
        return;
    }
    w->in_batch = false;
    w->batches++;
    uint64_t how = pick(w, 6);
    for (int k = 0; k < KINDS; k++) {
        ok[k] = false;
        if (how == 0)
            queue_batch_rollback(w->f[k]->q);
        else
            ok[k] = queue_batch_commit(w->f[k]->q, &e[k]);
    }
    if (how == 0) {
        w->count = w->known_at_begin;
        w->failed++;
    } else {
        assert_true(same(w, ok, e, "commit"));
    }
}

static void walk_step(struct walk *w)
{
    uint64_t what = pick(w, 100);
    size_t which = w->count == 0 ? SIZE_MAX : pick(w, w->count);
    w->now += (int64_t)pick(w, 40);
    if (what < 8)
        walk_batch(w);
    else if (what < 22)
        walk_accept(w, SIZE_MAX);
    else if (what < 28)
        walk_receive(w, SIZE_MAX);
    else if (what < 40)
        walk_claim(w);
    else if (what < 45)
        walk_compare(w);
    else if (which == SIZE_MAX)
        return;
    else if (what < 50)
        walk_accept(w, which);
    else if (what < 55)
        walk_receive(w, which);
    else if (what < 85)
        walk_finish(w, which);
    else
        walk_handle(w, which, pick(w, 9));
    /* Forget what is gone, so that most steps meet something. */
    if (!w->in_batch && w->count > 0 && what % 2 == 0) {
        size_t i = pick(w, w->count);
        if (!w->known[i].receiving && state_of(w->f[MEMORY]->q, w->known[i].id[MEMORY]) == T_NONE)
            forget(w, i);
    }
}

static void random_walks_agree_with_the_specification(void **state)
{
    (void)state;
    enum { WALKS = 8, STEPS = 2500 };
    unsigned long accepted = 0, ok = 0, refused = 0, batches = 0, failed = 0;
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct walk *w = calloc(1, sizeof *w);
        assert_non_null(w);
        w->random = seed * 7919;
        w->now = 1000;
        for (int k = 0; k < KINDS; k++) {
            w->f[k] = fixture_new((enum kind)k);
            with_options(w->f[k], seed % 2 == 0, 1U << 30, 0);
        }
        for (int i = 0; i < STEPS; i++)
            walk_step(w);
        if (w->in_batch)
            walk_batch(w);
        walk_compare(w);
        struct buf report;
        struct err e = {0};
        bool sound;
        buf_init(&report, 10000);
        assert_true(queue_check(w->f[SQLITE]->q, &report, &sound, &e));
        if (!sound)
            fail_msg("seed %d: %s", (int)seed, buf_cstr(&report));
        buf_deinit(&report);
        accepted += w->accepted;
        ok += w->ok;
        refused += w->refused;
        batches += w->batches;
        failed += w->failed;
        for (int k = 0; k < KINDS; k++)
            fixture_free(w->f[k]);
        free(w);
    }
    print_message("walked: %lu ops agreed, %lu refusals agreed, %lu accepted, %lu batches (%lu "
                  "rolled back)\n",
                  ok, refused, accepted, batches, failed);
    assert_true(ok > 8000 && refused > 1000 && failed > 20);
}

#define ON(kind_, name)                                                                            \
    {                                                                                              \
#name, name, set_up, tear_down, (void *)(uintptr_t)&kinds[kind_]                           \
    }
#define ON_ALL(name) ON(MEMORY, name), ON(SQLITE, name)

int main(void)
{
    static const enum kind kinds[KINDS] = {MEMORY, SQLITE};
    const struct CMUnitTest tests[] = {
        ON_ALL(what_is_accepted_is_what_is_claimed),
        ON_ALL(a_deferred_recipient_comes_back_alone_and_in_time),
        ON_ALL(a_claim_ends_only_when_each_of_its_recipients_has_an_outcome),
        ON_ALL(a_notice_and_the_failure_that_it_tells_of_are_one),
        ON_ALL(a_claim_given_back_costs_no_attempt),
        ON_ALL(the_oldest_due_comes_first_and_no_more_than_asked_for),
        ON_ALL(only_the_owner_may_finish_renew_or_defer),
        ON_ALL(a_lease_ends_by_time_only_where_the_store_is_shared),
        ON_ALL(a_held_message_waits_until_it_is_released),
        ON_ALL(a_hold_of_a_claimed_message_takes_effect_when_the_claim_ends),
        ON_ALL(a_retry_makes_what_waits_due_now),
        ON_ALL(a_removed_message_is_gone_also_for_who_claims_it),
        ON_ALL(the_list_pages_and_filters),
        ON_ALL(every_op_in_every_state_does_what_the_table_says),
        ON_ALL(every_cell_holds_within_a_batch_too),
        ON_ALL(what_our_own_code_must_not_ask_is_a_bug),
        ON_ALL(a_failed_commit_changes_nothing),
        ON_ALL(a_rolled_back_batch_changes_nothing),
        ON_ALL(a_refused_op_leaves_its_batch_sound),
        ON_ALL(a_queue_that_cannot_record_gives_nothing_out),
        ON_ALL(a_body_that_arrives_in_chunks_is_read_in_chunks),
        ON_ALL(bodies_of_every_size_come_back_byte_for_byte),
        ON_ALL(a_message_may_have_thousands_of_recipients),
        ON_ALL(a_full_queue_refuses_mail_records_results_and_takes_mail_again),
        ON_ALL(the_clock_never_goes_back),
        ON(SQLITE, opening_again_frees_claims_and_sweeps_what_was_received),
        ON(SQLITE, only_one_process_opens_the_file),
        cmocka_unit_test(random_walks_agree_with_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
