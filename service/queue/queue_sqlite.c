/* queue_sqlite.c - the queue in one SQLite file: opening, batches, taking mail, readers. */
#include "queue/sqlite_queue.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    BUSY_TIMEOUT_MS = 1000, /* somebody looks with the sqlite3 shell */
    PAGE_BYTES = 16384, /* holds three bodies of 4 KiB; smaller ones and larger ones are slower */
    CHECKPOINT_PAGES = 1000,
    CACHE_KIB = 8192,
    ID_RESERVE = 1000, /* ids reserved by one write of meta */
};
enum meta { META_CLOCK = 1, META_IDS = 2 };

static const char *const migrations[] = {
    "CREATE TABLE message(id INTEGER PRIMARY KEY, accepted INTEGER NOT NULL, size INTEGER NOT NULL,"
    " chunks INTEGER NOT NULL, recipients INTEGER NOT NULL, held INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, ret INTEGER NOT NULL, origin INTEGER NOT NULL, client BLOB NOT NULL,"
    " sender TEXT NOT NULL, envid TEXT NOT NULL, helo TEXT NOT NULL, identity TEXT NOT NULL,"
    " due INTEGER);"
    "CREATE INDEX message_due ON message(due) WHERE due IS NOT NULL;"
    "CREATE TABLE recipient(id INTEGER PRIMARY KEY, state INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, next INTEGER NOT NULL, notify INTEGER NOT NULL,"
    " delay_noticed INTEGER NOT NULL, address TEXT NOT NULL, orcpt TEXT NOT NULL,"
    " last_reply TEXT NOT NULL);"
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE receiving(id INTEGER PRIMARY KEY, chunks INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL);"
    "CREATE TABLE meta(key INTEGER PRIMARY KEY, value INTEGER NOT NULL);",
};
_Static_assert(sizeof migrations / sizeof migrations[0] == QUEUE_SCHEMA, "one schema too many");

#define MESSAGE_COLUMNS                                                                            \
    "id, accepted, size, chunks, recipients, held, flags, ret, origin, client, sender, envid,"     \
    " helo, identity, due"

static const char *const sql_text[SQL_COUNT] = {
    [SQL_META_SET] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)",
    [SQL_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [SQL_MESSAGE_ADD] = "INSERT INTO message(" MESSAGE_COLUMNS
                        ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?2)",
    [SQL_MESSAGE_REMOVE] = "DELETE FROM message WHERE id = ?1",
    [SQL_MESSAGE_GET] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE id = ?1",
    [SQL_MESSAGE_FROM] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE id > ?1 ORDER BY id",
    /* From the index alone: a damaged row must not stand in the way of the others. */
    [SQL_DUE_BY] = "SELECT id, due FROM message INDEXED BY message_due"
                   " WHERE due >= ?1 AND due <= ?2 ORDER BY due, id",
    [SQL_DUE_FROM] = "SELECT id, due FROM message INDEXED BY message_due WHERE due >= ?1"
                     " ORDER BY due, id",
    [SQL_HELD_SET] = "UPDATE message SET held = ?2 WHERE id = ?1",
    [SQL_DUE_SET] = "UPDATE message SET due = ?2 WHERE id = ?1",
    [SQL_RECIPIENT_ADD] = "INSERT INTO recipient(id, state, attempts, next, notify, delay_noticed,"
                          " address, orcpt, last_reply) VALUES(?1, 0, 0, ?2, ?3, 0, ?4, ?5, '')",
    [SQL_RECIPIENT_REMOVE] = "DELETE FROM recipient WHERE id BETWEEN ?1 AND ?2",
    [SQL_RECIPIENT_GET] = "SELECT id, state, attempts, next, notify, delay_noticed, address, orcpt,"
                          " last_reply FROM recipient WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    [SQL_RECIPIENT_RESULT] = "UPDATE recipient SET state = ?2, attempts = attempts + ?3, next = ?4,"
                             " delay_noticed = max(delay_noticed, ?5),"
                             " last_reply = CASE ?6 WHEN '' THEN last_reply ELSE ?6 END"
                             " WHERE id = ?1",
    [SQL_RECIPIENT_DEFER] = "UPDATE recipient SET next = ?2,"
                            " last_reply = CASE ?3 WHEN '' THEN last_reply ELSE ?3 END"
                            " WHERE id = ?1",
    [SQL_RECIPIENT_RETRY] = "UPDATE recipient SET next = ?3"
                            " WHERE id BETWEEN ?1 AND ?2 AND state = 0 AND next > ?3",
    [SQL_RECIPIENT_FIRST] = "SELECT min(next) FROM recipient"
                            " WHERE id BETWEEN ?1 AND ?2 AND state = 0",
    [SQL_CHUNK_ADD] = "INSERT INTO chunk(id, bytes) VALUES(?1, ?2)",
    [SQL_CHUNK_REMOVE] = "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2",
    [SQL_CHUNK_GET] = "SELECT bytes FROM chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    [SQL_RECEIVING_ADD] = "INSERT INTO receiving(id, chunks, bytes) VALUES(?1, 0, 0)",
    [SQL_RECEIVING_GET] = "SELECT chunks, bytes FROM receiving WHERE id = ?1",
    [SQL_RECEIVING_SET] = "UPDATE receiving SET chunks = ?2, bytes = ?3 WHERE id = ?1",
    [SQL_RECEIVING_REMOVE] = "DELETE FROM receiving WHERE id = ?1",
    [SQL_RECEIVING_ANY] = "SELECT id FROM receiving LIMIT 1",
};

