/* sqlite_deliver.c - giving messages out and recording what became of them. */
#include "queue/sqlite_queue.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading messages ---- */

static bool load_text(struct arena *a, struct sqlite3_stmt *row, int column, struct span *out)
{
    struct span text = store_column_span(row, column);
    if (text.n == 0) {
        *out = (struct span){0};
        return true;
    }
    *out = arena_span(a, text);
    return out->n == text.n;
}

static bool load_envelope(struct queue_message *m, struct sqlite3_stmt *row, struct err *e)
{
    m->id = (uint64_t)store_column_i64(row, MESSAGE_ID);
    m->accepted_ms = store_column_i64(row, MESSAGE_ACCEPTED);
    m->size = (uint64_t)store_column_i64(row, MESSAGE_SIZE);
    m->chunk_count = (uint32_t)store_column_i64(row, MESSAGE_CHUNKS);
    m->hold_wanted = store_column_i64(row, MESSAGE_HELD) != 0;
    int64_t flags = store_column_i64(row, MESSAGE_FLAGS);
    struct queue_envelope *v = &m->envelope;
    v->eight_bit = (flags & 1) != 0;
    v->smtputf8 = (flags & 2) != 0;
    v->may_relay = (flags & 4) != 0;
    v->ret = (enum queue_ret)store_column_i64(row, MESSAGE_RET);
    v->origin = (enum queue_origin)store_column_i64(row, MESSAGE_ORIGIN);
    struct span client = store_column_span(row, MESSAGE_CLIENT);
    if (client.n == sizeof v->client.b)
        memcpy(v->client.b, client.p, client.n);
    return (load_text(&m->arena, row, MESSAGE_SENDER, &v->sender) &&
            load_text(&m->arena, row, MESSAGE_ENVID, &v->envid) &&
            load_text(&m->arena, row, MESSAGE_HELO, &v->helo) &&
            load_text(&m->arena, row, MESSAGE_IDENTITY, &v->identity)) ||
           queue_refuse_memory(e);
}

static bool load_recipient(struct queue_message *m, struct sqlite3_stmt *row, int64_t due_ms,
                           uint64_t *waiting, struct err *e)
{
    struct queue_recipient *r = &m->recipients[m->recipient_count];
    *r = (struct queue_recipient){
        .index = (uint32_t)(store_column_i64(row, 0) - row_first(m->id)),
        .state = (enum queue_recipient_state)store_column_i64(row, 1),
        .attempts = (uint32_t)store_column_i64(row, 2),
        .next_ms = store_column_i64(row, 3),
        .notify = (unsigned)store_column_i64(row, 4),
        .delay_noticed = store_column_i64(row, 5) != 0,
    };
    if (r->state == QUEUE_RCPT_WAITING)
        ++*waiting;
    if (due_ms != INT64_MAX && (r->state != QUEUE_RCPT_WAITING || r->next_ms > due_ms))
        return true;
    m->recipient_count++;
    return (load_text(&m->arena, row, 6, &r->address) && load_text(&m->arena, row, 7, &r->orcpt) &&
            load_text(&m->arena, row, 8, &r->last_reply)) ||
           queue_refuse_memory(e);
}

bool sqlite_load(struct sqlite_queue *q, struct sqlite3_stmt *row, int64_t due_ms,
                 struct queue_message **out, uint64_t *waiting, struct err *e)
{
    struct sqlite3_stmt *get = q->sql[SQL_RECIPIENT_GET];
    *waiting = 0;
    *out = NULL;
    struct queue_message *m = queue_message_new(e);
    if (m == NULL || !load_envelope(m, row, e))
        goto fail;
    size_t room = (size_t)store_column_i64(row, MESSAGE_RECIPIENTS);
    if (room > QUEUE_RECIPIENTS_MAX)
        room = QUEUE_RECIPIENTS_MAX;
    m->recipients = arena_alloc(&m->arena, room * sizeof *m->recipients);
    if (m->recipients == NULL) {
        queue_refuse_memory(e);
        goto fail;
    }
    sqlite_bind_rows(get, 1, m->id);
    enum store_step step;
    while ((step = store_step(q->store, get, e)) == STORE_ROW) {
        bool ok = m->recipient_count < room ? load_recipient(m, get, due_ms, waiting, e)
                                            : err_set(e, ERR_PERM, "more recipients than it has");
        if (!ok) {
            store_reset(get);
            goto fail;
        }
    }
    if (step == STORE_FAILED)
        goto fail;
    bool claimed = claims_find(&q->claims, m->id) != NULL;
    bool held = m->hold_wanted || claims_find(&q->kept, m->id) != NULL;
    m->state = claimed ? QUEUE_CLAIMED : held ? QUEUE_HELD : QUEUE_QUEUED;
    *out = m;
    return true;
fail:
    queue_message_free(&m);
    return false;
}

