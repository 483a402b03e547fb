/* client_engine.h - the client's half of one SMTP connection, without socket and without clock.
 *
 * Owner: the outbound session that embeds the struct. Threads: the session's own. Failure: nothing
 * here fails for the outside world's sake; whatever the peer does becomes an event. Sources:
 * RFC 5321 (4.2, 4.5.3.2), 2920 (pipelining), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8),
 * 3461 (DSN), 3207 (STARTTLS; CVE-2021-38371), 4954 (AUTH), 7504 (521).
 *
 * How it is driven:
 *     smtp_client_init(&c, &options, now, &e)
 *     for ever:
 *         while (smtp_client_next_event(&c, now, &event)) act on it;     (events first, then
 * output) while ((out = smtp_client_output(&c)).n > 0) n = write(out), smtp_client_sent(&c, n,
 * now); (sent something while WANT_BODY is open: ask for events again) wait for bytes ->
 * smtp_client_feed; end of stream or a broken socket -> smtp_client_lost; smtp_client_deadline
 * passed -> smtp_client_timeout. After the event CLOSED the socket can be closed once the output is
 * written; there are no more events. Every transaction that was started gives one RECIPIENT event
 * for each recipient and then FINISHED, whatever happens, before READY or CLOSED.
 *
 * What is awaited in which state, from whom, and for how long (RFC 5321 4.5.3.2):
 *   state        from     awaited                                   time-out    then
 *   GREETING     peer     220                                       greeting    EHLO (or HELO)
 *   EHLO         peer     250 + capabilities; 5xx: HELO             hello       STARTTLS|AUTH|READY
 *   HELO         peer     250                                       hello       READY
 *   STARTTLS     peer     220 and not a byte behind it              starttls    TLS
 *   TLS          session  tls_started | tls_failed                  -           EHLO | CLOSED
 *   AUTH_CHOICE  session  auth | auth_skip | quit                   -           AUTH | READY
 *   AUTH         peer     235 | 334 | 4xx | 5xx                     auth        READY, AUTH_*
 *   AUTH_ANSWER  session  auth_answer | auth_cancel                 -           AUTH
 *   READY        session  start | quit                              -           ENVELOPE | QUIT
 *   ENVELOPE     peer     replies to MAIL, RCPT..., DATA            mail/rcpt/data  BODY, RSET ...
 *   BODY         session  body | abort; from the peer nothing good  body        DOT
 *   DOT          peer     the reply that settles the message        end         READY
 *   LONE_DOT     peer     any reply (all refused, yet 354)          end         READY
 *   RSET         peer     250                                       rset        READY
 *   QUIT         peer     any reply                                 quit        CLOSED
 *   CLOSED       -        nothing
 * A reply where none is awaited, a reply of the wrong kind, one that is too long or no reply at all
 * ends the connection; what is undecided is deferred. 421 at any time does the same. */
#ifndef POSTERN_SMTP_CLIENT_ENGINE_H
#define POSTERN_SMTP_CLIENT_ENGINE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"
#include "smtp/data_codec.h"
#include "smtp/reply.h"

#define SMTP_CLIENT_NO_DEADLINE INT64_MAX

enum {
    SMTP_CLIENT_TEXT_MAX = 512,     /* what we keep of a reply's text */
    SMTP_CLIENT_HELLO_MAX = 256,    /* a host name and its NUL */
    SMTP_CLIENT_AUTH_MAX = 512,     /* the peer's list of mechanisms */
    SMTP_CLIENT_ADDRESS_MAX = 1024, /* above every path that we take ourselves */
};

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE,     /* never asked for */
    SMTP_CLIENT_TLS_OPTIONAL, /* used where offered; a refused STARTTLS goes on in clear */
    SMTP_CLIENT_TLS_REQUIRED, /* not offered or refused: temporary failure (verifying is the
                                 session's: it calls tls_failed) */
};

