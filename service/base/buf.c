#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    if (b == NULL)
        return;
    free(b->p);
    *b = (struct buf){.max = b->max};
}

uint8_t *buf_room(struct buf *b, size_t n)
{
    if (b->failed || n > b->max || b->n > b->max - n) {
        b->failed = true;
        return NULL;
    }
    if (b->start > 0 && b->start + b->n + n > b->cap) {
        memmove(b->p, b->p + b->start, b->n);
        b->start = 0;
    }
    if (b->n + n > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < b->n + n)
            cap = cap > b->max / 2 ? b->n + n : cap * 2;
        uint8_t *p = realloc(b->p, cap);
        if (p == NULL) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->start + b->n;
}

void buf_grew(struct buf *b, size_t n)
{
    b->n += n;
}

bool buf_add(struct buf *b, struct span s)
{
    if (s.n == 0)
        return !b->failed;
    uint8_t *room = buf_room(b, s.n);
    if (room == NULL)
        return false;
    memcpy(room, s.p, s.n);
    b->n += s.n;
    return true;
}

bool buf_add_str(struct buf *b, const char *text)
{
    return buf_add(b, span_str(text));
}

bool buf_add_byte(struct buf *b, uint8_t byte)
{
    return buf_add(b, span_of(&byte, 1));
}

bool buf_addf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = false;
    if (n >= 0) {
        uint8_t *room = buf_room(b, (size_t)n + 1); /* vsnprintf writes a NUL too */
        if (room != NULL) {
            (void)vsnprintf((char *)room, (size_t)n + 1, format, again);
            b->n += (size_t)n;
            ok = true;
        }
    } else {
        b->failed = true;
    }
    va_end(again);
    return ok;
}

struct span buf_span(const struct buf *b)
{
    if (b->n == 0)
        return (struct span){NULL, 0};
    return span_of(b->p + b->start, b->n);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        b->start = 0;
        return;
    }
    b->start += n;
    b->n -= n;
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->start = 0;
    b->failed = false;
}

void buf_release(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

const char *buf_cstr(struct buf *b)
{
    if (b->failed)
        return "";
    uint8_t *room = buf_room(b, 1);
    if (room == NULL) {
        return "";
    }
    *room = 0;
    return (const char *)b->p + b->start;
}
