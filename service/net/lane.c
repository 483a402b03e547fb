#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/lane.h"

#include "platform/process.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { SHARE_BUCKETS = 256 }; /* chains stay short: keys number at most what waits and runs */

struct share {
    struct share *next;
    uint64_t key;
    size_t n;
};

struct lane {
    struct lane_options options;
    char name[16];
    uv_mutex_t lock;
    uv_cond_t work;
    struct list waiting;
    size_t waiting_n;
    uint64_t batches;
    bool closing;
    struct share *shares[SHARE_BUCKETS];
    uv_thread_t *threads;
    unsigned threads_n;
};

static size_t bucket_of(uint64_t key)
{
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> 56);
}

/* Both with the lock held. False: the key has its share already (or there is no memory to count).
 */
static bool share_take(struct lane *l, uint64_t key)
{
    if (l->options.share_max == 0 || key == 0)
        return true;
    struct share **at = &l->shares[bucket_of(key)];
    for (struct share *s = *at; s != NULL; s = s->next) {
        if (s->key != key)
            continue;
        if (s->n >= l->options.share_max)
            return false;
        s->n++;
        return true;
    }
    struct share *s = malloc(sizeof *s);
    if (s == NULL)
        return false;
    *s = (struct share){.next = *at, .key = key, .n = 1};
    *at = s;
    return true;
}

static void share_give_back(struct lane *l, uint64_t key)
{
    if (l->options.share_max == 0 || key == 0)
        return;
    for (struct share **at = &l->shares[bucket_of(key)]; *at != NULL; at = &(*at)->next) {
        struct share *s = *at;
        if (s->key != key)
            continue;
        if (--s->n == 0) {
            *at = s->next;
            free(s);
        }
        return;
    }
}

static void on_home(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct lane_job *job = LIST_ENTRY(item, struct lane_job, item);
    job->done(job);
}

static void answer(struct lane_job *job)
{
    if (job->home == NULL) {
        job->done(job);
        return;
    }
    job->item.run = on_home;
    worker_post(job->home, &job->item);
}

static void run_batch(struct lane *l, struct list *batch)
{
    const struct lane_options *o = &l->options;
    struct err e = {0};
    bool begun = o->batch_begin == NULL || o->batch_begin(o->context, &e);
    bool ended = begun;
    if (begun) {
        for (struct list_node *n = list_first(batch); n != NULL; n = list_next(batch, n)) {
            struct lane_job *job = LIST_ENTRY(n, struct lane_job, node);
            job->run(job, o->context);
        }
        ended = o->batch_end == NULL || o->batch_end(o->context, &e);
    }
    if (ended)
        return;
    for (struct list_node *n = list_first(batch); n != NULL; n = list_next(batch, n)) {
        struct lane_job *job = LIST_ENTRY(n, struct lane_job, node);
        job->failed = true;
        job->err = e;
    }
}

static void take(struct lane *l, struct list *batch)
{
    size_t most = l->options.batch_max == 0 ? 1 : l->options.batch_max;
    list_init(batch);
    for (; most > 0; most--) {
        struct list_node *node = list_pop_front(&l->waiting);
        if (node == NULL)
            break;
        l->waiting_n--;
        list_push_back(batch, node);
    }
}

static void thread_main(void *arg)
{
    struct lane *l = arg;
    const struct lane_options *o = &l->options;
    process_name_thread(l->name);
    if (o->thread_start != NULL)
        o->thread_start(o->context);
    uv_mutex_lock(&l->lock);
    for (;;) {
        while (list_empty(&l->waiting) && !l->closing)
            uv_cond_wait(&l->work, &l->lock);
        if (list_empty(&l->waiting))
            break;
        struct list batch;
        take(l, &batch);
        l->batches++;
        uv_mutex_unlock(&l->lock);

        if (o->batch_max > 0) {
            run_batch(l, &batch);
        } else {
            struct lane_job *only = LIST_ENTRY(list_first(&batch), struct lane_job, node);
            only->run(only, o->context);
        }

        uv_mutex_lock(&l->lock);
        for (struct list_node *n = list_first(&batch); n != NULL; n = list_next(&batch, n))
            share_give_back(l, LIST_ENTRY(n, struct lane_job, node)->share_key);
        uv_mutex_unlock(&l->lock);
        struct list_node *node;
        while ((node = list_pop_front(&batch)) != NULL)
            answer(LIST_ENTRY(node, struct lane_job, node));
        uv_mutex_lock(&l->lock);
    }
    uv_mutex_unlock(&l->lock);
    if (o->thread_stop != NULL)
        o->thread_stop(o->context);
}