/* Milliseconds; 0 takes RFC 5321's value (see smtp_client_default_timeouts). */
struct smtp_client_timeouts {
    int64_t greeting_ms, hello_ms, starttls_ms, auth_ms;
    int64_t mail_ms, rcpt_ms, data_ms;
    int64_t body_ms; /* without any progress of the body */
    int64_t end_ms;  /* the reply to the final dot; too short a value makes duplicates */
    int64_t rset_ms, quit_ms;
};

struct smtp_client_options {
    const char *hello_name; /* copied; a host name or "[1.2.3.4]" */
    enum smtp_client_tls tls;
    bool secured;        /* TLS was there before the greeting (implicit) */
    bool auth;           /* this hop demands that we authenticate */
    bool auth_needs_tls; /* never AUTH in clear: temporary failure instead */
    bool helo_only;      /* say HELO at once (a switch that IIS has for remote domains) */
    bool no_pipelining;  /* one command at a time, whatever is offered */
    struct smtp_client_timeouts timeouts;
    size_t
        output_max; /* bytes of output held at most, 0: 64 KiB; bounds the body's back-pressure */
};

struct smtp_client_timeouts smtp_client_default_timeouts(void);

/* What the peer's last EHLO offered. Forgotten at STARTTLS. */
struct smtp_client_capabilities {
    bool esmtp; /* EHLO was answered by 250 */
    bool pipelining, eightbitmime, smtputf8, dsn, starttls, chunking, enhanced_codes;
    bool size;
    uint64_t size_limit;             /* 0: none declared */
    char auth[SMTP_CLIENT_AUTH_MAX]; /* upper case, each once, one space between; "" = none */
};

enum smtp_client_notify { /* RFC 3461 4.1; none: the parameter was not given */
                          SMTP_CLIENT_NOTIFY_NEVER = 1,
                          SMTP_CLIENT_NOTIFY_SUCCESS = 2,
                          SMTP_CLIENT_NOTIFY_FAILURE = 4,
                          SMTP_CLIENT_NOTIFY_DELAY = 8,
};

enum smtp_client_ret {
    SMTP_CLIENT_RET_NONE,
    SMTP_CLIENT_RET_FULL,
    SMTP_CLIENT_RET_HDRS,
};

struct smtp_client_recipient {
    struct span address; /* without brackets, as it stood on the wire (quoted where it must be) */
    struct span orcpt;   /* "rfc822;xtext" as it was given to us; empty: none */
    unsigned notify;     /* SMTP_CLIENT_NOTIFY_* bits */
};

/* One message for this hop. Everything it points to stays the caller's and must live until
 * FINISHED. */
struct smtp_client_transaction {
    struct span sender; /* without brackets; empty: <> */
    const struct smtp_client_recipient *recipients;
    size_t recipient_count;
    uint64_t size; /* octets for SIZE=; 0: unknown */
    bool eightbit; /* BODY=8BITMIME where offered; sent as it is where not */
    bool utf8;     /* the header needs SMTPUTF8 (addresses are looked at by the engine) */
    enum smtp_client_ret ret;
    struct span envid; /* xtext as it was given to us; empty: none */
};

enum smtp_client_result {
    SMTP_CLIENT_DELIVERED, /* the peer took the responsibility */
    SMTP_CLIENT_DEFERRED,  /* try again later */
    SMTP_CLIENT_FAILED,    /* permanent */
};

struct smtp_client_outcome {
    enum smtp_client_result result;
    int code;        /* the peer's reply code; 0: the verdict is ours (size, SMTPUTF8, time-out) */
    char status[12]; /* "5.1.1": the peer's enhanced code, else one that fits; never "" */
    char text[SMTP_CLIENT_TEXT_MAX]; /* the reply's lines joined by a space, or our words; cut;
                                        printable ASCII, all else is '?' */
    bool maybe_delivered; /* the reply to the final dot was lost: may be delivered twice, and must
                             never be the reason of a non-delivery report */
    bool no_attempt;      /* a connection used before died before its first reply: take a new one
                             at once and count nothing */
    bool too_many;        /* the peer takes no more recipients in this transaction: send the rest in
                             another one at once */
    bool needs_auth;      /* the peer wants authentication or TLS (530, 534, 535, 538): deferred, an
                             administrator must look */
    bool dsn_passed_on;   /* DELIVERED, and the hop will do the DSN duties itself */
};

