/* queue_ops.h - what an implementation of queue.h provides; for this room only.
 * queue.c checks what needs no store (limits, owner, batches) before it calls an op, so that the
 * implementations agree there by construction. Ops run inside a batch always. */
#ifndef POSTERN_QUEUE_QUEUE_OPS_H
#define POSTERN_QUEUE_QUEUE_OPS_H

#include "queue/queue.h"

struct queue_ops {
    bool (*begin)(struct queue *q, struct err *e);
    bool (*commit)(struct queue *q, struct err *e);
    void (*rollback)(struct queue *q);
    /* Writes something, so that this batch's commit tells whether the disk is back. */
    void (*probe)(struct queue *q);
    bool (*accept)(struct queue *q, const struct queue_submission *submission, int64_t now_ms,
                   uint64_t *id, struct err *e);
    bool (*receive_open)(struct queue *q, uint64_t *receiving, struct err *e);
    bool (*receive_chunk)(struct queue *q, uint64_t receiving, struct span bytes, struct err *e);
    bool (*receive_abort)(struct queue *q, uint64_t receiving, struct err *e);
    bool (*claim)(struct queue *q, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                  struct queue_message **out, size_t *count, struct err *e);
    bool (*renew)(struct queue *q, uint64_t id, uint64_t owner, int64_t lease_ms, int64_t now_ms,
                  struct err *e);
    bool (*finish)(struct queue *q, uint64_t id, uint64_t owner,
                   const struct queue_outcome *outcomes, size_t count,
                   const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                   uint64_t *notice_ids, bool *ended, struct err *e);
    bool (*defer)(struct queue *q, uint64_t id, uint64_t owner, int64_t next_ms, struct span reason,
                  struct err *e);
    bool (*next_due)(struct queue *q, int64_t *due_ms, struct err *e);
    bool (*list)(struct queue *q, const struct queue_filter *filter, struct queue_message **out,
                 size_t *count, uint64_t *next, struct err *e);
    bool (*show)(struct queue *q, uint64_t id, struct queue_message **out, struct err *e);
    bool (*hold)(struct queue *q, uint64_t id, struct err *e);
    bool (*release)(struct queue *q, uint64_t id, struct err *e);
    bool (*retry)(struct queue *q, uint64_t id, int64_t now_ms, struct err *e);
    bool (*remove)(struct queue *q, uint64_t id, struct err *e);
    bool (*counts)(struct queue *q, struct queue_counts *counts, struct err *e);
    bool (*check)(struct queue *q, struct buf *report, bool *sound, struct err *e);
    bool (*reader_open)(struct queue *q, struct queue_reader **reader, struct err *e);
    void (*close)(struct queue *q); /* frees q too */
};

struct queue {
    const struct queue_ops *ops;
    uint64_t reserve_bytes, max_bytes;
    int64_t last_ms; /* the latest time that a caller gave us, or that the store remembers */
    bool leases_expire;
    bool in_batch;
    bool cannot_record;
};

struct queue_reader_ops {
    bool (*chunk)(struct queue_reader *reader, uint64_t id, uint32_t index, struct buf *out,
                  struct err *e);
    void (*close)(struct queue_reader *reader);
};
struct queue_reader {
    const struct queue_reader_ops *ops;
};

enum { QUEUE_MESSAGE_ARENA_MAX = 1 << 30 }; /* recipients_max of the usual length fit */

struct queue_message *queue_message_new(struct err *e);
bool queue_message_copy_envelope(struct queue_message *m, const struct queue_envelope *envelope,
                                 struct err *e);
/* The header section of a message's first bytes, its empty line not included. */
struct span queue_header_section(struct span bytes);
/* ASCII letters without case; an empty part is in everything. */
bool queue_contains_nocase(struct span whole, struct span part);
/* How far one list may look: so many messages with so many recipients. */
static inline bool queue_list_goes_on(const struct queue_filter *f, size_t given, size_t looked_at,
                                      size_t recipients)
{
    return given < f->max && looked_at < QUEUE_LIST_MAX && recipients < QUEUE_LIST_RECIPIENTS_MAX;
}
uint64_t queue_body_bytes(const struct queue_submission *submission);
/* What storing it costs, in bytes, roughly and rather too much: rows and envelope included. */
uint64_t queue_submission_cost(const struct queue_submission *submission);

bool queue_refuse_full(struct err *e, uint64_t room, uint64_t reserve);
bool queue_refuse_absent(struct err *e, uint64_t id);
bool queue_refuse_claim(struct err *e, uint64_t id);
bool queue_refuse_memory(struct err *e);
bool queue_refuse_recording(struct err *e);

#endif
