/* The foundation: spans, buffers, arenas, errors, base64, addresses, the log line. */
#include "base/arena.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/netaddr.h"
#include "base/secret.h"

#include "support/test.h"

static void numbers_are_digits_within_bounds(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(span_u64(span_str("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    static const char *const bad[] = {
        "", "+1", "-1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(span_u64(span_str(bad[i]), UINT64_MAX, &v));
    assert_false(span_u64(span_str("256"), 255, &v));
}

static void spans_are_clipped_and_searched(void **state)
{
    (void)state;
    struct span s = span_str("Hello");
    assert_int_equal(span_sub(s, 3, 10).n, 2);
    assert_int_equal(span_from(s, 9).n, 0);
    assert_true(span_is_nocase(s, "hELLO"));
    assert_true(span_starts_nocase(s, "he") && span_ends_nocase(s, "LO"));
    assert_int_equal(span_find(s, 'l'), 2);
    assert_int_equal(span_rfind(s, 'l'), 3);
    assert_int_equal(span_rfind(s, 'x'), s.n);
    char out[4];
    assert_false(span_cstr(s, out, sizeof out));
    assert_false(span_cstr(span_of("a\0b", 3), out, sizeof out));
}

static void a_buffer_stops_at_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_add_str(&b, "12345"));
    assert_false(buf_add_str(&b, "123456"));
    assert_true(b.failed);
    assert_int_equal(buf_span(&b).n, 5);
    buf_reset(&b);
    for (int i = 0; i < 1000; i++) { /* consumed room at the front is used again */
        assert_true(buf_add_str(&b, "abcdef"));
        buf_consume(&b, 6);
    }
    assert_true(buf_addf(&b, "%d-%s", 42, "x"));
    assert_string_equal(buf_cstr(&b), "42-x");
    buf_deinit(&b);
}

static void base64_is_canonical_or_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    static const char *const bad[] = {
        "YQ", "YQ=", "YR==", "YWF=", "Y===", "YQ==YQ==", "Y Q=", "YQ==\n", "=", "===="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_reset(&b);
        assert_false(base64_decode(span_str(bad[i]), &b));
    }
    uint8_t bytes[70];
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct buf text;
        buf_init(&text, 1000);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 37 + n);
        assert_true(base64_encode(span_of(bytes, n), &text));
        buf_reset(&b);
        assert_true(base64_decode(buf_span(&text), &b));
        assert_true(span_equal(buf_span(&b), span_of(bytes, n)));
        buf_deinit(&text);
    }
    buf_deinit(&b);
}

static void addresses_parse_and_print(void **state)
{
    (void)state;
    static const char *const same[] = {"127.0.0.1",
                                       "0.0.0.0",
                                       "255.255.255.255",
                                       "::",
                                       "::1",
                                       "fd00::1",
                                       "1::",
                                       "2001:db8::2:1",
                                       "1:2:3:4:5:6:7:8",
                                       "2001:db8:0:1:1:1:1:1",
                                       "1:0:0:2::3"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct netaddr a;
        char text[NETADDR_TEXT_MAX];
        assert_true(netaddr_parse(span_str(same[i]), &a));
        netaddr_format(&a, text);
        assert_string_equal(text, same[i]);
    }
    static const char *const bad[] = {"",
                                      "1",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "01.2.3.4",
                                      "256.1.1.1",
                                      "1.2.3.4 ",
                                      ":",
                                      ":::",
                                      "1:2",
                                      "1::2::3",
                                      "12345::",
                                      "1:2:3:4:5:6:7:8:9",
                                      "::g",
                                      "fe80::1%eth0",
                                      "1.2.3.4::",
                                      "1:2:3:4:5:6:7:8::",
                                      ":1::",
                                      "1:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct netaddr a;
        if (netaddr_parse(span_str(bad[i]), &a))
            fail_msg("%s was taken as an address", bad[i]);
    }
    struct netaddr mapped, four;
    assert_true(netaddr_parse(span_str("::ffff:10.1.2.3"), &mapped));
    assert_true(netaddr_parse(span_str("10.1.2.3"), &four));
    assert_true(netaddr_equal(&mapped, &four) && netaddr_is_v4(&mapped));
    struct netaddr first, last;
    char text[NETADDR_TEXT_MAX];
    netaddr_prefix(&four, 96 + 22, &first, &last);
    netaddr_format(&first, text);
    assert_string_equal(text, "10.1.0.0");
    netaddr_format(&last, text);
    assert_string_equal(text, "10.1.3.255");
}

