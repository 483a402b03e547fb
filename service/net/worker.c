#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/worker.h"

#include "platform/process.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct worker {
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t before_poll; /* sends what connections have collected */
    uv_thread_t thread;
    _Atomic(struct worker_item *) mailbox; /* newest first */
    atomic_size_t load;
    struct list open;  /* connections */
    struct list dirty; /* of them, those with something to send */
    void (*abort)(struct worker_conns *c);
    void (*flush)(struct worker_conns *c);
    struct worker_item stop;
    atomic_flag stop_posted;
    bool stopping;
    bool started;
    char name[16];
    unsigned index;
    void *user;
    uint8_t read_buffer[WORKER_READ_BUFFER];
    uint8_t clear_buffer[WORKER_CLEAR_BUFFER];
};

struct worker_timer {
    uv_timer_t timer;
    struct worker *worker;
    void (*fire)(void *arg);
    void *arg;
};

/* Takes all there is and runs it oldest first. What is posted meanwhile wakes the loop again. */
static void drain(struct worker *w)
{
    struct worker_item *newest = atomic_exchange_explicit(&w->mailbox, NULL, memory_order_acquire);
    struct worker_item *oldest = NULL;
    while (newest != NULL) {
        struct worker_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct worker_item *item = oldest;
        oldest = item->next;
        item->next = NULL;
        item->run(item, w);
    }
}

static void on_wake(uv_async_t *wake)
{
    drain(wake->data);
}

static void on_before_poll(uv_prepare_t *prepare)
{
    struct worker *w = prepare->data;
    struct list_node *node;
    while ((node = list_pop_front(&w->dirty)) != NULL)
        w->flush(LIST_ENTRY(node, struct worker_conns, dirty));
}

static void end_loop_when_empty(struct worker *w)
{
    if (w->stopping && list_empty(&w->open))
        uv_stop(&w->loop);
}

static void on_stop(struct worker_item *item, struct worker *w)
{
    (void)item;
    w->stopping = true;
    /* An abort only starts to close, the node stays listed until worker_conn_closed. */
    for (struct list_node *n = list_first(&w->open); n != NULL; n = list_next(&w->open, n))
        w->abort(LIST_ENTRY(n, struct worker_conns, open));
    end_loop_when_empty(w);
}

struct worker *worker_new(const char *name, unsigned index, struct err *e)
{
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL) {
        (void)err_set(e, ERR_TEMP, "worker: no memory");
        return NULL;
    }
    int code = uv_loop_init(&w->loop);
    if (code != 0) {
        (void)err_set(e, ERR_TEMP, "worker: cannot make a loop: %s", uv_strerror(code));
        free(w);
        return NULL;
    }
    list_init(&w->open);
    list_init(&w->dirty);
    w->stop.run = on_stop;
    atomic_flag_clear(&w->stop_posted);
    w->index = index;
    (void)snprintf(w->name, sizeof w->name, "%s", name);
    w->wake.data = w->before_poll.data = w;
    (void)uv_prepare_init(&w->loop, &w->before_poll);
    (void)uv_prepare_start(&w->before_poll, on_before_poll);
    code = uv_async_init(&w->loop, &w->wake, on_wake);
    if (code != 0) {
        (void)err_set(e, ERR_TEMP, "worker: cannot make a mailbox: %s", uv_strerror(code));
        uv_close((uv_handle_t *)&w->before_poll, NULL);
        (void)uv_run(&w->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&w->loop);
        free(w);
        return NULL;
    }
    return w;
}

static void thread_main(void *arg)
{
    struct worker *w = arg;
    process_name_thread(w->name);
    worker_run(w);
}

bool worker_start(struct worker *w, struct err *e)
{
    uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = 1024 * 1024};
    int code = uv_thread_create_ex(&w->thread, &options, thread_main, w);
    if (code != 0)
        return err_set(e, ERR_TEMP, "worker: cannot start a thread: %s", uv_strerror(code));
    w->started = true;
    return true;
}

