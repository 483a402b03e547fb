/* Message content and replies as they stand on the wire. */
#include "smtp/data_codec.h"
#include "smtp/reply.h"

#include "support/test.h"

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Text in which what matters to the codec is frequent. */
static struct span random_text(uint8_t *out, size_t max)
{
    static const char parts[][4] = {"\r\n", "\n", "\r", ".", "a", "bc", "\r\n.", "."};
    size_t n = 0, pieces = next_random() % 40;
    for (size_t i = 0; i < pieces; i++) {
        const char *part = parts[next_random() % 8];
        if (n + strlen(part) > max)
            break;
        memcpy(out + n, part, strlen(part));
        n += strlen(part);
    }
    return span_of(out, n);
}

static void encode(struct span in, enum smtp_data_kind kind, struct buf *out, bool split)
{
    struct smtp_data_encoder e;
    smtp_data_encoder_init(&e, kind);
    while (in.n > 0) {
        size_t n = split ? 1 + (size_t)(next_random() % in.n) : in.n;
        assert_true(smtp_data_encode(&e, span_sub(in, 0, n), out));
        in = span_from(in, n);
    }
    assert_true(smtp_data_encode_end(&e, out));
}

/* Gives how many bytes were used up to the end of the message. */
static size_t decode(struct smtp_data_decoder *d, struct span in, struct buf *out, bool split,
                     bool *end)
{
    size_t used = 0;
    *end = false;
    while (used < in.n && !*end) {
        size_t n = split ? 1 + (size_t)(next_random() % 5) : in.n;
        struct span part = span_sub(in, used, n);
        while (part.n > 0 && !*end) {
            struct smtp_data_piece p = smtp_data_decode(d, part);
            assert_true(buf_add(out, p.out));
            *end = p.end;
            part = span_from(part, p.used);
            used += p.used;
        }
    }
    return used;
}

/* The plain-spoken meaning of what the encoder does: every line end is CRLF. */
static void normalise(struct span in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '\r' || in.p[i] == '\n')
            (void)buf_add_str(out, "\r\n");
        else
            (void)buf_add_byte(out, in.p[i]);
        if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
            i++;
    }
}

static bool ends_line(struct span s)
{
    return s.n == 0 || (s.n >= 2 && s.p[s.n - 1] == '\n');
}

static void what_is_encoded_comes_back_as_crlf_lines_whatever_it_was(void **state)
{
    (void)state;
    struct buf wire, again, back, expected;
    buf_init(&wire, 10000);
    buf_init(&again, 10000);
    buf_init(&back, 10000);
    buf_init(&expected, 10000);
    for (int round = 0; round < 20000; round++) {
        uint8_t text[128];
        struct span in = random_text(text, sizeof text);
        buf_reset(&wire);
        buf_reset(&again);
        buf_reset(&back);
        buf_reset(&expected);
        normalise(in, &expected);
        if (!ends_line(buf_span(&expected)))
            (void)buf_add_str(&expected, "\r\n");
        encode(in, SMTP_DATA_DOTS, &wire, false);
        encode(in, SMTP_DATA_DOTS, &again, true);
        assert_true(span_equal(buf_span(&wire), buf_span(&again)));
        assert_true(wire.n <= 2 * in.n + 2 + 5);
        struct smtp_data_decoder d;
        bool end;
        smtp_data_decoder_init(&d, SMTP_DATA_DOTS, SMTP_BARE_LF_REJECT);
        size_t used = decode(&d, buf_span(&wire), &back, round % 2 == 1, &end);
        assert_true(end && used == wire.n && !d.bare_lf && !d.bare_cr && !d.refused);
        assert_true(span_equal(buf_span(&back), buf_span(&expected)));
    }
    buf_deinit(&wire);
    buf_deinit(&again);
    buf_deinit(&back);
    buf_deinit(&expected);
}

