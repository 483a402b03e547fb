#include "session/inbound_parts.h"

#include "base/log.h"
#include "base/secret.h"
#include "platform/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OUTPUT_HIGH = 64 * 1024, /* replies that the client does not read: stop reading it */
    DATA_GRACE_MS = 15000,   /* content: so long no rate is asked for */
    LINGER_MS = 5000,
    LINGER_BYTES = 1024 * 1024,
};

static const struct conn_handlers handlers;

int64_t inbound_now(const struct inbound *s)
{
    return (int64_t)worker_now_ms(s->desk->worker);
}

static const struct policy_listener *listener_of(const struct inbound *s)
{
    return &s->policy->listeners[s->listener];
}

void inbound_reply(struct inbound *s, uint32_t token, unsigned code, const char *enhanced,
                   const char *text)
{
    struct smtp_reply reply = smtp_reply_make((uint16_t)code, enhanced, text);
    (void)smtp_server_answer(&s->engine, token, &reply, inbound_now(s));
}

/* ---- what is offered ---- */

static char *mechanisms(struct inbound *s, bool tls)
{
    char text[AUTH_MECHANISMS_TEXT_MAX];
    const struct auth_channel channel = {.tls = tls,
                                         .channel_binding = tls && s->tls_binding,
                                         .mechanisms =
                                             s->policy->listeners[s->listener].mechanisms};
    struct auth *auth = s->desk->env->auth;
    if (auth == NULL || !auth_mechanisms(auth, &channel, text, sizeof text))
        return NULL;
    size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    return copy == NULL ? NULL : memcpy(copy, text, n);
}

void inbound_offer(struct inbound *s)
{
    const struct policy_listener *l = listener_of(s);
    const struct config *config = s->policy->config;
    char *clear = mechanisms(s, false), *tls = mechanisms(s, true);
    struct smtp_server_options o;
    smtp_server_options_default(&o);
    o.hostname = s->policy->hostname;
    o.message_size_max = config->limits.message_size;
    o.session_size_max = config->limits.session_size;
    o.recipients_max = (uint32_t)config->limits.recipients;
    o.errors_max = (uint32_t)config->limits.errors;
    o.bare_lf = inbound_access_bare_lf(s, l->normalise_bare_lf) ? SMTP_BARE_LF_NORMALISE
                                                                : SMTP_BARE_LF_REJECT;
    o.starttls = l->starttls && s->desk->tls != NULL;
    o.require_tls = l->tls == CONFIG_LISTENER_REQUIRED;
    o.auth = clear == NULL ? "" : clear;
    o.auth_tls = tls == NULL || !(o.starttls || l->tls == CONFIG_LISTENER_IMPLICIT) ? o.auth : tls;
    o.greeting_timeout_ms = o.data_timeout_ms = (int64_t)config->limits.command_timeout_ms;
    o.command_timeout_ms = (int64_t)config->limits.idle_ms;
    o.data_rate_min = (uint32_t)config->limits.data_rate;
    o.data_grace_ms = DATA_GRACE_MS;
    struct smtp_server_options old = s->options;
    s->options = o;
    if (s->engine_live && !smtp_server_set_options(&s->engine, &s->options)) {
        s->options = old;
        free(clear);
        free(tls);
        return;
    }
    free(s->auth_clear);
    free(s->auth_tls);
    s->auth_clear = clear;
    s->auth_tls = tls;
}

/* A new configuration holds from the next transaction on. */
static void adopt_policy(struct inbound *s)
{
    struct policy *next = s->desk->policy;
    if (s->policy == next || smtp_server_in_transaction(&s->engine) || s->intake != NULL ||
        s->pending != NULL || s->exchange != NULL || s->body_token != 0)
        return;
    const char *address = listener_of(s)->config->address.text;
    const struct policy_listener *l = policy_listener_find(next, address);
    if (l == NULL || l->tls != listener_of(s)->tls)
        return; /* the listener is gone or another: this session ends by the rules it began with */
    struct policy *old = s->policy;
    size_t old_listener = s->listener;
    s->policy = policy_ref(next);
    s->listener = (size_t)(l - next->listeners);
    const struct smtp_server_options *before = &s->options;
    inbound_offer(s);
    if (before->hostname == old->hostname) { /* it was refused: not between transactions */
        policy_unref(&s->policy);
        s->policy = old;
        s->listener = old_listener;
        return;
    }
    policy_unref(&old);
}