/* ---- batches ---- */

bool sqlite_ready(struct sqlite_queue *q, struct err *e)
{
    if (!q->broken)
        return true;
    if (e != NULL)
        *e = q->cause;
    return false;
}

bool sqlite_read_failed(struct err *e)
{
    if (e != NULL)
        e->class = ERR_TEMP;
    return false;
}

bool sqlite_break(struct sqlite_queue *q, const struct err *cause, struct err *e)
{
    q->broken = true;
    q->cause = *cause;
    q->cause.class = ERR_TEMP;
    if (e != NULL)
        *e = q->cause;
    return false;
}

bool sqlite_write(struct sqlite_queue *q, enum sql which, struct err *e)
{
    struct err cause = {0};
    q->dirty = true;
    return store_run(q->store, q->sql[which], &cause) || sqlite_break(q, &cause, e);
}

static bool meta_set(struct sqlite_queue *q, enum meta key, int64_t value, struct err *e)
{
    store_bind_i64(q->sql[SQL_META_SET], 1, key);
    store_bind_i64(q->sql[SQL_META_SET], 2, value);
    return sqlite_write(q, SQL_META_SET, e);
}

static bool begin(struct queue *queue, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    if (!store_begin(q->store, e)) {
        queue->cannot_record = true;
        return sqlite_read_failed(e);
    }
    q->dirty = q->broken = q->room_known = false;
    q->counts_before = q->counts;
    q->reserved_before = q->reserved_id;
    return true;
}

static void probe(struct queue *queue)
{
    struct sqlite_queue *q = sqlite_of(queue);
    if (!q->broken)
        meta_set(q, META_CLOCK, queue->last_ms, NULL);
}

static void undo(struct sqlite_queue *q)
{
    store_rollback(q->store);
    claims_rollback(&q->claims);
    q->counts = q->counts_before;
    q->reserved_id = q->reserved_before;
    q->scan_due = INT64_MIN;
}

static void rollback(struct queue *queue)
{
    undo(sqlite_of(queue));
}

static bool commit(struct queue *queue, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    struct err cause = {0};
    if (!q->dirty && !q->broken) {
        store_rollback(q->store);
        claims_commit(&q->claims);
        return true;
    }
    if (!q->broken)
        meta_set(q, META_CLOCK, queue->last_ms, NULL);
    if (!q->broken && store_commit(q->store, &cause)) {
        claims_commit(&q->claims);
        queue->cannot_record = false;
        return true;
    }
    if (!q->broken)
        sqlite_break(q, &cause, NULL);
    undo(q);
    if (!queue->cannot_record)
        log_event(LOG_ERROR, "queue.commit.failed", LOG_S("cause", q->cause.text));
    queue->cannot_record = true;
    store_checkpoint(q->store); /* the log starts anew, which may make the room that was missing */
    if (e != NULL)
        *e = q->cause;
    return false;
}

