#include "session/intake.h"

#include "base/log.h"
#include "message/from.h"
#include "platform/clock.h"
#include "session/courier.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENVELOPE_MAX = 4 * 1024 * 1024, /* recipients at their limits still fit */
    HEAD_MAX = 64 * 1024,           /* Received, Date, Message-ID, From */
    CHUNK_SIZE = 128 * 1024,
    CHUNKS_AHEAD = 2, /* chunks of one message that may wait for the store */
};

/* From: is taken out of what streams by, and written anew on top. */
struct from_rewrite {
    struct span address;
    struct header_capture capture;
    struct buf given; /* the values, unfolded */
    struct header_filter filter;
};

/* What the store knows of a large body; touched on the store lane only, where jobs of one message
 * run in their order. The last job frees it. */
struct spool {
    uint64_t receiving;
};

struct intake {
    struct session_desk *desk;
    struct slot_id owner;
    const struct intake_events *events;
    struct policy *policy;
    struct arena arena;
    char token[SESSION_ID_MAX];
    struct queue_envelope envelope;
    struct queue_addressee *recipients;
    size_t recipient_count, recipient_cap;
    struct header_scan scan;
    struct from_rewrite *from; /* NULL: it stays */
    bool complete;
    struct buf added, head, tail;
    struct spool *spool;
    unsigned chunks_in_flight;
    uint64_t size;
    size_t charged;
    bool failed, submitted, dropped, paused;
    enum intake_result failure;
    struct err why;
    /* the last job: accept or abort */
    struct lane_job job;
    struct queue_submission submission;
    struct span body[2];
    uint64_t id;
    bool ok;
};

struct chunk_job {
    struct lane_job job;
    struct intake *intake;
    struct spool *spool;
    struct buf bytes;
    bool ok;
    struct err e;
};

static struct session_env *env_of(struct intake *in)
{
    return in->desk->env;
}

/* Everything that the sessions hold in memory counts against one bound. */
static bool charge(struct intake *in, size_t n)
{
    size_t max = (size_t)in->policy->config->limits.memory;
    size_t before = atomic_fetch_add(&env_of(in)->body_memory, n);
    if (before + n > max) {
        atomic_fetch_sub(&env_of(in)->body_memory, n);
        return false;
    }
    in->charged += n;
    return true;
}

static void discharge(struct intake *in, size_t n)
{
    in->charged -= n;
    atomic_fetch_sub(&env_of(in)->body_memory, n);
}

struct intake *intake_new(struct session_desk *desk, struct policy *policy, struct slot_id owner,
                          const struct intake_events *events)
{
    struct intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        return NULL;
    in->desk = desk;
    in->owner = owner;
    in->events = events;
    in->policy = policy_ref(policy);
    arena_init(&in->arena, ENVELOPE_MAX);
    buf_init(&in->added, HEAD_MAX);
    buf_init(&in->head, (size_t)policy->config->limits.message_memory + 1);
    buf_init(&in->tail, CHUNK_SIZE + 1);
    session_id_make(desk->env, in->token);
    return in;
}

static void intake_free(struct intake *in)
{
    discharge(in, in->charged);
    policy_unref(&in->policy);
    buf_deinit(&in->added);
    buf_deinit(&in->head);
    buf_deinit(&in->tail);
    arena_deinit(&in->arena);
    if (in->from != NULL)
        buf_deinit(&in->from->given);
    free(in->from);
    free(in->recipients);
    free(in->spool);
    free(in);
}

const char *intake_token(const struct intake *in)
{
    return in->token;
}

struct policy *intake_policy(const struct intake *in)
{
    return in->policy;
}

bool intake_sender(struct intake *in, const struct queue_envelope *envelope)
{
    struct arena *a = &in->arena;
    in->envelope = *envelope;
    in->envelope.sender = arena_span(a, envelope->sender);
    in->envelope.envid = arena_span(a, envelope->envid);
    in->envelope.helo = arena_span(a, envelope->helo);
    in->envelope.identity = arena_span(a, envelope->identity);
    return in->envelope.sender.n == envelope->sender.n &&
           in->envelope.envid.n == envelope->envid.n && in->envelope.helo.n == envelope->helo.n &&
           in->envelope.identity.n == envelope->identity.n;
}