static void chunks_are_encoded_without_dots_and_without_bare_line_ends(void **state)
{
    (void)state;
    struct buf wire, expected;
    buf_init(&wire, 10000);
    buf_init(&expected, 10000);
    for (int round = 0; round < 5000; round++) {
        uint8_t text[128];
        struct span in = random_text(text, sizeof text);
        buf_reset(&wire);
        buf_reset(&expected);
        normalise(in, &expected);
        encode(in, SMTP_DATA_CHUNKS, &wire, true);
        assert_true(span_equal(buf_span(&wire), buf_span(&expected)));
    }
    buf_deinit(&wire);
    buf_deinit(&expected);
}

/* Index behind the first CRLF.CRLF (or a leading .CRLF), in.n + 1 when there is none. */
static size_t true_end(struct span in)
{
    for (size_t i = 0; i + 3 <= in.n; i++)
        if (memcmp(in.p + i, ".\r\n", 3) == 0 &&
            (i == 0 || (i >= 2 && in.p[i - 1] == '\n' && in.p[i - 2] == '\r')))
            return i + 3;
    return in.n + 1;
}

static bool only_crlf(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'))
            return false;
        if (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'))
            return false;
    }
    return true;
}

static void only_crlf_dot_crlf_ends_a_message_under_every_policy(void **state)
{
    (void)state;
    struct buf whole, parts;
    buf_init(&whole, 10000);
    buf_init(&parts, 10000);
    for (int round = 0; round < 40000; round++) {
        uint8_t text[128];
        struct span in = random_text(text, sizeof text);
        enum smtp_bare_lf policy = round % 2 == 0 ? SMTP_BARE_LF_REJECT : SMTP_BARE_LF_NORMALISE;
        struct smtp_data_decoder a, b;
        bool end_a, end_b;
        buf_reset(&whole);
        buf_reset(&parts);
        smtp_data_decoder_init(&a, SMTP_DATA_DOTS, policy);
        smtp_data_decoder_init(&b, SMTP_DATA_DOTS, policy);
        size_t used = decode(&a, in, &whole, false, &end_a);
        assert_int_equal(decode(&b, in, &parts, true, &end_b), used);
        assert_true(end_a == end_b && a.refused == b.refused && a.bare_lf == b.bare_lf &&
                    a.bare_cr == b.bare_cr);
        assert_true(span_equal(buf_span(&whole), buf_span(&parts)));
        size_t expected = true_end(in);
        assert_true(end_a == (expected <= in.n));
        assert_int_equal(used, end_a ? expected : in.n);
        assert_true(only_crlf(buf_span(&whole)));
        if (end_a && policy == SMTP_BARE_LF_REJECT)
            assert_true(a.refused == !only_crlf(span_sub(in, 0, used)));
    }
    buf_deinit(&whole);
    buf_deinit(&parts);
}

static void replies_are_written_on_lines_of_their_own(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5000);
    struct smtp_reply r = smtp_reply_make(550, "5.7.1", "one\ntwo\r\x1b[1m\nj\xc3\xb6rg \xff");
    assert_true(smtp_reply_write(&r, &b));
    assert_string_equal(buf_cstr(&b),
                        "550-5.7.1 one\r\n550-5.7.1 two??[1m\r\n550 5.7.1 j??rg ?\r\n");
    buf_reset(&b);
    r = smtp_reply_make(220, NULL, NULL);
    assert_true(smtp_reply_write(&r, &b));
    assert_string_equal(buf_cstr(&b), "220 \r\n");
    buf_reset(&b);
    r = smtp_reply_make(250, "2.1.5", "j\xc3\xb6rg@b.example");
    assert_true(smtp_reply_write(&r, &b));
    assert_string_equal(buf_cstr(&b), "250 2.1.5 j\xc3\xb6rg@b.example\r\n");
    buf_deinit(&b);
}

static enum smtp_reply_status parse(const char *text, struct smtp_reply_parser *p, size_t step,
                                    size_t *used)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    smtp_reply_parser_init(p);
    *used = 0;
    for (size_t n = strlen(text); *used < n && status == SMTP_REPLY_MORE;) {
        size_t took = 0;
        status = smtp_reply_parser_feed(p, span_sub(span_of(text, n), *used, step), &took);
        *used += took;
        if (status == SMTP_REPLY_BAD)
            break;
    }
    return status;
}

