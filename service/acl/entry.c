#include "acl/entry.h"

#include "base/host_name.h"

#include <stdio.h>
#include <string.h>

static const char expected[] = "expected an address, prefix, range, host name, *.domain, /pattern/ "
                               "or self";

static bool faulty(struct err *e, struct span text, const char *what, const char *hope)
{
    return err_set(e, ERR_PERM, "%.*s: %s, expected %s", text.n > 100 ? 100 : (int)text.n,
                   (const char *)text.p, what, hope);
}

static bool one_of(struct span s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_is_nocase(s, words[i]))
            return true;
    return false;
}

bool acl_is_public_suffix(struct span domain)
{
    static const char *const private_tops[] = {"local",       "internal",  "lan",
                                               "home",        "corp",      "private",
                                               "localdomain", "localhost", "intranet"};
    static const char *const second_levels[] = {"co", "com", "net", "org", "gov",
                                                "ac", "edu", "or",  "ne",  "go"};
    size_t dot = span_rfind(domain, '.');
    if (dot == domain.n)
        return !one_of(domain, private_tops, sizeof private_tops / sizeof *private_tops);
    struct span top = span_from(domain, dot + 1), second = span_sub(domain, 0, dot);
    return top.n == 2 &&
           one_of(second, second_levels, sizeof second_levels / sizeof *second_levels);
}

static bool is_zero(const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b[i] != 0)
            return false;
    return true;
}

