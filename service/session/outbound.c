/* One connection to a next hop: find its address, connect, TLS, AUTH, and then one delivery after
 * the other until none waits for it. */
#include "session/courier_parts.h"

#include "auth/client.h"
#include "base/log.h"
#include "net/conn.h"
#include "smtp/client_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOSTS_MAX = 16,
    ADDRESSES_MAX = 16,
    RESTARTS_MAX = 2,
    PAUSE_MS = 5000,         /* after a refused connection, where others are open */
    IMPLICIT_TLS_PORT = 465, /* RFC 8314 */
    BODY_AHEAD = 256 * 1024, /* unsent bytes of a body past which we wait */
};

enum outbound_state { LOOKING_UP, CONNECTING, TALKING, IDLE, ENDING };

struct outbound {
    struct list_node node;
    struct destination *destination;
    struct courier *courier;
    enum outbound_state state;
    bool ready_once;
    bool through;           /* counted as opening no more */
    bool no_tls, once_more; /* opportunistic TLS failed: the same address again, in clear */
    bool final;             /* the next host would say the same: do not try it */
    struct worker_item start;
    bool starting;
    uint64_t messages; /* deliveries that this connection has begun */

    /* where to */
    struct route_host hosts[HOSTS_MAX];
    size_t host_count, host;
    struct netaddr addresses[ADDRESSES_MAX];
    size_t address_count, address;
    struct resolver_call *call;

    /* why the last try failed; the worst that can be said when none is left */
    enum queue_outcome_kind fail_kind;
    int fail_code;
    char fail_status[12], fail_text[512];

    struct conn *conn;
    struct smtp_client engine;
    bool engine_live, pumping;
    struct auth_client *auth;
    struct auth_job *auth_job;

    /* the message under way */
    struct delivery *delivery;
    struct smtp_client_transaction transaction; /* the engine reads it until FINISHED */
    struct smtp_client_recipient *recipients;
    char sender[SMTP_CLIENT_ADDRESS_MAX];
    uint32_t chunk; /* the next to be read */
    bool reading;
    struct buf part;
    size_t part_used;
    bool wants_body;
    uint64_t sent;
};

struct read_job {
    struct lane_job job;
    struct outbound *outbound; /* NULL: it is gone */
    struct buf chunk;
    uint64_t id;
    uint32_t index;
    bool ok;
    struct err e;
};

struct auth_job {
    struct lane_job job;
    struct outbound *outbound; /* NULL: it is gone */
    struct auth_client *client;
    struct buf challenge;
    bool starting, ok, has_initial;
    const char *mechanism;
    struct span response;
    struct err e;
};

static int64_t now_ms(const struct outbound *o)
{
    return (int64_t)worker_now_ms(o->courier->desk->worker);
}

static void pump(struct outbound *o);
static void next_address(struct outbound *o);
static void next_host(struct outbound *o);

struct outbound *outbound_of(struct list_node *node)
{
    return LIST_ENTRY(node, struct outbound, node);
}

bool outbound_is_idle(const struct outbound *o)
{
    return o->state == IDLE;
}

/* NULL: this hop wants no authentication. */
static const struct courier_credentials *credentials_of(const struct outbound *o)
{
    size_t i = o->destination->step.credentials;
    return i < o->courier->credential_count ? &o->courier->credentials[i] : NULL;
}

/* ---- life ---- */

static void set_state(struct outbound *o, enum outbound_state state)
{
    struct destination *d = o->destination;
    if (o->state == IDLE)
        d->idle_count--;
    o->state = state;
    if (state == IDLE)
        d->idle_count++;
}

static void no_longer_opening(struct outbound *o)
{
    if (!o->through) {
        o->through = true;
        o->destination->opening_count--;
    }
}

