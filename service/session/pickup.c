#include "session/pickup.h"

#include "acl/acl.h"
#include "base/log.h"
#include "platform/clock.h"
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"
#include "route/route.h"
#include "session/intake.h"
#include "session/pickup_file.h"
#include "session/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCAN_MS = 500,
    REST_MS = 10000, /* after a temporary failure */
    NAMES_MAX = 1000,
    NAME_MAX_KEPT = 256,
    SEEN_MAX = 4096,
    PIECE_MAX = 512 * 1024,
};

/* A file at the last scan: taken when it looks the same at the next. */
struct seen {
    char name[NAME_MAX_KEPT];
    uint64_t size;
    int64_t modified_ms;
};

enum step { SCANNING, OPENING, READING, REMOVING, REFUSING };

struct pickup {
    struct session_desk *desk;
    struct worker_timer *timer;
    char folder[PATH_TEXT_MAX], badmail[PATH_TEXT_MAX];
    struct slot_id slot; /* names us as the owner of an intake */
    struct lane_job job;
    enum step step;
    bool busy, stopping;
    /* the scan's */
    struct seen *seen;
    size_t seen_count;
    char ready[NAME_MAX_KEPT]; /* a file that may be taken; "" = none */
    /* the file under way */
    char name[NAME_MAX_KEPT], path[PATH_TEXT_MAX];
    struct pickup_file file;
    bool file_open, storing;
    struct intake *intake;
    struct buf piece;
    char reason[600];
    bool ok;
    struct err e;
};

static void submit(struct pickup *p, enum step step);
static void job_done(struct lane_job *job);

/* ---- on the file lane ---- */

