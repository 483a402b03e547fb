#include "acl/trie.h"

#include <stdlib.h>
#include <string.h>

enum { STRIDE = 6, SLOTS = 1 << STRIDE };

/* Bits set; C17 has no name for the instruction. */
static unsigned ones(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(v * 0x0101010101010101u >> 56);
}

/* Written out, so that compilers see one load and a swap of bytes. */
static uint64_t get64(const uint8_t *b)
{
    return (uint64_t)b[0] << 56 | (uint64_t)b[1] << 48 | (uint64_t)b[2] << 40 |
           (uint64_t)b[3] << 32 | (uint64_t)b[4] << 24 | (uint64_t)b[5] << 16 |
           (uint64_t)b[6] << 8 | (uint64_t)b[7];
}

struct trie_key trie_key_of(const struct netaddr *a)
{
    return (struct trie_key){get64(a->b), get64(a->b + 8)};
}

bool trie_key_before(const struct trie_key *a, const struct trie_key *b)
{
    return a->high != b->high ? a->high < b->high : a->low < b->low;
}

/* The low 64 bits of key >> shift. */
static uint64_t shifted(const struct trie_key *key, unsigned shift)
{
    if (shift >= 64)
        return key->high >> (shift - 64);
    if (shift == 0)
        return key->low;
    return key->low >> shift | key->high << (64 - shift);
}

/* The lowest n bits set. */
static struct trie_key low_bits(unsigned n)
{
    if (n >= 128)
        return (struct trie_key){UINT64_MAX, UINT64_MAX};
    if (n >= 64)
        return (struct trie_key){n == 64 ? 0 : UINT64_MAX >> (128 - n), UINT64_MAX};
    return (struct trie_key){0, n == 0 ? 0 : UINT64_MAX >> (64 - n)};
}

static unsigned bit_length(const struct trie_key *key)
{
    unsigned n = 0;
    uint64_t v = key->high != 0 ? key->high : key->low;
    for (; v != 0; v >>= 1)
        n++;
    return key->high != 0 ? n + 64 : n;
}

/* ---- building ---- */

struct build {
    struct trie *t;
    struct trie_interval (*at)(const void *source, size_t i);
    const void *source;
};

static bool trie_grow(void **v, size_t *cap, size_t n, size_t more, size_t size)
{
    if (n + more <= *cap)
        return true;
    size_t cap_new = *cap == 0 ? 64 : *cap * 2;
    while (cap_new < n + more)
        cap_new *= 2;
    if (cap_new >= UINT32_MAX || cap_new > SIZE_MAX / size)
        return false;
    void *p = realloc(*v, cap_new * size);
    if (p == NULL)
        return false;
    *v = p;
    *cap = cap_new;
    return true;
}

static bool add_leaf(struct trie *t, uint32_t leaf)
{
    void *v = t->leaves;
    bool ok = trie_grow(&v, &t->cap_leaves, t->n_leaves, 1, sizeof *t->leaves);
    t->leaves = v;
    if (ok)
        t->leaves[t->n_leaves++] = leaf;
    return ok;
}

static bool add_nodes(struct trie *t, unsigned n)
{
    void *v = t->nodes;
    bool ok = trie_grow(&v, &t->cap_nodes, t->n_nodes, n, sizeof *t->nodes);
    t->nodes = v;
    if (ok)
        t->n_nodes += n;
    return ok;
}

/* What of the tree a node is for: the addresses base..base + 2^bits - 1, of which the intervals
 * from..to - 1 are all that touch them. */
struct part {
    struct trie_key base;
    unsigned bits;
    size_t from, to;
};

/* Skips the bits that all intervals share, where none reaches beyond them. An address that differs
 * there ends at intervals that do not hold it, which is as good as none. */
static void skip_shared(const struct build *b, struct part *part)
{
    struct trie_interval first = b->at(b->source, part->from), last;
    struct trie_key rest = low_bits(part->bits), end = part->base;
    last = b->at(b->source, part->to - 1);
    end.high |= rest.high;
    end.low |= rest.low;
    if (trie_key_before(&first.first, &part->base) || trie_key_before(&end, &last.last))
        return;
    struct trie_key differ = {first.first.high ^ last.last.high, first.first.low ^ last.last.low};
    unsigned bits = bit_length(&differ);
    if (bits >= part->bits)
        return;
    rest = low_bits(bits);
    part->bits = bits;
    part->base.high = first.first.high & ~rest.high;
    part->base.low = first.first.low & ~rest.low;
}

static bool build_node(const struct build *b, size_t node, struct part part);