enum smtp_client_event_kind {
    SMTP_CLIENT_WANT_TLS,       /* write the output, shake hands, then tls_started or tls_failed */
    SMTP_CLIENT_AUTH_NEEDED,    /* data: mechanisms offered; call auth, auth_skip or quit */
    SMTP_CLIENT_AUTH_CHALLENGE, /* data: the decoded challenge; call auth_answer or auth_cancel */
    SMTP_CLIENT_AUTH_OK,        /* outcome: the 235; data: empty. Nothing to call */
    SMTP_CLIENT_AUTH_REFUSED,   /* outcome: the refusal, DEFERRED always (it is no verdict on the
                                   mail);   call auth again, auth_skip or quit */
    SMTP_CLIENT_READY,          /* call start or quit, now or later */
    SMTP_CLIENT_WANT_BODY,      /* room for a part of the body: call body (or abort) */
    SMTP_CLIENT_RECIPIENT,      /* outcome of recipients[recipient] */
    SMTP_CLIENT_FINISHED,       /* the transaction is over, all recipients are decided */
    SMTP_CLIENT_CLOSED,         /* outcome: why (DELIVERED: in good order); close the socket */
};

/* data and outcome live in the engine until the next call to it. */
struct smtp_client_event {
    enum smtp_client_event_kind kind;
    size_t recipient;
    struct span data;
    const struct smtp_client_outcome *outcome;
};

enum smtp_client_state {
    SMTP_CLIENT_IN_GREETING,
    SMTP_CLIENT_IN_EHLO,
    SMTP_CLIENT_IN_HELO,
    SMTP_CLIENT_IN_STARTTLS,
    SMTP_CLIENT_IN_TLS,
    SMTP_CLIENT_IN_AUTH_CHOICE,
    SMTP_CLIENT_IN_AUTH,
    SMTP_CLIENT_IN_AUTH_ANSWER,
    SMTP_CLIENT_IN_READY,
    SMTP_CLIENT_IN_ENVELOPE,
    SMTP_CLIENT_IN_BODY,
    SMTP_CLIENT_IN_DOT,
    SMTP_CLIENT_IN_LONE_DOT,
    SMTP_CLIENT_IN_RSET,
    SMTP_CLIENT_IN_QUIT,
    SMTP_CLIENT_IN_CLOSED,
    SMTP_CLIENT_STATE_COUNT,
};

struct smtp_client; /* below */

/* False (ERR_PERM) when the hello name could not stand on a command line. */
bool smtp_client_init(struct smtp_client *c, const struct smtp_client_options *options, int64_t now,
                      struct err *e);
void smtp_client_deinit(struct smtp_client *c);

/* Bytes from the peer. In state TLS nothing may be fed until tls_started (those are the
 * handshake's); what is fed all the same ends the connection as an injection. */
void smtp_client_feed(struct smtp_client *c, struct span bytes, int64_t now);
/* The stream ended or broke (a reset, a TLS error); why is for the outcome's text. */
void smtp_client_lost(struct smtp_client *c, const char *why);
/* The deadline passed. Does nothing when it has not. */
void smtp_client_timeout(struct smtp_client *c, int64_t now);
int64_t smtp_client_deadline(const struct smtp_client *c);

/* False: nothing to tell until something else happens. */
bool smtp_client_next_event(struct smtp_client *c, int64_t now, struct smtp_client_event *event);

/* What to write; valid until the next call to the engine. */
struct span smtp_client_output(const struct smtp_client *c);
void smtp_client_sent(struct smtp_client *c, size_t n, int64_t now);
/* The pending output holds credentials: a protocol log must not show it. */
bool smtp_client_output_is_secret(const struct smtp_client *c);

