/* refusals.h - what was refused, with the facts and the rule that settled it, so that
 * `postern explain ID` can answer later, also after a restart and another configuration.
 * Kept in DATA/refusals.db, the newest REFUSALS_KEPT; losing the last ones in a crash costs an
 * explanation and no mail, so they are written without waiting for the disk.
 * Owner: run.c. Threads: refusals_add from any; refusals_find from any process. Failure: a refusal
 * that cannot be kept is counted and dropped, the refusal itself stands. */
#ifndef POSTERN_SESSION_REFUSALS_H
#define POSTERN_SESSION_REFUSALS_H

#include "acl/acl.h"
#include "base/buf.h"
#include "policy/policy.h"

enum { REFUSALS_KEPT = 20000 };

struct refusals;

struct refusal {
    const char *id; /* shown to the client and in the log */
    const char *session;
    const struct policy *policy; /* whose rule it was */
    const struct acl_facts *facts;
    const struct acl_reason *reason;
    struct span helo;
    bool observed; /* would have been refused, but for access.mode: observe */
};

struct refusals *refusals_open(const char *data_directory, struct err *e);
void refusals_add(struct refusals *r, const struct refusal *what); /* copies; never blocks */
void refusals_close(struct refusals **r);                          /* writes what waits */

/* One refusal as a JSON object: {"id", "time", "session", "verdict", "stage", "rule", "line",
 * "file", "entry", "reply", "why", "change", "facts": {...}}. *found tells "no such id" (or no
 * longer) from a failure. */
bool refusals_find(const char *data_directory, const char *id, struct buf *json, bool *found,
                   struct err *e);

/* All of them, the newest first, until visit says false. Without a file there are none. */
bool refusals_each(const char *data_directory, bool (*visit)(void *arg, struct span json),
                   void *arg, struct err *e);

#endif