/* ---- life ---- */

static void session_free(struct inbound *s)
{
    inbound_access_forget(s);
    inbound_auth_end(s);
    inbound_mail_drop(s);
    worker_timer_free(&s->tarpit);
    if (s->engine_live)
        smtp_server_deinit(&s->engine);
    slots_remove(&s->desk->sessions, s->slot);
    policy_unref(&s->policy);
    free(s->auth_clear);
    free(s->auth_tls);
    free(s->identity);
    free(s->names.list);
    inbound_w3c_end(s);
    if (s->protocol != NULL) {
        secret_wipe_bytes(s->protocol->p, s->protocol->cap);
        buf_deinit(s->protocol);
        free(s->protocol);
    }
    free(s);
}

static void begin_engine(struct inbound *s, bool tls)
{
    char client[NETADDR_TEXT_MAX];
    netaddr_format(&s->peer.ip, client);
    inbound_offer(s);
    smtp_server_init(&s->engine, &s->options, client, tls, inbound_now(s));
    s->engine_live = true;
    inbound_w3c_begin(s);
    conn_read_start(s->conn);
    inbound_pump(s);
}

/* By the address that was connected to, since a reload may have moved the listeners' places. */
static size_t find_listener(const struct policy *p, const struct sock_address *local)
{
    static const struct netaddr any6;
    const struct netaddr any4 = netaddr_v4((const uint8_t[4]){0, 0, 0, 0});
    const struct netaddr *any = netaddr_is_v4(&local->ip) ? &any4 : &any6;
    size_t wide = SIZE_MAX;
    for (size_t i = 0; i < p->listener_count; i++) {
        const struct policy_listener *l = &p->listeners[i];
        if (l->port == local->port && netaddr_equal(&l->ip, &local->ip))
            return i;
        if (l->port == local->port && netaddr_equal(&l->ip, any))
            wide = i;
    }
    return wide;
}

void inbound_arrive(struct worker *w, struct acceptor_arrival *arrival, void *context)
{
    struct session_env *env = context;
    struct session_desk *d = worker_user(w);
    struct err e = {0};
    size_t listener = find_listener(d->policy, &arrival->local);
    struct inbound *s = d->draining ? NULL : calloc(1, sizeof *s);
    if (s == NULL || listener == SIZE_MAX || !slots_add(&d->sessions, s, &s->slot)) {
        free(s);
        return; /* the acceptor closes it */
    }
    s->desk = d;
    s->peer = arrival->peer;
    s->policy = policy_ref(d->policy);
    s->listener = listener;
    s->since_wall_ms = (uint64_t)clock_wall_ms();
    s->implicit_tls = listener_of(s)->tls == CONFIG_LISTENER_IMPLICIT;
    s->tls_binding = true;
    session_id_make(env, s->id);
    s->conn = conn_accept(w, &arrival->sock, &handlers, s, &e);
    if (s->conn == NULL) {
        log_event(LOG_WARN, "smtp.session.failed", LOG_S("why", e.text));
        acceptor_release(env->acceptor, &s->peer.ip);
        session_free(s);
        return;
    }
    atomic_fetch_add_explicit(&env->counters.sessions, 1, memory_order_relaxed);
    char client[SOCK_ADDRESS_TEXT_MAX];
    sock_address_format(&s->peer, client);
    log_event(LOG_INFO, "smtp.session.opened", LOG_S("sid", s->id), LOG_S("client", client),
              LOG_S("listener", listener_of(s)->config->address.text));
    if (!s->implicit_tls) {
        begin_engine(s, false);
        return;
    }
    if (d->tls == NULL) { /* serve refuses to start so; a reload may have come to it */
        log_event(LOG_ERROR, "smtp.tls.no-certificate", LOG_S("sid", s->id));
        conn_close(s->conn);
        return;
    }
    conn_deadline(s->conn, (uint64_t)inbound_now(s) + s->policy->config->limits.command_timeout_ms);
    conn_tls_server_from(s->conn, d->tls, policy_tls_minimum(s->policy, &s->peer.ip));
}

