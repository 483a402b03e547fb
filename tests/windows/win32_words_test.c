/* What the numbers of Windows mean for us: failures of LogonUser, the system's texts, the event
 * log's messages; and its clock and its sockets. */
#include "platform/clock.h"
#include "platform/sock.h"
#include "win32/eventlog.h"
#include "win32/local_account_codes.h"
#include "win32/text.h"

#include "support/test.h"

#include <windows.h>

#include <sddl.h>

static void every_failure_of_a_logon_has_its_result(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        enum local_account_result result;
    } table[] = {{1326, LOCAL_ACCOUNT_BAD_PASSWORD}, {1323, LOCAL_ACCOUNT_BAD_PASSWORD},
                 {1317, LOCAL_ACCOUNT_NO_ACCOUNT},   {1332, LOCAL_ACCOUNT_NO_ACCOUNT},
                 {1315, LOCAL_ACCOUNT_NO_ACCOUNT},   {1327, LOCAL_ACCOUNT_DISABLED},
                 {1328, LOCAL_ACCOUNT_DISABLED},     {1329, LOCAL_ACCOUNT_DISABLED},
                 {1330, LOCAL_ACCOUNT_DISABLED},     {1331, LOCAL_ACCOUNT_DISABLED},
                 {1793, LOCAL_ACCOUNT_DISABLED},     {1907, LOCAL_ACCOUNT_DISABLED},
                 {1909, LOCAL_ACCOUNT_DISABLED},     {1385, LOCAL_ACCOUNT_DISABLED},
                 {1380, LOCAL_ACCOUNT_DISABLED},     {1935, LOCAL_ACCOUNT_DISABLED},
                 {1311, LOCAL_ACCOUNT_UNAVAILABLE},  {1355, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1786, LOCAL_ACCOUNT_UNAVAILABLE},  {1787, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1788, LOCAL_ACCOUNT_UNAVAILABLE},  {1789, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1790, LOCAL_ACCOUNT_UNAVAILABLE},  {1792, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1722, LOCAL_ACCOUNT_UNAVAILABLE},  {1908, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1398, LOCAL_ACCOUNT_UNAVAILABLE},  {1265, LOCAL_ACCOUNT_UNAVAILABLE},
                 {1314, LOCAL_ACCOUNT_UNAVAILABLE},  {5, LOCAL_ACCOUNT_UNAVAILABLE},
                 {8, LOCAL_ACCOUNT_UNAVAILABLE}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[LOCAL_ACCOUNT_TEXT_MAX] = "", number[16];
        if (local_account_of_code(table[i].code, text) != table[i].result)
            fail_msg("code %u", (unsigned)table[i].code);
        (void)snprintf(number, sizeof number, "(%u)", (unsigned)table[i].code);
        assert_non_null(strstr(text, number));
    }
}

static void no_number_lets_anybody_in(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    for (uint32_t code = 0; code < 20000; code++)
        assert_int_not_equal(local_account_of_code(code, text), LOCAL_ACCOUNT_OK);
}

static void guests_and_nobodies_are_known_by_their_identifier(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *sid;
        bool guest;
    } table[] = {{L"S-1-5-21-1-2-3-501", true},
                 {L"S-1-5-21-1-2-3-1001", false},
                 {L"S-1-5-7", true},
                 {L"S-1-0-0", true},
                 {L"S-1-5-32-546", true},
                 {L"S-1-5-21-1-2-3-500", false},
                 {L"S-1-5-80-1-2-3-501", false},
                 {L"S-1-5-18", false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        PSID sid = NULL;
        assert_true(ConvertStringSidToSidW(table[i].sid, &sid));
        assert_int_equal(local_account_is_guest(sid), table[i].guest);
        LocalFree(sid);
    }
}

static void a_line_of_the_log_finds_its_message(void **state)
{
    (void)state;
    static const struct {
        enum log_level level;
        const char *line;
        uint32_t id; /* the message's own number, 0: none */
    } table[] = {
        {LOG_INFO, "2026-01-01T00:00:00.000Z info service.ready version=1", 0}, /* said apart */
        {LOG_INFO, "{\"time\":\"x\",\"level\":\"info\",\"event\":\"service.stopped\",\"code\":0}",
         0},
        {LOG_INFO, "2026-01-01T00:00:00.000Z info service.reloaded", 4},
        {LOG_ERROR, "2026-01-01T00:00:00.000Z error service.reload.refused why=x", 5},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn auth.account.held_back", 6},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn auth.peer.refused client=192.0.2.1", 6},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn delivery.failed", 7},
        {LOG_WARN, "{\"time\":\"x\",\"level\":\"warn\",\"event\":\"delivery.expired\"}", 7},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn badmail.filed id=1", 9},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn smtp.rcpt.refused sid=1", 0},
        {LOG_INFO, "2026-01-01T00:00:00.000Z info smtp.message.accepted", 0},
        {LOG_ERROR, "2026-01-01T00:00:00.000Z error smtp.tls.no-certificate", 101},
        {LOG_WARN, "2026-01-01T00:00:00.000Z warn queue.memory", 100},
        {LOG_ERROR, "", 101},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(eventlog_message(table[i].level, span_str(table[i].line)) & 0xffff,
                         table[i].id);
}

