/* sqlite_queue.h - the SQLite queue's inside, shared by its files: queue_sqlite.c (opening,
 * batches, taking mail), sqlite_deliver.c (claims and results), sqlite_handle.c (list, show, hold),
 * sqlite_check.c.
 *
 * Tables. message: a row each, `due` its earliest waiting recipient, NULL while held. recipient and
 * chunk: keyed by message id * 2^20 + index, so that they need no index besides their rowid.
 * receiving: bodies under way. meta: the clock, and up to where ids are reserved.
 * Claims are not in the file at all (claims.h).
 *
 * A transaction that met a damaged page cannot be committed (SQLite makes sure of that); so a batch
 * that has written nothing is ended by a rollback, and looking never fails for that reason.
 *
 * A write that fails inside a batch breaks the batch: SQLite may have rolled back already, and what
 * followed would then be committed alone. So every op looks at `broken` first (sqlite_ready), and
 * the commit of a broken batch rolls back. */
#ifndef POSTERN_QUEUE_SQLITE_QUEUE_H
#define POSTERN_QUEUE_SQLITE_QUEUE_H

#include "queue/claims.h"
#include "queue/queue_ops.h"
#include "store/store.h"

enum sql {
    SQL_META_SET,
    SQL_META_GET,
    SQL_MESSAGE_ADD,
    SQL_MESSAGE_REMOVE,
    SQL_MESSAGE_GET,
    SQL_MESSAGE_FROM,
    SQL_DUE_BY,
    SQL_DUE_FROM,
    SQL_HELD_SET,
    SQL_DUE_SET,
    SQL_RECIPIENT_ADD,
    SQL_RECIPIENT_REMOVE,
    SQL_RECIPIENT_GET,
    SQL_RECIPIENT_RESULT,
    SQL_RECIPIENT_DEFER,
    SQL_RECIPIENT_RETRY,
    SQL_RECIPIENT_FIRST,
    SQL_CHUNK_ADD,
    SQL_CHUNK_REMOVE,
    SQL_CHUNK_GET,
    SQL_RECEIVING_ADD,
    SQL_RECEIVING_GET,
    SQL_RECEIVING_SET,
    SQL_RECEIVING_REMOVE,
    SQL_RECEIVING_ANY,
    SQL_COUNT,
};

/* Columns of SQL_MESSAGE_GET and _FROM. */
enum message_column {
    MESSAGE_ID,
    MESSAGE_ACCEPTED,
    MESSAGE_SIZE,
    MESSAGE_CHUNKS,
    MESSAGE_RECIPIENTS,
    MESSAGE_HELD,
    MESSAGE_FLAGS,
    MESSAGE_RET,
    MESSAGE_ORIGIN,
    MESSAGE_CLIENT,
    MESSAGE_SENDER,
    MESSAGE_ENVID,
    MESSAGE_HELO,
    MESSAGE_IDENTITY,
};

/* Columns of SQL_DUE_BY and _FROM. */
enum due_column { DUE_ID, DUE_AT };

enum { INDEX_BITS = 20, QUEUE_SCHEMA = 1 /* user_version of the file */ };

struct sqlite_queue {
    struct queue base; /* first: ops cast */
    struct store *store;
    struct sqlite3_stmt *sql[SQL_COUNT];
    struct claims claims;
    struct claims kept; /* messages that cannot be read: nobody gets them, whatever a batch does */
    struct queue_counts counts, counts_before;
    /* Every message due before this is claimed: where a claim begins to look. */
    int64_t scan_due;
    uint64_t next_id, reserved_id, reserved_before; /* ids below reserved_id are safe to give */
    uint64_t room;                                  /* left in this batch, once it is known */
    bool room_known;
    bool dirty;  /* this batch has written */
    bool broken; /* a write of this batch failed; cause says why */
    struct err cause;
    uint8_t *scratch; /* QUEUE_CHUNK_MAX bytes: a body's spans in one piece */
};

