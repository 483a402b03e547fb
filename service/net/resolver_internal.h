/* resolver_internal.h - what resolver.c (calls), resolver_lookup.c (hosts, cache, one question) and
 * resolver_transport.c (c-ares on the loop) share. */
#ifndef POSTERN_NET_RESOLVER_INTERNAL_H
#define POSTERN_NET_RESOLVER_INTERNAL_H

#include "base/list.h"
#include "net/hosts.h"
#include "net/resolver.h"

#include <ares.h>
#include <uv.h>

/* An answer that several calls and the cache may hold. Never changes. */
struct resolver_entry {
    unsigned count;
    struct arena arena;
    struct dns_answer answer;
    char name[DNS_NAME_MAX + 1];
    enum dns_type type;
    uint64_t expires_ms;
    struct resolver_entry *next; /* in its bucket */
    struct list_node age;        /* newest last */
};

enum { RESOLVER_BUCKETS = 512, RESOLVER_ENTRY_MAX = 256 * 1024 };

struct resolver {
    struct worker *worker;
    ares_channel channel; /* NULL: closed */
    struct list sockets;
    uv_timer_t *timer;
    struct hosts hosts;
    struct resolver_entry *buckets[RESOLVER_BUCKETS];
    struct list ages;
    size_t entries_n, entries_max;
    size_t calls_n, calls_max;
    uint64_t seed;
    bool closed;
};

enum resolver_kind {
    RESOLVER_KIND_QUERY,
    RESOLVER_KIND_ADDRESSES,
    RESOLVER_KIND_MX,
    RESOLVER_KIND_NAMES,
};

enum { RESOLVER_QUESTIONS_MAX = 1 + RESOLVER_NAMES_MAX };

struct resolver_call {
    struct worker_item item; /* the way back to the loop */
    struct resolver *resolver;
    enum resolver_kind kind;
    char name[DNS_NAME_MAX + 1];
    struct netaddr address; /* NAMES; ADDRESSES of a literal */
    bool literal;
    bool cancelled;
    unsigned step;    /* of a call that asks twice */
    unsigned pending; /* questions under way */
    bool asking;      /* inside the code that asks: do not go on yet */
    struct resolver_entry *entries[RESOLVER_QUESTIONS_MAX];
    unsigned asked; /* how many of them */
    union {
        void (*query)(void *arg, const struct dns_answer *answer);
        void (*addresses)(void *arg, const struct resolver_addresses *answer);
        void (*mx)(void *arg, const struct resolver_mx *answer);
        void (*names)(void *arg, const struct resolver_names *answer);
    } done;
    void *arg;
};

/* resolver_lookup.c: puts the next question of a call; the answer goes into entries[asked - 1],
 * now or later, and resolver_call_step is called when none is pending. */
void resolver_ask(struct resolver_call *call, const char *name, enum dns_type type);
void resolver_entry_drop(struct resolver_entry **entry);
void resolver_cache_clear(struct resolver *r);

/* An entry that holds only a result; count 1. NULL without memory. */
struct resolver_entry *resolver_entry_new(const char *name, enum dns_type type,
                                          enum dns_result result, const char *why);
void resolver_cache_put(struct resolver *r, struct resolver_entry *entry);

/* resolver_transport.c */
bool resolver_transport_open(struct resolver *r, const struct resolver_options *o, struct err *e);
void resolver_transport_close(struct resolver *r);
/* Takes a question over the network; resolver_answered is called exactly once, possibly from
 * inside. */
void resolver_send(struct resolver_call *call, unsigned slot, const char *name, enum dns_type type);
void resolver_answered(struct resolver_call *call, unsigned slot, struct resolver_entry *entry);

/* resolver.c */
void resolver_call_step(struct resolver_call *call);

#endif
