#include "net/dns_message.h"

#include <stdio.h>
#include <string.h>

enum {
    HEADER = 12,
    CLASS_IN = 1,
    WIRE_NAME_MAX = 255,
    LABEL_MAX = 63,
    ESCAPED_MAX = WIRE_NAME_MAX * 4 + 1, /* every byte as \DDD */
    RCODE_NXDOMAIN = 3,
};

static unsigned get16(struct span m, size_t at)
{
    return (unsigned)m.p[at] << 8 | m.p[at + 1];
}

static uint32_t get32(struct span m, size_t at)
{
    return (uint32_t)get16(m, at) << 16 | get16(m, at + 2);
}

static bool name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool dns_name_valid(struct span name)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > DNS_NAME_MAX)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!name_byte(name.p[i]) || ++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0;
}

static bool put16(struct buf *out, unsigned value)
{
    return buf_add_byte(out, (uint8_t)(value >> 8)) && buf_add_byte(out, (uint8_t)value);
}

static bool put_name(struct buf *out, struct span name)
{
    while (name.n > 0) {
        size_t n = span_find(name, '.');
        if (!buf_add_byte(out, (uint8_t)n) || !buf_add(out, span_sub(name, 0, n)))
            return false;
        name = span_from(name, n + 1);
    }
    return buf_add_byte(out, 0);
}

bool dns_query_build(uint16_t id, struct span name, enum dns_type type, struct buf *out)
{
    if (!dns_name_valid(name))
        return false;
    return put16(out, id) && put16(out, 0x0120) /* RD, AD: tell us what you validated, RFC 6840 */
           && put16(out, 1) && put16(out, 0) && put16(out, 0) && put16(out, 1) &&
           put_name(out, name) && put16(out, type) && put16(out, CLASS_IN) &&
           /* OPT, RFC 6891 section 6.1.2: root name, our size, no flags, no options */
           buf_add_byte(out, 0) && put16(out, DNS_OPT) && put16(out, DNS_EDNS_SIZE) &&
           put16(out, 0) && put16(out, 0) && put16(out, 0);
}

/* Reads a name at *at and moves *at behind it. Each pointer must lead before everything read so
 * far (RFC 1035 section 4.1.4: a prior occurrence), so the reading ends. Text in lower case, bytes
 * that are in no host name as \DDD; out has ESCAPED_MAX bytes. */
static bool read_name(struct span m, size_t *at, char *out)
{
    size_t i = *at, lowest = *at, used = 0, wire = 1;
    bool jumped = false;
    out[0] = 0;
    for (;;) {
        if (i >= m.n)
            return false;
        unsigned n = m.p[i];
        if (n >= 0xc0) {
            if (i + 1 >= m.n)
                return false;
            size_t target = get16(m, i) & 0x3fff;
            if (target >= lowest)
                return false;
            if (!jumped)
                *at = i + 2;
            jumped = true;
            lowest = i = target;
            continue;
        }
        if (n > LABEL_MAX || n >= m.n - i || (wire += n + 1) > WIRE_NAME_MAX + 1)
            return false;
        i++;
        if (n == 0)
            break;
        if (used > 0)
            out[used++] = '.';
        for (unsigned k = 0; k < n; k++, i++) {
            if (name_byte(m.p[i]))
                out[used++] = (char)ascii_lower(m.p[i]);
            else
                used += (size_t)snprintf(out + used, 5, "\\%03u", (unsigned)m.p[i]);
        }
        out[used] = 0;
    }
    if (!jumped)
        *at = i;
    return true;
}

struct raw_record {
    size_t owner, data; /* offsets */
    unsigned type, class, length;
    uint32_t ttl;
};

static bool read_record(struct span m, size_t *at, struct raw_record *r)
{
    char skipped[ESCAPED_MAX];
    r->owner = *at;
    if (!read_name(m, at, skipped) || m.n - *at < 10)
        return false;
    r->type = get16(m, *at);
    r->class = get16(m, *at + 2);
    r->ttl = get32(m, *at + 4);
    if (r->ttl > INT32_MAX) /* RFC 2181 section 8 */
        r->ttl = 0;
    r->length = get16(m, *at + 8);
    *at += 10;
    if (m.n - *at < r->length)
        return false;
    r->data = *at;
    *at += r->length;
    return true;
}

struct parser {
    struct span m;
    struct arena *arena;
    struct dns_answer *out;
    enum dns_type type;
    struct raw_record answers[DNS_RECORDS_MAX];
    size_t answers_n;
    bool have_soa;
    uint32_t soa_ttl;
};

