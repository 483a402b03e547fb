#include "queue/memory_entry.h"

#include "queue/queue_ops.h"

#include <stdlib.h>
#include <string.h>

struct blob {
    size_t shares, n;
    uint8_t bytes[];
};

bool blob_new(struct span bytes, struct blob **out)
{
    *out = NULL;
    if (bytes.n == 0)
        return true;
    struct blob *b = malloc(sizeof *b + bytes.n);
    if (b == NULL)
        return false;
    b->shares = 1;
    b->n = bytes.n;
    memcpy(b->bytes, bytes.p, bytes.n);
    *out = b;
    return true;
}

struct blob *blob_share(struct blob *b)
{
    if (b != NULL)
        b->shares++;
    return b;
}

void blob_drop(struct blob **b)
{
    if (*b != NULL && --(*b)->shares == 0)
        free(*b);
    *b = NULL;
}

struct span blob_span(const struct blob *b)
{
    return b == NULL ? (struct span){0} : span_of(b->bytes, b->n);
}

struct entry *entry_new(uint64_t id)
{
    struct entry *e = calloc(1, sizeof *e);
    if (e != NULL)
        e->id = id;
    return e;
}

void entry_free(struct entry **entry)
{
    struct entry *e = *entry;
    if (e == NULL)
        return;
    for (size_t i = 0; i < 4; i++)
        blob_drop(&e->texts[i]);
    for (size_t i = 0; i < e->recipient_count; i++) {
        blob_drop(&e->recipients[i].address);
        blob_drop(&e->recipients[i].orcpt);
        blob_drop(&e->recipients[i].reply);
    }
    for (uint32_t i = 0; i < e->chunk_count; i++)
        blob_drop(&e->chunks[i]);
    free(e->recipients);
    free(e->chunks);
    free(e);
    *entry = NULL;
}

struct entry *entry_clone(const struct entry *from)
{
    struct entry *e = malloc(sizeof *e);
    if (e == NULL)
        return NULL;
    *e = *from;
    e->recipients = calloc(from->recipient_count + 1, sizeof *e->recipients);
    e->chunks = calloc((size_t)from->chunk_count + 1, sizeof(struct blob *));
    if (e->recipients == NULL || e->chunks == NULL) {
        free(e->recipients);
        free(e->chunks);
        free(e);
        return NULL;
    }
    for (size_t i = 0; i < 4; i++)
        blob_share(e->texts[i]);
    for (size_t i = 0; i < e->recipient_count; i++) {
        e->recipients[i] = from->recipients[i];
        blob_share(e->recipients[i].address);
        blob_share(e->recipients[i].orcpt);
        blob_share(e->recipients[i].reply);
    }
    for (uint32_t i = 0; i < e->chunk_count; i++)
        e->chunks[i] = blob_share(from->chunks[i]);
    return e;
}

static bool set_texts(struct entry *e, const struct queue_envelope *v)
{
    const struct span from[] = {v->sender, v->envid, v->helo, v->identity};
    struct span *to[] = {&e->envelope.sender, &e->envelope.envid, &e->envelope.helo,
                         &e->envelope.identity};
    e->envelope = *v;
    for (size_t i = 0; i < 4; i++) {
        if (!blob_new(from[i], &e->texts[i]))
            return false;
        *to[i] = blob_span(e->texts[i]);
    }
    return true;
}

bool entry_set_envelope(struct entry *e, const struct queue_submission *s, int64_t now_ms)
{
    e->accepted_ms = now_ms;
    free(e->recipients); /* a clone of a body under way has an empty array */
    e->recipients = calloc(s->recipient_count, sizeof *e->recipients);
    if (e->recipients == NULL || !set_texts(e, &s->envelope))
        return false;
    e->recipient_count = s->recipient_count;
    for (size_t i = 0; i < s->recipient_count; i++) {
        struct entry_recipient *r = &e->recipients[i];
        r->notify = s->recipients[i].notify;
        r->next_ms = now_ms;
        if (!blob_new(s->recipients[i].address, &r->address) ||
            !blob_new(s->recipients[i].orcpt, &r->orcpt))
            return false;
    }
    return true;
}

bool entry_add_chunk(struct entry *e, struct span bytes, bool in_front)
{
    struct blob *chunk;
    struct blob **more = realloc(e->chunks, ((size_t)e->chunk_count + 1) * sizeof(struct blob *));
    if (more == NULL)
        return false;
    e->chunks = more;
    if (!blob_new(bytes, &chunk))
        return false;
    if (in_front)
        memmove(more + 1, more, e->chunk_count * sizeof(struct blob *));
    more[in_front ? 0 : e->chunk_count] = chunk;
    e->chunk_count++;
    e->size += bytes.n;
    return true;
}