/* The connection is over and its memory is ours again: nothing refers to it any more. */
static void outbound_free(struct outbound *o)
{
    struct destination *d = o->destination;
    struct courier *c = o->courier;
    no_longer_opening(o);
    set_state(o, ENDING);
    resolver_cancel(&o->call);
    list_remove(&o->node);
    d->outbound_count--;
    c->connection_count--;
    if (o->engine_live)
        smtp_client_deinit(&o->engine);
    if (o->auth_job != NULL)
        o->auth_job->outbound = NULL; /* its client goes with it */
    else
        auth_client_free(&o->auth);
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

static void failed(struct outbound *o, enum queue_outcome_kind kind, int code, const char *status,
                   const char *text)
{
    o->fail_kind = kind;
    o->fail_code = code;
    (void)snprintf(o->fail_status, sizeof o->fail_status, "%s", status);
    (void)snprintf(o->fail_text, sizeof o->fail_text, "%s", text);
}

/* No host is left to try. */
static void give_up(struct outbound *o)
{
    struct destination *d = o->destination;
    d->pause_until_ms = worker_now_ms(o->courier->desk->worker) + PAUSE_MS;
    log_event(LOG_WARN, "outbound.unreachable", LOG_S("destination", d->step.key),
              LOG_S("why", o->fail_text));
    destination_unreachable(d, o->fail_kind, o->fail_code, o->fail_status, o->fail_text);
    outbound_free(o);
}

/* ---- where to ---- */

static void got_addresses(void *arg, const struct resolver_addresses *answer)
{
    struct outbound *o = arg;
    o->call = NULL;
    o->address = o->address_count = 0;
    for (size_t i = 0; i < answer->n && i < ADDRESSES_MAX; i++)
        o->addresses[o->address_count++] = answer->list[i];
    if (o->address_count == 0) {
        char text[400];
        const char *name = o->hosts[o->host].name;
        bool unknown = answer->result == DNS_NO_NAME || answer->result == DNS_NO_DATA;
        (void)snprintf(text, sizeof text, "%s: %s", name,
                       unknown ? "the host has no address" : "its address cannot be looked up now");
        /* A smart host that does not exist is the administrator's slip: the mail waits for him. */
        failed(o, QUEUE_DEFERRED, 0, unknown ? "4.4.4" : "4.4.3", text);
        next_host(o);
        return;
    }
    next_address(o);
}

static void look_up_host(struct outbound *o)
{
    const struct route_host *h = &o->hosts[o->host];
    set_state(o, LOOKING_UP);
    if (h->literal) {
        o->addresses[0] = h->address;
        o->address_count = 1;
        o->address = 0;
        next_address(o);
        return;
    }
    o->call = resolver_addresses(o->courier->desk->resolver, span_str(h->name), got_addresses, o);
}

static void next_host(struct outbound *o)
{
    o->host++;
    o->no_tls = false;
    if (o->final || o->host >= o->host_count)
        give_up(o);
    else
        look_up_host(o);
}

static bool is_own_name(const struct outbound *o, const char *name)
{
    return span_equal_nocase(span_str(name), span_str(o->courier->desk->policy->hostname));
}

static void got_mx(void *arg, const struct resolver_mx *answer)
{
    struct outbound *o = arg;
    const struct route_step *step = &o->destination->step;
    o->call = NULL;
    char text[400];
    switch (answer->result) {
    case RESOLVER_MX_NULL:
        (void)snprintf(text, sizeof text, "%s takes no mail (null MX)", step->domain);
        failed(o, QUEUE_FAILED, 556, "5.1.10", text);
        give_up(o);
        return;
    case RESOLVER_MX_NONE:
        (void)snprintf(text, sizeof text, "%s: no such domain, or it has no mail host",
                       step->domain);
        failed(o, QUEUE_FAILED, 0, "5.1.2", text);
        give_up(o);
        return;
    case RESOLVER_MX_FAILURE:
        (void)snprintf(text, sizeof text, "%s: its mail host cannot be looked up now%s%s",
                       step->domain, answer->why == NULL ? "" : ": ",
                       answer->why == NULL ? "" : answer->why);
        failed(o, QUEUE_DEFERRED, 0, "4.4.3", text);
        give_up(o);
        return;
    case RESOLVER_MX:
    case RESOLVER_MX_ADDRESS: break;
    }
    uint32_t own = UINT32_MAX; /* RFC 5321 5.1: nobody as far as or farther than ourselves */
    for (size_t i = 0; i < answer->n; i++)
        if (is_own_name(o, answer->hosts[i].name) && answer->hosts[i].preference < own)
            own = answer->hosts[i].preference;
    for (size_t i = 0; i < answer->n && o->host_count < HOSTS_MAX; i++) {
        struct route_host *h = &o->hosts[o->host_count];
        if (answer->hosts[i].preference >= own)
            continue;
        *h = (struct route_host){.port = step->port};
        if (span_cstr(span_str(answer->hosts[i].name), h->name, sizeof h->name))
            o->host_count++;
    }
    if (o->host_count == 0) {
        (void)snprintf(text, sizeof text,
                       "%s: we are its best mail host ourselves, but it is no local domain here",
                       step->domain);
        failed(o, QUEUE_FAILED, 0, "5.4.6", text);
        give_up(o);
        return;
    }
    look_up_host(o);
}

/* ---- the engine's output and deadline ---- */

static void arm(struct outbound *o)
{
    if (o->conn == NULL)
        return;
    int64_t at = smtp_client_deadline(&o->engine);
    uint64_t now = worker_now_ms(o->courier->desk->worker);
    if (o->state == IDLE)
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
        size_t n = out.n;
        if (!conn_write(o->conn, out))
            return;
        smtp_client_sent(&o->engine, n, now_ms(o));
        if (conn_pending(o->conn) > BODY_AHEAD)
            return;
    }
}

