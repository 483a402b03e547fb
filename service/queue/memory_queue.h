/* memory_queue.h - the memory queue's inside, shared by queue_memory.c and memory_handle.c. */
#ifndef POSTERN_QUEUE_MEMORY_QUEUE_H
#define POSTERN_QUEUE_MEMORY_QUEUE_H

#include "queue/memory_entry.h"
#include "queue/queue_ops.h"

struct mutex;

/* What stood under this id before the batch; NULL: nothing. */
struct before {
    uint64_t id;
    struct entry *entry;
};

struct memory_queue {
    struct queue base;      /* first: ops cast */
    struct mutex *mutex;    /* held from begin to commit: readers see whole batches */
    struct entry **entries; /* by ascending id */
    size_t count, cap;
    struct before *undo;
    size_t undo_count, undo_cap;
    uint64_t next_id;
    bool commit_fails, probed;
};

static inline struct memory_queue *memory_of(struct queue *q)
{
    return (struct memory_queue *)(void *)q;
}

struct entry *memory_find(const struct memory_queue *q, uint64_t id); /* NULL: there is none */
void memory_drop(struct memory_queue *q, uint64_t id);
/* To be called before an entry is changed, made or removed: remembers what it was before the batch.
 * It is an op's last step that can fail. */
bool memory_touch(struct memory_queue *q, uint64_t id, struct err *e);

bool memory_list(struct queue *queue, const struct queue_filter *filter, struct queue_message **out,
                 size_t *count, uint64_t *next, struct err *e);
bool memory_show(struct queue *queue, uint64_t id, struct queue_message **out, struct err *e);
bool memory_hold(struct queue *queue, uint64_t id, struct err *e);
bool memory_release(struct queue *queue, uint64_t id, struct err *e);
bool memory_retry(struct queue *queue, uint64_t id, int64_t now_ms, struct err *e);
bool memory_remove(struct queue *queue, uint64_t id, struct err *e);
bool memory_counts(struct queue *queue, struct queue_counts *c, struct err *e);
bool memory_check(struct queue *queue, struct buf *report, bool *sound, struct err *e);

#endif