bool sqlite_load_body(struct sqlite_queue *q, struct queue_message *m, size_t max, struct err *e)
{
    struct sqlite3_stmt *get = q->sql[SQL_CHUNK_GET];
    size_t size = m->size < max ? (size_t)m->size : max;
    size_t filled = 0;
    uint8_t *bytes = arena_alloc(&m->arena, size);
    if (bytes == NULL)
        return queue_refuse_memory(e);
    sqlite_bind_rows(get, 1, m->id);
    enum store_step step = STORE_DONE;
    while (filled < size && (step = store_step(q->store, get, e)) == STORE_ROW) {
        struct span chunk = span_sub(store_column_span(get, 0), 0, size - filled);
        memcpy(bytes + filled, chunk.p, chunk.n);
        filled += chunk.n;
    }
    store_reset(get);
    if (step == STORE_FAILED)
        return false;
    if (filled < size)
        return err_set(e, ERR_PERM, "message %llu: its body is not whole",
                       (unsigned long long)m->id);
    m->body = span_of(bytes, size);
    return true;
}

/* ---- claims ---- */

static bool add_claim(struct sqlite_queue *q, const struct queue_message *m, uint64_t owner,
                      int64_t lease_until_ms, uint64_t waiting, struct err *e)
{
    struct claim *c = claim_new(m->recipient_count);
    if (c == NULL)
        return queue_refuse_memory(e);
    c->id = m->id;
    c->owner = owner;
    c->lease_until_ms = lease_until_ms;
    c->size = m->size;
    c->hold_wanted = m->hold_wanted;
    c->waiting = waiting;
    c->open = m->recipient_count;
    for (size_t i = 0; i < m->recipient_count; i++)
        c->recipients[i].index = m->recipients[i].index;
    if (!claims_add(&q->claims, c)) {
        free(c);
        return queue_refuse_memory(e);
    }
    q->counts.claimed++;
    return true;
}

/* A message that cannot be read must not keep all others from being delivered: it stays where it
 * is, and nobody gets it until the next start. */
static bool keep_back(struct sqlite_queue *q, uint64_t id, const struct err *cause, struct err *e)
{
    log_event(LOG_ERROR, "queue.message.unreadable", LOG_U("id", id), LOG_S("cause", cause->text));
    struct claim *c = claim_new(0);
    if (c == NULL)
        return queue_refuse_memory(e);
    c->id = id;
    if (!claims_add(&q->kept, c)) {
        free(c);
        return queue_refuse_memory(e);
    }
    claims_commit(&q->kept); /* no batch takes it back */
    return true;
}

static bool is_taken(const struct sqlite_queue *q, uint64_t id)
{
    return claims_find(&q->claims, id) != NULL || claims_find(&q->kept, id) != NULL;
}

