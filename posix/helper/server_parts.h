/* server_parts.h - inside the helper's server: its state, shared by server.c (loop, connections)
 * and children.c (checks). */
#ifndef POSTERN_HELPER_SERVER_PARTS_H
#define POSTERN_HELPER_SERVER_PARTS_H

#include "base/account_protocol.h"
#include "platform/local_account.h"
#include "posix/helper/limits.h"
#include "posix/helper/server.h"
#include "posix/helper/shadow.h"

#include <sys/types.h>

struct connection {
    int fd; /* -1: free */
    size_t n;
    bool whole;    /* the question is there */
    bool checking; /* a child has it */
    uint64_t until_ms;
    uint64_t key; /* of its account's guesses */
    uint8_t in[ACCOUNT_QUESTION_MAX + 1];
};

struct child {
    pid_t pid; /* 0: free. Kept until it is reaped, so that a kill never meets another process */
    int pipe;  /* -1: it has answered or ended */
    struct connection *connection; /* NULL: nobody waits any more */
    bool killed;
    uint64_t until_ms;
};

struct server {
    const struct server_options *options;
    struct limits limits;
    struct shadow_scheme scheme;
    struct connection connections[SERVER_CONNECTIONS_MAX];
    struct child children[SERVER_CHECKS_MAX];
    bool strays;             /* a check was killed: what it had started comes to us and goes too */
    uint64_t pause_until_ms; /* no descriptors: accept nothing until then */
};

uint64_t server_now_ms(void);

/* Sends the answer, closes the connection and wipes what it held. */
void server_answer(struct server *s, struct connection *c, enum local_account_result result,
                   struct span text);

/* children.c. False when there is no free place. */
bool children_start(struct server *s, struct connection *c, const struct account_question *q);
void children_read(struct server *s, struct child *ch);       /* its pipe is readable */
void children_watch(struct server *s, uint64_t now_ms);       /* deadlines, reaping */
void children_forget(struct server *s, struct connection *c); /* nobody waits for it: kill */

#endif
