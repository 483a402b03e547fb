/* The Drop directory: one file a message, with an x-sender: line and an x-receiver: line for each
 * recipient on top, as IIS writes them; and Badmail, where ends what nobody is to be told of.
 * Files are written in .tmp and renamed: under their names they are whole and on disk. */
#include "session/courier_parts.h"

#include "base/log.h"
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX = 1024 * 1024, FILE_MODE = 0640 };

struct drop_job {
    struct lane_job job;
    struct delivery *delivery;
    char folder[PATH_TEXT_MAX];
    const char *suffix; /* ".eml" */
    struct buf head;    /* lines in front of the message */
    char reason[600];   /* Badmail */
    void (*badmail_done)(struct delivery *d);
    bool ok;
    struct err e;
};

static bool add_body(struct durable_file *f, struct drop_job *j, struct err *e)
{
    const struct queue_message *m = j->delivery->parcel->message;
    if (m->has_body)
        return durable_file_add(f, m->body, e);
    struct queue_reader *reader = NULL;
    struct buf chunk;
    buf_init(&chunk, QUEUE_CHUNK_MAX);
    bool ok = queue_reader_open(j->delivery->parcel->courier->desk->env->queue, &reader, e);
    for (uint32_t i = 0; ok && i < m->chunk_count; i++) {
        buf_reset(&chunk);
        ok = queue_reader_chunk(reader, m->id, i, &chunk, e) &&
             durable_file_add(f, buf_span(&chunk), e);
    }
    queue_reader_close(&reader);
    buf_deinit(&chunk);
    return ok;
}

/* The name says which message and which of its recipients, so that a message dropped a second time
 * after a crash is the same file. */
static bool drop_path(const struct drop_job *j, const char *suffix, char *path)
{
    const struct delivery *d = j->delivery;
    char name[96];
    (void)snprintf(name, sizeof name, "%s-%" PRIX64 "-%" PRIu32 "%s", d->parcel->id,
                   (uint64_t)d->parcel->message->accepted_ms,
                   d->parcel->message->recipients[d->recipients[0]].index, suffix);
    return paths_join(j->folder, name, path, PATH_TEXT_MAX);
}

static void drop_run(struct lane_job *job, void *context)
{
    (void)context;
    struct drop_job *j = LIST_ENTRY(job, struct drop_job, job);
    char path[PATH_TEXT_MAX], unfinished[PATH_TEXT_MAX];
    struct durable_file f;
    struct files_info info;
    if (!drop_path(j, j->suffix, path) ||
        !paths_join(j->folder, ".tmp", unfinished, sizeof unfinished)) {
        (void)err_set(&j->e, ERR_PERM, "%s: the path is too long", j->folder);
        return;
    }
    uint64_t size = j->head.n + j->delivery->parcel->message->size;
    if (files_stat(path, &info, NULL) == FILES_OK && info.size == size) {
        j->ok = true; /* it was dropped before we crashed */
        return;
    }
    if (!durable_file_begin(&f, unfinished, FILE_MODE, &j->e))
        return;
    j->ok = durable_file_add(&f, buf_span(&j->head), &j->e) && add_body(&f, j, &j->e) &&
            durable_file_commit(&f, path, false, &j->e);
    durable_file_abort(&f);
    if (j->ok && j->reason[0] != '\0') {
        char reason_path[PATH_TEXT_MAX];
        if (drop_path(j, ".txt", reason_path))
            (void)durable_file_write(reason_path, span_str(j->reason), FILE_MODE, NULL);
    }
}

static void drop_done(struct lane_job *job)
{
    struct drop_job *j = LIST_ENTRY(job, struct drop_job, job);
    struct delivery *d = j->delivery;
    void (*badmail_done)(struct delivery *) = j->badmail_done;
    bool ok = j->ok;
    struct err e = j->e;
    buf_deinit(&j->head);
    free(j);
    if (badmail_done != NULL) {
        if (ok)
            log_event(LOG_WARN, "badmail.filed", LOG_S("id", d->parcel->id),
                      LOG_S("why", d->verdicts[0].text));
        else {
            /* Not filed, so not given up either. */
            log_event(LOG_ERROR, "badmail.failed", LOG_S("id", d->parcel->id),
                      LOG_S("why", e.text));
            delivery_give_back(d, session_queue_now(d->parcel->courier->desk->env) + 60000);
            return;
        }
        badmail_done(d);
        return;
    }
    if (ok)
        delivery_fail(d, QUEUE_DELIVERED, 0, "2.0.0", "written to the Drop directory");
    else
        delivery_fail(d, QUEUE_DEFERRED, 0, "4.3.0", e.text);
}

static struct drop_job *job_new(struct delivery *d, const char *folder)
{
    struct courier *c = d->parcel->courier;
    struct drop_job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return NULL;
    j->delivery = d;
    j->suffix = ".eml";
    j->job = (struct lane_job){.run = drop_run, .done = drop_done, .home = c->desk->worker};
    buf_init(&j->head, HEAD_MAX);
    char mail[PATH_TEXT_MAX];
    if (!paths_join(c->desk->env->data_directory, "mail", mail, sizeof mail) ||
        !paths_join(mail, folder, j->folder, sizeof j->folder)) {
        free(j);
        return NULL;
    }
    const struct queue_message *m = d->parcel->message;
    bool ok = buf_add_str(&j->head, "x-sender: ") && buf_add(&j->head, m->envelope.sender) &&
              buf_add_str(&j->head, "\r\n");
    for (size_t i = 0; ok && i < d->count; i++)
        ok = buf_add_str(&j->head, "x-receiver: ") &&
             buf_add(&j->head, m->recipients[d->recipients[i]].address) &&
             buf_add_str(&j->head, "\r\n");
    if (!ok) {
        buf_deinit(&j->head);
        free(j);
        return NULL;
    }
    return j;
}

static bool submit(struct drop_job *j, struct courier *c)
{
    if (j != NULL && lane_submit_always(c->desk->env->file_lane, &j->job) == LANE_OK)
        return true;
    if (j != NULL) {
        buf_deinit(&j->head);
        free(j);
    }
    return false;
}

void drop_delivery(struct delivery *d)
{
    (void)snprintf(d->remote, sizeof d->remote, "%s", "");
    if (!submit(job_new(d, "Drop"), d->parcel->courier))
        delivery_fail(d, QUEUE_DEFERRED, 0, "4.3.0", "no memory for the Drop directory");
}

void badmail_delivery(struct delivery *d, const char *reason, void (*done)(struct delivery *d))
{
    struct drop_job *j = job_new(d, "Badmail");
    if (j != NULL) {
        j->badmail_done = done;
        (void)snprintf(j->reason, sizeof j->reason, "%s\r\n", reason);
    }
    if (!submit(j, d->parcel->courier))
        delivery_give_back(d, session_queue_now(d->parcel->courier->desk->env) + 60000);
}