/* ---- AUTH ---- */

static void auth_run(struct lane_job *job, void *context)
{
    (void)context;
    struct auth_job *j = LIST_ENTRY(job, struct auth_job, job);
    if (j->starting)
        j->ok = auth_client_start(j->client, &j->mechanism, &j->has_initial, &j->response, &j->e);
    else
        j->ok = auth_client_step(j->client, buf_span(&j->challenge), &j->response, &j->e);
}

static void auth_unusable(struct outbound *o, const char *text)
{
    log_event(LOG_ERROR, "outbound.auth.impossible", LOG_S("host", o->hosts[o->host].name),
              LOG_S("why", text));
    o->final = true;
    failed(o, QUEUE_DEFERRED, 0, "4.7.0", text);
    smtp_client_quit(&o->engine, now_ms(o));
}

static void auth_done(struct lane_job *job)
{
    struct auth_job *j = LIST_ENTRY(job, struct auth_job, job);
    struct outbound *o = j->outbound;
    if (o == NULL) {
        auth_client_free(&j->client);
    } else {
        int64_t now = now_ms(o);
        o->auth_job = NULL;
        if (j->ok && j->starting)
            smtp_client_auth(&o->engine, j->mechanism, j->has_initial, j->response, now);
        else if (j->ok)
            smtp_client_auth_answer(&o->engine, j->response, now);
        else if (j->starting)
            auth_unusable(o, j->e.text);
        else
            smtp_client_auth_cancel(&o->engine, now);
        pump(o);
    }
    secret_wipe_bytes(j->challenge.p, j->challenge.cap);
    buf_deinit(&j->challenge);
    free(j);
}

static void auth_submit(struct outbound *o, bool starting, struct span challenge)
{
    struct auth_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        buf_init(&j->challenge, 16384);
        j->outbound = o;
        j->client = o->auth;
        j->starting = starting;
        j->job =
            (struct lane_job){.run = auth_run, .done = auth_done, .home = o->courier->desk->worker};
        if (buf_add(&j->challenge, challenge) &&
            lane_submit(o->courier->desk->env->auth_lane, &j->job) == LANE_OK) {
            o->auth_job = j;
            return;
        }
        buf_deinit(&j->challenge);
        free(j);
    }
    auth_unusable(o, "the authentication lane has too much to do");
}