struct lane *lane_open(const struct lane_options *options, struct err *e)
{
    struct lane *l = calloc(1, sizeof *l);
    unsigned threads = options->threads == 0 ? 1 : options->threads;
    if (l != NULL)
        l->threads = calloc(threads, sizeof *l->threads);
    if (l == NULL || l->threads == NULL || uv_mutex_init(&l->lock) != 0) {
        (void)err_set(e, ERR_TEMP, "lane %s: no memory", options->name);
        goto fail;
    }
    if (uv_cond_init(&l->work) != 0) {
        uv_mutex_destroy(&l->lock);
        (void)err_set(e, ERR_TEMP, "lane %s: no memory", options->name);
        goto fail;
    }
    l->options = *options;
    (void)snprintf(l->name, sizeof l->name, "%s", options->name);
    l->options.name = l->name;
    list_init(&l->waiting);
    while (l->threads_n < threads) {
        int code = uv_thread_create(&l->threads[l->threads_n], thread_main, l);
        if (code != 0) {
            (void)err_set(e, ERR_TEMP, "lane %s: cannot start a thread: %s", l->name,
                          uv_strerror(code));
            lane_close(&l);
            return NULL;
        }
        l->threads_n++;
    }
    return l;

fail:
    if (l != NULL)
        free(l->threads);
    free(l);
    return NULL;
}

static enum lane_result submit(struct lane *l, struct lane_job *job, bool always)
{
    enum lane_result result = LANE_OK;
    uv_mutex_lock(&l->lock);
    if (l->closing)
        result = LANE_CLOSED;
    else if (!always && l->waiting_n >= l->options.bound)
        result = LANE_FULL;
    else if (!share_take(l, job->share_key) && !always)
        result = LANE_SHARE_FULL;
    if (result == LANE_OK) {
        job->failed = false;
        job->err = (struct err){0};
        list_push_back(&l->waiting, &job->node);
        l->waiting_n++;
        uv_cond_signal(&l->work);
    }
    uv_mutex_unlock(&l->lock);
    return result;
}

enum lane_result lane_submit(struct lane *l, struct lane_job *job)
{
    return submit(l, job, false);
}

enum lane_result lane_submit_always(struct lane *l, struct lane_job *job)
{
    job->share_key = 0; /* what must be recorded counts for nobody */
    return submit(l, job, true);
}

size_t lane_waiting(struct lane *l)
{
    uv_mutex_lock(&l->lock);
    size_t n = l->waiting_n;
    uv_mutex_unlock(&l->lock);
    return n;
}

uint64_t lane_batches(struct lane *l)
{
    uv_mutex_lock(&l->lock);
    uint64_t n = l->batches;
    uv_mutex_unlock(&l->lock);
    return n;
}

void lane_close(struct lane **l)
{
    if (*l == NULL)
        return;
    struct lane *lane = *l;
    uv_mutex_lock(&lane->lock);
    lane->closing = true;
    uv_cond_broadcast(&lane->work);
    uv_mutex_unlock(&lane->lock);
    for (unsigned i = 0; i < lane->threads_n; i++)
        (void)uv_thread_join(&lane->threads[i]);
    assert(list_empty(&lane->waiting));
    for (size_t i = 0; i < SHARE_BUCKETS; i++)
        assert(lane->shares[i] == NULL); /* every share was given back */
    uv_cond_destroy(&lane->work);
    uv_mutex_destroy(&lane->lock);
    free(lane->threads);
    free(lane);
    *l = NULL;
}
