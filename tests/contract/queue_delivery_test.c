/* The contract of queue.h: a message from its acceptance to its end, claims, owners and leases. */
#include "support/test.h"

#include "support/lossy_vfs.h"
#include "support/queue_contract.h"

static void what_is_accepted_is_what_is_claimed(void **state)
{
    struct contract *f = *state;
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
    assert_int_equal(contract_counts(f->q).messages, 1);
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 1002);
    assert_int_equal(contract_counts(f->q).messages, 0);
    assert_int_equal(contract_counts(f->q).claimed, 0);
    assert_int_equal(contract_counts(f->q).bytes, 0);
    assert_true(contract_next_due(f->q) == INT64_MAX);
}

static void a_deferred_recipient_comes_back_alone_and_in_time(void **state)
{
    struct contract *f = *state;
    uint64_t id = kit_accept(f->q, "a@b.example", "r0@x r1@x r2@x", "m\r\n", 10);
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);
    assert_true(contract_next_due(f->q) == INT64_MAX);
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
    assert_true(contract_next_due(f->q) == 5000);
    assert_int_equal(kit_claim_count(f->q, 4999), 0);
    m = kit_claim(f->q, 5000);
    assert_int_equal(m->recipient_count, 1);
    assert_int_equal(m->recipients[0].index, 1);
    assert_int_equal(m->recipients[0].attempts, 1);
    assert_true(m->recipients[0].delay_noticed);
    assert_span(m->recipients[0].last_reply, "451 later");
    queue_message_free(&m);
    m = contract_show(f->q, id);
    assert_int_equal(m->recipient_count, 3);
    assert_int_equal(m->recipients[0].state, QUEUE_RCPT_DELIVERED);
    assert_int_equal(m->recipients[2].state, QUEUE_RCPT_FAILED);
    assert_span(m->recipients[2].last_reply, "550 no");
    assert_span(m->body, "Received: here\r\nm\r\n");
    queue_message_free(&m);
}

static void a_claim_ends_only_when_each_of_its_recipients_has_an_outcome(void **state)
{
    struct contract *f = *state;
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
    struct contract *f = *state;
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

    contract_next_commit_fails(f);
    assert_false(queue_finish(f->q, id, KIT_OWNER, &o, 1, notices, 2, 20, ids, NULL, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_false(queue_can_record(f->q));
    lossy_vfs_heal();
    assert_int_equal(contract_counts(f->q).messages, 1);
    assert_int_equal(contract_counts(f->q).claimed, 1);

    assert_true(queue_finish(f->q, id, KIT_OWNER, &o, 1, notices, 2, 30, ids, NULL, &e));
    assert_true(queue_can_record(f->q));
    assert_int_equal(contract_counts(f->q).messages, 2);
    m = contract_show(f->q, ids[1]);
    assert_span(m->envelope.sender, "");
    assert_int_equal(m->envelope.origin, QUEUE_ORIGIN_DSN);
    assert_int_equal(m->accepted_ms, 30);
    assert_span(m->body, "Subject: copy\r\n");
    queue_message_free(&m);
    assert_int_equal(kit_claim_count(f->q, 30), 2);
}

static void a_claim_given_back_costs_no_attempt(void **state)
{
    struct contract *f = *state;
    struct err e = {0};
    uint64_t id = kit_accept(f->q, "a@b.example", "r0@x r1@x", "m\r\n", 10);
    struct queue_message *m = kit_claim(f->q, 10);
    queue_message_free(&m);
    kit_finish(f->q, id, 1, QUEUE_DELIVERED, 0, 11);
    assert_true(queue_defer(f->q, id, KIT_OWNER, 500, span_str("no slot"), &e));
    assert_true(contract_next_due(f->q) == 500);
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
    struct contract *f = *state;
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
    assert_true(contract_next_due(f->q) == 300);
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
    struct contract *f = *state;
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
    struct contract *f = *state;
    struct err e = {0};
    kit_accept(f->q, "a@b", "r@x", "1", 0);
    assert_int_equal(kit_claim_count(f->q, 0), 1);
    assert_int_equal(kit_claim_count(f->q, INT64_MAX / 2), 0);

    if (f->kind == CONTRACT_SQLITE)
        assert_true(queue_remove(f->q, 1, &e));
    contract_options(f, true, f->options.max_bytes, 0);
    uint64_t id = kit_accept(f->q, "a@b", "r@x", "1", 1000);
    assert_int_equal(kit_claim_count(f->q, 1000), 1);
    assert_true(contract_next_due(f->q) == 1000 + KIT_LEASE_MS);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(what_is_accepted_is_what_is_claimed),
        ON_ALL(a_deferred_recipient_comes_back_alone_and_in_time),
        ON_ALL(a_claim_ends_only_when_each_of_its_recipients_has_an_outcome),
        ON_ALL(a_notice_and_the_failure_that_it_tells_of_are_one),
        ON_ALL(a_claim_given_back_costs_no_attempt),
        ON_ALL(the_oldest_due_comes_first_and_no_more_than_asked_for),
        ON_ALL(only_the_owner_may_finish_renew_or_defer),
        ON_ALL(a_lease_ends_by_time_only_where_the_store_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
