/* policy.c - route_options to route_policy: everything copied, every fault found. */
#include "route/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_MEMORY_MAX = 256 * 1024 * 1024, DEFAULT_PORT = 25 };

/* The faults found so far, and where the next goes. */
struct faults {
    struct route_problem *v;
    size_t max, n;
    size_t found;
};

static void add_problem(struct faults *f, const struct route_position *at, const char *text)
{
    f->found++;
    if (f->n == f->max)
        return;
    struct route_problem *problem = &f->v[f->n++];
    *problem = (struct route_problem){.file = at->file, .line = at->line, .column = at->column};
    (void)span_cstr(span_sub(span_str(text), 0, sizeof problem->text - 1), problem->text,
                    sizeof problem->text);
}

static bool keep_at(struct route_policy *p, const struct route_position *from,
                    struct route_position *to)
{
    *to = *from;
    if (from->file == NULL)
        return true;
    to->file = arena_str(&p->memory, from->file);
    return to->file != NULL;
}

/* A domain of the options as A-labels; an unusable one becomes a problem and is "". */
static bool keep_domain_name(struct route_policy *p, struct span name,
                             const struct route_position *at, const char **out, struct faults *f)
{
    char ascii[ROUTE_DOMAIN_MAX], text[sizeof(struct route_problem)];
    struct err why;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    bool ok = route_domain_to_ascii(name, ascii, &why);
    if (!ok && why.class == ERR_TEMP)
        return false;
    if (!ok || !route_name_ok(span_str(ascii))) {
        (void)snprintf(text, sizeof text, "%.*s: not a domain, expected a name as example.net",
                       SPAN_ARG(span_sub(name, 0, 128)));
        add_problem(f, at, text);
        ascii[0] = '\0';
    }
    *out = arena_str(&p->memory, ascii);
    return *out != NULL;
}

static bool keep_hosts(struct route_policy *p, const char *text, const struct route_position *at,
                       struct route_entry *entry, struct faults *f)
{
    struct route_host hosts[ROUTE_HOSTS_MAX];
    struct err why;
    size_t n;
    if (!route_hosts_parse(text, p->port, hosts, &n, &why)) {
        add_problem(f, at, why.text);
        return why.class != ERR_TEMP;
    }
    if (n == 0)
        return true;
    entry->hosts = arena_alloc(&p->memory, n * sizeof *hosts);
    if (entry->hosts == NULL)
        return false;
    memcpy(entry->hosts, hosts, n * sizeof *hosts);
    entry->n_hosts = n;
    return true;
}

static bool keep_entry(struct route_policy *p, const struct route_options *options, size_t i,
                       struct faults *f)
{
    const struct route_domain_options *from = &options->domains[i];
    struct route_entry *to = &p->entries[i];
    struct span name = span_str(from->name);
    to->index = i;
    to->wildcard = span_starts_nocase(name, "*.");
    to->local = from->local;
    to->tls = from->tls_set ? from->tls : options->tls;
    to->credentials = from->credentials;
    return keep_at(p, &from->at, &to->at) && keep_at(p, &from->smart_host_at, &to->smart_host_at) &&
           keep_domain_name(p, to->wildcard ? span_from(name, 2) : name, &from->at, &to->name, f) &&
           keep_hosts(p, from->smart_host, &from->smart_host_at, to, f);
}

int route_entry_compare(const void *a, const void *b)
{
    const struct route_entry *x = a, *y = b;
    if (x->wildcard != y->wildcard)
        return x->wildcard ? 1 : -1;
    return strcmp(x->name, y->name);
}

static bool keep_entries(struct route_policy *p, const struct route_options *options,
                         struct faults *f)
{
    char text[sizeof(struct route_problem)];
    if (options->n_domains == 0)
        return true;
    p->entries = arena_alloc(&p->memory, options->n_domains * sizeof *p->entries);
    if (p->entries == NULL)
        return false;
    p->n_entries = options->n_domains;
    for (size_t i = 0; i < p->n_entries; i++)
        if (!keep_entry(p, options, i, f))
            return false;
    qsort(p->entries, p->n_entries, sizeof *p->entries, route_entry_compare);
    for (size_t i = 1; i < p->n_entries; i++)
        if (p->entries[i].name[0] != '\0' &&
            route_entry_compare(&p->entries[i - 1], &p->entries[i]) == 0) {
            (void)snprintf(text, sizeof text, "%s: stands twice, expected each domain once",
                           p->entries[i].name);
            add_problem(f, &options->domains[p->entries[i].index].at, text);
        }
    return true;
}

static bool keep_all(struct route_policy *p, const struct route_options *options, struct faults *f)
{
    struct route_entry global = {0};
    p->port = options->port == 0 ? DEFAULT_PORT : options->port;
    p->direct_first = options->direct_first;
    p->tls = options->tls;
    p->credentials = options->credentials;
    p->hostname = p->masquerade = "";
    if (!keep_at(p, &options->smart_host_at, &p->smart_host_at) ||
        !keep_at(p, &options->delivery_at, &p->delivery_at) || !keep_entries(p, options, f) ||
        !keep_hosts(p, options->smart_host, &options->smart_host_at, &global, f))
        return false;
    if (global.n_hosts > 0)
        memcpy(p->hosts, global.hosts, global.n_hosts * sizeof *global.hosts);
    p->n_hosts = global.n_hosts;
    struct span masquerade = span_str(options->masquerade), hostname = span_str(options->hostname);
    if (masquerade.n > 0 &&
        !keep_domain_name(p, masquerade, &options->masquerade_at, &p->masquerade, f))
        return false;
    if (hostname.n > 0) { /* its faults are told by who reads service.hostname */
        char ascii[ROUTE_DOMAIN_MAX];
        struct err why;
        if (!route_domain_to_ascii(hostname, ascii, &why) && why.class == ERR_TEMP)
            return false;
        p->hostname = arena_str(&p->memory, ascii);
    }
    return p->hostname != NULL;
}

bool route_policy_new(const struct route_options *options, struct route_policy **policy,
                      struct route_problem *problems, size_t max_problems, size_t *n_problems,
                      struct err *e)
{
    struct faults f = {.v = problems, .max = max_problems};
    struct route_policy *p = calloc(1, sizeof *p);
    *n_problems = 0;
    if (p == NULL)
        return err_set(e, ERR_TEMP, "route policy: no memory");
    arena_init(&p->memory, POLICY_MEMORY_MAX);
    bool done = keep_all(p, options, &f);
    *n_problems = f.n;
    if (!done)
        err_set(e, ERR_TEMP, "route policy: no memory");
    else if (f.found > 0)
        done = err_set(e, ERR_PERM, "route policy: %zu faults in the options", f.found);
    if (!done) {
        route_policy_free(&p);
        return false;
    }
    *policy = p;
    return true;
}

void route_policy_free(struct route_policy **policy)
{
    if (*policy == NULL)
        return;
    arena_deinit(&(*policy)->memory);
    free(*policy);
    *policy = NULL;
}
