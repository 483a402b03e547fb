/* The log: which sink, in which form, and when its file gives way to a new one. All on main's
 * thread; the sink itself is used by all. */
#include "run_parts.h"

#include "base/log.h"
#include "base/log_rotation.h"
#include "base/log_w3c.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/log_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_MS = 1000,     /* how far a file may grow over its size: what one second writes */
    OLD_LISTED = 10000, /* names of a folder that are looked at */
    OLD_MEMORY = 4 << 20,
};

/* A file that is there already goes on where it was: its period is that of its last line. */
static int64_t begun(const char *path)
{
    struct files_info info;
    bool goes_on = files_stat(path, &info, NULL) == FILES_OK && info.size > 0;
    return goes_on ? info.modified_wall_ms : clock_wall_ms();
}

/* What a file of rows begins with; empty for one of events. */
static struct span head_of(bool rows, struct buf *room)
{
    buf_init(room, 4096);
    if (rows)
        log_w3c_head(POSTERN_VERSION, clock_wall_ms(), room);
    return buf_span(room);
}

static bool open_again(struct err *e)
{
    struct buf head;
    bool ok = log_sink_reopen(head_of(log_wants_rows(), &head), e);
    buf_deinit(&head);
    return ok;
}

bool run_log_setup(struct run *r, const struct policy *policy, struct err *e)
{
    static const enum log_level levels[] = {[CONFIG_LOG_DEBUG] = LOG_DEBUG,
                                            [CONFIG_LOG_INFO] = LOG_INFO,
                                            [CONFIG_LOG_WARN] = LOG_WARN,
                                            [CONFIG_LOG_ERROR] = LOG_ERROR};
    const struct config_logging *l = &policy->config->logging;
    bool rows = l->format == CONFIG_LOG_W3C;
    struct log_sink sink;
    if (policy->log_file[0] == '\0') {
        log_sink_stderr(&sink);
    } else {
        int64_t since = begun(policy->log_file);
        struct buf head;
        bool ok = log_sink_file(policy->log_file, head_of(rows, &head), &sink, e);
        buf_deinit(&head);
        if (!ok)
            return false;
        if (strcmp(r->log.file, policy->log_file) != 0)
            r->log.begun_wall_ms = since;
    }
    (void)snprintf(r->log.file, sizeof r->log.file, "%s", policy->log_file);
    /* Rows have the file for themselves, events go where they would without one. */
    log_rows_setup(rows ? &sink : NULL);
    if (rows)
        log_sink_stderr(&sink);
    log_setup(levels[l->level], l->format == CONFIG_LOG_JSON ? LOG_JSON : LOG_TEXT, &sink);
    return true;
}

void run_log_reopen(struct run *r)
{
    struct err e = {0};
    int64_t since = begun(r->log.file);
    if (!open_again(&e)) {
        log_event(LOG_ERROR, "log.reopen.failed", LOG_S("why", e.text));
        return;
    }
    r->log.begun_wall_ms = since;
}

/* ---- rotation ---- */

static const char *base_name(const char *path)
{
    const char *name = path;
    for (const char *at = path; *at != '\0'; at++)
        if (*at == '/' || *at == '\\')
            name = at + 1;
    return name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void remove_old(const char *path, uint64_t keep)
{
    char folder[PATH_TEXT_MAX], old[PATH_TEXT_MAX];
    struct arena arena;
    const char **names = NULL;
    size_t n = 0, ours = 0;
    bool more;
    arena_init(&arena, OLD_MEMORY);
    if (paths_folder(path, folder, sizeof folder) &&
        files_list(folder, OLD_LISTED, &arena, &names, &n, &more, NULL)) {
        for (size_t i = 0; i < n; i++)
            if (log_rotation_is_old(base_name(path), names[i]))
                names[ours++] = names[i];
        qsort(names, ours, sizeof *names, by_name);
        for (size_t i = 0; i + keep < ours; i++)
            if (paths_join(folder, names[i], old, sizeof old))
                (void)files_remove(old, NULL);
    }
    arena_deinit(&arena);
}

static bool move_away(const char *path, int64_t now, char *old, size_t size, struct err *e)
{
    struct files_info there;
    for (unsigned n = 0; n < 1000; n++)
        if (log_rotation_name(path, now, n, old, size) &&
            files_stat(old, &there, NULL) == FILES_ABSENT)
            return files_rename(path, old, false, e) == FILES_OK;
    return err_set(e, ERR_PERM, "%s: no name for the old file", path);
}

static void rotate(struct run *r, const struct log_rotation *rotation, int64_t now)
{
    char old[PATH_TEXT_MAX];
    struct err e = {0};
    if ((!r->log.moved && !move_away(r->log.file, now, old, sizeof old, &e)) || !open_again(&e)) {
        /* Lines go on into the old file; said once, tried again and again. */
        if (!r->log.complained)
            log_event(LOG_ERROR, "log.rotate.failed", LOG_S("why", e.text));
        struct files_info info;
        r->log.moved = files_stat(r->log.file, &info, NULL) == FILES_ABSENT;
        r->log.complained = true;
        return;
    }
    r->log.begun_wall_ms = now;
    r->log.moved = r->log.complained = false;
    log_event(LOG_DEBUG, "log.rotated", LOG_S("file", r->log.file));
    remove_old(r->log.file, rotation->keep);
}

static void look(void *arg)
{
    struct run *r = arg;
    const struct config_logging *l = &r->policy->config->logging;
    const struct log_rotation rotation = {
        .size = l->rotate_size, .age_ms = l->rotate_age_ms, .keep = l->rotate_keep};
    struct files_info info;
    int64_t now = clock_wall_ms();
    if (r->log.file[0] != '\0' &&
        (r->log.moved || (files_stat(r->log.file, &info, NULL) == FILES_OK &&
                          log_rotation_due(&rotation, info.size, r->log.begun_wall_ms, now))))
        rotate(r, &rotation, now);
    worker_timer_at(r->log.timer, worker_now_ms(r->main) + LOOK_MS);
}

bool run_log_start(struct run *r, struct err *e)
{
    r->log.timer = worker_timer_new(r->main, look, r);
    if (r->log.timer == NULL)
        return err_set(e, ERR_TEMP, "log: no memory");
    worker_timer_at(r->log.timer, worker_now_ms(r->main) + 1);
    return true;
}
