#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_FIRST_BLOCK = 512, ARENA_LARGEST_BLOCK = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(max_align_t) uint8_t bytes[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){.max = max};
}

void arena_reset(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->used = 0;
}

void arena_deinit(struct arena *a)
{
    if (a != NULL)
        arena_reset(a);
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > a->max || a->used > a->max - n || n > SIZE_MAX - align - sizeof(struct arena_block))
        return NULL;
    size_t rounded = n == 0 ? align : (n + align - 1) / align * align;
    struct arena_block *b = a->blocks;
    if (b == NULL || b->size - b->used < rounded) {
        size_t size = b == NULL ? ARENA_FIRST_BLOCK : b->size * 2;
        if (size > ARENA_LARGEST_BLOCK)
            size = ARENA_LARGEST_BLOCK;
        if (size < rounded)
            size = rounded;
        b = malloc(sizeof *b + size);
        if (b == NULL)
            return NULL;
        *b = (struct arena_block){.next = a->blocks, .size = size};
        a->blocks = b;
    }
    void *p = b->bytes + b->used;
    b->used += rounded;
    a->used += n;
    memset(p, 0, rounded);
    return p;
}

void *arena_grown(struct arena *a, void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    enum { FIRST = 16 };
    if (count < *capacity)
        return items;
    if (*capacity > SIZE_MAX / 2 / item_bytes)
        return NULL;
    size_t wanted = *capacity == 0 ? FIRST : 2 * *capacity;
    void *more = arena_alloc(a, wanted * item_bytes);
    if (more == NULL)
        return NULL;
    if (count > 0)
        memcpy(more, items, count * item_bytes);
    *capacity = wanted;
    return more;
}

char *arena_span_str(struct arena *a, struct span s)
{
    char *p = s.n == SIZE_MAX ? NULL : arena_alloc(a, s.n + 1);
    if (p != NULL && s.n > 0)
        memcpy(p, s.p, s.n);
    return p;
}

char *arena_str(struct arena *a, const char *text)
{
    return arena_span_str(a, span_str(text));
}

struct span arena_span(struct arena *a, struct span s)
{
    char *p = arena_span_str(a, s);
    return span_of(p, p == NULL ? 0 : s.n);
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL)
        (void)vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}
