/* What transcripts cannot say about the client engine: back-pressure, bounds, many recipients,
 * credentials in memory, clean answers to misuse. */
#include "smtp/client_engine.h"

#include "support/test.h"

struct rig {
    struct smtp_client c;
    struct smtp_client_event event;
    struct buf wire; /* all that was sent */
    size_t told[3];  /* RECIPIENT events by result */
    size_t finished, closed, ready, want_body;
};

static void rig_open(struct rig *r, struct smtp_client_options options)
{
    memset(r, 0, sizeof *r);
    struct err e;
    options.hello_name = "relay.example.net";
    assert_true(smtp_client_init(&r->c, &options, 0, &e));
    buf_init(&r->wire, 64 << 20);
}

static void rig_close(struct rig *r)
{
    smtp_client_deinit(&r->c);
    buf_deinit(&r->wire);
}

static void flush(struct rig *r)
{
    struct span out = smtp_client_output(&r->c);
    assert_true(buf_add(&r->wire, out));
    smtp_client_sent(&r->c, out.n, 0);
}

/* Events and output until nothing moves. */
static void run(struct rig *r)
{
    bool moved = true;
    while (moved) {
        moved = false;
        while (smtp_client_next_event(&r->c, 0, &r->event)) {
            moved = true;
            if (r->event.kind == SMTP_CLIENT_RECIPIENT)
                r->told[r->event.outcome->result]++;
            r->finished += r->event.kind == SMTP_CLIENT_FINISHED;
            r->closed += r->event.kind == SMTP_CLIENT_CLOSED;
            r->ready += r->event.kind == SMTP_CLIENT_READY;
            r->want_body += r->event.kind == SMTP_CLIENT_WANT_BODY;
        }
        if (smtp_client_output(&r->c).n > 0) {
            flush(r);
            moved = true;
        }
    }
}

static void say(struct rig *r, const char *text)
{
    smtp_client_feed(&r->c, span_str(text), 0);
    run(r);
}

static void greet(struct rig *r, const char *capabilities)
{
    say(r, "220 mx\r\n");
    char reply[512];
    (void)snprintf(reply, sizeof reply, "250-mx\r\n%s", capabilities);
    say(r, reply);
    assert_int_equal(r->ready, 1);
    buf_reset(&r->wire);
}

static const struct smtp_client_recipient one = {.address = {(const uint8_t *)"b@b.example", 11}};
static const struct smtp_client_transaction simple = {.recipients = &one, .recipient_count = 1};