/* The number of leading ones, where only zeros follow. */
static bool mask_bits(const uint8_t *b, size_t n, unsigned *bits)
{
    unsigned count = 0;
    while (count < 8 * n && (b[count / 8] >> (7 - count % 8) & 1) != 0)
        count++;
    *bits = count;
    for (unsigned i = count; i < 8 * n; i++)
        if ((b[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

static bool parse_prefix(struct span text, size_t slash, struct acl_entry *entry, struct err *e)
{
    struct span left = span_sub(text, 0, slash), right = span_from(text, slash + 1);
    struct netaddr address, mask;
    if (!netaddr_parse(left, &address))
        return faulty(e, text, "no address before the slash", "address/bits or address/mask");
    bool v4 = netaddr_is_v4(&address);
    bool as_v4 = v4 && span_find(left, ':') == left.n;
    unsigned width = as_v4 ? 32 : 128, bits;
    uint64_t number;
    if (span_u64(right, width, &number)) {
        bits = (unsigned)number;
    } else if (netaddr_parse(right, &mask) && (span_find(right, ':') == right.n) == as_v4) {
        if (!mask_bits(as_v4 ? mask.b + 12 : mask.b, width / 8, &bits))
            return faulty(e, text, "the mask has holes", "ones followed by zeros");
    } else {
        return faulty(e, text, "not a prefix length or mask",
                      as_v4 ? "0 to 32, or a mask as 255.255.0.0"
                            : "0 to 128, or a mask as ffff::");
    }
    if (as_v4)
        bits += 96;
    if (v4 && bits < 96)
        return faulty(e, text, "an IPv4-mapped prefix that leaves IPv4", "96 to 128 bits");
    /* A slip with the widest effect that an entry can have; 0.0.0.0/0 says what it means. */
    if (bits == (v4 ? 96u : 0u) && !is_zero(v4 ? address.b + 12 : address.b, v4 ? 4 : 16))
        return faulty(e, text, "holds every address",
                      v4 ? "0.0.0.0/0 if that is meant" : "::/0 if that is meant");
    entry->kind = ENTRY_ADDRESS;
    netaddr_prefix(&address, bits, &entry->first, &entry->last);
    return true;
}

/* False without an error set: this is no range. */
static bool parse_range(struct span text, struct acl_entry *entry, bool *is_range, struct err *e)
{
    size_t hyphen = span_find(text, '-');
    struct span left = span_trim(span_sub(text, 0, hyphen));
    struct span right = span_trim(span_from(text, hyphen + 1));
    *is_range = hyphen < text.n && netaddr_parse(left, &entry->first);
    if (!*is_range)
        return false;
    if (!netaddr_parse(right, &entry->last))
        return faulty(e, text, "no address after the hyphen", "first-last, as 10.2.0.5-10.2.0.9");
    if (netaddr_is_v4(&entry->first) != netaddr_is_v4(&entry->last))
        return faulty(e, text, "a range over two address families", "both ends of one family");
    if (netaddr_compare(&entry->first, &entry->last) > 0)
        return faulty(e, text, "the range runs backwards", "the smaller address first");
    entry->kind = ENTRY_ADDRESS;
    return true;
}

static bool parse_name(struct span text, struct acl_entry *entry, struct err *e)
{
    bool suffix = text.n > 2 && text.p[0] == '*' && text.p[1] == '.';
    struct span name = suffix ? span_from(text, 2) : text;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 0x80)
            return faulty(e, text, "not ASCII", "the xn-- form of the name");
    if (span_find(name, '*') < name.n)
        return faulty(e, text, "a * that is not the whole first label", "*.domain, or a /pattern/");
    if (span_find(text, ':') < text.n || host_name_looks_numeric(name))
        return faulty(e, text, "not an address",
                      "as 10.1.2.3, 10.1.0.0/16, 10.2.0.5-10.2.0.9 or fd00::/8");
    if (!host_name_ok(name))
        return err_set(e, ERR_PERM, "%.*s: not a host name, %s", text.n > 100 ? 100 : (int)text.n,
                       (const char *)text.p, expected);
    entry->kind = suffix ? ENTRY_SUFFIX : ENTRY_NAME;
    entry->name = name;
    return true;
}

bool acl_entry_parse(struct span text, struct acl_entry *entry, struct err *e)
{
    memset(entry, 0, sizeof *entry);
    text = span_trim(text);
    if (text.n == 0)
        return err_set(e, ERR_PERM, "an empty entry, %s", expected);
    if (text.n >= 4096 || span_find(text, 0) < text.n)
        return faulty(e, text, "too long or with a NUL", "at most 4095 bytes of text");
    if (span_is_nocase(text, "self")) {
        entry->kind = ENTRY_SELF;
        return true;
    }
    if (span_starts_nocase(text, "file:"))
        return faulty(e, text, "a list file that names a list file", "entries, one a line");
    if (text.p[0] == '/') {
        if (text.n < 3 || text.p[text.n - 1] != '/')
            return faulty(e, text, "not a pattern", "/pattern/ with a slash at both ends");
        entry->kind = ENTRY_PATTERN;
        entry->name = span_sub(text, 1, text.n - 2);
        return true;
    }
    size_t slash = span_find(text, '/');
    if (slash < text.n)
        return parse_prefix(text, slash, entry, e);
    if (netaddr_parse(text, &entry->first)) {
        entry->kind = ENTRY_ADDRESS;
        entry->last = entry->first;
        return true;
    }
    bool is_range;
    if (parse_range(text, entry, &is_range, e) || is_range)
        return entry->kind == ENTRY_ADDRESS;
    return parse_name(text, entry, e);
}

/* The length of the prefix that is just this interval, or 129. */
static unsigned prefix_of(const struct netaddr *first, const struct netaddr *last)
{
    struct netaddr low, high;
    unsigned bits = 0;
    while (bits < 128 &&
           (first->b[bits / 8] >> (7 - bits % 8) & 1) == (last->b[bits / 8] >> (7 - bits % 8) & 1))
        bits += bits % 8 == 0 && first->b[bits / 8] == last->b[bits / 8] ? 8 : 1;
    netaddr_prefix(first, bits, &low, &high);
    return netaddr_equal(&low, first) && netaddr_equal(&high, last) ? bits : 129;
}

void acl_interval_format(const struct netaddr *first, const struct netaddr *last, char *out)
{
    netaddr_format(first, out);
    if (netaddr_equal(first, last))
        return;
    size_t at = strlen(out);
    unsigned least = netaddr_is_v4(first) ? 96 : 0;
    unsigned bits = prefix_of(first, last);
    if (bits <= 128 && bits >= least) {
        (void)snprintf(out + at, ACL_INTERVAL_TEXT_MAX - at, "/%u", bits - least);
        return;
    }
    out[at] = '-';
    netaddr_format(last, out + at + 1);
}
