/* server.h - the helper's loop: connections in, questions read, each checked in a child of its own
 * that is killed when it is late.
 * Owner: main.c. Threads: none. Failure: an exit code; what goes wrong with one question is that
 * question's LOCAL_ACCOUNT_UNAVAILABLE. */
#ifndef POSTERN_HELPER_SERVER_H
#define POSTERN_HELPER_SERVER_H

#include "base/token_bucket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SERVER_CONNECTIONS_MAX = 128, /* further ones wait in the backlog */
    SERVER_CHECKS_MAX = 64,
    SERVER_UIDS_MAX = 8,
    SERVER_CHECKS_DEFAULT = 16,
    SERVER_DEADLINE_LEAST_MS = 100,
    SERVER_DEADLINE_MOST_MS = 60000,
    SERVER_READ_MS = 2000, /* a question must be there whole within this */
};

struct server_options {
    int socket;                     /* a listener, or the channel on which connected sockets come */
    bool channel;                   /* its end is ours */
    size_t checks;                  /* at a time; at most SERVER_CHECKS_MAX */
    uint32_t uids[SERVER_UIDS_MAX]; /* who may ask, besides root and our own uid */
    size_t uid_count;
    const char *pam_directory; /* NULL: the system's */
    struct token_bucket_rate all_rate, account_rate;
};

int server_run(const struct server_options *options); /* 0: the channel has ended */

#endif
