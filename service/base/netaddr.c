#include "base/netaddr.h"

#include <stdio.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool netaddr_is_v4(const struct netaddr *a)
{
    return memcmp(a->b, mapped_prefix, sizeof mapped_prefix) == 0;
}

struct netaddr netaddr_v4(const uint8_t four[4])
{
    struct netaddr a;
    memcpy(a.b, mapped_prefix, 12);
    memcpy(a.b + 12, four, 4);
    return a;
}

int netaddr_compare(const struct netaddr *a, const struct netaddr *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
    return netaddr_compare(a, b) == 0;
}

static bool parse_v4(struct span s, uint8_t out[4])
{
    for (int part = 0; part < 4; part++) {
        size_t dot = span_find(s, '.');
        if ((part < 3) != (dot < s.n))
            return false;
        struct span digits = span_sub(s, 0, dot);
        uint64_t v;
        if (digits.n > 3 || (digits.n > 1 && digits.p[0] == '0') || !span_u64(digits, 255, &v))
            return false;
        out[part] = (uint8_t)v;
        s = span_from(s, dot + 1);
    }
    return true;
}

static int hex_of(uint8_t c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One side of "::", or the whole address: groups of 16 bits; the address's last may be a dotted
 * quad. */
static bool parse_groups(struct span s, bool at_end, uint8_t *out, size_t room, size_t *n)
{
    *n = 0;
    while (s.n > 0) {
        size_t colon = span_find(s, ':');
        struct span group = span_sub(s, 0, colon);
        if (colon == s.n && span_find(group, '.') < group.n) {
            if (!at_end || room - *n < 4 || !parse_v4(group, out + *n))
                return false;
            *n += 4;
            return true;
        }
        if (group.n == 0 || group.n > 4 || room - *n < 2)
            return false;
        unsigned v = 0;
        for (size_t i = 0; i < group.n; i++) {
            int digit = hex_of(group.p[i]);
            if (digit < 0)
                return false;
            v = v << 4 | (unsigned)digit;
        }
        out[(*n)++] = (uint8_t)(v >> 8);
        out[(*n)++] = (uint8_t)v;
        if (colon + 1 == s.n)
            return false; /* a colon with nothing behind it */
        s = span_from(s, colon + 1);
    }
    return true;
}

static size_t find_double_colon(struct span s)
{
    for (size_t i = 0; i + 1 < s.n; i++)
        if (s.p[i] == ':' && s.p[i + 1] == ':')
            return i;
    return s.n;
}

bool netaddr_parse(struct span text, struct netaddr *a)
{
    uint8_t four[4];
    if (text.n == 0 || text.n >= NETADDR_TEXT_MAX)
        return false;
    if (span_find(text, ':') == text.n) {
        if (!parse_v4(text, four))
            return false;
        *a = netaddr_v4(four);
        return true;
    }
    uint8_t head[16], tail[16];
    size_t nh, nt = 0, gap = find_double_colon(text);
    memset(a->b, 0, sizeof a->b);
    if (!parse_groups(span_sub(text, 0, gap), gap == text.n, head, 16, &nh))
        return false;
    if (gap == text.n) {
        if (nh != 16)
            return false;
    } else if (!parse_groups(span_from(text, gap + 2), true, tail, 16, &nt) || nh + nt > 14) {
        return false;
    }
    memcpy(a->b, head, nh);
    memcpy(a->b + 16 - nt, tail, nt);
    return true;
}

/* Every decision and many log lines write one: snprintf would take half of a decision's time. */
static void format_v4(const uint8_t four[4], char *out)
{
    for (int i = 0; i < 4; i++) {
        unsigned v = four[i];
        if (v >= 100)
            *out++ = (char)('0' + v / 100);
        if (v >= 10)
            *out++ = (char)('0' + v / 10 % 10);
        *out++ = (char)('0' + v % 10);
        *out++ = i < 3 ? '.' : '\0';
    }
}

static char *format_group(unsigned v, char *out)
{
    for (int shift = 12; shift >= 0; shift -= 4)
        if (v >> shift != 0 || shift == 0)
            *out++ = "0123456789abcdef"[v >> shift & 15];
    return out;
}

void netaddr_format(const struct netaddr *a, char *out)
{
    const uint8_t *b = a->b;
    if (netaddr_is_v4(a)) {
        format_v4(b + 12, out);
        return;
    }
    int best = -1, best_n = 1; /* RFC 5952 4.2.2: "::" stands for two groups or more */
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && b[2 * (i + n)] == 0 && b[2 * (i + n) + 1] == 0)
            n++;
        if (n > best_n) {
            best = i;
            best_n = n;
        }
        i += n;
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *out++ = ':';
            *out++ = ':';
            i += best_n - 1;
            continue;
        }
        if (i > 0 && (best < 0 || i != best + best_n))
            *out++ = ':';
        out = format_group((unsigned)(b[2 * i] << 8 | b[2 * i + 1]), out);
    }
    *out = '\0';
}

void netaddr_prefix(const struct netaddr *a, unsigned bits, struct netaddr *first,
                    struct netaddr *last)
{
    *first = *last = *a;
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = bits <= 8 * i ? 0 : bits - 8 * i >= 8 ? 8 : bits - 8 * i;
        uint8_t mask = (uint8_t)(0xff00u >> kept);
        first->b[i] &= mask;
        last->b[i] |= (uint8_t)~mask;
    }
}
