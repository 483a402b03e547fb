/* queue_contract.h - what the tests of queue.h's contract share: a queue of either implementation,
 * memory (the specification) and SQLite on a VFS that can lose writes, and short ways to look at
 * it. Failures end the test (cmocka). */
#ifndef POSTERN_SUPPORT_QUEUE_CONTRACT_H
#define POSTERN_SUPPORT_QUEUE_CONTRACT_H

#include "queue/queue.h"
#include "support/queue_kit.h"

enum contract_kind { CONTRACT_MEMORY, CONTRACT_SQLITE, CONTRACT_KINDS };

struct contract {
    enum contract_kind kind;
    char folder[256], path[300];
    struct queue_options options;
    struct queue *q;
};

/* In a list of cmocka's tests: the case on one implementation, or on every one. */
#define ON(kind_, name)                                                                            \
    {                                                                                              \
#name, name, contract_set_up, contract_tear_down,                                          \
            (void *)(uintptr_t)&contract_kinds[CONTRACT_##kind_]                                   \
    }
#define ON_ALL(name) ON(MEMORY, name), ON(SQLITE, name)
extern const enum contract_kind contract_kinds[CONTRACT_KINDS];
int contract_set_up(void **state);
int contract_tear_down(void **state);

struct contract *contract_queue_new(enum contract_kind kind);
void contract_queue_free(struct contract *f);
void contract_open(struct contract *f);
/* The options hold for the queue that is opened anew: nothing may be in it yet. */
void contract_options(struct contract *f, bool leases_expire, uint64_t max, uint64_t reserve);
void contract_next_commit_fails(struct contract *f);

struct queue_counts contract_counts(struct queue *q);
int64_t contract_next_due(struct queue *q);
struct queue_message *contract_show(struct queue *q, uint64_t id);

/* The columns of the state table. */
enum contract_state {
    STATE_NONE,
    STATE_RECEIVING,
    STATE_QUEUED,
    STATE_CLAIMED,
    STATE_HELD,
    STATE_CLAIMED_HOLD,
    STATE_COUNT
};
/* What the queue says of it now, in the words of the table. */
enum contract_state contract_state(struct queue *q, uint64_t id);

#define assert_span(s, text) assert_true(span_is((s), (text)))

#endif