static inline struct sqlite_queue *sqlite_of(struct queue *q)
{
    return (struct sqlite_queue *)(void *)q;
}

static inline int64_t row_first(uint64_t id)
{
    return (int64_t)(id << INDEX_BITS);
}

static inline int64_t row_of(uint64_t id, uint32_t index)
{
    return (int64_t)(id << INDEX_BITS | index);
}

static inline int64_t row_last(uint64_t id)
{
    return (int64_t)(id << INDEX_BITS | ((1U << INDEX_BITS) - 1));
}

/* False, with the cause, when the batch is broken. */
bool sqlite_ready(struct sqlite_queue *q, struct err *e);
/* Runs a bound statement that writes; a failure breaks the batch. */
bool sqlite_write(struct sqlite_queue *q, enum sql which, struct err *e);
/* Breaks the batch: an op failed that has changed something already. Returns false. */
bool sqlite_break(struct sqlite_queue *q, const struct err *cause, struct err *e);
/* A read failed: the error's class becomes ERR_TEMP (the file's damage is no verdict on a message);
 * the text stays. Returns false. */
bool sqlite_read_failed(struct err *e);

/* Binds id's first and last row at parameters n and n + 1. */
void sqlite_bind_rows(struct sqlite3_stmt *statement, int n, uint64_t id);
/* Inserts a message with its recipients and chunk rows; checks nothing, reserves nothing. */
bool sqlite_insert(struct sqlite_queue *q, const struct queue_submission *submission,
                   int64_t now_ms, uint64_t *id, struct err *e);
/* Deletes a message's rows and takes it out of the counts, not out of the claims. */
bool sqlite_delete(struct sqlite_queue *q, uint64_t id, uint64_t size, bool held, struct err *e);

/* Reads the message whose row stands in `row`, and those of its recipients that are due at due_ms
 * (INT64_MAX: all of them, finished ones too). *waiting counts all without a final outcome. */
bool sqlite_load(struct sqlite_queue *q, struct sqlite3_stmt *row, int64_t due_ms,
                 struct queue_message **out, uint64_t *waiting, struct err *e);
/* Appends up to max bytes of the message's chunks to its arena as one span. */
bool sqlite_load_body(struct sqlite_queue *q, struct queue_message *m, size_t max, struct err *e);
/* Sets `due` of a message anew from its recipients and lets claims see it. */
bool sqlite_set_due(struct sqlite_queue *q, uint64_t id, bool held, struct err *e);

bool sqlite_claim(struct queue *queue, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                  struct queue_message **out, size_t *count, struct err *e);
bool sqlite_renew(struct queue *queue, uint64_t id, uint64_t owner, int64_t lease_ms,
                  int64_t now_ms, struct err *e);
bool sqlite_finish(struct queue *queue, uint64_t id, uint64_t owner,
                   const struct queue_outcome *outcomes, size_t count,
                   const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                   uint64_t *notice_ids, bool *ended, struct err *e);
bool sqlite_defer(struct queue *queue, uint64_t id, uint64_t owner, int64_t next_ms,
                  struct span reason, struct err *e);
bool sqlite_next_due(struct queue *queue, int64_t *due_ms, struct err *e);

bool sqlite_list(struct queue *queue, const struct queue_filter *filter, struct queue_message **out,
                 size_t *count, uint64_t *next, struct err *e);
bool sqlite_show(struct queue *queue, uint64_t id, struct queue_message **out, struct err *e);
bool sqlite_hold(struct queue *queue, uint64_t id, struct err *e);
bool sqlite_release(struct queue *queue, uint64_t id, struct err *e);
bool sqlite_retry(struct queue *queue, uint64_t id, int64_t now_ms, struct err *e);
bool sqlite_remove(struct queue *queue, uint64_t id, struct err *e);
bool sqlite_counts(struct queue *queue, struct queue_counts *counts, struct err *e);
bool sqlite_check(struct queue *queue, struct buf *report, bool *sound, struct err *e);

#endif
