/* Calls: what is asked, in which order, and what the answers mean together. */
#define _DEFAULT_SOURCE /* uv.h and ares.h name types of POSIX */
#include "net/resolver_internal.h"

#include "platform/paths.h"
#include "platform/random.h"

#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "no memory";

struct resolver *resolver_open(struct worker *w, const struct resolver_options *options,
                               struct err *e)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL) {
        (void)err_set(e, ERR_TEMP, "resolver: no memory");
        return NULL;
    }
    r->worker = w;
    r->entries_max = options->cache_max == 0 ? 1024 : options->cache_max;
    r->calls_max = options->calls_max == 0 ? 4096 : options->calls_max;
    random_bytes(&r->seed, sizeof r->seed);
    list_init(&r->ages);
    const char *hosts = options->hosts_file == NULL ? paths_hosts_file() : options->hosts_file;
    if (!hosts_init(&r->hosts, hosts)) {
        (void)err_set(e, ERR_TEMP, "resolver: no memory");
    } else if (resolver_transport_open(r, options, e)) {
        return r;
    }
    hosts_deinit(&r->hosts);
    free(r);
    return NULL;
}

static void free_when_done(struct resolver *r)
{
    if (!r->closed || r->calls_n > 0)
        return;
    hosts_deinit(&r->hosts);
    free(r);
}

void resolver_close(struct resolver **r)
{
    struct resolver *it = *r;
    *r = NULL;
    if (it == NULL)
        return;
    it->closed = true;
    it->calls_n++; /* ours, so that the last of the others does not free it under us */
    resolver_transport_close(it);
    resolver_cache_clear(it);
    it->calls_n--;
    free_when_done(it);
}

static struct dns_answer answer_of(const struct resolver_call *call, unsigned slot)
{
    if (slot < call->asked && call->entries[slot] != NULL)
        return call->entries[slot]->answer;
    return (struct dns_answer){.result = DNS_TEMP_FAILURE, .name = call->name, .why = no_memory};
}

static void deliver_query(struct resolver_call *call)
{
    struct dns_answer answer = answer_of(call, 0);
    call->done.query(call->arg, &answer);
}

/* Puts A and AAAA together. NO_NAME of one counts for both (RFC 8020); a failure counts only where
 * the other one gave nothing. */
static void join(const struct dns_answer *six, const struct dns_answer *four,
                 struct resolver_addresses *out)
{
    bool failed = six->result == DNS_TEMP_FAILURE || four->result == DNS_TEMP_FAILURE;
    out->why = six->result == DNS_TEMP_FAILURE ? six->why : four->why;
    out->authenticated = six->authenticated && four->authenticated;
    if (six->records_n + four->records_n > 0) {
        out->result = DNS_FOUND;
        out->partial = failed;
    } else if (failed) {
        out->result = DNS_TEMP_FAILURE;
    } else {
        out->result =
            six->result == DNS_NO_NAME || four->result == DNS_NO_NAME ? DNS_NO_NAME : DNS_NO_DATA;
    }
}

static void deliver_addresses(struct resolver_call *call)
{
    struct resolver_addresses out = {.result = DNS_FOUND, .list = &call->address, .n = 1};
    if (call->literal) {
        call->done.addresses(call->arg, &out);
        return;
    }
    struct dns_answer six = answer_of(call, 0), four = answer_of(call, 1);
    struct netaddr list[2 * DNS_RECORDS_MAX];
    join(&six, &four, &out);
    out.n = 0;
    for (size_t i = 0; i < six.records_n && out.n < DNS_RECORDS_MAX; i++)
        list[out.n++] = six.records[i].address;
    for (size_t i = 0; i < four.records_n && i < DNS_RECORDS_MAX; i++)
        list[out.n++] = four.records[i].address;
    out.list = list;
    call->done.addresses(call->arg, &out);
}

/* Equal preferences in random order, RFC 5321 section 5.1: shuffled, then sorted stably. */
static void order(struct resolver_mx_host *hosts, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = random_below((uint32_t)i);
        struct resolver_mx_host held = hosts[i - 1];
        hosts[i - 1] = hosts[j];
        hosts[j] = held;
    }
    for (size_t i = 1; i < n; i++) {
        struct resolver_mx_host held = hosts[i];
        size_t j = i;
        for (; j > 0 && hosts[j - 1].preference > held.preference; j--)
            hosts[j] = hosts[j - 1];
        hosts[j] = held;
    }
}

