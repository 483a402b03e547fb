/* DNS messages: what we ask, what we read, what we refuse. */
#include "net/dns_message.h"

#include "support/test.h"

/* A writer of answers for the tests. */
struct message {
    uint8_t bytes[2048];
    size_t n;
    unsigned counts[3];
};

static void put8(struct message *m, unsigned v)
{
    m->bytes[m->n++] = (uint8_t)v;
}

static void put16(struct message *m, unsigned v)
{
    put8(m, v >> 8);
    put8(m, v & 255);
}

static void put_name(struct message *m, const char *name)
{
    while (*name != 0) {
        size_t n = strcspn(name, ".");
        put8(m, (unsigned)n);
        memcpy(m->bytes + m->n, name, n);
        m->n += n;
        name += n + (name[n] == '.');
    }
    put8(m, 0);
}

static void begin(struct message *m, unsigned flags, const char *name, enum dns_type type)
{
    *m = (struct message){.n = 0};
    put16(m, 4711);
    put16(m, flags);
    put16(m, 1);
    for (int i = 0; i < 3; i++)
        put16(m, 0);
    put_name(m, name);
    put16(m, type);
    put16(m, 1);
}

static void head(struct message *m, int section, const char *owner, unsigned type, unsigned ttl)
{
    m->counts[section]++;
    m->bytes[7 + 2 * section] = (uint8_t)m->counts[section];
    if (owner == NULL)
        put16(m, 0xc00c); /* a pointer to the question's name */
    else
        put_name(m, owner);
    put16(m, type);
    put16(m, 1);
    put16(m, ttl >> 16);
    put16(m, ttl & 0xffff);
}

static void add_a(struct message *m, const char *owner, unsigned last, unsigned ttl)
{
    head(m, 0, owner, DNS_A, ttl);
    put16(m, 4);
    put8(m, 192);
    put8(m, 0);
    put8(m, 2);
    put8(m, last);
}

static void add_named(struct message *m, const char *owner, enum dns_type type, int preference,
                      const char *name, unsigned ttl)
{
    head(m, 0, owner, type, ttl);
    size_t at = m->n;
    put16(m, 0);
    if (type == DNS_MX)
        put16(m, (unsigned)preference);
    put_name(m, name);
    m->bytes[at + 1] = (uint8_t)(m->n - at - 2);
}

static void add_soa(struct message *m, const char *owner, unsigned ttl, unsigned minimum)
{
    head(m, 1, owner, DNS_SOA, ttl);
    size_t at = m->n;
    put16(m, 0);
    put_name(m, "ns.test");
    put_name(m, "admin.test");
    for (int i = 0; i < 4; i++) {
        put16(m, 0);
        put16(m, 77);
    }
    put16(m, minimum >> 16);
    put16(m, minimum & 0xffff);
    m->bytes[at + 1] = (uint8_t)(m->n - at - 2);
}

static struct arena arena;

static bool parse(const struct message *m, const char *name, enum dns_type type,
                  struct dns_answer *out)
{
    arena_reset(&arena);
    return dns_answer_parse(span_of(m->bytes, m->n), span_str(name), type, &arena, out);
}

static void a_query_is_built_to_the_letter(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 512);
    assert_true(dns_query_build(0x1234, span_str("Mail.Example."), DNS_MX, &out));
    static const uint8_t want[] = {0x12, 0x34, 0x01, 0x20, 0,   1,   0, 0,   0,   0,   0,
                                   1,    4,    'M',  'a',  'i', 'l', 7, 'E', 'x', 'a', 'm',
                                   'p',  'l',  'e',  0,    0,   15,  0, 1,   0,   0,   41,
                                   0x04, 0xd0, 0,    0,    0,   0,   0, 0};
    assert_int_equal(out.n, sizeof want);
    assert_memory_equal(buf_span(&out).p, want, sizeof want);
    buf_deinit(&out);
}