static void auth_begin(struct outbound *o, struct span offered)
{
    const struct courier_credentials *credentials = credentials_of(o);
    struct err e = {0};
    struct tls_binding binding = {0};
    if (credentials == NULL || !credentials->usable) {
        auth_unusable(o, "the password file of this next hop cannot be read");
        return;
    }
    bool tls = conn_is_tls(o->conn);
    if (tls)
        (void)conn_tls_binding(o->conn, &binding);
    const struct auth_client_options options = {
        .offered = offered,
        .hostname = o->hosts[o->host].name,
        .user = credentials->user,
        .password = secret_span(&credentials->password),
        .tls = tls,
        .binding = {.type = binding.type, .bytes = span_of(binding.data, binding.n)}};
    auth_client_free(&o->auth);
    if (auth_client_new(&options, &o->auth, &e))
        auth_submit(o, true, span_str(""));
    else
        auth_unusable(o, e.text);
    secret_wipe_bytes(&binding, sizeof binding);
}

static void auth_refused(struct outbound *o, const struct smtp_client_outcome *outcome)
{
    char text[512];
    const struct courier_credentials *credentials = credentials_of(o);
    (void)snprintf(text, sizeof text, "authentication as %s was refused: %d %s %.300s",
                   credentials == NULL ? "?" : credentials->user, outcome->code, outcome->status,
                   outcome->text);
    log_event(LOG_ERROR, "outbound.auth.refused", LOG_S("host", o->hosts[o->host].name),
              LOG_S("why", text));
    o->final = true; /* the mail waits; nobody gets a report of it */
    failed(o, QUEUE_DEFERRED, outcome->code, "4.7.8", text);
    smtp_client_quit(&o->engine, now_ms(o));
}

/* ---- the body ---- */

static void read_run(struct lane_job *job, void *context)
{
    struct read_job *j = LIST_ENTRY(job, struct read_job, job);
    struct courier *c = context;
    j->ok = (c->reader != NULL || queue_reader_open(c->desk->env->queue, &c->reader, &j->e)) &&
            queue_reader_chunk(c->reader, j->id, j->index, &j->chunk, &j->e);
}

static void give_body(struct outbound *o);

static void read_done(struct lane_job *job)
{
    struct read_job *j = LIST_ENTRY(job, struct read_job, job);
    struct outbound *o = j->outbound;
    if (o != NULL && o->conn == NULL) { /* the connection broke meanwhile */
        o->reading = false;
        outbound_free(o);
    } else if (o != NULL) {
        o->reading = false;
        if (o->delivery == NULL) {
            /* it is settled already: the peer refused it in the midst of the body */
        } else if (j->ok) {
            buf_deinit(&o->part);
            o->part = j->chunk;
            buf_init(&j->chunk, 0);
            o->part_used = 0;
            o->chunk++;
            give_body(o);
        } else {
            smtp_client_abort(&o->engine, j->e.text);
        }
        pump(o);
    }
    buf_deinit(&j->chunk);
    free(j);
}

static void read_next(struct outbound *o)
{
    struct read_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        buf_init(&j->chunk, QUEUE_CHUNK_MAX);
        j->outbound = o;
        j->id = o->delivery->parcel->message->id;
        j->index = o->chunk;
        j->job =
            (struct lane_job){.run = read_run, .done = read_done, .home = o->courier->desk->worker};
        if (lane_submit(o->courier->reading_lane, &j->job) == LANE_OK) {
            o->reading = true;
            return;
        }
        free(j);
    }
    smtp_client_abort(&o->engine, "the message cannot be read now");
}

