#include "base/account_protocol.h"
#include "base/token_bucket.h"
#include "support/test.h"

enum { RESULTS = 8 };

static struct account_question verify_question(void)
{
    return (struct account_question){.act = ACCOUNT_VERIFY,
                                     .deadline_ms = 5000,
                                     .service = span_str("postern"),
                                     .account = span_str("lou"),
                                     .password = span_str("L0u-pw!")};
}

static void assert_same(const struct account_question *a, const struct account_question *b)
{
    assert_int_equal(a->act, b->act);
    assert_int_equal(a->deadline_ms, b->deadline_ms);
    assert_true(span_equal(a->service, b->service));
    assert_true(span_equal(a->domain, b->domain));
    assert_true(span_equal(a->account, b->account));
    assert_true(span_equal(a->password, b->password));
    assert_int_equal(a->group_count, b->group_count);
    for (size_t i = 0; i < a->group_count; i++)
        assert_true(span_equal(a->groups[i], b->groups[i]));
}

static void a_question_comes_back_as_it_was(void **state)
{
    (void)state;
    struct account_question out, q = verify_question();
    uint8_t bytes[ACCOUNT_QUESTION_MAX];
    q.domain = span_str("CORP");
    q.groups[0] = span_str("relay-users");
    q.groups[1] = span_str("Domain Users");
    q.group_count = 2;
    size_t n = account_question_format(&q, bytes, sizeof bytes);
    assert_int_equal(n, 4 + 4 + 9 + 6 + 5 + 9 + 1 + 13 + 14);
    assert_int_equal(account_question_parse(span_of(bytes, n), &out), ACCOUNT_PARSED_WHOLE);
    assert_same(&q, &out);
}

static void the_largest_question_fits(void **state)
{
    (void)state;
    static char name[ACCOUNT_NAME_MAX], service[ACCOUNT_SERVICE_MAX],
        password[ACCOUNT_PASSWORD_MAX];
    memset(name, 'n', sizeof name);
    memset(service, 's', sizeof service);
    memset(password, 'p', sizeof password);
    struct account_question out, q = verify_question();
    q.service = span_of(service, sizeof service);
    q.account = q.domain = span_of(name, sizeof name);
    q.password = span_of(password, sizeof password);
    for (q.group_count = 0; q.group_count < ACCOUNT_GROUPS_MAX; q.group_count++)
        q.groups[q.group_count] = q.account;
    uint8_t bytes[ACCOUNT_QUESTION_MAX];
    size_t n = account_question_format(&q, bytes, sizeof bytes);
    assert_int_equal(n, ACCOUNT_QUESTION_MAX);
    assert_int_equal(account_question_parse(span_of(bytes, n), &out), ACCOUNT_PARSED_WHOLE);
    assert_same(&q, &out);
    for (size_t room = 0; room < n; room++)
        assert_int_equal(account_question_format(&q, bytes, room), 0);
}

static void any_beginning_of_a_question_wants_more(void **state)
{
    (void)state;
    struct account_question out, q = verify_question();
    uint8_t bytes[ACCOUNT_QUESTION_MAX];
    size_t n = account_question_format(&q, bytes, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(account_question_parse(span_of(bytes, i), &out), ACCOUNT_PARSED_MORE);
    bytes[n] = 0;
    assert_int_equal(account_question_parse(span_of(bytes, n + 1), &out), ACCOUNT_PARSED_WRONG);
}

/* Each byte of a question set to each value: parsed whole only where it formats to the same. */
static void a_changed_byte_is_refused_or_means_something_else(void **state)
{
    (void)state;
    struct account_question out, q = verify_question();
    q.groups[q.group_count++] = span_str("mail");
    uint8_t bytes[ACCOUNT_QUESTION_MAX], again[ACCOUNT_QUESTION_MAX];
    size_t n = account_question_format(&q, bytes, sizeof bytes), refused = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t was = bytes[i];
        for (unsigned value = 0; value < 256; value++) {
            bytes[i] = (uint8_t)value;
            if (account_question_parse(span_of(bytes, n), &out) != ACCOUNT_PARSED_WHOLE) {
                refused++;
                continue;
            }
            assert_int_equal(account_question_format(&out, again, sizeof again), n);
            assert_memory_equal(bytes, again, n);
        }
        bytes[i] = was;
    }
    assert_true(refused > n * 20);
}

static void what_no_question_may_be(void **state)
{
    (void)state;
    uint8_t bytes[ACCOUNT_QUESTION_MAX];
    static const char *const services[] = {"",           ".",   "..",    "a/b",
                                           "../postern", "a b", "post.", "\n"};
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        struct account_question q = verify_question();
        q.service = span_str(services[i]);
        assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    }
    struct account_question q = verify_question();
    q.password = span_str("");
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q.password = span_of("a\0b", 3);
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q = verify_question();
    q.account = span_of("lou\0root", 8);
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q.account = span_str("");
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q = verify_question();
    q.act = ACCOUNT_MEMBER; /* has a password */
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q.act = ACCOUNT_READY;
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q = verify_question();
    q.groups[q.group_count++] = span_str("");
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
    q.group_count = ACCOUNT_GROUPS_MAX + 1;
    assert_int_equal(account_question_format(&q, bytes, sizeof bytes), 0);
}

