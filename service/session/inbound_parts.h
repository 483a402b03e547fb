/* inbound_parts.h - the inside of an inbound session, shared by inbound*.c.
 * Owner: inbound.c. Threads: the desk's only. Included by session/inbound*.c alone. */
#ifndef POSTERN_SESSION_INBOUND_PARTS_H
#define POSTERN_SESSION_INBOUND_PARTS_H

#include "net/conn.h"
#include "session/inbound.h"
#include "session/intake.h"
#include "smtp/server_engine.h"

enum { INBOUND_HELO_MAX = 128 };

struct inbound_auth_job;

/* The client's reverse names, once somebody had to look. */
struct inbound_names {
    enum acl_fact_state state;
    struct span *list; /* one block of memory, texts included */
    size_t n;
};

/* A command that waits for the look-up of the client's names. */
struct inbound_pending {
    enum acl_stage stage;
    uint32_t token; /* 0: nothing waits */
    struct smtp_path path;
    char *orcpt;
    unsigned notify;
};

struct inbound {
    struct session_desk *desk;
    struct slot_id slot;
    char id[SESSION_ID_MAX];
    struct conn *conn;
    struct sock_address peer;
    struct policy *policy; /* pinned while a transaction lasts */
    size_t listener;       /* in policy->listeners */
    struct smtp_server engine;
    struct smtp_server_options options;
    char *auth_clear, *auth_tls; /* mechanisms offered; on the heap, NULL = none */
    char helo[INBOUND_HELO_MAX];
    bool esmtp, implicit_tls, engine_live;
    bool pumping, closing, reading_stopped;
    bool tls_binding;
    struct inbound_names names;
    struct resolver_call *names_call;
    struct inbound_pending *pending; /* on the heap while it lasts */

    /* authentication */
    struct auth_exchange *exchange;
    struct inbound_auth_job *auth_job; /* the exchange is on the lane */
    struct worker_timer *tarpit;
    char *identity;       /* canonical; NULL: not authenticated */
    bool account_counted; /* this connection is in the account's count of the minute */
    bool authentication_failed;
    uint32_t auth_token;

    /* the transaction */
    struct intake *intake;
    uint32_t body_token; /* the final reply is owed */
    struct smtp_path sender;
    char mid[SESSION_ID_MAX]; /* the intake's token, for the log */
    bool smtputf8;
    int64_t partial_since; /* a command has begun and is not complete; 0: none */
    uint64_t messages, since_wall_ms;
    struct buf *protocol;    /* a command line under way, for logging.protocol */
    struct inbound_w3c *w3c; /* for logging.format: w3c, else NULL */
};

/* inbound.c */
void inbound_pump(struct inbound *s);
void inbound_reply(struct inbound *s, uint32_t token, unsigned code, const char *enhanced,
                   const char *text);
void inbound_offer(struct inbound *s); /* what may be used now: mechanisms by TLS and policy */
int64_t inbound_now(const struct inbound *s);

/* inbound_access.c */
void inbound_access_connect(struct inbound *s, uint32_t token);
void inbound_access_mail(struct inbound *s, uint32_t token);
void inbound_access_rcpt(struct inbound *s, uint32_t token, const struct smtp_path *path,
                         const struct smtp_rcpt_params *params);
void inbound_access_forget(struct inbound *s); /* cancels what waits */
/* Whether lines that end in LF alone are taken: the client's profile, else the listener. */
bool inbound_access_bare_lf(const struct inbound *s, bool listener);
bool inbound_may_relay(const struct inbound *s);

/* inbound_auth.c */
void inbound_auth_begin(struct inbound *s, const struct smtp_server_event *event);
void inbound_auth_response(struct inbound *s, const struct smtp_server_event *event);
void inbound_auth_end(struct inbound *s); /* cancelled, or the session is over */

/* inbound_mail.c */
void inbound_mail_begin(struct inbound *s, const struct smtp_server_event *event);
void inbound_mail_recipient(struct inbound *s, uint32_t token, const struct smtp_path *path,
                            const char *address, unsigned notify, struct span orcpt);
void inbound_body_start(struct inbound *s, uint32_t token);
void inbound_body(struct inbound *s, struct span bytes);
void inbound_body_end(struct inbound *s, const struct smtp_server_event *event);
void inbound_mail_drop(struct inbound *s);

/* inbound_protocol.c: the lines of logging.protocol, credentials blanked. */
void inbound_protocol_in(struct inbound *s, struct span bytes);
void inbound_protocol_out(struct inbound *s, struct span bytes);

/* inbound_w3c.c: the rows of logging.format: w3c. begin after the engine's init; the middle one
 * writes what the engine has noted so far. */
void inbound_w3c_begin(struct inbound *s);
void inbound_w3c(struct inbound *s);
void inbound_w3c_end(struct inbound *s);

#endif
