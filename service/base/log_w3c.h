/* log_w3c.h - rows of a log in the W3C extended format, with the fields that IIS's SMTP service
 * wrote. (W3C WD-logfile-960323; the fields and their order are those of IIS, so that its analysers
 * go on.) PURE. Threads: any. What a peer said cannot end a row or a field: a space becomes +,
 * control characters and what is no ASCII become %XX, nothing becomes -. */
#ifndef POSTERN_BASE_LOG_W3C_H
#define POSTERN_BASE_LOG_W3C_H

#include "base/buf.h"

#include <stdint.h>

struct log_w3c_row {
    int64_t wall_ms; /* when it was answered; written in UTC */
    const char *client_ip;
    struct span user;     /* who logged in, else the name of EHLO */
    const char *computer; /* our name */
    const char *server_ip;
    unsigned server_port;
    struct span method; /* the verb */
    struct span stem;   /* the message's name here, where there is one */
    struct span query;  /* its argument */
    unsigned status;    /* the reply's code; 0 = none */
    uint64_t sent, received;
    uint64_t taken_ms;
};

/* One line without its end. */
void log_w3c_row(const struct log_w3c_row *row, struct buf *out);

/* The directives that stand before rows, lines without the last one's end. */
void log_w3c_head(const char *version, int64_t wall_ms, struct buf *out);

#endif
