#include "message/text.h"

#include <string.h>

bool text_is_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] > 127)
            return false;
    return true;
}

size_t text_utf8_next(struct span s, uint32_t *code)
{
    if (s.n == 0)
        return 0;
    uint8_t first = s.p[0];
    *code = first;
    if (first < 0x80)
        return 1;
    size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || s.n < n)
        return 0;
    uint32_t v = first & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s.p[i] & 0x3fU);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return 0;
    *code = v;
    return n;
}

bool text_is_utf8(struct span s)
{
    uint32_t code;
    while (s.n > 0) {
        size_t n = text_utf8_next(s, &code);
        if (n == 0)
            return false;
        s = span_from(s, n);
    }
    return true;
}

/* One character of s, cleaned; returns how many bytes of s it was. */
static size_t add_clean_char(struct buf *out, struct span s, bool utf8, const char *forbidden)
{
    uint8_t c = s.p[0];
    if (c >= 0x20 && c < 0x7f) {
        (void)buf_add_byte(out, strchr(forbidden, c) != NULL ? '?' : c);
        return 1;
    }
    uint32_t code = 0;
    size_t n = utf8 && c > 127 ? text_utf8_next(s, &code) : 0;
    if (n == 0 || code < 0xa0) {
        (void)buf_add_byte(out, '?');
        return n == 0 ? 1 : n;
    }
    (void)buf_add(out, span_sub(s, 0, n));
    return n;
}

bool text_add_clean(struct buf *out, struct span s, size_t max, bool utf8, const char *forbidden)
{
    size_t begin = out->n;
    while (s.n > 0 && out->n - begin + 4 <= max && !out->failed)
        s = span_from(s, add_clean_char(out, s, utf8, forbidden));
    while (s.n > 0 && out->n - begin < max && s.p[0] < 0x80 && !out->failed)
        s = span_from(s, add_clean_char(out, s, false, forbidden));
    return !out->failed;
}

bool text_add_wrapped(struct buf *out, struct span s, size_t column, const char *indent, bool utf8)
{
    enum { WIDTH = 76, WORD_MAX = 900 };
    bool begin = true;
    while (s.n > 0 && !out->failed) {
        if (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n') {
            s = span_from(s, 1);
            continue;
        }
        size_t n = 0;
        while (n < s.n && s.p[n] > ' ')
            n++;
        if (n == 0) /* a control character is a word of its own */
            n = 1;
        struct span word = span_sub(s, 0, n);
        s = span_from(s, n);
        if (!begin && column + 1 + word.n > WIDTH) {
            (void)buf_addf(out, "\r\n%s", indent);
            column = strlen(indent);
        } else if (!begin) {
            (void)buf_add_byte(out, ' ');
            column++;
        }
        begin = false;
        (void)text_add_clean(out, word, WORD_MAX, utf8, "");
        column += word.n;
    }
    return !out->failed;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* xtext = *( xchar / hexchar ); xchar = any ASCII CHAR between "!" and "~" except "+" and "=";
 * hexchar = ASCII "+" and two upper case hexadecimal digits (RFC 3461 4). */
bool text_xtext_decode(struct span s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c == '+') {
            int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
            int low = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c < '!' || c > '~' || c == '=') {
            return false;
        }
        if (!buf_add_byte(out, c))
            return false;
    }
    return !out->failed;
}

bool text_add_utf8_xtext(struct buf *out, struct span s)
{
    while (s.n > 0 && !out->failed) {
        uint32_t code = s.p[0];
        size_t n = text_utf8_next(s, &code);
        if (n == 0) { /* not UTF-8: the replacement character */
            code = 0xfffd;
            n = 1;
        }
        if (code > ' ' && code < 0x7f && code != '+' && code != '=' && code != '\\')
            (void)buf_add_byte(out, (uint8_t)code);
        else
            (void)buf_addf(out, "\\x{%X}", (unsigned)code);
        s = span_from(s, n);
    }
    return !out->failed;
}

static bool add_utf8(struct buf *out, uint32_t code)
{
    uint8_t b[4];
    size_t n;
    if (code < 0x80) {
        b[0] = (uint8_t)code;
        n = 1;
    } else if (code < 0x800) {
        b[0] = (uint8_t)(0xc0 | code >> 6);
        n = 2;
    } else if (code < 0x10000) {
        b[0] = (uint8_t)(0xe0 | code >> 12);
        n = 3;
    } else {
        b[0] = (uint8_t)(0xf0 | code >> 18);
        n = 4;
    }
    for (size_t i = 1; i < n; i++)
        b[i] = (uint8_t)(0x80 | (code >> (6 * (n - 1 - i)) & 0x3f));
    return buf_add(out, span_of(b, n));
}

/* Length of "\x{HEX}" at the begin of s and its code point; 0 where none stands. */
static size_t utf8_escape(struct span s, uint32_t *code)
{
    if (s.n < 5 || s.p[0] != '\\' || s.p[1] != 'x' || s.p[2] != '{')
        return 0;
    uint32_t v = 0;
    size_t i = 3;
    for (; i < s.n && i < 9 && hex_value(s.p[i]) >= 0; i++)
        v = v << 4 | (uint32_t)hex_value(s.p[i]);
    bool valid = i > 3 && i < s.n && s.p[i] == '}' && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
    if (!valid)
        return 0;
    *code = v;
    return i + 1;
}

bool text_utf8_xtext_decode(struct span s, struct buf *out)
{
    while (s.n > 0 && !out->failed) {
        uint32_t code = 0;
        size_t n = utf8_escape(s, &code);
        if (n > 0)
            (void)add_utf8(out, code);
        else
            (void)buf_add_byte(out, s.p[0]);
        s = span_from(s, n > 0 ? n : 1);
    }
    return !out->failed;
}
