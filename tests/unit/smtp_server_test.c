/* What a transcript cannot say of the server engine: memory that runs out, tokens, clocks that
 * stand still, options that change, how little an idle session holds. */
#include "support/smtp_driver.h"

#include "support/test.h"

/* buf.c of our own, so that its allocations can be counted and made to fail; the engine has no
 * others. */
static long allocations_left = -1; /* negative: no limit */
static size_t bytes_held, bytes_peak;
static size_t allocations;

static void *counted_realloc(void *p, size_t n)
{
    size_t *block = p == NULL ? NULL : (size_t *)p - 2;
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    allocations++;
    size_t old = block == NULL ? 0 : block[0];
    block = realloc(block, n + 2 * sizeof(size_t));
    if (block == NULL)
        return NULL;
    block[0] = n;
    bytes_held += n - old;
    bytes_peak = bytes_held > bytes_peak ? bytes_held : bytes_peak;
    return block + 2;
}

static void counted_free(void *p)
{
    if (p == NULL)
        return;
    size_t *block = (size_t *)p - 2;
    bytes_held -= block[0];
    free(block);
}

#define realloc counted_realloc
#define free counted_free
#include "base/buf.c"
#undef realloc
#undef free

static const char dialogue[] =
    "EHLO client.example\r\nAUTH PLAIN\r\nAGEAYg==\r\nMAIL FROM:<a@b.example> SIZE=100\r\n"
    "RCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\n"
    "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 4\r\nab\r\nBDAT 3 LAST\r\nc\r\n"
    "HELP\r\nVRFY x\r\nFOO\r\nQUIT\r\n";

struct result {
    bool closed;
    enum smtp_server_close_reason reason;
    bool accepted; /* a BODY_END was answered with 250 */
    char output[8192];
    size_t output_n;
};

/* Answers late, so that input must be held; keeps nothing in struct buf itself. */
static void run_dialogue(struct smtp_server *s, const struct smtp_server_options *o, size_t step,
                         struct result *r)
{
    memset(r, 0, sizeof *r);
    smtp_server_init(s, o, "192.0.2.7", false, 0);
    for (size_t at = 0; !r->closed;) {
        struct smtp_server_event e;
        uint32_t token = 0;
        enum smtp_server_event_type type = SMTP_SERVER_NONE;
        while (smtp_server_next_event(s, &e) != SMTP_SERVER_NONE) {
            r->closed = r->closed || e.type == SMTP_SERVER_CLOSE;
            r->reason = e.type == SMTP_SERVER_CLOSE ? e.close : r->reason;
            token = e.token != 0 ? e.token : token;
            type = e.token != 0 ? e.type : type;
        }
        for (struct span out = smtp_server_output(s); out.n > 0; out = smtp_server_output(s)) {
            assert_true(r->output_n + out.n < sizeof r->output);
            memcpy(r->output + r->output_n, out.p, out.n);
            r->output_n += out.n;
            smtp_server_sent(s, out.n);
        }
        if (type == SMTP_SERVER_AUTH)
            (void)smtp_server_challenge(s, token, span_str(""), 0);
        else if (token != 0)
            (void)smtp_server_answer(s, token, NULL, 0);
        if (token != 0) {
            r->accepted = r->accepted || type == SMTP_SERVER_BODY_END;
            continue;
        }
        if (r->closed || at == sizeof dialogue - 1)
            break;
        size_t n = sizeof dialogue - 1 - at < step ? sizeof dialogue - 1 - at : step;
        smtp_server_feed(s, span_of(dialogue + at, n), 0);
        at += n;
    }
}