static void replies_are_read_in_any_split(void **state)
{
    (void)state;
    static const char text[] =
        "250-2.1.0 first\r\n250-\r\n250-4.1.0 other class\n250 2.1.0 last\r\n220 next\r\n";
    for (size_t step = 1; step < sizeof text; step++) {
        struct smtp_reply_parser p;
        size_t used;
        assert_int_equal(parse(text, &p, step, &used), SMTP_REPLY_DONE);
        struct smtp_reply r = smtp_reply_parser_reply(&p);
        assert_int_equal(r.code, 250);
        assert_string_equal(r.enhanced, "2.1.0");
        assert_true(span_is(r.text, "first\n\n4.1.0 other class\nlast"));
        struct span line;
        assert_true(smtp_reply_line(&r, 3, &line) && span_is(line, "last"));
        assert_false(smtp_reply_line(&r, 4, &line));
        size_t took;
        assert_int_equal(smtp_reply_parser_feed(&p, span_str(text + used), &took), SMTP_REPLY_DONE);
        r = smtp_reply_parser_reply(&p);
        assert_int_equal(r.code, 220);
        assert_true(span_is(r.text, "next"));
        assert_string_equal(r.enhanced, "");
        smtp_reply_parser_deinit(&p);
    }
}

static void what_is_no_reply_is_bad_and_stays_so(void **state)
{
    (void)state;
    static const char *const texts[] = {"\r\n",          "25\r\n",
                                        "abc\r\n",       "150 x\r\n",
                                        "650 x\r\n",     "250x\r\n",
                                        "2500\r\n",      "250-a\r\n251 b\r\n",
                                        "250-a\r\n\r\n", "HTTP/1.1 200 OK\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct smtp_reply_parser p;
        size_t used;
        assert_int_equal(parse(texts[i], &p, 1, &used), SMTP_REPLY_BAD);
        assert_non_null(p.failure);
        assert_int_equal(smtp_reply_parser_feed(&p, span_str("250 ok\r\n"), &used), SMTP_REPLY_BAD);
        smtp_reply_parser_deinit(&p);
    }
    static const char *const fine[] = {"250\r\n", "250 \r\n", "354 go\n", "421 4.3.2 x\r\n"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct smtp_reply_parser p;
        size_t used;
        assert_int_equal(parse(fine[i], &p, 2, &used), SMTP_REPLY_DONE);
        smtp_reply_parser_deinit(&p);
    }
}

static void an_endless_reply_is_cut_off(void **state)
{
    (void)state;
    struct smtp_reply_parser p;
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    size_t used, lines = 0, bytes = 0;
    smtp_reply_parser_init(&p);
    for (; status == SMTP_REPLY_MORE; lines++)
        status = smtp_reply_parser_feed(&p, span_str("250-x\r\n"), &used);
    assert_int_equal(status, SMTP_REPLY_BAD);
    assert_int_equal(lines, SMTP_REPLY_LINES_MAX + 1);
    smtp_reply_parser_deinit(&p);
    smtp_reply_parser_init(&p);
    for (status = SMTP_REPLY_MORE; status == SMTP_REPLY_MORE; bytes++)
        status = smtp_reply_parser_feed(&p, span_str("2"), &used);
    assert_int_equal(status, SMTP_REPLY_BAD);
    assert_int_equal(bytes, SMTP_REPLY_LINE_MAX + 1);
    smtp_reply_parser_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_comes_back_as_crlf_lines_whatever_it_was),
        cmocka_unit_test(chunks_are_encoded_without_dots_and_without_bare_line_ends),
        cmocka_unit_test(only_crlf_dot_crlf_ends_a_message_under_every_policy),
        cmocka_unit_test(replies_are_written_on_lines_of_their_own),
        cmocka_unit_test(replies_are_read_in_any_split),
        cmocka_unit_test(what_is_no_reply_is_bad_and_stays_so),
        cmocka_unit_test(an_endless_reply_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
