/* Received:, Date:, Message-ID: to the letter. */
#include "message/received.h"
#include "message/text.h"

#include "support/test.h"

static const int64_t moment = INT64_C(1785125251000); /* 2026-07-27 04:07:31 UTC */

static void check_received(const struct received_info *info, const char *expected)
{
    struct buf out;
    buf_init(&out, 8192);
    assert_true(received_write(&out, info));
    assert_string_equal(buf_cstr(&out), expected);
    buf_deinit(&out);
}

static void a_full_received_field(void **state)
{
    (void)state;
    struct netaddr peer;
    assert_true(netaddr_parse(span_str("192.0.2.7"), &peer));
    struct received_info info = {
        .hello = span_str("client.example"),
        .peer_name = span_str("mfp1.corp.example"),
        .peer = &peer,
        .by = span_str("relay.example.net"),
        .esmtp = true,
        .tls = true,
        .authenticated = true,
        .tls_note = span_str("TLSv1.3 TLS_AES_256_GCM_SHA384"),
        .id = span_str("7Q2"),
        .recipient = span_str("b@b.example"),
        .wall_ms = moment,
    };
    check_received(&info, "Received: from client.example (mfp1.corp.example [192.0.2.7])\r\n"
                          "\t(using TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
                          "\tby relay.example.net with ESMTPSA id 7Q2\r\n"
                          "\tfor <b@b.example>;\r\n"
                          "\tMon, 27 Jul 2026 04:07:31 +0000\r\n");
}