bool intake_resend(struct intake *in, struct span sender)
{
    in->envelope.sender = arena_span(&in->arena, sender);
    return in->envelope.sender.n == sender.n;
}

bool intake_rewrite_from(struct intake *in, struct span address)
{
    static const char *const names[] = {"From", NULL};
    struct from_rewrite *from = calloc(1, sizeof *from);
    if (from == NULL)
        return false;
    in->from = from;
    from->address = arena_span(&in->arena, address);
    buf_init(&from->given, FROM_VALUE_MAX);
    from->capture = (struct header_capture){"From", &from->given, 0};
    header_filter_init(&from->filter, names);
    return from->address.n == address.n;
}

bool intake_recipient(struct intake *in, const struct queue_addressee *recipient)
{
    if (in->recipient_count == in->recipient_cap) {
        size_t cap = in->recipient_cap == 0 ? 4 : in->recipient_cap * 2;
        struct queue_addressee *more = realloc(in->recipients, cap * sizeof *more);
        if (more == NULL)
            return false;
        in->recipients = more;
        in->recipient_cap = cap;
    }
    struct queue_addressee copy = *recipient;
    copy.address = arena_span(&in->arena, recipient->address);
    copy.orcpt = arena_span(&in->arena, recipient->orcpt);
    if (copy.address.n != recipient->address.n || copy.orcpt.n != recipient->orcpt.n)
        return false;
    in->recipients[in->recipient_count++] = copy;
    return true;
}

size_t intake_recipients(const struct intake *in)
{
    return in->recipient_count;
}

bool intake_begin(struct intake *in, const struct received_info *received, bool complete)
{
    struct received_info info = *received;
    info.id = span_str(in->token);
    if (in->recipient_count == 1) /* several would show each other's blind copies */
        info.recipient = in->recipients[0].address;
    in->complete = complete;
    header_scan_init(&in->scan, in->policy->hostname, in->from != NULL ? &in->from->capture : NULL,
                     in->from != NULL);
    return received_write(&in->added, &info);
}

static void fail(struct intake *in, enum intake_result result, const char *why)
{
    if (in->failed)
        return;
    in->failed = true;
    in->failure = result;
    (void)err_set(&in->why, ERR_TEMP, "%s", why);
    discharge(in, in->charged);
    buf_release(&in->head);
    buf_release(&in->tail);
}

static void chunk_run(struct lane_job *job, void *context)
{
    struct chunk_job *c = LIST_ENTRY(job, struct chunk_job, job);
    struct queue *q = context;
    c->ok = c->spool->receiving != 0 || queue_receive_open(q, &c->spool->receiving, &c->e);
    c->ok = c->ok && queue_receive_chunk(q, c->spool->receiving, buf_span(&c->bytes), &c->e);
}

static void finish_drop(struct intake *in);
static void submit_now(struct intake *in);

static void chunk_done(struct lane_job *job)
{
    struct chunk_job *c = LIST_ENTRY(job, struct chunk_job, job);
    struct intake *in = c->intake;
    in->chunks_in_flight--;
    if (!in->failed) /* a failed intake has been discharged already */
        discharge(in, buf_span(&c->bytes).n);
    if (job->failed || !c->ok) {
        const struct err *why = job->failed ? &job->err : &c->e;
        fail(in, queue_err_is_full(why) ? INTAKE_FULL : INTAKE_FAILED, why->text);
    }
    buf_deinit(&c->bytes);
    free(c);
    if (in->dropped) {
        finish_drop(in);
        return;
    }
    if (in->submitted) {
        if (in->chunks_in_flight == 0)
            submit_now(in);
        return;
    }
    if (in->paused && in->chunks_in_flight < CHUNKS_AHEAD) {
        in->paused = false;
        void *owner = slots_get(&in->desk->sessions, in->owner);
        if (owner != NULL && in->events->on_room != NULL)
            in->events->on_room(owner);
    }
}

