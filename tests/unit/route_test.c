/* Where mail goes: domains, smart hosts, MX order, internationalised names, masquerade. */
#include "support/test.h"

#include "route/route.h"

static struct route_policy *build(const struct route_options *options)
{
    struct route_policy *policy = NULL;
    struct route_problem problems[8];
    struct err e;
    size_t n;
    if (!route_policy_new(options, &policy, problems, 8, &n, &e))
        fail_msg("%s: %s", e.text, n > 0 ? problems[0].text : "");
    assert_int_equal(n, 0);
    return policy;
}

static struct route decide(const struct route_policy *policy, const char *local, const char *domain)
{
    struct route r;
    struct err e;
    if (!route_decide(policy, span_str(local), span_str(domain), &r, &e))
        fail_msg("%s", e.text);
    assert_true(r.n >= 1 && r.rule[0] != '\0');
    for (size_t i = 0; i < r.n; i++)
        assert_true(r.steps[i].key[0] != '\0');
    return r;
}

static const struct route_domain_options site_domains[] = {
    {.name = "Example.net",
     .local = true,
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p.yaml", 40, 5}},
    {.name = "*.example.net",
     .local = true,
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p.yaml", 41, 5}},
    {.name = "partner.example",
     .smart_host = "mx.partner.example:2525, [10.0.0.1]",
     .tls_set = true,
     .tls = ROUTE_TLS_VERIFY,
     .credentials = 3,
     .at = {"p.yaml", 42, 5},
     .smart_host_at = {"p.yaml", 42, 60}},
    {.name = "plain.example",
     .tls_set = true,
     .tls = ROUTE_TLS_NONE,
     .credentials = ROUTE_NO_CREDENTIALS,
     .at = {"p.yaml", 43, 5}},
    {.name = "*.partner.example", .credentials = 4, .at = {"p.yaml", 44, 5}},
};

static struct route_options site(void)
{
    return (struct route_options){.hostname = "Relay.example.org",
                                  .domains = site_domains,
                                  .n_domains = 5,
                                  .tls = ROUTE_TLS_OPTIONAL,
                                  .credentials = ROUTE_NO_CREDENTIALS,
                                  .delivery_at = {"p.yaml", 50, 1}};
}

static void local_domains_go_to_the_drop_directory(void **state)
{
    (void)state;
    struct route_options options = site();
    options.smart_host = "hub.example";
    struct route_policy *p = build(&options);
    struct route r = decide(p, "bob", "EXAMPLE.net");
    assert_int_equal(r.n, 1);
    assert_int_equal(r.steps[0].kind, ROUTE_DROP);
    assert_string_equal(r.rule, "domains[0]");
    assert_string_equal(r.file, "p.yaml");
    assert_int_equal(r.line, 40);
    assert_string_equal(r.domain, "example.net");
    struct route sub = decide(p, "bob", "a.b.example.net");
    assert_int_equal(sub.steps[0].kind, ROUTE_DROP);
    assert_string_equal(sub.rule, "domains[1]");
    assert_string_equal(sub.steps[0].key, r.steps[0].key);
    assert_int_equal(decide(p, "bob", "xexample.net").steps[0].kind, ROUTE_HOSTS);
    route_policy_free(&p);
}

static void only_postmaster_is_local_at_the_host_name(void **state)
{
    (void)state;
    struct route_options options = site();
    struct route_policy *p = build(&options);
    struct route r = decide(p, "PostMaster", "relay.EXAMPLE.org");
    assert_int_equal(r.steps[0].kind, ROUTE_DROP);
    assert_string_equal(r.rule, "service.hostname");
    assert_int_equal(decide(p, "root", "relay.example.org").steps[0].kind, ROUTE_MX);
    assert_int_equal(decide(p, "postmaster", "other.example").steps[0].kind, ROUTE_MX);
    route_policy_free(&p);
}

static void a_remote_domain_has_its_own_hosts_tls_and_credentials(void **state)
{
    (void)state;
    struct route_options options = site();
    options.smart_host = "hub.example";
    options.credentials = 9;
    struct route_policy *p = build(&options);
    struct route r = decide(p, "x", "partner.example");
    assert_int_equal(r.n, 1);
    assert_int_equal(r.steps[0].kind, ROUTE_HOSTS);
    assert_int_equal(r.steps[0].n_hosts, 2);
    assert_string_equal(r.steps[0].hosts[0].name, "mx.partner.example");
    assert_int_equal(r.steps[0].hosts[0].port, 2525);
    assert_false(r.steps[0].hosts[0].literal);
    assert_string_equal(r.steps[0].hosts[1].name, "10.0.0.1");
    assert_true(r.steps[0].hosts[1].literal);
    assert_int_equal(r.steps[0].hosts[1].port, 25);
    assert_int_equal(r.steps[0].tls, ROUTE_TLS_VERIFY);
    assert_int_equal(r.steps[0].credentials, 3);
    assert_string_equal(r.rule, "domains[2].smart_host");
    assert_int_equal(r.line, 42);
    /* without a host of its own: delivery's, with the domain's TLS and delivery's login */
    r = decide(p, "x", "plain.example");
    assert_string_equal(r.steps[0].hosts[0].name, "hub.example");
    assert_int_equal(r.steps[0].tls, ROUTE_TLS_NONE);
    assert_int_equal(r.steps[0].credentials, 9);
    assert_string_equal(r.rule, "delivery.smart_host");
    /* a login of its own stands before delivery's */
    assert_int_equal(decide(p, "x", "a.partner.example").steps[0].credentials, 4);
    route_policy_free(&p);
}

static void without_a_smart_host_the_domain_is_asked_and_no_password_is_shown(void **state)
{
    (void)state;
    struct route_options options = site();
    options.credentials = 9;
    options.port = 2525;
    struct route_policy *p = build(&options);
    struct route r = decide(p, "x", "Victim.Example");
    assert_int_equal(r.n, 1);
    assert_int_equal(r.steps[0].kind, ROUTE_MX);
    assert_string_equal(r.steps[0].domain, "victim.example");
    assert_int_equal(r.steps[0].port, 2525);
    assert_int_equal(r.steps[0].tls, ROUTE_TLS_OPTIONAL);
    assert_true(r.steps[0].credentials == ROUTE_NO_CREDENTIALS);
    assert_string_equal(r.rule, "mx");
    assert_int_equal(r.line, 50);
    r = decide(p, "x", "plain.example");
    assert_string_equal(r.rule, "domains[3]");
    assert_int_equal(r.steps[0].tls, ROUTE_TLS_NONE);
    route_policy_free(&p);
}

static void direct_first_tries_the_domain_and_then_the_smart_host(void **state)
{
    (void)state;
    struct route_options options = site();
    options.smart_host = "hub.example:587";
    options.smart_host_at = (struct route_position){"p.yaml", 51, 15};
    options.credentials = 9;
    options.direct_first = true;
    struct route_policy *p = build(&options);
    struct route r = decide(p, "x", "victim.example");
    assert_int_equal(r.n, 2);
    assert_int_equal(r.steps[0].kind, ROUTE_MX);
    assert_true(r.steps[0].credentials == ROUTE_NO_CREDENTIALS);
    assert_int_equal(r.steps[1].kind, ROUTE_HOSTS);
    assert_int_equal(r.steps[1].credentials, 9);
    assert_int_equal(r.steps[1].hosts[0].port, 587);
    assert_string_equal(r.rule, "delivery.direct_first");
    assert_int_equal(r.line, 51);
    /* a domain's own smart host is not gone round */
    assert_int_equal(decide(p, "x", "partner.example").n, 1);
    route_policy_free(&p);
}

static void an_address_literal_goes_straight_there(void **state)
{
    (void)state;
    struct route_options options = site();
    struct route r;
    struct err e;
    options.smart_host = "hub.example";
    options.credentials = 9;
    struct route_policy *p = build(&options);
    r = decide(p, "x", "[192.0.2.1]");
    assert_int_equal(r.steps[0].kind, ROUTE_HOSTS);
    assert_true(r.steps[0].hosts[0].literal);
    assert_string_equal(r.steps[0].hosts[0].name, "192.0.2.1");
    assert_true(r.steps[0].credentials == ROUTE_NO_CREDENTIALS);
    assert_string_equal(r.rule, "address-literal");
    r = decide(p, "x", "[IPv6:2001:DB8::1]");
    assert_string_equal(r.steps[0].hosts[0].name, "2001:db8::1");
    static const char *const bad[] = {"[",
                                      "[]",
                                      "[192.0.2.256]",
                                      "[192.0.2.1",
                                      "[x:y]",
                                      "[IPv6:]",
                                      "[IPv6:192.0.2.1]",
                                      "",
                                      "a..example",
                                      "-a.example",
                                      "a b",
                                      "x%y.example",
                                      "example.net."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(route_decide(p, span_str("x"), span_str(bad[i]), &r, &e));
        assert_int_equal(e.class, ERR_PERM);
    }
    route_policy_free(&p);
}

static void smart_hosts_are_read_in_all_their_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        unsigned port;
        bool literal;
    } good[] = {
        {"hub.example", "hub.example", 26, false},
        {" HUB.example. ", "hub.example", 26, false},
        {"hub.example:587", "hub.example", 587, false},
        {"b\303\274cher.example:1", "xn--bcher-kva.example", 1, false},
        {"[10.0.0.1]", "10.0.0.1", 26, true},
        {"[10.0.0.1]:25", "10.0.0.1", 25, true},
        {"10.0.0.1:25", "10.0.0.1", 25, true},
        {"[fd00::1]:65535", "fd00::1", 65535, true},
        {"[IPv6:fd00::1]", "fd00::1", 26, true},
        {"my_host", "my_host", 26, false},
    };
    static const char *const bad[] = {"hub.example:",
                                      "hub.example:0",
                                      "hub.example:65536",
                                      "hub.example:x",
                                      "[10.0.0.1",
                                      "[hub.example]",
                                      "[10.0.0.1]25",
                                      "[10.0.0.1]x:1",
                                      "fd00::1",
                                      "a b",
                                      "a,",
                                      "a,,b",
                                      ",a",
                                      "a/b",
                                      "hub.example:1:2",
                                      "a,b,c,d,e,f,g,h,i"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct route_options options = site();
        options.smart_host = good[i].text;
        options.port = 26;
        struct route_policy *p = build(&options);
        struct route r = decide(p, "x", "victim.example");
        assert_string_equal(r.steps[0].hosts[0].name, good[i].name);
        assert_int_equal(r.steps[0].hosts[0].port, good[i].port);
        assert_int_equal(r.steps[0].hosts[0].literal, good[i].literal);
        route_policy_free(&p);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct route_options options = site();
        struct route_policy *p = NULL;
        struct route_problem problems[2];
        struct err e;
        size_t n;
        options.smart_host = bad[i];
        options.smart_host_at = (struct route_position){"p.yaml", 51, 15};
        if (route_policy_new(&options, &p, problems, 2, &n, &e))
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(n, 1);
        assert_int_equal(problems[0].line, 51);
        assert_non_null(strstr(problems[0].text, "expected"));
        assert_null(p);
    }
}

