/* From: with another address: the name stays, whatever form it had. */
#include "message/from.h"
#include "message/header.h"
#include "support/test.h"

static void line_of(struct span value, struct buf *out)
{
    buf_init(out, 8192);
    assert_true(from_line(out, value, span_str("fax@relay.example")));
}

static void expect(const char *value, const char *line)
{
    struct buf out;
    line_of(span_str(value), &out);
    assert_string_equal(buf_cstr(&out), line);
    buf_deinit(&out);
}

static void the_name_of_the_first_mailbox_stays(void **state)
{
    (void)state;
    expect("Scanner 3 <scan@localhost>", "From: Scanner 3 <fax@relay.example>\r\n");
    expect("  \"Hall, 2nd\"   <x@y>", "From: \"Hall, 2nd\" <fax@relay.example>\r\n");
    expect("\"a \\\" <no@where>\" <x@y>", "From: \"a \\\" <no@where>\" <fax@relay.example>\r\n");
    expect("=?utf-8?q?B=C3=BCro?= <x@y>", "From: =?utf-8?q?B=C3=BCro?= <fax@relay.example>\r\n");
    expect("B\xc3\xbcro <x@y>", "From: B\xc3\xbcro <fax@relay.example>\r\n");
    expect("A <a@x>, B <b@y>", "From: A <fax@relay.example>\r\n");
    expect("<x@y>", "From: <fax@relay.example>\r\n");
    expect("x@y", "From: <fax@relay.example>\r\n");
    expect("x@y, B <b@y>", "From: <fax@relay.example>\r\n");
    expect("", "From: <fax@relay.example>\r\n");
    expect("x@y (Scanner (3) \"x\")", "From: \"Scanner (3) \\\"x\\\"\" <fax@relay.example>\r\n");
    expect("(old) Scanner <x@y>", "From: (old) Scanner <fax@relay.example>\r\n");
    expect("Devices: Scanner <x@y>, Fax <z@y>;", "From: Scanner <fax@relay.example>\r\n");
    expect("Devices:;", "From: <fax@relay.example>\r\n");
}

static void a_name_that_is_no_phrase_is_quoted_or_left_out(void **state)
{
    (void)state;
    expect("scan@old.example <scan@old.example>",
           "From: \"scan@old.example\" <fax@relay.example>\r\n");
    expect("J. Doe <x@y>", "From: \"J. Doe\" <fax@relay.example>\r\n");
    expect("\"never closed <x@y>", "From: <fax@relay.example>\r\n");
    expect("(never closed <x@y>", "From: <fax@relay.example>\r\n");
    expect("bell \a <x@y>", "From: <fax@relay.example>\r\n");
    expect("cr \r\nX-Evil: 1\r\n <x@y>", "From: <fax@relay.example>\r\n");
    expect("back \\", "From: <fax@relay.example>\r\n");
    expect("\"back \\", "From: <fax@relay.example>\r\n");
}

/* One field, no line too long, whatever comes. */
static void check_line(struct span value)
{
    struct buf out, from;
    struct header_scan scan;
    line_of(value, &out);
    struct span s = buf_span(&out);
    buf_init(&from, 8192);
    struct header_capture capture = {"From", &from, 0};
    header_scan_init(&scan, NULL, &capture, 1);
    (void)header_scan_feed(&scan, s);
    (void)header_scan_feed(&scan, span_str("\r\n"));
    assert_true(scan.ended && !scan.malformed && capture.count == 1);
    assert_true(span_ends_nocase(buf_span(&from), "<fax@relay.example>"));
    while (s.n > 0) {
        size_t n = span_find(s, '\n');
        assert_true(n < 998 && n >= 2 && s.p[n - 1] == '\r');
        s = span_from(s, n + 1);
    }
    buf_deinit(&from);
    buf_deinit(&out);
}

static void a_long_name_is_folded_and_a_very_long_one_left_out(void **state)
{
    (void)state;
    char value[4000];
    struct buf out;
    for (size_t n = 1; n < 200; n++) {
        size_t at = 0;
        for (size_t i = 0; i < n; i++)
            at += (size_t)snprintf(value + at, sizeof value - at, "%sword%zu", i > 0 ? " " : "", i);
        (void)snprintf(value + at, sizeof value - at, " <x@y>");
        line_of(span_str(value), &out);
        assert_true((strstr(buf_cstr(&out), "word0") != NULL) == (at <= FROM_NAME_MAX));
        buf_deinit(&out);
        check_line(span_str(value));
    }
}

static void any_bytes_make_one_field(void **state)
{
    (void)state;
    static const char letters[] = "a \"\\(),:;<>@.\r\n\t\x80\x01=?";
    uint64_t seed = 5;
    char value[64];
    for (int round = 0; round < 200000; round++) {
        size_t n = (size_t)(round % 40);
        for (size_t i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            value[i] = letters[(seed >> 33) % (sizeof letters - 1)];
        }
        check_line(span_of(value, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_of_the_first_mailbox_stays),
        cmocka_unit_test(a_name_that_is_no_phrase_is_quoted_or_left_out),
        cmocka_unit_test(a_long_name_is_folded_and_a_very_long_one_left_out),
        cmocka_unit_test(any_bytes_make_one_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
