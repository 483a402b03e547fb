/* A connection under TLS: records in, clear bytes up. */
#define _POSIX_C_SOURCE 200809L /* uv.h names types of POSIX threads */
#include "net/conn_internal.h"

#include <stdio.h>

static void begin(struct conn *c, const struct tls_session_options *options)
{
    struct err e = {0};
    if (c->state != CONN_OPEN || c->tls != NULL || c->handshaking)
        return;
    c->discarded = c->in.n;
    buf_release(&c->in);
    c->clear_ended = c->delivering;
    c->handshaking = true;
    c->tls = tls_session_new(options, &e);
    if (!options->server || c->tls == NULL) {
        /* The client's hello, or the failure just made, comes when the loop turns. */
        c->resume = true;
        conn_mark(c);
    }
    conn_update_reading(c);
}

void conn_tls_server(struct conn *c, struct tls_context *context)
{
    begin(c, &(struct tls_session_options){.context = context, .server = true, .out = &c->out});
}

void conn_tls_server_from(struct conn *c, struct tls_context *context, const char *minimum_version)
{
    begin(c, &(struct tls_session_options){.context = context,
                                           .server = true,
                                           .minimum_version = minimum_version,
                                           .out = &c->out});
}

void conn_tls_client(struct conn *c, struct tls_context *context, enum tls_verify verify,
                     const char *host)
{
    begin(c, &(struct tls_session_options){
                 .context = context, .verify = verify, .host = host, .out = &c->out});
}

/* The alert is still to be sent and read: the peer may be in the middle of a sentence. */
void conn_tls_fail(struct conn *c, const struct tls_failure *why)
{
    c->handshaking = false;
    struct conn_tls_result result = {.discarded = c->discarded, .failure = why};
    if (c->handlers->on_tls != NULL)
        c->handlers->on_tls(c, c->arg, &result);
    if (c->state != CONN_OPEN) {
        c->end = CONN_END_TLS;
        return;
    }
    conn_begin_end(c, CONN_END_TLS, CONN_TLS_LINGER_MS, CONN_TLS_LINGER_BYTES);
}

/* False: the handshake is not done, or the connection has ended. */
static bool shake_hands(struct conn *c)
{
    struct tls_failure why = {{0}, {0}, {0}, {0}};
    switch (tls_session_handshake(c->tls, &why)) {
    case TLS_STEP_WANT_INPUT: return false;
    case TLS_STEP_CLOSED:
    case TLS_STEP_FAILED: conn_tls_fail(c, &why); return false;
    case TLS_STEP_DONE: break;
    }
    c->handshaking = false;
    c->tls_done = true;
    struct conn_tls_result result = {.ok = true, .discarded = c->discarded};
    tls_session_info(c->tls, &result.info);
    if (c->handlers->on_tls != NULL)
        c->handlers->on_tls(c, c->arg, &result);
    return c->state == CONN_OPEN;
}

/* Record by record, as long as the callee wants them. False: there are no more for now. */
static bool read_record(struct conn *c)
{
    struct tls_failure why = {{0}, {0}, {0}, {0}};
    uint8_t *clear = worker_clear_buffer(c->worker);
    size_t n;
    switch (tls_session_read(c->tls, clear, WORKER_CLEAR_BUFFER, &n, &why)) {
    case TLS_STEP_DONE: conn_deliver(c, span_of(clear, n)); return c->state == CONN_OPEN;
    case TLS_STEP_WANT_INPUT: return false;
    case TLS_STEP_CLOSED:
        c->eof = true;
        conn_tell_eof(c);
        return false;
    case TLS_STEP_FAILED: (void)conn_fail(c, CONN_END_TLS, "TLS", why.reason); return false;
    }
    return false;
}

static void run(struct conn *c)
{
    if (c->handshaking && !shake_hands(c))
        return;
    while (c->want_read && c->in.n == 0 && read_record(c))
        ;
}

void conn_tls_input(struct conn *c, struct span bytes)
{
    tls_session_input(c->tls, bytes);
    run(c);
    struct span rest = tls_session_rest(c->tls);
    if (c->state == CONN_OPEN && rest.n > 0 && !buf_add(&c->raw, rest))
        (void)conn_fail(c, CONN_END_ERROR, "read", "no memory");
    tls_session_input(c->tls, (struct span){NULL, 0}); /* it was borrowed */
    if (c->state == CONN_OPEN)
        conn_update_reading(c);
    conn_mark(c); /* what the handshake or the reading wrote */
}

/* Goes on with the records that waited, and starts the handshake of a client. */
void conn_tls_pump(struct conn *c)
{
    if (c->tls == NULL) {
        struct tls_failure why = {.reason = "TLS could not be started: no memory, or a name that "
                                            "cannot be asked for"};
        conn_tls_fail(c, &why);
        return;
    }
    struct buf kept = c->raw;
    buf_init(&c->raw, kept.max);
    conn_tls_input(c, buf_span(&kept));
    buf_deinit(&kept);
}

bool conn_is_tls(const struct conn *c)
{
    return c->tls_done;
}

bool conn_tls_info(const struct conn *c, struct tls_info *out)
{
    *out = (struct tls_info){0};
    if (!c->tls_done)
        return false;
    tls_session_info(c->tls, out);
    return true;
}

bool conn_tls_binding(const struct conn *c, struct tls_binding *out)
{
    *out = (struct tls_binding){0};
    if (!c->tls_done)
        return false;
    tls_session_binding(c->tls, out);
    return out->type != NULL;
}

void conn_tls_end_points(const struct conn *c, struct tls_end_points *out)
{
    *out = (struct tls_end_points){0};
    if (c->tls_done)
        tls_session_end_points(c->tls, out);
}
