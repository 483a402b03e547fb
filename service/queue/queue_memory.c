/* queue_memory.c - the queue without a disk: the executable specification of queue.h. Written to be
 * read, not to be fast: every question walks over all messages. */
#include "queue/memory_queue.h"

#include "platform/mutex.h"

#include <stdlib.h>
#include <string.h>

/* ---- entries by id ---- */

static size_t position(const struct memory_queue *q, uint64_t id)
{
    size_t i = 0;
    while (i < q->count && q->entries[i]->id < id)
        i++;
    return i;
}

struct entry *memory_find(const struct memory_queue *q, uint64_t id)
{
    size_t i = position(q, id);
    return i < q->count && q->entries[i]->id == id ? q->entries[i] : NULL;
}

/* There is room: reserve_entry came before. */
static void insert(struct memory_queue *q, struct entry *m)
{
    size_t i = position(q, m->id);
    memmove(q->entries + i + 1, q->entries + i, (q->count - i) * sizeof(struct entry *));
    q->entries[i] = m;
    q->count++;
}

void memory_drop(struct memory_queue *q, uint64_t id)
{
    size_t i = position(q, id);
    if (i == q->count || q->entries[i]->id != id)
        return;
    entry_free(&q->entries[i]);
    q->count--;
    memmove(q->entries + i, q->entries + i + 1, (q->count - i) * sizeof(struct entry *));
}

static bool reserve_entries(struct memory_queue *q, size_t more)
{
    if (q->count + more <= q->cap)
        return true;
    size_t cap = (q->count + more) * 2;
    struct entry **entries = realloc(q->entries, cap * sizeof(struct entry *));
    if (entries == NULL)
        return false;
    q->entries = entries;
    q->cap = cap;
    return true;
}

bool memory_touch(struct memory_queue *q, uint64_t id, struct err *e)
{
    for (size_t i = 0; i < q->undo_count; i++) {
        if (q->undo[i].id == id)
            return true;
    }
    if (q->undo_count == q->undo_cap) {
        size_t cap = q->undo_cap * 2 + 16;
        struct before *undo = realloc(q->undo, cap * sizeof *undo);
        if (undo == NULL)
            return queue_refuse_memory(e);
        q->undo = undo;
        q->undo_cap = cap;
    }
    struct entry *now = memory_find(q, id), *clone = now == NULL ? NULL : entry_clone(now);
    if (now != NULL && clone == NULL)
        return queue_refuse_memory(e);
    q->undo[q->undo_count++] = (struct before){id, clone};
    return true;
}

/* ---- batches ---- */

static bool begin(struct queue *queue, struct err *e)
{
    (void)e;
    mutex_lock(memory_of(queue)->mutex);
    return true;
}

/* Putting back needs no memory: first all of the batch goes, so the places are free. */
static void undo(struct memory_queue *q)
{
    for (size_t i = 0; i < q->undo_count; i++)
        memory_drop(q, q->undo[i].id);
    for (size_t i = 0; i < q->undo_count; i++) {
        if (q->undo[i].entry != NULL)
            insert(q, q->undo[i].entry);
    }
    q->undo_count = 0;
}

static void probe(struct queue *queue)
{
    memory_of(queue)->probed = true;
}

static void rollback(struct queue *queue)
{
    struct memory_queue *q = memory_of(queue);
    undo(q);
    mutex_unlock(q->mutex);
}

static bool commit(struct queue *queue, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    bool ok = !q->commit_fails, wrote = q->undo_count > 0 || q->probed;
    q->probed = false;
    if (ok) {
        for (size_t i = 0; i < q->undo_count; i++)
            entry_free(&q->undo[i].entry);
        q->undo_count = 0;
    } else {
        undo(q);
        err_set(e, ERR_TEMP, "queue: the commit failed, as it was told to");
    }
    q->commit_fails = false;
    queue->cannot_record = !ok || (queue->cannot_record && !wrote);
    mutex_unlock(q->mutex);
    return ok;
}

void queue_memory_fail_commit(struct queue *queue)
{
    memory_of(queue)->commit_fails = true;
}

/* ---- taking mail ---- */

static uint64_t room(const struct memory_queue *q)
{
    uint64_t used = 0;
    for (size_t i = 0; i < q->count; i++)
        used += q->entries[i]->cost;
    return used < q->base.max_bytes ? q->base.max_bytes - used : 0;
}

static bool have_room(const struct memory_queue *q, uint64_t cost, uint64_t reserve, struct err *e)
{
    uint64_t left = room(q);
    if (left < reserve || left - reserve < cost)
        return queue_refuse_full(e, left, reserve);
    return true;
}

