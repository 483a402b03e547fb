/* bad_server.h - a server on 127.0.0.1 that does not serve, each in its own way, on threads of its
 * own. Ends the test program when it cannot begin. */
#ifndef POSTERN_SUPPORT_BAD_SERVER_H
#define POSTERN_SUPPORT_BAD_SERVER_H

#include "base/span.h"

#include <stdint.h>

enum bad_server_kind {
    BAD_SERVER_SILENT,  /* takes the connection and says nothing */
    BAD_SERVER_DRIBBLE, /* a byte each 50 ms, without an end: what is given, then zeros */
    BAD_SERVER_CLOSE,   /* hangs up at once */
    BAD_SERVER_GARBAGE, /* says what is given, and hangs up */
    BAD_SERVER_FULL,    /* its backlog is full: a connection is never made */
};

struct bad_server;

struct bad_server *bad_server_start(enum bad_server_kind kind, struct span says);
uint16_t bad_server_port(const struct bad_server *s);
void bad_server_stop(struct bad_server **s);

#endif