/* Its row, its due recipients, and its body when it is small. ERR_PERM: it cannot be read. */
static bool read_due(struct sqlite_queue *q, uint64_t id, int64_t now_ms,
                     struct queue_message **out, uint64_t *waiting, struct err *e)
{
    struct sqlite3_stmt *row = q->sql[SQL_MESSAGE_GET];
    store_bind_i64(row, 1, (int64_t)id);
    enum store_step step = store_step(q->store, row, e);
    if (step == STORE_FAILED)
        return false;
    if (step == STORE_DONE)
        return err_set(e, ERR_PERM, "message %llu: due, but not there", (unsigned long long)id);
    bool ok = sqlite_load(q, row, now_ms, out, waiting, e);
    store_reset(row);
    if (!ok)
        return false;
    struct queue_message *m = *out;
    if (m->recipient_count == 0)
        return err_set(e, ERR_PERM, "message %llu: due, but none of its recipients is",
                       (unsigned long long)id);
    if (m->size > QUEUE_INLINE_MAX)
        return true;
    m->has_body = true;
    return sqlite_load_body(q, m, QUEUE_INLINE_MAX, e);
}

/* *out is NULL, and it is no failure, where the message had to be kept back. */
static bool claim_one(struct sqlite_queue *q, uint64_t id, uint64_t owner, int64_t lease_until_ms,
                      int64_t now_ms, struct queue_message **out, struct err *e)
{
    struct err cause = {0};
    uint64_t waiting = 0;
    *out = NULL;
    if (read_due(q, id, now_ms, out, &waiting, &cause)) {
        (*out)->state = QUEUE_CLAIMED;
        if (add_claim(q, *out, owner, lease_until_ms, waiting, e))
            return true;
        queue_message_free(out);
        return false;
    }
    queue_message_free(out);
    if (cause.class == ERR_PERM)
        return keep_back(q, id, &cause, e);
    if (e != NULL)
        *e = cause;
    return sqlite_read_failed(e);
}

bool sqlite_set_due(struct sqlite_queue *q, uint64_t id, bool held, struct err *e)
{
    struct sqlite3_stmt *first = q->sql[SQL_RECIPIENT_FIRST], *set = q->sql[SQL_DUE_SET];
    store_bind_i64(set, 1, (int64_t)id);
    store_bind_null(set, 2);
    if (!held) {
        struct err cause = {0};
        sqlite_bind_rows(first, 1, id);
        if (store_step(q->store, first, &cause) != STORE_ROW)
            return sqlite_break(q, &cause, e);
        int64_t due = store_column_i64(first, 0);
        store_reset(first);
        store_bind_i64(set, 2, due);
        if (due < q->scan_due)
            q->scan_due = due;
    }
    return sqlite_write(q, SQL_DUE_SET, e);
}

/* The claim is over: its message may be claimed again when it is due. claims_reserve was called. */
static bool end_claim(struct sqlite_queue *q, uint64_t id, bool held, struct err *e)
{
    (void)claims_remove(&q->claims, id);
    q->counts.claimed--;
    return sqlite_set_due(q, id, held, e);
}

/* Results that were recorded before the lease ended may have moved the message's due time. */
static bool free_expired(struct sqlite_queue *q, int64_t now_ms, struct err *e)
{
    const struct claim *c = NULL;
    while ((c = claims_next(&q->claims, c)) != NULL) {
        if (c->lease_until_ms > now_ms)
            continue;
        if (!claims_reserve(&q->claims))
            return queue_refuse_memory(e);
        if (!end_claim(q, c->id, c->hold_wanted, e))
            return false;
        c = NULL; /* the walk begins again */
    }
    return true;
}

/* On failure the claims made so far go back; nothing else has changed. */
static void give_up(struct sqlite_queue *q, struct queue_message **out, size_t *count)
{
    for (size_t i = 0; i < *count; i++) {
        if (claims_remove(&q->claims, out[i]->id))
            q->counts.claimed--;
        queue_message_free(&out[i]);
    }
    *count = 0;
    q->scan_due = INT64_MIN;
}

