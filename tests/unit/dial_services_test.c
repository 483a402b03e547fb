/* SRV records (RFC 2782) of a DNS answer that anybody may have made. */
#include "posix/dial_lookup.h"
#include "support/test.h"

enum { TYPE_A = 1, TYPE_SRV = 33, ANSWER_MAX = 512 };

struct answer {
    uint8_t bytes[ANSWER_MAX];
    size_t n;
};

static void put(struct answer *a, const void *bytes, size_t n)
{
    assert_true(a->n + n <= ANSWER_MAX);
    memcpy(a->bytes + a->n, bytes, n);
    a->n += n;
}

static void put16(struct answer *a, unsigned value)
{
    const uint8_t two[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(a, two, 2);
}

static void begin(struct answer *a, unsigned records)
{
    static const char question[] = "\x09_kerberos\x04_tcp\x03krb\x07"
                                   "example";
    *a = (struct answer){0};
    put16(a, 0x1234);
    put16(a, 0x8180);
    put16(a, 1);
    put16(a, records);
    put16(a, 0);
    put16(a, 0);
    put(a, question, sizeof question); /* with the root's zero */
    put16(a, TYPE_SRV);
    put16(a, 1);
}

static void add(struct answer *a, unsigned type, unsigned priority, unsigned weight, unsigned port,
                const char *label)
{
    size_t n = strlen(label);
    uint8_t length = (uint8_t)n;
    put16(a, 0xc00c); /* the question's name */
    put16(a, type);
    put16(a, 1);
    put(a, "\0\0\0\x3c", 4);
    put16(a, (unsigned)(6 + (n > 0 ? n + 1 : 0) + 1));
    put16(a, priority);
    put16(a, weight);
    put16(a, port);
    if (n > 0) {
        put(a, &length, 1);
        put(a, label, n);
    }
    put(a, "", 1);
}

static struct answer three(void)
{
    struct answer a;
    begin(&a, 6);
    add(&a, TYPE_SRV, 20, 0, 88, "last");
    add(&a, TYPE_A, 0, 0, 88, "other");
    add(&a, TYPE_SRV, 10, 1, 88, "second");
    add(&a, TYPE_SRV, 10, 9, 8888, "first");
    add(&a, TYPE_SRV, 0, 0, 88, ""); /* "." : there is no such service */
    add(&a, TYPE_SRV, 0, 0, 0, "noport");
    return a;
}

static void targets_come_by_priority_and_the_heavier_first(void **state)
{
    (void)state;
    struct dial_target t[DIAL_TARGETS_MAX];
    size_t n;
    struct answer a = three();
    assert_true(dial_services_parse(span_of(a.bytes, a.n), t, &n));
    assert_int_equal(n, 3);
    assert_string_equal(t[0].host, "first");
    assert_int_equal(t[0].port, 8888);
    assert_string_equal(t[1].host, "second");
    assert_string_equal(t[2].host, "last");
}

static void more_targets_than_there_is_room_for_are_left_out(void **state)
{
    (void)state;
    struct dial_target t[DIAL_TARGETS_MAX];
    size_t n;
    struct answer a;
    begin(&a, DIAL_TARGETS_MAX + 1);
    for (unsigned i = 0; i <= DIAL_TARGETS_MAX; i++)
        add(&a, TYPE_SRV, i, 0, 88, "x");
    assert_true(dial_services_parse(span_of(a.bytes, a.n), t, &n));
    assert_int_equal(n, DIAL_TARGETS_MAX);
}

/* Each in memory of exactly its size, so that a sanitizer sees a read past it. */
static void parse_copy(const uint8_t *bytes, size_t size)
{
    struct dial_target t[DIAL_TARGETS_MAX];
    size_t n = 0;
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    bool found = dial_services_parse(span_of(copy, size), t, &n);
    assert_true(n <= DIAL_TARGETS_MAX && found == (n > 0));
    for (size_t i = 0; i < n; i++)
        assert_true(t[i].port != 0 && t[i].host[0] != '\0' &&
                    memchr(t[i].host, '\0', sizeof t[i].host) != NULL);
    free(copy);
}

static void cut_and_damaged_answers_are_never_read_past_their_end(void **state)
{
    (void)state;
    const struct answer a = three();
    for (size_t n = 0; n <= a.n; n++)
        parse_copy(a.bytes, n);
    for (size_t i = 0; i < a.n; i++) {
        static const uint8_t values[] = {0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff};
        for (size_t k = 0; k < sizeof values; k++) {
            struct answer b = a;
            b.bytes[i] = values[k];
            parse_copy(b.bytes, b.n);
            parse_copy(b.bytes, i + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_come_by_priority_and_the_heavier_first),
        cmocka_unit_test(more_targets_than_there_is_room_for_are_left_out),
        cmocka_unit_test(cut_and_damaged_answers_are_never_read_past_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
