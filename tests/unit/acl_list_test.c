/* The access list as a container: problems with their places, memory, sealing, ownership. */
#include "support/test.h"

#include "acl/acl.h"

static struct acl_entry_source source(const char *text, unsigned line)
{
    return (struct acl_entry_source){span_str(text), "hosts.txt", line, 7};
}

static void every_fault_is_told_with_its_place_and_the_rest_goes_in(void **state)
{
    (void)state;
    struct acl_entry_source entries[] = {source("10.0.0.1", 1), source("10.0.0.256", 2),
                                         source("", 3), source("/(/", 4), source("a.example", 5)};
    struct acl_problems problems;
    struct err e;
    struct acl_list *list = acl_list_new(NULL, 0);
    acl_problems_init(&problems);
    assert_true(acl_list_add(list, entries, 5, &problems, &e));
    assert_int_equal(acl_list_count(list), 2);
    assert_int_equal(problems.n, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(problems.v[i].file, "hosts.txt");
        assert_int_equal(problems.v[i].line, i + 2);
        assert_int_equal(problems.v[i].column, 7);
        assert_non_null(strstr(problems.v[i].text, "expected"));
    }
    acl_problems_deinit(&problems);
    acl_list_free(&list);
    assert_null(list);
}

static void problems_past_the_maximum_are_counted(void **state)
{
    (void)state;
    struct acl_problems problems;
    struct err e;
    struct acl_list *list = acl_list_new(NULL, 0);
    acl_problems_init(&problems);
    for (unsigned i = 0; i < ACL_PROBLEMS_MAX + 5; i++) {
        struct acl_entry_source bad = source("no host", i + 1);
        assert_true(acl_list_add(list, &bad, 1, &problems, &e));
    }
    assert_int_equal(problems.n, ACL_PROBLEMS_MAX);
    assert_int_equal(problems.left_out, 5);
    acl_problems_deinit(&problems);
    acl_list_free(&list);
}

static struct acl_list *many(size_t n, bool v6)
{
    struct acl_problems problems;
    struct err e;
    char text[64];
    struct acl_list *list = acl_list_new(NULL, 0);
    acl_problems_init(&problems);
    for (size_t i = 0; i < n; i++) { /* every second address, so nothing merges */
        uint32_t a = (uint32_t)i * 2;
        if (v6)
            (void)snprintf(text, sizeof text, "2001:db8::%x:%x", (unsigned)(a >> 16),
                           (unsigned)(a & 0xffff));
        else
            (void)snprintf(text, sizeof text, "10.%u.%u.%u", (unsigned)(a >> 16 & 255),
                           (unsigned)(a >> 8 & 255), (unsigned)(a & 255));
        struct acl_entry_source one = source(text, (unsigned)i + 1);
        assert_true(acl_list_add(list, &one, 1, &problems, &e));
    }
    assert_int_equal(problems.n, 0);
    assert_true(acl_list_seal(list, &e));
    acl_problems_deinit(&problems);
    return list;
}

static void an_address_entry_costs_less_than_64_bytes(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        struct acl_names none = {.state = FACT_ABSENT};
        struct netaddr client;
        struct acl_hit hit;
        struct acl_list *list = many(20000, v6 != 0);
        assert_int_equal(acl_list_count(list), 20000);
        assert_true(acl_list_memory(list) < 20000 * 64);
        assert_true(netaddr_parse(span_str(v6 ? "2001:db8::100" : "10.0.1.0"), &client));
        assert_int_equal(acl_list_match(list, &client, &none, &hit), ACL_MATCH_YES);
        assert_int_equal(hit.at.line, 129);
        assert_string_equal(hit.text, v6 ? "2001:db8::100" : "10.0.1.0");
        client.b[15]++;
        assert_int_equal(acl_list_match(list, &client, &none, &hit), ACL_MATCH_NO);
        acl_list_free(&list);
    }
}

static void a_sealed_list_takes_no_more(void **state)
{
    (void)state;
    struct acl_problems problems;
    struct acl_entry_source one = source("10.0.0.1", 1);
    struct err e;
    struct acl_list *list = many(3, false);
    acl_problems_init(&problems);
    assert_true(acl_list_seal(list, &e));
    assert_false(acl_list_add(list, &one, 1, &problems, &e));
    assert_int_equal(e.class, ERR_BUG);
    acl_list_free(&list);
}

