#include "auth/keyed_hash.h"

static uint64_t rotl(uint64_t v, unsigned bits)
{
    return (v << bits) | (v >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t little_endian(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 8; i-- > 0;)
        v = (v << 8) | p[i];
    return v;
}

struct sip {
    uint64_t v[4];
    uint8_t tail[8];
    size_t n;
};

static void sip_add_byte(struct sip *s, uint8_t byte)
{
    s->tail[s->n++ % 8] = byte;
    if (s->n % 8 != 0)
        return;
    uint64_t m = little_endian(s->tail);
    s->v[3] ^= m;
    sip_round(s->v);
    sip_round(s->v);
    s->v[0] ^= m;
}

static void sip_add(struct sip *s, struct span part)
{
    uint64_t n = part.n;
    for (unsigned i = 0; i < 8; i++, n >>= 8)
        sip_add_byte(s, (uint8_t)n);
    for (size_t i = 0; i < part.n; i++)
        sip_add_byte(s, part.p[i]);
}

uint64_t keyed_hash(const uint8_t key[KEYED_HASH_KEY], const struct span *parts, size_t n)
{
    uint64_t k0 = little_endian(key), k1 = little_endian(key + 8);
    struct sip s = {.v = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
                          k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u}};
    for (size_t i = 0; i < n; i++)
        sip_add(&s, parts[i]);
    while (s.n % 8 != 7)
        sip_add_byte(&s, 0);
    sip_add_byte(&s, (uint8_t)(s.n + 1));
    s.v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(s.v);
    return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}