static void a_log_line_cannot_be_forged(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    const struct log_field fields[] = {LOG_S("rcpt", "a\r\nb \"x\" \x1b[2J"), LOG_U("line", 31),
                                       LOG_S("name", "m\xc3\xbcller"), LOG_B("tls", true)};
    log_format_line(LOG_TEXT, LOG_WARN, "smtp.rcpt.refused", fields, 4, 0, &b);
    assert_string_equal(buf_cstr(&b),
                        "1970-01-01T00:00:00.000Z warn smtp.rcpt.refused rcpt=\"a\\x0d\\x0ab "
                        "\\\"x\\\" \\x1b[2J\" line=31 name=\"m\xc3\xbcller\" tls=true");
    buf_reset(&b);
    log_format_line(LOG_JSON, LOG_INFO, "x", fields, 1, 1790000000123, &b);
    assert_string_equal(buf_cstr(&b),
                        "{\"time\":\"2026-09-21T14:13:20.123Z\",\"level\":\"info\",\"event\":\"x\","
                        "\"rcpt\":\"a\\u000d\\u000ab \\\"x\\\" \\u001b[2J\"}");
    buf_deinit(&b);
}

static void an_arena_gives_zeroed_memory_within_its_bound(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100000);
    char *kept = arena_str(&a, "kept");
    for (int i = 0; i < 100; i++) {
        uint8_t *p = arena_alloc(&a, 900);
        assert_non_null(p);
        for (int j = 0; j < 900; j++)
            assert_int_equal(p[j], 0);
        p[0] = p[899] = 1;
    }
    assert_null(arena_alloc(&a, 20000));
    assert_string_equal(kept, "kept");
    arena_deinit(&a);
}

static void a_list_in_an_arena_grows_and_keeps_its_items(void **state)
{
    (void)state;
    struct arena a;
    size_t count = 0, capacity = 0;
    int *items = NULL;
    arena_init(&a, 4096);
    for (;;) {
        int *more = arena_grown(&a, items, count, &capacity, sizeof *items);
        if (more == NULL)
            break;
        items = more;
        items[count] = (int)count;
        count++;
        for (size_t i = 0; i < count; i++)
            assert_int_equal(items[i], i);
    }
    assert_int_equal(count, capacity); /* full, and whole still */
    assert_int_equal(count, 512);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(items[i], i);
    arena_deinit(&a);
}

static void errors_keep_their_class_when_wrapped(void **state)
{
    (void)state;
    struct err e = {0};
    assert_false(err_set(&e, ERR_TEMP, "disk: %s", "full"));
    assert_false(err_wrap(&e, "queue.db"));
    assert_int_equal(e.class, ERR_TEMP);
    assert_string_equal(e.text, "queue.db: disk: full");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_within_bounds),
        cmocka_unit_test(spans_are_clipped_and_searched),
        cmocka_unit_test(a_buffer_stops_at_its_maximum),
        cmocka_unit_test(base64_is_canonical_or_refused),
        cmocka_unit_test(addresses_parse_and_print),
        cmocka_unit_test(a_log_line_cannot_be_forged),
        cmocka_unit_test(an_arena_gives_zeroed_memory_within_its_bound),
        cmocka_unit_test(a_list_in_an_arena_grows_and_keeps_its_items),
        cmocka_unit_test(errors_keep_their_class_when_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