static void a_long_name_among_many_is_found_by_itself_and_by_its_domain(void **state)
{
    (void)state;
    struct acl_problems problems;
    struct err e;
    char text[64];
    struct acl_list *list = acl_list_new(NULL, 0);
    acl_problems_init(&problems);
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "host%u.example" : "*.net%u.example", i);
        struct acl_entry_source one = source(text, i + 1);
        assert_true(acl_list_add(list, &one, 1, &problems, &e));
    }
    assert_int_equal(problems.n, 0);
    assert_true(acl_list_seal(list, &e));
    struct netaddr client = netaddr_v4((const uint8_t[4]){192, 0, 2, 7});
    for (unsigned i = 0; i < 5000; i += 7) {
        struct acl_hit hit;
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "Host%u.example" : "a.b.NET%u.example", i);
        struct span name = span_str(text);
        struct acl_names names = {FACT_VALUE, &name, 1};
        assert_int_equal(acl_list_match(list, &client, &names, &hit), ACL_MATCH_YES);
        assert_int_equal(hit.at.line, i + 1);
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "xhost%u.example" : "net%u.example", i);
        name = span_str(text);
        assert_int_equal(acl_list_match(list, &client, &names, &hit), ACL_MATCH_NO);
    }
    acl_problems_deinit(&problems);
    acl_list_free(&list);
}

static void a_refused_policy_leaves_the_lists_to_the_caller(void **state)
{
    (void)state;
    struct acl_problems problems;
    struct acl_policy *policy = NULL;
    struct err e;
    struct acl_domain_options domains[] = {{.name = "not a domain", .at = {"p.yaml", 9, 3}},
                                           {.name = NULL, .at = {"p.yaml", 10, 3}}};
    struct acl_options options = {
        .connection = {.list = many(3, false)}, .domains = domains, .n_domains = 2};
    acl_problems_init(&problems);
    assert_false(acl_policy_new(&options, &policy, &problems, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_null(policy);
    assert_non_null(options.connection.list);
    assert_int_equal(problems.n, 2);
    assert_int_equal(problems.v[0].line, 9);
    assert_int_equal(problems.v[1].line, 10);
    domains[0].name = "a.example";
    domains[1].name = "b.example";
    assert_true(acl_policy_new(&options, &policy, &problems, &e));
    assert_null(options.connection.list);
    assert_string_equal(acl_postmaster_domain(policy), "a.example");
    acl_policy_free(&policy);
    acl_problems_deinit(&problems);
}

static void a_hostile_recipient_cannot_break_the_reply_line(void **state)
{
    (void)state;
    struct acl_problems problems;
    struct acl_policy *policy;
    struct acl_reason r;
    struct err e;
    char local[400];
    struct acl_options options = {.hostname = "relay.example", .anonymous = true};
    acl_problems_init(&problems);
    options.relay.grant = ACL_ONLY;
    assert_true(acl_policy_new(&options, &policy, &problems, &e));
    memset(local, 'x', sizeof local);
    memcpy(local, "a\r\n250 OK\x1b", 10);
    struct acl_facts facts = {.client = netaddr_v4((const uint8_t[4]){192, 0, 2, 7}),
                              .names = {.state = FACT_ABSENT},
                              .tls = FACT_ABSENT,
                              .identity_state = FACT_ABSENT,
                              .recipient = {.text = span_of(local, sizeof local),
                                            .local = span_of(local, sizeof local),
                                            .domain = span_str("v.example")}};
    assert_int_equal(acl_decide(policy, ACL_RCPT, &facts, &r), ACL_DENY);
    assert_true(strlen(r.text) < sizeof r.text);
    assert_non_null(strstr(r.text, "Unable to relay for a??250 OK?x"));
    for (const char *c = r.text; *c != '\0'; c++)
        assert_true((unsigned char)*c >= 0x20);
    acl_policy_free(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_told_with_its_place_and_the_rest_goes_in),
        cmocka_unit_test(problems_past_the_maximum_are_counted),
        cmocka_unit_test(an_address_entry_costs_less_than_64_bytes),
        cmocka_unit_test(a_sealed_list_takes_no_more),
        cmocka_unit_test(a_long_name_among_many_is_found_by_itself_and_by_its_domain),
        cmocka_unit_test(a_refused_policy_leaves_the_lists_to_the_caller),
        cmocka_unit_test(a_hostile_recipient_cannot_break_the_reply_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
