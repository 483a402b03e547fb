/* received.h - the lines that a relay writes on top of a message: Received:, Date:, Message-ID:.
 *
 * Owner: the caller's buffer. Threads: none. Failure: false only when the buffer is full. What a
 * peer said goes in cut and with every byte outside printable ASCII (UTF-8 where the protocol was
 * UTF8SMTP) and every character of structure (parentheses, semicolon, brackets) replaced by '?'.
 * An account's name is written only where the caller gives one. Sources: RFC 5321 4.4, RFC 5322 3.2
 * and 3.6, RFC 3848, RFC 6531 4.3.
 */
#ifndef POSTERN_MESSAGE_RECEIVED_H
#define POSTERN_MESSAGE_RECEIVED_H

#include "base/buf.h"
#include "base/netaddr.h"
#include "base/span.h"

enum {
    MESSAGE_DATE_MAX = 40, /* "Sat, 01 Jan 2000 00:00:00 +0000" and its NUL */
};

struct received_info {
    struct span hello;          /* what the client called itself; empty: "unknown" */
    struct span peer_name;      /* its confirmed reverse name; empty: none */
    const struct netaddr *peer; /* NULL: local submission (Pickup) */
    struct span by;             /* service.hostname */
    bool esmtp;                 /* EHLO was said */
    bool tls, authenticated, utf8;
    struct span identity;  /* the canonical name to tell, in a comment; empty: none */
    struct span tls_note;  /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty: none */
    struct span id;        /* the queue's */
    struct span recipient; /* the only recipient; empty: several, or not to be told */
    const char *with;      /* overrides the protocol keyword ("local" for Pickup); NULL: derived */
    int64_t wall_ms;       /* since 1970-01-01 UTC */
};

/* The keyword of RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP... */
const char *received_protocol(bool esmtp, bool tls, bool authenticated, bool utf8);

/* The whole field, folded, with its final CRLF. */
bool received_write(struct buf *out, const struct received_info *info);

/* RFC 5322 date-time in UTC; out has MESSAGE_DATE_MAX bytes. Times outside the years 1970-9999 are
 * moved to the nearest end. */
void message_date(int64_t wall_ms, char *out);
bool message_date_line(struct buf *out, int64_t wall_ms); /* "Date: ...\r\n" */
/* "Message-ID: <wall_ms-in-hex.id@host>\r\n"; id is the queue's, unique on this host. */
bool message_id_line(struct buf *out, int64_t wall_ms, struct span id, struct span host);

#endif
