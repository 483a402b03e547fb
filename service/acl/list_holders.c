/* list_holders.c - all entries of a list that hold a client: what would have to go for it to be
 * held no more. Asked for refusals whose entry is not alone, and by explain. */
#include "acl/list_parts.h"

/* So many hidden entries are looked at, for a list that is nothing but overlaps. */
enum { LOOKED_AT_MAX = 10000, FOUND_MAX = 64 };

struct holders {
    const struct acl_list *list;
    struct acl_hit *hits;
    size_t max, n;
    bool unsure;
    uint32_t found[FOUND_MAX]; /* two names may be held by one entry */
};

static void add(struct holders *h, uint32_t entry, const struct netaddr *first,
                const struct netaddr *last)
{
    for (size_t i = 0; i < h->n && i < FOUND_MAX; i++)
        if (h->found[i] == entry)
            return;
    if (h->n == FOUND_MAX) {
        h->unsure = true;
        return;
    }
    h->found[h->n] = entry;
    if (h->n < h->max)
        list_describe(h->list, entry, first, last, &h->hits[h->n]);
    h->n++;
}

/* They are sorted by their first address: those that begin behind the client are none of his. */
static void add_hidden_v4(struct holders *h, uint32_t address)
{
    const struct v4_interval *v = h->list->hidden_v4;
    size_t low = 0, high = h->list->n_hidden_v4;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v[middle].first <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t looked = 0; low > 0 && looked < LOOKED_AT_MAX; looked++, low--) {
        const struct v4_interval *x = &v[low - 1];
        const struct netaddr first = v4_address(x->first), last = v4_address(x->last);
        if (x->last >= address)
            add(h, x->entry, &first, &last);
    }
    h->unsure = h->unsure || low > 0;
}

static void add_hidden_v6(struct holders *h, const struct netaddr *client)
{
    const struct v6_interval *v = h->list->hidden_v6;
    size_t low = 0, high = h->list->n_hidden_v6;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (netaddr_compare(&v[middle].first, client) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t looked = 0; low > 0 && looked < LOOKED_AT_MAX; looked++, low--)
        if (netaddr_compare(&v[low - 1].last, client) >= 0)
            add(h, v[low - 1].entry, &v[low - 1].first, &v[low - 1].last);
    h->unsure = h->unsure || low > 0;
}

static void add_addresses(struct holders *h, const struct netaddr *client)
{
    if (netaddr_is_v4(client)) {
        const struct v4_interval *x = list_find_v4(h->list, v4_number(client));
        if (x == NULL)
            return;
        const struct netaddr first = v4_address(x->first), last = v4_address(x->last);
        add(h, x->entry, &first, &last);
        add_hidden_v4(h, v4_number(client));
        return;
    }
    const struct v6_interval *x = list_find_v6(h->list, client);
    if (x == NULL)
        return;
    add(h, x->entry, &x->first, &x->last);
    add_hidden_v6(h, client);
}

static bool is_below(struct span name, struct span domain)
{
    return name.n > domain.n + 1 && name.p[name.n - domain.n - 1] == '.' &&
           span_equal_nocase(span_from(name, name.n - domain.n), domain);
}

static void add_hidden_names(struct holders *h, struct span name)
{
    const struct acl_list *list = h->list;
    for (size_t i = 0; i < list->n_hidden_names && i < LOOKED_AT_MAX; i++) {
        const struct hidden_name *x = &list->hidden_names[i];
        struct span text = span_str(list->pool + x->text);
        if (x->suffix ? is_below(name, text) : span_equal_nocase(name, text))
            add(h, x->entry, NULL, NULL);
    }
    h->unsure = h->unsure || list->n_hidden_names > LOOKED_AT_MAX;
}

static void add_name(struct holders *h, struct span name)
{
    const struct acl_list *list = h->list;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    uint32_t entry = name_table_get(&list->name_table, list->pool, name);
    if (entry != NAME_NONE)
        add(h, entry, NULL, NULL);
    struct span below = name;
    for (size_t dot = span_find(below, '.'); dot < below.n; dot = span_find(below, '.')) {
        below = span_from(below, dot + 1);
        entry = name_table_get(&list->suffix_table, list->pool, below);
        if (entry != NAME_NONE)
            add(h, entry, NULL, NULL);
    }
    for (size_t i = 0; i < list->n_patterns; i++) {
        enum acl_match one = acl_pattern_match(list->patterns[i].pattern, name);
        if (one == ACL_MATCH_YES)
            add(h, list->patterns[i].entry, NULL, NULL);
        h->unsure = h->unsure || one == ACL_MATCH_FAILED;
    }
    add_hidden_names(h, name);
}

size_t acl_list_holders(const struct acl_list *list, const struct netaddr *client,
                        const struct acl_names *names, struct acl_hit *hits, size_t max,
                        bool *unsure)
{
    struct holders h = {.list = list, .hits = hits, .max = max};
    add_addresses(&h, client);
    if (acl_list_has_names(list)) {
        for (size_t i = 0; names->state == FACT_VALUE && i < names->n; i++)
            add_name(&h, names->v[i]);
        h.unsure = h.unsure || names->state == FACT_UNKNOWN || names->state == FACT_FAILED;
    }
    *unsure = h.unsure;
    return h.n;
}
