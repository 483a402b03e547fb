#include "session/refusals.h"

#include "acl/explain.h"
#include "base/log.h"
#include "net/lane.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/paths.h"
#include "store/store.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING_MAX = 1024, ID_MAX = 32, JSON_MAX = 64 * 1024 };

static const char *const migrations[] = {
    "CREATE TABLE refusals (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, json TEXT NOT NULL);",
};

struct refusals {
    struct store *store;
    struct sqlite3_stmt *insert, *trim;
    struct lane *lane;
    atomic_uint_fast64_t dropped;
};

struct record {
    struct lane_job job;
    char id[ID_MAX];
    char *json;
};

static bool batch_begin(void *context, struct err *e)
{
    struct refusals *r = context;
    return store_begin(r->store, e);
}

static bool batch_end(void *context, struct err *e)
{
    struct refusals *r = context;
    store_bind_i64(r->trim, 1, REFUSALS_KEPT);
    if (!store_run(r->store, r->trim, e)) {
        store_rollback(r->store);
        return false;
    }
    return store_commit(r->store, e);
}

static void record_run(struct lane_job *job, void *context)
{
    struct record *record = LIST_ENTRY(job, struct record, job);
    struct refusals *r = context;
    store_bind_text(r->insert, 1, span_str(record->id));
    store_bind_text(r->insert, 2, span_str(record->json));
    if (!store_run(r->store, r->insert, NULL))
        atomic_fetch_add(&r->dropped, 1);
}

static void record_free(struct record *record)
{
    free(record->json);
    free(record);
}

static void record_done(struct lane_job *job)
{
    record_free(LIST_ENTRY(job, struct record, job));
}

static bool open_store(const char *data_directory, struct store **s, struct err *e)
{
    char path[PATH_TEXT_MAX];
    if (!paths_join(data_directory, "refusals.db", path, sizeof path))
        return err_set(e, ERR_PERM, "%s: the path is too long", data_directory);
    const struct store_options options = {
        .path = path,
        .recovery = "remove it: it holds explanations of past refusals only",
        .busy_timeout_ms = 2000,
    };
    return store_open(&options, migrations, sizeof migrations / sizeof *migrations, s, e);
}

struct refusals *refusals_open(const char *data_directory, struct err *e)
{
    struct refusals *r = calloc(1, sizeof *r);
    if (r == NULL) {
        (void)err_set(e, ERR_TEMP, "refusals: no memory");
        return NULL;
    }
    const struct lane_options options = {.name = "refusals",
                                         .threads = 1,
                                         .bound = WAITING_MAX,
                                         .context = r,
                                         .batch_max = WAITING_MAX,
                                         .batch_begin = batch_begin,
                                         .batch_end = batch_end};
    if (!open_store(data_directory, &r->store, e) ||
        !store_exec(r->store, "PRAGMA synchronous=OFF", e) ||
        !store_prepare(r->store, "INSERT OR REPLACE INTO refusals (id, json) VALUES (?1, ?2)",
                       &r->insert, e) ||
        !store_prepare(r->store,
                       "DELETE FROM refusals WHERE n <= (SELECT max(n) FROM refusals) - ?1",
                       &r->trim, e) ||
        (r->lane = lane_open(&options, e)) == NULL) {
        refusals_close(&r);
        return NULL;
    }
    return r;
}

void refusals_close(struct refusals **pointer)
{
    struct refusals *r = *pointer;
    if (r == NULL)
        return;
    *pointer = NULL;
    lane_close(&r->lane);
    store_close(&r->store);
    free(r);
}

/* What a peer said need not be UTF-8; JSON text has to be. */
static json_t *text_of(struct span s)
{
    json_t *whole = json_stringn((const char *)s.p, s.n);
    if (whole != NULL)
        return whole;
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < s.n && i < 1000; i++)
        if (s.p[i] >= 0x20 && s.p[i] < 0x7f)
            buf_add_byte(&out, s.p[i]);
        else
            buf_addf(&out, "\\x%02x", s.p[i]);
    json_t *escaped = json_string(buf_cstr(&out));
    buf_deinit(&out);
    return escaped;
}

/* What was counted within the minute, by the names of the limits; null where nobody counted. */
static json_t *counted_of(const struct acl_facts *f)
{
    if (f->rates.state != FACT_VALUE)
        return json_null();
    json_t *counted = json_object();
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        enum acl_rate_by by = (enum acl_rate_by)(i / ACL_RATES);
        enum acl_rate rate = (enum acl_rate)(i % ACL_RATES);
        if (f->rates.use[by][rate].used > 0)
            json_object_set_new(counted, acl_rate_name(by, rate),
                                json_integer(f->rates.use[by][rate].used));
    }
    return counted;
}

