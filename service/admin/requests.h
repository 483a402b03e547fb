/* requests.h - what the control socket's commands do in the running service.
 *   reload | status | sessions.list | sessions.close (id) | queue.* (queue_requests.h)
 * Owner: run.c. Threads: the main worker's; a request visits the store lane or each desk's worker
 * and comes back. */
#ifndef POSTERN_ADMIN_REQUESTS_H
#define POSTERN_ADMIN_REQUESTS_H

#include "admin/control.h"
#include "session/env.h"

struct admin {
    struct session_env *env;
    struct worker *home;
    struct session_desk **desks; /* those that hold inbound sessions */
    size_t desk_count;
    /* Loads the configuration anew; false: *e says why, the old one stays. */
    bool (*reload)(void *context, struct err *e);
    void *context;
    int64_t started_wall_ms;
};

/* A control_handler; context is the struct admin. */
void admin_handle(void *context, struct control_request *request, json_t *body);

#endif
