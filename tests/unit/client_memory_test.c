/* The client engine without memory, at every single allocation: the connection ends with a
 * temporary verdict, no recipient is lost or wrongly told, nothing half goes out. */
#include "support/test.h"

#include "support/no_memory.h"

/* What the engine allocates by, compiled here so that it can be made to fail. */
#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "base/buf.c"
#include "base/secret.c"
#include "smtp/client_transaction.c"
#undef realloc
#undef calloc
#undef malloc
#undef free

enum { RECIPIENTS = 3, BLOCKS = 7 };

struct result {
    size_t told[RECIPIENTS];
    bool started, start_failed, finished, closed;
    enum smtp_client_result results[RECIPIENTS], why;
    char wire[65536];
    size_t wire_n;
};

static const struct smtp_client_recipient recipients[RECIPIENTS] = {
    {.address = {(const uint8_t *)"b@b.example", 11}},
    {.address = {(const uint8_t *)"no@b.example", 12}},
    {.address = {(const uint8_t *)"c@b.example", 11}},
};
static const struct smtp_client_transaction transaction = {
    .sender = {(const uint8_t *)"a@a.example", 11},
    .recipients = recipients,
    .recipient_count = RECIPIENTS,
};
static uint8_t body[20000];
static uint8_t initial[600]; /* too long for the AUTH line: kept until the empty challenge */

static void act(struct smtp_client *c, const struct smtp_client_event *event, struct result *r)
{
    struct err e;
    switch (event->kind) {
    case SMTP_CLIENT_AUTH_NEEDED:
        smtp_client_auth(c, "PLAIN", true, span_of(initial, sizeof initial), 0);
        break;
    case SMTP_CLIENT_AUTH_CHALLENGE: smtp_client_auth_answer(c, span_str("x"), 0); break;
    case SMTP_CLIENT_AUTH_REFUSED: smtp_client_auth_skip(c); break;
    case SMTP_CLIENT_READY:
        if (r->started || !smtp_client_start(c, &transaction, 0, &e)) {
            r->start_failed = !r->started;
            smtp_client_quit(c, 0);
        } else {
            r->started = true;
        }
        break;
    case SMTP_CLIENT_WANT_BODY:
        assert_int_equal(smtp_client_body(c, span_of(body, sizeof body), true, 0) % sizeof body, 0);
        break;
    case SMTP_CLIENT_RECIPIENT:
        r->told[event->recipient]++;
        r->results[event->recipient] = event->outcome->result;
        break;
    case SMTP_CLIENT_FINISHED: r->finished = true; break;
    case SMTP_CLIENT_CLOSED:
        r->closed = true;
        r->why = event->outcome->result;
        break;
    case SMTP_CLIENT_AUTH_OK:
    case SMTP_CLIENT_WANT_TLS: break;
    }
}

static void run(struct smtp_client *c, struct result *r)
{
    struct smtp_client_event event;
    bool moved = true;
    while (moved) {
        moved = false;
        while (smtp_client_next_event(c, 0, &event)) {
            act(c, &event, r);
            moved = true;
        }
        struct span out = smtp_client_output(c);
        assert_true(r->wire_n + out.n < sizeof r->wire);
        if (out.n > 0) {
            memcpy(r->wire + r->wire_n, out.p, out.n);
            r->wire_n += out.n;
            smtp_client_sent(c, out.n, 0);
            moved = true;
        }
    }
}

static void play(struct result *r)
{
    /* Each block answers what is out by then; a long text makes the parser's buffers grow. */
    static const char *const blocks[BLOCKS] = {
        "220 mx\r\n",
        "250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
        "334 \r\n",
        "334 YQ==\r\n",
        "235 ok\r\n",
        "250 ok\r\n250 ok\r\n550-5.1.1 a long text that needs some room in the parser and is "
        "followed\r\n"
        "550 5.1.1 by more of it, so that its buffer has to grow\r\n250 ok\r\n354 go\r\n",
        "250 queued\r\n",
    };
    struct smtp_client c;
    struct smtp_client_options options = {
        .hello_name = "relay.example.net", .auth = true, .secured = true};
    struct err e;
    memset(r, 0, sizeof *r);
    assert_true(smtp_client_init(&c, &options, 0, &e));
    for (size_t i = 0; i < BLOCKS && !r->closed; i++) {
        struct span block = span_str(blocks[i]);
        for (size_t k = 0; k < block.n; k += 5) { /* in pieces, so that lines are kept */
            smtp_client_feed(&c, span_sub(block, k, 5), 0);
            run(&c, r);
        }
    }
    if (!r->closed) {
        smtp_client_lost(&c, "end");
        run(&c, r);
    }
    smtp_client_deinit(&c);
}

static bool wire_holds(const struct result *r, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= r->wire_n; i++)
        if (memcmp(r->wire + i, text, n) == 0)
            return true;
    return false;
}

static void check(const struct result *r, long limit)
{
    assert_true(r->closed);
    if (r->wire_n > 0) /* whole lines only */
        assert_int_equal(r->wire[r->wire_n - 1], '\n');
    if (r->started) {
        assert_true(r->finished);
        for (size_t i = 0; i < RECIPIENTS; i++)
            if (r->told[i] != 1)
                fail_msg("allocation %ld: recipient %zu was told %zu times", limit, i, r->told[i]);
        if (r->results[0] == SMTP_CLIENT_DELIVERED) /* then all of it went out */
            assert_true(r->wire_n > sizeof body && wire_holds(r, "\r\n.\r\n"));
        assert_true(r->results[0] != SMTP_CLIENT_FAILED && r->results[2] != SMTP_CLIENT_FAILED);
        assert_true(r->results[1] != SMTP_CLIENT_DELIVERED);
    }
}

static void without_memory_at_any_allocation_the_mail_is_deferred(void **state)
{
    (void)state;
    static struct result r;
    memset(body, 'x', sizeof body);
    memset(initial, 'k', sizeof initial);
    long limit = 1, deferred = 0;
    for (;; limit++) {
        fail_allocation(limit, false);
        play(&r);
        bool limited = ran_out;
        fail_allocation(0, false);
        assert_int_equal(blocks_held, 0);
        check(&r, limit);
        if (!limited)
            break;
        deferred += !r.started || r.results[0] == SMTP_CLIENT_DEFERRED;
    }
    print_message("%ld allocations failed one after the other, %ld deferred\n", limit - 1,
                  deferred);
    assert_true(limit > 10 && deferred > 10);
    assert_int_equal(r.results[0], SMTP_CLIENT_DELIVERED);
    assert_int_equal(r.results[1], SMTP_CLIENT_FAILED);
    assert_int_equal(r.results[2], SMTP_CLIENT_DELIVERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_at_any_allocation_the_mail_is_deferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
