#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct span in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v = (uint32_t)in.p[i] << 16;
        if (left > 1)
            v |= (uint32_t)in.p[i + 1] << 8;
        if (left > 2)
            v |= in.p[i + 2];
        uint8_t four[4] = {(uint8_t)alphabet[v >> 18 & 63], (uint8_t)alphabet[v >> 12 & 63],
                           (uint8_t)(left > 1 ? alphabet[v >> 6 & 63] : '='),
                           (uint8_t)(left > 2 ? alphabet[v & 63] : '=')};
        if (!buf_add(out, span_of(four, 4)))
            return false;
    }
    return !out->failed;
}

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool base64_decode(struct span in, struct buf *out)
{
    if (in.n % 4 != 0)
        return false;
    for (size_t i = 0; i < in.n; i += 4) {
        const uint8_t *q = in.p + i;
        bool last = i + 4 == in.n;
        size_t pad = !last ? 0 : q[2] == '=' ? 2 : q[3] == '=' ? 1 : 0;
        int a = value_of(q[0]), b = value_of(q[1]);
        int c = pad > 1 ? 0 : value_of(q[2]), d = pad > 0 ? 0 : value_of(q[3]);
        if (a < 0 || b < 0 || c < 0 || d < 0 || (pad > 1 && q[3] != '='))
            return false;
        uint32_t v = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;
        if ((pad == 2 && (v & 0xffff) != 0) || (pad == 1 && (v & 0xff) != 0))
            return false;
        uint8_t three[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        if (!buf_add(out, span_of(three, 3 - pad)))
            return false;
    }
    return !out->failed;
}