static void a_length_beyond_the_greatest_is_refused_at_the_head(void **state)
{
    (void)state;
    struct account_question q;
    struct account_answer a;
    const uint8_t head[] = {1, ACCOUNT_VERIFY, 0xff, 0xff}, other[] = {2};
    assert_int_equal(account_question_parse(span_of(head, 4), &q), ACCOUNT_PARSED_WRONG);
    assert_int_equal(account_answer_parse(span_of(head, 4), RESULTS, &a), ACCOUNT_PARSED_WRONG);
    assert_int_equal(account_question_parse(span_of(other, 1), &q), ACCOUNT_PARSED_WRONG);
    assert_int_equal(account_answer_parse(span_of(other, 1), RESULTS, &a), ACCOUNT_PARSED_WRONG);
}

static void an_answer_comes_back_as_it_was(void **state)
{
    (void)state;
    struct account_answer out, a = {.result = 3, .text = span_str("the password has expired")};
    uint8_t bytes[ACCOUNT_ANSWER_MAX + 1];
    size_t n = account_answer_format(&a, bytes, sizeof bytes);
    assert_int_equal(n, 4 + a.text.n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(account_answer_parse(span_of(bytes, i), RESULTS, &out),
                         ACCOUNT_PARSED_MORE);
    assert_int_equal(account_answer_parse(span_of(bytes, n), RESULTS, &out), ACCOUNT_PARSED_WHOLE);
    assert_int_equal(out.result, 3);
    assert_true(span_equal(out.text, a.text));
    assert_int_equal(account_answer_parse(span_of(bytes, n), 3, &out), ACCOUNT_PARSED_WRONG);
    assert_int_equal(account_answer_parse(span_of(bytes, n + 1), RESULTS, &out),
                     ACCOUNT_PARSED_WRONG);
    assert_int_equal(account_answer_format(&a, bytes, n - 1), 0);
    static const uint8_t much[ACCOUNT_TEXT_MAX + 1];
    a.text = span_of(much, sizeof much);
    assert_int_equal(account_answer_format(&a, bytes, sizeof bytes), 0);
}

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
    (void)state;
    const struct token_bucket_rate rate = {.burst = 3, .per_minute = 60};
    struct token_bucket b = {0};
    uint64_t now = 1000000;
    for (int i = 0; i < 3; i++)
        assert_true(token_bucket_take(&b, &rate, now));
    assert_false(token_bucket_take(&b, &rate, now));
    assert_false(token_bucket_take(&b, &rate, now + 999));
    assert_true(token_bucket_take(&b, &rate, now + 1000));
    assert_false(token_bucket_take(&b, &rate, now + 1000));
    assert_false(token_bucket_is_full(&b, &rate, now + 3999));
    assert_true(token_bucket_is_full(&b, &rate, now + 4000));
    token_bucket_give_back(&b);
    assert_true(token_bucket_take(&b, &rate, now + 1000));
}

static void a_bucket_that_waits_for_ever_overflows_nothing(void **state)
{
    (void)state;
    const struct token_bucket_rate rate = {.burst = 2, .per_minute = UINT32_MAX};
    const struct token_bucket_rate never = {.burst = 1, .per_minute = 0};
    struct token_bucket b = {0}, c = {0};
    assert_true(token_bucket_take(&b, &rate, 5));
    assert_true(token_bucket_take(&b, &rate, UINT64_MAX));
    assert_true(token_bucket_take(&b, &rate, 0)); /* a clock that went back gives nothing */
    assert_false(token_bucket_take(&b, &rate, 0));
    assert_true(token_bucket_take(&c, &never, 1));
    assert_false(token_bucket_take(&c, &never, UINT64_MAX));
    token_bucket_give_back(&c);
    token_bucket_give_back(&c); /* one too many: no more than full */
    assert_true(token_bucket_take(&c, &never, 2));
    assert_false(token_bucket_take(&c, &never, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_comes_back_as_it_was),
        cmocka_unit_test(the_largest_question_fits),
        cmocka_unit_test(any_beginning_of_a_question_wants_more),
        cmocka_unit_test(a_changed_byte_is_refused_or_means_something_else),
        cmocka_unit_test(what_no_question_may_be),
        cmocka_unit_test(a_length_beyond_the_greatest_is_refused_at_the_head),
        cmocka_unit_test(an_answer_comes_back_as_it_was),
        cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
        cmocka_unit_test(a_bucket_that_waits_for_ever_overflows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
