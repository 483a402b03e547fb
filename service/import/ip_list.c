#include "import/ip_list.h"

#include "base/netaddr.h"

#include <stdio.h>
#include <string.h>

enum { HEAD_SIZE = 0x18, GROUP_SIZE = 20, FAMILY_IPV4 = 2 };
static const uint32_t offset_flag = 0x80000000u;

struct blob {
    struct arena *arena;
    struct span bytes;
    struct ip_list *out;
    struct err *e;
};

static bool damaged(struct blob *b, size_t at, const char *what)
{
    return err_set(b->e, ERR_PERM, "damaged at byte %zu: %s", at, what);
}

static bool out_of_memory(struct err *e)
{
    return err_set(e, ERR_TEMP, "out of memory");
}

/* Little-endian; the caller knows that four bytes are there. */
static uint32_t u32_at(struct span s, size_t at)
{
    return (uint32_t)s.p[at] | (uint32_t)s.p[at + 1] << 8 | (uint32_t)s.p[at + 2] << 16 |
           (uint32_t)s.p[at + 3] << 24;
}

static uint32_t network_at(struct span s, size_t at)
{
    return (uint32_t)s.p[at] << 24 | (uint32_t)s.p[at + 1] << 16 | (uint32_t)s.p[at + 2] << 8 |
           (uint32_t)s.p[at + 3];
}

static bool has(const struct blob *b, size_t at, size_t n)
{
    return at <= b->bytes.n && n <= b->bytes.n - at;
}

/* An offset that stands at `at`. */
static bool read_offset(struct blob *b, size_t at, size_t *offset)
{
    uint32_t value = u32_at(b->bytes, at);
    if ((value & offset_flag) == 0)
        return damaged(b, at, "no offset");
    *offset = value & ~offset_flag;
    return *offset >= HEAD_SIZE ? true : damaged(b, at, "an offset into the head");
}

bool ip_entries_add(struct arena *a, struct ip_entries *entries, struct ip_entry entry)
{
    void *p = arena_grown(a, entries->items, entries->count, &entries->capacity, sizeof entry);
    if (p == NULL)
        return false;
    entries->items = p;
    entries->items[entries->count++] = entry;
    return true;
}

bool ip_names_add(struct arena *a, struct ip_names *names, const char *name)
{
    void *p = arena_grown(a, names->items, names->count, &names->capacity, sizeof name);
    if (p == NULL)
        return false;
    names->items = p;
    names->items[names->count++] = name;
    return true;
}

/* One mask with its addresses. */
static bool read_group(struct blob *b, size_t at, uint32_t *left, struct ip_entries *entries)
{
    uint32_t items = u32_at(b->bytes, at + 4);
    size_t data;
    if (u32_at(b->bytes, at) != FAMILY_IPV4)
        return damaged(b, at, "a group that is not IPv4");
    if (u32_at(b->bytes, at + 8) != 4 || u32_at(b->bytes, at + 12) != 0)
        return damaged(b, at + 8, "addresses that are not of four bytes");
    if (items == 0 || items - 1 > *left)
        return damaged(b, at + 4, "more addresses than the list says");
    if (!read_offset(b, at + 16, &data))
        return false;
    if (!has(b, data, (size_t)items * 4))
        return damaged(b, at + 16, "addresses outside of the data");
    uint32_t mask = network_at(b->bytes, data);
    for (uint32_t i = 1; i < items; i++) {
        struct ip_entry entry = {network_at(b->bytes, data + (size_t)i * 4), mask};
        if (!ip_entries_add(b->arena, entries, entry))
            return out_of_memory(b->e);
    }
    *left -= items - 1;
    return true;
}

static bool read_addresses(struct blob *b, size_t head_at, struct ip_entries *entries)
{
    size_t at;
    if (!read_offset(b, head_at, &at))
        return false;
    if (!has(b, at, 8))
        return damaged(b, head_at, "a list outside of the data");
    uint32_t groups = u32_at(b->bytes, at), left = u32_at(b->bytes, at + 4);
    if (left > IP_LIST_ENTRIES_MAX || groups > left)
        return damaged(b, at, "a number of addresses that cannot be");
    if (!has(b, at + 8, (size_t)groups * GROUP_SIZE))
        return damaged(b, at, "groups outside of the data");
    for (uint32_t i = 0; i < groups; i++)
        if (!read_group(b, at + 8 + (size_t)i * GROUP_SIZE, &left, entries))
            return false;
    return left == 0 ? true : damaged(b, at, "fewer addresses than the list says");
}

static bool read_names(struct blob *b, size_t head_at, bool *some)
{
    size_t at;
    if (!read_offset(b, head_at, &at))
        return false;
    if (!has(b, at, 8))
        return damaged(b, head_at, "a list outside of the data");
    *some = u32_at(b->bytes, at) != 0 || u32_at(b->bytes, at + 4) != 0;
    return true;
}

bool ip_list_parse(struct arena *a, struct span bytes, struct ip_list *out, struct err *e)
{
    struct blob b = {a, bytes, out, e};
    *out = (struct ip_list){0};
    if (bytes.n < HEAD_SIZE)
        return damaged(&b, bytes.n, "too short");
    if (bytes.n > IP_LIST_BYTES_MAX)
        return damaged(&b, bytes.n, "too long");
    uint32_t fixed = u32_at(bytes, 0x14);
    if (u32_at(bytes, 0x10) != 1 || fixed < HEAD_SIZE || fixed > bytes.n)
        return damaged(&b, 0x10, "an unknown form");
    return read_addresses(&b, 0x00, &out->denied) && read_addresses(&b, 0x04, &out->granted) &&
           read_names(&b, 0x08, &out->denied_names_unread) &&
           read_names(&b, 0x0c, &out->granted_names_unread);
}

static int digit_of(uint8_t c)
{
    c = ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ip_list_parse_hex(struct arena *a, struct span digits, struct ip_list *out, struct err *e)
{
    *out = (struct ip_list){0};
    if (digits.n % 2 != 0 || digits.n / 2 > IP_LIST_BYTES_MAX)
        return err_set(e, ERR_PERM, "damaged: %zu hexadecimal digits", digits.n);
    uint8_t *bytes = arena_alloc(a, digits.n / 2 + 1);
    if (bytes == NULL)
        return out_of_memory(e);
    for (size_t i = 0; i < digits.n / 2; i++) {
        int high = digit_of(digits.p[2 * i]), low = digit_of(digits.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return err_set(e, ERR_PERM, "damaged: no hexadecimal digit at %zu", 2 * i);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return ip_list_parse(a, span_of(bytes, digits.n / 2), out, e);
}

bool ip_mask_bits(uint32_t mask, unsigned *bits)
{
    unsigned n = 0;
    while (n < 32 && (mask >> (31 - n) & 1u) != 0)
        n++;
    *bits = n;
    return n == 32 || (mask << n) == 0;
}

bool ip_entries_overlap(struct ip_entry a, struct ip_entry b)
{
    return ((a.address ^ b.address) & a.mask & b.mask) == 0;
}

void ip_format(uint32_t address, char *out)
{
    (void)snprintf(out, IP_TEXT_MAX, "%u.%u.%u.%u", (unsigned)(address >> 24),
                   (unsigned)(address >> 16 & 255), (unsigned)(address >> 8 & 255),
                   (unsigned)(address & 255));
}

bool ip_parse(struct span text, uint32_t *address)
{
    struct netaddr ip;
    if (span_find(text, ':') < text.n || !netaddr_parse(text, &ip))
        return false;
    *address = network_at(span_of(ip.b, sizeof ip.b), 12);
    return true;
}
