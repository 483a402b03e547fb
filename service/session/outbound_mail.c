/* One delivery after the other: its transaction, each recipient's verdict, its end. */
#include "session/outbound_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESTARTS_MAX = 2 };

static bool start_transaction(struct outbound *o, struct err *e)
{
    struct delivery *d = o->delivery;
    const struct queue_message *m = d->parcel->message;
    const struct smtp_client_capabilities *caps = smtp_client_capabilities(&o->engine);
    struct span sender = m->envelope.sender, domain;
    free(o->recipients);
    o->recipients = calloc(d->count, sizeof *o->recipients);
    if (o->recipients == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    for (size_t i = 0; i < d->count; i++) {
        const struct queue_recipient *r = &m->recipients[d->recipients[i]];
        o->recipients[i] = (struct smtp_client_recipient){
            .address = r->address, .orcpt = r->orcpt, .notify = r->notify};
    }
    size_t at = span_rfind(sender, '@');
    if (sender.n > 0 &&
        route_masquerade(o->courier->desk->policy->route, span_from(sender, at + 1), &domain)) {
        int n = snprintf(o->sender, sizeof o->sender, "%.*s@%.*s",
                         SPAN_ARG(span_sub(sender, 0, at)), SPAN_ARG(domain));
        if (n > 0 && (size_t)n < sizeof o->sender)
            sender = span_str(o->sender);
    }
    o->transaction =
        (struct smtp_client_transaction){.sender = sender,
                                         .recipients = o->recipients,
                                         .recipient_count = d->count,
                                         .size = m->size,
                                         .eightbit = m->envelope.eight_bit,
                                         .utf8 = m->envelope.smtputf8 && caps->smtputf8,
                                         .ret = (enum smtp_client_ret)m->envelope.ret,
                                         .envid = m->envelope.envid};
    outbound_body_reset(o);
    (void)snprintf(d->remote, sizeof d->remote, "%s", o->hosts[o->host].name);
    return smtp_client_start(&o->engine, &o->transaction, outbound_now(o), e);
}

void outbound_mail_begin(struct outbound *o)
{
    while (o->state == OUTBOUND_TALKING || o->state == OUTBOUND_IDLE) {
        uint64_t most = o->courier->desk->policy->config->delivery.messages_per_connection;
        bool ends = o->courier->draining || (most > 0 && o->messages >= most);
        o->delivery = ends ? NULL : destination_take(o->destination);
        o->messages++;
        if (o->delivery == NULL) {
            if (ends)
                smtp_client_quit(&o->engine, outbound_now(o));
            else
                outbound_set_state(o, OUTBOUND_IDLE);
            return;
        }
        outbound_set_state(o, OUTBOUND_TALKING);
        struct err e = {0};
        if (start_transaction(o, &e))
            return;
        struct delivery *d = o->delivery;
        o->delivery = NULL;
        delivery_fail(d, e.class == ERR_PERM ? QUEUE_FAILED : QUEUE_DEFERRED, 0,
                      e.class == ERR_PERM ? "5.1.3" : "4.3.0", e.text);
    }
}

void outbound_mail_verdict(struct outbound *o, const struct smtp_client_event *event)
{
    const struct smtp_client_outcome *out = event->outcome;
    struct verdict *v = &o->delivery->verdicts[event->recipient];
    static const enum queue_outcome_kind kinds[] = {[SMTP_CLIENT_DELIVERED] = QUEUE_DELIVERED,
                                                    [SMTP_CLIENT_DEFERRED] = QUEUE_DEFERRED,
                                                    [SMTP_CLIENT_FAILED] = QUEUE_FAILED};
    *v = (struct verdict){.kind = kinds[out->result],
                          .attempted = !out->no_attempt && !out->too_many,
                          .maybe_delivered = out->maybe_delivered,
                          .passed_on = out->dsn_passed_on,
                          .code = out->code};
    (void)snprintf(v->status, sizeof v->status, "%s", out->status);
    (void)snprintf(v->text, sizeof v->text, "%s", out->text);
    if (out->needs_auth)
        log_event(LOG_ERROR, "outbound.auth.wanted", LOG_S("host", o->hosts[o->host].name),
                  LOG_S("text", out->text));
}

/* What was not tried at all waits for another connection; the rest is settled. */
void outbound_mail_finish(struct outbound *o)
{
    struct delivery *d = o->delivery;
    o->delivery = NULL;
    size_t untried = 0;
    for (size_t i = 0; i < d->count; i++)
        untried += !d->verdicts[i].attempted;
    if (untried == d->count && d->restarts++ < RESTARTS_MAX) {
        destination_put_back(o->destination, d);
        return;
    }
    if (untried == d->count) /* often enough: now it counts as an attempt */
        for (size_t i = 0; i < d->count; i++)
            d->verdicts[i].attempted = true;
    delivery_settle(d); /* recipients that are left over come back with the next claim */
}