/* ---- taking mail ---- */

/* The log takes a copy of what goes into the database: hence twice. */
static bool have_room(struct sqlite_queue *q, uint64_t cost, struct err *e)
{
    if (!q->room_known && !store_room(q->store, &q->room, e))
        return sqlite_read_failed(e);
    q->room_known = true;
    if (q->room < q->base.reserve_bytes || q->room - q->base.reserve_bytes < 2 * cost)
        return queue_refuse_full(e, q->room, q->base.reserve_bytes);
    q->room -= 2 * cost;
    return true;
}

static bool take_id(struct sqlite_queue *q, uint64_t *id, struct err *e)
{
    if (q->next_id >= q->reserved_id) {
        if (!meta_set(q, META_IDS, (int64_t)(q->next_id + ID_RESERVE), e))
            return false;
        q->reserved_id = q->next_id + ID_RESERVE;
    }
    *id = q->next_id++;
    return true;
}

void sqlite_bind_rows(struct sqlite3_stmt *statement, int n, uint64_t id)
{
    store_bind_i64(statement, n, row_first(id));
    store_bind_i64(statement, n + 1, row_last(id));
}

static bool add_chunk(struct sqlite_queue *q, uint64_t id, uint32_t index, struct span bytes,
                      struct err *e)
{
    store_bind_i64(q->sql[SQL_CHUNK_ADD], 1, row_of(id, index));
    store_bind_blob(q->sql[SQL_CHUNK_ADD], 2, bytes);
    return sqlite_write(q, SQL_CHUNK_ADD, e);
}

/* The spans as chunk rows of at most QUEUE_CHUNK_MAX each, from index 0 on; at least one row. */
static bool add_body(struct sqlite_queue *q, uint64_t id, const struct queue_submission *s,
                     uint32_t *chunks, struct err *e)
{
    *chunks = 0;
    if (s->body_count == 1 && s->body[0].n <= QUEUE_CHUNK_MAX) {
        *chunks = 1;
        return add_chunk(q, id, 0, s->body[0], e);
    }
    size_t filled = 0;
    for (size_t i = 0; i < s->body_count; i++) {
        for (size_t from = 0; from < s->body[i].n;) {
            struct span part = span_sub(s->body[i], from, QUEUE_CHUNK_MAX - filled);
            memcpy(q->scratch + filled, part.p, part.n);
            filled += part.n;
            from += part.n;
            if (filled < QUEUE_CHUNK_MAX)
                continue;
            if (!add_chunk(q, id, (*chunks)++, span_of(q->scratch, filled), e))
                return false;
            filled = 0;
        }
    }
    if (filled == 0 && *chunks > 0)
        return true;
    return add_chunk(q, id, (*chunks)++, span_of(q->scratch, filled), e);
}

static bool add_recipients(struct sqlite_queue *q, uint64_t id, const struct queue_submission *s,
                           int64_t now_ms, struct err *e)
{
    struct sqlite3_stmt *add = q->sql[SQL_RECIPIENT_ADD];
    for (size_t i = 0; i < s->recipient_count; i++) {
        store_bind_i64(add, 1, row_of(id, (uint32_t)i));
        store_bind_i64(add, 2, now_ms);
        store_bind_i64(add, 3, s->recipients[i].notify);
        store_bind_text(add, 4, s->recipients[i].address);
        store_bind_text(add, 5, s->recipients[i].orcpt);
        if (!sqlite_write(q, SQL_RECIPIENT_ADD, e))
            return false;
    }
    return true;
}

