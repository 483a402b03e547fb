/* list_seal.c - what makes a filled list quick to ask: sorted disjoint intervals under their trees,
 * hashes of names; and what the entries have in common, for `postern check`. */
#include "acl/entry.h"
#include "acl/list_parts.h"

#include <stdlib.h>
#include <string.h>

/* Spare memory is given back; failing to is no harm. */
static void shrink(void **v, size_t *cap, size_t n, size_t size)
{
    if (n == *cap)
        return;
    void *p = n == 0 ? NULL : realloc(*v, n * size);
    if (n == 0)
        free(*v);
    else if (p == NULL)
        return;
    *v = p;
    *cap = n;
}

static int compare_v4(const void *a, const void *b)
{
    const struct v4_interval *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->last != y->last)
        return x->last > y->last ? -1 : 1;
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static int compare_v6(const void *a, const void *b)
{
    const struct v6_interval *x = a, *y = b;
    int order = netaddr_compare(&x->first, &y->first);
    if (order == 0)
        order = netaddr_compare(&y->last, &x->last);
    return order != 0 ? order : x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* ---- sorting: by 64 bits that are at hand, byte by byte of them (a million take 4 to 8 passes),
 * and by the whole only where those are equal ---- */

struct sort_key {
    uint64_t key;
    uint32_t at;
};

struct sorting {
    const void *v;
    size_t size;
    int (*compare)(const void *, const void *);
};

static const void *element(const struct sorting *s, uint32_t at)
{
    return (const char *)s->v + at * s->size;
}

static bool in_order(const struct sorting *s, const struct sort_key *a, const struct sort_key *b)
{
    if (a->key != b->key)
        return a->key < b->key;
    return s->compare(element(s, a->at), element(s, b->at)) <= 0;
}

static void merge(const struct sorting *s, const struct sort_key *a, const struct sort_key *middle,
                  const struct sort_key *end, struct sort_key *out)
{
    const struct sort_key *b = middle;
    while (a < middle && b < end)
        *out++ = in_order(s, a, b) ? *a++ : *b++;
    while (a < middle)
        *out++ = *a++;
    while (b < end)
        *out++ = *b++;
}

/* keys and spare have n each; returns the one that holds the result. */
static struct sort_key *merge_keys(const struct sorting *s, struct sort_key *keys,
                                   struct sort_key *spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t middle = i + width < n ? i + width : n, end = i + 2 * width;
            merge(s, keys + i, keys + middle, keys + (end < n ? end : n), spare + i);
        }
        struct sort_key *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

enum { DIGIT_BITS = 8, DIGITS = 64 / DIGIT_BITS, DIGIT_VALUES = 1 << DIGIT_BITS };

static size_t digit_of(uint64_t key, size_t i)
{
    return (size_t)(key >> (i * DIGIT_BITS)) & (DIGIT_VALUES - 1);
}

/* By one digit, in order of appearance; counts: how often each value of it is there. */
static void scatter(const struct sort_key *keys, struct sort_key *out, size_t n, size_t digit,
                    const uint32_t counts[DIGIT_VALUES])
{
    size_t places[DIGIT_VALUES], at = 0;
    for (size_t v = 0; v < DIGIT_VALUES; v++) {
        places[v] = at;
        at += counts[v];
    }
    for (size_t i = 0; i < n; i++)
        out[places[digit_of(keys[i].key, digit)]++] = keys[i];
}

/* As merge_keys, by the keys alone. */
static struct sort_key *radix_keys(struct sort_key *keys, struct sort_key *spare, size_t n)
{
    uint32_t counts[DIGITS][DIGIT_VALUES];
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < DIGITS; d++)
            counts[d][digit_of(keys[i].key, d)]++;
    for (size_t d = 0; d < DIGITS; d++) {
        if (counts[d][digit_of(keys[0].key, d)] == n)
            continue; /* they all have the same one */
        scatter(keys, spare, n, d, counts[d]);
        struct sort_key *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

/* keys and spare have n each; returns the one that holds the result. */
static struct sort_key *sort_keys(const struct sorting *s, struct sort_key *keys,
                                  struct sort_key *spare, size_t n)
{
    struct sort_key *sorted = radix_keys(keys, spare, n);
    struct sort_key *other = sorted == keys ? spare : keys;
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && sorted[to].key == sorted[from].key;)
            to++;
        if (to - from == 1)
            continue;
        struct sort_key *run = merge_keys(s, sorted + from, other + from, to - from);
        if (run != sorted + from)
            memcpy(sorted + from, run, (to - from) * sizeof *run);
    }
    return sorted;
}

static bool is_sorted(const struct sorting *s, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (s->compare(element(s, (uint32_t)i - 1), element(s, (uint32_t)i)) > 0)
            return false;
    return true; /* lists are often made by programs, in order */
}