static json_t *facts_of(const struct refusal *what)
{
    static const char *const states[] = {[FACT_UNKNOWN] = "unknown",
                                         [FACT_FAILED] = "failed",
                                         [FACT_ABSENT] = "absent",
                                         [FACT_VALUE] = "value"};
    const struct acl_facts *f = what->facts;
    char client[NETADDR_TEXT_MAX] = "";
    if (f->origin == ACL_FROM_NETWORK)
        netaddr_format(&f->client, client);
    json_t *names = json_array();
    for (size_t i = 0; i < f->names.n && f->names.state == FACT_VALUE; i++)
        json_array_append_new(names, text_of(f->names.v[i]));
    const char *listener = f->listener < what->policy->listener_count
                               ? what->policy->listeners[f->listener].config->address.text
                               : "";
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:s, s:b, s:s, s:o, s:b, s:o, s:o, s:o, s:o}", "origin",
        f->origin == ACL_FROM_PICKUP ? "pickup" : "network", "client", client, "names_state",
        states[f->names.state], "names", names, "listener", listener, "tls", f->tls == FACT_VALUE,
        "identity_state", states[f->identity_state], "identity", text_of(f->identity),
        "authentication_failed", f->authentication_failed, "helo", text_of(what->helo), "from",
        text_of(f->sender.text), "to", text_of(f->recipient.text), "counted", counted_of(f));
}

static char *json_of(const struct refusal *what)
{
    const struct acl_reason *reason = what->reason;
    struct buf reply;
    buf_init(&reply, 4096);
    (void)acl_reason_reply(reason, &reply);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:s}", "id", what->id,
        "verdict",
        what->observed                ? "observed"
        : reason->verdict == ACL_DENY ? "refused"
                                      : "unknown",
        "stage", acl_stage_name(reason->stage), "session", what->session, "rule", reason->rule,
        "line", (int)reason->at.line, "file", reason->at.file == NULL ? "" : reason->at.file,
        "entry", text_of(span_str(reason->entry)), "reply", text_of(buf_span(&reply)), "why",
        text_of(span_str(reason->why)), "change", text_of(span_str(reason->change)), "facts",
        facts_of(what), "time", (json_int_t)clock_wall_ms(), "configuration",
        what->policy->config->path);
    buf_deinit(&reply);
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

void refusals_add(struct refusals *r, const struct refusal *what)
{
    struct record *record = r == NULL ? NULL : calloc(1, sizeof *record);
    if (record == NULL)
        return;
    record->job = (struct lane_job){.run = record_run, .done = record_done};
    if (span_cstr(span_str(what->id), record->id, sizeof record->id) &&
        lane_waiting(r->lane) < WAITING_MAX && (record->json = json_of(what)) != NULL &&
        lane_submit(r->lane, &record->job) == LANE_OK)
        return;
    uint64_t dropped = atomic_fetch_add(&r->dropped, 1) + 1;
    if ((dropped & (dropped - 1)) == 0)
        log_event(LOG_WARN, "refusals.dropped", LOG_U("count", dropped));
    record_free(record);
}

/* *s stays NULL where there is no store yet. */
static bool open_to_read(const char *data_directory, const char *sql, struct store **s,
                         struct sqlite3_stmt **select, struct err *e)
{
    char path[PATH_TEXT_MAX];
    struct files_info info;
    *s = NULL;
    if (!paths_join(data_directory, "refusals.db", path, sizeof path))
        return err_set(e, ERR_PERM, "%s: the path is too long", data_directory);
    enum files_result there = files_stat(path, &info, e);
    if (there == FILES_ABSENT)
        return true;
    return there == FILES_OK && open_store(data_directory, s, e) &&
           store_prepare(*s, sql, select, e);
}

bool refusals_find(const char *data_directory, const char *id, struct buf *json, bool *found,
                   struct err *e)
{
    struct store *s;
    struct sqlite3_stmt *select;
    *found = false;
    bool ok =
        open_to_read(data_directory, "SELECT json FROM refusals WHERE id = ?1", &s, &select, e);
    if (ok && s != NULL) {
        store_bind_text(select, 1, span_str(id));
        enum store_step step = store_step(s, select, e);
        ok = step != STORE_FAILED;
        *found = step == STORE_ROW;
        if (*found)
            ok = buf_add(json, store_column_span(select, 0));
        store_reset(select);
    }
    store_close(&s);
    return ok;
}

bool refusals_each(const char *data_directory, bool (*visit)(void *arg, struct span json),
                   void *arg, struct err *e)
{
    struct store *s;
    struct sqlite3_stmt *select;
    bool ok =
        open_to_read(data_directory, "SELECT json FROM refusals ORDER BY n DESC", &s, &select, e);
    while (ok && s != NULL) {
        enum store_step step = store_step(s, select, e);
        ok = step != STORE_FAILED;
        if (step != STORE_ROW || !visit(arg, store_column_span(select, 0)))
            break;
    }
    store_close(&s);
    return ok;
}
