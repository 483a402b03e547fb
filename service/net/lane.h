/* lane.h - a bounded pool of threads for what blocks: passwords, the store, files.
 * A job travels to the lane and comes back to the worker that sent it. It names its session by
 * (worker, slot, generation), see slots.h, since the session may be gone when it comes back.
 * Owner: run.c. Threads: lane_submit from any. Failure: a full lane refuses at once (answer 4xx); a
 * job that was taken is always answered: done is called exactly once. */
#ifndef POSTERN_NET_LANE_H
#define POSTERN_NET_LANE_H

#include "base/err.h"
#include "base/list.h"
#include "net/worker.h"

struct lane;

struct lane_job {
    /* On a lane thread; context is that of the lane's options. */
    void (*run)(struct lane_job *job, void *context);
    /* On the thread of home, or on the lane thread where home is NULL. The job is the callee's
     * again: it may free or submit it. */
    void (*done)(struct lane_job *job);
    struct worker *home;
    uint64_t share_key; /* whose job it is (a hash of a peer, say); 0: counts for nobody */
    /* Set when the batch that held the job could not begin (run was not called) or not be ended
     * (run was called, and nothing of it counts). */
    bool failed;
    struct err err;
    /* the lane's own */
    struct list_node node;
    struct worker_item item;
};

struct lane_options {
    const char *name;
    unsigned threads; /* 0 means 1 */
    size_t bound;     /* jobs that may wait; past it LANE_FULL */
    size_t share_max; /* jobs of one share_key that may wait or run; 0: no such limit */
    void *context;
    /* A batching lane takes all that wait, at most batch_max at a time (0: no batches), calls
     * begin once, runs each, calls end once, and only then answers them. */
    size_t batch_max;
    bool (*batch_begin)(void *context, struct err *e);
    bool (*batch_end)(void *context, struct err *e);
    /* On each lane thread, first and last; may be NULL. */
    void (*thread_start)(void *context);
    void (*thread_stop)(void *context);
};

enum lane_result { LANE_OK, LANE_FULL, LANE_SHARE_FULL, LANE_CLOSED };

struct lane *lane_open(const struct lane_options *options, struct err *e);

/* On LANE_OK the job belongs to the lane until done; else nothing has happened. */
enum lane_result lane_submit(struct lane *l, struct lane_job *job);

/* Past the bound: for results that must be recorded (a delivery that happened). Refused only by a
 * closed lane. */
enum lane_result lane_submit_always(struct lane *l, struct lane_job *job);

size_t lane_waiting(struct lane *l);
uint64_t lane_batches(struct lane *l); /* how many there were: jobs / batches = the group's size */

/* Refuses new jobs, finishes those that wait, joins the threads, frees. The workers must still run
 * (or be joined later): the last done calls are in their mailboxes. */
void lane_close(struct lane **l);

#endif