static struct entry *make(struct memory_queue *q, const struct queue_submission *s, uint64_t id,
                          int64_t now_ms, struct err *e)
{
    struct entry *old = s->receiving == 0 ? NULL : memory_find(q, s->receiving);
    struct entry *m = old == NULL ? entry_new(id) : entry_clone(old);
    if (m != NULL && entry_set_envelope(m, s, now_ms) && entry_add_body(m, s)) {
        m->receiving = false;
        m->cost += queue_submission_cost(s);
        return m;
    }
    if (m != NULL)
        entry_free(&m);
    queue_refuse_memory(e);
    return NULL;
}

static bool accept(struct queue *queue, const struct queue_submission *s, int64_t now_ms,
                   uint64_t *id, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    const struct entry *old = s->receiving == 0 ? NULL : memory_find(q, s->receiving);
    if (s->receiving != 0 && (old == NULL || !old->receiving))
        return err_set(e, ERR_BUG, "message %llu: no body is being received under this id",
                       (unsigned long long)s->receiving);
    if (!have_room(q, queue_submission_cost(s), queue->reserve_bytes, e))
        return false;
    uint64_t fresh = s->receiving != 0 ? s->receiving : q->next_id;
    struct entry *m = make(q, s, fresh, now_ms, e);
    if (m == NULL)
        return false;
    if (!reserve_entries(q, 1) || !memory_touch(q, fresh, e)) {
        entry_free(&m);
        return queue_refuse_memory(e);
    }
    memory_drop(q, fresh);
    insert(q, m);
    q->next_id += s->receiving == 0 ? 1 : 0;
    *id = fresh;
    return true;
}

static bool receive_open(struct queue *queue, uint64_t *receiving, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    if (!have_room(q, 1, queue->reserve_bytes, e))
        return false;
    struct entry *m = entry_new(q->next_id);
    if (m == NULL || !reserve_entries(q, 1) || !memory_touch(q, m->id, e)) {
        if (m != NULL)
            entry_free(&m);
        return queue_refuse_memory(e);
    }
    m->receiving = true;
    insert(q, m);
    *receiving = q->next_id++;
    return true;
}

static struct entry *find_receiving(struct memory_queue *q, uint64_t id, struct err *e)
{
    struct entry *m = memory_find(q, id);
    if (m != NULL && m->receiving)
        return m;
    err_set(e, ERR_BUG, "message %llu: no body is being received under this id",
            (unsigned long long)id);
    return NULL;
}

static bool receive_chunk(struct queue *queue, uint64_t receiving, struct span bytes, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *m = find_receiving(q, receiving, e);
    if (m == NULL || !have_room(q, bytes.n, queue->reserve_bytes, e) ||
        !memory_touch(q, receiving, e))
        return false;
    if (!entry_add_chunk(m, bytes, false))
        return queue_refuse_memory(e);
    m->cost += bytes.n;
    return true;
}

static bool receive_abort(struct queue *queue, uint64_t receiving, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    if (find_receiving(q, receiving, e) == NULL || !memory_touch(q, receiving, e))
        return false;
    memory_drop(q, receiving);
    return true;
}

/* ---- delivering ---- */

static bool claimable(const struct entry *m)
{
    return !m->receiving && !m->held && m->owner == 0;
}

/* Oldest due first, then by id: the walk is by id, so "less than" is enough. */
static struct entry *first_due(const struct memory_queue *q)
{
    struct entry *first = NULL;
    for (size_t i = 0; i < q->count; i++) {
        struct entry *m = q->entries[i];
        if (claimable(m) && (first == NULL || entry_due(m) < entry_due(first)))
            first = m;
    }
    return first;
}

static void unclaim(struct entry *m)
{
    m->owner = 0;
    for (size_t i = 0; i < m->recipient_count; i++)
        m->recipients[i].open = false;
}

static bool free_expired(struct memory_queue *q, int64_t now_ms, struct err *e)
{
    for (size_t i = 0; i < q->count; i++) {
        struct entry *m = q->entries[i];
        if (m->owner == 0 || m->lease_until_ms > now_ms)
            continue;
        if (!memory_touch(q, m->id, e))
            return false;
        unclaim(m);
    }
    return true;
}

static bool claim_one(struct memory_queue *q, struct entry *m, uint64_t owner, int64_t until_ms,
                      int64_t now_ms, struct queue_message **out, struct err *e)
{
    if (!memory_touch(q, m->id, e))
        return false;
    m->owner = owner;
    m->lease_until_ms = until_ms;
    for (size_t i = 0; i < m->recipient_count; i++) {
        struct entry_recipient *r = &m->recipients[i];
        r->open = r->state == QUEUE_RCPT_WAITING && r->next_ms <= now_ms;
    }
    bool ok = entry_export(m, true, out, e);
    if (ok && m->size <= QUEUE_INLINE_MAX) {
        ok = entry_export_body(m, *out, QUEUE_INLINE_MAX, e);
        (*out)->has_body = ok;
    }
    if (!ok) {
        unclaim(m);
        queue_message_free(out);
    }
    return ok;
}

