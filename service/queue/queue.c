/* queue.c - the part of the queue that every implementation shares: batches round single ops,
 * checks of what the caller may give, the clock. */
#include "queue/queue.h"

#include "queue/queue_ops.h"

#include <stdlib.h>
#include <string.h>

#define FULL_MARK "the queue is full"

/* ---- refusals ---- */

bool queue_refuse_full(struct err *e, uint64_t room, uint64_t reserve)
{
    return err_set(e, ERR_TEMP,
                   FULL_MARK ": %llu KiB are free, of which %llu KiB are kept for results",
                   (unsigned long long)(room / 1024), (unsigned long long)(reserve / 1024));
}

bool queue_err_is_full(const struct err *e)
{
    return e->class == ERR_TEMP &&
           (strstr(e->text, FULL_MARK) != NULL || strstr(e->text, "disk is full") != NULL);
}

bool queue_refuse_absent(struct err *e, uint64_t id)
{
    return err_set(e, ERR_PERM, "message %llu: there is no such message in the queue",
                   (unsigned long long)id);
}

bool queue_refuse_claim(struct err *e, uint64_t id)
{
    return err_set(e, ERR_PERM, "message %llu: not claimed by this owner", (unsigned long long)id);
}

bool queue_refuse_memory(struct err *e)
{
    return err_set(e, ERR_TEMP, "queue: out of memory");
}

bool queue_refuse_recording(struct err *e)
{
    return err_set(e, ERR_TEMP, "queue: results cannot be recorded, nothing is given out");
}

/* ---- helpers of the implementations ---- */

struct queue_message *queue_message_new(struct err *e)
{
    struct queue_message *m = calloc(1, sizeof *m);
    if (m == NULL) {
        queue_refuse_memory(e);
        return NULL;
    }
    arena_init(&m->arena, QUEUE_MESSAGE_ARENA_MAX);
    return m;
}

void queue_message_free(struct queue_message **m)
{
    if (m == NULL || *m == NULL)
        return;
    arena_deinit(&(*m)->arena);
    free(*m);
    *m = NULL;
}

bool queue_message_copy_envelope(struct queue_message *m, const struct queue_envelope *envelope,
                                 struct err *e)
{
    const struct span *from[] = {&envelope->sender, &envelope->envid, &envelope->helo,
                                 &envelope->identity};
    m->envelope = *envelope;
    struct span *to[] = {&m->envelope.sender, &m->envelope.envid, &m->envelope.helo,
                         &m->envelope.identity};
    for (size_t i = 0; i < 4; i++) {
        *to[i] = arena_span(&m->arena, *from[i]);
        if (to[i]->n != from[i]->n)
            return queue_refuse_memory(e);
    }
    return true;
}

struct span queue_header_section(struct span bytes)
{
    for (size_t i = 0; i + 3 < bytes.n; i++) {
        if (memcmp(bytes.p + i, "\r\n\r\n", 4) == 0)
            return span_sub(bytes, 0, i + 2);
    }
    return bytes;
}

bool queue_contains_nocase(struct span whole, struct span part)
{
    for (size_t i = 0; i + part.n <= whole.n; i++) {
        if (span_equal_nocase(span_sub(whole, i, part.n), part))
            return true;
    }
    return false;
}

uint64_t queue_body_bytes(const struct queue_submission *submission)
{
    uint64_t total = 0;
    for (size_t i = 0; i < submission->body_count; i++)
        total += submission->body[i].n;
    return total;
}

uint64_t queue_submission_cost(const struct queue_submission *s)
{
    enum { ROWS = 1024, RECIPIENT_ROW = 64 };
    uint64_t cost = ROWS + queue_body_bytes(s) + s->envelope.sender.n + s->envelope.envid.n +
                    s->envelope.helo.n + s->envelope.identity.n;
    for (size_t i = 0; i < s->recipient_count; i++)
        cost += RECIPIENT_ROW + s->recipients[i].address.n + s->recipients[i].orcpt.n;
    return cost;
}

/* ---- batches ---- */

bool queue_batch_begin(struct queue *q, struct err *e)
{
    if (q->in_batch)
        return err_set(e, ERR_BUG, "queue: a batch within a batch");
    if (!q->ops->begin(q, e))
        return false;
    q->in_batch = true;
    return true;
}

bool queue_batch_commit(struct queue *q, struct err *e)
{
    if (!q->in_batch)
        return err_set(e, ERR_BUG, "queue: no batch to commit");
    q->in_batch = false;
    return q->ops->commit(q, e);
}

