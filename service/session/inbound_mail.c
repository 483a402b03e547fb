/* The transaction: envelope and body go into an intake, the intake into the queue, and only its
 * commit gives the 250. */
#include "session/inbound_parts.h"

#include "base/log.h"
#include "platform/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void on_room(void *owner);
static void on_stored(void *owner, enum intake_result result, uint64_t id, const struct err *why);

static const struct intake_events events = {.on_room = on_room, .on_stored = on_stored};

void inbound_mail_drop(struct inbound *s)
{
    if (s->intake != NULL)
        intake_drop(&s->intake);
    memset(&s->sender, 0, sizeof s->sender);
}

void inbound_mail_begin(struct inbound *s, const struct smtp_server_event *event)
{
    const struct smtp_mail_params *p = &event->mail.params;
    if (s->desk->draining) {
        inbound_reply(s, event->token, 421, "4.3.2", "Service is shutting down");
        return;
    }
    inbound_mail_drop(s);
    s->sender = *event->mail.path;
    s->smtputf8 = p->smtputf8;
    static const enum queue_ret rets[] = {[SMTP_RET_NONE] = QUEUE_RET_UNSET,
                                          [SMTP_RET_FULL] = QUEUE_RET_FULL,
                                          [SMTP_RET_HDRS] = QUEUE_RET_HDRS};
    const struct queue_envelope envelope = {.sender = span_str(s->sender.address),
                                            .envid = p->envid,
                                            .helo = span_str(s->helo),
                                            .identity = span_str(s->identity),
                                            .client = s->peer.ip,
                                            .ret = rets[p->ret],
                                            .origin = QUEUE_ORIGIN_SMTP,
                                            .eight_bit = p->body == SMTP_BODY_8BITMIME,
                                            .smtputf8 = p->smtputf8,
                                            .may_relay = inbound_may_relay(s)};
    s->intake = intake_new(s->desk, s->policy, s->slot, &events);
    if (s->intake == NULL || !intake_sender(s->intake, &envelope)) {
        inbound_mail_drop(s);
        inbound_reply(s, event->token, 452, "4.3.1", "Insufficient system resources");
        return;
    }
    inbound_access_mail(s, event->token);
}

void inbound_mail_recipient(struct inbound *s, uint32_t token, const struct smtp_path *path,
                            const char *address, unsigned notify, struct span orcpt)
{
    (void)path;
    const struct queue_addressee rcpt = {
        .address = span_str(address), .orcpt = orcpt, .notify = notify};
    if (s->intake == NULL || !intake_recipient(s->intake, &rcpt)) {
        inbound_reply(s, token, 452, "4.3.1", "Insufficient system resources");
        return;
    }
    (void)smtp_server_answer(&s->engine, token, NULL, inbound_now(s));
}

void inbound_body_start(struct inbound *s, uint32_t token)
{
    char note[96] = "";
    struct tls_info tls;
    if (conn_tls_info(s->conn, &tls))
        (void)snprintf(note, sizeof note, "%s %s", tls.version, tls.cipher);
    const struct received_info info = {
        .hello = span_str(s->helo),
        .peer_name =
            s->names.state == FACT_VALUE && s->names.n > 0 ? s->names.list[0] : span_str(""),
        .peer = &s->peer.ip,
        .by = span_str(s->policy->hostname),
        .esmtp = s->esmtp,
        .tls = note[0] != '\0',
        .authenticated = s->identity != NULL,
        .identity = s->policy->config->authentication.name_in_received ? span_str(s->identity)
                                                                       : span_str(""),
        .utf8 = s->smtputf8,
        .tls_note = span_str(note),
        .wall_ms = clock_wall_ms()};
    if (s->intake == NULL || !intake_begin(s->intake, &info, inbound_may_relay(s))) {
        inbound_reply(s, token, 452, "4.3.1", "Insufficient system resources");
        return;
    }
    (void)smtp_server_answer(&s->engine, token, NULL, inbound_now(s));
}