bool sqlite_claim(struct queue *queue, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                  struct queue_message **out, size_t *count, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct sqlite3_stmt *due = q->sql[SQL_DUE_BY];
    if (!sqlite_ready(q, e) || (queue->leases_expire && !free_expired(q, now_ms, e)))
        return false;
    store_bind_i64(due, 1, q->scan_due);
    store_bind_i64(due, 2, now_ms);
    enum store_step step = STORE_DONE;
    while (*count < max && (step = store_step(q->store, due, e)) == STORE_ROW) {
        uint64_t id = (uint64_t)store_column_i64(due, DUE_ID);
        int64_t at = store_column_i64(due, DUE_AT);
        if (!is_taken(q, id)) {
            if (!claim_one(q, id, owner, now_ms + lease_ms, now_ms, &out[*count], e)) {
                store_reset(due);
                give_up(q, out, count);
                return false;
            }
            if (out[*count] != NULL)
                ++*count;
        }
        q->scan_due = at;
    }
    store_reset(due);
    if (step != STORE_FAILED)
        return true;
    give_up(q, out, count);
    return sqlite_read_failed(e);
}

bool sqlite_next_due(struct queue *queue, int64_t *due_ms, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct sqlite3_stmt *due = q->sql[SQL_DUE_FROM];
    if (!sqlite_ready(q, e))
        return false;
    *due_ms = INT64_MAX;
    store_bind_i64(due, 1, q->scan_due);
    enum store_step step;
    while ((step = store_step(q->store, due, e)) == STORE_ROW) {
        if (is_taken(q, (uint64_t)store_column_i64(due, DUE_ID)))
            continue;
        *due_ms = store_column_i64(due, DUE_AT);
        break;
    }
    store_reset(due);
    if (step == STORE_FAILED)
        return sqlite_read_failed(e);
    for (const struct claim *c = NULL; queue->leases_expire;) {
        c = claims_next(&q->claims, c);
        if (c == NULL)
            break;
        if (c->lease_until_ms < *due_ms)
            *due_ms = c->lease_until_ms;
    }
    return true;
}

static const struct claim *owned(struct sqlite_queue *q, uint64_t id, uint64_t owner, struct err *e)
{
    const struct claim *c = claims_find(&q->claims, id);
    if (c != NULL && c->owner == owner && owner != 0)
        return c;
    queue_refuse_claim(e, id);
    return NULL;
}

static bool replace(struct sqlite_queue *q, struct claim *c, struct err *e)
{
    if (claims_replace(&q->claims, c))
        return true;
    free(c);
    return queue_refuse_memory(e);
}

bool sqlite_renew(struct queue *queue, uint64_t id, uint64_t owner, int64_t lease_ms,
                  int64_t now_ms, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    const struct claim *c = sqlite_ready(q, e) ? owned(q, id, owner, e) : NULL;
    if (c == NULL)
        return false;
    struct claim *copy = claim_copy(c);
    if (copy == NULL)
        return queue_refuse_memory(e);
    copy->lease_until_ms = now_ms + lease_ms;
    return replace(q, copy, e);
}

/* ---- results ---- */

bool sqlite_delete(struct sqlite_queue *q, uint64_t id, uint64_t size, bool held, struct err *e)
{
    sqlite_bind_rows(q->sql[SQL_RECIPIENT_REMOVE], 1, id);
    sqlite_bind_rows(q->sql[SQL_CHUNK_REMOVE], 1, id);
    store_bind_i64(q->sql[SQL_MESSAGE_REMOVE], 1, (int64_t)id);
    if (!sqlite_write(q, SQL_RECIPIENT_REMOVE, e) || !sqlite_write(q, SQL_CHUNK_REMOVE, e) ||
        !sqlite_write(q, SQL_MESSAGE_REMOVE, e))
        return false;
    q->counts.messages--;
    q->counts.bytes -= size;
    q->counts.held -= held ? 1 : 0;
    return true;
}