static void without_memory_at_any_allocation_the_client_hears_421(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 7, sizeof dialogue};
    struct smtp_server_options o;
    struct smtp_server s;
    struct result r;
    smtp_server_options_default(&o);
    o.auth = "PLAIN";
    for (size_t k = 0; k < 3; k++) {
        long limit = 0;
        for (;; limit++) {
            allocations_left = limit;
            run_dialogue(&s, &o, steps[k], &r);
            bool ran_out = allocations_left == 0;
            allocations_left = -1;
            r.output[r.output_n] = '\0';
            smtp_server_deinit(&s);
            assert_int_equal(bytes_held, 0);
            assert_true(r.closed);
            if (!ran_out)
                break;
            /* every reply is whole, the last one says why */
            const char *last = strstr(r.output, "421 4.3.0 ");
            if (last == NULL)
                last = strstr(r.output, "454 4.7.0 ");
            if (last == NULL)
                last = strstr(r.output, "221 "); /* the very last allocation, done without */
            if (last == NULL)
                fail_msg("after %ld allocations: \"%s\"", limit, r.output);
            assert_true(r.output_n > 2 && r.output[r.output_n - 1] == '\n');
        }
        print_message("steps of %zu: %ld allocations failed one after the other\n", steps[k],
                      limit);
        assert_true(limit > 3);
        assert_int_equal(r.reason, SMTP_CLOSE_QUIT);
        assert_true(r.accepted);
    }
}

static void an_idle_session_holds_next_to_nothing(void **state)
{
    (void)state;
    struct driver *d = malloc(sizeof *d);
    assert_non_null(d);
    driver_init(d);
    driver_start(d, false);
    driver_pump(d, NULL);
    driver_feed(d, span_str("EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
                            "DATA\r\nx\r\n.\r\n"));
    size_t engine = sizeof d->s + d->s.out.cap + d->s.held.cap + d->s.decoded.cap;
    print_message("an idle session: %zu bytes, %zu of them the struct\n", engine, sizeof d->s);
    assert_true(engine <= 3072);
    assert_int_equal(d->s.held.cap, 0);
    driver_deinit(d);
    free(d);
}

static struct smtp_server_event expect(struct smtp_server *s, enum smtp_server_event_type type)
{
    struct smtp_server_event e;
    assert_int_equal(smtp_server_next_event(s, &e), type);
    return e;
}

/* A session that stands behind RCPT. */
static void begin(struct smtp_server *s, const struct smtp_server_options *o, const char *more)
{
    static const enum smtp_server_event_type order[] = {SMTP_SERVER_HELLO, SMTP_SERVER_MAIL,
                                                        SMTP_SERVER_RCPT};
    smtp_server_init(s, o, "192.0.2.7", false, 0);
    struct smtp_server_event e = expect(s, SMTP_SERVER_CONNECT);
    assert_true(smtp_server_answer(s, e.token, NULL, 0));
    smtp_server_feed(s, span_str("EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"),
                     0);
    for (size_t i = 0; i < 3; i++) {
        e = expect(s, order[i]);
        assert_true(smtp_server_answer(s, e.token, NULL, 0));
    }
    (void)expect(s, SMTP_SERVER_NONE);
    smtp_server_feed(s, span_str(more), 0);
}

static void a_late_or_foreign_answer_changes_nothing(void **state)
{
    (void)state;
    struct smtp_server_options o;
    struct smtp_server s;
    smtp_server_options_default(&o);
    begin(&s, &o, "DATA\r\n");
    struct smtp_server_event e = expect(&s, SMTP_SERVER_BODY_START);
    assert_false(smtp_server_wants_input(&s));
    (void)expect(&s, SMTP_SERVER_NONE);
    assert_false(smtp_server_answer(&s, e.token + 1, NULL, 0));
    assert_false(smtp_server_answer(&s, 0, NULL, 0));
    assert_false(smtp_server_challenge(&s, e.token, span_str("x"), 0));
    assert_false(smtp_server_set_options(&s, &o));
    smtp_server_tls_started(&s, 0);
    assert_false(smtp_server_is_tls(&s));
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    assert_false(smtp_server_answer(&s, e.token, NULL, 0));
    smtp_server_shutdown(&s, &(struct smtp_reply){.code = 421, .text = span_str("stop")});
    (void)expect(&s, SMTP_SERVER_RESET);
    assert_int_equal(expect(&s, SMTP_SERVER_CLOSE).close, SMTP_CLOSE_SESSION);
    (void)expect(&s, SMTP_SERVER_NONE);
    assert_true(smtp_server_deadline(&s) == INT64_MAX);
    smtp_server_deinit(&s);
}