void smtp_client_tls_started(struct smtp_client *c, int64_t now);
void smtp_client_tls_failed(struct smtp_client *c, const char *why);

/* has_initial with an empty span is the "=" of RFC 4954. The bytes are raw, not base64. An initial
 * response too long for a command line waits for the peer's empty challenge. */
void smtp_client_auth(struct smtp_client *c, const char *mechanism, bool has_initial,
                      struct span initial, int64_t now);
void smtp_client_auth_answer(struct smtp_client *c, struct span response, int64_t now);
void smtp_client_auth_cancel(struct smtp_client *c, int64_t now); /* "*"; AUTH_REFUSED follows */
void smtp_client_auth_skip(struct smtp_client *c);                /* go on without */

/* False: ERR_PERM where an address or a parameter could not stand on a command line (it would be an
 * injection; nothing was sent, the engine is still ready), ERR_TEMP without memory, ERR_BUG where
 * the engine is not READY. */
bool smtp_client_start(struct smtp_client *c, const struct smtp_client_transaction *t, int64_t now,
                       struct err *e);
/* A part of the message as stored; line ends of any kind go out as CRLF, dots are stuffed, the end
 * is CRLF.CRLF. Returns how many bytes were taken (output_max bounds them); with `last` and all of
 * them taken the message is complete. */
size_t smtp_client_body(struct smtp_client *c, struct span part, bool last, int64_t now);
/* Gives the connection up in the midst of whatever it does, without a final dot: what is undecided
 * is deferred, CLOSED follows. */
void smtp_client_abort(struct smtp_client *c, const char *why);
/* In READY and the AUTH choices: QUIT. Elsewhere as abort. */
void smtp_client_quit(struct smtp_client *c, int64_t now);

enum smtp_client_state smtp_client_state(const struct smtp_client *c);
const struct smtp_client_capabilities *smtp_client_capabilities(const struct smtp_client *c);

/* The engine's own; nothing outside smtp/client_*.c reads it. */
struct smtp_client {
    enum smtp_client_state state;
    enum smtp_client_tls tls;
    bool secured, auth_wanted, auth_needs_tls, helo_only, no_pipelining;
    char hello_name[SMTP_CLIENT_HELLO_MAX];
    struct smtp_client_timeouts timeouts;
    size_t output_max;
    int64_t deadline;

    struct buf in; /* bytes fed and not yet parsed: none when all events are pulled */
    struct smtp_reply_parser parser;
    struct buf out;  /* bytes not yet written */
    bool out_secret; /* out holds credentials: wiped as it goes */
    struct smtp_client_capabilities caps;

    bool announce;     /* the state's entry event is still to be told */
    bool closing_told; /* CLOSED was given out */
    bool authenticated;
    bool auth_cancelled;
    struct secret initial; /* the initial response that waits for an empty challenge */
    struct buf challenge;
    struct smtp_client_outcome outcome; /* of the event last given out */
    struct smtp_client_outcome closing; /* why the connection ends */

    /* The transaction. Its commands are numbered: 0 = MAIL, 1..n = RCPT, n + 1 = DATA. */
    const struct smtp_client_transaction *t;
    uint8_t *recipient_state; /* enum recipient_state in client_transaction.c */
    size_t commands_sent;     /* the next one to send */
    size_t commands_answered; /* the next one whose reply is awaited */
    size_t commands_end;      /* none is sent from here on */
    size_t accepted;          /* recipients */
    size_t told;              /* recipients passed by the final round of RECIPIENT events */
    bool telling;             /* that round is on; FINISHED ends it */
    bool mail_refused, data_accepted, needs_rset;
    bool reply_seen;                   /* in this transaction */
    bool used_before;                  /* an earlier transaction got a reply on this connection */
    bool body_asked;                   /* WANT_BODY was told and not yet answered */
    struct smtp_client_outcome shared; /* for all recipients that have none of their own */
    struct smtp_data_encoder encoder;
};

#endif