static void a_bare_received_field(void **state)
{
    (void)state;
    struct netaddr peer;
    assert_true(netaddr_parse(span_str("2001:db8::1"), &peer));
    struct received_info info = {
        .peer = &peer, .by = span_str("relay"), .id = span_str("1"), .wall_ms = 0};
    check_received(&info, "Received: from unknown ([IPv6:2001:db8::1])\r\n"
                          "\tby relay with SMTP id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.peer = NULL;
    info.hello = span_str("localhost");
    info.with = "local";
    check_received(&info, "Received: from localhost\r\n"
                          "\tby relay with local id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
}

static void what_a_peer_said_cannot_change_the_field(void **state)
{
    (void)state;
    struct received_info info = {
        .hello = span_of("a\r\nBcc: x (y); \0<z>\x1b\xc3\xbc", 22),
        .by = span_str("relay"),
        .id = span_str("1"),
        .tls_note = span_str("ignored without TLS"),
        .recipient = span_str("a\r\nX: y@b>\x07"),
    };
    check_received(&info, "Received: from a??Bcc:?x??y?????z????\r\n"
                          "\tby relay with SMTP id 1\r\n"
                          "\tfor <a??X: y@b?\?>;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.hello = span_str("[192.0.2.1]");       /* a literal keeps its brackets, and only those */
    info.recipient = span_str("j\xc3\xb6rg@b"); /* no UTF-8 in an ASCII header: not told */
    check_received(&info, "Received: from [192.0.2.1]\r\n"
                          "\tby relay with SMTP id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.hello = span_str("[[x]\\]");
    info.esmtp = info.utf8 = true;
    check_received(&info, "Received: from [?x??]\r\n"
                          "\tby relay with UTF8SMTP id 1\r\n"
                          "\tfor <j\xc3\xb6rg@b>;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
}

static void an_identity_is_told_in_a_comment_where_it_is_given(void **state)
{
    (void)state;
    struct received_info info = {
        .hello = span_str("a"),
        .by = span_str("relay"),
        .id = span_str("1"),
        .esmtp = true,
        .authenticated = true,
    };
    check_received(&info, "Received: from a\r\n"
                          "\tby relay with ESMTPA id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.identity = span_str("CORP\\alice");
    check_received(&info, "Received: from a\r\n"
                          "\t(authenticated as CORP\\\\alice)\r\n"
                          "\tby relay with ESMTPA id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.identity = span_str("users\\a) x\\(\r\nBcc: j\xc3\xb6rg@b");
    check_received(&info, "Received: from a\r\n"
                          "\t(authenticated as users\\\\a? x????Bcc: j??rg@b)\r\n"
                          "\tby relay with ESMTPA id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    info.identity = span_str("no backslash");
    info.authenticated = false; /* whatever is given */
    check_received(&info, "Received: from a\r\n"
                          "\tby relay with ESMTP id 1;\r\n"
                          "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
}

static void every_line_stays_short(void **state)
{
    (void)state;
    char huge[5000];
    memset(huge, 'h', sizeof huge);
    struct span s = span_of(huge, sizeof huge);
    struct netaddr peer = {{0}};
    struct received_info info = {.hello = s,
                                 .peer_name = s,
                                 .peer = &peer,
                                 .by = s,
                                 .esmtp = true,
                                 .tls = true,
                                 .authenticated = true,
                                 .identity = s,
                                 .tls_note = s,
                                 .id = s,
                                 .recipient = span_sub(s, 0, 700)};
    struct buf out;
    buf_init(&out, 8192);
    assert_true(received_write(&out, &info));
    struct span left = buf_span(&out);
    while (left.n > 0) {
        size_t n = span_find(left, '\n');
        assert_true(n < left.n && n < 998);
        left = span_from(left, n + 1);
    }
    buf_deinit(&out);
    buf_init(&out, 100);
    assert_false(received_write(&out, &info));
    buf_deinit(&out);
}

static void protocol_keywords_are_rfc_3848_and_6531(void **state)
{
    (void)state;
    assert_string_equal(received_protocol(false, true, true, true), "SMTP");
    assert_string_equal(received_protocol(true, false, false, false), "ESMTP");
    assert_string_equal(received_protocol(true, true, false, false), "ESMTPS");
    assert_string_equal(received_protocol(true, false, true, false), "ESMTPA");
    assert_string_equal(received_protocol(true, true, true, false), "ESMTPSA");
    assert_string_equal(received_protocol(true, false, false, true), "UTF8SMTP");
    assert_string_equal(received_protocol(true, true, false, true), "UTF8SMTPS");
    assert_string_equal(received_protocol(true, false, true, true), "UTF8SMTPA");
    assert_string_equal(received_protocol(true, true, true, true), "UTF8SMTPSA");
}

static void dates_are_right_on_their_edges(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {-5, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {951782399, "Mon, 28 Feb 2000 23:59:59 +0000"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 +0000"},
        {951868800, "Wed, 01 Mar 2000 00:00:00 +0000"},
        {1709164800, "Thu, 29 Feb 2024 00:00:00 +0000"},
        {1735689599, "Tue, 31 Dec 2024 23:59:59 +0000"},
        {2147483648, "Tue, 19 Jan 2038 03:14:08 +0000"},
        {INT64_C(4107542400), "Mon, 01 Mar 2100 00:00:00 +0000"},
        {INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 +0000"},
        {INT64_C(253402300800), "Fri, 31 Dec 9999 23:59:59 +0000"},
    };
    char out[MESSAGE_DATE_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        message_date(cases[i].seconds * 1000, out);
        assert_string_equal(out, cases[i].text);
    }
    message_date(INT64_MAX, out);
    assert_string_equal(out, "Fri, 31 Dec 9999 23:59:59 +0000");
}

static void date_and_message_id_lines(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    assert_true(message_date_line(&out, moment));
    assert_true(message_id_line(&out, moment, span_str("7Q2"), span_str("relay.example.net")));
    assert_true(message_id_line(&out, 255, span_str("a>\r\nb"), span_str("h@h")));
    assert_string_equal(buf_cstr(&out), "Date: Mon, 27 Jul 2026 04:07:31 +0000\r\n"
                                        "Message-ID: <19fa1c1a7b8.7Q2@relay.example.net>\r\n"
                                        "Message-ID: <ff.a???b@h?h>\r\n");
    buf_deinit(&out);
}

static void xtext_is_decoded_strictly(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 100);
    assert_true(text_xtext_decode(span_str("a+2Bb+40c"), &out));
    assert_string_equal(buf_cstr(&out), "a+b@c");
    static const char *const bad[] = {"+", "+4", "+4g", "a b", "a=b", "\xc3", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_reset(&out);
        if (text_xtext_decode(span_str(bad[i]), &out))
            fail_msg("decoded %s", bad[i]);
    }
    buf_deinit(&out);
}

static void wrapped_text_keeps_to_its_lines(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4000);
    char words[700] = "";
    for (int i = 0; i < 60; i++)
        strcat(words, "words \t ");
    assert_true(text_add_wrapped(&out, span_str(words), 70, "    ", false));
    struct span left = buf_span(&out);
    assert_true(span_starts_nocase(left, "words\r\n    words words"));
    while (left.n > 0) {
        size_t n = span_find(left, '\r');
        assert_true(n <= 76);
        left = span_from(left, n + 2);
    }
    buf_reset(&out);
    assert_true(text_add_wrapped(&out,
                                 span_of("a\x01\x02"
                                         "b\r\nX: y",
                                         10),
                                 0, " ", false));
    assert_string_equal(buf_cstr(&out), "a ? ? b X: y");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_received_field),
        cmocka_unit_test(a_bare_received_field),
        cmocka_unit_test(what_a_peer_said_cannot_change_the_field),
        cmocka_unit_test(an_identity_is_told_in_a_comment_where_it_is_given),
        cmocka_unit_test(every_line_stays_short),
        cmocka_unit_test(protocol_keywords_are_rfc_3848_and_6531),
        cmocka_unit_test(dates_are_right_on_their_edges),
        cmocka_unit_test(date_and_message_id_lines),
        cmocka_unit_test(xtext_is_decoded_strictly),
        cmocka_unit_test(wrapped_text_keeps_to_its_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