static void options_change_between_transactions_only(void **state)
{
    (void)state;
    struct smtp_server_options o, other;
    struct smtp_server s;
    smtp_server_options_default(&o);
    other = o;
    other.message_size_max = 10;
    begin(&s, &o, "RSET\r\nMAIL FROM:<a@b.example> SIZE=11\r\n");
    assert_false(smtp_server_set_options(&s, &other));
    (void)expect(&s, SMTP_SERVER_RESET);
    assert_true(smtp_server_set_options(&s, &other));
    (void)expect(&s, SMTP_SERVER_NONE);
    struct span out = smtp_server_output(&s);
    assert_true(span_ends_nocase(out, "fixed maximum message size\r\n"));
    smtp_server_deinit(&s);
}

static void a_stopped_body_is_read_to_its_end_and_then_answered(void **state)
{
    (void)state;
    struct smtp_server_options o;
    struct smtp_server s;
    struct smtp_server_event e;
    struct smtp_reply full = smtp_reply_make(452, "4.3.1", "Insufficient system storage");
    smtp_server_options_default(&o);
    begin(&s, &o, "BDAT 5\r\nab\r\nc");
    e = expect(&s, SMTP_SERVER_BODY_START);
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    smtp_server_stop_body(&s);
    e = expect(&s, SMTP_SERVER_BODY_END);
    assert_true(smtp_server_answer(&s, e.token, &full, 0));
    (void)expect(&s, SMTP_SERVER_NONE);
    smtp_server_feed(&s, span_str("BDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<b@b.example>\r\n"), 0);
    (void)expect(&s, SMTP_SERVER_RESET);
    (void)expect(&s, SMTP_SERVER_MAIL);
    assert_true(smtp_server_in_transaction(&s) == false);
    smtp_server_deinit(&s);
}

static void a_stopped_body_is_never_accepted(void **state)
{
    (void)state;
    struct smtp_server_options o;
    struct smtp_server s;
    smtp_server_options_default(&o);
    begin(&s, &o, "DATA\r\nx\r\n.\r\n");
    struct smtp_server_event e = expect(&s, SMTP_SERVER_BODY_START);
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    e = expect(&s, SMTP_SERVER_BODY);
    smtp_server_stop_body(&s);
    e = expect(&s, SMTP_SERVER_BODY_END);
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    assert_true(span_ends_nocase(smtp_server_output(&s),
                                 "451 4.3.0 The message was not taken in full\r\n"));
    smtp_server_deinit(&s);
}

static void too_much_refused_content_ends_the_session(void **state)
{
    (void)state;
    static char block[60000];
    struct smtp_server_options o;
    struct smtp_server s;
    struct smtp_server_event e;
    size_t fed = 0;
    smtp_server_options_default(&o);
    o.message_size_max = 100;
    memset(block, 'x', sizeof block);
    begin(&s, &o, "DATA\r\n");
    e = expect(&s, SMTP_SERVER_BODY_START);
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    do {
        smtp_server_feed(&s, span_of(block, sizeof block), 0);
        fed += sizeof block;
        while (smtp_server_next_event(&s, &e) == SMTP_SERVER_BODY)
            assert_int_equal(e.body.n, 100);
    } while (e.type == SMTP_SERVER_NONE && fed < 100u << 20);
    assert_int_equal(e.type, SMTP_SERVER_RESET);
    assert_int_equal(expect(&s, SMTP_SERVER_CLOSE).close, SMTP_CLOSE_LIMIT);
    assert_true(fed > 16u << 20 && fed < 18u << 20);
    smtp_server_deinit(&s);
}

