/* server_trace.h - which reply belongs to which command: what the server engine notes of itself for
 * a log that has one row for both (session/inbound_w3c.c). Owner: whoever sets smtp_server.trace to
 * a buffer of his own, after init; NULL: nothing is noted. Order: a command as it is taken up,
 * behind it its reply, or several: 334 and 354 are none of the last. A reply without a command is
 * the greeting or one that ends the session. A full buffer fails (buf.h) and costs the log its
 * rows, never the session. Of a command only what may be shown is noted: verb and argument, of AUTH
 * the mechanism alone, of a line that is no command nothing, since it may be a password at the
 * wrong moment. */
#ifndef POSTERN_SMTP_SERVER_TRACE_H
#define POSTERN_SMTP_SERVER_TRACE_H

#include "base/buf.h"

enum smtp_trace_kind { SMTP_TRACE_COMMAND, SMTP_TRACE_REPLY };

struct smtp_trace {
    enum smtp_trace_kind kind;
    unsigned code;   /* of a reply */
    size_t bytes;    /* of the line, or of the reply, with their ends */
    uint64_t octets; /* of a reply: content that came for DATA or BDAT */
    int64_t now;     /* the engine's clock */
    size_t text_n;   /* of a command: verb, space, argument; cut */
};

enum { SMTP_TRACE_TEXT_MAX = 400 };

/* Takes the first entry off. text is valid until the buffer changes. */
bool smtp_trace_next(struct buf *trace, struct smtp_trace *entry, struct span *text);

#endif
