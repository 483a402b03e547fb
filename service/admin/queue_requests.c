#include "admin/queue_requests.h"

#include "base/civil.h"
#include "session/env.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static json_t *text_of(struct span s)
{
    json_t *text = json_stringn((const char *)s.p, s.n);
    if (text != NULL)
        return text;
    struct buf out; /* not UTF-8 */
    buf_init(&out, 64 * 1024);
    for (size_t i = 0; i < s.n && i < 4096; i++)
        buf_add_byte(&out, s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?');
    text = json_string(buf_cstr(&out));
    buf_deinit(&out);
    return text;
}

static json_t *time_of(int64_t wall_ms)
{
    if (wall_ms <= 0)
        return json_null();
    struct civil t = civil_from_wall_ms(wall_ms);
    return json_sprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", t.year, t.month, t.day, t.hour, t.minute,
                        t.second);
}

static json_t *recipient_json(const struct queue_recipient *r)
{
    static const char *const states[] = {[QUEUE_RCPT_WAITING] = "waiting",
                                         [QUEUE_RCPT_DELIVERED] = "delivered",
                                         [QUEUE_RCPT_FAILED] = "failed",
                                         [QUEUE_RCPT_EXPIRED] = "expired"};
    return json_pack("{s:o, s:s, s:i, s:o, s:o}", "address", text_of(r->address), "state",
                     states[r->state], "attempts", (int)r->attempts, "next",
                     time_of(r->state == QUEUE_RCPT_WAITING ? r->next_ms : 0), "last_reply",
                     text_of(r->last_reply));
}

static json_t *message_json(const struct queue_message *m, bool whole)
{
    static const char *const states[] = {[QUEUE_RECEIVING] = "receiving",
                                         [QUEUE_QUEUED] = "queued",
                                         [QUEUE_CLAIMED] = "active",
                                         [QUEUE_HELD] = "held"};
    static const char *const origins[] = {
        [QUEUE_ORIGIN_SMTP] = "smtp", [QUEUE_ORIGIN_PICKUP] = "pickup", [QUEUE_ORIGIN_DSN] = "dsn"};
    char id[QUEUE_ID_TEXT_MAX], client[NETADDR_TEXT_MAX] = "";
    session_queue_id_format(m->id, id);
    json_t *recipients = json_array();
    for (size_t i = 0; i < m->recipient_count; i++)
        json_array_append_new(recipients, recipient_json(&m->recipients[i]));
    json_t *o =
        json_pack("{s:s, s:o, s:I, s:o, s:s, s:o}", "id", id, "sender", text_of(m->envelope.sender),
                  "size", (json_int_t)m->size, "created", time_of(m->accepted_ms), "state",
                  m->hold_wanted ? "held" : states[m->state], "recipients", recipients);
    if (whole && o != NULL) {
        if (m->envelope.origin == QUEUE_ORIGIN_SMTP)
            netaddr_format(&m->envelope.client, client);
        json_object_set_new(o, "client", json_string(client));
        json_object_set_new(o, "helo", text_of(m->envelope.helo));
        json_object_set_new(o, "user", text_of(m->envelope.identity));
        json_object_set_new(o, "origin", json_string(origins[m->envelope.origin]));
        json_object_set_new(o, "header", text_of(m->body));
    }
    return o;
}

/* One page: {"messages": [...], "next": ...}. */
static json_t *list(struct queue *q, json_t *request, struct err *e)
{
    static const struct {
        const char *name;
        enum queue_filter_state state;
    } states[] = {
        {"queued", QUEUE_LIST_QUEUED}, {"active", QUEUE_LIST_CLAIMED}, {"held", QUEUE_LIST_HELD}};
    struct queue_filter filter = {.state = QUEUE_LIST_ALL, .max = QUEUE_LIST_MAX};
    const char *state = json_string_value(json_object_get(request, "state"));
    filter.text = span_str(json_string_value(json_object_get(request, "text")));
    for (size_t i = 0; state != NULL && i < sizeof states / sizeof *states; i++)
        if (strcmp(states[i].name, state) == 0)
            filter.state = states[i].state;
    filter.after = (uint64_t)json_integer_value(json_object_get(request, "after"));
    struct queue_message *page[QUEUE_LIST_MAX];
    size_t count;
    uint64_t next;
    if (!queue_list(q, &filter, page, &count, &next, e))
        return NULL;
    json_t *messages = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(messages, message_json(page[i], false));
        queue_message_free(&page[i]);
    }
    return json_pack("{s:o, s:I}", "messages", messages, "next", (json_int_t)next);
}

static json_t *show(struct queue *q, uint64_t id, struct err *e)
{
    struct queue_message *m = NULL;
    if (!queue_show(q, id, &m, e))
        return NULL;
    json_t *o = message_json(m, true);
    queue_message_free(&m);
    return o;
}

static bool act(struct queue *q, const char *verb, uint64_t id, int64_t now_ms, struct err *e)
{
    if (strcmp(verb, "hold") == 0)
        return queue_hold(q, id, e);
    if (strcmp(verb, "release") == 0)
        return queue_release(q, id, e);
    if (strcmp(verb, "retry") == 0)
        return queue_retry(q, id, now_ms, e);
    if (strcmp(verb, "remove") == 0)
        return queue_remove(q, id, e);
    return err_set(e, ERR_PERM, "queue %s: no such operation", verb);
}

/* Of all messages that were listed, this one is gone since. */
static bool is_gone(struct queue *q, uint64_t id)
{
    struct queue_message *m = NULL;
    struct err e = {0};
    bool there = queue_show(q, id, &m, &e);
    queue_message_free(&m);
    return !there && e.class == ERR_PERM;
}

json_t *queue_request(struct queue *q, json_t *request, int64_t now_ms, int *code, struct err *e)
{
    const char *command = json_string_value(json_object_get(request, "command"));
    const char *verb = command == NULL || strncmp(command, "queue.", 6) != 0 ? "" : command + 6;
    *code = 74;
    if (strcmp(verb, "list") == 0)
        return list(q, request, e);
    json_t *ids = json_object_get(request, "ids");
    bool all = json_is_true(json_object_get(request, "all"));
    if (!json_is_array(ids)) {
        (void)err_set(e, ERR_PERM, "queue %s: which message?", verb);
        *code = 64;
        return NULL;
    }
    json_t *done = json_array();
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(ids); i++) {
        const char *text = json_string_value(json_array_get(ids, i));
        uint64_t id;
        json_t *one = NULL;
        if (!session_queue_id_parse(span_str(text), &id)) {
            ok = err_set(e, ERR_PERM, "%s: no such message", text == NULL ? "?" : text);
            break;
        }
        if (strcmp(verb, "show") == 0)
            one = show(q, id, e);
        else if (act(q, verb, id, now_ms, e))
            one = json_string(text);
        ok = one != NULL;
        if (!ok && all && e->class == ERR_PERM && is_gone(q, id))
            ok = true;
        else if (ok)
            json_array_append_new(done, one);
        else
            (void)err_wrap(e, "%s", text);
    }
    if (ok)
        return done;
    json_decref(done);
    *code = e->class == ERR_TEMP ? 74 : 1;
    return NULL;
}