static void begin_body(struct rig *r)
{
    struct err e;
    assert_true(smtp_client_start(&r->c, &simple, 0, &e));
    run(r);
    say(r, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_int_equal(r->want_body, 1);
    buf_reset(&r->wire);
}

static void a_large_message_waits_for_the_wire_and_arrives_whole(void **state)
{
    (void)state;
    enum { SIZE = 3 << 20 };
    struct rig r;
    rig_open(&r, (struct smtp_client_options){.output_max = 8192});
    greet(&r, "250 PIPELINING\r\n");
    begin_body(&r);
    /* Lines of dots, the worst case, and some long ones. */
    uint8_t *message = malloc(SIZE);
    assert_non_null(message);
    size_t n = 0;
    for (unsigned i = 0; n + 200 < SIZE; i++) {
        size_t length = i % 7 == 0 ? 150 : i % 5;
        memset(message + n, '.', length);
        n += length;
        message[n++] = '\r';
        message[n++] = '\n';
    }
    struct span left = span_of(message, n);
    size_t stalls = 0;
    while (smtp_client_state(&r.c) == SMTP_CLIENT_IN_BODY) {
        size_t taken = smtp_client_body(&r.c, left, true, 0);
        assert_true(smtp_client_output(&r.c).n <= 8192);
        left = span_from(left, taken);
        if (taken == 0) { /* full: no event until something was written */
            stalls++;
            assert_false(smtp_client_next_event(&r.c, 0, &r.event));
            flush(&r);
            assert_true(smtp_client_next_event(&r.c, 0, &r.event));
            assert_int_equal(r.event.kind, SMTP_CLIENT_WANT_BODY);
        }
    }
    assert_true(stalls > 100);
    run(&r);
    /* The receiving side undoes it. */
    struct smtp_data_decoder decoder;
    smtp_data_decoder_init(&decoder, SMTP_DATA_DOTS, SMTP_BARE_LF_REJECT);
    struct span wire = buf_span(&r.wire);
    size_t at = 0;
    bool end = false;
    while (wire.n > 0 && !end) {
        struct smtp_data_piece piece = smtp_data_decode(&decoder, wire);
        assert_true(at + piece.out.n <= n);
        assert_memory_equal(piece.out.p, message + at, piece.out.n);
        at += piece.out.n;
        end = piece.end;
        wire = span_from(wire, piece.used);
    }
    assert_true(end && wire.n == 0 && at == n && !decoder.refused);
    say(&r, "250 ok\r\n");
    assert_int_equal(r.told[SMTP_CLIENT_DELIVERED], 1);
    free(message);
    rig_close(&r);
}

static void thousands_of_recipients_are_pipelined_within_the_output_bound(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct rig r;
    rig_open(&r, (struct smtp_client_options){.output_max = 4096});
    greet(&r, "250 PIPELINING\r\n");
    struct smtp_client_recipient *recipients = calloc(COUNT, sizeof *recipients);
    char(*address)[40] = calloc(COUNT, sizeof *address);
    assert_true(recipients != NULL && address != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(address[i], sizeof *address, "user%zu@b.example", i);
        recipients[i].address = span_str(address[i]);
    }
    struct smtp_client_transaction t = {.recipients = recipients, .recipient_count = COUNT};
    struct err e;
    assert_true(smtp_client_start(&r.c, &t, 0, &e));
    assert_true(smtp_client_output(&r.c).n < 4096 + 64);
    run(&r); /* all are in flight before a single reply */
    assert_true(span_ends_nocase(buf_span(&r.wire), "RCPT TO:<user4999@b.example>\r\nDATA\r\n"));
    say(&r, "250 ok\r\n");
    for (size_t i = 0; i < COUNT; i++)
        say(&r, i % 10 == 9 ? "550 no\r\n" : "250 ok\r\n");
    assert_int_equal(r.told[SMTP_CLIENT_FAILED], COUNT / 10);
    say(&r, "354 go\r\n");
    assert_int_equal(r.want_body, 1);
    assert_int_equal(smtp_client_body(&r.c, span_str("x"), true, 0), 1);
    run(&r);
    say(&r, "250 ok\r\n");
    assert_int_equal(r.told[SMTP_CLIENT_DELIVERED], COUNT - COUNT / 10);
    assert_int_equal(r.finished, 1);
    free(recipients);
    free(address);
    rig_close(&r);
}

static void replies_are_bounded(void **state)
{
    (void)state;
    struct rig r;
    char line[5000];
    rig_open(&r, (struct smtp_client_options){0}); /* too many lines */
    for (int i = 0; i < SMTP_REPLY_LINES_MAX + 2 && r.closed == 0; i++)
        say(&r, "220-x\r\n");
    assert_int_equal(r.closed, 1);
    assert_int_equal(r.event.outcome->result, SMTP_CLIENT_DEFERRED);
    rig_close(&r);
    rig_open(&r, (struct smtp_client_options){0}); /* too long a line */
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "220 ", 4);
    line[sizeof line - 1] = '\0';
    say(&r, line);
    assert_int_equal(r.closed, 1);
    rig_close(&r);
    rig_open(&r, (struct smtp_client_options){0}); /* a line without end, by single bytes */
    say(&r, "220 ");
    for (int i = 0; i < 20000 && r.closed == 0; i++)
        say(&r, "y");
    assert_int_equal(r.closed, 1);
    rig_close(&r);
    rig_open(&r, (struct smtp_client_options){0}); /* a flood that nobody pulls */
    for (int i = 0; i < 1000; i++)
        smtp_client_feed(&r.c, span_of(line, sizeof line - 1), 0);
    run(&r);
    assert_int_equal(r.closed, 1);
    assert_string_equal(r.c.closing.text, "the next hop floods us with replies");
    rig_close(&r);
}

