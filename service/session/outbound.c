/* One connection to a next hop: its life, the engine's events and the connection's. Where it goes
 * stands in outbound_hosts.c, what is said there in outbound_tls.c, outbound_auth.c,
 * outbound_mail.c and outbound_body.c. */
#include "session/outbound_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PAUSE_MS = 5000,         /* after a refused connection, where others are open */
    BODY_AHEAD = 256 * 1024, /* unsent bytes of a body past which we wait */
};

int64_t outbound_now(const struct outbound *o)
{
    return (int64_t)worker_now_ms(o->courier->desk->worker);
}

struct outbound *outbound_of(struct list_node *node)
{
    return LIST_ENTRY(node, struct outbound, node);
}

bool outbound_is_idle(const struct outbound *o)
{
    return o->state == OUTBOUND_IDLE;
}

/* ---- life ---- */

void outbound_set_state(struct outbound *o, enum outbound_state state)
{
    struct destination *d = o->destination;
    if (o->state == OUTBOUND_IDLE)
        d->idle_count--;
    o->state = state;
    if (state == OUTBOUND_IDLE)
        d->idle_count++;
}

void outbound_no_longer_opening(struct outbound *o)
{
    if (!o->through) {
        o->through = true;
        o->destination->opening_count--;
    }
}

/* The connection is over and its memory is ours again: nothing refers to it any more. */
void outbound_free(struct outbound *o)
{
    struct destination *d = o->destination;
    struct courier *c = o->courier;
    outbound_no_longer_opening(o);
    outbound_set_state(o, OUTBOUND_ENDING);
    resolver_cancel(&o->call);
    list_remove(&o->node);
    d->outbound_count--;
    c->connection_count--;
    if (o->engine_live)
        smtp_client_deinit(&o->engine);
    outbound_auth_forget(o);
    delivery_free(o->delivery); /* only where all is torn down */
    free(o->recipients);
    buf_deinit(&o->part);
    free(o);
    if (!list_linked(&d->node)) { /* the courier is ending */
        if (d->outbound_count == 0)
            free(d);
        return;
    }
    if (d->waiting_count > 0)
        destination_pump(d);
    destination_release(d);
    courier_check_drained(c);
}

void outbound_failed(struct outbound *o, enum queue_outcome_kind kind, int code, const char *status,
                     const char *text)
{
    o->fail_kind = kind;
    o->fail_code = code;
    (void)snprintf(o->fail_status, sizeof o->fail_status, "%s", status);
    (void)snprintf(o->fail_text, sizeof o->fail_text, "%s", text);
}

/* No host is left to try. */
void outbound_give_up(struct outbound *o)
{
    struct destination *d = o->destination;
    d->pause_until_ms = worker_now_ms(o->courier->desk->worker) + PAUSE_MS;
    log_event(LOG_WARN, "outbound.unreachable", LOG_S("destination", d->step.key),
              LOG_S("why", o->fail_text));
    destination_unreachable(d, o->fail_kind, o->fail_code, o->fail_status, o->fail_text);
    outbound_free(o);
}

/* ---- the engine's output and deadline ---- */

static void arm(struct outbound *o)
{
    if (o->conn == NULL)
        return;
    int64_t at = smtp_client_deadline(&o->engine);
    uint64_t now = worker_now_ms(o->courier->desk->worker);
    if (o->state == OUTBOUND_IDLE)
        at = (int64_t)(now + o->courier->desk->policy->config->delivery.reuse_ms);
    conn_deadline(o->conn, at == SMTP_CLIENT_NO_DEADLINE ? 0 : (uint64_t)at);
}

static void log_protocol(const struct outbound *o, struct span out)
{
    if (o->wants_body || out.n > 4096) /* commands, not content */
        return;
    if (smtp_client_output_is_secret(&o->engine))
        log_event(LOG_INFO, "smtp.out.command", LOG_S("host", o->hosts[o->host].name),
                  LOG_S("text", "(credentials)"));
    else
        log_event(LOG_INFO, "smtp.out.command", LOG_S("host", o->hosts[o->host].name),
                  LOG_SPAN("text", out));
}

static void flush(struct outbound *o)
{
    struct span out;
    while (o->conn != NULL && (out = smtp_client_output(&o->engine)).n > 0) {
        if (o->courier->desk->observed)
            log_protocol(o, out);
        outbound_w3c_command(o, out);
        size_t n = out.n;
        if (!conn_write(o->conn, out))
            return;
        smtp_client_sent(&o->engine, n, outbound_now(o));
        if (conn_pending(o->conn) > BODY_AHEAD)
            return;
    }
}

/* ---- events ---- */