static void every_fault_of_the_options_is_told(void **state)
{
    (void)state;
    const struct route_domain_options domains[] = {
        {.name = "a.example", .at = {"p.yaml", 1, 1}},
        {.name = "A.example", .at = {"p.yaml", 2, 1}},
        {.name = "not a name", .at = {"p.yaml", 3, 1}},
        {.name = "b.example", .smart_host = "[x]", .smart_host_at = {"p.yaml", 4, 9}},
        {.name = NULL, .at = {"p.yaml", 5, 1}},
    };
    struct route_options options = {.domains = domains, .n_domains = 5, .masquerade = "-"};
    struct route_policy *p = NULL;
    struct route_problem problems[8];
    struct err e;
    size_t n;
    assert_false(route_policy_new(&options, &p, problems, 8, &n, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_int_equal(n, 5);
    assert_false(route_policy_new(&options, &p, problems, 2, &n, &e));
    assert_int_equal(n, 2);
    assert_null(p);
}

static void the_key_is_the_same_where_connections_may_be_shared(void **state)
{
    (void)state;
    struct route_options options = site();
    options.smart_host = "hub.example";
    struct route_policy *p = build(&options);
    struct route a = decide(p, "x", "one.example"), b = decide(p, "y", "two.example");
    struct route tls = decide(p, "x", "plain.example"), login = decide(p, "x", "z.partner.example");
    assert_string_equal(a.steps[0].key, b.steps[0].key);
    assert_string_not_equal(a.steps[0].key, tls.steps[0].key);
    assert_string_not_equal(a.steps[0].key, login.steps[0].key);
    route_policy_free(&p);
    options.smart_host = NULL;
    p = build(&options);
    a = decide(p, "x", "one.example");
    b = decide(p, "x", "two.example");
    assert_string_not_equal(a.steps[0].key, b.steps[0].key);
    assert_string_equal(a.steps[0].key, decide(p, "z", "ONE.example").steps[0].key);
    route_policy_free(&p);
}

static void keys_of_many_long_hosts_stay_apart(void **state)
{
    (void)state;
    char keys[2][ROUTE_KEY_MAX];
    for (int last = 0; last < 2; last++) {
        char text[2048] = "";
        for (int i = 0; i < ROUTE_HOSTS_MAX; i++) {
            size_t at = strlen(text);
            (void)snprintf(text + at, sizeof text - at,
                           "%sh%d.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                           "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
                           "cccccccccccccccccccccccccccccccccccccccccccccccc.example",
                           i == 0 ? "" : ",", i == ROUTE_HOSTS_MAX - 1 ? i + last : i);
        }
        struct route_options options = site();
        options.smart_host = text;
        struct route_policy *p = build(&options);
        struct route r = decide(p, "x", "victim.example");
        assert_int_equal(r.steps[0].n_hosts, ROUTE_HOSTS_MAX);
        memcpy(keys[last], r.steps[0].key, ROUTE_KEY_MAX);
        assert_non_null(strstr(keys[last], "auth="));
        route_policy_free(&p);
    }
    assert_string_not_equal(keys[0], keys[1]);
}

static void domains_become_lower_case_a_labels(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"EXAMPLE.Net", "example.net"},
        {"a_b.example", "a_b.example"},
        {"B\303\234CHER.example", "xn--bcher-kva.example"},
        {"stra\303\237e.example", "xn--strae-oqa.example"}, /* non-transitional */
        {"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
        {"\344\276\213\343\201\210.\343\203\206\343\202\271\343\203\210", "xn--r8jz45g.xn--zckzah"},
        {"[IPv6:FD00::1]", "[ipv6:fd00::1]"},
    };
    static const char *const bad[] = {
        "",
        "\377\376.example",               /* no UTF-8 */
        "a\357\274\205b\303\274.example", /* a full-width % must not become one */
        "v\357\274\240victim.example",    /* nor a full-width @ */
        "\342\200\213\303\274.ex ample",  /* a space */
    };
    char out[ROUTE_DOMAIN_MAX], big[300];
    struct err e;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(route_domain_to_ascii(span_str(good[i][0]), out, &e));
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (route_domain_to_ascii(span_str(bad[i]), out, &e))
            fail_msg("taken as %s", out);
        assert_int_equal(e.class, ERR_PERM);
    }
    memset(big, 'a', sizeof big);
    assert_true(route_domain_to_ascii(span_of(big, 255), out, &e));
    assert_false(route_domain_to_ascii(span_of(big, 256), out, &e));
    assert_false(route_domain_to_ascii(span_of("a\0b", 3), out, &e));
}

