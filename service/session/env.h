/* env.h - what all sessions of the process share, and what those of one worker share.
 * Owner: run.c makes one struct session_env and a struct session_desk for each worker. Threads: the
 * env's pointers are set before the workers start and stay; its counters are atomic. A desk is its
 * worker's alone: a reload posts the new policy to each desk (session_desk_adopt). */
#ifndef POSTERN_SESSION_ENV_H
#define POSTERN_SESSION_ENV_H

#include "auth/auth.h"
#include "net/acceptor.h"
#include "net/lane.h"
#include "net/resolver.h"
#include "net/slots.h"
#include "net/tls.h"
#include "net/worker.h"
#include "policy/policy.h"
#include "queue/queue.h"

#include <stdatomic.h>

struct courier;
struct rates;
struct refusals;

struct session_counters {
    atomic_uint_fast64_t sessions, messages_accepted, bytes_accepted, refused_connections,
        refused_recipients, auth_ok, auth_failed, delivered, deferred, failed, notices;
};

struct session_env {
    struct queue *queue;
    struct queue_clock clock;
    struct lane *store_lane; /* one thread: every queue call; group commit */
    /* What blocks in authentication: [0] computes, the others wait for somebody outside
     * (auth_exchange_lane). At least two. */
    struct lane *auth_lanes[AUTH_LANES_MAX];
    size_t auth_lane_count;
    struct lane *file_lane; /* Drop, Badmail, Pickup */
    struct auth *auth;      /* NULL: no accounts are configured */
    struct refusals *refusals;
    struct rates *rates;
    struct acceptor *acceptor;
    struct courier *courier;
    const char *data_directory;
    atomic_size_t body_memory; /* bytes of bodies that all sessions hold now */
    atomic_uint_fast64_t sequence;
    struct session_counters counters;
};

/* A worker's share. */
struct session_desk {
    struct session_env *env;
    struct worker *worker;
    struct resolver *resolver;
    struct slots sessions;   /* of struct inbound */
    struct policy *policy;   /* the one in force for what begins now */
    struct tls_context *tls; /* NULL: no certificate */
    bool draining;           /* no new sessions, no new transactions */
    bool observed;           /* protocol lines are logged (logging.protocol) */
};

enum { SESSION_ID_MAX = 16 };

/* A short name, unique across restarts: for sessions, messages in the making, refusals. */
void session_id_make(struct session_env *env, char out[SESSION_ID_MAX]);

/* The lane of auth_exchange_lane; where there are fewer, backends share. */
struct lane *session_auth_lane(const struct session_env *env, unsigned lane);

/* The queue's clock. */
int64_t session_queue_now(const struct session_env *env);

/* On the desk's thread: what begins from now on goes by these. Takes over one reference of each;
 * tls may be NULL. */
void session_desk_adopt(struct session_desk *d, struct policy *policy, struct tls_context *tls);

/* The store lane: batches of queue operations, committed together. */
struct lane *session_store_lane_open(struct queue *q, struct err *e);

/* How `postern queue` and the logs write a queue id ("Q1A2B"), and back. */
enum { QUEUE_ID_TEXT_MAX = 20 };
void session_queue_id_format(uint64_t id, char out[QUEUE_ID_TEXT_MAX]);
bool session_queue_id_parse(struct span text, uint64_t *id);

#endif
