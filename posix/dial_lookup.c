#define _GNU_SOURCE /* res_nquery, pthread_condattr_setclock */
#include "posix/dial_lookup.h"

#include "platform/clock.h"
#include "platform/process.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_BYTES_MAX = 8192 };

struct dialer {
    pthread_mutex_t lock;
    unsigned refs;    /* the owner and each lookup under way */
    unsigned lookups; /* threads under way */
};

/* One question. The one who asks and the thread that asks for him both hold it: the later lets go.
 */
struct lookup {
    struct dialer *dialer;
    pthread_mutex_t lock;
    pthread_cond_t done_condition;
    unsigned refs;
    bool done;
    bool service; /* SRV, else addresses */
    char name[DIAL_HOST_MAX];
    int result; /* EAI_ */
    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX];
    struct dial_target targets[DIAL_TARGETS_MAX];
    size_t count;
};

bool dialer_open(struct dialer **out, struct err *e)
{
    struct dialer *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        free(d);
        return err_set(e, ERR_TEMP, "no memory");
    }
    d->refs = 1;
    *out = d;
    return true;
}

static void dialer_drop(struct dialer *d, bool lookup)
{
    (void)pthread_mutex_lock(&d->lock);
    d->lookups -= lookup ? 1 : 0;
    bool last = --d->refs == 0;
    (void)pthread_mutex_unlock(&d->lock);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

void dialer_close(struct dialer **d)
{
    if (d != NULL && *d != NULL)
        dialer_drop(*d, false);
    if (d != NULL)
        *d = NULL;
}

static bool dialer_take(struct dialer *d)
{
    (void)pthread_mutex_lock(&d->lock);
    bool may = d->lookups < DIAL_LOOKUPS_MAX;
    if (may) {
        d->lookups++;
        d->refs++;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return may;
}

static void lookup_drop(struct lookup *l)
{
    (void)pthread_mutex_lock(&l->lock);
    bool last = --l->refs == 0;
    (void)pthread_mutex_unlock(&l->lock);
    if (!last)
        return;
    (void)pthread_cond_destroy(&l->done_condition);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

static size_t copy_addresses(const struct addrinfo *from,
                             struct sockaddr_storage to[DIAL_ADDRESSES_MAX])
{
    size_t n = 0;
    for (; from != NULL && n < DIAL_ADDRESSES_MAX; from = from->ai_next)
        if ((from->ai_family == AF_INET || from->ai_family == AF_INET6) &&
            from->ai_addrlen <= sizeof to[n]) {
            memset(&to[n], 0, sizeof to[n]);
            memcpy(&to[n++], from->ai_addr, from->ai_addrlen);
        }
    return n;
}

static int ask_addresses(const char *name, int flags,
                         struct sockaddr_storage to[DIAL_ADDRESSES_MAX], size_t *count)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int result = getaddrinfo(name, NULL, &hints, &found);
    *count = result == 0 ? copy_addresses(found, to) : 0;
    if (found != NULL)
        freeaddrinfo(found);
    return result == 0 && *count == 0 ? EAI_NONAME : result;
}

struct service_record {
    unsigned priority, weight;
    struct dial_target target;
};

static unsigned be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static int compare_records(const void *a, const void *b)
{
    const struct service_record *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return x->weight == y->weight ? 0 : x->weight > y->weight ? -1 : 1;
}

/* RFC 1035 4.1: 12 bytes of header, the questions, the answers; RFC 2782: priority, weight, port,
 * target, where "." says that there is no such service. */
bool dial_services_parse(struct span answer, struct dial_target targets[DIAL_TARGETS_MAX],
                         size_t *count)
{
    struct service_record records[DIAL_TARGETS_MAX];
    size_t n = 0;
    *count = 0;
    if (answer.n < 12)
        return false;
    const uint8_t *p = answer.p + 12, *end = answer.p + answer.n;
    for (unsigned i = be16(answer.p + 4); i > 0; i--) {
        int skip = dn_skipname(p, end);
        if (skip < 0 || end - p < skip + 4)
            return false;
        p += skip + 4;
    }
    for (unsigned i = be16(answer.p + 6); i > 0 && n < DIAL_TARGETS_MAX; i--) {
        int skip = dn_skipname(p, end);
        if (skip < 0 || end - p < skip + 10)
            return false;
        p += skip;
        unsigned type = be16(p), size = be16(p + 8);
        p += 10;
        if ((size_t)(end - p) < size)
            return false;
        struct service_record *r = &records[n];
        if (type == ns_t_srv && size > 6 && be16(p + 4) != 0 &&
            dn_expand(answer.p, end, p + 6, r->target.host, (int)sizeof r->target.host) > 0 &&
            r->target.host[0] != '\0') {
            r->priority = be16(p);
            r->weight = be16(p + 2);
            r->target.port = (uint16_t)be16(p + 4);
            n++;
        }
        p += size;
    }
    qsort(records, n, sizeof *records, compare_records);
    for (size_t i = 0; i < n; i++)
        targets[i] = records[i].target;
    *count = n;
    return n > 0;
}

static int ask_services(const char *name, struct dial_target targets[DIAL_TARGETS_MAX],
                        size_t *count)
{
    struct __res_state state = {0};
    uint8_t *answer = malloc(ANSWER_BYTES_MAX);
    *count = 0;
    if (answer == NULL)
        return EAI_MEMORY;
    int result = EAI_FAIL;
    if (res_ninit(&state) == 0) {
        int n = res_nquery(&state, name, ns_c_in, ns_t_srv, answer, ANSWER_BYTES_MAX);
        result = n < 0 && state.res_h_errno == TRY_AGAIN ? EAI_AGAIN : EAI_NONAME;
        if (n > ANSWER_BYTES_MAX)
            n = ANSWER_BYTES_MAX;
        if (n > 0 && dial_services_parse(span_of(answer, (size_t)n), targets, count))
            result = 0;
        res_nclose(&state);
    }
    free(answer);
    return result;
}

static void *look_up(void *context)
{
    struct lookup *l = context;
    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX];
    struct dial_target targets[DIAL_TARGETS_MAX];
    size_t count = 0;
    process_name_thread("lookup");
    int result = l->service ? ask_services(l->name, targets, &count)
                            : ask_addresses(l->name, AI_ADDRCONFIG, addresses, &count);
    struct dialer *d = l->dialer;
    (void)pthread_mutex_lock(&l->lock);
    l->result = result;
    l->count = count;
    if (l->service)
        memcpy(l->targets, targets, count * sizeof targets[0]);
    else
        memcpy(l->addresses, addresses, count * sizeof addresses[0]);
    l->done = true;
    (void)pthread_cond_signal(&l->done_condition);
    (void)pthread_mutex_unlock(&l->lock);
    lookup_drop(l);
    dialer_drop(d, true);
    return NULL;
}

static struct lookup *lookup_new(struct dialer *d, const char *name, bool service)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    pthread_condattr_t monotonic;
    bool ok = span_cstr(span_str(name), l->name, sizeof l->name) &&
              pthread_condattr_init(&monotonic) == 0;
    if (ok) {
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        ok = pthread_cond_init(&l->done_condition, &monotonic) == 0;
        (void)pthread_condattr_destroy(&monotonic);
        if (ok && pthread_mutex_init(&l->lock, NULL) != 0) {
            (void)pthread_cond_destroy(&l->done_condition);
            ok = false;
        }
    }
    if (!ok) {
        free(l);
        return NULL;
    }
    l->dialer = d;
    l->service = service;
    l->refs = 2;
    return l;
}

