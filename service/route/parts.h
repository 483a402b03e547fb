/* parts.h - the built form of route_options. Inside route only. */
#ifndef POSTERN_ROUTE_PARTS_H
#define POSTERN_ROUTE_PARTS_H

#include "base/arena.h"
#include "route/route.h"

struct route_entry {
    const char *name; /* A-labels, lower case, without `*.` */
    bool wildcard;
    bool local;
    size_t index; /* in the options: domains[index] */
    struct route_host *hosts;
    size_t n_hosts;
    enum route_tls tls;
    size_t credentials;
    struct route_position at, smart_host_at;
};

struct route_policy {
    struct arena memory;
    const char *hostname;        /* A-labels, lower case; "" = none */
    struct route_entry *entries; /* sorted by wildcard, then name */
    size_t n_entries;
    struct route_host hosts[ROUTE_HOSTS_MAX];
    size_t n_hosts;
    struct route_position smart_host_at, delivery_at;
    bool direct_first;
    enum route_tls tls;
    size_t credentials;
    uint16_t port;
    const char *masquerade; /* "" = none */
};

/* Exact, else the longest wildcard, which does not hold its own domain; NULL = not listed. */
const struct route_entry *route_find(const struct route_policy *p, const char *domain);
int route_entry_compare(const void *a, const void *b);

/* The error reads "[10.0.0.1:25: no closing bracket, expected ..."; ERR_TEMP: no memory. */
bool route_hosts_parse(const char *text, uint16_t default_port,
                       struct route_host hosts[ROUTE_HOSTS_MAX], size_t *n, struct err *e);

/* "1.2.3.4", "IPv6:fd00::1" or "fd00::1", as between the brackets of a literal. */
bool route_literal_parse(struct span inside, struct netaddr *address);

/* Letters, digits, `-`, `_`; labels of 1 to 63; no hyphen at a label's end. Lower case by now. */
bool route_name_ok(struct span name);

#endif