void worker_run(struct worker *w)
{
    (void)uv_run(&w->loop, UV_RUN_DEFAULT); /* the mailbox keeps it alive until uv_stop */
}

void worker_stop(struct worker *w)
{
    if (!atomic_flag_test_and_set(&w->stop_posted))
        worker_post(w, &w->stop);
}

void worker_join(struct worker *w)
{
    if (w->started)
        (void)uv_thread_join(&w->thread);
    w->started = false;
    while (atomic_load_explicit(&w->mailbox, memory_order_acquire) != NULL)
        drain(w);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void worker_free(struct worker **w)
{
    if (*w == NULL)
        return;
    /* Connections that arrivals in the mailbox opened after the loop had ended. */
    for (struct list_node *n = list_first(&(*w)->open); n != NULL; n = list_next(&(*w)->open, n))
        (*w)->abort(LIST_ENTRY(n, struct worker_conns, open));
    (void)uv_run(&(*w)->loop, UV_RUN_NOWAIT);
    /* More than one turn, since what closes may stop the loop or open another handle. */
    for (int turn = 0; uv_loop_close(&(*w)->loop) == UV_EBUSY && turn < 100; turn++) {
        uv_walk(&(*w)->loop, close_handle, NULL);
        (void)uv_run(&(*w)->loop, UV_RUN_DEFAULT);
    }
    free(*w);
    *w = NULL;
}

void worker_post(struct worker *w, struct worker_item *item)
{
    struct worker_item *head = atomic_load_explicit(&w->mailbox, memory_order_relaxed);
    do {
        item->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&w->mailbox, &head, item, memory_order_release,
                                                    memory_order_relaxed));
    if (head == NULL) /* else whoever posted the first one has woken it and it has not looked yet */
        (void)uv_async_send(&w->wake);
}

size_t worker_load(const struct worker *w)
{
    return atomic_load_explicit(&w->load, memory_order_relaxed);
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

struct uv_loop_s *worker_loop(struct worker *w)
{
    return &w->loop;
}

uint64_t worker_now_ms(const struct worker *w)
{
    return uv_now(&w->loop);
}

void worker_set_user(struct worker *w, void *user)
{
    w->user = user;
}

void *worker_user(const struct worker *w)
{
    return w->user;
}

struct worker_timer *worker_timer_new(struct worker *w, void (*fire)(void *arg), void *arg)
{
    struct worker_timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->worker = w;
    t->fire = fire;
    t->arg = arg;
    t->timer.data = t;
    (void)uv_timer_init(&w->loop, &t->timer);
    return t;
}

static void on_timer(uv_timer_t *timer)
{
    struct worker_timer *t = timer->data;
    t->fire(t->arg);
}

void worker_timer_at(struct worker_timer *t, uint64_t at_ms)
{
    if (at_ms == 0) {
        (void)uv_timer_stop(&t->timer);
        return;
    }
    uint64_t now = uv_now(&t->worker->loop);
    (void)uv_timer_start(&t->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void worker_timer_free(struct worker_timer **t)
{
    if (*t != NULL)
        uv_close((uv_handle_t *)&(*t)->timer, on_timer_closed);
    *t = NULL;
}

void worker_conn_opened(struct worker *w, struct worker_conns *c,
                        void (*abort_it)(struct worker_conns *c),
                        void (*flush)(struct worker_conns *c))
{
    w->abort = abort_it;
    w->flush = flush;
    list_push_back(&w->open, &c->open);
    atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
    if (w->stopping)
        abort_it(c);
}

void worker_conn_dirty(struct worker *w, struct worker_conns *c)
{
    if (!list_linked(&c->dirty))
        list_push_back(&w->dirty, &c->dirty);
}

void worker_conn_closed(struct worker *w, struct worker_conns *c)
{
    list_remove(&c->dirty);
    list_remove(&c->open);
    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    end_loop_when_empty(w);
}

uint8_t *worker_read_buffer(struct worker *w)
{
    return w->read_buffer;
}

uint8_t *worker_clear_buffer(struct worker *w)
{
    return w->clear_buffer;
}