static void mx_by_records(const struct dns_answer *mx, struct resolver_mx_host *hosts,
                          struct resolver_mx *out)
{
    bool null = false;
    for (size_t i = 0; i < mx->records_n && out->n < DNS_RECORDS_MAX; i++) {
        if (mx->records[i].name[0] == 0)
            null = true;
        else
            hosts[out->n++] =
                (struct resolver_mx_host){mx->records[i].preference, mx->records[i].name};
    }
    order(hosts, out->n);
    out->result = out->n > 0 ? RESOLVER_MX : null ? RESOLVER_MX_NULL : RESOLVER_MX_FAILURE;
    out->why = out->n > 0 || null ? NULL : "the domain's MX records hold no host name";
}

static void deliver_mx(struct resolver_call *call)
{
    struct resolver_mx_host hosts[DNS_RECORDS_MAX];
    struct dns_answer mx = answer_of(call, 0);
    struct resolver_mx out = {.hosts = hosts, .authenticated = mx.authenticated};
    struct resolver_addresses direct = {.result = DNS_NO_NAME};
    switch (mx.result) {
    case DNS_FOUND: mx_by_records(&mx, hosts, &out); break;
    case DNS_NO_NAME: out.result = RESOLVER_MX_NONE; break;
    case DNS_TEMP_FAILURE:
        out.result = RESOLVER_MX_FAILURE;
        out.why = mx.why;
        break;
    case DNS_NO_DATA: {
        struct dns_answer six = answer_of(call, 1), four = answer_of(call, 2);
        join(&six, &four, &direct);
        out.result = direct.result == DNS_FOUND          ? RESOLVER_MX_ADDRESS
                     : direct.result == DNS_TEMP_FAILURE ? RESOLVER_MX_FAILURE
                                                         : RESOLVER_MX_NONE;
        out.why = direct.why;
        out.authenticated = out.authenticated && direct.authenticated;
        if (out.result == RESOLVER_MX_ADDRESS)
            hosts[out.n++] = (struct resolver_mx_host){0, call->name};
        break;
    }
    }
    call->done.mx(call->arg, &out);
}

static bool holds(const struct dns_answer *answer, const struct netaddr *address)
{
    for (size_t i = 0; i < answer->records_n; i++)
        if (netaddr_equal(&answer->records[i].address, address))
            return true;
    return false;
}

static void deliver_names(struct resolver_call *call)
{
    const char *names[RESOLVER_NAMES_MAX];
    struct dns_answer reverse = answer_of(call, 0);
    struct resolver_names out = {.names = names, .why = reverse.why};
    bool failed = reverse.result == DNS_TEMP_FAILURE;
    for (unsigned i = 1; i < call->asked; i++) {
        struct dns_answer forward = answer_of(call, i);
        if (forward.result == DNS_TEMP_FAILURE) {
            failed = true;
            out.why = forward.why;
        } else if (holds(&forward, &call->address)) {
            names[out.n++] = call->entries[i]->name;
        }
    }
    out.result = failed ? RESOLVER_FAILED : out.n > 0 ? RESOLVER_CONFIRMED : RESOLVER_ABSENT;
    call->done.names(call->arg, &out);
}

/* From the mailbox, so never from inside the call that asked. */
static void deliver(struct worker_item *item, struct worker *w)
{
    struct resolver_call *call = LIST_ENTRY(item, struct resolver_call, item);
    struct resolver *r = call->resolver;
    (void)w;
    if (!call->cancelled) {
        switch (call->kind) {
        case RESOLVER_KIND_QUERY: deliver_query(call); break;
        case RESOLVER_KIND_ADDRESSES: deliver_addresses(call); break;
        case RESOLVER_KIND_MX: deliver_mx(call); break;
        case RESOLVER_KIND_NAMES: deliver_names(call); break;
        }
    }
    for (unsigned i = 0; i < call->asked; i++)
        resolver_entry_drop(&call->entries[i]);
    free(call);
    r->calls_n--;
    free_when_done(r);
}

static void finish(struct resolver_call *call)
{
    call->item.run = deliver;
    worker_post(call->resolver->worker, &call->item);
}

