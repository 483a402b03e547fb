/* Delivery status notifications: when, and to the letter. */
#include "message/dsn.h"

#include "support/test.h"

static const int64_t moment = INT64_C(1785125251000); /* 2026-07-27 04:07:31 UTC */
static const int64_t hour = 3600 * 1000;

static void check_prefix(const struct dsn_info *info, const char *expected)
{
    struct buf out;
    buf_init(&out, 32768);
    assert_true(dsn_write_prefix(&out, info));
    assert_string_equal(buf_cstr(&out), expected);
    buf_deinit(&out);
}

static void a_failure_with_the_whole_message(void **state)
{
    (void)state;
    const struct dsn_recipient recipients[] = {
        {.address = span_str("b@b.example"),
         .orcpt = span_str("rfc822;b+2Bx@B.example"),
         .action = DSN_FAILED,
         .status = "5.1.1",
         .remote_mta = span_str("mx.b.example"),
         .code = 550,
         .reason = span_str("There is no mailbox of this name on the server, and there never was "
                            "one as far as we can tell"),
         .last_attempt_wall_ms = moment - 1000},
        {.address = span_str("c@c.example"),
         .action = DSN_FAILED,
         .status = "4.4.1",
         .reason = span_str("no answer from any mail server of c.example for 2 days")},
    };
    const struct dsn_info info = {
        .host = span_str("relay.example.net"),
        .to = span_str("a@a.example"),
        .queue_id = span_str("7Q2"),
        .envid = span_str("QQ+2B314"),
        .arrival_wall_ms = moment - 48 * hour,
        .wall_ms = moment,
        .id = span_str("7Q9"),
        .boundary = "7Q9.19fa1c1a7b8",
        .full = true,
        .recipients = recipients,
        .recipient_count = 2,
    };
    check_prefix(&info,
                 "From: Mail Delivery Service <MAILER-DAEMON@relay.example.net>\r\n"
                 "To: <a@a.example>\r\n"
                 "Subject: Your message could not be delivered\r\n"
                 "Date: Mon, 27 Jul 2026 04:07:31 +0000\r\n"
                 "Message-ID: <19fa1c1a7b8.7Q9@relay.example.net>\r\n"
                 "Auto-Submitted: auto-replied\r\n"
                 "MIME-Version: 1.0\r\n"
                 "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                 "\tboundary=\"7Q9.19fa1c1a7b8\"\r\n"
                 "\r\n"
                 "This is a MIME-encapsulated message.\r\n"
                 "\r\n"
                 "--7Q9.19fa1c1a7b8\r\n"
                 "Content-Type: text/plain; charset=us-ascii\r\n"
                 "Content-Description: Notification\r\n"
                 "\r\n"
                 "The mail relay relay.example.net\r\n"
                 "could not deliver your message to the addresses below and has given up.\r\n"
                 "Nothing more will be tried: correct the cause and send the message again.\r\n"
                 "\r\n"
                 "<b@b.example> (failed, 5.1.1)\r\n"
                 "    The next hop mx.b.example said: 550 There is no mailbox of this name on\r\n"
                 "    the server, and there never was one as far as we can tell\r\n"
                 "\r\n"
                 "<c@c.example> (failed, 4.4.1)\r\n"
                 "    no answer from any mail server of c.example for 2 days\r\n"
                 "\r\n"
                 "For the administrator: this message's queue id was 7Q2.\r\n"
                 "\r\n"
                 "--7Q9.19fa1c1a7b8\r\n"
                 "Content-Type: message/delivery-status\r\n"
                 "Content-Description: Delivery report\r\n"
                 "\r\n"
                 "Original-Envelope-Id: QQ+314\r\n"
                 "Reporting-MTA: dns; relay.example.net\r\n"
                 "Arrival-Date: Sat, 25 Jul 2026 04:07:31 +0000\r\n"
                 "X-Postern-Queue-ID: 7Q2\r\n"
                 "\r\n"
                 "Original-Recipient: rfc822; b+x@B.example\r\n"
                 "Final-Recipient: rfc822; b@b.example\r\n"
                 "Action: failed\r\n"
                 "Status: 5.1.1\r\n"
                 "Remote-MTA: dns; mx.b.example\r\n"
                 "Diagnostic-Code: smtp; 550 There is no mailbox of this name on the server,\r\n"
                 " and there never was one as far as we can tell\r\n"
                 "Last-Attempt-Date: Mon, 27 Jul 2026 04:07:30 +0000\r\n"
                 "\r\n"
                 "Final-Recipient: rfc822; c@c.example\r\n"
                 "Action: failed\r\n"
                 "Status: 4.4.1\r\n"
                 "Diagnostic-Code: x-postern; no answer from any mail server of c.example for\r\n"
                 " 2 days\r\n"
                 "\r\n"
                 "--7Q9.19fa1c1a7b8\r\n"
                 "Content-Type: message/rfc822\r\n"
                 "Content-Description: Your message\r\n"
                 "\r\n");
    struct buf out;
    buf_init(&out, 100);
    assert_true(dsn_write_suffix(&out, &info));
    assert_string_equal(buf_cstr(&out), "\r\n--7Q9.19fa1c1a7b8--\r\n");
    buf_deinit(&out);
}

