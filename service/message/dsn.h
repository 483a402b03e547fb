/* dsn.h - delivery status notifications: when one is due, and its text.
 *
 * Owner: the caller's buffer and the caller's data; pure (boundary and time are given). Threads:
 * none. Failure: false when the buffer is full. The original's bytes are streamed in by the caller:
 *     dsn_write_prefix(out, info)   header, human part, delivery-status, head of the third part
 *     ... the original: the whole message, or its header (dsn_returns_full) ...
 *     dsn_write_suffix(out, info)   the closing boundary
 * Sources: RFC 3464 (format), 3461 (NOTIFY, RET, ENVID, ORCPT), 6522 (multipart/report), 3834
 * (Auto-Submitted), 6533 (internationalised). The sender of a notice is always <>. */
#ifndef POSTERN_MESSAGE_DSN_H
#define POSTERN_MESSAGE_DSN_H

#include "base/buf.h"
#include "base/span.h"

/* The bits of an envelope's NOTIFY; 0: the parameter was absent. The same values everywhere in
 * Postern (smtp/client_engine.h, the queue's records). */
enum dsn_notify {
    DSN_NOTIFY_NEVER = 1,
    DSN_NOTIFY_SUCCESS = 2,
    DSN_NOTIFY_FAILURE = 4,
    DSN_NOTIFY_DELAY = 8,
};

enum dsn_action {
    DSN_FAILED,    /* given up */
    DSN_DELAYED,   /* still trying */
    DSN_DELIVERED, /* in the Drop directory */
    DSN_RELAYED,   /* handed to a hop that does not know DSN */
};

enum dsn_ret {
    DSN_RET_NONE,
    DSN_RET_FULL,
    DSN_RET_HDRS,
};

struct dsn_recipient {
    struct span address; /* as in the envelope */
    struct span orcpt;   /* "rfc822;xtext" as it was given; empty: none */
    enum dsn_action action;
    const char *status;     /* "5.1.1"; NULL or malformed: one that fits the action */
    struct span remote_mta; /* the next hop's name, or "[ip]"; empty: none was reached */
    int code;               /* the next hop's reply code; 0: it said nothing, reason is ours */
    struct span reason;     /* its reply's text, or our words */
    int64_t last_attempt_wall_ms;     /* 0: none */
    int64_t will_retry_until_wall_ms; /* for DSN_DELAYED; 0: not told */
};

struct dsn_info {
    struct span host;        /* service.hostname: Reporting-MTA, MAILER-DAEMON@host */
    struct span to;          /* the original sender, where the notice goes; never empty */
    struct span queue_id;    /* the original's, for the administrator */
    struct span envid;       /* xtext as given; empty: none */
    int64_t arrival_wall_ms; /* when we took the original; 0: not told */
    int64_t wall_ms;         /* now: Date */
    struct span id;          /* the notice's own, for its Message-ID */
    const char *boundary;    /* unique, 1-70 characters of A-Z a-z 0-9 - _ . */
    bool full;               /* the third part is the whole original (dsn_returns_full) */
    bool eightbit;           /* the original holds bytes over 127 */
    bool utf8;               /* the original came with SMTPUTF8: the RFC 6533 forms, and the notice
                                must itself be sent with SMTPUTF8 */
    const struct dsn_recipient *recipients;
    size_t recipient_count;
};

/* Whether the sender is to be told. Never for the null sender; NOTIFY absent: failures and delays.
 */
bool dsn_is_due(enum dsn_action action, unsigned notify, bool null_sender);

/* RET counts for failures only (RFC 3461 4.3); a message over max octets is returned as its header
 * whatever was asked; without RET a failure returns the whole message. */
bool dsn_returns_full(enum dsn_ret ret, enum dsn_action action, uint64_t size, uint64_t max);

bool dsn_write_prefix(struct buf *out, const struct dsn_info *info);
bool dsn_write_suffix(struct buf *out, const struct dsn_info *info);

#endif