static void a_u_label_meets_its_a_label_in_the_options(void **state)
{
    (void)state;
    const struct route_domain_options domains[] = {
        {.name = "b\303\274cher.example", .local = true}};
    struct route_options options = {.domains = domains, .n_domains = 1};
    struct route_policy *p = build(&options);
    assert_int_equal(decide(p, "x", "xn--bcher-kva.example").steps[0].kind, ROUTE_DROP);
    assert_int_equal(decide(p, "x", "B\303\274cher.EXAMPLE").steps[0].kind, ROUTE_DROP);
    route_policy_free(&p);
}

static void masquerade_covers_our_own_senders_only(void **state)
{
    (void)state;
    struct route_options options = site();
    struct span domain;
    struct route_policy *p = build(&options);
    assert_false(route_masquerade(p, span_str("example.net"), &domain));
    route_policy_free(&p);
    options.masquerade = "Corp.example";
    p = build(&options);
    static const char *const ours[] = {"Example.NET", "a.example.net", "relay.example.org", ""};
    for (size_t i = 0; i < 4; i++) {
        assert_true(route_masquerade(p, span_str(ours[i]), &domain));
        assert_true(span_is(domain, "corp.example"));
    }
    static const char *const others[] = {"partner.example", "victim.example", "[192.0.2.1]",
                                         "\377\377"};
    for (size_t i = 0; i < 4; i++)
        assert_false(route_masquerade(p, span_str(others[i]), &domain));
    route_policy_free(&p);
}