static bool add_message(struct sqlite_queue *q, uint64_t id, const struct queue_submission *s,
                        uint64_t size, uint32_t chunks, int64_t now_ms, struct err *e)
{
    const struct queue_envelope *v = &s->envelope;
    struct sqlite3_stmt *add = q->sql[SQL_MESSAGE_ADD];
    store_bind_i64(add, 1, (int64_t)id);
    store_bind_i64(add, 2, now_ms);
    store_bind_i64(add, 3, (int64_t)size);
    store_bind_i64(add, 4, chunks);
    store_bind_i64(add, 5, (int64_t)s->recipient_count);
    store_bind_i64(add, 6, 0);
    store_bind_i64(add, 7, (v->eight_bit ? 1 : 0) | (v->smtputf8 ? 2 : 0) | (v->may_relay ? 4 : 0));
    store_bind_i64(add, 8, v->ret);
    store_bind_i64(add, 9, v->origin);
    store_bind_blob(add, 10, span_of(v->client.b, sizeof v->client.b));
    store_bind_text(add, 11, v->sender);
    store_bind_text(add, 12, v->envid);
    store_bind_text(add, 13, v->helo);
    store_bind_text(add, 14, v->identity);
    return sqlite_write(q, SQL_MESSAGE_ADD, e);
}

static bool insert_as(struct sqlite_queue *q, const struct queue_submission *s, uint64_t id,
                      uint32_t received_chunks, uint64_t received_bytes, int64_t now_ms,
                      struct err *e)
{
    uint32_t chunks;
    uint64_t size = queue_body_bytes(s) + received_bytes;
    if (!add_body(q, id, s, &chunks, e) || !add_recipients(q, id, s, now_ms, e) ||
        !add_message(q, id, s, size, chunks + received_chunks, now_ms, e))
        return false;
    q->counts.messages++;
    q->counts.bytes += size;
    if (now_ms < q->scan_due)
        q->scan_due = now_ms;
    return true;
}

bool sqlite_insert(struct sqlite_queue *q, const struct queue_submission *submission,
                   int64_t now_ms, uint64_t *id, struct err *e)
{
    return take_id(q, id, e) && insert_as(q, submission, *id, 0, 0, now_ms, e);
}

/* ERR_BUG when there is none: only a session that opened one asks. */
static bool receiving_get(struct sqlite_queue *q, uint64_t id, uint32_t *chunks, uint64_t *bytes,
                          struct err *e)
{
    struct sqlite3_stmt *get = q->sql[SQL_RECEIVING_GET];
    store_bind_i64(get, 1, (int64_t)id);
    enum store_step step = store_step(q->store, get, e);
    if (step == STORE_FAILED)
        return sqlite_read_failed(e);
    if (step == STORE_DONE)
        return err_set(e, ERR_BUG, "message %llu: no body is being received under this id",
                       (unsigned long long)id);
    *chunks = (uint32_t)store_column_i64(get, 0);
    *bytes = (uint64_t)store_column_i64(get, 1);
    store_reset(get);
    return true;
}

static bool receiving_remove(struct sqlite_queue *q, uint64_t id, struct err *e)
{
    store_bind_i64(q->sql[SQL_RECEIVING_REMOVE], 1, (int64_t)id);
    return sqlite_write(q, SQL_RECEIVING_REMOVE, e);
}

static bool accept(struct queue *queue, const struct queue_submission *s, int64_t now_ms,
                   uint64_t *id, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    uint32_t chunks = 0;
    uint64_t bytes = 0;
    if (!sqlite_ready(q, e) ||
        (s->receiving != 0 && !receiving_get(q, s->receiving, &chunks, &bytes, e)) ||
        !have_room(q, queue_submission_cost(s), e))
        return false;
    if (s->receiving == 0)
        return sqlite_insert(q, s, now_ms, id, e);
    if (!receiving_remove(q, s->receiving, e) ||
        !insert_as(q, s, s->receiving, chunks, bytes, now_ms, e))
        return false;
    q->counts.receiving--;
    *id = s->receiving;
    return true;
}

static bool receive_open(struct queue *queue, uint64_t *receiving, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    uint64_t id;
    if (!sqlite_ready(q, e) || !have_room(q, 1024, e) || !take_id(q, &id, e))
        return false;
    store_bind_i64(q->sql[SQL_RECEIVING_ADD], 1, (int64_t)id);
    if (!sqlite_write(q, SQL_RECEIVING_ADD, e))
        return false;
    q->counts.receiving++;
    *receiving = id;
    return true;
}

