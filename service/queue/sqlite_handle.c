/* sqlite_handle.c - what an administrator does with the queue: list, show, hold, remove. */
#include "queue/sqlite_queue.h"

#include <stdlib.h>

/* ---- looking ---- */

static bool state_wanted(enum queue_filter_state wanted, const struct queue_message *m)
{
    switch (wanted) {
    case QUEUE_LIST_ALL: return true;
    case QUEUE_LIST_QUEUED: return m->state == QUEUE_QUEUED;
    case QUEUE_LIST_CLAIMED: return m->state == QUEUE_CLAIMED;
    case QUEUE_LIST_HELD: return m->state == QUEUE_HELD;
    }
    return false;
}

static bool text_wanted(struct span text, const struct queue_message *m)
{
    if (queue_contains_nocase(m->envelope.sender, text))
        return true;
    for (size_t i = 0; i < m->recipient_count; i++) {
        if (queue_contains_nocase(m->recipients[i].address, text))
            return true;
    }
    return false;
}

bool sqlite_list(struct queue *queue, const struct queue_filter *filter, struct queue_message **out,
                 size_t *count, uint64_t *next, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    size_t looked_at = 0, recipients = 0;
    struct sqlite3_stmt *from = q->sql[SQL_MESSAGE_FROM];
    if (!sqlite_ready(q, e))
        return false;
    store_bind_i64(from, 1, (int64_t)(filter->after < INT64_MAX ? filter->after : INT64_MAX));
    enum store_step step = STORE_DONE;
    while (*next == 0 && (step = store_step(q->store, from, e)) == STORE_ROW) {
        struct err cause = {0};
        uint64_t waiting;
        bool loaded = sqlite_load(q, from, INT64_MAX, &out[*count], &waiting, &cause);
        if (!loaded && cause.class != ERR_PERM) { /* damaged: the others are listed all the same */
            store_reset(from);
            if (e != NULL)
                *e = cause;
            return sqlite_read_failed(e);
        }
        looked_at++;
        recipients += loaded ? out[*count]->recipient_count : 0;
        if (loaded && state_wanted(filter->state, out[*count]) &&
            text_wanted(filter->text, out[*count]))
            ++*count;
        else
            queue_message_free(&out[*count]);
        if (!queue_list_goes_on(filter, *count, looked_at, recipients))
            *next = (uint64_t)store_column_i64(from, MESSAGE_ID);
    }
    store_reset(from);
    return step != STORE_FAILED || sqlite_read_failed(e);
}

/* The statement stands on the row when it returns true; the caller resets it. */
static bool get_row(struct sqlite_queue *q, uint64_t id, struct sqlite3_stmt **row, struct err *e)
{
    if (!sqlite_ready(q, e))
        return false;
    *row = q->sql[SQL_MESSAGE_GET];
    store_bind_i64(*row, 1, (int64_t)id);
    switch (store_step(q->store, *row, e)) {
    case STORE_ROW: return true;
    case STORE_DONE: return queue_refuse_absent(e, id);
    case STORE_FAILED: break;
    }
    return sqlite_read_failed(e);
}

bool sqlite_show(struct queue *queue, uint64_t id, struct queue_message **out, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct sqlite3_stmt *row;
    uint64_t waiting;
    if (!get_row(q, id, &row, e))
        return false;
    bool ok = sqlite_load(q, row, INT64_MAX, out, &waiting, e) &&
              sqlite_load_body(q, *out, QUEUE_INLINE_MAX, e);
    store_reset(row);
    if (!ok)
        return sqlite_read_failed(e);
    (*out)->body = queue_header_section((*out)->body);
    return true;
}

bool sqlite_counts(struct queue *queue, struct queue_counts *counts, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    *counts = q->counts;
    return sqlite_ready(q, e);
}

/* ---- handling ---- */

struct brief {
    uint64_t size;
    bool held;
};

static bool look(struct sqlite_queue *q, uint64_t id, struct brief *m, struct err *e)
{
    struct sqlite3_stmt *row;
    if (!get_row(q, id, &row, e))
        return false;
    m->size = (uint64_t)store_column_i64(row, MESSAGE_SIZE);
    m->held = store_column_i64(row, MESSAGE_HELD) != 0;
    store_reset(row);
    return true;
}

static bool set_held(struct sqlite_queue *q, uint64_t id, bool held, struct err *e)
{
    struct brief m;
    if (!look(q, id, &m, e))
        return false;
    if (m.held == held)
        return true;
    const struct claim *c = claims_find(&q->claims, id);
    if (c != NULL) {
        struct claim *copy = claims_reserve(&q->claims) ? claim_copy(c) : NULL;
        if (copy == NULL)
            return queue_refuse_memory(e);
        copy->hold_wanted = held;
        (void)claims_replace(&q->claims, copy);
    }
    q->counts.held = held ? q->counts.held + 1 : q->counts.held - 1;
    store_bind_i64(q->sql[SQL_HELD_SET], 1, (int64_t)id);
    store_bind_i64(q->sql[SQL_HELD_SET], 2, held ? 1 : 0);
    return sqlite_write(q, SQL_HELD_SET, e) && sqlite_set_due(q, id, held, e);
}

bool sqlite_hold(struct queue *queue, uint64_t id, struct err *e)
{
    return set_held(sqlite_of(queue), id, true, e);
}

bool sqlite_release(struct queue *queue, uint64_t id, struct err *e)
{
    return set_held(sqlite_of(queue), id, false, e);
}

bool sqlite_retry(struct queue *queue, uint64_t id, int64_t now_ms, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct brief m;
    if (!look(q, id, &m, e))
        return false;
    if (m.held)
        return err_set(e, ERR_PERM, "message %llu: it is held; release it first",
                       (unsigned long long)id);
    sqlite_bind_rows(q->sql[SQL_RECIPIENT_RETRY], 1, id);
    store_bind_i64(q->sql[SQL_RECIPIENT_RETRY], 3, now_ms);
    return sqlite_write(q, SQL_RECIPIENT_RETRY, e) && sqlite_set_due(q, id, false, e);
}

bool sqlite_remove(struct queue *queue, uint64_t id, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct brief m;
    if (!look(q, id, &m, e))
        return false;
    if (claims_find(&q->claims, id) != NULL) {
        if (!claims_reserve(&q->claims))
            return queue_refuse_memory(e);
        (void)claims_remove(&q->claims, id);
        q->counts.claimed--;
    }
    return sqlite_delete(q, id, m.size, m.held, e);
}
