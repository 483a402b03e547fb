/* TLS towards the next hop: after STARTTLS or from the first byte (RFC 8314), and what a handshake
 * that failed means for what the step demands. */
#include "session/outbound_parts.h"

#include "base/log.h"

#include <stdio.h>

enum { IMPLICIT_TLS_PORT = 465 }; /* RFC 8314 */

static void handshake(struct outbound *o, struct tls_context *tls)
{
    bool verify = o->destination->step.tls == ROUTE_TLS_VERIFY;
    conn_tls_client(o->conn, tls, verify ? TLS_VERIFY_NAME : TLS_VERIFY_NONE,
                    o->hosts[o->host].name);
}

void outbound_tls_starttls(struct outbound *o)
{
    struct tls_context *tls = courier_tls(o->courier, o->destination->domain);
    if (tls == NULL)
        smtp_client_tls_failed(&o->engine, "the trusted roots (ca_file) cannot be read");
    else
        handshake(o, tls);
}

bool outbound_tls_is_implicit(const struct outbound *o)
{
    return o->hosts[o->host].port == IMPLICIT_TLS_PORT &&
           o->destination->step.tls != ROUTE_TLS_NONE;
}

bool outbound_tls_implicit(struct outbound *o)
{
    struct tls_context *tls = courier_tls(o->courier, o->destination->domain);
    if (tls == NULL) {
        outbound_failed(o, QUEUE_DEFERRED, 0, "4.7.5",
                        "the trusted roots (ca_file) cannot be read");
        o->final = true;
        return false;
    }
    handshake(o, tls);
    return true;
}

void outbound_tls_done(struct conn *conn, void *arg, const struct conn_tls_result *result)
{
    struct outbound *o = arg;
    bool verify = o->destination->step.tls == ROUTE_TLS_VERIFY;
    if (result->ok && (!verify || result->info.verified)) {
        log_event(LOG_DEBUG, "outbound.tls", LOG_S("host", o->hosts[o->host].name),
                  LOG_S("version", result->info.version), LOG_S("cipher", result->info.cipher),
                  LOG_B("verified", result->info.verified));
        if (smtp_client_state(&o->engine) == SMTP_CLIENT_IN_TLS)
            smtp_client_tls_started(&o->engine, outbound_now(o));
        conn_read_start(conn);
        outbound_pump(o);
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
    outbound_pump(o);
}
