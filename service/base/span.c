#include "base/span.h"

#include <string.h>

struct span span_of(const void *p, size_t n)
{
    return (struct span){p, n};
}

struct span span_str(const char *text)
{
    return (struct span){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

struct span span_sub(struct span s, size_t from, size_t n)
{
    s = span_from(s, from);
    return (struct span){s.p, n < s.n ? n : s.n};
}

struct span span_from(struct span s, size_t from)
{
    if (from >= s.n)
        return (struct span){s.n == 0 ? s.p : s.p + s.n, 0};
    return (struct span){s.p + from, s.n - from};
}

bool span_equal(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

uint8_t ascii_lower(uint8_t c)
{
    return (uint8_t)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

void ascii_lower_str(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)ascii_lower((uint8_t)*text);
}

bool span_equal_nocase(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

bool span_is(struct span s, const char *text)
{
    return span_equal(s, span_str(text));
}

bool span_is_nocase(struct span s, const char *text)
{
    return span_equal_nocase(s, span_str(text));
}

bool span_starts_nocase(struct span s, const char *text)
{
    struct span head = span_str(text);
    return s.n >= head.n && span_equal_nocase(span_sub(s, 0, head.n), head);
}

bool span_ends_nocase(struct span s, const char *text)
{
    struct span tail = span_str(text);
    return s.n >= tail.n && span_equal_nocase(span_from(s, s.n - tail.n), tail);
}

size_t span_find(struct span s, uint8_t byte)
{
    const uint8_t *at = s.n == 0 ? NULL : memchr(s.p, byte, s.n);
    return at == NULL ? s.n : (size_t)(at - s.p);
}

size_t span_rfind(struct span s, uint8_t byte)
{
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == byte)
            return i - 1;
    return s.n;
}

struct span span_trim(struct span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = span_from(s, 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool span_u64(struct span s, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *value = v;
    return true;
}

bool span_cstr(struct span s, char *out, size_t size)
{
    if (size == 0)
        return false;
    if (s.n >= size || span_find(s, 0) < s.n) {
        out[0] = '\0';
        return false;
    }
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}
