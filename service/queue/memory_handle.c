/* memory_handle.c - what an administrator does with the memory queue: list, show, hold, remove. */
#include "queue/memory_queue.h"

static struct entry *find_message(const struct memory_queue *q, uint64_t id, struct err *e)
{
    struct entry *m = memory_find(q, id);
    if (m != NULL && !m->receiving)
        return m;
    queue_refuse_absent(e, id);
    return NULL;
}

static bool wanted(const struct queue_filter *f, const struct entry *m)
{
    enum queue_state state = entry_state(m);
    if ((f->state == QUEUE_LIST_QUEUED && state != QUEUE_QUEUED) ||
        (f->state == QUEUE_LIST_CLAIMED && state != QUEUE_CLAIMED) ||
        (f->state == QUEUE_LIST_HELD && state != QUEUE_HELD))
        return false;
    bool found = queue_contains_nocase(m->envelope.sender, f->text);
    for (size_t i = 0; !found && i < m->recipient_count; i++)
        found = queue_contains_nocase(blob_span(m->recipients[i].address), f->text);
    return found;
}

bool memory_list(struct queue *queue, const struct queue_filter *filter, struct queue_message **out,
                 size_t *count, uint64_t *next, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    size_t looked_at = 0, recipients = 0;
    for (size_t i = 0; i < q->count; i++) {
        const struct entry *m = q->entries[i];
        if (m->receiving || m->id <= filter->after)
            continue;
        looked_at++;
        recipients += m->recipient_count;
        if (wanted(filter, m)) {
            if (!entry_export(m, false, &out[*count], e))
                return false;
            ++*count;
        }
        if (!queue_list_goes_on(filter, *count, looked_at, recipients)) {
            *next = m->id;
            break;
        }
    }
    return true;
}

bool memory_show(struct queue *queue, uint64_t id, struct queue_message **out, struct err *e)
{
    const struct entry *m = find_message(memory_of(queue), id, e);
    if (m == NULL || !entry_export(m, false, out, e) ||
        !entry_export_body(m, *out, QUEUE_INLINE_MAX, e))
        return false;
    (*out)->body = queue_header_section((*out)->body);
    return true;
}

static bool set_held(struct queue *queue, uint64_t id, bool held, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *m = find_message(q, id, e);
    if (m == NULL || !memory_touch(q, id, e))
        return false;
    m->held = held;
    return true;
}

bool memory_hold(struct queue *queue, uint64_t id, struct err *e)
{
    return set_held(queue, id, true, e);
}

bool memory_release(struct queue *queue, uint64_t id, struct err *e)
{
    return set_held(queue, id, false, e);
}

bool memory_retry(struct queue *queue, uint64_t id, int64_t now_ms, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    struct entry *m = find_message(q, id, e);
    if (m == NULL)
        return false;
    if (m->held)
        return err_set(e, ERR_PERM, "message %llu: it is held; release it first",
                       (unsigned long long)id);
    if (!memory_touch(q, id, e))
        return false;
    for (size_t i = 0; i < m->recipient_count; i++) {
        struct entry_recipient *r = &m->recipients[i];
        if (r->state == QUEUE_RCPT_WAITING && r->next_ms > now_ms)
            r->next_ms = now_ms;
    }
    return true;
}

bool memory_remove(struct queue *queue, uint64_t id, struct err *e)
{
    struct memory_queue *q = memory_of(queue);
    if (find_message(q, id, e) == NULL || !memory_touch(q, id, e))
        return false;
    memory_drop(q, id);
    return true;
}

bool memory_counts(struct queue *queue, struct queue_counts *c, struct err *e)
{
    (void)e;
    struct memory_queue *q = memory_of(queue);
    *c = (struct queue_counts){0};
    for (size_t i = 0; i < q->count; i++) {
        const struct entry *m = q->entries[i];
        c->receiving += m->receiving ? 1 : 0;
        c->messages += m->receiving ? 0 : 1;
        c->claimed += m->owner != 0 ? 1 : 0;
        c->held += m->held ? 1 : 0;
        c->bytes += m->receiving ? 0 : m->size;
    }
    return true;
}

bool memory_check(struct queue *queue, struct buf *report, bool *sound, struct err *e)
{
    (void)queue;
    *sound = true;
    return buf_add_str(report, "ok") || queue_refuse_memory(e);
}
