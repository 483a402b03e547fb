/* The body of the message under way: from the claimed message where it holds one, else chunk by
 * chunk from the queue, read on the courier's reading lane. */
#include "session/outbound_parts.h"

#include <stdlib.h>

struct read_job {
    struct lane_job job;
    struct outbound *outbound; /* NULL: it is gone */
    struct buf chunk;
    uint64_t id;
    uint32_t index;
    bool ok;
    struct err e;
};

static void read_run(struct lane_job *job, void *context)
{
    struct read_job *j = LIST_ENTRY(job, struct read_job, job);
    struct courier *c = context;
    j->ok = (c->reader != NULL || queue_reader_open(c->desk->env->queue, &c->reader, &j->e)) &&
            queue_reader_chunk(c->reader, j->id, j->index, &j->chunk, &j->e);
}

static void read_done(struct lane_job *job)
{
    struct read_job *j = LIST_ENTRY(job, struct read_job, job);
    struct outbound *o = j->outbound;
    if (o != NULL && o->conn == NULL) { /* the connection broke meanwhile */
        o->reading = false;
        outbound_free(o);
    } else if (o != NULL) {
        o->reading = false;
        if (o->delivery == NULL) {
            /* it is settled already: the peer refused it in the midst of the body */
        } else if (j->ok) {
            buf_deinit(&o->part);
            o->part = j->chunk;
            buf_init(&j->chunk, 0);
            o->part_used = 0;
            o->chunk++;
            outbound_body(o);
        } else {
            smtp_client_abort(&o->engine, j->e.text);
        }
        outbound_pump(o);
    }
    buf_deinit(&j->chunk);
    free(j);
}

static void read_next(struct outbound *o)
{
    struct read_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        buf_init(&j->chunk, QUEUE_CHUNK_MAX);
        j->outbound = o;
        j->id = o->delivery->parcel->message->id;
        j->index = o->chunk;
        j->job =
            (struct lane_job){.run = read_run, .done = read_done, .home = o->courier->desk->worker};
        if (lane_submit(o->courier->reading_lane, &j->job) == LANE_OK) {
            o->reading = true;
            return;
        }
        free(j);
    }
    smtp_client_abort(&o->engine, "the message cannot be read now");
}

void outbound_body(struct outbound *o)
{
    int64_t now = outbound_now(o);
    const struct queue_message *m = o->delivery->parcel->message;
    if (!o->wants_body)
        return;
    if (m->has_body) {
        struct span rest = span_from(m->body, (size_t)o->sent);
        o->sent += smtp_client_body(&o->engine, rest, true, now);
        o->wants_body = o->sent < m->body.n;
        return;
    }
    struct span rest = span_from(buf_span(&o->part), o->part_used);
    bool last = o->chunk == m->chunk_count;
    if (rest.n > 0 || last) {
        size_t n = smtp_client_body(&o->engine, rest, last, now);
        o->part_used += n;
        o->sent += n;
        if (n < rest.n || last)
            return; /* WANT_BODY comes again when there is room */
    }
    if (!o->reading)
        read_next(o);
}

void outbound_body_reset(struct outbound *o)
{
    o->sent = 0;
    o->chunk = 0;
    o->part_used = 0;
    buf_release(&o->part);
    buf_init(&o->part, QUEUE_CHUNK_MAX);
    o->wants_body = false;
}
