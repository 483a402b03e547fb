#include "support/queue_contract.h"

#include "support/test.h"

#include "support/lossy_vfs.h"

const enum contract_kind contract_kinds[CONTRACT_KINDS] = {CONTRACT_MEMORY, CONTRACT_SQLITE};

void contract_open(struct contract *f)
{
    struct err e = {0};
    bool ok = f->kind == CONTRACT_MEMORY ? queue_memory_new(&f->options, &f->q, &e)
                                         : queue_sqlite_open(&f->options, &f->q, &e);
    if (!ok)
        fail_msg("open: %s", e.text);
}

struct contract *contract_queue_new(enum contract_kind kind)
{
    struct contract *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->kind = kind;
    f->options.max_bytes = 64 * 1024 * 1024;
    if (kind == CONTRACT_SQLITE) {
        lossy_vfs_register();
        lossy_vfs_reset();
        kit_folder(f->folder, sizeof f->folder);
        snprintf(f->path, sizeof f->path, "%s/queue.db", f->folder);
        f->options.path = f->path;
        f->options.vfs = LOSSY_VFS;
    }
    contract_open(f);
    return f;
}

void contract_queue_free(struct contract *f)
{
    queue_close(&f->q);
    if (f->kind == CONTRACT_SQLITE)
        kit_folder_remove(f->folder);
    free(f);
}

int contract_set_up(void **state)
{
    *state = contract_queue_new(*(const enum contract_kind *)*state);
    return 0;
}

int contract_tear_down(void **state)
{
    contract_queue_free(*state);
    return 0;
}

void contract_options(struct contract *f, bool leases_expire, uint64_t max, uint64_t reserve)
{
    queue_close(&f->q);
    f->options.leases_expire = leases_expire;
    f->options.max_bytes = max;
    f->options.reserve_bytes = reserve;
    contract_open(f);
}

void contract_next_commit_fails(struct contract *f)
{
    if (f->kind == CONTRACT_MEMORY)
        queue_memory_fail_commit(f->q);
    else
        lossy_vfs_fail_in(LOSSY_FULL, 0, true);
}

struct queue_counts contract_counts(struct queue *q)
{
    struct queue_counts c;
    struct err e = {0};
    assert_true(queue_counts(q, &c, &e));
    return c;
}

int64_t contract_next_due(struct queue *q)
{
    int64_t due = 0;
    struct err e = {0};
    assert_true(queue_next_due(q, &due, &e));
    return due;
}

struct queue_message *contract_show(struct queue *q, uint64_t id)
{
    struct queue_message *m = NULL;
    struct err e = {0};
    if (!queue_show(q, id, &m, &e))
        fail_msg("show: %s", e.text);
    return m;
}

enum contract_state contract_state(struct queue *q, uint64_t id)
{
    struct queue_message *m;
    struct err e = {0};
    if (!queue_show(q, id, &m, &e))
        return contract_counts(q).receiving > 0 ? STATE_RECEIVING : STATE_NONE;
    enum contract_state s = m->state == QUEUE_HELD                        ? STATE_HELD
                            : m->state == QUEUE_CLAIMED && m->hold_wanted ? STATE_CLAIMED_HOLD
                            : m->state == QUEUE_CLAIMED                   ? STATE_CLAIMED
                                                                          : STATE_QUEUED;
    queue_message_free(&m);
    return s;
}
