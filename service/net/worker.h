/* worker.h - a thread with one libuv loop; a session lives and dies on one worker.
 * Owner: run.c makes, starts, stops and frees them. Threads: worker_post, worker_stop and
 * worker_load from any thread; everything else only on the worker's own thread (or before start).
 * Order of an end: stop what posts to it (acceptor, lanes), then worker_stop, worker_join,
 * worker_free. An item that was posted is always run: at the latest by worker_join, on the thread
 * of the caller. */
#ifndef POSTERN_NET_WORKER_H
#define POSTERN_NET_WORKER_H

#include "base/err.h"
#include "base/list.h"
#include "base/span.h"

struct uv_loop_s;
struct worker;

/* The node of the mailbox; a member of what is posted (LIST_ENTRY finds the whole). It belongs to
 * the mailbox from worker_post until run is called; run may free or post it again. */
struct worker_item {
    struct worker_item *next;
    void (*run)(struct worker_item *item, struct worker *w);
};

struct worker *worker_new(const char *name, unsigned index, struct err *e);
bool worker_start(struct worker *w, struct err *e); /* on a thread of its own */
void worker_run(struct worker *w);                  /* on this thread, until worker_stop */
void worker_stop(struct worker *w); /* closes what connections are left, then ends the loop */
void worker_join(struct worker *w); /* after worker_start; also runs what is left in the mailbox */
void worker_free(struct worker **w);

/* Runs item->run on the worker's thread, soon, in the order of posting (of one thread). Never
 * fails, never blocks, allocates nothing. */
void worker_post(struct worker *w, struct worker_item *item);

/* What is open here, for a least-loaded choice; counts connections. */
size_t worker_load(const struct worker *w);

unsigned worker_index(const struct worker *w);
struct uv_loop_s *worker_loop(struct worker *w);
uint64_t worker_now_ms(const struct worker *w); /* the loop's time: clock_monotonic_ms, cached */
void worker_set_user(struct worker *w, void *user); /* session's data of this worker */
void *worker_user(const struct worker *w);

/* A moment to come back at. One shot; at_ms is monotonic, one in the past comes at the next turn,
 * 0 disarms. Free from anywhere on the thread, its own call-back included. */
struct worker_timer;
struct worker_timer *worker_timer_new(struct worker *w, void (*fire)(void *arg), void *arg);
void worker_timer_at(struct worker_timer *t, uint64_t at_ms);
void worker_timer_free(struct worker_timer **t);

/* The rest is for the net room. */
struct worker_conns { /* a conn's membership */
    struct list_node open, dirty;
};
void worker_conn_opened(struct worker *w, struct worker_conns *c,
                        void (*abort)(struct worker_conns *c),
                        void (*flush)(struct worker_conns *c));
void worker_conn_dirty(struct worker *w, struct worker_conns *c);
void worker_conn_closed(struct worker *w, struct worker_conns *c);
/* One of each for all connections: used up within a read call-back. A TLS record has at most 16
 * KiB. */
enum { WORKER_READ_BUFFER = 64 * 1024, WORKER_CLEAR_BUFFER = 16 * 1024 };
uint8_t *worker_read_buffer(struct worker *w);
uint8_t *worker_clear_buffer(struct worker *w);

#endif