/* Chunk 0 is the head, which accept writes. */
static bool receive_chunk(struct queue *queue, uint64_t receiving, struct span bytes, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    uint32_t chunks;
    uint64_t before;
    if (!sqlite_ready(q, e) || !receiving_get(q, receiving, &chunks, &before, e) ||
        !have_room(q, bytes.n, e))
        return false;
    if (chunks + 2 >= 1U << INDEX_BITS)
        return err_set(e, ERR_PERM, "message %llu: too many chunks", (unsigned long long)receiving);
    if (!add_chunk(q, receiving, chunks + 1, bytes, e))
        return false;
    store_bind_i64(q->sql[SQL_RECEIVING_SET], 1, (int64_t)receiving);
    store_bind_i64(q->sql[SQL_RECEIVING_SET], 2, chunks + 1);
    store_bind_i64(q->sql[SQL_RECEIVING_SET], 3, (int64_t)(before + bytes.n));
    return sqlite_write(q, SQL_RECEIVING_SET, e);
}

static bool receiving_drop(struct sqlite_queue *q, uint64_t id, struct err *e)
{
    sqlite_bind_rows(q->sql[SQL_CHUNK_REMOVE], 1, id);
    return sqlite_write(q, SQL_CHUNK_REMOVE, e) && receiving_remove(q, id, e);
}

static bool receive_abort(struct queue *queue, uint64_t receiving, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    uint32_t chunks;
    uint64_t bytes;
    if (!sqlite_ready(q, e) || !receiving_get(q, receiving, &chunks, &bytes, e) ||
        !receiving_drop(q, receiving, e))
        return false;
    q->counts.receiving--;
    return true;
}

/* ---- readers ---- */

struct sqlite_reader {
    struct queue_reader base; /* first: ops cast */
    struct store *store;
    struct sqlite3_stmt *get;
};

static bool reader_chunk(struct queue_reader *reader, uint64_t id, uint32_t index, struct buf *out,
                         struct err *e)
{
    struct sqlite_reader *r = (struct sqlite_reader *)(void *)reader;
    if (index >= 1U << INDEX_BITS)
        return queue_refuse_absent(e, id);
    store_bind_i64(r->get, 1, row_of(id, index));
    store_bind_i64(r->get, 2, (int64_t)id);
    enum store_step step = store_step(r->store, r->get, e);
    if (step == STORE_FAILED)
        return sqlite_read_failed(e);
    if (step == STORE_DONE)
        return queue_refuse_absent(e, id);
    bool ok = buf_add(out, store_column_span(r->get, 0));
    store_reset(r->get); /* ends the read transaction: nothing keeps a checkpoint back */
    return ok || err_set(e, ERR_TEMP, "message %llu: chunk %u: no room", (unsigned long long)id,
                         (unsigned)index);
}

static void reader_close(struct queue_reader *reader)
{
    struct sqlite_reader *r = (struct sqlite_reader *)(void *)reader;
    store_close(&r->store);
    free(r);
}

static bool reader_open(struct queue *queue, struct queue_reader **reader, struct err *e)
{
    static const struct queue_reader_ops ops = {.chunk = reader_chunk, .close = reader_close};
    static const char text[] = "SELECT bytes FROM chunk WHERE id = ?1"
                               " AND EXISTS(SELECT 1 FROM message WHERE message.id = ?2)";
    struct sqlite_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return queue_refuse_memory(e);
    r->base.ops = &ops;
    if (!store_open_reader(sqlite_of(queue)->store, &r->store, e) ||
        !store_prepare(r->store, text, &r->get, e)) {
        reader_close(&r->base);
        return false;
    }
    *reader = &r->base;
    return true;
}

/* ---- opening ---- */

static void close_queue(struct queue *queue)
{
    struct sqlite_queue *q = sqlite_of(queue);
    claims_deinit(&q->claims);
    claims_deinit(&q->kept);
    store_close(&q->store);
    free(q->scratch);
    free(q);
}

