/* One question: the hosts file, then what is remembered, then the network. */
#define _DEFAULT_SOURCE /* uv.h and ares.h name types of POSIX */
#include "net/resolver_internal.h"

#include <stdlib.h>
#include <string.h>

/* A record may say a week; addresses of smart hosts move sooner. A name that is missing now is
 * often just being made. */
enum { KEEP_MAX_S = 3600, KEEP_NEGATIVE_MAX_S = 300 };

struct resolver_entry *resolver_entry_new(const char *name, enum dns_type type,
                                          enum dns_result result, const char *why)
{
    struct resolver_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->count = 1;
    entry->type = type;
    memcpy(entry->name, name, strlen(name) + 1);
    arena_init(&entry->arena, RESOLVER_ENTRY_MAX);
    entry->answer = (struct dns_answer){.result = result, .name = entry->name, .why = why};
    return entry;
}

void resolver_entry_drop(struct resolver_entry **entry)
{
    struct resolver_entry *it = *entry;
    *entry = NULL;
    if (it == NULL || --it->count > 0)
        return;
    arena_deinit(&it->arena);
    free(it);
}

static struct resolver_entry **bucket_of(struct resolver *r, const char *name, enum dns_type type)
{
    uint64_t h = r->seed ^ (uint64_t)type;
    for (const char *c = name; *c != 0; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001B3u;
    return &r->buckets[(h ^ h >> 32) % RESOLVER_BUCKETS];
}

static void forget(struct resolver *r, struct resolver_entry *entry)
{
    struct resolver_entry **at = bucket_of(r, entry->name, entry->type);
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    list_remove(&entry->age);
    r->entries_n--;
    resolver_entry_drop(&entry);
}

static struct resolver_entry *recall(struct resolver *r, const char *name, enum dns_type type)
{
    for (struct resolver_entry *i = *bucket_of(r, name, type); i != NULL; i = i->next) {
        if (i->type != type || strcmp(i->name, name) != 0)
            continue;
        if (i->expires_ms > worker_now_ms(r->worker))
            return i;
        forget(r, i);
        return NULL;
    }
    return NULL;
}

void resolver_cache_put(struct resolver *r, struct resolver_entry *entry)
{
    uint32_t keep_s = entry->answer.ttl_s;
    uint32_t most = entry->answer.result == DNS_FOUND ? KEEP_MAX_S : KEEP_NEGATIVE_MAX_S;
    if (entry->answer.result == DNS_TEMP_FAILURE || keep_s == 0 || r->closed)
        return;
    struct resolver_entry *older = recall(r, entry->name, entry->type);
    if (older != NULL)
        forget(r, older);
    while (r->entries_n >= r->entries_max && !list_empty(&r->ages))
        forget(r, LIST_ENTRY(list_first(&r->ages), struct resolver_entry, age));
    entry->expires_ms =
        worker_now_ms(r->worker) + 1000u * (uint64_t)(keep_s < most ? keep_s : most);
    struct resolver_entry **at = bucket_of(r, entry->name, entry->type);
    entry->next = *at;
    *at = entry;
    list_push_back(&r->ages, &entry->age);
    r->entries_n++;
    entry->count++;
}

void resolver_cache_clear(struct resolver *r)
{
    while (!list_empty(&r->ages))
        forget(r, LIST_ENTRY(list_first(&r->ages), struct resolver_entry, age));
}

/* NULL: the hosts file does not know. An address family that it lacks for a name that it has is
 * NO_DATA: the file is the answer for that name, as with the system's own resolver. */
static struct resolver_entry *from_hosts(struct resolver *r, const char *name, enum dns_type type)
{
    size_t n;
    if (type != DNS_A && type != DNS_AAAA)
        return NULL;
    hosts_refresh(&r->hosts, worker_now_ms(r->worker));
    const struct hosts_entry *found = hosts_of_name(&r->hosts, name, &n);
    if (found == NULL)
        return NULL;
    struct resolver_entry *entry = resolver_entry_new(name, type, DNS_NO_DATA, NULL);
    struct dns_record *records =
        entry == NULL ? NULL : arena_alloc(&entry->arena, n * sizeof *records);
    if (records == NULL) {
        resolver_entry_drop(&entry);
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (netaddr_is_v4(&found[i].address) == (type == DNS_A))
            records[used++] =
                (struct dns_record){.type = type, .name = "", .address = found[i].address};
    entry->answer.records = records;
    entry->answer.records_n = used;
    if (used > 0)
        entry->answer.result = DNS_FOUND;
    return entry;
}

/* "4.3.2.1.in-addr.arpa" of a NAMES call: it knows its address. */
static struct resolver_entry *reverse_from_hosts(struct resolver_call *call, const char *name)
{
    size_t n;
    struct resolver *r = call->resolver;
    hosts_refresh(&r->hosts, worker_now_ms(r->worker));
    const struct hosts_entry *found = hosts_of_address(&r->hosts, &call->address, &n);
    if (found == NULL)
        return NULL;
    struct resolver_entry *entry = resolver_entry_new(name, DNS_PTR, DNS_FOUND, NULL);
    struct dns_record *records =
        entry == NULL ? NULL : arena_alloc(&entry->arena, n * sizeof *records);
    size_t used = 0;
    for (size_t i = 0; records != NULL && i < n; i++) {
        const char *copy = arena_str(&entry->arena, found[i].name);
        if (copy != NULL && dns_name_valid(span_str(copy)))
            records[used++] = (struct dns_record){.type = DNS_PTR, .name = copy};
    }
    if (used == 0) {
        resolver_entry_drop(&entry);
        return NULL;
    }
    entry->answer.records = records;
    entry->answer.records_n = used;
    return entry;
}

void resolver_ask(struct resolver_call *call, const char *name, enum dns_type type)
{
    struct resolver *r = call->resolver;
    unsigned slot = call->asked++;
    call->pending++;
    struct resolver_entry *entry = from_hosts(r, name, type);
    if (entry == NULL && type == DNS_PTR && call->kind == RESOLVER_KIND_NAMES)
        entry = reverse_from_hosts(call, name);
    if (entry == NULL && !dns_name_valid(span_str(name)))
        entry = resolver_entry_new(name, type, DNS_NO_NAME, "no name that can be asked for");
    if (entry == NULL && (entry = recall(r, name, type)) != NULL)
        entry->count++;
    if (entry != NULL)
        resolver_answered(call, slot, entry);
    else
        resolver_send(call, slot, name, type);
}

void resolver_answered(struct resolver_call *call, unsigned slot, struct resolver_entry *entry)
{
    call->entries[slot] = entry;
    call->pending--;
    if (call->pending == 0 && !call->asking)
        resolver_call_step(call);
}
