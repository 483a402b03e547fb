/* Where the connection goes: mail hosts by MX or as the step names them, then their addresses, one
 * after the other until one is connected. */
#include "session/outbound_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

static void got_addresses(void *arg, const struct resolver_addresses *answer)
{
    struct outbound *o = arg;
    o->call = NULL;
    o->address = o->address_count = 0;
    for (size_t i = 0; i < answer->n && i < OUTBOUND_ADDRESSES_MAX; i++)
        o->addresses[o->address_count++] = answer->list[i];
    if (o->address_count == 0) {
        char text[400];
        const char *name = o->hosts[o->host].name;
        bool unknown = answer->result == DNS_NO_NAME || answer->result == DNS_NO_DATA;
        (void)snprintf(text, sizeof text, "%s: %s", name,
                       unknown ? "the host has no address" : "its address cannot be looked up now");
        /* A smart host that does not exist is the administrator's slip: the mail waits for him. */
        outbound_failed(o, QUEUE_DEFERRED, 0, unknown ? "4.4.4" : "4.4.3", text);
        outbound_next_host(o);
        return;
    }
    outbound_next_address(o);
}

static void look_up_host(struct outbound *o)
{
    const struct route_host *h = &o->hosts[o->host];
    outbound_set_state(o, OUTBOUND_LOOKING_UP);
    if (h->literal) {
        o->addresses[0] = h->address;
        o->address_count = 1;
        o->address = 0;
        outbound_next_address(o);
        return;
    }
    o->call = resolver_addresses(o->courier->desk->resolver, span_str(h->name), got_addresses, o);
}

void outbound_next_host(struct outbound *o)
{
    o->host++;
    o->no_tls = false;
    if (o->final || o->host >= o->host_count)
        outbound_give_up(o);
    else
        look_up_host(o);
}

static bool is_own_name(const struct outbound *o, const char *name)
{
    return span_equal_nocase(span_str(name), span_str(o->courier->desk->policy->hostname));
}

static void got_mx(void *arg, const struct resolver_mx *answer)
{
    struct outbound *o = arg;
    const struct route_step *step = &o->destination->step;
    o->call = NULL;
    char text[400];
    switch (answer->result) {
    case RESOLVER_MX_NULL:
        (void)snprintf(text, sizeof text, "%s takes no mail (null MX)", step->domain);
        outbound_failed(o, QUEUE_FAILED, 556, "5.1.10", text);
        outbound_give_up(o);
        return;
    case RESOLVER_MX_NONE:
        (void)snprintf(text, sizeof text, "%s: no such domain, or it has no mail host",
                       step->domain);
        outbound_failed(o, QUEUE_FAILED, 0, "5.1.2", text);
        outbound_give_up(o);
        return;
    case RESOLVER_MX_FAILURE:
        (void)snprintf(text, sizeof text, "%s: its mail host cannot be looked up now%s%s",
                       step->domain, answer->why == NULL ? "" : ": ",
                       answer->why == NULL ? "" : answer->why);
        outbound_failed(o, QUEUE_DEFERRED, 0, "4.4.3", text);
        outbound_give_up(o);
        return;
    case RESOLVER_MX:
    case RESOLVER_MX_ADDRESS: break;
    }
    uint32_t own = UINT32_MAX; /* RFC 5321 5.1: nobody as far as or farther than ourselves */
    for (size_t i = 0; i < answer->n; i++)
        if (is_own_name(o, answer->hosts[i].name) && answer->hosts[i].preference < own)
            own = answer->hosts[i].preference;
    for (size_t i = 0; i < answer->n && o->host_count < OUTBOUND_HOSTS_MAX; i++) {
        struct route_host *h = &o->hosts[o->host_count];
        if (answer->hosts[i].preference >= own)
            continue;
        *h = (struct route_host){.port = step->port};
        if (span_cstr(span_str(answer->hosts[i].name), h->name, sizeof h->name))
            o->host_count++;
    }
    if (o->host_count == 0) {
        (void)snprintf(text, sizeof text,
                       "%s: we are its best mail host ourselves, but it is no local domain here",
                       step->domain);
        outbound_failed(o, QUEUE_FAILED, 0, "5.4.6", text);
        outbound_give_up(o);
        return;
    }
    look_up_host(o);
}

void outbound_next_address(struct outbound *o)
{
    struct err e = {0};
    outbound_set_state(o, OUTBOUND_CONNECTING);
    while (o->address < o->address_count) {
        const struct sock_address to = {.ip = o->addresses[o->address],
                                        .port = o->hosts[o->host].port};
        if (outbound_connect(o, &to, &e))
            return;
        outbound_failed(o, QUEUE_DEFERRED, 0, "4.4.1", e.text);
        o->address++;
    }
    outbound_next_host(o);
}

/* From the loop, so that no failure comes back while the caller still walks his lists. */
void outbound_start(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct outbound *o = LIST_ENTRY(item, struct outbound, start);
    struct destination *d = o->destination;
    o->starting = false;
    if (!list_linked(&d->node)) { /* the courier is ending */
        outbound_free(o);
        return;
    }
    if (d->step.kind == ROUTE_MX) {
        o->call = resolver_mx(o->courier->desk->resolver, span_str(d->step.domain), got_mx, o);
        return;
    }
    memcpy(o->hosts, d->step.hosts, d->step.n_hosts * sizeof o->hosts[0]);
    o->host_count = d->step.n_hosts;
    look_up_host(o);
}
