/* Routing without memory, at every single allocation of building and deciding: no crash, no leak,
 * and no route but the right one - mail for a local domain must not go out, nor a demand for TLS or
 * a login get lost. */
#include "support/test.h"

#include "support/no_memory.h"

#include <idn2.h>

/* libidn2 allocates inside its library: here it is made to say that it could not. */
static int lookup_or_not(const uint8_t *name, uint8_t **out, int flags)
{
    *out = NULL;
    return refuse_allocation() ? IDN2_MALLOC : idn2_lookup_u8(name, out, flags);
}

#define idn2_lookup_u8 lookup_or_not
#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "base/arena.c"

#include "route/decide.c"
#include "route/hosts.c"
#include "route/idna.c"
#include "route/policy.c"
#undef realloc
#undef calloc
#undef malloc
#undef free
#undef idn2_lookup_u8

#define COUNT(v) (sizeof(v) / sizeof *(v))

static const struct route_domain_options domains[] = {
    {.name = "example.net", .local = true, .credentials = ROUTE_NO_CREDENTIALS, .at = {"p", 1, 1}},
    {.name = "b\xc3\xbc"
             "cher.example",
     .local = true,
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p", 2, 1}},
    {.name = "*.partner.example",
     .smart_host = "mx1.partner.example:2525, [10.0.0.9]",
     .tls_set = true,
     .tls = ROUTE_TLS_VERIFY,
     .credentials = 1,
     .at = {"p", 3, 1},
     .smart_host_at = {"p", 4, 1}},
    {.name = "secret.example",
     .tls_set = true,
     .tls = ROUTE_TLS_REQUIRED,
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p", 5, 1}},
    {.name = "m\xc3\xbcller.example",
     .smart_host = "r\xc3\xa9lais.example",
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p", 6, 1}},
};
static const struct route_options options = {
    .hostname = "r\xc3\xa9lay.example.org",
    .domains = domains,
    .n_domains = COUNT(domains),
    .smart_host = "smart.example, sm\xc3\xa4rt.example:587",
    .smart_host_at = {"p", 7, 1},
    .delivery_at = {"p", 8, 1},
    .direct_first = true,
    .tls = ROUTE_TLS_OPTIONAL,
    .credentials = 0,
    .masquerade = "m\xc3\xa4sk.example",
    .masquerade_at = {"p", 9, 1},
};

static const struct {
    const char *local, *domain;
} recipients[] = {
    {"a", "example.net"},
    {"a", "EXAMPLE.net"},
    {"a", "b\xc3\xbc"
          "cher.example"},
    {"a", "xn--bcher-kva.example"},
    {"a", "x.partner.example"},
    {"a", "partner.example"},
    {"a", "secret.example"},
    {"a", "m\xc3\xbcller.example"},
    {"postmaster", "r\xc3\xa9lay.example.org"},
    {"a", "far.example"},
    {"a", "[192.0.2.1]"},
};
static struct route full[COUNT(recipients)];

static void ask_all(const struct route_policy *policy)
{
    static struct route r;
    for (size_t i = 0; i < COUNT(recipients); i++) {
        struct err e = {0};
        bool ok = route_decide(policy, span_str(recipients[i].local),
                               span_str(recipients[i].domain), &r, &e);
        if (ok)
            assert_memory_equal(&r, &full[i], sizeof r);
        else
            assert_int_equal(e.class, ERR_TEMP);
    }
}

static void ask_with_all_memory(void)
{
    struct route_policy *policy = NULL;
    struct route_problem problems[8];
    struct err e = {0};
    struct span masquerade;
    size_t n;
    fail_allocation(0, false);
    if (!route_policy_new(&options, &policy, problems, COUNT(problems), &n, &e))
        fail_msg("%s: %s", e.text, n > 0 ? problems[0].text : "");
    for (size_t i = 0; i < COUNT(recipients); i++)
        assert_true(route_decide(policy, span_str(recipients[i].local),
                                 span_str(recipients[i].domain), &full[i], &e));
    static const enum route_kind kinds[COUNT(recipients)] = {
        ROUTE_DROP, ROUTE_DROP,  ROUTE_DROP, ROUTE_DROP, ROUTE_HOSTS, ROUTE_MX,
        ROUTE_MX,   ROUTE_HOSTS, ROUTE_DROP, ROUTE_MX,   ROUTE_HOSTS};
    for (size_t i = 0; i < COUNT(recipients); i++)
        if (full[i].steps[0].kind != kinds[i])
            fail_msg("recipient %zu goes another way", i);
    assert_true(route_masquerade(policy, span_str("example.net"), &masquerade));
    assert_true(span_is(masquerade, "xn--msk-qla.example"));
    route_policy_free(&policy);
    assert_int_equal(blocks_held, 0);
}

static bool build_without(long nth, bool once, size_t *failed)
{
    struct route_policy *policy = NULL;
    struct route_problem problems[8];
    struct err e = {0};
    size_t n;
    fail_allocation(nth, once);
    bool ok = route_policy_new(&options, &policy, problems, COUNT(problems), &n, &e);
    bool out = ran_out;
    fail_allocation(0, false);
    if (ok) {
        ask_all(policy);
    } else {
        assert_null(policy);
        assert_int_equal(e.class, ERR_TEMP); /* not told as a fault of the file */
        (*failed)++;
    }
    route_policy_free(&policy);
    assert_int_equal(blocks_held, 0);
    return out;
}

static void a_policy_is_built_whole_or_not_at_all(void **state)
{
    (void)state;
    size_t failed = 0;
    long nth = 1, once = 1;
    ask_with_all_memory();
    while (build_without(nth, false, &failed))
        nth++;
    while (build_without(once, true, &failed))
        once++;
    print_message("%ld allocations failed, for good and once; %zu policies refused\n", nth - 1,
                  failed);
    assert_true(nth > 10 && once == nth && failed == 2 * (size_t)(nth - 1));
}

static void a_decision_is_the_right_one_or_waits_for_memory(void **state)
{
    (void)state;
    struct route_policy *policy = NULL;
    struct route_problem problems[8];
    struct err e = {0};
    size_t n;
    ask_with_all_memory();
    assert_true(route_policy_new(&options, &policy, problems, COUNT(problems), &n, &e));
    long nth = 1;
    for (bool out = true; out; nth++) {
        fail_allocation(nth, nth % 2 == 0);
        ask_all(policy);
        out = ran_out;
        fail_allocation(0, false);
    }
    assert_true(nth > 3);
    route_policy_free(&policy);
    assert_int_equal(blocks_held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_is_built_whole_or_not_at_all),
        cmocka_unit_test(a_decision_is_the_right_one_or_waits_for_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