static void names_that_cannot_be_asked_for_are_refused(void **state)
{
    (void)state;
    char label[65], longest[300];
    memset(label, 'a', 64);
    label[64] = 0;
    static const char *const good[] = {"a", "a.b.", "_dmarc.x-y.example", "1.2.3.4.in-addr.arpa"};
    static const char *const bad[] = {"", ".", "a..b", ".a", "a b", "a\\b", "\xc3\xa4.example"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dns_name_valid(span_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dns_name_valid(span_str(bad[i])));
    assert_false(dns_name_valid(span_str(label)));
    label[63] = 0;
    assert_true(dns_name_valid(span_str(label)));
    (void)snprintf(longest, sizeof longest, "%s.%s.%s.%.61s", label, label, label, label);
    assert_int_equal(strlen(longest), 253);
    assert_true(dns_name_valid(span_str(longest)));
    (void)snprintf(longest, sizeof longest, "%s.%s.%s.%.62s", label, label, label, label);
    assert_false(dns_name_valid(span_str(longest)));
}

static void addresses_are_read_with_the_least_time_to_live(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    char text[NETADDR_TEXT_MAX];
    begin(&m, 0x81a0, "Host.Example", DNS_A);
    add_a(&m, NULL, 1, 300);
    add_a(&m, "hOST.example", 2, 60);
    add_a(&m, "stranger.example", 3, 10); /* not asked for: neither it nor its time counts */
    assert_true(parse(&m, "host.example.", DNS_A, &a));
    assert_int_equal(a.result, DNS_FOUND);
    assert_true(a.authenticated);
    assert_int_equal(a.records_n, 2);
    assert_int_equal(a.ttl_s, 60);
    netaddr_format(&a.records[1].address, text);
    assert_string_equal(text, "192.0.2.2");
}

static void aliases_are_followed_within_the_answer(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    begin(&m, 0x8180, "www.example", DNS_A);
    add_a(&m, "c.example", 9, 500); /* in any order */
    add_named(&m, "b.example", DNS_CNAME, 0, "c.example", 20);
    add_named(&m, NULL, DNS_CNAME, 0, "b.example", 400);
    assert_true(parse(&m, "www.example", DNS_A, &a));
    assert_int_equal(a.records_n, 1);
    assert_string_equal(a.name, "c.example");
    assert_int_equal(a.ttl_s, 20);

    begin(&m, 0x8180, "www.example", DNS_A); /* in a circle */
    add_named(&m, "b.example", DNS_CNAME, 0, "www.example", 20);
    add_named(&m, NULL, DNS_CNAME, 0, "b.example", 400);
    assert_false(parse(&m, "www.example", DNS_A, &a));
    assert_int_equal(a.result, DNS_TEMP_FAILURE);
    assert_int_equal(a.records_n, 0);
}

static void mail_exchangers_and_the_null_one(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    begin(&m, 0x8180, "d.example", DNS_MX);
    add_named(&m, NULL, DNS_MX, 20, "MX2.example", 60);
    add_named(&m, NULL, DNS_MX, 10, "mx1.example", 60);
    add_named(&m, NULL, DNS_MX, 5, "bad name.example", 60); /* no host name: left out */
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_int_equal(a.records_n, 2);
    assert_string_equal(a.records[0].name, "mx2.example");
    assert_int_equal(a.records[1].preference, 10);

    begin(&m, 0x8180, "d.example", DNS_MX);
    add_named(&m, NULL, DNS_MX, 0, "", 60);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_int_equal(a.records_n, 1);
    assert_string_equal(a.records[0].name, "");
}

static void nothing_found_tells_which_nothing(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    begin(&m, 0x8180, "d.example", DNS_MX);
    add_soa(&m, "example", 900, 120);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_int_equal(a.result, DNS_NO_DATA);
    assert_int_equal(a.ttl_s, 120);

    begin(&m, 0x8183, "d.example", DNS_MX);
    add_soa(&m, "example", 30, 120);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_int_equal(a.result, DNS_NO_NAME);
    assert_int_equal(a.ttl_s, 30);

    begin(&m, 0x8182, "d.example", DNS_MX);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_int_equal(a.result, DNS_TEMP_FAILURE);
    assert_non_null(strstr(a.why, "SERVFAIL"));

    begin(&m, 0x8380, "d.example", DNS_MX);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    assert_true(a.truncated && a.result == DNS_TEMP_FAILURE);
}

static void an_answer_to_another_question_is_none(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    begin(&m, 0x8180, "e.example", DNS_A);
    add_a(&m, NULL, 1, 300);
    assert_false(parse(&m, "d.example", DNS_A, &a));
    assert_false(parse(&m, "e.example", DNS_AAAA, &a));
    assert_true(parse(&m, "e.example", DNS_A, &a));
    m.bytes[2] &= 0x7f; /* a question, not an answer */
    assert_false(parse(&m, "e.example", DNS_A, &a));
    begin(&m, 0x8180, "e.example", DNS_A);
    m.bytes[5] = 2;
    assert_false(parse(&m, "e.example", DNS_A, &a));
}

static void compression_cannot_lead_in_circles_or_forward(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    static const unsigned targets[] = {0, 2,
                                       40}; /* itself, its middle, ahead; from its own start */
    for (size_t i = 0; i < 3; i++) {
        begin(&m, 0x8180, "d.example", DNS_A);
        m.bytes[7] = 1;
        put16(&m, 0xc000 | (unsigned)(m.n + targets[i]));
        put16(&m, DNS_A);
        put16(&m, 1);
        put16(&m, 0);
        put16(&m, 9);
        put16(&m, 4);
        put16(&m, 0);
        put16(&m, 0);
        assert_false(parse(&m, "d.example", DNS_A, &a));
    }
    begin(&m, 0x8180, "d.example", DNS_A); /* two that point at each other */
    size_t first = m.n;
    m.bytes[7] = 1;
    put16(&m, 0xc000 | (unsigned)(first + 2));
    put16(&m, 0xc000 | (unsigned)first);
    assert_false(parse(&m, "d.example", DNS_A, &a));
}

static void a_message_cut_anywhere_is_refused_and_never_read_past(void **state)
{
    (void)state;
    struct message m;
    struct dns_answer a;
    begin(&m, 0x8180, "d.example", DNS_MX);
    add_named(&m, NULL, DNS_MX, 10, "mx1.example", 60);
    add_named(&m, NULL, DNS_MX, 20, "mx2.example", 60);
    add_soa(&m, "example", 30, 120);
    assert_true(parse(&m, "d.example", DNS_MX, &a));
    for (size_t n = 0; n < m.n; n++) {
        uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees a read past it */
        assert_non_null(exact);
        memcpy(exact, m.bytes, n);
        arena_reset(&arena);
        bool ok = dns_answer_parse(span_of(exact, n), span_str("d.example"), DNS_MX, &arena, &a);
        assert_false(ok);
        assert_int_equal(a.result, DNS_TEMP_FAILURE);
        free(exact);
    }
    begin(&m, 0x8180, "d.example", DNS_A);
    head(&m, 0, NULL, DNS_A, 60);
    put16(&m, 5); /* no IPv4 address */
    for (int i = 0; i < 5; i++)
        put8(&m, 1);
    assert_false(parse(&m, "d.example", DNS_A, &a));
}

static void reverse_names(void **state)
{
    (void)state;
    struct netaddr a;
    char name[DNS_REVERSE_MAX];
    assert_true(netaddr_parse(span_str("192.0.2.10"), &a));
    dns_reverse_name(&a, name);
    assert_string_equal(name, "10.2.0.192.in-addr.arpa");
    assert_true(
        netaddr_parse(span_str("2001:db8::567:89ab"), &a)); /* RFC 3596 section 2.5's kind */
    dns_reverse_name(&a, name);
    assert_string_equal(name,
                        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    assert_true(dns_name_valid(span_str(name)));
}

int main(void)
{
    arena_init(&arena, 1024 * 1024);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_built_to_the_letter),
        cmocka_unit_test(names_that_cannot_be_asked_for_are_refused),
        cmocka_unit_test(addresses_are_read_with_the_least_time_to_live),
        cmocka_unit_test(aliases_are_followed_within_the_answer),
        cmocka_unit_test(mail_exchangers_and_the_null_one),
        cmocka_unit_test(nothing_found_tells_which_nothing),
        cmocka_unit_test(an_answer_to_another_question_is_none),
        cmocka_unit_test(compression_cannot_lead_in_circles_or_forward),
        cmocka_unit_test(a_message_cut_anywhere_is_refused_and_never_read_past),
        cmocka_unit_test(reverse_names),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_deinit(&arena);
    return failed;
}