static void stop_reading(struct inbound *s)
{
    if (s->reading_stopped)
        return;
    s->reading_stopped = true;
    conn_read_stop(s->conn);
    smtp_server_pause(&s->engine, inbound_now(s));
}

static void go_on_reading(struct inbound *s)
{
    if (!s->reading_stopped)
        return;
    s->reading_stopped = false;
    smtp_server_resume(&s->engine, inbound_now(s));
    conn_read_start(s->conn);
}

void inbound_body(struct inbound *s, struct span bytes)
{
    if (s->intake == NULL)
        return;
    if (!intake_body(s->intake, bytes))
        smtp_server_stop_body(&s->engine); /* read to its end, then refused */
    else if (intake_wants_pause(s->intake))
        stop_reading(s);
}

static void on_room(void *owner)
{
    struct inbound *s = owner;
    if (s->closing)
        return;
    go_on_reading(s);
    inbound_pump(s);
}

void inbound_body_end(struct inbound *s, const struct smtp_server_event *event)
{
    go_on_reading(s);
    if (event->token == 0) {
        static const char *const refusals[] = {[SMTP_REFUSAL_NONE] = "none",
                                               [SMTP_REFUSAL_BARE_LF] = "bare-lf",
                                               [SMTP_REFUSAL_SIZE] = "message-size",
                                               [SMTP_REFUSAL_SESSION] = "session-size"};
        log_event(LOG_WARN, "smtp.message.refused", LOG_S("sid", s->id),
                  LOG_S("why", refusals[event->body_end.refusal]),
                  LOG_U("size", event->body_end.size));
        inbound_mail_drop(s);
        return;
    }
    if (s->intake == NULL) {
        inbound_reply(s, event->token, 451, "4.3.0", "Try again later");
        return;
    }
    log_event(LOG_DEBUG, "smtp.message.received", LOG_S("sid", s->id),
              LOG_S("mid", intake_token(s->intake)), LOG_U("size", intake_size(s->intake)));
    s->body_token = event->token;
    memcpy(s->mid, intake_token(s->intake), sizeof s->mid);
    intake_submit(&s->intake);
}

static void on_stored(void *owner, enum intake_result result, uint64_t id, const struct err *why)
{
    struct inbound *s = owner;
    uint32_t token = s->body_token;
    char queue_id[QUEUE_ID_TEXT_MAX], text[SMTP_PATH_MAX * 2];
    s->body_token = 0;
    if (s->closing)
        return;
    switch (result) {
    case INTAKE_STORED:
        s->messages++;
        session_queue_id_format(id, queue_id);
        log_event(LOG_INFO, "smtp.message.accepted", LOG_S("sid", s->id), LOG_S("mid", s->mid),
                  LOG_S("id", queue_id), LOG_S("sender", s->sender.address),
                  LOG_S("user", s->identity == NULL ? "" : s->identity));
        (void)snprintf(text, sizeof text, "<%s@%s> Queued mail for delivery", queue_id,
                       s->policy->hostname);
        inbound_reply(s, token, 250, "2.6.0", text);
        break;
    case INTAKE_FULL:
        log_event(LOG_WARN, "smtp.message.no-room", LOG_S("sid", s->id), LOG_S("why", why->text));
        inbound_reply(s, token, 452, "4.3.1", "Insufficient system storage");
        break;
    case INTAKE_FAILED:
        inbound_reply(s, token, 451, "4.3.0", "The message could not be stored, try again later");
        break;
    case INTAKE_HOPS:
        log_event(LOG_WARN, "smtp.message.loop", LOG_S("sid", s->id),
                  LOG_S("sender", s->sender.address));
        inbound_reply(s, token, 554, "5.4.6", "Too many hops: this message is in a mail loop");
        break;
    }
    memset(&s->sender, 0, sizeof s->sender);
    inbound_pump(s);
}