bool entry_add_body(struct entry *e, const struct queue_submission *s)
{
    size_t total = (size_t)queue_body_bytes(s), filled = 0;
    uint8_t *whole = malloc(total + 1);
    if (whole == NULL)
        return false;
    for (size_t i = 0; i < s->body_count; i++) {
        if (s->body[i].n > 0)
            memcpy(whole + filled, s->body[i].p, s->body[i].n);
        filled += s->body[i].n;
    }
    bool ok = true;
    if (e->receiving) {
        ok = entry_add_chunk(e, span_of(whole, total), true);
    } else {
        size_t from = 0;
        do {
            struct span part = span_sub(span_of(whole, total), from, QUEUE_CHUNK_MAX);
            ok = entry_add_chunk(e, part, false);
            from += part.n;
        } while (ok && from < total);
    }
    free(whole);
    return ok;
}

size_t entry_waiting(const struct entry *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->recipient_count; i++)
        n += e->recipients[i].state == QUEUE_RCPT_WAITING ? 1 : 0;
    return n;
}

size_t entry_open(const struct entry *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->recipient_count; i++)
        n += e->recipients[i].open ? 1 : 0;
    return n;
}

int64_t entry_due(const struct entry *e)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct entry_recipient *r = &e->recipients[i];
        if (r->state == QUEUE_RCPT_WAITING && r->next_ms < due)
            due = r->next_ms;
    }
    return due;
}

enum queue_state entry_state(const struct entry *e)
{
    if (e->receiving)
        return QUEUE_RECEIVING;
    if (e->owner != 0)
        return QUEUE_CLAIMED;
    return e->held ? QUEUE_HELD : QUEUE_QUEUED;
}

static bool copy_span(struct arena *a, struct span from, struct span *to)
{
    if (from.n == 0) {
        *to = (struct span){0};
        return true;
    }
    *to = arena_span(a, from);
    return to->n == from.n;
}

static bool export_recipient(struct queue_message *m, const struct entry_recipient *r, size_t index)
{
    struct queue_recipient *to = &m->recipients[m->recipient_count++];
    *to = (struct queue_recipient){
        .next_ms = r->next_ms,
        .index = (uint32_t)index,
        .attempts = r->attempts,
        .notify = r->notify,
        .state = r->state,
        .delay_noticed = r->delay_noticed,
    };
    return copy_span(&m->arena, blob_span(r->address), &to->address) &&
           copy_span(&m->arena, blob_span(r->orcpt), &to->orcpt) &&
           copy_span(&m->arena, blob_span(r->reply), &to->last_reply);
}

bool entry_export(const struct entry *e, bool open_only, struct queue_message **out,
                  struct err *err)
{
    *out = NULL;
    struct queue_message *m = queue_message_new(err);
    if (m == NULL)
        return false;
    m->id = e->id;
    m->accepted_ms = e->accepted_ms;
    m->size = e->size;
    m->chunk_count = e->chunk_count;
    m->state = entry_state(e);
    m->hold_wanted = e->held;
    m->recipients = arena_alloc(&m->arena, e->recipient_count * sizeof *m->recipients);
    bool ok = m->recipients != NULL && queue_message_copy_envelope(m, &e->envelope, err);
    for (size_t i = 0; ok && i < e->recipient_count; i++) {
        if (!open_only || e->recipients[i].open)
            ok = export_recipient(m, &e->recipients[i], i);
    }
    if (!ok) {
        queue_message_free(&m);
        return queue_refuse_memory(err);
    }
    *out = m;
    return true;
}

bool entry_export_body(const struct entry *e, struct queue_message *m, size_t max, struct err *err)
{
    size_t size = e->size < max ? (size_t)e->size : max, filled = 0;
    uint8_t *bytes = arena_alloc(&m->arena, size);
    if (bytes == NULL)
        return queue_refuse_memory(err);
    for (uint32_t i = 0; i < e->chunk_count && filled < size; i++) {
        struct span part = span_sub(blob_span(e->chunks[i]), 0, size - filled);
        if (part.n > 0)
            memcpy(bytes + filled, part.p, part.n);
        filled += part.n;
    }
    m->body = span_of(bytes, size);
    return true;
}