void queue_batch_rollback(struct queue *q)
{
    if (!q->in_batch)
        return;
    q->in_batch = false;
    q->ops->rollback(q);
}

/* An op outside a batch gets one of its own; *own tells op_end. */
static bool op_begin(struct queue *q, bool *own, struct err *e)
{
    *own = !q->in_batch;
    return !*own || queue_batch_begin(q, e);
}

/* A refused op has changed nothing, so its batch may be committed: that also lets a store which
 * could not record try again. */
static bool op_end(struct queue *q, bool own, bool ok, struct err *e)
{
    if (!own)
        return ok;
    bool committed = queue_batch_commit(q, ok ? e : NULL);
    return ok && committed;
}

static void saw(struct queue *q, int64_t now_ms)
{
    if (now_ms > q->last_ms)
        q->last_ms = now_ms;
}

/* ---- ops ---- */

static bool submission_is_valid(const struct queue_submission *s, struct err *e)
{
    if (s->recipient_count == 0 || s->recipient_count > QUEUE_RECIPIENTS_MAX)
        return err_set(e, ERR_BUG, "queue: a message with %zu recipients", s->recipient_count);
    if (s->receiving != 0 && queue_body_bytes(s) > QUEUE_CHUNK_MAX)
        return err_set(e, ERR_BUG, "queue: the head of a received body is too large");
    return true;
}

bool queue_accept(struct queue *q, const struct queue_submission *submission, int64_t now_ms,
                  uint64_t *id, struct err *e)
{
    bool own;
    *id = 0;
    if (!submission_is_valid(submission, e) || !op_begin(q, &own, e))
        return false;
    saw(q, now_ms);
    return op_end(q, own, q->ops->accept(q, submission, now_ms, id, e), e);
}

bool queue_receive_open(struct queue *q, uint64_t *receiving, struct err *e)
{
    bool own;
    *receiving = 0;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->receive_open(q, receiving, e), e);
}

bool queue_receive_chunk(struct queue *q, uint64_t receiving, struct span bytes, struct err *e)
{
    bool own;
    if (bytes.n == 0 || bytes.n > QUEUE_CHUNK_MAX)
        return err_set(e, ERR_BUG, "queue: a chunk of %zu bytes", bytes.n);
    return op_begin(q, &own, e) && op_end(q, own, q->ops->receive_chunk(q, receiving, bytes, e), e);
}

bool queue_receive_abort(struct queue *q, uint64_t receiving, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->receive_abort(q, receiving, e), e);
}

bool queue_claim(struct queue *q, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                 struct queue_message **out, size_t *count, struct err *e)
{
    bool own;
    *count = 0;
    if (owner == 0 || max == 0 || max > QUEUE_CLAIM_MAX || lease_ms <= 0)
        return err_set(e, ERR_BUG, "queue: claim by owner %llu of %zu messages",
                       (unsigned long long)owner, max);
    if (!op_begin(q, &own, e))
        return false;
    saw(q, now_ms);
    bool ok = false;
    if (q->cannot_record) {
        q->ops->probe(q);
        queue_refuse_recording(e);
    } else {
        ok = q->ops->claim(q, owner, lease_ms, now_ms, max, out, count, e);
    }
    if (op_end(q, own, ok, e))
        return true;
    for (size_t i = 0; i < *count; i++)
        queue_message_free(&out[i]);
    *count = 0;
    return false;
}

bool queue_renew(struct queue *q, uint64_t id, uint64_t owner, int64_t lease_ms, int64_t now_ms,
                 struct err *e)
{
    bool own;
    if (lease_ms <= 0)
        return err_set(e, ERR_BUG, "queue: a lease of no time");
    if (!op_begin(q, &own, e))
        return false;
    saw(q, now_ms);
    return op_end(q, own, q->ops->renew(q, id, owner, lease_ms, now_ms, e), e);
}

bool queue_finish(struct queue *q, uint64_t id, uint64_t owner,
                  const struct queue_outcome *outcomes, size_t count,
                  const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                  uint64_t *notice_ids, bool *ended, struct err *e)
{
    bool own, over = false;
    if (count == 0)
        return err_set(e, ERR_BUG, "queue: finish without an outcome");
    for (size_t i = 0; i < notice_count; i++) {
        if (!submission_is_valid(&notices[i], e))
            return false;
        if (notices[i].receiving != 0)
            return err_set(e, ERR_BUG, "queue: a notice with a received body");
    }
    if (!op_begin(q, &own, e))
        return false;
    saw(q, now_ms);
    bool ok = q->ops->finish(q, id, owner, outcomes, count, notices, notice_count, now_ms,
                             notice_ids, &over, e);
    if (!op_end(q, own, ok, e))
        return false;
    if (ended != NULL)
        *ended = over;
    return true;
}

