/* The header scanner, the Bcc filter and the address reader. Whatever can be fed is fed whole and
 * in every two pieces, and byte by byte. */
#include "message/address.h"
#include "message/header.h"

#include "support/test.h"

struct found {
    struct header_scan scan;
    size_t header_n; /* bytes up to and with the empty line */
    char to[512], from[512];
    unsigned to_count;
};

enum { WHOLE = 0, BYTES = SIZE_MAX };

static void scan_cut(struct span message, size_t cut, struct found *f)
{
    struct buf to, from;
    buf_init(&to, 400);
    buf_init(&from, 400);
    struct header_capture captures[] = {{"To", &to, 0}, {"from", &from, 0}};
    memset(f, 0, sizeof *f);
    header_scan_init(&f->scan, "relay.example.net", captures, 2);
    struct span left = message;
    while (left.n > 0) {
        size_t n = cut == BYTES ? 1 : cut > 0 && left.n == message.n ? cut : left.n;
        size_t used = header_scan_feed(&f->scan, span_sub(left, 0, n));
        f->header_n += used;
        if (used < n)
            break;
        left = span_from(left, n);
    }
    header_scan_end(&f->scan);
    (void)span_cstr(buf_span(&to), f->to, sizeof f->to);
    (void)span_cstr(buf_span(&from), f->from, sizeof f->from);
    f->to_count = captures[0].count;
    f->scan.captures = NULL; /* these two are gone; the rest can be compared */
    buf_deinit(&to);
    buf_deinit(&from);
}

static bool same(const struct found *a, const struct found *b)
{
    return a->header_n == b->header_n && a->to_count == b->to_count && strcmp(a->to, b->to) == 0 &&
           strcmp(a->from, b->from) == 0 && a->scan.ended == b->scan.ended &&
           a->scan.malformed == b->scan.malformed && a->scan.eightbit == b->scan.eightbit &&
           a->scan.has_date == b->scan.has_date && a->scan.has_from == b->scan.has_from &&
           a->scan.has_message_id == b->scan.has_message_id &&
           a->scan.received == b->scan.received && a->scan.own == b->scan.own;
}

static struct found scan(const char *text)
{
    struct span message = span_str(text);
    struct found whole, cut;
    scan_cut(message, WHOLE, &whole);
    scan_cut(message, BYTES, &cut);
    assert_true(same(&whole, &cut));
    for (size_t at = 1; at < message.n; at++) {
        scan_cut(message, at, &cut);
        if (!same(&whole, &cut))
            fail_msg("cut at %zu of: %s", at, text);
    }
    return whole;
}

static void the_header_ends_at_the_empty_line(void **state)
{
    (void)state;
    struct found f = scan("From: a@b\r\nDate: x\r\nMessage-ID: <1@b>\r\n\r\nReceived: body\r\n");
    assert_true(f.scan.ended && !f.scan.malformed && !f.scan.eightbit);
    assert_true(f.scan.has_from && f.scan.has_date && f.scan.has_message_id);
    assert_int_equal(f.scan.received, 0);
    assert_int_equal(f.header_n, 41);
    f = scan("from : a@b\n\nbody"); /* LF only, the obsolete space */
    assert_true(f.scan.ended && f.scan.has_from && !f.scan.malformed);
    assert_int_equal(f.header_n, 12);
    f = scan("Subject: x\r\n");
    assert_true(f.scan.ended && !f.scan.malformed && !f.scan.has_from);
    f = scan("");
    assert_true(f.scan.ended && !f.scan.malformed);
}

static void what_is_no_field_ends_the_header(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "no field here\r\nFrom: a@b\r\n\r\n",
        "Subject: x\r\nplain text\r\nFrom: a@b\r\n",
        " folded first\r\nFrom: a@b\r\n",
        ": no name\r\nFrom: a@b\r\n",
        "\rFrom: a@b\r\n",
        "Gr\xc3\xbc\xc3\x9f: x\r\nFrom: a@b\r\n",
        "From x y Mon Jul\r\nFrom: a@b\r\n",
        "Subject",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct found f = scan(bodies[i]);
        if (!f.scan.malformed || f.scan.has_from)
            fail_msg("taken for a header: %s", bodies[i]);
    }
}

static void hops_are_counted_and_our_own_known(void **state)
{
    (void)state;
    struct found f =
        scan("Received: from a by b.example with SMTP; x\r\n"
             "RECEIVED: from c (by relay.example.net)\r\n\tby\r\n Relay.Example.NET;\r\n"
             "received : by relay.example.net.evil with x\r\n"
             "X-Received: by relay.example.net\r\n"
             "Received-SPF: by relay.example.net\r\n"
             "Received: from x by relay.example.net\r\n\r\nReceived: body\r\n");
    assert_int_equal(f.scan.received, 4);
    assert_int_equal(f.scan.own, 2);
    assert_false(header_hops_exceeded(15, 15));
    assert_true(header_hops_exceeded(16, 15));
    assert_false(header_hops_exceeded(1000, 0));
}