/* ---- events ---- */

static void hello(struct inbound *s, const struct smtp_server_event *event)
{
    size_t n = event->hello.name.n < INBOUND_HELO_MAX ? event->hello.name.n : INBOUND_HELO_MAX - 1;
    memcpy(s->helo, event->hello.name.p, n);
    s->helo[n] = '\0';
    s->esmtp = event->hello.extended;
    (void)smtp_server_answer(&s->engine, event->token, NULL, inbound_now(s));
}

static void flush(struct inbound *s)
{
    struct span out;
    inbound_w3c(s);
    while ((out = smtp_server_output(&s->engine)).n > 0) {
        if (s->desk->observed)
            inbound_protocol_out(s, out);
        size_t n = out.n;
        if (!conn_write(s->conn, out))
            return;
        smtp_server_sent(&s->engine, n);
    }
}

static void starttls(struct inbound *s, uint32_t token)
{
    struct tls_context *tls = s->desk->tls;
    if (tls == NULL) {
        inbound_reply(s, token, 454, "4.7.0", "TLS not available due to temporary reason");
        return;
    }
    (void)smtp_server_answer(&s->engine, token, NULL, inbound_now(s));
    flush(s);
    conn_deadline(s->conn, (uint64_t)inbound_now(s) + s->policy->config->limits.command_timeout_ms);
    conn_tls_server_from(s->conn, tls, policy_tls_minimum(s->policy, &s->peer.ip));
}

static void close_session(struct inbound *s, enum smtp_server_close_reason why)
{
    static const char *const reasons[] = {
        [SMTP_CLOSE_NONE] = "none",       [SMTP_CLOSE_QUIT] = "quit",
        [SMTP_CLOSE_REFUSED] = "refused", [SMTP_CLOSE_EARLY] = "early-talker",
        [SMTP_CLOSE_ERRORS] = "errors",   [SMTP_CLOSE_TIMEOUT] = "timeout",
        [SMTP_CLOSE_LIMIT] = "limit",     [SMTP_CLOSE_PROTOCOL] = "protocol",
        [SMTP_CLOSE_SESSION] = "service", [SMTP_CLOSE_MEMORY] = "memory"};
    s->closing = true;
    flush(s);
    log_event(why == SMTP_CLOSE_QUIT ? LOG_DEBUG : LOG_INFO, "smtp.session.closing",
              LOG_S("sid", s->id), LOG_S("why", reasons[why]));
    conn_deadline(s->conn, 0);
    if (why == SMTP_CLOSE_QUIT)
        conn_close(s->conn);
    else /* the client may still be sending: a reset would eat the refusal */
        conn_linger(s->conn, LINGER_MS, LINGER_BYTES);
}

static void handle(struct inbound *s, const struct smtp_server_event *event)
{
    switch (event->type) {
    case SMTP_SERVER_NONE: break;
    case SMTP_SERVER_CONNECT: inbound_access_connect(s, event->token); break;
    case SMTP_SERVER_HELLO: hello(s, event); break;
    case SMTP_SERVER_STARTTLS: starttls(s, event->token); break;
    case SMTP_SERVER_AUTH: inbound_auth_begin(s, event); break;
    case SMTP_SERVER_AUTH_RESPONSE: inbound_auth_response(s, event); break;
    case SMTP_SERVER_AUTH_CANCEL: inbound_auth_end(s); break;
    case SMTP_SERVER_MAIL: inbound_mail_begin(s, event); break;
    case SMTP_SERVER_RCPT:
        inbound_access_rcpt(s, event->token, event->rcpt.path, &event->rcpt.params);
        break;
    case SMTP_SERVER_BODY_START: inbound_body_start(s, event->token); break;
    case SMTP_SERVER_BODY: inbound_body(s, event->body); break;
    case SMTP_SERVER_BODY_END: inbound_body_end(s, event); break;
    case SMTP_SERVER_RESET: inbound_mail_drop(s); break;
    case SMTP_SERVER_CLOSE: close_session(s, event->close); break;
    }
}