static bool malformed(struct dns_answer *out, const char *why)
{
    out->result = DNS_TEMP_FAILURE;
    out->records = NULL;
    out->records_n = 0;
    out->why = why;
    return false;
}

/* RFC 2308 section 5: a negative answer lives as long as its SOA and the minimum in it. */
static bool note_soa(struct parser *p, const struct raw_record *r)
{
    char text[ESCAPED_MAX];
    size_t at = r->data, end = r->data + r->length;
    if (!read_name(p->m, &at, text) || !read_name(p->m, &at, text) || at > end || end - at < 20)
        return false;
    uint32_t minimum = get32(p->m, at + 16);
    p->have_soa = true;
    p->soa_ttl = r->ttl < minimum ? r->ttl : minimum;
    return true;
}

static bool read_sections(struct parser *p, size_t at)
{
    const unsigned counts[] = {get16(p->m, 6), get16(p->m, 8), get16(p->m, 10)};
    for (int section = 0; section < 3; section++) {
        for (unsigned i = 0; i < counts[section]; i++) {
            struct raw_record r;
            if (!read_record(p->m, &at, &r))
                return false;
            if (section == 0 && p->answers_n < DNS_RECORDS_MAX && r.class == CLASS_IN)
                p->answers[p->answers_n++] = r;
            if (section == 1 && r.type == DNS_SOA && r.class == CLASS_IN && !note_soa(p, &r))
                return false;
            if (section == 2 && r.type == DNS_OPT) /* the upper bits of the result */
                p->out->rcode |= (unsigned)p->m.p[r.owner + 5] << 4;
        }
    }
    return true;
}

/* A name in the data of a record, which it must fill. */
static bool data_name(struct parser *p, const struct raw_record *r, size_t offset, char *text)
{
    size_t at = r->data + offset;
    return r->length > offset && read_name(p->m, &at, text) && at == r->data + r->length;
}

/* One record of the type that was asked for. *usable is false for one that holds no host name. */
static bool read_data(struct parser *p, const struct raw_record *r, struct dns_record *out,
                      bool *usable)
{
    char text[ESCAPED_MAX];
    *out = (struct dns_record){.type = p->type, .ttl_s = r->ttl, .name = ""};
    *usable = true;
    switch (p->type) {
    case DNS_A:
        if (r->length != 4)
            return false;
        out->address = netaddr_v4(p->m.p + r->data);
        return true;
    case DNS_AAAA:
        if (r->length != 16)
            return false;
        memcpy(out->address.b, p->m.p + r->data, 16);
        return true;
    case DNS_MX:
    case DNS_PTR:
    case DNS_CNAME: {
        size_t offset = p->type == DNS_MX ? 2 : 0;
        if (!data_name(p, r, offset, text))
            return false;
        if (offset > 0)
            out->preference = (uint16_t)get16(p->m, r->data);
        /* "MX 0 ." is meant (RFC 7505); other names must be ones that can be asked for. */
        *usable = (text[0] == 0 && p->type == DNS_MX) || dns_name_valid(span_str(text));
        out->name = arena_str(p->arena, text);
        return out->name != NULL;
    }
    case DNS_SOA:
    case DNS_TXT:
    case DNS_OPT:
    case DNS_TLSA:
        out->data = arena_span(p->arena, span_sub(p->m, r->data, r->length));
        return out->data.p != NULL || r->length == 0;
    }
    return false;
}

/* The records that `name` owns. False: malformed. */
static bool collect(struct parser *p, const char *name)
{
    struct dns_record *records = NULL;
    size_t n = 0;
    char owner[ESCAPED_MAX];
    for (size_t i = 0; i < p->answers_n; i++) {
        const struct raw_record *r = &p->answers[i];
        size_t at = r->owner;
        if (r->type != (unsigned)p->type)
            continue;
        if (!read_name(p->m, &at, owner))
            return false;
        if (strcmp(owner, name) != 0)
            continue;
        if (records == NULL)
            records = arena_alloc(p->arena, p->answers_n * sizeof *records);
        bool usable;
        if (records == NULL || !read_data(p, r, &records[n], &usable))
            return false;
        p->out->result = DNS_FOUND;
        if (r->ttl < p->out->ttl_s)
            p->out->ttl_s = r->ttl;
        n += usable;
    }
    p->out->records = records;
    p->out->records_n = n;
    return true;
}