/* The intervals of each slot; `from` only ever moves on. */
static void divide(const struct build *b, const struct part *part, unsigned shift, unsigned slots,
                   struct part out[SLOTS])
{
    struct trie_key rest = low_bits(shift), base = part->base;
    size_t from = part->from;
    for (unsigned i = 0; i < slots; i++) {
        struct trie_key end = {base.high | rest.high, base.low | rest.low};
        while (from < part->to) { /* those that end before the slot */
            struct trie_interval x = b->at(b->source, from);
            if (!trie_key_before(&x.last, &base))
                break;
            from++;
        }
        size_t to = from;
        while (to < part->to) {
            struct trie_interval x = b->at(b->source, to);
            if (trie_key_before(&end, &x.first))
                break;
            to++;
        }
        out[i] = (struct part){base, shift, from, to};
        from = to > from ? to - 1 : from; /* the last one may reach into the next slot */
        base = end;
        if (++base.low == 0)
            base.high++;
    }
}

static bool build_slots(const struct build *b, size_t node, const struct part *slots, unsigned n)
{
    struct trie *t = b->t;
    uint32_t previous = UINT32_MAX; /* no leaf: it would count TRIE_BUCKET + 7 */
    uint64_t children = 0, leaves = 0;
    size_t leaf = t->n_leaves, child = t->n_nodes;
    for (unsigned i = 0; i < n; i++) {
        size_t count = slots[i].to - slots[i].from;
        uint32_t value = (uint32_t)(count == 0 ? 0 : slots[i].from << TRIE_COUNT_BITS | count);
        if (count > TRIE_BUCKET) {
            children |= (uint64_t)1 << i;
            continue;
        }
        if (value == previous)
            continue;
        leaves |= (uint64_t)1 << i;
        previous = value;
        if (!add_leaf(t, value))
            return false;
    }
    if (!add_nodes(t, ones(children)))
        return false;
    struct trie_node *mine = &t->nodes[node];
    mine->children = children;
    mine->leaves = leaves;
    mine->leaf = (uint32_t)leaf;
    mine->child = (uint32_t)child;
    for (unsigned i = 0; i < n; i++)
        if ((children >> i & 1) != 0 && !build_node(b, child++, slots[i]))
            return false;
    return true;
}

static bool build_node(const struct build *b, size_t node, struct part part)
{
    struct part slots[SLOTS];
    skip_shared(b, &part);
    unsigned stride = part.bits < STRIDE ? part.bits : STRIDE;
    unsigned shift = part.bits - stride;
    b->t->nodes[node].shift = (uint8_t)shift;
    b->t->nodes[node].mask = (uint8_t)((1u << stride) - 1);
    divide(b, &part, shift, 1u << stride, slots);
    return build_slots(b, node, slots, 1u << stride);
}

/* Gives spare memory back; failing to is no harm. */
static void trim(struct trie *t)
{
    void *nodes = realloc(t->nodes, t->n_nodes * sizeof *t->nodes);
    void *leaves = t->n_leaves == 0 ? NULL : realloc(t->leaves, t->n_leaves * sizeof *t->leaves);
    if (nodes != NULL) {
        t->nodes = nodes;
        t->cap_nodes = t->n_nodes;
    }
    if (leaves != NULL) {
        t->leaves = leaves;
        t->cap_leaves = t->n_leaves;
    }
}

bool trie_build(struct trie *t, size_t n, unsigned width,
                struct trie_interval (*at)(const void *source, size_t i), const void *source)
{
    struct build b = {t, at, source};
    *t = (struct trie){0};
    if (n == 0)
        return true;
    struct trie_key all = low_bits(width);
    struct trie_interval first = at(source, 0);
    struct part part = {
        .base = {first.first.high & ~all.high, first.first.low & ~all.low}, .bits = width, .to = n};
    if (n > TRIE_INTERVALS_MAX || !add_nodes(t, 1) || !build_node(&b, 0, part)) {
        trie_free(t);
        return false;
    }
    trim(t);
    return true;
}

void trie_free(struct trie *t)
{
    free(t->nodes);
    free(t->leaves);
    *t = (struct trie){0};
}

size_t trie_memory(const struct trie *t)
{
    return t->cap_nodes * sizeof *t->nodes + t->cap_leaves * sizeof *t->leaves;
}

/* ---- asking ---- */

void trie_find(const struct trie *t, const struct trie_key *key, uint32_t *from, uint32_t *count)
{
    *from = *count = 0;
    if (t->n_nodes == 0)
        return;
    const struct trie_node *node = &t->nodes[0];
    for (;;) {
        unsigned slot = (unsigned)(shifted(key, node->shift) & node->mask);
        uint64_t upto = UINT64_MAX >> (63 - slot); /* this slot and those before it */
        if ((node->children >> slot & 1) != 0) {
            node = &t->nodes[node->child + ones(node->children & upto) - 1];
            continue;
        }
        unsigned before = ones(node->leaves & upto);
        uint32_t leaf = t->leaves[node->leaf + before - 1];
        *from = leaf >> TRIE_COUNT_BITS;
        *count = leaf & ((1u << TRIE_COUNT_BITS) - 1);
        return;
    }
}