/* Sends what has gathered in the tail to the store. */
static bool send_chunk(struct intake *in)
{
    struct chunk_job *c = calloc(1, sizeof *c);
    if (in->spool == NULL)
        in->spool = calloc(1, sizeof *in->spool);
    if (c == NULL || in->spool == NULL) {
        free(c);
        fail(in, INTAKE_FULL, "no memory");
        return false;
    }
    c->intake = in;
    c->spool = in->spool;
    c->bytes = in->tail;
    buf_init(&in->tail, CHUNK_SIZE + 1);
    c->job = (struct lane_job){.run = chunk_run, .done = chunk_done, .home = in->desk->worker};
    if (lane_submit(env_of(in)->store_lane, &c->job) != LANE_OK) {
        discharge(in, buf_span(&c->bytes).n);
        buf_deinit(&c->bytes);
        free(c);
        fail(in, INTAKE_FAILED, "the store has too much to do");
        return false;
    }
    in->chunks_in_flight++;
    return true;
}

/* What stays in memory; where more follows in chunks, the store takes no larger head. */
static size_t head_room(const struct intake *in)
{
    size_t room = (size_t)in->policy->config->limits.message_memory;
    return room < QUEUE_CHUNK_MAX - HEAD_MAX ? room : QUEUE_CHUNK_MAX - HEAD_MAX;
}

/* To the head, and past its room to the store. */
static bool keep(struct intake *in, struct span bytes)
{
    if (!charge(in, bytes.n)) {
        fail(in, INTAKE_FULL, "the bodies of all sessions hold limits.memory");
        return false;
    }
    size_t room = head_room(in);
    size_t fits = in->spool != NULL || in->head.n >= room ? 0 : room - in->head.n;
    bool ok = buf_add(&in->head, span_sub(bytes, 0, fits));
    bytes = span_from(bytes, fits);
    while (ok && bytes.n > 0) {
        struct span part = span_sub(bytes, 0, CHUNK_SIZE - in->tail.n);
        bytes = span_from(bytes, part.n);
        ok = buf_add(&in->tail, part);
        if (ok && in->tail.n == CHUNK_SIZE && !send_chunk(in))
            return false;
    }
    if (!ok)
        fail(in, INTAKE_FULL, "no memory");
    return ok;
}

bool intake_body(struct intake *in, struct span bytes)
{
    if (in->failed)
        return false;
    if (!in->scan.ended) {
        (void)header_scan_feed(&in->scan, bytes);
        if (header_hops_exceeded(in->scan.received,
                                 (unsigned)in->policy->config->delivery.hop_limit)) {
            fail(in, INTAKE_HOPS, "too many Received lines: a mail loop");
            return false;
        }
    }
    in->size += bytes.n;
    if (in->from == NULL || header_filter_in_body(&in->from->filter))
        return keep(in, bytes);
    struct buf rest;
    buf_init(&rest, bytes.n + HEADER_NAME_MAX + 1);
    bool ok = header_filter_feed(&in->from->filter, bytes, &rest);
    if (!ok)
        fail(in, INTAKE_FULL, "no memory");
    ok = ok && keep(in, buf_span(&rest));
    buf_deinit(&rest);
    return ok;
}

enum intake_result intake_failure(const struct intake *in)
{
    return in->failure;
}

bool intake_wants_pause(struct intake *in)
{
    in->paused = !in->failed && in->chunks_in_flight >= CHUNKS_AHEAD;
    return in->paused;
}

uint64_t intake_size(const struct intake *in)
{
    return in->size;
}

static void accept_run(struct lane_job *job, void *context)
{
    struct intake *in = LIST_ENTRY(job, struct intake, job);
    if (in->spool != NULL)
        in->submission.receiving = in->spool->receiving;
    in->ok =
        queue_accept(context, &in->submission, session_queue_now(env_of(in)), &in->id, &in->why);
}

static void abort_run(struct lane_job *job, void *context)
{
    struct intake *in = LIST_ENTRY(job, struct intake, job);
    if (in->spool->receiving != 0)
        (void)queue_receive_abort(context, in->spool->receiving, NULL);
}

static void abort_done(struct lane_job *job)
{
    intake_free(LIST_ENTRY(job, struct intake, job));
}

/* Frees at once what the store does not know, else after the store has forgotten it. */
static void finish_drop(struct intake *in)
{
    if (in->chunks_in_flight > 0)
        return;
    if (in->spool == NULL) {
        intake_free(in);
        return;
    }
    in->job = (struct lane_job){.run = abort_run, .done = abort_done, .home = in->desk->worker};
    if (lane_submit_always(env_of(in)->store_lane, &in->job) != LANE_OK)
        intake_free(in); /* the lane is closed: the next start sweeps it */
}

