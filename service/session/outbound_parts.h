/* outbound_parts.h - the inside of an outbound connection, shared by outbound*.c.
 * Owner: outbound.c. Threads: the desk's only; what runs on a lane is a job of its own: a read
 * keeps the connection alive until it is done, an AUTH step lives on without it.
 * Included by session/outbound*.c alone. */
#ifndef POSTERN_SESSION_OUTBOUND_PARTS_H
#define POSTERN_SESSION_OUTBOUND_PARTS_H

#include "net/conn.h"
#include "session/courier_parts.h"
#include "smtp/client_engine.h"

enum { OUTBOUND_HOSTS_MAX = 16, OUTBOUND_ADDRESSES_MAX = 16 };

enum outbound_state {
    OUTBOUND_LOOKING_UP,
    OUTBOUND_CONNECTING,
    OUTBOUND_TALKING,
    OUTBOUND_IDLE,
    OUTBOUND_ENDING
};

struct auth_client;
struct outbound_auth_job;

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
    struct route_host hosts[OUTBOUND_HOSTS_MAX];
    size_t host_count, host;
    struct netaddr addresses[OUTBOUND_ADDRESSES_MAX];
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
    struct outbound_auth_job *auth_job;

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

/* outbound.c */
int64_t outbound_now(const struct outbound *o);
void outbound_pump(struct outbound *o);
void outbound_set_state(struct outbound *o, enum outbound_state state);
void outbound_no_longer_opening(struct outbound *o);
/* Keeps why this try failed, for when no other is left. */
void outbound_failed(struct outbound *o, enum queue_outcome_kind kind, int code, const char *status,
                     const char *text);
void outbound_give_up(struct outbound *o); /* no host is left to try; frees it */
void outbound_free(struct outbound *o);
bool outbound_connect(struct outbound *o, const struct sock_address *to, struct err *e);

/* outbound_w3c.c: rows of logging.format: w3c, where they are wanted. */
void outbound_w3c_command(const struct outbound *o, struct span out);
void outbound_w3c_response(const struct outbound *o, struct span bytes);

/* outbound_hosts.c: each may end in outbound_give_up. */
void outbound_start(struct worker_item *item, struct worker *w);
void outbound_next_address(struct outbound *o);
void outbound_next_host(struct outbound *o);

/* outbound_tls.c */
void outbound_tls_starttls(struct outbound *o);
bool outbound_tls_is_implicit(const struct outbound *o);
bool outbound_tls_implicit(struct outbound *o); /* false: it cannot begin, the reason is kept */
void outbound_tls_done(struct conn *conn, void *arg, const struct conn_tls_result *result);

/* outbound_auth.c */
void outbound_auth_begin(struct outbound *o, struct span offered);
void outbound_auth_challenge(struct outbound *o, struct span challenge);
void outbound_auth_end(struct outbound *o); /* the server is content; is its proof right? */
void outbound_auth_refused(struct outbound *o, const struct smtp_client_outcome *outcome);
void outbound_auth_forget(struct outbound *o);

/* outbound_mail.c */
void outbound_mail_begin(struct outbound *o); /* the next delivery, or idle, or QUIT */
void outbound_mail_verdict(struct outbound *o, const struct smtp_client_event *event);
void outbound_mail_finish(struct outbound *o);

/* outbound_body.c */
void outbound_body(struct outbound *o); /* the engine wants some: gives what is there, or reads */
void outbound_body_reset(struct outbound *o);

#endif
