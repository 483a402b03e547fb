/* explain_facts.h - from the options of `postern explain` to the facts that acl wants, the verdict
 * and the route. No look-up, no file, no socket: explain judges policy only.
 * Owner: the caller's struct; everything in it is borrowed from the request and the policy. */
#ifndef POSTERN_COMMANDS_EXPLAIN_FACTS_H
#define POSTERN_COMMANDS_EXPLAIN_FACTS_H

#include "acl/explain.h"
#include "policy/policy.h"
#include "route/route.h"
#include "smtp/path.h"

/* What was asked. */
struct explain_request {
    bool pickup; /* a file in the Pickup directory instead of a client */
    struct netaddr client;
    const struct policy_listener *listener;
    struct acl_names names; /* --host: a value; none and not looked up: unknown */
    const char *user;       /* NULL: not authenticated */
    bool tls;
    const char *from, *to;         /* with or without angle brackets */
    struct acl_rate_facts counted; /* as if this had been counted; zero: nothing yet */
};

/* "client.messages:60,account.recipients:5": what was counted within the minute. */
bool explain_read_counted(const char *text, struct acl_rate_facts *out, struct err *e);

/* What the client's profile changes without refusing anything: a step too. */
struct explain_effect {
    const char *step; /* "line-ends", "tls-version", "fixed-sender", "from-header" */
    enum acl_stage stage;
    char rule[48];
    struct acl_position at;
    char why[640], change[128];
};

enum { EXPLAIN_EFFECTS = 4 };

struct explain_answer {
    struct acl_explanation walk; /* the last step settled it */
    struct explain_effect effects[EXPLAIN_EFFECTS];
    size_t n_effects;
    bool has_route; /* allowed, and this is where it goes */
    struct route route;
};

void explain_judge(const struct policy *p, const struct explain_request *r,
                   struct explain_answer *out);

/* explain_effects.c: fills the effects; the walk is there. */
void explain_effects(const struct policy *p, const struct explain_request *r,
                     const struct acl_facts *facts, struct explain_answer *out);

/* Where no session with this --tls and --user could come about: why, in words; "" = it could. */
void explain_doubt(const struct policy *p, const struct explain_request *r, struct buf *out);

#endif
