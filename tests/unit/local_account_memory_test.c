/* The client of the account helper and its backend without memory, at every single allocation: it
 * cannot be opened, says so as something that may pass, and leaves nothing behind; the questions
 * themselves need none. The protocol allocates nothing at all, so a question is put together and
 * read where there is no memory. */
#define _GNU_SOURCE
#include "support/test.h"

#include "support/no_memory.h"

#include <string.h>

static char *counted_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = counted_malloc(n);
    if (copy != NULL)
        memcpy(copy, text, n);
    return copy;
}

#undef strdup
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#define strdup counted_strdup
#include "auth/backend_system.c"
#include "base/account_protocol.c"
#include "posix/local_account_pam.c"
#undef strdup
#undef calloc
#undef malloc
#undef free

static const struct auth_domain joined = {
    .name = "CORP",
    .backend = AUTH_BACKEND_SYSTEM,
    .system = {"postern", "{domain}+{user}", "/nonexistent/helper.sock"},
};

static void what_cannot_be_opened_without_memory_says_so_and_leaves_nothing(void **state)
{
    (void)state;
    const struct auth_options options = {.domains = &joined, .domain_count = 1};
    long needed = 0;
    for (;; needed++) {
        struct auth_backend *b = NULL;
        struct err e = {0};
        fail_allocation(needed + 1, false);
        bool ok = backend_system_open(&options, &joined, &b, &e);
        fail_allocation(0, false);
        if (ok) {
            b->ops->close(b);
            assert_int_equal(blocks_held, 0);
            break;
        }
        assert_null(b);
        assert_int_equal(e.class, ERR_TEMP);
        assert_non_null(strstr(e.text, "no memory"));
        assert_int_equal(blocks_held, 0);
    }
    assert_int_equal(needed, 5); /* the backend, its domain, the client, two texts */
}

static void a_question_needs_no_memory(void **state)
{
    (void)state;
    const struct auth_options options = {.domains = &joined, .domain_count = 1};
    const char *const names[] = {"relay-users"};
    const struct backend_groups groups = {names, 1};
    char reason[BACKEND_REASON_MAX], cure[BACKEND_REASON_MAX];
    struct auth_backend *b = NULL;
    struct err e;
    assert_true(backend_system_open(&options, &joined, &b, &e));
    fail_allocation(1, false);
    assert_int_equal(b->ops->verify(b, "alice", span_str("pw"), &groups, reason),
                     BACKEND_UNAVAILABLE);
    assert_non_null(strstr(reason, "/nonexistent/helper.sock"));
    assert_int_equal(b->ops->member(b, "alice", &groups, reason), BACKEND_UNAVAILABLE);
    assert_false(b->ops->ready(b, reason, cure));
    assert_non_null(strstr(cure, "postern-accounts.socket"));
    fail_allocation(0, false);
    b->ops->close(b);
    assert_int_equal(blocks_held, 0);
}

static void the_protocol_needs_no_memory(void **state)
{
    (void)state;
    uint8_t bytes[ACCOUNT_QUESTION_MAX];
    const struct account_question q = {.act = ACCOUNT_VERIFY,
                                       .deadline_ms = 5000,
                                       .service = span_str("postern"),
                                       .domain = span_str("CORP\\{user}"),
                                       .account = span_str("alice"),
                                       .password = span_str("pw"),
                                       .groups = {span_str("relay-users")},
                                       .group_count = 1};
    struct account_question read;
    fail_allocation(1, false);
    size_t n = account_question_format(&q, bytes, sizeof bytes);
    enum account_parsed parsed = account_question_parse(span_of(bytes, n), &read);
    fail_allocation(0, false);
    assert_true(n > 0);
    assert_int_equal(parsed, ACCOUNT_PARSED_WHOLE);
    assert_true(span_is(read.domain, "CORP\\{user}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_opened_without_memory_says_so_and_leaves_nothing),
        cmocka_unit_test(a_question_needs_no_memory),
        cmocka_unit_test(the_protocol_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