static void fields_are_captured_unfolded(void **state)
{
    (void)state;
    struct found f =
        scan("TO: a@b,\r\n c@d\r\nX: y\r\n\tTo: no\r\nto: e@f\r\nFrom: x\r\n\ty\r\n\r\n");
    assert_string_equal(f.to, " a@b, c@d,  e@f");
    assert_int_equal(f.to_count, 2);
    assert_string_equal(f.from, " x\ty");
}

static void captures_and_names_are_bounded(void **state)
{
    (void)state;
    struct buf message, to;
    buf_init(&message, 10000);
    buf_init(&to, 100);
    (void)buf_add_str(&message, "To: ");
    for (int i = 0; i < 500; i++)
        (void)buf_add_str(&message, "x@y, ");
    (void)buf_add_str(&message, "\r\nFrom");
    for (int i = 0; i < 500; i++)
        (void)buf_add_str(&message, "x");
    (void)buf_add_str(&message, ": z\r\nReceived: by ");
    for (int i = 0; i < 500; i++)
        (void)buf_add_str(&message, "relay");
    (void)buf_add_str(&message, "\r\n\r\n");
    struct header_capture capture = {"To", &to, 0};
    struct header_scan s;
    header_scan_init(&s, "relay", &capture, 1);
    assert_int_equal(header_scan_feed(&s, buf_span(&message)), buf_span(&message).n);
    assert_true(s.ended && !s.malformed && !s.has_from && s.own == 0 && s.received == 1);
    assert_true(to.failed && to.n <= 100);
    buf_deinit(&message);
    buf_deinit(&to);
}

static void eight_bit_in_the_header_is_seen(void **state)
{
    (void)state;
    assert_true(scan("Subject: gr\xc3\xbcn\r\n\r\n").scan.eightbit);
    assert_true(scan("Subject: x\r\n \xc3\xbc\r\n\r\n").scan.eightbit);
    assert_false(scan("Subject: x\r\n\r\n\xc3\xbc").scan.eightbit);
}

/* ---- the filter ---- */

static void filter_cut(struct span message, size_t cut, char *out, size_t size, size_t *dropped)
{
    struct buf b;
    struct header_filter f;
    buf_init(&b, 4096);
    header_filter_init(&f, header_bcc_names);
    struct span left = message;
    while (left.n > 0) {
        size_t n = cut == BYTES ? 1 : cut > 0 && left.n == message.n ? cut : left.n;
        assert_true(header_filter_feed(&f, span_sub(left, 0, n), &b));
        left = span_from(left, n);
    }
    assert_true(header_filter_end(&f, &b));
    assert_true(span_cstr(buf_span(&b), out, size));
    *dropped = f.dropped;
    buf_deinit(&b);
}

static void check_filter(const char *in, const char *expected, size_t dropped)
{
    char out[4096];
    size_t n;
    struct span message = span_str(in);
    filter_cut(message, WHOLE, out, sizeof out, &n);
    assert_string_equal(out, expected);
    assert_int_equal(n, dropped);
    filter_cut(message, BYTES, out, sizeof out, &n);
    assert_string_equal(out, expected);
    for (size_t at = 1; at < message.n; at++) {
        filter_cut(message, at, out, sizeof out, &n);
        assert_string_equal(out, expected);
        assert_int_equal(n, dropped);
    }
}

static void bcc_is_dropped_with_its_folded_lines(void **state)
{
    (void)state;
    check_filter("To: a\r\nBcc: b,\r\n c,\r\n\td\r\nSubject: x\r\n\r\nBcc: body\r\n",
                 "To: a\r\nSubject: x\r\n\r\nBcc: body\r\n", 1);
    check_filter("bCC : b\nTo: a\n\n", "To: a\n\n", 1);
    check_filter("Resent-Bcc: b\r\nbcc:\r\n\r\nx", "\r\nx", 2);
    check_filter("Bcc: only", "", 1);
    check_filter("To: a\r\nBcc", "To: a\r\nBcc", 0);
}

static void all_else_is_copied_byte_for_byte(void **state)
{
    (void)state;
    static const char *const kept[] = {
        "To: a\r\n bcc: folded\r\nBccc: x\r\nX-Bcc: y\r\nBc: z\r\n\r\n",
        "To: a\r\nnot a field\r\nBcc: body\r\n",
        "\r\nBcc: body\r\n",
        "\nBcc: body\n",
        "Subject: x\r\n\xc3\xbc\r\n",
        "",
        "\r\r\nBcc: x\r\n",
        "averyveryveryveryveryveryveryveryveryveryveryveryveryverylongnamethatisoverseventyeight"
        "characters: x\r\n\r\n",
        "averyveryveryveryveryveryveryveryveryveryveryveryveryverylongnamethatisoverseventyeight",
    };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        check_filter(kept[i], kept[i], 0);
}

