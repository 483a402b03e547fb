/* The `file:` lists of the policy in force: looked at every second, read again when one has changed
 * and is at rest, and swapped as a whole. All of it happens on the file lane; a session meets the
 * new lists with its next MAIL, and waits for nothing. What is faulty, or would make us an open
 * relay, is refused, and the lists that hold stay. The file of the configuration is not read: what
 * stands there meanwhile is the administrator's to reload. */
#include "run_parts.h"

#include "base/log.h"
#include "platform/clock.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_EVERY_MS = 1000 };

static void look_again(struct run *r)
{
    worker_timer_at(r->lists.timer, worker_now_ms(r->main) + LOOK_EVERY_MS);
}

/* ---- on the lane ---- */

static bool still(const struct policy_list_file *a, const struct policy_list_file *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!policy_list_file_same(&a[i], &b[i]))
            return false;
    return true;
}

/* Whether something is new, at rest and not known to be bad; takes down how it looks. */
static bool should_read(struct run_lists *l)
{
    const struct policy *p = l->policy;
    bool changed = false, moving = false, bad = true;
    for (size_t i = 0; i < l->count; i++) {
        struct policy_list_file now = {.path = p->list_files[i].path};
        (void)policy_list_file_look(&now); /* one that is gone has changed, too */
        changed = changed || !policy_list_file_same(&now, &p->list_files[i]);
        moving = moving || !policy_list_file_same(&now, &l->seen[i]);
        bad = bad && policy_list_file_same(&now, &l->bad[i]);
        l->seen[i] = now;
    }
    return changed && !moving && !bad;
}

static void look(struct lane_job *job, void *context)
{
    struct run_lists *l = LIST_ENTRY(job, struct run_lists, job);
    (void)context;
    l->changed = should_read(l);
    if (!l->changed)
        return;
    uint64_t start = (uint64_t)clock_monotonic_ms();
    bool ok = policy_load_lists(l->policy, &l->fresh, &l->messages) == CONFIG_OK;
    l->took_ms = (uint64_t)clock_monotonic_ms() - start;
    if (ok && !still(l->fresh->list_files, l->seen, l->count)) {
        policy_unref(&l->fresh); /* written while we read: the next look finds it again */
        l->changed = false;
    } else if (!ok) {
        memcpy(l->bad, l->seen, l->count * sizeof *l->bad);
    }
}

/* ---- on main ---- */

static void refuse(struct run_lists *l, const char *why)
{
    memcpy(l->bad, l->seen, l->count * sizeof *l->bad);
    log_event(LOG_ERROR, "access.lists.refused", LOG_S("why", why));
}

static void refuse_faulty(struct run_lists *l)
{
    struct buf line;
    size_t first = 0;
    config_messages_sort(&l->messages);
    run_log_messages(&l->messages);
    while (first < l->messages.count && l->messages.items[first].severity != CONFIG_ERROR)
        first++;
    buf_init(&line, 16 * 1024);
    if (first < l->messages.count)
        config_message_format(&l->messages.items[first], &line);
    refuse(l, buf_cstr(&line));
    buf_deinit(&line);
}

static void take(struct run *r)
{
    struct run_lists *l = &r->lists;
    struct err e = {0};
    if (!run_policy_may_start(l->fresh, &e)) {
        refuse(l, e.text);
        return;
    }
    if (!run_hand_out(r, l->fresh, r->tls)) {
        refuse(l, "no memory");
        return;
    }
    size_t entries = acl_list_count(acl_connection_list(l->fresh->acl)) +
                     acl_list_count(acl_relay_list(l->fresh->acl));
    policy_unref(&r->policy);
    r->policy = policy_ref(l->fresh);
    log_event(LOG_INFO, "access.lists.reloaded", LOG_U("entries", entries),
              LOG_U("ms", l->took_ms));
}

static void looked(struct lane_job *job)
{
    struct run_lists *l = LIST_ENTRY(job, struct run_lists, job);
    struct run *r = LIST_ENTRY(l, struct run, lists);
    bool current = r->policy == l->policy; /* no reload has come between */
    if (l->changed && current && !r->stopping) {
        if (l->fresh != NULL)
            take(r);
        else
            refuse_faulty(l);
    }
    policy_unref(&l->fresh);
    policy_unref(&l->policy);
    config_messages_deinit(&l->messages);
    if (l->timer != NULL && !r->stopping)
        look_again(r);
}

/* Room for what this policy names; what was refused of another is forgotten. */
static bool prepare(struct run_lists *l, const struct policy *p)
{
    if (l->count == p->list_file_count && l->seen != NULL)
        return true;
    struct policy_list_file *seen = calloc(p->list_file_count, sizeof *seen);
    struct policy_list_file *bad = calloc(p->list_file_count, sizeof *bad);
    if (seen == NULL || bad == NULL) {
        free(seen);
        free(bad);
        return false;
    }
    free(l->seen);
    free(l->bad);
    l->seen = seen;
    l->bad = bad;
    l->count = p->list_file_count;
    return true;
}

static void tick(void *arg)
{
    struct run *r = arg;
    struct run_lists *l = &r->lists;
    if (r->stopping)
        return;
    if (r->policy->list_file_count > 0 && prepare(l, r->policy)) {
        l->policy = policy_ref(r->policy);
        config_messages_init(&l->messages);
        l->job = (struct lane_job){.run = look, .done = looked, .home = r->main};
        if (lane_submit(r->env.file_lane, &l->job) == LANE_OK)
            return;
        policy_unref(&l->policy);
    }
    look_again(r);
}

bool run_lists_start(struct run *r, struct err *e)
{
    r->lists.timer = worker_timer_new(r->main, tick, r);
    if (r->lists.timer == NULL)
        return err_set(e, ERR_TEMP, "lists: no memory");
    look_again(r);
    return true;
}

void run_lists_stop(struct run *r)
{
    worker_timer_free(&r->lists.timer);
}

void run_lists_free(struct run *r)
{
    free(r->lists.seen);
    free(r->lists.bad);
    r->lists.seen = r->lists.bad = NULL;
}