bool queue_defer(struct queue *q, uint64_t id, uint64_t owner, int64_t next_ms, struct span reason,
                 struct err *e)
{
    bool own;
    return op_begin(q, &own, e) &&
           op_end(q, own, q->ops->defer(q, id, owner, next_ms, reason, e), e);
}

bool queue_next_due(struct queue *q, int64_t *due_ms, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->next_due(q, due_ms, e), e);
}

bool queue_can_record(struct queue *q)
{
    return !q->cannot_record;
}

bool queue_list(struct queue *q, const struct queue_filter *filter, struct queue_message **out,
                size_t *count, uint64_t *next, struct err *e)
{
    bool own;
    uint64_t end = 0; /* next may be the filter's own `after` */
    *count = 0;
    if (filter->max == 0 || filter->max > QUEUE_LIST_MAX)
        return err_set(e, ERR_BUG, "queue: list of %zu messages", filter->max);
    if (!op_begin(q, &own, e))
        return false;
    bool ok = q->ops->list(q, filter, out, count, &end, e);
    if (op_end(q, own, ok, e)) {
        *next = end;
        return true;
    }
    for (size_t i = 0; i < *count; i++)
        queue_message_free(&out[i]);
    *count = 0;
    return false;
}

bool queue_show(struct queue *q, uint64_t id, struct queue_message **out, struct err *e)
{
    bool own;
    *out = NULL;
    if (!op_begin(q, &own, e))
        return false;
    if (op_end(q, own, q->ops->show(q, id, out, e), e))
        return true;
    queue_message_free(out);
    return false;
}

bool queue_hold(struct queue *q, uint64_t id, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->hold(q, id, e), e);
}

bool queue_release(struct queue *q, uint64_t id, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->release(q, id, e), e);
}

bool queue_retry(struct queue *q, uint64_t id, int64_t now_ms, struct err *e)
{
    bool own;
    if (!op_begin(q, &own, e))
        return false;
    saw(q, now_ms);
    return op_end(q, own, q->ops->retry(q, id, now_ms, e), e);
}

bool queue_remove(struct queue *q, uint64_t id, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->remove(q, id, e), e);
}

bool queue_counts(struct queue *q, struct queue_counts *counts, struct err *e)
{
    bool own;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->counts(q, counts, e), e);
}

bool queue_check(struct queue *q, struct buf *report, bool *sound, struct err *e)
{
    bool own;
    *sound = false;
    return op_begin(q, &own, e) && op_end(q, own, q->ops->check(q, report, sound, e), e);
}

void queue_close(struct queue **q)
{
    if (q == NULL || *q == NULL)
        return;
    queue_batch_rollback(*q);
    (*q)->ops->close(*q);
    *q = NULL;
}

/* ---- readers ---- */

bool queue_reader_open(struct queue *q, struct queue_reader **reader, struct err *e)
{
    *reader = NULL;
    return q->ops->reader_open(q, reader, e);
}

void queue_reader_close(struct queue_reader **reader)
{
    if (reader == NULL || *reader == NULL)
        return;
    (*reader)->ops->close(*reader);
    *reader = NULL;
}

bool queue_reader_chunk(struct queue_reader *reader, uint64_t id, uint32_t index, struct buf *out,
                        struct err *e)
{
    return reader->ops->chunk(reader, id, index, out, e);
}

/* ---- the clock ---- */

struct queue_clock queue_clock_start(const struct queue *q, int64_t wall_ms, uint64_t monotonic_ms)
{
    return (struct queue_clock){
        .base_ms = wall_ms > q->last_ms ? wall_ms : q->last_ms,
        .monotonic_base_ms = monotonic_ms,
    };
}

int64_t queue_clock_now(const struct queue_clock *clock, uint64_t monotonic_ms)
{
    if (monotonic_ms < clock->monotonic_base_ms)
        return clock->base_ms;
    return clock->base_ms + (int64_t)(monotonic_ms - clock->monotonic_base_ms);
}
