/* sqlite_check.c - is what is stored whole? By the queue's owner, or beside it. */
#include "queue/sqlite_queue.h"

enum { BUSY_TIMEOUT_MS = 5000 };

/* What integrity_check cannot know: that no message is half there. Each gives one number, 0. */
static const struct {
    const char *sql, *finding;
} checks[] = {
    {"SELECT count(*) FROM recipient WHERE NOT EXISTS"
     "(SELECT 1 FROM message WHERE message.id = recipient.id >> 20)",
     "recipients without a message"},
    {"SELECT count(*) FROM chunk WHERE NOT EXISTS"
     "(SELECT 1 FROM message WHERE message.id = chunk.id >> 20) AND NOT EXISTS"
     "(SELECT 1 FROM receiving WHERE receiving.id = chunk.id >> 20)",
     "chunks without a message"},
    {"SELECT count(*) FROM message WHERE recipients <> (SELECT count(*) FROM recipient"
     " WHERE recipient.id BETWEEN message.id << 20 AND (message.id << 20) + 1048575)",
     "messages with missing recipients"},
    {"SELECT count(*) FROM message WHERE chunks <> (SELECT count(*) FROM chunk"
     " WHERE chunk.id BETWEEN message.id << 20 AND (message.id << 20) + 1048575)",
     "messages with missing chunks"},
    {"SELECT count(*) FROM message WHERE size <> (SELECT total(length(bytes)) FROM chunk"
     " WHERE chunk.id BETWEEN message.id << 20 AND (message.id << 20) + 1048575)",
     "messages whose size differs"},
    {"SELECT count(*) FROM message WHERE (due IS NULL) <> (held <> 0) OR NOT EXISTS"
     "(SELECT 1 FROM recipient WHERE state = 0"
     " AND recipient.id BETWEEN message.id << 20 AND (message.id << 20) + 1048575)",
     "messages that would never become due"},
};

static bool check_count(struct store *s, size_t which, int64_t *found, struct err *e)
{
    struct sqlite3_stmt *count;
    if (!store_prepare(s, checks[which].sql, &count, e))
        return false;
    bool ok = store_step(s, count, e) == STORE_ROW;
    *found = ok ? store_column_i64(count, 0) : 0;
    store_finalize(&count);
    return ok;
}

static bool check_all(struct store *s, struct buf *report, bool *sound, struct err *e)
{
    if (!store_check(s, report, sound, e))
        return false;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        struct err cause = {0};
        int64_t found;
        bool ok = check_count(s, i, &found, &cause);
        if (!ok && cause.class != ERR_PERM) {
            if (e != NULL)
                *e = cause;
            return false;
        }
        if (ok && found == 0)
            continue;
        *sound = false;
        if (ok)
            buf_addf(report, "\n%lld %s", (long long)found, checks[i].finding);
        else
            buf_addf(report, "\n%s: cannot tell", checks[i].finding);
    }
    return true;
}

bool sqlite_check(struct queue *queue, struct buf *report, bool *sound, struct err *e)
{
    struct sqlite_queue *q = sqlite_of(queue);
    return sqlite_ready(q, e) && check_all(q->store, report, sound, e);
}

/* One snapshot for all questions: the service goes on meanwhile. */
bool queue_sqlite_check(const char *path, struct buf *report, bool *sound, struct err *e)
{
    struct store *s = NULL;
    struct err cause = {0};
    *sound = false;
    const struct store_options options = {.path = path, .busy_timeout_ms = BUSY_TIMEOUT_MS};
    bool damaged = false;
    bool ok = store_open_beside(&options, QUEUE_SCHEMA, &s, &damaged, &cause) &&
              store_exec(s, "BEGIN", &cause) && check_all(s, report, sound, &cause);
    store_close(&s);
    if (ok)
        return true;
    if (damaged) /* too much so to be opened */
        return buf_add_str(report, cause.text) || queue_refuse_memory(e);
    if (e != NULL)
        *e = cause;
    return false;
}
