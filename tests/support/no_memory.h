/* no_memory.h - an allocator that can be made to fail, for tests that compile the sources under
 * test into themselves: include them between #define malloc counted_malloc    (calloc, realloc,
 * free alike) #undef malloc and every allocation of theirs goes through here. */
#ifndef POSTERN_SUPPORT_NO_MEMORY_H
#define POSTERN_SUPPORT_NO_MEMORY_H

#include <stdbool.h>
#include <stdlib.h>

static long allocations_left = -1; /* the one that brings this to 0 fails; negative: no limit */
static bool fails_once;            /* that one alone; else all that follow it too */
static bool ran_out;
static size_t blocks_held;

static inline bool refuse_allocation(void)
{
    if (allocations_left < 0 || (fails_once && ran_out))
        return false;
    if (allocations_left > 0)
        allocations_left--;
    if (allocations_left == 0)
        ran_out = true;
    return ran_out;
}

/* From now on the nth allocation fails; 0: none. */
static inline void fail_allocation(long nth, bool once)
{
    allocations_left = nth == 0 ? -1 : nth;
    fails_once = once;
    ran_out = false;
}

static inline void *counted_realloc(void *p, size_t n)
{
    if (refuse_allocation())
        return NULL;
    blocks_held += p == NULL;
    return realloc(p, n);
}

static inline void *counted_calloc(size_t n, size_t size)
{
    if (refuse_allocation())
        return NULL;
    blocks_held++;
    return calloc(n, size);
}

static inline void *counted_malloc(size_t n)
{
    if (refuse_allocation())
        return NULL;
    blocks_held++;
    return malloc(n);
}

static inline void counted_free(void *p)
{
    blocks_held -= p != NULL;
    free(p);
}

#endif
