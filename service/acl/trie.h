/* trie.h - which of many sorted, disjoint address intervals holds an address: a compressed prefix
 * tree over the array that its owner keeps. Inside acl only.
 * Each node looks at up to six bits and skips those that all its intervals share; two bitmaps say
 * which of its 64 slots go on and where the value of a slot changes, so that equal neighbours cost
 * nothing (poptrie: Asai, Ohara, SIGCOMM 2015). The tree ends where no more than TRIE_BUCKET
 * intervals are left: those are compared. A million addresses take four or five nodes and cost some
 * 2 bytes each on top of the array.
 * Threads: one while it is built, then immutable. */
#ifndef POSTERN_ACL_TRIE_H
#define POSTERN_ACL_TRIE_H

#include "base/netaddr.h"

enum { TRIE_BUCKET = 8, TRIE_COUNT_BITS = 4 };
#define TRIE_INTERVALS_MAX ((size_t)1 << (32 - TRIE_COUNT_BITS)) /* a leaf: where, how many */

struct trie_key {
    uint64_t high, low; /* the 128 bits of an address */
};

struct trie_node {
    uint64_t children;    /* bit i: slot i goes on */
    uint64_t leaves;      /* bit i: slot i begins another leaf than the one before it */
    uint32_t child, leaf; /* the first of each, in the arrays of the tree */
    uint8_t shift;        /* bits of the address below those that this node looks at */
    uint8_t mask;         /* 63, or less where fewer bits are left */
};

struct trie {
    struct trie_node *nodes;
    size_t n_nodes, cap_nodes;
    uint32_t *leaves; /* index << TRIE_COUNT_BITS | how many intervals touch it */
    size_t n_leaves, cap_leaves;
};

struct trie_interval {
    struct trie_key first, last;
};

struct trie_key trie_key_of(const struct netaddr *a);
bool trie_key_before(const struct trie_key *a, const struct trie_key *b);

/* at(source, i) is interval i of n: sorted and disjoint. width: the bits from the right that
 * matter, 32 or 128. False: no memory. No intervals: an empty tree. */
bool trie_build(struct trie *t, size_t n, unsigned width,
                struct trie_interval (*at)(const void *source, size_t i), const void *source);
void trie_free(struct trie *t);
size_t trie_memory(const struct trie *t);

/* The only intervals that can hold the address: *count of them from *from, at most TRIE_BUCKET. */
void trie_find(const struct trie *t, const struct trie_key *key, uint32_t *from, uint32_t *count);

#endif