static void a_delay_with_the_header_of_an_eight_bit_message(void **state)
{
    (void)state;
    const struct dsn_recipient recipient = {
        .address = span_str("b@b.example"),
        .action = DSN_DELAYED,
        .status = "4.4.1",
        .remote_mta = span_str("[192.0.2.9]"),
        .reason = span_str("timed out waiting for a greeting"),
        .last_attempt_wall_ms = moment - hour,
        .will_retry_until_wall_ms = moment + 36 * hour,
    };
    const struct dsn_info info = {
        .host = span_str("relay.example.net"),
        .to = span_str("a@a.example"),
        .wall_ms = moment,
        .id = span_str("7Q9"),
        .boundary = "B",
        .eightbit = true,
        .recipients = &recipient,
        .recipient_count = 1,
    };
    check_prefix(&info, "From: Mail Delivery Service <MAILER-DAEMON@relay.example.net>\r\n"
                        "To: <a@a.example>\r\n"
                        "Subject: Your message is delayed, we are still trying\r\n"
                        "Date: Mon, 27 Jul 2026 04:07:31 +0000\r\n"
                        "Message-ID: <19fa1c1a7b8.7Q9@relay.example.net>\r\n"
                        "Auto-Submitted: auto-replied\r\n"
                        "MIME-Version: 1.0\r\n"
                        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                        "\tboundary=\"B\"\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n"
                        "This is a MIME-encapsulated message.\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: text/plain; charset=us-ascii\r\n"
                        "Content-Description: Notification\r\n"
                        "\r\n"
                        "The mail relay relay.example.net\r\n"
                        "could not yet deliver your message to the addresses below.\r\n"
                        "You need not send it again: the service keeps trying.\r\n"
                        "\r\n"
                        "<b@b.example> (delayed, 4.4.1)\r\n"
                        "    While talking to [192.0.2.9]: timed out waiting for a greeting\r\n"
                        "    We keep trying until Tue, 28 Jul 2026 16:07:31 +0000.\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: message/delivery-status\r\n"
                        "Content-Description: Delivery report\r\n"
                        "\r\n"
                        "Reporting-MTA: dns; relay.example.net\r\n"
                        "\r\n"
                        "Final-Recipient: rfc822; b@b.example\r\n"
                        "Action: delayed\r\n"
                        "Status: 4.4.1\r\n"
                        "Remote-MTA: dns; [192.0.2.9]\r\n"
                        "Diagnostic-Code: x-postern; timed out waiting for a greeting\r\n"
                        "Last-Attempt-Date: Mon, 27 Jul 2026 03:07:31 +0000\r\n"
                        "Will-Retry-Until: Tue, 28 Jul 2026 16:07:31 +0000\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: text/rfc822-headers\r\n"
                        "Content-Description: Your message's header\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n");
}