enum { ELEMENT_MAX = 64 };

/* Moves each element to where its key is now, along the cycles of the order. */
static void arrange(char *v, size_t size, struct sort_key *sorted, size_t n)
{
    char first[ELEMENT_MAX];
    for (size_t i = 0; i < n; i++) {
        if (sorted[i].at == i)
            continue;
        memcpy(first, v + i * size, size);
        size_t to = i;
        for (size_t from = sorted[to].at; from != i; from = sorted[to].at) {
            memcpy(v + to * size, v + from * size, size);
            sorted[to].at = (uint32_t)to;
            to = from;
        }
        memcpy(v + to * size, first, size);
        sorted[to].at = (uint32_t)to;
    }
}

/* False: no memory. */
static bool sort(void *v, size_t n, size_t size, uint64_t (*key)(const void *),
                 int (*compare)(const void *, const void *))
{
    const struct sorting s = {v, size, compare};
    if (is_sorted(&s, n))
        return true;
    struct sort_key *keys = malloc(2 * n * sizeof *keys);
    if (keys == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        keys[i] = (struct sort_key){key(element(&s, (uint32_t)i)), (uint32_t)i};
    arrange(v, size, sort_keys(&s, keys, keys + n, n), n);
    free(keys);
    return true;
}

static uint64_t v4_key(const void *x)
{
    const struct v4_interval *v4 = x;
    return (uint64_t)v4->first << 32 | (UINT32_MAX - v4->last);
}

static uint64_t v6_key(const void *x)
{
    return trie_key_of(&((const struct v6_interval *)x)->first).high;
}

/* ---- what holds the same ---- */

static bool note(struct acl_list *list, const struct list_overlap *o)
{
    list->entries[o->entry].column |= ENTRY_OVERLAPS;
    list->entries[o->by].column |= ENTRY_OVERLAPS;
    if (o->entry == list->self_entry || o->by == list->self_entry || o->entry == o->by)
        return true;
    list->all_overlaps++;
    if (list->n_overlaps == ACL_OVERLAPS_MAX)
        return true;
    void *v = list->overlaps;
    if (!list_grow(&v, &list->cap_overlaps, list->n_overlaps, 1, sizeof *o))
        return false;
    list->overlaps = v;
    list->overlaps[list->n_overlaps++] = *o;
    return true;
}

/* An interval that is about to begin later than it was written: its text has to be kept. */
static bool keep_text(struct acl_list *list, uint32_t entry, const struct netaddr *first,
                      const struct netaddr *last)
{
    char text[ACL_INTERVAL_TEXT_MAX];
    if (list->entries[entry].text != NAME_NONE)
        return true;
    acl_interval_format(first, last, text);
    return list_add_text(list, span_str(text), &list->entries[entry].text);
}

static bool hide_v4(struct acl_list *list, const struct v4_interval *x)
{
    void *v = list->hidden_v4;
    if (!list_grow(&v, &list->cap_hidden_v4, list->n_hidden_v4, 1, sizeof *x))
        return false;
    list->hidden_v4 = v;
    list->hidden_v4[list->n_hidden_v4++] = *x;
    return true;
}

static bool hide_v6(struct acl_list *list, const struct v6_interval *x)
{
    void *v = list->hidden_v6;
    if (!list_grow(&v, &list->cap_hidden_v6, list->n_hidden_v6, 1, sizeof *x))
        return false;
    list->hidden_v6 = v;
    list->hidden_v6[list->n_hidden_v6++] = *x;
    return true;
}

static bool hide_name(struct acl_list *list, const struct name_ref *ref, bool suffix)
{
    void *v = list->hidden_names;
    if (!list_grow(&v, &list->cap_hidden_names, list->n_hidden_names, 1,
                   sizeof(struct hidden_name)))
        return false;
    list->hidden_names = v;
    list->hidden_names[list->n_hidden_names++] =
        (struct hidden_name){ref->text, ref->entry, suffix};
    return true;
}

static bool disjoin_v4(struct acl_list *list)
{
    size_t kept = 0;
    if (!sort(list->v4, list->n_v4, sizeof *list->v4, v4_key, compare_v4))
        return false;
    for (size_t i = 0; i < list->n_v4; i++) {
        struct v4_interval x = list->v4[i];
        const struct v4_interval *before = kept == 0 ? NULL : &list->v4[kept - 1];
        if (before != NULL && x.first <= before->last) {
            const struct list_overlap o = {.entry = x.entry,
                                           .by = before->entry,
                                           .first = v4_address(x.first),
                                           .last = v4_address(x.last),
                                           .by_first = v4_address(before->first),
                                           .by_last = v4_address(before->last),
                                           .same =
                                               x.first == before->first && x.last == before->last};
            if (!note(list, &o) || !hide_v4(list, &x))
                return false;
            if (x.last <= before->last)
                continue;
            if (!keep_text(list, x.entry, &o.first, &o.last))
                return false;
            x.first = before->last + 1;
        }
        list->v4[kept++] = x;
    }
    list->n_v4 = kept;
    return true;
}

static struct netaddr after(struct netaddr a)
{
    for (size_t i = sizeof a.b; i > 0; i--)
        if (++a.b[i - 1] != 0)
            break;
    return a;
}

static bool disjoin_v6(struct acl_list *list)
{
    size_t kept = 0;
    if (!sort(list->v6, list->n_v6, sizeof *list->v6, v6_key, compare_v6))
        return false;
    for (size_t i = 0; i < list->n_v6; i++) {
        struct v6_interval x = list->v6[i];
        const struct v6_interval *before = kept == 0 ? NULL : &list->v6[kept - 1];
        if (before != NULL && netaddr_compare(&x.first, &before->last) <= 0) {
            const struct list_overlap o = {.entry = x.entry,
                                           .by = before->entry,
                                           .first = x.first,
                                           .last = x.last,
                                           .by_first = before->first,
                                           .by_last = before->last,
                                           .same = netaddr_equal(&x.first, &before->first) &&
                                                   netaddr_equal(&x.last, &before->last)};
            if (!note(list, &o) || !hide_v6(list, &x))
                return false;
            if (netaddr_compare(&x.last, &before->last) <= 0)
                continue;
            if (!keep_text(list, x.entry, &x.first, &x.last))
                return false;
            x.first = after(before->last);
        }
        list->v6[kept++] = x;
    }
    list->n_v6 = kept;
    return true;
}

/* ---- trees and tables ---- */

static struct trie_interval v4_at(const void *source, size_t i)
{
    const struct v4_interval *x = (const struct v4_interval *)source + i;
    return (struct trie_interval){{0, x->first}, {0, x->last}};
}

static struct trie_interval v6_at(const void *source, size_t i)
{
    const struct v6_interval *x = (const struct v6_interval *)source + i;
    return (struct trie_interval){trie_key_of(&x->first), trie_key_of(&x->last)};
}

static bool note_names(struct acl_list *list, uint32_t entry, uint32_t by, bool same)
{
    const struct list_overlap o = {.entry = entry, .by = by, .same = same};
    return by == NAME_NONE || note(list, &o);
}

static bool build_table(struct acl_list *list, struct name_table *table,
                        const struct name_ref *refs, size_t n, bool suffix)
{
    if (!name_table_init(table, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t there =
            name_table_put(table, list->pool, refs[i].text, refs[i].hash, refs[i].entry);
        if (!note_names(list, refs[i].entry, there, true) ||
            (there != NAME_NONE && !hide_name(list, &refs[i], suffix)))
            return false;
    }
    return true;
}

/* Names that a `*.domain` of the list holds already. */
static bool note_below(struct acl_list *list, const struct name_ref *refs, size_t n)
{
    if (list->n_suffixes == 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        uint32_t by = name_table_get_suffix(&list->suffix_table, list->pool,
                                            span_str(list->pool + refs[i].text));
        if (!note_names(list, refs[i].entry, by, false))
            return false;
    }
    return true;
}

static void shrink_all(struct acl_list *list)
{
    void *entries = list->entries, *pool = list->pool, *v4 = list->v4, *v6 = list->v6;
    shrink(&entries, &list->cap_entries, list->n_entries, sizeof *list->entries);
    shrink(&pool, &list->cap_pool, list->n_pool, 1);
    shrink(&v4, &list->cap_v4, list->n_v4, sizeof *list->v4);
    shrink(&v6, &list->cap_v6, list->n_v6, sizeof *list->v6);
    list->entries = entries;
    list->pool = pool;
    list->v4 = v4;
    list->v6 = v6;
}

bool list_arrange(struct acl_list *list)
{
    bool done = disjoin_v4(list) && disjoin_v6(list) &&
                build_table(list, &list->name_table, list->names, list->n_names, false) &&
                build_table(list, &list->suffix_table, list->suffixes, list->n_suffixes, true) &&
                note_below(list, list->names, list->n_names) &&
                note_below(list, list->suffixes, list->n_suffixes) &&
                trie_build(&list->v4_trie, list->n_v4, 32, v4_at, list->v4) &&
                trie_build(&list->v6_trie, list->n_v6, 128, v6_at, list->v6);
    if (!done) {
        name_table_deinit(&list->name_table);
        name_table_deinit(&list->suffix_table);
        trie_free(&list->v4_trie);
        return false;
    }
    shrink_all(list);
    free(list->names);
    free(list->suffixes);
    list->names = list->suffixes = NULL;
    return true;
}