static bool claim(struct queue *queue, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                  struct queue_message **out, size_t *count, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    if (queue->leases_expire && !free_expired(q, now_ms, e))
        return false;
    while (*count < max) {
        struct entry *m = first_due(q);
        if (m == NULL || entry_due(m) > now_ms)
            break;
        if (claim_one(q, m, owner, now_ms + lease_ms, now_ms, &out[*count], e)) {
            ++*count;
            continue;
        }
        while (*count > 0) {
            unclaim(memory_find(q, out[--*count]->id));
            queue_message_free(&out[*count]);
        }
        return false;
    }
    return true;
}

static struct entry *owned(struct memory_queue *q, uint64_t id, uint64_t owner, struct err *e)
{
    struct entry *m = memory_find(q, id);
    if (m != NULL && owner != 0 && m->owner == owner)
        return m;
    queue_refuse_claim(e, id);
    return NULL;
}

static bool renew(struct queue *queue, uint64_t id, uint64_t owner, int64_t lease_ms,
                  int64_t now_ms, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *m = owned(q, id, owner, e);
    if (m == NULL || !memory_touch(q, id, e))
        return false;
    m->lease_until_ms = now_ms + lease_ms;
    return true;
}

static enum queue_recipient_state state_after(enum queue_outcome_kind kind)
{
    switch (kind) {
    case QUEUE_DELIVERED: return QUEUE_RCPT_DELIVERED;
    case QUEUE_FAILED: return QUEUE_RCPT_FAILED;
    case QUEUE_EXPIRED: return QUEUE_RCPT_EXPIRED;
    case QUEUE_DEFERRED: return QUEUE_RCPT_WAITING;
    }
    return QUEUE_RCPT_WAITING;
}

static bool apply(struct entry *m, const struct queue_outcome *o, struct err *e)
{
    if (o->recipient >= m->recipient_count || !m->recipients[o->recipient].open)
        return err_set(e, ERR_BUG, "message %llu: recipient %u is not open in this claim",
                       (unsigned long long)m->id, (unsigned)o->recipient);
    struct entry_recipient *r = &m->recipients[o->recipient];
    r->open = false;
    r->state = state_after(o->kind);
    r->attempts += o->attempted ? 1 : 0;
    r->next_ms = o->kind == QUEUE_DEFERRED ? o->next_ms : 0;
    r->delay_noticed = r->delay_noticed || (o->kind == QUEUE_DEFERRED && o->delay_noticed);
    if (o->reply.n == 0)
        return true;
    blob_drop(&r->reply);
    return blob_new(span_sub(o->reply, 0, QUEUE_REPLY_MAX), &r->reply) || queue_refuse_memory(e);
}

static bool make_notices(struct memory_queue *q, const struct queue_submission *notices,
                         size_t count, int64_t now_ms, struct entry **made, struct err *e)
{
    uint64_t cost = 0;
    for (size_t i = 0; i < count; i++)
        cost += queue_submission_cost(&notices[i]);
    if (count > 0 && !have_room(q, cost, 0, e))
        return false;
    for (size_t i = 0; i < count; i++) {
        made[i] = make(q, &notices[i], q->next_id + i, now_ms, e);
        if (made[i] == NULL || !memory_touch(q, made[i]->id, e))
            return false;
    }
    return true;
}

/* All on a clone, so that a refusal leaves the entry as it was. */
static bool finish(struct queue *queue, uint64_t id, uint64_t owner,
                   const struct queue_outcome *outcomes, size_t count,
                   const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                   uint64_t *notice_ids, bool *ended, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *old = owned(q, id, owner, e);
    if (old == NULL)
        return false;
    struct entry *m = entry_clone(old);
    struct entry **made = calloc(notice_count + 1, sizeof(struct entry *));
    bool ok = (m != NULL && made != NULL && reserve_entries(q, notice_count + 1)) ||
              queue_refuse_memory(e);
    for (size_t i = 0; ok && i < count; i++)
        ok = apply(m, &outcomes[i], e);
    ok = ok && memory_touch(q, id, e) && make_notices(q, notices, notice_count, now_ms, made, e);
    if (ok) {
        memory_drop(q, id);
        *ended = entry_open(m) == 0;
        if (*ended)
            m->owner = 0;
        if (entry_waiting(m) > 0) {
            insert(q, m);
            m = NULL;
        }
        for (size_t i = 0; i < notice_count; i++) {
            if (notice_ids != NULL)
                notice_ids[i] = made[i]->id;
            insert(q, made[i]);
            made[i] = NULL;
        }
        q->next_id += notice_count;
    }
    if (m != NULL)
        entry_free(&m);
    for (size_t i = 0; made != NULL && i < notice_count; i++) {
        if (made[i] != NULL)
            entry_free(&made[i]);
    }
    free(made);
    return ok;
}