static void an_internationalised_notice(void **state)
{
    (void)state;
    const struct dsn_recipient recipient = {
        .address = span_str("j\xc3\xb6rg@b.example"),
        .orcpt = span_str("utf-8;j\\x{F6}rg@b.example"),
        .action = DSN_RELAYED,
        .status = "2.0.0",
        .remote_mta = span_str("mx.b.example"),
        .code = 250,
        .reason = span_str("ok"),
    };
    struct dsn_info info = {
        .host = span_str("relay.example.net"),
        .to = span_str("\xc3\xa4@a.example"),
        .wall_ms = moment,
        .id = span_str("7Q9"),
        .boundary = "B",
        .utf8 = true,
        .recipients = &recipient,
        .recipient_count = 1,
    };
    check_prefix(&info, "From: Mail Delivery Service <MAILER-DAEMON@relay.example.net>\r\n"
                        "To: <\xc3\xa4@a.example>\r\n"
                        "Subject: Your message was passed on\r\n"
                        "Date: Mon, 27 Jul 2026 04:07:31 +0000\r\n"
                        "Message-ID: <19fa1c1a7b8.7Q9@relay.example.net>\r\n"
                        "Auto-Submitted: auto-replied\r\n"
                        "MIME-Version: 1.0\r\n"
                        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                        "\tboundary=\"B\"\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n"
                        "This is a MIME-encapsulated message.\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\n"
                        "Content-Description: Notification\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n"
                        "The mail relay relay.example.net\r\n"
                        "has passed your message on to the next mail system on its way to the\r\n"
                        "addresses below. That system may not tell you what becomes of it.\r\n"
                        "\r\n"
                        "<j\xc3\xb6rg@b.example> (relayed, 2.0.0)\r\n"
                        "    The next hop mx.b.example said: 250 ok\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: message/global-delivery-status\r\n"
                        "Content-Description: Delivery report\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n"
                        "Reporting-MTA: dns; relay.example.net\r\n"
                        "\r\n"
                        "Original-Recipient: utf-8; j\xc3\xb6rg@b.example\r\n"
                        "Final-Recipient: utf-8; j\xc3\xb6rg@b.example\r\n"
                        "Action: relayed\r\n"
                        "Status: 2.0.0\r\n"
                        "Remote-MTA: dns; mx.b.example\r\n"
                        "Diagnostic-Code: smtp; 250 ok\r\n"
                        "\r\n"
                        "--B\r\n"
                        "Content-Type: message/global-headers\r\n"
                        "Content-Description: Your message's header\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n"
                        "\r\n");
}