/* The alias of `name`, if it has one: its target replaces it. */
static bool follow(struct parser *p, char *name, bool *followed)
{
    char owner[ESCAPED_MAX];
    *followed = false;
    for (size_t i = 0; i < p->answers_n && !*followed; i++) {
        const struct raw_record *r = &p->answers[i];
        size_t at = r->owner;
        if (r->type != DNS_CNAME)
            continue;
        if (!read_name(p->m, &at, owner))
            return false;
        if (strcmp(owner, name) != 0)
            continue;
        if (!data_name(p, r, 0, name))
            return false;
        if (r->ttl < p->out->ttl_s)
            p->out->ttl_s = r->ttl;
        *followed = true;
    }
    return true;
}

static bool read_answers(struct parser *p, char *name)
{
    p->out->ttl_s = UINT32_MAX;
    p->out->result = DNS_NO_DATA;
    for (int links = 0;; links++) {
        bool followed = false;
        if (!collect(p, name))
            return malformed(p->out, "a record of the answer cannot be read");
        if (p->out->result == DNS_FOUND || p->type == DNS_CNAME)
            break;
        if (!follow(p, name, &followed))
            return malformed(p->out, "an alias of the answer cannot be read");
        if (!followed)
            break;
        if (links == DNS_CNAME_MAX)
            return malformed(p->out, "the chain of aliases is too long or goes round");
    }
    p->out->name = arena_str(p->arena, name);
    if (p->out->name == NULL)
        return malformed(p->out, "no memory");
    if (p->out->result == DNS_NO_DATA) {
        /* RFC 2308 section 5: without an SOA it should not be kept. */
        uint32_t negative = p->have_soa ? p->soa_ttl : 0;
        if (negative < p->out->ttl_s)
            p->out->ttl_s = negative;
    }
    return true;
}

static const char *why_of(unsigned rcode)
{
    switch (rcode) {
    case 1: return "the DNS server did not understand the question (FORMERR)";
    case 2: return "the DNS server failed (SERVFAIL)";
    case 4: return "the DNS server cannot do that (NOTIMP)";
    case 5: return "the DNS server refuses us (REFUSED)";
    default: return "the DNS server answered with an error";
    }
}

bool dns_answer_parse(struct span message, struct span name, enum dns_type type, struct arena *a,
                      struct dns_answer *out)
{
    char asked[ESCAPED_MAX];
    struct parser p = {.m = message, .arena = a, .out = out, .type = type};
    size_t at = HEADER;
    *out = (struct dns_answer){.result = DNS_TEMP_FAILURE, .name = ""};
    if (message.n < HEADER || message.n > UINT16_MAX)
        return malformed(out, "the answer is no DNS message");
    unsigned flags = get16(message, 2);
    out->rcode = flags & 0xf;
    out->truncated = (flags & 0x0200) != 0;
    out->authenticated = (flags & 0x0020) != 0;
    if ((flags & 0xf800) != 0x8000) /* QR set, opcode QUERY */
        return malformed(out, "the answer is no answer");
    if (get16(message, 4) != 1 || !read_name(message, &at, asked) || message.n - at < 4 ||
        get16(message, at) != (unsigned)type || get16(message, at + 2) != CLASS_IN)
        return malformed(out, "the answer is to another question");
    at += 4;
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (!span_equal_nocase(span_str(asked), name))
        return malformed(out, "the answer is to another question");
    if (out->truncated) {
        out->why = "the answer is cut short";
        return true;
    }
    if (!read_sections(&p, at))
        return malformed(out, "the answer cannot be read");
    if (out->rcode == 0)
        return read_answers(&p, asked);
    if (out->rcode != RCODE_NXDOMAIN) {
        out->why = why_of(out->rcode);
        return true;
    }
    out->result = DNS_NO_NAME;
    out->ttl_s = p.have_soa ? p.soa_ttl : 0;
    out->name = arena_str(a, asked);
    return out->name != NULL || malformed(out, "no memory");
}

void dns_reverse_name(const struct netaddr *address, char *out)
{
    const uint8_t *b = address->b;
    if (netaddr_is_v4(address)) {
        (void)snprintf(out, DNS_REVERSE_MAX, "%u.%u.%u.%u.in-addr.arpa", (unsigned)b[15],
                       (unsigned)b[14], (unsigned)b[13], (unsigned)b[12]);
        return;
    }
    size_t used = 0;
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--) {
        out[used++] = digits[b[i] & 15];
        out[used++] = '.';
        out[used++] = digits[b[i] >> 4];
        out[used++] = '.';
    }
    memcpy(out + used, "ip6.arpa", sizeof "ip6.arpa");
}
