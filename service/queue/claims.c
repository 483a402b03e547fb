#include "queue/claims.h"

#include <stdlib.h>
#include <string.h>

/* One change: what stood under this id before it; NULL: nothing did. */
struct claims_undo {
    uint64_t id;
    struct claim *before;
};

enum { FIRST_BUCKETS = 64, FIRST_UNDO = 64 };

void claims_init(struct claims *c)
{
    *c = (struct claims){0};
}

void claims_deinit(struct claims *c)
{
    claims_commit(c);
    for (size_t i = 0; i < c->bucket_count; i++) {
        while (c->buckets[i] != NULL) {
            struct claim *next = c->buckets[i]->next;
            free(c->buckets[i]);
            c->buckets[i] = next;
        }
    }
    free(c->buckets);
    free(c->undo);
    *c = (struct claims){0};
}

struct claim *claim_new(size_t recipient_count)
{
    struct claim *claim =
        calloc(1, sizeof *claim + recipient_count * sizeof(struct claim_recipient));
    if (claim != NULL)
        claim->recipient_count = recipient_count;
    return claim;
}

/* Ids count up, so their low bits spread well. */
static struct claim **bucket(const struct claims *c, uint64_t id)
{
    return &c->buckets[id & (c->bucket_count - 1)];
}

static struct claim **slot(const struct claims *c, uint64_t id)
{
    struct claim **p = bucket(c, id);
    while (*p != NULL && (*p)->id != id)
        p = &(*p)->next;
    return p;
}

const struct claim *claims_find(const struct claims *c, uint64_t id)
{
    return c->bucket_count == 0 ? NULL : *slot(c, id);
}

static void put(struct claims *c, struct claim *claim)
{
    struct claim **p = bucket(c, claim->id);
    claim->next = *p;
    *p = claim;
    c->count++;
}

static struct claim *take(struct claims *c, uint64_t id)
{
    struct claim **p = slot(c, id);
    struct claim *claim = *p;
    if (claim != NULL) {
        *p = claim->next;
        c->count--;
    }
    return claim;
}

static bool grow(struct claims *c)
{
    if (c->count < c->bucket_count)
        return true;
    size_t n = c->bucket_count == 0 ? FIRST_BUCKETS : c->bucket_count * 2;
    struct claims bigger = *c;
    bigger.buckets = calloc(n, sizeof(struct claim *));
    if (bigger.buckets == NULL)
        return false;
    bigger.bucket_count = n;
    bigger.count = 0;
    for (size_t i = 0; i < c->bucket_count; i++) {
        for (struct claim *p = c->buckets[i], *next; p != NULL; p = next) {
            next = p->next;
            put(&bigger, p);
        }
    }
    free(c->buckets);
    *c = bigger;
    return true;
}

bool claims_reserve(struct claims *c)
{
    if (c->undo_count < c->undo_cap)
        return true;
    size_t cap = c->undo_cap == 0 ? FIRST_UNDO : c->undo_cap * 2;
    struct claims_undo *bigger = realloc(c->undo, cap * sizeof *bigger);
    if (bigger == NULL)
        return false;
    c->undo = bigger;
    c->undo_cap = cap;
    return true;
}

static void remember(struct claims *c, uint64_t id, struct claim *before)
{
    c->undo[c->undo_count++] = (struct claims_undo){id, before};
}

bool claims_add(struct claims *c, struct claim *claim)
{
    if (!grow(c) || !claims_reserve(c))
        return false;
    put(c, claim);
    remember(c, claim->id, NULL);
    return true;
}

struct claim *claim_copy(const struct claim *claim)
{
    struct claim *copy = claim_new(claim->recipient_count);
    if (copy != NULL)
        memcpy(copy, claim, sizeof *claim + claim->recipient_count * sizeof claim->recipients[0]);
    return copy;
}

bool claims_replace(struct claims *c, struct claim *claim)
{
    if (claims_find(c, claim->id) == NULL || !claims_reserve(c))
        return false;
    remember(c, claim->id, take(c, claim->id));
    put(c, claim);
    return true;
}

bool claims_remove(struct claims *c, uint64_t id)
{
    if (claims_find(c, id) == NULL || !claims_reserve(c))
        return false;
    remember(c, id, take(c, id));
    return true;
}

const struct claim *claims_next(const struct claims *c, const struct claim *from)
{
    if (from != NULL && from->next != NULL)
        return from->next;
    size_t i = from == NULL ? 0 : (size_t)(from->id & (c->bucket_count - 1)) + 1;
    for (; i < c->bucket_count; i++) {
        if (c->buckets[i] != NULL)
            return c->buckets[i];
    }
    return NULL;
}

void claims_commit(struct claims *c)
{
    for (size_t i = 0; i < c->undo_count; i++)
        free(c->undo[i].before);
    c->undo_count = 0;
}

/* Newest first; putting back needs no memory, since it never holds more than there were. */
void claims_rollback(struct claims *c)
{
    while (c->undo_count > 0) {
        struct claims_undo u = c->undo[--c->undo_count];
        free(take(c, u.id));
        if (u.before != NULL)
            put(c, u.before);
    }
}