static void clocks_stand_still_while_the_session_does_not_read(void **state)
{
    (void)state;
    struct smtp_server_options o;
    struct smtp_server s;
    smtp_server_options_default(&o);
    begin(&s, &o, "DATA\r\n");
    struct smtp_server_event e = expect(&s, SMTP_SERVER_BODY_START);
    assert_true(smtp_server_deadline(&s) == INT64_MAX); /* the client owes nothing */
    assert_true(smtp_server_answer(&s, e.token, NULL, 1000));
    assert_true(smtp_server_deadline(&s) == 1000 + o.data_grace_ms);
    smtp_server_pause(&s, 2000);
    assert_true(smtp_server_deadline(&s) == INT64_MAX);
    smtp_server_timeout(&s, 1000000);
    (void)expect(&s, SMTP_SERVER_NONE);
    smtp_server_resume(&s, 1000000);
    assert_true(smtp_server_deadline(&s) == 1000 + o.data_grace_ms + 998000);
    smtp_server_timeout(&s, 1000 + o.data_grace_ms + 998000);
    (void)expect(&s, SMTP_SERVER_RESET);
    assert_int_equal(expect(&s, SMTP_SERVER_CLOSE).close, SMTP_CLOSE_TIMEOUT);
    smtp_server_deinit(&s);
}

static void a_client_that_does_not_read_is_not_served_further(void **state)
{
    (void)state;
    static char noops[60000];
    struct smtp_server_options o;
    struct smtp_server s;
    struct smtp_server_event e;
    smtp_server_options_default(&o);
    o.junk_max = 0;
    for (size_t i = 0; i + 6 <= sizeof noops; i += 6)
        memcpy(noops + i, "HELP\r\n", 6);
    begin(&s, &o, "RSET\r\n");
    (void)expect(&s, SMTP_SERVER_RESET);
    (void)expect(&s, SMTP_SERVER_NONE);
    smtp_server_feed(&s, span_of(noops, sizeof noops), 0);
    (void)expect(&s, SMTP_SERVER_NONE);
    assert_false(smtp_server_wants_input(&s));
    size_t replies = 0, peak = 0;
    for (struct span out = smtp_server_output(&s); out.n > 0; out = smtp_server_output(&s)) {
        peak = out.n > peak ? out.n : peak;
        for (size_t i = 0; i < out.n; i++)
            replies += out.p[i] == '\n';
        smtp_server_sent(&s, out.n);
        assert_int_equal(smtp_server_next_event(&s, &e), SMTP_SERVER_NONE);
    }
    assert_true(replies > 10000);
    assert_true(peak < 20000);
    assert_true(smtp_server_wants_input(&s));
    smtp_server_deinit(&s);
}

static void body_bytes_are_not_copied(void **state)
{
    (void)state;
    static char body[50000];
    struct smtp_server_options o;
    struct smtp_server s;
    struct smtp_server_event e;
    smtp_server_options_default(&o);
    memset(body, 'x', sizeof body);
    for (size_t i = 70; i + 2 < sizeof body; i += 72)
        memcpy(body + i, "\r\n", 2);
    begin(&s, &o, "DATA\r\n");
    e = expect(&s, SMTP_SERVER_BODY_START);
    assert_true(smtp_server_answer(&s, e.token, NULL, 0));
    (void)expect(&s, SMTP_SERVER_NONE);
    size_t before = allocations;
    smtp_server_feed(&s, span_of(body, sizeof body), 0);
    e = expect(&s, SMTP_SERVER_BODY);
    assert_ptr_equal(e.body.p, body);
    assert_int_equal(e.body.n, sizeof body);
    (void)expect(&s, SMTP_SERVER_NONE);
    assert_int_equal(allocations, before);
    smtp_server_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_at_any_allocation_the_client_hears_421),
        cmocka_unit_test(an_idle_session_holds_next_to_nothing),
        cmocka_unit_test(a_late_or_foreign_answer_changes_nothing),
        cmocka_unit_test(options_change_between_transactions_only),
        cmocka_unit_test(a_stopped_body_is_read_to_its_end_and_then_answered),
        cmocka_unit_test(a_stopped_body_is_never_accepted),
        cmocka_unit_test(too_much_refused_content_ends_the_session),
        cmocka_unit_test(clocks_stand_still_while_the_session_does_not_read),
        cmocka_unit_test(a_client_that_does_not_read_is_not_served_further),
        cmocka_unit_test(body_bytes_are_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