static bool holds(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void a_seven_bit_notice_escapes_foreign_addresses(void **state)
{
    (void)state;
    const struct dsn_recipient recipient = {.address = span_str("j\xc3\xb6rg@b.example"),
                                            .orcpt = span_str("utf-8;j\\x{F6}rg@b.example"),
                                            .action = DSN_DELIVERED};
    const struct dsn_info info = {.host = span_str("relay"),
                                  .to = span_str("a@a.example"),
                                  .boundary = "B",
                                  .recipients = &recipient,
                                  .recipient_count = 1};
    struct buf out;
    buf_init(&out, 32768);
    assert_true(dsn_write_prefix(&out, &info));
    const char *text = buf_cstr(&out);
    assert_true(holds(text, "\r\nFinal-Recipient: utf-8; j\\x{F6}rg@b.example\r\n"));
    assert_true(holds(text, "\r\nOriginal-Recipient: utf-8; j\\x{F6}rg@b.example\r\n"));
    assert_true(holds(text, "\r\nAction: delivered\r\nStatus: 2.0.0\r\n"));
    assert_true(holds(text, "\r\nSubject: Your message was delivered\r\n"));
    for (const char *p = text; *p != '\0'; p++)
        assert_true((unsigned char)*p < 128);
    buf_deinit(&out);
}

static void nothing_that_a_peer_said_breaks_the_notice(void **state)
{
    (void)state;
    char huge[3000];
    memset(huge, 'x', sizeof huge);
    const struct dsn_recipient recipients[] = {
        {.address = span_str("b@b>\r\nBcc: x"),
         .orcpt = span_str("rfc822;a+0D+0AX: y"),
         .action = DSN_FAILED,
         .status = "5.1.1\r\nX: y",
         .remote_mta = span_str("mx\r\n--B"),
         .code = 550,
         .reason = span_str("one\r\n--B\r\nContent-Type: text/html\r\n\r\n\x1b[31m")},
        {.address = span_str("c@c"),
         .orcpt = span_str("rfc822;a+0D+0Aevil"),
         .action = DSN_FAILED,
         .status = "2.0.0",
         .reason = span_of(huge, sizeof huge)},
        {.address = span_str("d@d"), .orcpt = span_str("no type"), .action = DSN_FAILED},
    };
    const struct dsn_info info = {.host = span_str("relay\r\nX: y"),
                                  .to = span_str("a@a\r\nBcc: z"),
                                  .queue_id = span_str("1\r\n\r\n--B"),
                                  .envid = span_str("+0D+0A+0D+0A--B"),
                                  .id = span_str("1"),
                                  .boundary = "B",
                                  .recipients = recipients,
                                  .recipient_count = 3};
    struct buf out;
    buf_init(&out, 65536);
    assert_true(dsn_write_prefix(&out, &info));
    struct span left = buf_span(&out);
    size_t boundaries = 0, begins = 0;
    while (left.n > 0) {
        size_t n = span_find(left, '\n');
        struct span line = span_sub(left, 0, n - 1);
        assert_true(n < left.n && n > 0 && left.p[n - 1] == '\r' && n < 998);
        boundaries += span_starts_nocase(line, "--B");
        begins += span_starts_nocase(line, "Bcc") || span_starts_nocase(line, "X:") ||
                  span_starts_nocase(line, "evil");
        for (size_t i = 0; i < line.n; i++)
            assert_true(line.p[i] == '\t' || (line.p[i] >= ' ' && line.p[i] < 0x7f));
        left = span_from(left, n + 1);
    }
    assert_int_equal(boundaries, 3);
    assert_int_equal(begins, 0);
    const char *text = buf_cstr(&out);
    assert_true(holds(text, "Original-Recipient: rfc822; a??evil\r\n"));
    assert_false(holds(text, "no type"));
    assert_true(
        holds(text, "<c@c> (failed, 5.0.0)")); /* a status that says otherwise is not told */
    buf_deinit(&out);
    buf_init(&out, 500);
    assert_false(dsn_write_prefix(&out, &info));
    buf_deinit(&out);
}

static void notices_are_due_as_notify_says(void **state)
{
    (void)state;
    static const struct {
        unsigned notify;
        bool failed, delayed, delivered, relayed;
    } cases[] = {
        {0, true, true, false, false},
        {DSN_NOTIFY_NEVER, false, false, false, false},
        {DSN_NOTIFY_SUCCESS, false, false, true, true},
        {DSN_NOTIFY_FAILURE, true, false, false, false},
        {DSN_NOTIFY_DELAY, false, true, false, false},
        {DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY, true, true, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned n = cases[i].notify;
        assert_int_equal(dsn_is_due(DSN_FAILED, n, false), cases[i].failed);
        assert_int_equal(dsn_is_due(DSN_DELAYED, n, false), cases[i].delayed);
        assert_int_equal(dsn_is_due(DSN_DELIVERED, n, false), cases[i].delivered);
        assert_int_equal(dsn_is_due(DSN_RELAYED, n, false), cases[i].relayed);
        for (int action = DSN_FAILED; action <= DSN_RELAYED; action++) /* never to <> */
            assert_false(dsn_is_due((enum dsn_action)action, n, true));
    }
}

static void the_whole_message_returns_only_with_a_failure_and_within_its_bound(void **state)
{
    (void)state;
    assert_true(dsn_returns_full(DSN_RET_NONE, DSN_FAILED, 100, 100));
    assert_true(dsn_returns_full(DSN_RET_FULL, DSN_FAILED, 100, 100));
    assert_false(dsn_returns_full(DSN_RET_HDRS, DSN_FAILED, 100, 100));
    assert_false(dsn_returns_full(DSN_RET_FULL, DSN_FAILED, 101, 100));
    assert_false(dsn_returns_full(DSN_RET_FULL, DSN_DELAYED, 1, 100));
    assert_false(dsn_returns_full(DSN_RET_FULL, DSN_RELAYED, 1, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_with_the_whole_message),
        cmocka_unit_test(a_delay_with_the_header_of_an_eight_bit_message),
        cmocka_unit_test(an_internationalised_notice),
        cmocka_unit_test(a_seven_bit_notice_escapes_foreign_addresses),
        cmocka_unit_test(nothing_that_a_peer_said_breaks_the_notice),
        cmocka_unit_test(notices_are_due_as_notify_says),
        cmocka_unit_test(the_whole_message_returns_only_with_a_failure_and_within_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
