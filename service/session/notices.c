/* The notices (RFC 3464) that the outcomes of one delivery call for: at most one of each kind, to
 * the sender, and a copy of a non-delivery report to delivery.ndr_copy_to. */
#include "session/courier_parts.h"

#include "message/dsn.h"
#include "platform/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTICES_MAX = 4, REASON_MAX = 560, PREFIX_MAX = 1024 * 1024, SUFFIX_MAX = 1024 };

struct notice {
    struct buf prefix, suffix;
    struct span body[3];
    struct queue_addressee to;
};

struct notice_set {
    struct notice notices[NOTICES_MAX];
    struct queue_submission submissions[NOTICES_MAX];
    size_t count;
    char (*reasons)[REASON_MAX]; /* one for each recipient of the delivery */
};

static const struct queue_recipient *recipient_of(const struct delivery *d, size_t i)
{
    return &d->parcel->message->recipients[d->recipients[i]];
}

/* Which notice an outcome asks for; false: none. */
static bool action_of(const struct delivery *d, size_t i, const struct queue_outcome *o,
                      enum dsn_action *action)
{
    bool null_sender = d->parcel->message->envelope.sender.n == 0;
    bool dropped = d->route->n > 0 && d->route->steps[d->step].kind == ROUTE_DROP;
    switch (o->kind) {
    case QUEUE_DELIVERED:
        if (d->verdicts[i].passed_on)
            return false;
        *action = dropped ? DSN_DELIVERED : DSN_RELAYED;
        break;
    case QUEUE_FAILED:
    case QUEUE_EXPIRED: *action = DSN_FAILED; break;
    case QUEUE_DEFERRED:
        if (!o->delay_noticed)
            return false;
        *action = DSN_DELAYED;
        break;
    }
    return dsn_is_due(*action, recipient_of(d, i)->notify, null_sender);
}

bool notices_are_due(const struct delivery *d, const struct queue_outcome *outcomes)
{
    enum dsn_action action;
    for (size_t i = 0; i < d->count; i++)
        if (action_of(d, i, &outcomes[i], &action))
            return true;
    return false;
}

static bool has_high_bytes(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return true;
    return false;
}

/* The header section of what is in hand. */
static struct span header_of(struct span original)
{
    for (size_t i = 0; i + 3 < original.n; i++)
        if (memcmp(original.p + i, "\r\n\r\n", 4) == 0)
            return span_sub(original, 0, i + 2);
    return original;
}

static void add_recipient(struct notice_set *s, const struct delivery *d, size_t i,
                          const struct queue_outcome *o, enum dsn_action action,
                          struct dsn_recipient *out)
{
    const struct queue_recipient *rcpt = recipient_of(d, i);
    const struct config_delivery *config = &d->parcel->courier->desk->policy->config->delivery;
    const struct verdict *v = &d->verdicts[i];
    /* The next hop's words as it said them, its enhanced code in front. */
    (void)snprintf(s->reasons[i], REASON_MAX, "%s%s%s", v->code > 0 ? v->status : "",
                   v->code > 0 ? " " : "", v->text);
    *out = (struct dsn_recipient){.address = rcpt->address,
                                  .orcpt = rcpt->orcpt,
                                  .action = action,
                                  .status = v->status,
                                  .remote_mta = span_str(d->remote),
                                  .code = v->code,
                                  .reason = span_str(s->reasons[i]),
                                  .last_attempt_wall_ms = clock_wall_ms()};
    if (action == DSN_DELAYED)
        out->will_retry_until_wall_ms =
            d->parcel->message->accepted_ms + (int64_t)config->expire_ms;
    if (o->kind == QUEUE_EXPIRED) /* RFC 3463: what was temporary has become permanent */
        out->status = "4.4.7";
}

