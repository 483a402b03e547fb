#include "commands/explain_print.h"
#include "commands/exit_codes.h"
#include "net/resolver.h"

#include <stdio.h>

struct lookup {
    struct worker *worker;
    struct resolver *resolver;
    const struct policy *policy;
    struct netaddr client;
    struct worker_item start;
    struct arena *arena;
    struct acl_names names;
    struct err error;
};

static void done(void *arg, const struct resolver_names *answer)
{
    struct lookup *l = arg;
    static const enum acl_fact_state states[] = {[RESOLVER_CONFIRMED] = FACT_VALUE,
                                                 [RESOLVER_ABSENT] = FACT_ABSENT,
                                                 [RESOLVER_FAILED] = FACT_FAILED};
    struct span *copies = arena_alloc(l->arena, answer->n * sizeof *copies);
    l->names.state = states[answer->result];
    for (size_t i = 0; copies != NULL && i < answer->n; i++) {
        copies[i] = arena_span(l->arena, span_str(answer->names[i]));
        l->names.n = i + 1;
    }
    l->names.v = copies;
    if (answer->result == RESOLVER_FAILED)
        fprintf(stderr, "postern: warning: the look-up failed: %s\n", answer->why);
    worker_stop(l->worker);
}

static void ask(struct worker_item *item, struct worker *w)
{
    struct lookup *l = LIST_ENTRY(item, struct lookup, start);
    struct resolver_options options = {.servers = l->policy->resolver_servers,
                                       .timeout_ms = l->policy->config->resolver.timeout_ms};
    l->resolver = resolver_open(w, &options, &l->error);
    if (l->resolver == NULL) {
        worker_stop(w);
        return;
    }
    (void)resolver_confirmed_names(l->resolver, &l->client, done, l);
}

int explain_resolve(const struct policy *p, const struct netaddr *client, struct arena *arena,
                    struct acl_names *names)
{
    struct lookup l = {.policy = p, .client = *client, .start = {.run = ask}, .arena = arena};
    l.names.state = FACT_FAILED;
    l.worker = worker_new("resolve", 0, &l.error);
    if (l.worker != NULL) {
        worker_post(l.worker, &l.start);
        worker_run(l.worker);
        resolver_close(&l.resolver);
        worker_free(&l.worker);
    }
    *names = l.names;
    if (l.error.class == ERR_NONE)
        return EXIT_DONE;
    fprintf(stderr, "postern: %s\n", l.error.text);
    return EXIT_INTERNAL;
}
