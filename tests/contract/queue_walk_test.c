/* The contract of queue.h by random walks: the memory queue says what is right. */
#include "support/test.h"

#include "support/queue_contract.h"

struct pair {
    uint64_t id[CONTRACT_KINDS];
    bool receiving;
};

struct walk {
    struct contract *f[CONTRACT_KINDS];
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
static bool same(struct walk *w, const bool ok[CONTRACT_KINDS], const struct err e[CONTRACT_KINDS],
                 const char *op)
{
    if (ok[CONTRACT_MEMORY] != ok[CONTRACT_SQLITE] ||
        (!ok[CONTRACT_MEMORY] && e[CONTRACT_MEMORY].class != e[CONTRACT_SQLITE].class))
        fail_msg("%s: memory %d (%s), sqlite %d (%s)", op, ok[CONTRACT_MEMORY],
                 e[CONTRACT_MEMORY].text, ok[CONTRACT_SQLITE], e[CONTRACT_SQLITE].text);
    if (ok[CONTRACT_MEMORY])
        w->ok++;
    else
        w->refused++;
    return ok[CONTRACT_MEMORY];
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
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS];
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
    for (int k = 0; k < CONTRACT_KINDS; k++) {
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
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS];
    static uint8_t bytes[5000];
    struct pair p = {.receiving = true};
    size_t n = 1 + pick(w, sizeof bytes - 1);
    uint64_t what = which == SIZE_MAX ? 0 : 1 + pick(w, 5);
    if (w->count == sizeof w->known / sizeof w->known[0])
        return;
    kit_body(n, bytes, n);
    for (int k = 0; k < CONTRACT_KINDS; k++) {
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
    struct queue_message *m[CONTRACT_KINDS][20];
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS];
    size_t n[CONTRACT_KINDS], max = 1 + pick(w, 20);
    uint64_t owner = 1 + pick(w, 2);
    for (int k = 0; k < CONTRACT_KINDS; k++)
        ok[k] = queue_claim(w->f[k]->q, owner, 1000, w->now, max, m[k], &n[k], &e[k]);
    same(w, ok, e, "claim");
    assert_int_equal(n[CONTRACT_MEMORY], n[CONTRACT_SQLITE]);
    for (size_t i = 0; i < n[CONTRACT_MEMORY]; i++) {
        compare_messages(m[CONTRACT_MEMORY][i], m[CONTRACT_SQLITE][i]);
        queue_message_free(&m[CONTRACT_MEMORY][i]);
        queue_message_free(&m[CONTRACT_SQLITE][i]);
    }
}

static void walk_finish(struct walk *w, size_t which)
{
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS], ended[CONTRACT_KINDS] = {false};
    struct queue_outcome o[4];
    struct kit_mail ndr;
    uint64_t owner = 1 + pick(w, 2), notice[CONTRACT_KINDS][1] = {{0}};
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
    for (int k = 0; k < CONTRACT_KINDS; k++)
        ok[k] = queue_finish(w->f[k]->q, w->known[which].id[k], owner, o, n, &ndr.submission,
                             notices, w->now, notice[k], &ended[k], &e[k]);
    if (!same(w, ok, e, "finish"))
        return;
    assert_int_equal(ended[CONTRACT_MEMORY], ended[CONTRACT_SQLITE]);
    if (notices > 0)
        w->known[w->count++] =
            (struct pair){.id = {notice[CONTRACT_MEMORY][0], notice[CONTRACT_SQLITE][0]}};
}

static void walk_handle(struct walk *w, size_t which, uint64_t what)
{
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS];
    uint64_t owner = 1 + pick(w, 2);
    int64_t next = w->now + (int64_t)pick(w, 300);
    for (int k = 0; k < CONTRACT_KINDS; k++) {
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
    struct queue_message *m[CONTRACT_KINDS][QUEUE_LIST_MAX];
    size_t n[CONTRACT_KINDS];
    struct err e = {0};
    struct queue_filter filter = {.max = 1 + pick(w, QUEUE_LIST_MAX),
                                  .state = (enum queue_filter_state)pick(w, 4)};
    struct queue_counts c[CONTRACT_KINDS];
    uint64_t next[CONTRACT_KINDS] = {0};
    for (int k = 0; k < CONTRACT_KINDS; k++)
        c[k] = contract_counts(w->f[k]->q);
    assert_memory_equal(&c[CONTRACT_MEMORY], &c[CONTRACT_SQLITE], sizeof c[0]);
    assert_true(contract_next_due(w->f[CONTRACT_MEMORY]->q) ==
                contract_next_due(w->f[CONTRACT_SQLITE]->q));
    do {
        for (int k = 0; k < CONTRACT_KINDS; k++) {
            filter.after = next[k]; /* ids may differ */
            assert_true(queue_list(w->f[k]->q, &filter, m[k], &n[k], &next[k], &e));
        }
        assert_int_equal(n[CONTRACT_MEMORY], n[CONTRACT_SQLITE]);
        assert_int_equal(next[CONTRACT_MEMORY] == 0, next[CONTRACT_SQLITE] == 0);
        for (size_t i = 0; i < n[CONTRACT_MEMORY]; i++) {
            compare_messages(m[CONTRACT_MEMORY][i], m[CONTRACT_SQLITE][i]);
            queue_message_free(&m[CONTRACT_MEMORY][i]);
            queue_message_free(&m[CONTRACT_SQLITE][i]);
        }
    } while (next[CONTRACT_MEMORY] != 0);
}

static void walk_batch(struct walk *w)
{
    struct err e[CONTRACT_KINDS] = {0};
    bool ok[CONTRACT_KINDS];
    if (!w->in_batch) {
        for (int k = 0; k < CONTRACT_KINDS; k++)
            assert_true(queue_batch_begin(w->f[k]->q, &e[k]));
        w->in_batch = true;
        w->known_at_begin = w->count;
        return;
    }
    w->in_batch = false;
    w->batches++;
    uint64_t how = pick(w, 6);
    for (int k = 0; k < CONTRACT_KINDS; k++) {
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
        if (!w->known[i].receiving &&
            contract_state(w->f[CONTRACT_MEMORY]->q, w->known[i].id[CONTRACT_MEMORY]) == STATE_NONE)
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
        for (int k = 0; k < CONTRACT_KINDS; k++) {
            w->f[k] = contract_queue_new((enum contract_kind)k);
            contract_options(w->f[k], seed % 2 == 0, 1U << 30, 0);
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
        assert_true(queue_check(w->f[CONTRACT_SQLITE]->q, &report, &sound, &e));
        if (!sound)
            fail_msg("seed %d: %s", (int)seed, buf_cstr(&report));
        buf_deinit(&report);
        accepted += w->accepted;
        ok += w->ok;
        refused += w->refused;
        batches += w->batches;
        failed += w->failed;
        for (int k = 0; k < CONTRACT_KINDS; k++)
            contract_queue_free(w->f[k]);
        free(w);
    }
    print_message("walked: %lu ops agreed, %lu refusals agreed, %lu accepted, %lu batches (%lu "
                  "rolled back)\n",
                  ok, refused, accepted, batches, failed);
    assert_true(ok > 8000 && refused > 1000 && failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walks_agree_with_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
