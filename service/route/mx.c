/* mx.c - the order in which the hosts of an MX answer are tried (RFC 5321 5.1, RFC 7505). */
#include "route/route.h"

#include <stdlib.h>
#include <string.h>

/* splitmix64: one random number from the caller becomes as many as are needed. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int compare(const void *a, const void *b)
{
    const struct route_mx *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return strcmp(x->host, y->host); /* so that the same number gives the same order */
}

static void shuffle(struct route_mx *v, size_t n, uint64_t *state)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)(next_random(state) % i);
        struct route_mx kept = v[i - 1];
        v[i - 1] = v[j];
        v[j] = kept;
    }
}

static struct span without_dot(const char *name)
{
    struct span s = span_str(name);
    if (s.n > 0 && s.p[s.n - 1] == '.')
        s.n--;
    return s;
}

enum route_mx_result route_order_mx(const struct route_mx *records, size_t n, const char *own_name,
                                    uint64_t random, struct route_mx *out, size_t *n_out)
{
    struct span own = without_dot(own_name);
    bool have_self = false;
    uint16_t self_preference = 0;
    size_t kept = 0;
    *n_out = 0;
    if (n == 0)
        return ROUTE_MX_NONE;
    for (size_t i = 0; i < n; i++) {
        struct span host = without_dot(records[i].host);
        if (host.n == 0) /* the root: a null MX, which next to others says nothing */
            continue;
        if (records[i].self || (own.n > 0 && span_equal_nocase(host, own))) {
            if (!have_self || records[i].preference < self_preference)
                self_preference = records[i].preference;
            have_self = true;
        }
        out[kept] = records[i];
        out[kept++].host[host.n] = '\0';
    }
    if (kept == 0)
        return ROUTE_MX_NULL;
    qsort(out, kept, sizeof *out, compare);
    while (have_self && kept > 0 && out[kept - 1].preference >= self_preference)
        kept--;
    if (kept == 0)
        return ROUTE_MX_TO_SELF;
    for (size_t from = 0, to; from < kept; from = to) {
        for (to = from + 1; to < kept && out[to].preference == out[from].preference; to++)
            continue;
        shuffle(out + from, to - from, &random);
    }
    *n_out = kept;
    return ROUTE_MX_USE;
}
