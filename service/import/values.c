#include "import/values.h"

#include "base/host_name.h"

#include <string.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trimmed(struct span s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = span_from(s, 1);
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool hex_number(struct span s, uint32_t *value)
{
    *value = 0;
    if (s.n == 0 || s.n > 8)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = ascii_lower(s.p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return false;
        *value = *value << 4 | (uint32_t)(digit ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static bool number_of(struct span s, uint32_t *value)
{
    uint64_t n;
    s = trimmed(s);
    if (span_is_nocase(s, "TRUE") || span_is_nocase(s, "FALSE")) {
        *value = span_is_nocase(s, "TRUE") ? 1 : 0;
        return true;
    }
    if (span_starts_nocase(s, "0x"))
        return hex_number(span_from(s, 2), value);
    bool negative = s.n > 0 && s.p[0] == '-';
    if (!span_u64(span_from(s, negative ? 1 : 0), negative ? 0x80000000u : UINT32_MAX, &n))
        return false;
    *value = negative ? (uint32_t)(0 - n) : (uint32_t)n;
    return true;
}

bool iis_number(const char *text, uint32_t *value)
{
    return number_of(span_str(text), value);
}

bool iis_flags(const char *text, const struct iis_flag *flags, size_t n, uint32_t *value)
{
    struct span rest = span_str(text);
    *value = 0;
    if (trimmed(rest).n == 0)
        return true;
    while (rest.n > 0) {
        size_t bar = span_find(rest, '|'), i = 0;
        struct span word = trimmed(span_sub(rest, 0, bar));
        uint32_t bits = 0;
        while (i < n && !span_is_nocase(word, flags[i].name))
            i++;
        if (i < n)
            bits = flags[i].bit;
        else if (!number_of(word, &bits))
            return false;
        *value |= bits;
        rest = span_from(rest, bar + 1);
    }
    return true;
}

bool iis_next(struct span *rest, struct span *item)
{
    size_t n = 0;
    *rest = trimmed(*rest);
    while (n < rest->n && !is_blank(rest->p[n]))
        n++;
    *item = span_sub(*rest, 0, n);
    *rest = span_from(*rest, n);
    return n > 0;
}

bool iis_domain(struct span s)
{
    return host_name_ok(span_starts_nocase(s, "*.") ? span_from(s, 2) : s);
}

bool iis_mailbox(struct span s)
{
    size_t at = span_rfind(s, '@');
    if (at == s.n || at == 0 || at > 64 || !host_name_ok(span_from(s, at + 1)))
        return false;
    for (size_t i = 0; i < at; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("<>()[]\\,;:\"@", s.p[i]) != NULL)
            return false;
    return true;
}

char *iis_lower(struct arena *a, const char *text)
{
    struct span s = trimmed(span_str(text));
    if (s.n > 1 && s.p[s.n - 1] == '.')
        s.n--;
    char *out = arena_span_str(a, s);
    if (out != NULL)
        ascii_lower_str(out);
    return out;
}

/* How many bytes make the character at i; 0: it is to be hidden, *n is then its length. */
static bool shows(struct span s, size_t i, bool ascii, size_t *n)
{
    uint8_t c = s.p[i];
    *n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (*n > s.n - i)
        *n = s.n - i;
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    if (ascii)
        return false;
    bool c1 = c == 0xc2 && *n == 2 && s.p[i + 1] < 0xa0; /* U+0080 to U+009F: NEL, CSI */
    bool breaks = c == 0xe2 && *n == 3 && s.p[i + 1] == 0x80 && s.p[i + 2] >= 0xa8 &&
                  s.p[i + 2] <= 0xae; /* line and paragraph ends, and what turns text around */
    return !c1 && !breaks;
}

char *iis_shown(struct arena *a, const char *text, size_t max, bool ascii)
{
    struct span s = trimmed(span_str(text));
    char *out = arena_alloc(a, (s.n < max ? s.n : max + 3) + 1);
    size_t used = 0, n;
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < s.n; i += n) {
        bool shown = shows(s, i, ascii, &n);
        size_t take = shown ? n : 1;
        if (used + take > max) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (shown)
            memcpy(out + used, s.p + i, n);
        else
            out[used] = is_blank(s.p[i]) ? ' ' : '?';
        used += take;
    }
    out[used] = '\0';
    return out;
}