/* ---- MX ------------------------------------------------------------------------------------ */

static void the_best_preference_comes_first_and_equals_are_shuffled(void **state)
{
    (void)state;
    const struct route_mx records[] = {{.host = "c.example", .preference = 20},
                                       {.host = "a1.example", .preference = 10},
                                       {.host = "a2.example.", .preference = 10},
                                       {.host = "a3.example", .preference = 10},
                                       {.host = "d.example", .preference = 65535}};
    struct route_mx out[5], again[5];
    size_t n, first[4] = {0};
    for (uint64_t random = 0; random < 600; random++) {
        assert_int_equal(route_order_mx(records, 5, "relay.example", random, out, &n),
                         ROUTE_MX_USE);
        assert_int_equal(n, 5);
        for (size_t i = 1; i < n; i++)
            assert_true(out[i - 1].preference <= out[i].preference);
        assert_string_equal(out[3].host, "c.example");
        assert_string_equal(out[4].host, "d.example");
        assert_int_equal(strlen(out[0].host), 10); /* the dot at the end is gone */
        first[out[0].host[1] - '0']++;
        assert_int_equal(route_order_mx(records, 5, "relay.example", random, again, &n),
                         ROUTE_MX_USE);
        for (size_t i = 0; i < n; i++)
            assert_string_equal(again[i].host, out[i].host);
    }
    for (int i = 1; i < 4; i++)
        assert_true(first[i] > 120 && first[i] < 280);
}

