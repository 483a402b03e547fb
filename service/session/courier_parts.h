/* courier_parts.h - the courier's own parts: parcel, delivery, destination, outbound connection.
 * Owner: courier.c the parcels, whoever holds it a delivery, destination.c the destinations,
 * outbound.c the connections. Threads: the courier's desk only. Included by session/ alone. */
#ifndef POSTERN_SESSION_COURIER_PARTS_H
#define POSTERN_SESSION_COURIER_PARTS_H

#include "base/list.h"
#include "base/secret.h"
#include "route/route.h"
#include "session/courier.h"

struct outbound;

/* One of policy.credentials with its password, read at start and at each reload. */
struct courier_credentials {
    const char *user;
    struct secret password;
    bool usable; /* the file could be read */
};

struct courier {
    struct session_desk *desk;
    uint64_t owner; /* of the claims */
    struct worker_timer *timer;
    struct worker_timer *growth; /* what still waits after a moment gets another connection */
    struct worker_timer *again;  /* next hops that could not be reached get another attempt */
    struct worker_item wake_item;
    atomic_bool woken, try_now;
    struct lane *reading_lane;
    struct queue_reader *reader; /* the reading lane's */
    struct list parcels;
    size_t parcel_count, parcel_bytes;
    struct list destinations;
    size_t destination_count, connection_count;
    bool claiming, claim_again, started, draining, growing, pausing;
    uint64_t pausing_until_ms;
    uint64_t full_since_ms; /* 0: there is room for parcels */
    struct courier_credentials *credentials;
    size_t credential_count;
    struct list trusts; /* client TLS contexts by their ca_file */
    void (*drained)(void *arg);
    void *drained_arg;
};

/* A claimed message. */
struct parcel {
    struct list_node node;
    struct courier *courier;
    struct queue_message *message;
    char id[QUEUE_ID_TEXT_MAX];
    unsigned deliveries; /* not yet recorded */
};

/* What became of one recipient. */
struct verdict {
    enum queue_outcome_kind kind;
    bool attempted, maybe_delivered, passed_on;
    int code; /* the peer's; 0: ours */
    char status[12];
    char text[512];
};

/* Recipients of one parcel that go the same way. */
struct delivery {
    struct list_node node; /* waiting in a destination */
    struct parcel *parcel;
    struct route *route;
    size_t step;          /* of the route, tried now */
    uint32_t *recipients; /* indexes into parcel->message->recipients */
    struct verdict *verdicts;
    size_t count;
    unsigned restarts; /* on connections that were dead already */
    char attempt[SESSION_ID_MAX];
    char remote[ROUTE_DOMAIN_MAX]; /* the host that was reached, for the report */
};

/* All that goes to one next hop: see route_step.key. */
struct destination {
    struct list_node node;
    struct courier *courier;
    struct route_step step;
    char domain[ROUTE_DOMAIN_MAX]; /* of the recipients that it was made for */
    struct list waiting;           /* of deliveries */
    size_t waiting_count;
    struct list outbound; /* of connections */
    size_t outbound_count, idle_count, opening_count;
    uint64_t pause_until_ms; /* no further connections before, while there are some */
    bool unreached;          /* the last attempt failed: one connection at a time tries again ... */
    uint64_t again_ms;       /* ... and not before; what arrives meanwhile waits for it */
    /* Where we authenticate: until a log-in has succeeded one connection at a time is opened; after
     * a refusal none is for a while, so that a wrong password does not lock the account there. What
     * comes meanwhile is deferred with the same words. */
    bool login_proved;
    uint32_t login_pause_ms;
    uint64_t login_again_ms; /* 0: no such pause */
    int login_code;
    char login_text[512];
};

/* courier.c */
void delivery_free(struct delivery *d);
void courier_parcel_done(struct parcel *p);
void courier_check_drained(struct courier *c);
/* For a next hop of that recipient domain; NULL: its trusted roots cannot be used. Borrowed. */
struct tls_context *courier_tls(struct courier *c, const char *domain);
/* Puts the delivery where its present step leads. */
void courier_send_on(struct delivery *d);

/* settle.c: every recipient has a verdict: notices, queue.finish; the delivery is gone. */
void delivery_settle(struct delivery *d);
/* All recipients of it alike. A temporary failure goes to the route's next step where there is
 * one. */
void delivery_fail(struct delivery *d, enum queue_outcome_kind kind, int code, const char *status,
                   const char *text);

/* Not tried at all: due again at next_ms, no attempt counted. */
void delivery_give_back(struct delivery *d, int64_t next_ms);

/* notices.c: the texts that a delivery's outcomes call for. */
struct notice_set;
struct notice_set *notices_new(const struct delivery *d, const struct queue_outcome *outcomes,
                               struct span original_header);
bool notices_are_due(const struct delivery *d, const struct queue_outcome *outcomes);
const struct queue_submission *notices_submissions(const struct notice_set *s, size_t *n);
void notices_free(struct notice_set **s);

/* destination.c */
void destination_add(struct courier *c, struct delivery *d);
void destination_pump(struct destination *d);
void destinations_grow(void *courier);
void destinations_again(void *courier); /* the pause after a failed attempt is over */
struct delivery *destination_take(struct destination *d);
void destination_put_back(struct destination *d, struct delivery *delivery);
/* No connection could be had: what waits fails with this, unless others are open. */
void destination_unreachable(struct destination *d, enum queue_outcome_kind kind, int code,
                             const char *status, const char *text);
void destination_login_ok(struct destination *d);
void destination_login_refused(struct destination *d, int code, const char *text);
void destination_release(struct destination *d); /* frees it when nothing is left of it */
void destinations_forget(struct courier *c);     /* those that only their failure was kept of */
void destinations_try_now(struct courier *c);    /* the pauses after a refused log-in end */
void destinations_quit_idle(struct courier *c);
void destinations_abort(struct courier *c);
/* Gives back the waiting deliveries of the fullest one, so that others get their turn. */
void destinations_make_room(struct courier *c);

/* outbound.c */
bool outbound_open(struct destination *d);
void outbound_next(struct outbound *o); /* idle: look for work */
void outbound_quit(struct outbound *o); /* idle: QUIT */
void outbound_abort(struct outbound *o);
bool outbound_is_idle(const struct outbound *o);
struct outbound *outbound_of(struct list_node *node);

/* drop.c */
void drop_delivery(struct delivery *d);
/* Files a message that can neither be delivered nor returned; then settles the delivery. */
void badmail_delivery(struct delivery *d, const char *reason, void (*done)(struct delivery *d));

#endif
