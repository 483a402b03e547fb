/* memory_entry.h - a message as queue_memory keeps it. An entry can be cloned: its bytes are shared
 * blobs, what changes is copied; so a batch keeps the clone from before and puts it back when it
 * fails. For queue_memory.c only. Threads: one at a time (the queue's mutex). */
#ifndef POSTERN_QUEUE_MEMORY_ENTRY_H
#define POSTERN_QUEUE_MEMORY_ENTRY_H

#include "queue/queue.h"

struct blob; /* immutable bytes with a count of those who share them; NULL is the empty one */

bool blob_new(struct span bytes, struct blob **out); /* false: no memory */
struct blob *blob_share(struct blob *b);
void blob_drop(struct blob **b);
struct span blob_span(const struct blob *b);

struct entry_recipient {
    struct blob *address, *orcpt, *reply;
    unsigned notify;
    uint32_t attempts;
    int64_t next_ms;
    enum queue_recipient_state state;
    bool delay_noticed;
    bool open; /* in the claim, without an outcome */
};

struct entry {
    uint64_t id;
    bool receiving; /* else a message */
    bool held;
    uint64_t owner; /* of its claim; 0: not claimed */
    int64_t lease_until_ms;
    int64_t accepted_ms;
    struct queue_envelope envelope; /* its spans point into texts */
    struct blob *texts[4];          /* sender, envid, helo, identity */
    struct entry_recipient *recipients;
    size_t recipient_count;
    struct blob **chunks;
    uint32_t chunk_count;
    uint64_t size, cost;
};

struct entry *entry_new(uint64_t id);
struct entry *entry_clone(const struct entry *from); /* NULL: no memory */
void entry_free(struct entry **e);

bool entry_set_envelope(struct entry *e, const struct queue_submission *s, int64_t now_ms);
bool entry_add_chunk(struct entry *e, struct span bytes, bool in_front);
/* The spans of the submission as chunks, in front of those that are there. */
bool entry_add_body(struct entry *e, const struct queue_submission *s);

size_t entry_waiting(const struct entry *e); /* recipients without a final outcome */
size_t entry_open(const struct entry *e);
int64_t entry_due(const struct entry *e); /* earliest waiting one; INT64_MAX: none */
enum queue_state entry_state(const struct entry *e);

/* As queue_claim (those that are open) or as queue_list and queue_show (all) give it out. */
bool entry_export(const struct entry *e, bool open_only, struct queue_message **out,
                  struct err *err);
bool entry_export_body(const struct entry *e, struct queue_message *m, size_t max, struct err *err);

#endif