static bool meta_get(struct sqlite_queue *q, enum meta key, int64_t *value, struct err *e)
{
    struct sqlite3_stmt *get = q->sql[SQL_META_GET];
    store_bind_i64(get, 1, key);
    enum store_step step = store_step(q->store, get, e);
    *value = step == STORE_ROW ? store_column_i64(get, 0) : 0;
    store_reset(get);
    return step != STORE_FAILED;
}

static bool recount(struct sqlite_queue *q, struct err *e)
{
    struct sqlite3_stmt *count;
    if (!store_prepare(q->store, "SELECT count(*), total(size), total(held), max(id) FROM message",
                       &count, e))
        return false;
    if (store_step(q->store, count, e) != STORE_ROW)
        return false;
    q->counts.messages = (uint64_t)store_column_i64(count, 0);
    q->counts.bytes = (uint64_t)store_column_i64(count, 1);
    q->counts.held = (uint64_t)store_column_i64(count, 2);
    uint64_t last = (uint64_t)store_column_i64(count, 3);
    store_reset(count);
    int64_t ids;
    if (!meta_get(q, META_CLOCK, &q->base.last_ms, e) || !meta_get(q, META_IDS, &ids, e))
        return false;
    q->next_id = (uint64_t)ids > last ? (uint64_t)ids : last + 1;
    return true;
}

/* What was being received when the last process ended will never be accepted. One transaction each,
 * since it may be large. */
static bool sweep(struct sqlite_queue *q, struct err *e)
{
    for (;;) {
        struct sqlite3_stmt *any = q->sql[SQL_RECEIVING_ANY];
        enum store_step step = store_step(q->store, any, e);
        if (step != STORE_ROW)
            return step == STORE_DONE;
        uint64_t id = (uint64_t)store_column_i64(any, 0);
        store_reset(any);
        if (!queue_batch_begin(&q->base, e))
            return false;
        (void)receiving_drop(q, id, NULL); /* a failure shows at the commit */
        if (!queue_batch_commit(&q->base, e))
            return false;
    }
}

bool queue_sqlite_open(const struct queue_options *options, struct queue **out, struct err *e)
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
        .claim = sqlite_claim,
        .renew = sqlite_renew,
        .finish = sqlite_finish,
        .defer = sqlite_defer,
        .next_due = sqlite_next_due,
        .list = sqlite_list,
        .show = sqlite_show,
        .hold = sqlite_hold,
        .release = sqlite_release,
        .retry = sqlite_retry,
        .remove = sqlite_remove,
        .counts = sqlite_counts,
        .check = sqlite_check,
        .reader_open = reader_open,
        .close = close_queue,
    };
    const struct store_options store = {
        .path = options->path,
        .vfs = options->vfs,
        .recovery = "stop the service and follow docs/queue.md, \"A damaged queue\"",
        .exclusive = true,
        .gather_log = true,
        .busy_timeout_ms = BUSY_TIMEOUT_MS,
        .page_bytes = PAGE_BYTES,
        .checkpoint_pages =
            options->checkpoint_pages != 0 ? options->checkpoint_pages : CHECKPOINT_PAGES,
        .cache_kib = CACHE_KIB,
        .max_bytes = options->max_bytes,
    };
    *out = NULL;
    struct sqlite_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return queue_refuse_memory(e);
    q->base = (struct queue){
        .ops = &ops,
        .reserve_bytes = options->reserve_bytes,
        .max_bytes = options->max_bytes,
        .leases_expire = options->leases_expire,
    };
    q->scan_due = INT64_MIN;
    claims_init(&q->claims);
    claims_init(&q->kept);
    q->scratch = malloc(QUEUE_CHUNK_MAX);
    bool ok =
        q->scratch != NULL
            ? store_open(&store, migrations, sizeof migrations / sizeof migrations[0], &q->store, e)
            : queue_refuse_memory(e);
    for (size_t i = 0; ok && i < SQL_COUNT; i++)
        ok = store_prepare(q->store, sql_text[i], &q->sql[i], e);
    if (!ok || !recount(q, e) || !sweep(q, e)) {
        close_queue(&q->base);
        return false;
    }
    *out = &q->base;
    return true;
}
