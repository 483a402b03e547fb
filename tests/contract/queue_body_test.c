/* The contract of queue.h: bodies of every size, in chunks and whole, and very many recipients. */
#include "support/test.h"

#include "support/queue_contract.h"

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
    struct contract *f = *state;
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
    assert_int_equal(contract_counts(f->q).messages, 0);
    assert_int_equal(contract_counts(f->q).receiving, 1);
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
    assert_int_equal(contract_counts(f->q).bytes, 0);
    free(body);
}

static void bodies_of_every_size_come_back_byte_for_byte(void **state)
{
    struct contract *f = *state;
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
    struct contract *f = *state;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_body_that_arrives_in_chunks_is_read_in_chunks),
        ON_ALL(bodies_of_every_size_come_back_byte_for_byte),
        ON_ALL(a_message_may_have_thousands_of_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