static void give_body(struct outbound *o)
{
    int64_t now = now_ms(o);
    const struct queue_message *m = o->delivery->parcel->message;
    if (!o->wants_body)
        return;
    if (m->has_body) {
        struct span rest = span_from(m->body, (size_t)o->sent);
        o->sent += smtp_client_body(&o->engine, rest, true, now);
        o->wants_body = o->sent < m->body.n;
        return;
    }
    struct span rest = span_from(buf_span(&o->part), o->part_used);
    bool last = o->chunk == m->chunk_count;
    if (rest.n > 0 || last) {
        size_t n = smtp_client_body(&o->engine, rest, last, now);
        o->part_used += n;
        o->sent += n;
        if (n < rest.n || last)
            return; /* WANT_BODY comes again when there is room */
    }
    if (!o->reading)
        read_next(o);
}

/* ---- transactions ---- */

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
    o->sent = 0;
    o->chunk = 0;
    o->part_used = 0;
    buf_release(&o->part);
    buf_init(&o->part, QUEUE_CHUNK_MAX);
    o->wants_body = false;
    (void)snprintf(d->remote, sizeof d->remote, "%s", o->hosts[o->host].name);
    return smtp_client_start(&o->engine, &o->transaction, now_ms(o), e);
}

static void begin_delivery(struct outbound *o)
{
    while (o->state == TALKING || o->state == IDLE) {
        uint64_t most = o->courier->desk->policy->config->delivery.messages_per_connection;
        bool ends = o->courier->draining || (most > 0 && o->messages >= most);
        o->delivery = ends ? NULL : destination_take(o->destination);
        o->messages++;
        if (o->delivery == NULL) {
            if (ends)
                smtp_client_quit(&o->engine, now_ms(o));
            else
                set_state(o, IDLE);
            return;
        }
        set_state(o, TALKING);
        struct err e = {0};
        if (start_transaction(o, &e))
            return;
        struct delivery *d = o->delivery;
        o->delivery = NULL;
        delivery_fail(d, e.class == ERR_PERM ? QUEUE_FAILED : QUEUE_DEFERRED, 0,
                      e.class == ERR_PERM ? "5.1.3" : "4.3.0", e.text);
    }
}

static void take_verdict(struct outbound *o, const struct smtp_client_event *event)
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
static void finish_delivery(struct outbound *o)
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

/* ---- events ---- */

static void closed(struct outbound *o, const struct smtp_client_outcome *why)
{
    if (o->state == ENDING)
        return;
    set_state(o, ENDING);
    if (!o->ready_once && !o->final)
        /* Even a 554 greeting is about this host now, not about the mail: it waits. */
        failed(o, QUEUE_DEFERRED, why->code, why->status, why->text);
    flush(o);
    conn_close(o->conn);
}

static void handle(struct outbound *o, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_WANT_TLS: {
        flush(o);
        bool verify = o->destination->step.tls == ROUTE_TLS_VERIFY;
        struct tls_context *tls = courier_tls(o->courier, o->destination->domain);
        if (tls == NULL)
            smtp_client_tls_failed(&o->engine, "the trusted roots (ca_file) cannot be read");
        else
            conn_tls_client(o->conn, tls, verify ? TLS_VERIFY_NAME : TLS_VERIFY_NONE,
                            o->hosts[o->host].name);
        break;
    }
    case SMTP_CLIENT_AUTH_NEEDED: auth_begin(o, event->data); break;
    case SMTP_CLIENT_AUTH_CHALLENGE: auth_submit(o, false, event->data); break;
    case SMTP_CLIENT_AUTH_OK: {
        struct err e = {0};
        if (!auth_client_finish(o->auth, &e))
            auth_unusable(o, e.text);
        break;
    }
    case SMTP_CLIENT_AUTH_REFUSED: auth_refused(o, event->outcome); break;
    case SMTP_CLIENT_READY:
        o->ready_once = true;
        no_longer_opening(o);
        begin_delivery(o);
        break;
    case SMTP_CLIENT_WANT_BODY:
        o->wants_body = true;
        give_body(o);
        break;
    case SMTP_CLIENT_RECIPIENT: take_verdict(o, event); break;
    case SMTP_CLIENT_FINISHED: finish_delivery(o); break;
    case SMTP_CLIENT_CLOSED: closed(o, event->outcome); break;
    }
}