/* What a peer has said must not pass for a field of ours. */
static void fields_of_a_line_become_insertion_strings(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "2026-01-01T00:00:00.000Z warn delivery.failed id=42 text=\"550 no; rcpt=evil \\\"x\\\\\" "
        "rcpt=v@elsewhere.example next_s=0",
        "{\"time\":\"x\",\"level\":\"warn\",\"event\":\"delivery.failed\",\"id\":42,\"text\":"
        "\"550 no; rcpt=evil \\\"x\\\\\",\"rcpt\":\"v@elsewhere.example\",\"next_s\":0}"};
    for (size_t i = 0; i < 2; i++) {
        char out[64];
        struct span line = span_str(lines[i]);
        assert_true(eventlog_field(line, "id", out, sizeof out));
        assert_string_equal(out, "42");
        assert_true(eventlog_field(line, "rcpt", out, sizeof out));
        assert_string_equal(out, "v@elsewhere.example");
        assert_true(eventlog_field(line, "text", out, sizeof out));
        assert_string_equal(out, "550 no; rcpt=evil \"x\\");
        assert_true(eventlog_field(line, "next_s", out, sizeof out));
        assert_string_equal(out, "0");
        assert_true(eventlog_field(line, "rcpt", out, 4));
        assert_string_equal(out, "v@e");
        assert_false(eventlog_field(line, "evil", out, sizeof out));
        assert_string_equal(out, "");
        for (size_t n = 0; n < line.n; n++) /* cut anywhere, it is only cut */
            (void)eventlog_field(span_sub(line, 0, n), "next_s", out, sizeof out);
    }
}

static void a_number_has_its_text(void **state)
{
    (void)state;
    char text[SYSTEM_TEXT_MAX];
    struct err e = {0};
    assert_non_null(strstr(system_text(ERROR_ACCESS_DENIED, text), "(5)"));
    assert_true(strlen(text) > 6);
    assert_string_equal(system_text(0x3fffffff, text), "error (1073741823)");
    SetLastError(ERROR_ACCESS_DENIED);
    assert_false(call_failed(&e, "CreateService"));
    assert_int_equal(strncmp(e.text, "CreateService: ", 15), 0);
    assert_null(strpbrk(e.text, "\r\n"));
    assert_int_equal(e.class, ERR_PERM);
}

static void text_that_is_none_is_refused(void **state)
{
    (void)state;
    static const wchar_t lone[] = {0xd800, 0};
    wchar_t wide[8];
    char utf8[8];
    assert_false(text_to_wide("\xff\xfe", wide, 8));
    assert_false(text_to_wide("12345678", wide, 8));
    assert_true(text_to_wide("\xc3\xbc", wide, 8));
    assert_int_equal(wide[0], 0xfc);
    assert_false(text_from_wide(lone, utf8, 8));
}

static void the_clocks_go_forward_together(void **state)
{
    (void)state;
    uint64_t ms = clock_monotonic_ms(), us = clock_monotonic_us();
    assert_true(us / 1000 - ms < 1000);
    assert_true(clock_wall_ms() > 1700000000000);
    int offset = clock_utc_offset_minutes(clock_wall_ms());
    assert_true(offset >= -14 * 60 && offset <= 14 * 60);
}

static void a_listener_takes_a_port_alone_and_a_waker_wakes(void **state)
{
    (void)state;
    struct sock_address at = {.port = 0}, bound;
    struct err e = {0};
    intptr_t one = SOCK_NONE, two = SOCK_NONE;
    struct sock_waker w;
    assert_true(sock_start(&e));
    assert_true(netaddr_parse(span_str("127.0.0.1"), &at.ip));
    assert_true(sock_listen(&at, 5, &one, &bound, &e));
    assert_int_not_equal(bound.port, 0);
    assert_false(sock_listen(&bound, 5, &two, NULL, &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_true(sock_waker_open(&w, &e));
    struct sock_poll polled[] = {{.sock = one}, {.sock = SOCK_NONE}, {.sock = w.waiting}};
    assert_int_equal(sock_poll(polled, 3, 0), 0);
    sock_waker_wake(&w);
    assert_int_equal(sock_poll(polled, 3, 5000), 1);
    assert_true(polled[2].ready && !polled[0].ready);
    sock_waker_drain(&w);
    assert_int_equal(sock_poll(polled, 3, 0), 0);
    sock_waker_close(&w);
    sock_close(&one);
    struct netaddr *all = NULL;
    size_t n = 0;
    assert_true(sock_interface_addresses(&all, &n, &e));
    assert_true(n > 0);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_of_a_logon_has_its_result),
        cmocka_unit_test(no_number_lets_anybody_in),
        cmocka_unit_test(guests_and_nobodies_are_known_by_their_identifier),
        cmocka_unit_test(a_line_of_the_log_finds_its_message),
        cmocka_unit_test(fields_of_a_line_become_insertion_strings),
        cmocka_unit_test(a_number_has_its_text),
        cmocka_unit_test(text_that_is_none_is_refused),
        cmocka_unit_test(the_clocks_go_forward_together),
        cmocka_unit_test(a_listener_takes_a_port_alone_and_a_waker_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
