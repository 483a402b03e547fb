/* queue_requests.h - `postern queue` as JSON in and JSON out: the same words whether the running
 * service answers them or the tool opens the store itself.
 * Threads: queue_request runs where queue calls may run (the store lane, or a tool's main). */
#ifndef POSTERN_ADMIN_QUEUE_REQUESTS_H
#define POSTERN_ADMIN_QUEUE_REQUESTS_H

#include "queue/queue.h"

#include <jansson.h>

/* request: {"command": "queue.list", "state"?, "text"?, "after"?} gives one page, {"messages":
 * [{id, sender, size, created, state, recipients: [{address, state, attempts, next, last_reply}]}],
 * "next"}: the next page's "after", 0 = there is none (a page may be empty and not the last).
 * {"command": "queue.show" | "queue.hold" | "queue.release" | "queue.retry" | "queue.remove",
 * "ids": [..], "all"?} gives an array; with all: true it passes over what is gone meanwhile.
 * NULL: *e says why and *code is the exit code (1: no such message). Times are RFC 3339 texts in
 * UTC; a recipient's "next" is null where none. */
json_t *queue_request(struct queue *q, json_t *request, int64_t now_ms, int *code, struct err *e);

#endif