void intake_drop(struct intake **pointer)
{
    struct intake *in = *pointer;
    *pointer = NULL;
    if (in == NULL)
        return;
    in->dropped = true;
    fail(in, INTAKE_FAILED, "dropped");
    finish_drop(in);
}

static void tell(struct intake *in, enum intake_result result)
{
    void *owner = slots_get(&in->desk->sessions, in->owner);
    if (owner != NULL)
        in->events->on_stored(owner, result, in->id, &in->why);
}

static void accept_done(struct lane_job *job)
{
    struct intake *in = LIST_ENTRY(job, struct intake, job);
    if (job->failed) {
        in->ok = false;
        in->why = job->err;
    }
    if (!in->ok) {
        log_event(LOG_ERROR, "queue.accept.failed", LOG_S("mid", in->token),
                  LOG_S("why", in->why.text));
        tell(in, queue_err_is_full(&in->why) ? INTAKE_FULL : INTAKE_FAILED);
        in->dropped = true;
        finish_drop(in);
        return;
    }
    struct session_counters *n = &env_of(in)->counters;
    atomic_fetch_add_explicit(&n->messages_accepted, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&n->bytes_accepted, in->size, memory_order_relaxed);
    tell(in, INTAKE_STORED);
    courier_wake(env_of(in)->courier);
    intake_free(in);
}

/* A submission that failed before it could begin is told from the loop, like every other. */
static void refuse_run(struct lane_job *job, void *context)
{
    (void)context;
    LIST_ENTRY(job, struct intake, job)->ok = false;
}

static void refuse_done(struct lane_job *job)
{
    struct intake *in = LIST_ENTRY(job, struct intake, job);
    tell(in, in->failure);
    in->dropped = true;
    finish_drop(in);
}

static void refuse_posted(struct worker_item *item, struct worker *w)
{
    (void)w;
    refuse_done(LIST_ENTRY(item, struct lane_job, item));
}

/* Only now, when every chunk is known to be on the disk: a chunk whose commit failed must not be
 * missing in the midst of an accepted message. */
static void submit_now(struct intake *in)
{
    in->body[0] = buf_span(&in->added);
    in->body[1] = buf_span(&in->head);
    in->submission = (struct queue_submission){.envelope = in->envelope,
                                               .recipients = in->recipients,
                                               .recipient_count = in->recipient_count,
                                               .body = in->body,
                                               .body_count = 2};
    in->job = (struct lane_job){.run = in->failed ? refuse_run : accept_run,
                                .done = in->failed ? refuse_done : accept_done,
                                .home = in->desk->worker};
    if (lane_submit(env_of(in)->store_lane, &in->job) == LANE_OK)
        return;
    fail(in, INTAKE_FAILED, "the store has too much to do");
    in->job.item.run = refuse_posted;
    worker_post(in->desk->worker, &in->job.item);
}

/* The new From:, and what the filter held back of a message that ends in its header. */
static bool write_from(struct intake *in)
{
    struct from_rewrite *from = in->from;
    struct buf rest;
    if (from == NULL)
        return true;
    log_event(LOG_INFO, "smtp.from.fixed", LOG_S("mid", in->token),
              LOG_SPAN("given", buf_span(&from->given)), LOG_SPAN("from", from->address));
    buf_init(&rest, HEADER_NAME_MAX + 1);
    bool ok = from_line(&in->added, buf_span(&from->given), from->address) &&
              header_filter_end(&from->filter, &rest) && keep(in, buf_span(&rest));
    buf_deinit(&rest);
    return ok;
}

void intake_submit(struct intake **pointer)
{
    struct intake *in = *pointer;
    *pointer = NULL;
    in->submitted = true;
    if (!in->failed) {
        header_scan_end(&in->scan);
        struct span host = span_str(in->policy->hostname);
        int64_t wall = clock_wall_ms();
        bool ok = true;
        if (in->complete && !in->scan.has_message_id)
            ok = message_id_line(&in->added, wall, span_str(in->token), host);
        if (in->complete && !in->scan.has_date)
            ok = message_date_line(&in->added, wall) && ok;
        ok = write_from(in) && ok;
        if (!ok)
            fail(in, INTAKE_FULL, "no memory");
        else if (in->tail.n > 0)
            (void)send_chunk(in);
    }
    if (in->chunks_in_flight == 0)
        submit_now(in);
}