static bool write_notice(struct notice_set *s, const struct delivery *d, enum dsn_action action,
                         const struct dsn_recipient *recipients, size_t n, struct span original,
                         struct span to)
{
    const struct queue_message *m = d->parcel->message;
    struct courier *c = d->parcel->courier;
    struct notice *notice = &s->notices[s->count];
    char id[SESSION_ID_MAX], boundary[64];
    session_id_make(c->desk->env, id);
    (void)snprintf(boundary, sizeof boundary, "postern-%s", id);
    bool full = m->has_body &&
                dsn_returns_full((enum dsn_ret)m->envelope.ret, action, m->size, QUEUE_INLINE_MAX);
    struct span returned = full ? original : header_of(original);
    const struct dsn_info info = {.host = span_str(c->desk->policy->hostname),
                                  .to = to,
                                  .queue_id = span_str(d->parcel->id),
                                  .envid = m->envelope.envid,
                                  .arrival_wall_ms = m->accepted_ms,
                                  .wall_ms = clock_wall_ms(),
                                  .id = span_str(id),
                                  .boundary = boundary,
                                  .full = full,
                                  .eightbit = has_high_bytes(returned),
                                  .utf8 = m->envelope.smtputf8,
                                  .recipients = recipients,
                                  .recipient_count = n};
    buf_init(&notice->prefix, PREFIX_MAX);
    buf_init(&notice->suffix, SUFFIX_MAX);
    if (!dsn_write_prefix(&notice->prefix, &info) || !dsn_write_suffix(&notice->suffix, &info))
        return false;
    notice->body[0] = buf_span(&notice->prefix);
    notice->body[1] = returned;
    notice->body[2] = buf_span(&notice->suffix);
    notice->to = (struct queue_addressee){.address = to, .notify = QUEUE_NOTIFY_NEVER};
    s->submissions[s->count++] = (struct queue_submission){.envelope = {.origin = QUEUE_ORIGIN_DSN,
                                                                        .eight_bit = info.eightbit,
                                                                        .smtputf8 = info.utf8,
                                                                        .may_relay = true},
                                                           .recipients = &notice->to,
                                                           .recipient_count = 1,
                                                           .body = notice->body,
                                                           .body_count = 3};
    atomic_fetch_add(&c->desk->env->counters.notices, 1);
    return true;
}

struct notice_set *notices_new(const struct delivery *d, const struct queue_outcome *outcomes,
                               struct span original)
{
    static const enum dsn_action kinds[] = {DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED};
    struct notice_set *s = calloc(1, sizeof *s);
    struct dsn_recipient *list = calloc(d->count, sizeof *list);
    if (s != NULL)
        s->reasons = calloc(d->count, sizeof *s->reasons);
    bool ok = s != NULL && list != NULL && s->reasons != NULL;
    struct span copy_to = span_str(d->parcel->courier->desk->policy->config->delivery.ndr_copy_to);
    for (size_t k = 0; ok && k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = 0;
        enum dsn_action action;
        for (size_t i = 0; i < d->count; i++)
            if (action_of(d, i, &outcomes[i], &action) && action == kinds[k])
                add_recipient(s, d, i, &outcomes[i], action, &list[n++]);
        if (n == 0)
            continue;
        ok = write_notice(s, d, kinds[k], list, n, original, d->parcel->message->envelope.sender);
        if (ok && kinds[k] == DSN_FAILED && copy_to.n > 0 && s->count < NOTICES_MAX)
            ok = write_notice(s, d, kinds[k], list, n, original, copy_to);
    }
    free(list);
    if (!ok || s->count == 0)
        notices_free(&s);
    return s;
}

const struct queue_submission *notices_submissions(const struct notice_set *s, size_t *n)
{
    *n = s == NULL ? 0 : s->count;
    return s == NULL ? NULL : s->submissions;
}

void notices_free(struct notice_set **pointer)
{
    struct notice_set *s = *pointer;
    if (s == NULL)
        return;
    *pointer = NULL;
    for (size_t i = 0; i < NOTICES_MAX; i++) {
        buf_deinit(&s->notices[i].prefix);
        buf_deinit(&s->notices[i].suffix);
    }
    free(s->reasons);
    free(s);
}