static void a_long_initial_response_waits_for_the_challenge(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, (struct smtp_client_options){.auth = true, .secured = true});
    say(&r, "220 mx\r\n");
    say(&r, "250-mx\r\n250 AUTH GSSAPI\r\n");
    assert_int_equal(r.event.kind, SMTP_CLIENT_AUTH_NEEDED);
    uint8_t token[3000];
    memset(token, 'k', sizeof token);
    buf_reset(&r.wire);
    smtp_client_auth(&r.c, "GSSAPI", true, span_of(token, sizeof token), 0);
    run(&r);
    assert_true(span_is(buf_span(&r.wire), "AUTH GSSAPI\r\n"));
    buf_reset(&r.wire);
    say(&r, "334 \r\n");
    struct span wire = buf_span(&r.wire);
    assert_int_equal(wire.n, 4002);
    assert_memory_equal(wire.p, "a2tra2tr", 8);
    say(&r, "235 ok\r\n");
    assert_int_equal(r.ready, 1);
    rig_close(&r);
}

static void credentials_are_wiped_as_they_are_sent(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, (struct smtp_client_options){.auth = true, .secured = true});
    say(&r, "220 mx\r\n");
    say(&r, "250-mx\r\n250 AUTH PLAIN\r\n");
    smtp_client_auth(&r.c, "PLAIN", true, span_of("\0user\0secret", 12), 0);
    assert_true(smtp_client_output_is_secret(&r.c));
    struct span out = smtp_client_output(&r.c);
    smtp_client_sent(&r.c, out.n, 0);
    assert_false(smtp_client_output_is_secret(&r.c));
    for (size_t i = 0; i < out.n; i++) /* the engine's memory is still there, its content is not */
        assert_int_equal(out.p[i], 0);
    rig_close(&r);
}

static void misuse_is_refused_and_harmless(void **state)
{
    (void)state;
    struct rig r;
    struct err e;
    struct smtp_client_options bad = {.hello_name = "relay example"};
    struct smtp_client c;
    assert_false(smtp_client_init(&c, &bad, 0, &e));
    bad.hello_name = "";
    assert_false(smtp_client_init(&c, &bad, 0, &e));
    bad.hello_name = NULL;
    assert_false(smtp_client_init(&c, &bad, 0, &e));
    rig_open(&r, (struct smtp_client_options){0});
    assert_false(smtp_client_start(&r.c, &simple, 0, &e)); /* before READY */
    assert_int_equal(e.class, ERR_BUG);
    greet(&r, "250 PIPELINING\r\n");
    smtp_client_auth(&r.c, "PLAIN", false, span_of(NULL, 0), 0);
    smtp_client_auth_answer(&r.c, span_str("x"), 0);
    smtp_client_auth_cancel(&r.c, 0);
    smtp_client_tls_started(&r.c, 0);
    smtp_client_tls_failed(&r.c, "x");
    assert_int_equal(smtp_client_body(&r.c, span_str("x"), true, 0), 0);
    run(&r);
    assert_int_equal(r.wire.n, 0);
    assert_int_equal(smtp_client_state(&r.c), SMTP_CLIENT_IN_READY);
    assert_true(smtp_client_start(&r.c, &simple, 0, &e));
    assert_false(smtp_client_start(&r.c, &simple, 0, &e));
    smtp_client_quit(&r.c, 0); /* in a transaction: gives up */
    run(&r);
    assert_int_equal(r.told[SMTP_CLIENT_DEFERRED], 1);
    assert_int_equal(r.finished, 1);
    assert_int_equal(r.closed, 1);
    smtp_client_feed(&r.c, span_str("250 late\r\n"), 0);
    smtp_client_lost(&r.c, NULL);
    smtp_client_abort(&r.c, NULL);
    assert_false(smtp_client_next_event(&r.c, 0, &r.event));
    rig_close(&r);
    smtp_client_deinit(NULL);
}