static void pump(struct outbound *o)
{
    if (o->pumping || o->conn == NULL)
        return;
    o->pumping = true;
    struct smtp_client_event event;
    bool more = true;
    while (more && o->conn != NULL) {
        more = false;
        while (o->state != ENDING && smtp_client_next_event(&o->engine, now_ms(o), &event)) {
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
    begin_delivery(o);
    pump(o);
}

void outbound_quit(struct outbound *o)
{
    set_state(o, TALKING);
    smtp_client_quit(&o->engine, now_ms(o));
    pump(o);
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
    bool implicit = o->hosts[o->host].port == IMPLICIT_TLS_PORT && step->tls != ROUTE_TLS_NONE;
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
    if (!smtp_client_init(&o->engine, &options, now_ms(o), &e)) {
        failed(o, QUEUE_DEFERRED, 0, "4.3.5", e.text);
        o->final = true;
        conn_abort(conn);
        return;
    }
    o->engine_live = true;
    set_state(o, TALKING);
    struct tls_context *tls = courier_tls(o->courier, o->destination->domain);
    if (implicit && tls == NULL) {
        failed(o, QUEUE_DEFERRED, 0, "4.7.5", "the trusted roots (ca_file) cannot be read");
        o->final = true;
        conn_abort(conn);
        return;
    }
    if (implicit)
        conn_tls_client(conn, tls,
                        step->tls == ROUTE_TLS_VERIFY ? TLS_VERIFY_NAME : TLS_VERIFY_NONE,
                        o->hosts[o->host].name);
    conn_read_start(conn);
    arm(o);
}

static size_t on_data(struct conn *conn, void *arg, struct span bytes)
{
    (void)conn;
    struct outbound *o = arg;
    if (o->state == ENDING)
        return bytes.n;
    if (o->courier->desk->observed)
        log_event(LOG_INFO, "smtp.out.reply", LOG_S("host", o->hosts[o->host].name),
                  LOG_SPAN("text", bytes));
    smtp_client_feed(&o->engine, bytes, now_ms(o));
    pump(o);
    return bytes.n;
}

static void on_eof(struct conn *conn, void *arg)
{
    struct outbound *o = arg;
    if (o->state == ENDING)
        return;
    smtp_client_lost(&o->engine, "the peer closed the connection");
    pump(o);
    if (o->state != ENDING && o->conn != NULL)
        conn_close(conn);
}

static void on_tls(struct conn *conn, void *arg, const struct conn_tls_result *result)
{
    struct outbound *o = arg;
    bool verify = o->destination->step.tls == ROUTE_TLS_VERIFY;
    if (result->ok && (!verify || result->info.verified)) {
        log_event(LOG_DEBUG, "outbound.tls", LOG_S("host", o->hosts[o->host].name),
                  LOG_S("version", result->info.version), LOG_S("cipher", result->info.cipher),
                  LOG_B("verified", result->info.verified));
        if (smtp_client_state(&o->engine) == SMTP_CLIENT_IN_TLS)
            smtp_client_tls_started(&o->engine, now_ms(o));
        conn_read_start(conn);
        pump(o);
        return;
    }
    char text[400];
    (void)snprintf(text, sizeof text, "TLS with %s failed: %s", o->hosts[o->host].name,
                   result->ok ? result->info.verify_text : result->failure->reason);
    log_event(LOG_WARN, "outbound.tls.failed", LOG_S("host", o->hosts[o->host].name),
              LOG_S("why", text));
    smtp_client_tls_failed(&o->engine, text);
    if (o->destination->step.tls == ROUTE_TLS_OPTIONAL && !o->no_tls)
        o->no_tls = o->once_more = true;
    pump(o);
}

static void on_drained(struct conn *conn, void *arg)
{
    (void)conn;
    struct outbound *o = arg;
    if (o->state != ENDING)
        pump(o);
}

static void on_deadline(struct conn *conn, void *arg)
{
    (void)conn;
    struct outbound *o = arg;
    int64_t now = now_ms(o);
    if (o->state == IDLE) {
        outbound_quit(o);
        return;
    }
    if (o->state == ENDING)
        return;
    smtp_client_timeout(&o->engine, now);
    pump(o);
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
        while (smtp_client_next_event(&o->engine, now_ms(o), &event))
            if (event.kind == SMTP_CLIENT_RECIPIENT)
                take_verdict(o, &event);
            else if (event.kind == SMTP_CLIENT_FINISHED)
                finish_delivery(o);
            else if (event.kind == SMTP_CLIENT_CLOSED && !o->ready_once && !o->final &&
                     o->state != ENDING)
                failed(o, QUEUE_DEFERRED, event.outcome->code, event.outcome->status,
                       event.outcome->text);
        smtp_client_deinit(&o->engine);
        o->engine_live = false;
    } else if (end != CONN_END_LOCAL && !o->final) {
        char text[sizeof o->fail_text], address[NETADDR_TEXT_MAX];
        netaddr_format(&o->addresses[o->address], address);
        (void)snprintf(text, sizeof text, "%.100s [%s]:%u: %.300s", o->hosts[o->host].name, address,
                       (unsigned)o->hosts[o->host].port,
                       why == NULL || why->class == ERR_NONE ? "cannot connect" : why->text);
        failed(o, QUEUE_DEFERRED, 0, "4.4.1", text);
    }
    if (o->ready_once || !list_linked(&o->destination->node)) {
        if (!o->reading) /* else read_done frees it */
            outbound_free(o);
        return;
    }
    set_state(o, CONNECTING);
    if (once_more && !o->final) {
        next_address(o);
        return;
    }
    o->no_tls = false;
    o->address++;
    if (o->final)
        give_up(o);
    else
        next_address(o);
}

static const struct conn_handlers handlers = {.on_connected = on_connected,
                                              .on_data = on_data,
                                              .on_eof = on_eof,
                                              .on_tls = on_tls,
                                              .on_drained = on_drained,
                                              .on_deadline = on_deadline,
                                              .on_closed = on_closed};

static void next_address(struct outbound *o)
{
    struct courier *c = o->courier;
    struct err e = {0};
    set_state(o, CONNECTING);
    while (o->address < o->address_count) {
        const struct sock_address to = {.ip = o->addresses[o->address],
                                        .port = o->hosts[o->host].port};
        o->conn =
            conn_connect(c->desk->worker, &to, NULL,
                         c->desk->policy->config->delivery.connect_timeout_ms, &handlers, o, &e);
        if (o->conn != NULL)
            return;
        failed(o, QUEUE_DEFERRED, 0, "4.4.1", e.text);
        o->address++;
    }
    next_host(o);
}

/* From the loop, so that no failure comes back while the caller still walks his lists. */
static void start(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct outbound *o = LIST_ENTRY(item, struct outbound, start);
    struct destination *d = o->destination;
    o->starting = false;
    if (!list_linked(&d->node)) { /* the courier is ending */
        outbound_free(o);
        return;
    }
    if (d->step.kind == ROUTE_MX) {
        o->call = resolver_mx(o->courier->desk->resolver, span_str(d->step.domain), got_mx, o);
        return;
    }
    memcpy(o->hosts, d->step.hosts, d->step.n_hosts * sizeof o->hosts[0]);
    o->host_count = d->step.n_hosts;
    look_up_host(o);
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
    failed(o, QUEUE_DEFERRED, 0, "4.4.1", "no host to connect to");
    o->starting = true;
    o->start.run = start;
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