static void bcc_does_not_escape_behind_many_spaces(void **state)
{
    (void)state;
    char in[400] = "Bcc";
    for (int i = 0; i < 100; i++)
        strcat(in, " ");
    strcat(in, ": secret@b\r\nTo: a\r\n\r\n");
    check_filter(in, "To: a\r\n\r\n", 1);
}

/* ---- addresses ---- */

static void check_addresses(const char *text, const char *expected)
{
    char got[1024] = "";
    struct buf out;
    buf_init(&out, ADDRESS_TEXT_MAX);
    struct address_scan s;
    address_scan_init(&s, span_str(text));
    enum address_result result;
    int rounds = 0;
    while ((result = address_next(&s, &out)) != ADDRESS_END && rounds++ < 50) {
        if (got[0] != '\0')
            strcat(got, "|");
        if (result == ADDRESS_BAD)
            strcat(got, "BAD");
        else
            strncat(got, (const char *)buf_span(&out).p, buf_span(&out).n);
    }
    if (strcmp(got, expected) != 0)
        fail_msg("%s\n  expected %s\n  got      %s", text, expected, got);
    buf_deinit(&out);
}

static void addresses_are_read_in_all_their_forms(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a@b.example", "a@b.example"},
        {" a@b , c@d ", "a@b|c@d"},
        {"Bob <b@c>", "b@c"},
        {"\"Bob, the \\\"b\\\"\" <b@c>, d@e", "b@c|d@e"},
        {"=?utf-8?q?J=C3=B6rg,?= <j@c>", "j@c"},
        {"a@b (comment, with (nesting) and \\) ), c@d", "a@b|c@d"},
        {"(x) a (y) @ (z) b . c", "a@b.c"},
        {"Friends: a@b, Bob <c@d>;, e@f", "a@b|c@d|e@f"},
        {"undisclosed-recipients:;", ""},
        {"\"My group\": ;", ""},
        {"<@r1,@r2:a@b>", "a@b"},
        {"\"a b\"@c, \"x@y\"@z", "\"a b\"@c|\"x@y\"@z"},
        {"a@[192.0.2.1], b@[IPv6:2001:db8::1]", "a@[192.0.2.1]|b@[IPv6:2001:db8::1]"},
        {"root", "root"},
        {", , a@b,,", "a@b"},
        {"a@b; c@d", "a@b|c@d"},
        {"a@b.example <a@b.example>", "a@b.example"},
        {"J. R. \"X\" Y <a@b>", "a@b"},
        {"j\xc3\xb6rg@b\xc3\xbc.example", "j\xc3\xb6rg@b\xc3\xbc.example"},
        {"user..name@docomo.example", "user..name@docomo.example"},
        {"", ""},
        {"  \t", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_addresses(cases[i][0], cases[i][1]);
}

static void what_is_no_address_is_bad_and_the_rest_still_read(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"Bob Smith, a@b", "BAD|a@b"}, {"a@b c@d, e@f", "BAD|e@f"},
        {"<>, a@b", "BAD|a@b"},        {"<a@b, c@d", "BAD|c@d"},
        {"<a@b> x, c@d", "BAD|c@d"},   {"a@, @b, c@d", "BAD|BAD|c@d"},
        {"a@b@c, d@e", "BAD|d@e"},     {"\"unfinished, a@b", "BAD"},
        {"(unfinished, a@b", "BAD"},   {"a@b (unfinished", "BAD"},
        {"a@[192.0.2.1, b@c", "BAD"},  {"a\x01@b, c@d", "BAD|c@d"},
        {"a@b., c@d", "BAD|c@d"},      {"x: y: a@b;, c@d", "BAD|c@d"},
        {"a@b>, c@d", "BAD|c@d"},      {"a\\@b, c@d", "BAD|c@d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_addresses(cases[i][0], cases[i][1]);
}

static void an_address_is_bounded(void **state)
{
    (void)state;
    char text[2100];
    memset(text, 'a', sizeof text);
    strcpy(text + 1500, "@b, c@d");
    check_addresses(text, "BAD|c@d");
    memset(text, '(', 200); /* comments nest only so deep */
    text[200] = '\0';
    check_addresses(text, "BAD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_ends_at_the_empty_line),
        cmocka_unit_test(what_is_no_field_ends_the_header),
        cmocka_unit_test(hops_are_counted_and_our_own_known),
        cmocka_unit_test(fields_are_captured_unfolded),
        cmocka_unit_test(captures_and_names_are_bounded),
        cmocka_unit_test(eight_bit_in_the_header_is_seen),
        cmocka_unit_test(bcc_is_dropped_with_its_folded_lines),
        cmocka_unit_test(all_else_is_copied_byte_for_byte),
        cmocka_unit_test(bcc_does_not_escape_behind_many_spaces),
        cmocka_unit_test(addresses_are_read_in_all_their_forms),
        cmocka_unit_test(what_is_no_address_is_bad_and_the_rest_still_read),
        cmocka_unit_test(an_address_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