static void closed(struct outbound *o, const struct smtp_client_outcome *why)
{
    if (o->state == OUTBOUND_ENDING)
        return;
    outbound_set_state(o, OUTBOUND_ENDING);
    if (!o->ready_once && !o->final)
        /* Even a 554 greeting is about this host now, not about the mail: it waits. */
        outbound_failed(o, QUEUE_DEFERRED, why->code, why->status, why->text);
    flush(o);
    conn_close(o->conn);
}

static void handle(struct outbound *o, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_WANT_TLS:
        flush(o);
        outbound_tls_starttls(o);
        break;
    case SMTP_CLIENT_AUTH_NEEDED: outbound_auth_begin(o, event->data); break;
    case SMTP_CLIENT_AUTH_CHALLENGE: outbound_auth_challenge(o, event->data); break;
    case SMTP_CLIENT_AUTH_OK: outbound_auth_end(o); break;
    case SMTP_CLIENT_AUTH_REFUSED: outbound_auth_refused(o, event->outcome); break;
    case SMTP_CLIENT_READY:
        o->ready_once = true;
        outbound_no_longer_opening(o);
        outbound_mail_begin(o);
        break;
    case SMTP_CLIENT_WANT_BODY:
        o->wants_body = true;
        outbound_body(o);
        break;
    case SMTP_CLIENT_RECIPIENT: outbound_mail_verdict(o, event); break;
    case SMTP_CLIENT_FINISHED: outbound_mail_finish(o); break;
    case SMTP_CLIENT_CLOSED: closed(o, event->outcome); break;
    }
}

void outbound_pump(struct outbound *o)
{
    if (o->pumping || o->conn == NULL)
        return;
    o->pumping = true;
    struct smtp_client_event event;
    bool more = true;
    while (more && o->conn != NULL) {
        more = false;
        while (o->state != OUTBOUND_ENDING &&
               smtp_client_next_event(&o->engine, outbound_now(o), &event)) {
            handle(o, &event);
            more = true;
        }
        flush(o);
        if (conn_pending(o->conn) > BODY_AHEAD)
            break; /* on_drained goes on */
    }
    o->pumping = false;
    arm(o);
}

void outbound_next(struct outbound *o)
{
    outbound_mail_begin(o);
    outbound_pump(o);
}

void outbound_quit(struct outbound *o)
{
    outbound_set_state(o, OUTBOUND_TALKING);
    smtp_client_quit(&o->engine, outbound_now(o));
    outbound_pump(o);
}

/* ---- the connection ---- */

/* RFC 5321's times, none longer than delivery.idle. */
static struct smtp_client_timeouts timeouts_of(const struct outbound *o)
{
    struct smtp_client_timeouts t = smtp_client_default_timeouts();
    int64_t idle = (int64_t)o->courier->desk->policy->config->delivery.idle_ms;
    int64_t *const all[] = {&t.greeting_ms, &t.hello_ms, &t.starttls_ms, &t.auth_ms,
                            &t.mail_ms,     &t.rcpt_ms,  &t.data_ms,     &t.body_ms,
                            &t.end_ms,      &t.rset_ms,  &t.quit_ms};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (idle > 0 && *all[i] > idle)
            *all[i] = idle;
    return t;
}

static void on_connected(struct conn *conn, void *arg)
{
    struct outbound *o = arg;
    const struct policy *policy = o->courier->desk->policy;
    const struct route_step *step = &o->destination->step;
    bool implicit = outbound_tls_is_implicit(o);
    bool demanded = step->tls == ROUTE_TLS_REQUIRED || step->tls == ROUTE_TLS_VERIFY;
    const struct smtp_client_options options = {
        .hello_name = policy->hostname,
        .tls = implicit || step->tls == ROUTE_TLS_NONE || o->no_tls ? SMTP_CLIENT_TLS_NONE
               : demanded                                           ? SMTP_CLIENT_TLS_REQUIRED
                                                                    : SMTP_CLIENT_TLS_OPTIONAL,
        .secured = implicit,
        .auth = step->credentials != ROUTE_NO_CREDENTIALS,
        .auth_needs_tls = true,
        .timeouts = timeouts_of(o),
    };
    struct err e = {0};
    if (!smtp_client_init(&o->engine, &options, outbound_now(o), &e)) {
        outbound_failed(o, QUEUE_DEFERRED, 0, "4.3.5", e.text);
        o->final = true;
        conn_abort(conn);
        return;
    }
    o->engine_live = true;
    outbound_set_state(o, OUTBOUND_TALKING);
    if (implicit && !outbound_tls_implicit(o)) {
        conn_abort(conn);
        return;
    }
    conn_read_start(conn);
    arm(o);
}

static size_t on_data(struct conn *conn, void *arg, struct span bytes)
{
    (void)conn;
    struct outbound *o = arg;
    if (o->state == OUTBOUND_ENDING)
        return bytes.n;
    if (o->courier->desk->observed)
        log_event(LOG_INFO, "smtp.out.reply", LOG_S("host", o->hosts[o->host].name),
                  LOG_SPAN("text", bytes));
    outbound_w3c_response(o, bytes);
    smtp_client_feed(&o->engine, bytes, outbound_now(o));
    outbound_pump(o);
    return bytes.n;
}