static bool defer(struct queue *queue, uint64_t id, uint64_t owner, int64_t next_ms,
                  struct span reason, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *m = owned(q, id, owner, e);
    struct blob *reply;
    if (m == NULL || !memory_touch(q, id, e))
        return false;
    if (!blob_new(span_sub(reason, 0, QUEUE_REPLY_MAX), &reply))
        return queue_refuse_memory(e);
    for (size_t i = 0; i < m->recipient_count; i++) {
        struct entry_recipient *r = &m->recipients[i];
        if (!r->open)
            continue;
        r->next_ms = next_ms;
        if (reply != NULL) {
            blob_drop(&r->reply);
            r->reply = blob_share(reply);
        }
    }
    blob_drop(&reply);
    unclaim(m);
    return true;
}

static bool next_due(struct queue *queue, int64_t *due_ms, struct err *e)
{
    (void)e;
    struct memory_queue *q = memory_of(queue);
    const struct entry *first = first_due(q);
    *due_ms = first == NULL ? INT64_MAX : entry_due(first);
    for (size_t i = 0; queue->leases_expire && i < q->count; i++) {
        if (q->entries[i]->owner != 0 && q->entries[i]->lease_until_ms < *due_ms)
            *due_ms = q->entries[i]->lease_until_ms;
    }
    return true;
}

/* ---- readers, making one ---- */

struct memory_reader {
    struct queue_reader base; /* first: ops cast */
    struct memory_queue *q;
};

static bool reader_chunk(struct queue_reader *reader, uint64_t id, uint32_t index, struct buf *out,
                         struct err *e)
{
    struct memory_queue *q = ((struct memory_reader *)(void *)reader)->q;
    mutex_lock(q->mutex);
    const struct entry *m = memory_find(q, id);
    bool there = m != NULL && !m->receiving && index < m->chunk_count;
    bool ok = there && buf_add(out, blob_span(m->chunks[index]));
    mutex_unlock(q->mutex);
    if (!there)
        return queue_refuse_absent(e, id);
    return ok || err_set(e, ERR_TEMP, "message %llu: chunk %u: no room", (unsigned long long)id,
                         (unsigned)index);
}

static void reader_close(struct queue_reader *reader)
{
    free(reader);
}

static bool reader_open(struct queue *queue, struct queue_reader **reader, struct err *e)
{
    static const struct queue_reader_ops ops = {.chunk = reader_chunk, .close = reader_close};
    struct memory_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return queue_refuse_memory(e);
    r->base.ops = &ops;
    r->q = memory_of(queue);
    *reader = &r->base;
    return true;
}

static void close_queue(struct queue *queue)
{
    struct memory_queue *q = memory_of(queue);
    for (size_t i = 0; i < q->undo_count; i++)
        entry_free(&q->undo[i].entry);
    while (q->count > 0)
        memory_drop(q, q->entries[q->count - 1]->id);
    free(q->undo);
    free(q->entries);
    mutex_free(&q->mutex);
    free(q);
}

bool queue_memory_new(const struct queue_options *options, struct queue **out, struct err *e)
{
    static const struct queue_ops ops = {
        .begin = begin,
        .commit = commit,
        .rollback = rollback,
        .probe = probe,
        .accept = accept,
        .receive_open = receive_open,
        .receive_chunk = receive_chunk,
        .receive_abort = receive_abort,
        .claim = claim,
        .renew = renew,
        .finish = finish,
        .defer = defer,
        .next_due = next_due,
        .list = memory_list,
        .show = memory_show,
        .hold = memory_hold,
        .release = memory_release,
        .retry = memory_retry,
        .remove = memory_remove,
        .counts = memory_counts,
        .check = memory_check,
        .reader_open = reader_open,
        .close = close_queue,
    };
    *out = NULL;
    struct memory_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return queue_refuse_memory(e);
    q->mutex = mutex_new();
    if (q->mutex == NULL) {
        free(q);
        return queue_refuse_memory(e);
    }
    q->base = (struct queue){
        .ops = &ops,
        .reserve_bytes = options->reserve_bytes,
        .max_bytes = options->max_bytes,
        .leases_expire = options->leases_expire,
    };
    q->next_id = 1;
    *out = &q->base;
    return true;
}