/* The names of the PTR records, each once, are looked up forward. */
static void ask_forward(struct resolver_call *call, const struct dns_answer *reverse)
{
    enum dns_type type = netaddr_is_v4(&call->address) ? DNS_A : DNS_AAAA;
    const char *tried[RESOLVER_NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < reverse->records_n && n < RESOLVER_NAMES_MAX; i++) {
        const char *name = reverse->records[i].name;
        bool known = false;
        for (size_t k = 0; k < n; k++)
            known = known || strcmp(tried[k], name) == 0;
        if (!known) {
            tried[n++] = name;
            resolver_ask(call, name, type);
        }
    }
}

/* All that was asked is answered: ask on, or come to the end. */
void resolver_call_step(struct resolver_call *call)
{
    call->asking = true; /* what is answered at once must not step again from inside */
    if (call->step++ == 0 && !call->cancelled && !call->literal) {
        struct dns_answer first = answer_of(call, 0);
        if (call->kind == RESOLVER_KIND_MX && first.result == DNS_NO_DATA) {
            resolver_ask(call, call->name, DNS_AAAA);
            resolver_ask(call, call->name, DNS_A);
        } else if (call->kind == RESOLVER_KIND_NAMES && first.result == DNS_FOUND) {
            ask_forward(call, &first);
        }
    }
    call->asking = false;
    if (call->pending == 0)
        finish(call);
}

static void set_name(struct resolver_call *call, struct span name)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (!span_cstr(name, call->name, sizeof call->name))
        call->name[0] = 0; /* no name that can be asked for */
    ascii_lower_str(call->name);
}

/* NULL only without memory: then there is nothing to call back from. */
static struct resolver_call *call_new(struct resolver *r, enum resolver_kind kind, void *arg)
{
    struct resolver_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->resolver = r;
    call->kind = kind;
    call->arg = arg;
    call->asking = true;
    r->calls_n++;
    return call;
}

static void first_question(struct resolver_call *call, const char *name, enum dns_type type)
{
    if (call->resolver->calls_n > call->resolver->calls_max) {
        call->entries[call->asked++] =
            resolver_entry_new(name, type, DNS_TEMP_FAILURE, "too many look-ups are under way");
        return;
    }
    resolver_ask(call, name, type);
}

static struct resolver_call *started(struct resolver_call *call)
{
    call->asking = false;
    if (call->pending == 0)
        resolver_call_step(call);
    return call;
}

struct resolver_call *resolver_query(struct resolver *r, struct span name, enum dns_type type,
                                     void (*done)(void *arg, const struct dns_answer *answer),
                                     void *arg)
{
    struct resolver_call *call = call_new(r, RESOLVER_KIND_QUERY, arg);
    if (call == NULL)
        return NULL;
    call->done.query = done;
    set_name(call, name);
    first_question(call, call->name, type);
    return started(call);
}

struct resolver_call *
resolver_addresses(struct resolver *r, struct span host,
                   void (*done)(void *arg, const struct resolver_addresses *answer), void *arg)
{
    struct resolver_call *call = call_new(r, RESOLVER_KIND_ADDRESSES, arg);
    if (call == NULL)
        return NULL;
    call->done.addresses = done;
    struct span inner = host;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        inner = span_sub(host, 1, host.n - 2);
    call->literal = netaddr_parse(inner, &call->address);
    if (!call->literal) {
        set_name(call, host);
        first_question(call, call->name, DNS_AAAA);
        if (call->resolver->calls_n <= call->resolver->calls_max)
            resolver_ask(call, call->name, DNS_A);
    }
    return started(call);
}

struct resolver_call *resolver_mx(struct resolver *r, struct span domain,
                                  void (*done)(void *arg, const struct resolver_mx *answer),
                                  void *arg)
{
    struct resolver_call *call = call_new(r, RESOLVER_KIND_MX, arg);
    if (call == NULL)
        return NULL;
    call->done.mx = done;
    set_name(call, domain);
    first_question(call, call->name, DNS_MX);
    return started(call);
}

struct resolver_call *
resolver_confirmed_names(struct resolver *r, const struct netaddr *client,
                         void (*done)(void *arg, const struct resolver_names *answer), void *arg)
{
    char reverse[DNS_REVERSE_MAX];
    struct resolver_call *call = call_new(r, RESOLVER_KIND_NAMES, arg);
    if (call == NULL)
        return NULL;
    call->done.names = done;
    call->address = *client;
    dns_reverse_name(client, reverse);
    set_name(call, span_str(reverse));
    first_question(call, call->name, DNS_PTR);
    return started(call);
}

void resolver_cancel(struct resolver_call **call)
{
    if (*call != NULL)
        (*call)->cancelled = true;
    *call = NULL;
}
