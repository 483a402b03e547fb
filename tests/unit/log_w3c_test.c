/* Rows of the W3C format, and what the server engine notes for them. */
#include "base/log_w3c.h"
#include "smtp/server_engine.h"
#include "smtp/server_trace.h"

#include "support/test.h"

static struct buf out;

static void a_row_has_the_fields_of_iis_in_their_order(void **state)
{
    (void)state;
    const struct log_w3c_row row = {.wall_ms = (int64_t)1795527263 * 1000,
                                    .client_ip = "10.3.5.1",
                                    .user = span_str("mfp"),
                                    .computer = "relay.example",
                                    .server_ip = "10.3.5.2",
                                    .server_port = 25,
                                    .method = span_str("MAIL"),
                                    .query = span_str("FROM:<a@b.example> SIZE=5"),
                                    .status = 250,
                                    .sent = 45,
                                    .received = 33,
                                    .taken_ms = 7};
    buf_reset(&out);
    log_w3c_row(&row, &out);
    assert_string_equal(buf_cstr(&out),
                        "2026-11-24 13:34:23 10.3.5.1 mfp SMTPSVC1 relay.example 10.3.5.2 25 MAIL "
                        "- +FROM:<a@b.example>+SIZE=5 250 0 45 33 7 SMTP - - - -");
    buf_reset(&out);
    log_w3c_head("1.2", row.wall_ms, &out);
    const char *fields = strstr(buf_cstr(&out), "#Fields: ");
    assert_non_null(fields);
    size_t names = 0, values = 0;
    for (const char *c = fields; *c != '\0'; c++)
        names += *c == ' ';
    buf_reset(&out);
    log_w3c_row(&row, &out);
    for (const char *c = buf_cstr(&out); *c != '\0'; c++)
        values += *c == ' ';
    assert_int_equal(names, values + 1);
}

static void nothing_that_a_peer_says_ends_a_row_or_a_field(void **state)
{
    (void)state;
    static const char evil[] = "a b\r\n2026-01-01\t\x1b[2J\xc3\xa9\x7f";
    const struct log_w3c_row row = {.client_ip = "",
                                    .computer = "",
                                    .server_ip = "",
                                    .user = span_of(evil, sizeof evil), /* its NUL too */
                                    .query = span_str(evil)};
    buf_reset(&out);
    log_w3c_row(&row, &out);
    const char *text = buf_cstr(&out);
    assert_int_equal(strlen(text), out.n);
    size_t spaces = 0;
    for (const char *c = text; *c != '\0'; c++) {
        assert_true(*c >= ' ' && *c < 0x7f);
        spaces += *c == ' ';
    }
    assert_int_equal(spaces, 20);
    assert_non_null(strstr(text, " a+b%0D%0A2026-01-01%09%1B[2J%C3%A9%7F%00 "));
}

/* ---- the engine ---- */

static struct smtp_server engine;
static struct smtp_server_options options;
static struct buf trace;

/* Everything is taken. */
static void pump(void)
{
    struct smtp_server_event event;
    while (smtp_server_next_event(&engine, &event) != SMTP_SERVER_NONE) {
        struct smtp_reply yes =
            smtp_reply_make(event.type == SMTP_SERVER_AUTH ? 535 : 250, "2.0.0", "taken");
        if (event.type == SMTP_SERVER_BODY_START)
            (void)smtp_server_answer(&engine, event.token, NULL, 0);
        else if (event.token != 0)
            (void)smtp_server_answer(
                &engine, event.token,
                event.type == SMTP_SERVER_CONNECT || event.type == SMTP_SERVER_HELLO ? NULL : &yes,
                0);
        smtp_server_sent(&engine, smtp_server_output(&engine).n);
    }
    smtp_server_sent(&engine, smtp_server_output(&engine).n);
}

static void say(const char *text, size_t piece)
{
    struct span all = span_str(text);
    while (all.n > 0) {
        smtp_server_feed(&engine, span_sub(all, 0, piece), 0);
        pump();
        smtp_server_keep(&engine);
        all = span_from(all, piece < all.n ? piece : all.n);
    }
}

static void assert_noted(const char *expected)
{
    struct smtp_trace entry;
    struct span text;
    buf_reset(&out);
    while (smtp_trace_next(&trace, &entry, &text)) {
        if (entry.kind == SMTP_TRACE_COMMAND)
            (void)buf_addf(&out, "[%.*s]", (int)text.n, (const char *)text.p);
        else
            (void)buf_addf(&out, "%u%s ", entry.code, entry.octets > 0 ? "+" : "");
    }
    assert_string_equal(buf_cstr(&out), expected);
}

static void each_reply_stands_behind_its_command_however_the_bytes_come(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 200; piece += 13) {
        smtp_server_options_default(&options);
        options.hostname = "relay.example";
        options.auth = options.auth_tls = "PLAIN LOGIN";
        smtp_server_init(&engine, &options, "192.0.2.7", true, 0);
        engine.trace = &trace;
        buf_reset(&trace);
        pump();
        say("EHLO c.example\r\nAUTH PLAIN AGFubmEAc2VjcmV0\r\nc2VjcmV0\r\n"
            "MAIL FROM:<a@b.example>\r\nRCPT TO:<v@l.example>\r\nRCPT nonsense\r\nDATA\r\n",
            piece);
        say("text\r\n..\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n", piece);
        assert_noted("220 [EHLO c.example]250 [AUTH PLAIN]535 []500 "
                     "[MAIL FROM:<a@b.example>]250 [RCPT TO:<v@l.example>]250 [RCPT nonsense]501 "
                     "[DATA]354 250+ [MAIL FROM:<>]250 [RSET]250 [QUIT]221 ");
        smtp_server_deinit(&engine);
    }
}

static int set_up(void **state)
{
    (void)state;
    buf_init(&out, 64 * 1024);
    buf_init(&trace, 64 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_deinit(&out);
    buf_deinit(&trace);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_fields_of_iis_in_their_order),
        cmocka_unit_test(nothing_that_a_peer_says_ends_a_row_or_a_field),
        cmocka_unit_test(each_reply_stands_behind_its_command_however_the_bytes_come),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