static void a_dot_still_in_our_hands_cannot_have_delivered(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, (struct smtp_client_options){0});
    greet(&r, "250 PIPELINING\r\n");
    begin_body(&r);
    assert_int_equal(smtp_client_body(&r.c, span_str("x"), true, 0), 1);
    smtp_client_sent(&r.c, smtp_client_output(&r.c).n - 1, 0); /* all but the last LF */
    smtp_client_lost(&r.c, "reset");
    assert_true(smtp_client_next_event(&r.c, 0, &r.event));
    assert_int_equal(r.event.kind, SMTP_CLIENT_RECIPIENT);
    assert_int_equal(r.event.outcome->result, SMTP_CLIENT_DEFERRED);
    assert_false(r.event.outcome->maybe_delivered);
    rig_close(&r);

    rig_open(&r, (struct smtp_client_options){0}); /* and a 250 for it is a lie */
    greet(&r, "250 PIPELINING\r\n");
    begin_body(&r);
    assert_int_equal(smtp_client_body(&r.c, span_str("x"), true, 0), 1);
    smtp_client_feed(&r.c, span_str("250 ok\r\n"), 0);
    assert_true(smtp_client_next_event(&r.c, 0, &r.event));
    assert_int_equal(r.event.outcome->result, SMTP_CLIENT_DEFERRED);
    assert_false(r.event.outcome->maybe_delivered);
    rig_close(&r);

    rig_open(&r, (struct smtp_client_options){0}); /* a refusal for it is understood */
    greet(&r, "250 PIPELINING\r\n");
    begin_body(&r);
    assert_int_equal(smtp_client_body(&r.c, span_str("x"), true, 0), 1);
    smtp_client_feed(&r.c, span_str("552 5.3.4 too big\r\n"), 0);
    run(&r);
    assert_int_equal(r.told[SMTP_CLIENT_FAILED], 1);
    assert_int_equal(r.closed, 1);
    assert_int_equal(r.wire.n, 0); /* the rest of the message was dropped, its dot too */
    rig_close(&r);
}

static void the_body_timer_begins_anew_with_progress(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, (struct smtp_client_options){.timeouts = {.body_ms = 100, .end_ms = 700}});
    greet(&r, "250 PIPELINING\r\n");
    begin_body(&r);
    assert_int_equal(smtp_client_deadline(&r.c), 100);
    assert_int_equal(smtp_client_body(&r.c, span_str("some text"), false, 50), 9);
    assert_int_equal(smtp_client_deadline(&r.c), 100);
    smtp_client_sent(&r.c, 1, 60);
    assert_int_equal(smtp_client_deadline(&r.c), 160);
    smtp_client_timeout(&r.c, 159);
    assert_int_equal(smtp_client_state(&r.c), SMTP_CLIENT_IN_BODY);
    assert_int_equal(smtp_client_body(&r.c, span_str(""), true, 200), 0);
    assert_int_equal(smtp_client_deadline(&r.c), 900);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_message_waits_for_the_wire_and_arrives_whole),
        cmocka_unit_test(thousands_of_recipients_are_pipelined_within_the_output_bound),
        cmocka_unit_test(replies_are_bounded),
        cmocka_unit_test(a_long_initial_response_waits_for_the_challenge),
        cmocka_unit_test(credentials_are_wiped_as_they_are_sent),
        cmocka_unit_test(misuse_is_refused_and_harmless),
        cmocka_unit_test(a_dot_still_in_our_hands_cannot_have_delivered),
        cmocka_unit_test(the_body_timer_begins_anew_with_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