static void on_eof(struct conn *conn, void *arg)
{
    struct outbound *o = arg;
    if (o->state == OUTBOUND_ENDING)
        return;
    smtp_client_lost(&o->engine, "the peer closed the connection");
    outbound_pump(o);
    if (o->state != OUTBOUND_ENDING && o->conn != NULL)
        conn_close(conn);
}

static void on_drained(struct conn *conn, void *arg)
{
    (void)conn;
    struct outbound *o = arg;
    if (o->state != OUTBOUND_ENDING)
        outbound_pump(o);
}

static void on_deadline(struct conn *conn, void *arg)
{
    (void)conn;
    struct outbound *o = arg;
    int64_t now = outbound_now(o);
    if (o->state == OUTBOUND_IDLE) {
        outbound_quit(o);
        return;
    }
    if (o->state == OUTBOUND_ENDING)
        return;
    smtp_client_timeout(&o->engine, now);
    outbound_pump(o);
}

static void on_closed(struct conn *conn, void *arg, enum conn_end end, const struct err *why)
{
    (void)conn;
    struct outbound *o = arg;
    struct smtp_client_event event;
    o->conn = NULL;
    bool once_more = o->once_more;
    o->once_more = false;
    if (o->engine_live) {
        if (smtp_client_state(&o->engine) != SMTP_CLIENT_IN_CLOSED)
            smtp_client_lost(&o->engine, why != NULL && why->class != ERR_NONE
                                             ? why->text
                                             : "the connection was lost");
        while (smtp_client_next_event(&o->engine, outbound_now(o), &event))
            if (event.kind == SMTP_CLIENT_RECIPIENT)
                outbound_mail_verdict(o, &event);
            else if (event.kind == SMTP_CLIENT_FINISHED)
                outbound_mail_finish(o);
            else if (event.kind == SMTP_CLIENT_CLOSED && !o->ready_once && !o->final &&
                     o->state != OUTBOUND_ENDING)
                outbound_failed(o, QUEUE_DEFERRED, event.outcome->code, event.outcome->status,
                                event.outcome->text);
        smtp_client_deinit(&o->engine);
        o->engine_live = false;
    } else if (end != CONN_END_LOCAL && !o->final) {
        char text[sizeof o->fail_text], address[NETADDR_TEXT_MAX];
        netaddr_format(&o->addresses[o->address], address);
        (void)snprintf(text, sizeof text, "%.100s [%s]:%u: %.300s", o->hosts[o->host].name, address,
                       (unsigned)o->hosts[o->host].port,
                       why == NULL || why->class == ERR_NONE ? "cannot connect" : why->text);
        outbound_failed(o, QUEUE_DEFERRED, 0, "4.4.1", text);
    }
    if (o->ready_once || !list_linked(&o->destination->node)) {
        if (!o->reading) /* else read_done frees it */
            outbound_free(o);
        return;
    }
    outbound_set_state(o, OUTBOUND_CONNECTING);
    if (once_more && !o->final) {
        outbound_next_address(o);
        return;
    }
    o->no_tls = false;
    o->address++;
    if (o->final)
        outbound_give_up(o);
    else
        outbound_next_address(o);
}

static const struct conn_handlers handlers = {.on_connected = on_connected,
                                              .on_data = on_data,
                                              .on_eof = on_eof,
                                              .on_tls = outbound_tls_done,
                                              .on_drained = on_drained,
                                              .on_deadline = on_deadline,
                                              .on_closed = on_closed};

bool outbound_connect(struct outbound *o, const struct sock_address *to, struct err *e)
{
    struct session_desk *desk = o->courier->desk;
    o->conn = conn_connect(desk->worker, to, NULL,
                           desk->policy->config->delivery.connect_timeout_ms, &handlers, o, e);
    return o->conn != NULL;
}

bool outbound_open(struct destination *d)
{
    struct outbound *o = calloc(1, sizeof *o);
    struct courier *c = d->courier;
    if (o == NULL)
        return false;
    o->destination = d;
    o->courier = c;
    buf_init(&o->part, QUEUE_CHUNK_MAX);
    list_push_back(&d->outbound, &o->node);
    d->outbound_count++;
    d->opening_count++;
    c->connection_count++;
    outbound_failed(o, QUEUE_DEFERRED, 0, "4.4.1", "no host to connect to");
    o->starting = true;
    o->start.run = outbound_start;
    worker_post(c->desk->worker, &o->start);
    return true;
}

void outbound_abort(struct outbound *o)
{
    if (o->conn != NULL)
        conn_abort(o->conn); /* on_closed frees it */
    else if (!o->reading && !o->starting)
        outbound_free(o);
}