/* Signals are for the threads that wait for them. */
static bool start_thread(struct lookup *l)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    (void)sigfillset(&all);
    if (pthread_attr_init(&attributes) != 0)
        return false;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&thread, &attributes, look_up, l) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return ok;
}

/* The lookup, done and with its lock free, or NULL; the caller drops it. */
static struct lookup *run_lookup(struct dialer *d, const char *name, bool service,
                                 uint64_t deadline_ms, struct err *e)
{
    if (!dialer_take(d)) {
        (void)err_set(e, ERR_TEMP, "too many names are being looked up; DNS does not answer");
        return NULL;
    }
    struct lookup *l = lookup_new(d, name, service);
    if (l == NULL || !start_thread(l)) {
        dialer_drop(d, true);
        if (l != NULL) {
            l->refs = 1;
            lookup_drop(l);
        }
        (void)err_set(e, ERR_TEMP, "no memory or no thread to look up the name");
        return NULL;
    }
    const struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                                   .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    (void)pthread_mutex_lock(&l->lock);
    int late = 0;
    while (!l->done && late == 0)
        late = pthread_cond_timedwait(&l->done_condition, &l->lock, &until);
    bool done = l->done;
    int result = l->result;
    (void)pthread_mutex_unlock(&l->lock);
    if (done && result == 0)
        return l;
    lookup_drop(l);
    (void)err_set(e, ERR_TEMP, "cannot look up the name: %s",
                  done ? gai_strerror(result) : "DNS does not answer");
    return NULL;
}

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

bool dial_addresses(struct dialer *d, const char *host, uint16_t port, uint64_t deadline_ms,
                    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX], size_t *count,
                    struct err *e)
{
    if (ask_addresses(host, AI_NUMERICHOST, addresses, count) != 0) {
        struct lookup *l = run_lookup(d, host, false, deadline_ms, e);
        if (l == NULL)
            return false;
        *count = l->count;
        memcpy(addresses, l->addresses, sizeof l->addresses);
        lookup_drop(l);
    }
    for (size_t i = 0; i < *count; i++)
        set_port(&addresses[i], port);
    return true;
}

bool dial_services(struct dialer *d, const char *name, uint64_t deadline_ms,
                   struct dial_target targets[DIAL_TARGETS_MAX], size_t *count, struct err *e)
{
    *count = 0;
    struct lookup *l = run_lookup(d, name, true, deadline_ms, e);
    if (l == NULL)
        return err_wrap(e, "%.150s", name);
    *count = l->count;
    memcpy(targets, l->targets, sizeof l->targets);
    lookup_drop(l);
    return true;
}