static void arm(struct inbound *s)
{
    int64_t at = smtp_server_deadline(&s->engine);
    /* The engine knows how long a client may be silent; how long a command may take once it has
     * begun is a shorter time, so that nobody keeps a session with a byte a minute. */
    bool partial = s->engine.mode == SMTP_MODE_COMMAND && s->engine.held.n > 0 && at != INT64_MAX;
    if (!partial)
        s->partial_since = 0;
    else if (s->partial_since == 0)
        s->partial_since = inbound_now(s);
    int64_t end = s->partial_since + (int64_t)s->policy->config->limits.command_timeout_ms;
    if (partial && end < at)
        at = end;
    conn_deadline(s->conn, at == INT64_MAX ? 0 : at <= 0 ? 1 : (uint64_t)at);
}

void inbound_pump(struct inbound *s)
{
    struct smtp_server_event event;
    if (s->pumping || s->closing || !s->engine_live)
        return;
    s->pumping = true;
    while (!s->closing && smtp_server_next_event(&s->engine, &event) != SMTP_SERVER_NONE)
        handle(s, &event);
    s->pumping = false;
    if (s->closing)
        return;
    smtp_server_keep(&s->engine);
    flush(s);
    if (s->engine.mode == SMTP_MODE_TLS)
        return; /* the handshake has its own deadline */
    arm(s);
    if (s->desk->draining && !smtp_server_in_transaction(&s->engine) && s->body_token == 0 &&
        s->auth_job == NULL && s->pending == NULL && s->intake == NULL) {
        struct smtp_reply bye = smtp_reply_make(421, "4.3.2", "Service is shutting down");
        smtp_server_shutdown(&s->engine, &bye);
        inbound_pump(s);
    }
}

/* ---- the connection ---- */

static bool wants_input(const struct inbound *s)
{
    return smtp_server_wants_input(&s->engine) && !s->reading_stopped &&
           conn_pending(s->conn) < OUTPUT_HIGH;
}

static size_t on_data(struct conn *conn, void *arg, struct span bytes)
{
    struct inbound *s = arg;
    size_t used = 0;
    while (used < bytes.n && !s->closing) {
        if (s->engine.mode == SMTP_MODE_TLS)
            return bytes.n; /* clear bytes behind STARTTLS: never executed */
        if (!wants_input(s)) {
            conn_read_stop(conn);
            break;
        }
        adopt_policy(s);
        struct span piece = span_sub(bytes, used, SMTP_SERVER_FEED_MAX);
        if (s->desk->observed)
            inbound_protocol_in(s, piece);
        used += piece.n;
        smtp_server_feed(&s->engine, piece, inbound_now(s));
        inbound_pump(s);
    }
    return s->closing ? bytes.n : used;
}

static void on_drained(struct conn *conn, void *arg)
{
    struct inbound *s = arg;
    if (!s->closing && s->engine_live && wants_input(s))
        conn_read_start(conn);
}

static void on_deadline(struct conn *conn, void *arg)
{
    (void)conn;
    struct inbound *s = arg;
    if (s->closing)
        return;
    if (!s->engine_live || s->engine.mode == SMTP_MODE_TLS) { /* the handshake takes too long */
        log_event(LOG_INFO, "smtp.tls.timeout", LOG_S("sid", s->id));
        s->closing = true;
        conn_abort(conn);
        return;
    }
    smtp_server_timeout(&s->engine, inbound_now(s));
    if (s->partial_since != 0 && s->engine.mode == SMTP_MODE_COMMAND) {
        struct smtp_reply bye = smtp_reply_make(421, "4.4.1", "Connection timed out");
        smtp_server_shutdown(&s->engine, &bye);
    }
    inbound_pump(s);
}