static void a_null_mx_takes_no_mail(void **state)
{
    (void)state;
    struct route_mx out[2];
    size_t n;
    const struct route_mx dot[] = {{.host = ".", .preference = 0}};
    const struct route_mx empty[] = {{.host = "", .preference = 10}};
    const struct route_mx mixed[] = {{.host = ".", .preference = 0},
                                     {.host = "a.example", .preference = 5}};
    assert_int_equal(route_order_mx(dot, 1, NULL, 1, out, &n), ROUTE_MX_NULL);
    assert_int_equal(n, 0);
    assert_int_equal(route_order_mx(empty, 1, NULL, 1, out, &n), ROUTE_MX_NULL);
    assert_int_equal(route_order_mx(mixed, 2, NULL, 1, out, &n), ROUTE_MX_USE);
    assert_int_equal(n, 1);
    assert_string_equal(out[0].host, "a.example");
    assert_int_equal(route_order_mx(NULL, 0, NULL, 1, out, &n), ROUTE_MX_NONE);
}

static void mail_never_goes_to_ourselves_or_to_what_is_behind_us(void **state)
{
    (void)state;
    struct route_mx records[] = {{.host = "a.example", .preference = 10},
                                 {.host = "Relay.Example.", .preference = 20},
                                 {.host = "b.example", .preference = 20},
                                 {.host = "c.example", .preference = 30}};
    struct route_mx out[4];
    size_t n;
    assert_int_equal(route_order_mx(records, 4, "relay.example", 1, out, &n), ROUTE_MX_USE);
    assert_int_equal(n, 1);
    assert_string_equal(out[0].host, "a.example");
    records[0].self = true; /* by its address */
    assert_int_equal(route_order_mx(records, 4, NULL, 1, out, &n), ROUTE_MX_TO_SELF);
    assert_int_equal(n, 0);
    records[0].self = false;
    assert_int_equal(route_order_mx(records, 4, NULL, 1, out, &n), ROUTE_MX_USE);
    assert_int_equal(n, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_domains_go_to_the_drop_directory),
        cmocka_unit_test(only_postmaster_is_local_at_the_host_name),
        cmocka_unit_test(a_remote_domain_has_its_own_hosts_tls_and_credentials),
        cmocka_unit_test(without_a_smart_host_the_domain_is_asked_and_no_password_is_shown),
        cmocka_unit_test(direct_first_tries_the_domain_and_then_the_smart_host),
        cmocka_unit_test(an_address_literal_goes_straight_there),
        cmocka_unit_test(smart_hosts_are_read_in_all_their_forms),
        cmocka_unit_test(every_fault_of_the_options_is_told),
        cmocka_unit_test(the_key_is_the_same_where_connections_may_be_shared),
        cmocka_unit_test(keys_of_many_long_hosts_stay_apart),
        cmocka_unit_test(domains_become_lower_case_a_labels),
        cmocka_unit_test(a_u_label_meets_its_a_label_in_the_options),
        cmocka_unit_test(masquerade_covers_our_own_senders_only),
        cmocka_unit_test(the_best_preference_comes_first_and_equals_are_shuffled),
        cmocka_unit_test(a_null_mx_takes_no_mail),
        cmocka_unit_test(mail_never_goes_to_ourselves_or_to_what_is_behind_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