static struct claim_recipient *find_recipient(struct claim *c, uint32_t index)
{
    size_t low = 0, high = c->recipient_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->recipients[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->recipient_count && c->recipients[low].index == index ? &c->recipients[low]
                                                                         : NULL;
}

/* Marks the outcomes in a copy of the claim; refuses what the claim does not hold. */
static bool mark(struct claim *c, const struct queue_outcome *outcomes, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct claim_recipient *r = find_recipient(c, outcomes[i].recipient);
        if (r == NULL || r->finished)
            return err_set(e, ERR_BUG, "message %llu: recipient %u is not open in this claim",
                           (unsigned long long)c->id, (unsigned)outcomes[i].recipient);
        r->finished = true;
        c->open--;
        if (outcomes[i].kind != QUEUE_DEFERRED)
            c->waiting--;
    }
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

static bool write_outcomes(struct sqlite_queue *q, uint64_t id,
                           const struct queue_outcome *outcomes, size_t count, struct err *e)
{
    struct sqlite3_stmt *set = q->sql[SQL_RECIPIENT_RESULT];
    for (size_t i = 0; i < count; i++) {
        const struct queue_outcome *o = &outcomes[i];
        bool deferred = o->kind == QUEUE_DEFERRED;
        store_bind_i64(set, 1, row_of(id, o->recipient));
        store_bind_i64(set, 2, state_after(o->kind));
        store_bind_i64(set, 3, o->attempted ? 1 : 0);
        store_bind_i64(set, 4, deferred ? o->next_ms : 0);
        store_bind_i64(set, 5, deferred && o->delay_noticed ? 1 : 0);
        store_bind_text(set, 6, span_sub(o->reply, 0, QUEUE_REPLY_MAX));
        if (!sqlite_write(q, SQL_RECIPIENT_RESULT, e))
            return false;
    }
    return true;
}

/* Takes over c, the claim as it is after the outcomes. The message's own rows go first, so that the
 * notices find the pages that it frees. */
static bool record(struct sqlite_queue *q, struct claim *c, const struct queue_outcome *outcomes,
                   size_t count, struct err *e)
{
    uint64_t id = c->id, size = c->size;
    bool held = c->hold_wanted, gone = c->waiting == 0, ended = c->open == 0;
    if (ended)
        free(c);
    else
        (void)claims_replace(&q->claims, c);
    if (gone) {
        (void)claims_remove(&q->claims, id);
        q->counts.claimed--;
        return sqlite_delete(q, id, size, held, e);
    }
    return write_outcomes(q, id, outcomes, count, e) && (!ended || end_claim(q, id, held, e));
}

bool sqlite_finish(struct queue *queue, uint64_t id, uint64_t owner,
                   const struct queue_outcome *outcomes, size_t count,
                   const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                   uint64_t *notice_ids, bool *ended, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    const struct claim *old = sqlite_ready(q, e) ? owned(q, id, owner, e) : NULL;
    if (old == NULL)
        return false;
    struct claim *c = claims_reserve(&q->claims) ? claim_copy(old) : NULL;
    if (c == NULL)
        return queue_refuse_memory(e);
    if (!mark(c, outcomes, count, e)) {
        free(c);
        return false;
    }
    *ended = c->open == 0;
    if (!record(q, c, outcomes, count, e))
        return false;
    for (size_t i = 0; i < notice_count; i++) {
        uint64_t notice;
        if (!sqlite_insert(q, &notices[i], now_ms, &notice, e))
            return false;
        if (notice_ids != NULL)
            notice_ids[i] = notice;
    }
    return true;
}

bool sqlite_defer(struct queue *queue, uint64_t id, uint64_t owner, int64_t next_ms,
                  struct span reason, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct sqlite3_stmt *set = q->sql[SQL_RECIPIENT_DEFER];
    const struct claim *c = sqlite_ready(q, e) ? owned(q, id, owner, e) : NULL;
    if (c == NULL)
        return false;
    if (!claims_reserve(&q->claims))
        return queue_refuse_memory(e);
    bool held = c->hold_wanted;
    for (size_t i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].finished)
            continue;
        store_bind_i64(set, 1, row_of(id, c->recipients[i].index));
        store_bind_i64(set, 2, next_ms);
        store_bind_text(set, 3, span_sub(reason, 0, QUEUE_REPLY_MAX));
        if (!sqlite_write(q, SQL_RECIPIENT_DEFER, e))
            return false;
    }
    return end_claim(q, id, held, e);
}