static void on_tls(struct conn *conn, void *arg, const struct conn_tls_result *result)
{
    struct inbound *s = arg;
    struct tls_binding binding = {0};
    if (!result->ok) {
        log_event(
            LOG_WARN, "smtp.tls.failed", LOG_S("sid", s->id),
            LOG_S("reason", result->failure->reason), LOG_S("offered", result->failure->offered),
            LOG_S("allowed", result->failure->allowed), LOG_S("change", result->failure->change));
        s->closing = true;
        return; /* the connection ends by itself */
    }
    log_event(LOG_INFO, "smtp.tls.started", LOG_S("sid", s->id),
              LOG_S("version", result->info.version), LOG_S("cipher", result->info.cipher),
              LOG_S("sni", result->info.server_name), LOG_B("resumed", result->info.resumed),
              LOG_U("discarded", result->discarded));
    s->tls_binding = conn_tls_binding(conn, &binding);
    secret_wipe_bytes(&binding, sizeof binding);
    free(s->identity);
    s->identity = NULL;
    s->account_counted = s->authentication_failed = false;
    s->helo[0] = '\0';
    if (!s->engine_live) {
        begin_engine(s, true);
        return;
    }
    smtp_server_tls_started(&s->engine, inbound_now(s));
    inbound_offer(s);
    conn_read_start(conn);
    inbound_pump(s);
}

static void on_closed(struct conn *conn, void *arg, enum conn_end end, const struct err *why)
{
    struct inbound *s = arg;
    bool odd = end != CONN_END_LOCAL && end != CONN_END_PEER && end != CONN_END_SHUTDOWN;
    log_event(LOG_INFO, "smtp.session.closed", LOG_S("sid", s->id), LOG_U("messages", s->messages),
              LOG_U("in", conn_bytes_in(conn)), LOG_U("out", conn_bytes_out(conn)),
              LOG_S("why", odd && why != NULL ? why->text : ""));
    acceptor_release(s->desk->env->acceptor, &s->peer.ip);
    session_free(s);
}

static const struct conn_handlers handlers = {.on_data = on_data,
                                              .on_tls = on_tls,
                                              .on_drained = on_drained,
                                              .on_deadline = on_deadline,
                                              .on_closed = on_closed};

/* ---- from outside ---- */

size_t inbound_count(const struct session_desk *d)
{
    return slots_count(&d->sessions);
}

void inbound_drain(struct session_desk *d)
{
    size_t cursor = 0;
    struct inbound *s;
    d->draining = true;
    while ((s = slots_next(&d->sessions, &cursor)) != NULL)
        inbound_pump(s);
}

void inbound_abort_all(struct session_desk *d)
{
    size_t cursor = 0;
    struct inbound *s;
    while ((s = slots_next(&d->sessions, &cursor)) != NULL) {
        s->closing = true;
        conn_abort(s->conn);
    }
}

static const char *state_of(const struct inbound *s)
{
    if (!s->engine_live || s->engine.mode == SMTP_MODE_TLS)
        return "handshake";
    if (s->closing)
        return "closing";
    if (s->auth_job != NULL)
        return "authenticating";
    if (s->body_token != 0)
        return "storing";
    return smtp_server_in_transaction(&s->engine) ? "transaction" : "idle";
}

void inbound_list(const struct session_desk *d,
                  void (*each)(void *arg, const struct inbound_status *status), void *arg)
{
    size_t cursor = 0;
    const struct inbound *s;
    while ((s = slots_next(&d->sessions, &cursor)) != NULL) {
        struct tls_info info;
        const struct inbound_status status = {.id = s->id,
                                              .listener = listener_of(s)->config->address.text,
                                              .identity = s->identity == NULL ? "" : s->identity,
                                              .client = s->peer,
                                              .helo = span_str(s->helo),
                                              .tls =
                                                  conn_tls_info(s->conn, &info) ? info.version : "",
                                              .state = state_of(s),
                                              .since_wall_ms = s->since_wall_ms,
                                              .messages = s->messages};
        each(arg, &status);
    }
}

bool inbound_close(struct session_desk *d, const char *id)
{
    size_t cursor = 0;
    struct inbound *s;
    while ((s = slots_next(&d->sessions, &cursor)) != NULL) {
        if (strcmp(s->id, id) != 0)
            continue;
        if (!s->engine_live || s->engine.mode == SMTP_MODE_TLS) {
            s->closing = true;
            conn_abort(s->conn);
            return true;
        }
        struct smtp_reply bye = smtp_reply_make(421, "4.3.2", "Closed by the administrator");
        smtp_server_shutdown(&s->engine, &bye);
        inbound_pump(s);
        return true;
    }
    return false;
}