static struct seen *find_seen(struct seen *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

static bool still_the_same(const struct seen *old, const struct files_info *info)
{
    return old != NULL && old->size == info->size && old->modified_ms == info->modified_wall_ms;
}

static void scan(struct pickup *p)
{
    struct arena arena;
    const char **names;
    size_t n = 0, count = 0;
    bool more;
    struct seen *next = calloc(NAMES_MAX, sizeof *next);
    arena_init(&arena, 1024 * 1024);
    p->ready[0] = '\0';
    p->ok = next != NULL && files_list(p->folder, NAMES_MAX, &arena, &names, &n, &more, &p->e);
    for (size_t i = 0; p->ok && i < n; i++) {
        char path[PATH_TEXT_MAX];
        struct files_info info;
        size_t length = strlen(names[i]);
        if (names[i][0] == '.' || length >= NAME_MAX_KEPT ||
            !paths_join(p->folder, names[i], path, sizeof path) ||
            files_stat(path, &info, NULL) != FILES_OK || !info.regular)
            continue;
        const struct seen *old = find_seen(p->seen, p->seen_count, names[i]);
        if (p->ready[0] == '\0' && still_the_same(old, &info) &&
            files_use(path) != FILES_BEING_WRITTEN)
            memcpy(p->ready, names[i], length + 1);
        memcpy(next[count].name, names[i], length + 1);
        next[count].size = info.size;
        next[count++].modified_ms = info.modified_wall_ms;
    }
    arena_deinit(&arena);
    free(p->seen);
    p->seen = next;
    p->seen_count = count;
}

/* The file leaves Pickup under a name that Badmail does not have yet. */
static void refuse_file(struct pickup *p)
{
    char to[PATH_TEXT_MAX], why[PATH_TEXT_MAX], name[NAME_MAX_KEPT + 64];
    (void)snprintf(name, sizeof name, "pickup-%lld-%s", (long long)clock_wall_ms(), p->name);
    p->ok = paths_join(p->badmail, name, to, sizeof to) &&
            files_rename(p->path, to, false, &p->e) == FILES_OK &&
            durable_folder_sync(p->badmail, &p->e);
    (void)snprintf(name, sizeof name, "pickup-%lld-%s.txt", (long long)clock_wall_ms(), p->name);
    if (p->ok && paths_join(p->badmail, name, why, sizeof why))
        (void)durable_file_write(why, span_str(p->reason), 0640, NULL);
}

static void job_run(struct lane_job *job, void *context)
{
    (void)context;
    struct pickup *p = LIST_ENTRY(job, struct pickup, job);
    p->ok = false;
    p->e = (struct err){0};
    switch (p->step) {
    case SCANNING: scan(p); break;
    case OPENING: p->ok = pickup_file_open(&p->file, p->path, &p->e); break;
    case READING:
        buf_reset(&p->piece);
        p->ok = pickup_file_next(&p->file, &p->piece, &p->e);
        break;
    case REMOVING:
        p->ok = files_remove(p->path, &p->e) == FILES_OK && durable_folder_sync(p->folder, &p->e);
        break;
    case REFUSING: refuse_file(p); break;
    }
}

/* ---- on the desk ---- */

static void rest(struct pickup *p, uint64_t ms)
{
    p->busy = false;
    if (!p->stopping && p->timer != NULL)
        worker_timer_at(p->timer, worker_now_ms(p->desk->worker) + ms);
}

static void close_file(struct pickup *p)
{
    if (p->file_open)
        pickup_file_close(&p->file);
    p->file_open = false;
    if (p->intake != NULL)
        intake_drop(&p->intake);
}

static void give_up(struct pickup *p, const char *why)
{
    close_file(p);
    log_event(LOG_WARN, "pickup.refused", LOG_S("file", p->name), LOG_S("why", why));
    (void)snprintf(p->reason, sizeof p->reason, "%s\r\n", why);
    submit(p, REFUSING);
}

static void put_off(struct pickup *p, const char *why)
{
    close_file(p);
    log_event(LOG_WARN, "pickup.deferred", LOG_S("file", p->name), LOG_S("why", why));
    rest(p, REST_MS);
}

static void on_room(void *owner)
{
    struct pickup *p = owner;
    if (p->intake != NULL && !p->storing)
        submit(p, READING);
}

static void on_stored(void *owner, enum intake_result result, uint64_t id, const struct err *why)
{
    struct pickup *p = owner;
    char text[QUEUE_ID_TEXT_MAX];
    p->storing = false;
    close_file(p);
    switch (result) {
    case INTAKE_STORED:
        session_queue_id_format(id, text);
        log_event(LOG_INFO, "pickup.accepted", LOG_S("file", p->name), LOG_S("id", text));
        submit(p, REMOVING);
        break;
    case INTAKE_HOPS: give_up(p, "too many Received lines: a mail loop"); break;
    case INTAKE_FULL:
    case INTAKE_FAILED: put_off(p, why->text); break;
    }
}

static const struct intake_events events = {.on_room = on_room, .on_stored = on_stored};

static bool add_recipient(struct pickup *p, const struct policy *policy, struct span text,
                          const struct smtp_path *sender, struct err *e)
{
    struct smtp_path path;
    char domain[ROUTE_DOMAIN_MAX] = "", address[SMTP_PATH_MAX + ROUTE_DOMAIN_MAX];
    struct acl_reason reason;
    enum smtp_path_result parsed = smtp_path_parse_address(text, &path);
    if (parsed != SMTP_PATH_OK)
        return err_set(e, ERR_PERM, "recipient %.*s: %s", (int)(text.n < 200 ? text.n : 200),
                       (const char *)text.p, smtp_path_why(parsed));
    if (!path.bare_postmaster &&
        !route_domain_to_ascii(span_of(path.domain, path.domain_n), domain, e))
        return err_wrap(e, "recipient %s", path.address);
    const struct acl_facts facts = {
        .origin = ACL_FROM_PICKUP,
        .tls = FACT_ABSENT,
        .identity_state = FACT_ABSENT,
        .names.state = FACT_ABSENT,
        .sender = {.text = span_str(sender->address), .domain = span_str(sender->domain)},
        .recipient = {.text = span_str(path.address),
                      .local = span_of(path.local, path.local_n),
                      .domain = span_str(domain),
                      .postmaster = path.bare_postmaster,
                      .literal = path.literal}};
    enum acl_verdict verdict = acl_decide(policy->acl, ACL_RCPT, &facts, &reason);
    if (verdict == ACL_ALLOW && reason.relay_right && !policy->config->pickup.relay)
        return err_set(e, ERR_PERM, "recipient %s: Unable to relay (pickup.relay is false)",
                       path.address);
    if (verdict != ACL_ALLOW) {
        char id[SESSION_ID_MAX];
        session_id_make(p->desk->env, id);
        const struct refusal kept = {
            .id = id, .session = "pickup", .policy = policy, .facts = &facts, .reason = &reason};
        refusals_add(p->desk->env->refusals, &kept);
        return err_set(e, ERR_PERM, "recipient %s: %s [%s]", path.address, reason.text, id);
    }
    (void)snprintf(address, sizeof address, "%s%s%s", reason.postmaster ? "postmaster@" : "",
                   reason.postmaster ? acl_postmaster_domain(policy->acl) : path.address, "");
    const struct queue_addressee rcpt = {.address = span_str(address)};
    return intake_recipient(p->intake, &rcpt) || err_set(e, ERR_TEMP, "no memory");
}

static bool make_intake(struct pickup *p, struct err *e)
{
    struct policy *policy = p->desk->policy;
    struct smtp_path sender = {0};
    if (p->file.sender.n > 0) {
        enum smtp_path_result parsed = smtp_path_parse_address(p->file.sender, &sender);
        if (parsed != SMTP_PATH_OK)
            return err_set(e, ERR_PERM, "sender: %s", smtp_path_why(parsed));
    }
    p->intake = intake_new(p->desk, policy, p->slot, &events);
    const struct queue_envelope envelope = {.sender = span_str(sender.address),
                                            .origin = QUEUE_ORIGIN_PICKUP,
                                            .eight_bit = true,
                                            .smtputf8 = sender.utf8,
                                            .may_relay = true};
    if (p->intake == NULL || !intake_sender(p->intake, &envelope))
        return err_set(e, ERR_TEMP, "no memory");
    for (size_t i = 0; i < p->file.recipient_count; i++)
        if (!add_recipient(p, policy, p->file.recipients[i], &sender, e))
            return false;
    const struct received_info received = {.hello = span_str("pickup"),
                                           .by = span_str(policy->hostname),
                                           .with = "local",
                                           .wall_ms = clock_wall_ms()};
    return intake_begin(p->intake, &received, true) || err_set(e, ERR_TEMP, "no memory");
}

static void opened(struct pickup *p)
{
    p->file_open = p->ok;
    if (p->ok && make_intake(p, &p->e)) {
        submit(p, READING);
        return;
    }
    if (p->e.class == ERR_PERM)
        give_up(p, p->e.text);
    else
        put_off(p, p->e.text);
}

static void got_piece(struct pickup *p)
{
    const struct config_limits *limits = &p->desk->policy->config->limits;
    if (!p->ok) {
        put_off(p, p->e.text);
        return;
    }
    bool wanted = intake_body(p->intake, buf_span(&p->piece));
    if (limits->message_size > 0 && intake_size(p->intake) > limits->message_size) {
        give_up(p, "the message is larger than limits.message_size");
        return;
    }
    if (!wanted || (p->file.ended && p->file.raw.n == 0)) {
        p->storing = true;
        intake_submit(&p->intake);
        return;
    }
    if (!intake_wants_pause(p->intake))
        submit(p, READING);
}

static void job_done(struct lane_job *job)
{
    struct pickup *p = LIST_ENTRY(job, struct pickup, job);
    switch (p->step) {
    case SCANNING:
        if (!p->ok && p->e.class != ERR_NONE)
            log_event(LOG_ERROR, "pickup.scan.failed", LOG_S("why", p->e.text));
        if (!p->ok || p->ready[0] == '\0' || p->stopping) {
            rest(p, p->ok ? SCAN_MS : REST_MS);
            break;
        }
        memcpy(p->name, p->ready, sizeof p->name);
        if (paths_join(p->folder, p->name, p->path, sizeof p->path))
            submit(p, OPENING);
        else
            rest(p, REST_MS);
        break;
    case OPENING: opened(p); break;
    case READING: got_piece(p); break;
    case REMOVING:
        if (!p->ok)
            log_event(LOG_ERROR, "pickup.remove.failed", LOG_S("file", p->name),
                      LOG_S("why", p->e.text));
        rest(p, p->ok ? 1 : REST_MS);
        break;
    case REFUSING:
        if (!p->ok)
            log_event(LOG_ERROR, "pickup.badmail.failed", LOG_S("file", p->name),
                      LOG_S("why", p->e.text));
        rest(p, p->ok ? 1 : REST_MS);
        break;
    }
}

static void submit(struct pickup *p, enum step step)
{
    p->step = step;
    p->busy = true;
    p->job = (struct lane_job){.run = job_run, .done = job_done, .home = p->desk->worker};
    if (lane_submit(p->desk->env->file_lane, &p->job) == LANE_OK)
        return;
    close_file(p);
    rest(p, REST_MS);
}

static void look(void *arg)
{
    struct pickup *p = arg;
    if (p->stopping || p->busy)
        return;
    if (p->desk->policy->config->pickup.enabled)
        submit(p, SCANNING);
    else
        rest(p, REST_MS);
}

struct pickup *pickup_open(struct session_desk *desk, struct err *e)
{
    struct pickup *p = calloc(1, sizeof *p);
    if (p == NULL || !slots_add(&desk->sessions, p, &p->slot)) {
        free(p);
        (void)err_set(e, ERR_TEMP, "pickup: no memory");
        return NULL;
    }
    p->desk = desk;
    p->file.reader.handle = -1;
    buf_init(&p->piece, PIECE_MAX);
    p->timer = worker_timer_new(desk->worker, look, p);
    char mail[PATH_TEXT_MAX];
    if (p->timer != NULL && paths_join(desk->env->data_directory, "mail", mail, sizeof mail) &&
        paths_join(mail, "Pickup", p->folder, sizeof p->folder) &&
        paths_join(mail, "Badmail", p->badmail, sizeof p->badmail))
        return p;
    (void)err_set(e, ERR_TEMP, "pickup: no memory");
    pickup_free(&p);
    return NULL;
}

void pickup_start(struct pickup *p)
{
    rest(p, 1);
}

void pickup_stop(struct pickup *p)
{
    p->stopping = true;
}

bool pickup_is_busy(const struct pickup *p)
{
    return p->busy;
}

void pickup_free(struct pickup **pointer)
{
    struct pickup *p = *pointer;
    if (p == NULL)
        return;
    *pointer = NULL;
    worker_timer_free(&p->timer);
    close_file(p);
    slots_remove(&p->desk->sessions, p->slot);
    buf_deinit(&p->piece);
    free(p->seen);
    free(p);
}
