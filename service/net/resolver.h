/* resolver.h - the DNS and the hosts file, asked without waiting.
 * One for each worker, on its loop. c-ares carries the messages (servers, retries, TCP); building
 * and parsing them is ours, see dns_message.h. Answers are kept by their time to live.
 * Threads: the worker's. Failure: an answer says DNS_TEMP_FAILURE; a call that cannot be
 * started for want of memory is NULL, and only then no call-back comes.
 * Every call-back comes exactly once, from the loop, never from inside the call that asked; after
 * resolver_cancel it does not come. Closing the resolver answers all with a failure. What a
 * call-back gets is borrowed for the call. */
#ifndef POSTERN_NET_RESOLVER_H
#define POSTERN_NET_RESOLVER_H

#include "net/dns_message.h"
#include "net/worker.h"

struct resolver;
struct resolver_call; /* one question under way */

struct resolver_options {
    const char *servers;    /* "127.0.0.1:5353,[::1]:53"; NULL or "": the system's */
    const char *hosts_file; /* NULL: the system's; "": none */
    uint64_t timeout_ms;    /* of the first try; 0: 3000 */
    unsigned tries;         /* 0: 3 */
    size_t cache_max;       /* answers kept; 0: 1024 */
    size_t calls_max;       /* calls under way; more fail at once; 0: 4096 */
};

struct resolver *resolver_open(struct worker *w, const struct resolver_options *options,
                               struct err *e);
void resolver_close(struct resolver **r);

void resolver_cancel(struct resolver_call **call); /* NULL is fine; sets NULL */

/* One question. A and AAAA look into the hosts file first. */
struct resolver_call *resolver_query(struct resolver *r, struct span name, enum dns_type type,
                                     void (*done)(void *arg, const struct dns_answer *answer),
                                     void *arg);

/* A and AAAA together. An address given as text ("192.0.2.1", "[2001:db8::1]") is its own answer.
 */
struct resolver_addresses {
    enum dns_result result;
    const struct netaddr *list; /* in the order of the answers, IPv6 first */
    size_t n;
    bool partial; /* one of the two look-ups failed for now; the list is what the other gave */
    bool authenticated;
    const char *why; /* for a failure */
};
struct resolver_call *
resolver_addresses(struct resolver *r, struct span host,
                   void (*done)(void *arg, const struct resolver_addresses *answer), void *arg);

/* Where a domain's mail goes, RFC 5321 section 5.1 and RFC 7505. */
enum resolver_mx_result {
    RESOLVER_MX,         /* the hosts, by preference, equal ones in random order */
    RESOLVER_MX_ADDRESS, /* no MX: the domain itself has addresses (one host, preference 0) */
    RESOLVER_MX_NULL,    /* "MX 0 .": takes no mail (556 5.1.10) */
    RESOLVER_MX_NONE,    /* neither MX nor address, or no such domain (550 5.1.2) */
    RESOLVER_MX_FAILURE, /* ask later */
};
struct resolver_mx_host {
    uint16_t preference;
    const char *name;
};
struct resolver_mx {
    enum resolver_mx_result result;
    const struct resolver_mx_host *hosts;
    size_t n;
    bool authenticated;
    const char *why;
};
struct resolver_call *resolver_mx(struct resolver *r, struct span domain,
                                  void (*done)(void *arg, const struct resolver_mx *answer),
                                  void *arg);

/* The names of a client: PTR, then each name's addresses must hold the client's (at most
 * RESOLVER_NAMES_MAX names are tried). ABSENT: no name, or none that confirms; FAILED: some look-up
 * failed for now, and no name (or not every name) could be confirmed: `names` may still hold some.
 */
enum { RESOLVER_NAMES_MAX = 5 };
enum resolver_names_result { RESOLVER_CONFIRMED, RESOLVER_ABSENT, RESOLVER_FAILED };
struct resolver_names {
    enum resolver_names_result result;
    const char *const *names;
    size_t n;
    const char *why;
};
struct resolver_call *
resolver_confirmed_names(struct resolver *r, const struct netaddr *client,
                         void (*done)(void *arg, const struct resolver_names *answer), void *arg);

#endif
