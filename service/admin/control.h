/* control.h - the local control socket: how `postern queue`, `sessions` and `reload` talk to the
 * running service. A request is one line of JSON, its answer one line of JSON:
 *     {"command": "queue.list"}            ->  {"ok": true, "result": [...]}
 *     {"command": "queue.show", "id": "x"} ->  {"ok": false, "error": "...", "code": 1}
 * The socket stands in the data directory, readable by the service's user alone; whoever can open
 * it may command. Bounded: 64 KiB a request, 64 connections.
 * Owner: run.c. Threads: the loop that it was opened on; a handler may answer later, on that loop.
 * Failure: control_open says why; a broken client is dropped. */
#ifndef POSTERN_ADMIN_CONTROL_H
#define POSTERN_ADMIN_CONTROL_H

#include "base/err.h"

#include <jansson.h>
#include <uv.h>

struct control;
struct control_request;

/* body is borrowed for the call. The handler answers exactly once, now or later. */
typedef void control_handler(void *context, struct control_request *request, json_t *body);

/* A socket that a dead service left is replaced: the caller holds the data directory's lock. */
bool control_open(uv_loop_t *loop, const char *path, control_handler *handler, void *context,
                  struct control **out, struct err *e);

/* Takes over result (NULL = null). The client may be gone by then: that is no error. */
void control_answer(struct control_request *request, json_t *result);
/* code is the exit code that the command line tool ends with. */
void control_refuse(struct control_request *request, int code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Stops listening and drops the clients; the memory goes with the loop's next turn. Requests that
 * are still unanswered may be answered afterwards; the answer goes nowhere. */
void control_close(struct control **c);

/* The client's side, blocking: sends the request (taken over) and waits for the answer. False:
 * ERR_PERM = nobody listens there (no service runs on this data directory), ERR_TEMP = no answer
 * within timeout_ms or a broken one. *answer is the caller's. */
bool control_call(const char *path, json_t *request, unsigned timeout_ms, json_t **answer,
                  struct err *e);

#endif
