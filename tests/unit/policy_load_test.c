/* What a policy is made of, how it is counted, what the review finds. */
#include "policy/policy.h"

#include "support/test.h"

static struct config_messages messages;

static struct policy *load_with(const char *text, const char *hostname, enum config_result expected)
{
    struct netaddr self;
    assert_true(netaddr_parse(span_str("192.0.2.200"), &self));
    static const char *const names[] = {"relay-host-in-the-basement.corp.example"};
    struct policy_machine machine = {&self, 1, hostname, names, 1};
    struct policy *p;
    config_messages_init(&messages);
    enum config_result got =
        policy_parse(TESTS_DIR "/config/good/t.yaml", span_str(text), &machine, &p, &messages);
    for (size_t i = 0; got != expected && i < messages.count; i++)
        print_message("%u: %s: %s\n", messages.items[i].at.line, messages.items[i].key,
                      messages.items[i].text);
    assert_int_equal(got, expected);
    return p;
}

static struct policy *load(const char *text)
{
    return load_with(text, "relay.example.net", CONFIG_OK);
}

static void drop(struct policy **p)
{
    policy_unref(p);
    config_messages_deinit(&messages);
}

/* Whether the review says something at this key, with these words; severity in *what. */
static bool reviewed(const struct policy *p, const char *key, const char *words,
                     enum config_severity severity)
{
    struct config_messages m;
    bool found = false;
    config_messages_init(&m);
    policy_review(p, &m);
    for (size_t i = 0; i < m.count; i++)
        found = found || (strcmp(m.items[i].key, key) == 0 && m.items[i].severity == severity &&
                          strstr(m.items[i].text, words) != NULL);
    config_messages_deinit(&m);
    return found;
}

static enum acl_verdict may_relay(const struct policy *p, const char *client, const char *name)
{
    struct span host = span_str(name);
    struct acl_facts facts = {.names = {name != NULL ? FACT_VALUE : FACT_ABSENT, &host, 1},
                              .tls = FACT_ABSENT,
                              .identity_state = FACT_ABSENT,
                              .recipient = {.text = span_str("x@other.example"),
                                            .local = span_str("x"),
                                            .domain = span_str("other.example")}};
    struct acl_reason reason;
    assert_true(netaddr_parse(span_str(client), &facts.client));
    return acl_decide(p->acl, ACL_RCPT, &facts, &reason);
}

static void a_policy_lives_until_its_last_reference_goes(void **state)
{
    (void)state;
    struct policy *p = load("{}"), *q = policy_ref(p);
    policy_unref(&p);
    assert_null(p);
    assert_string_equal(q->hostname, "relay.example.net");
    drop(&q);
    policy_unref(&q); /* none is fine */
}

static void lists_hold_their_entries_self_and_files(void **state)
{
    (void)state;
    struct policy *p = load("access: { relay: { list: [self, 10.1.0.0/16, app.corp.example, "
                            "\"file:relay-clients.txt\"] } }");
    assert_int_equal(may_relay(p, "127.0.0.1", NULL), ACL_ALLOW);
    assert_int_equal(may_relay(p, "192.0.2.200", NULL), ACL_ALLOW);
    assert_int_equal(may_relay(p, "192.0.2.201", NULL), ACL_DENY);
    assert_int_equal(may_relay(p, "127.0.0.2", NULL), ACL_DENY);
    assert_int_equal(may_relay(p, "10.1.255.1", NULL), ACL_ALLOW);
    assert_int_equal(may_relay(p, "10.2.0.1", NULL), ACL_DENY);
    assert_int_equal(may_relay(p, "10.2.0.1", "app.corp.example"), ACL_ALLOW);
    assert_int_equal(may_relay(p, "192.0.2.10", NULL), ACL_ALLOW);
    assert_int_equal(may_relay(p, "192.0.2.17", NULL), ACL_ALLOW); /* before the comment */
    assert_int_equal(may_relay(p, "10.2.0.1", "a.scan.corp.example"), ACL_ALLOW);
    assert_int_equal(may_relay(p, "10.2.0.1", "mfc12.scan.corp.example"), ACL_ALLOW);
    assert_int_equal(may_relay(p, "10.2.0.1", "scan.corp.example"), ACL_DENY);
    drop(&p);
}

static void relative_names_are_of_the_files_folder(void **state)
{
    (void)state;
    struct policy *p = load("service: { data_directory: data }\n"
                            "tls: { certificate: c.pem }\n"
                            "delivery: { ca_file: /etc/ca.pem, smart_host: hub.example, "
                            "authentication: { user: u, password_file: pass } }\n"
                            "logging: { file: log/postern.log }\n");
    assert_string_equal(p->data_directory, TESTS_DIR "/config/good/data");
    assert_string_equal(p->tls->main.certificate, TESTS_DIR "/config/good/c.pem");
    assert_string_equal(p->tls->main.key, TESTS_DIR "/config/good/c.pem");
    assert_string_equal(p->ca_file, "/etc/ca.pem");
    assert_string_equal(p->log_file, TESTS_DIR "/config/good/log/postern.log");
    assert_int_equal(p->credentials_count, 1);
    assert_string_equal(p->credentials[0].password_file, TESTS_DIR "/config/good/pass");
    drop(&p);
}

static void credentials_and_authorities_go_with_their_route(void **state)
{
    (void)state;
    struct policy *p =
        load("delivery: { ca_file: /all.pem, smart_host: hub.example,\n"
             "            authentication: { user: all, password_file: /p0 } }\n"
             "domains:\n"
             "  - { name: a.example, type: remote, smart_host: mx.a.example, tls: verify,\n"
             "      ca_file: /a.pem, authentication: { user: ua, password_file: /p1 } }\n"
             "  - { name: \"*.a.example\", type: remote, ca_file: /wild.pem }\n"
             "  - { name: local.example, type: local }\n");
    struct route r;
    struct err e;
    assert_true(route_decide(p->route, span_str("x"), span_str("a.example"), &r, &e));
    assert_int_equal(r.steps[0].kind, ROUTE_HOSTS);
    assert_int_equal(r.steps[0].tls, ROUTE_TLS_VERIFY);
    assert_string_equal(p->credentials[r.steps[0].credentials].user, "ua");
    assert_true(route_decide(p->route, span_str("x"), span_str("other.example"), &r, &e));
    assert_string_equal(p->credentials[r.steps[0].credentials].user, "all");
    assert_true(route_decide(p->route, span_str("x"), span_str("local.example"), &r, &e));
    assert_int_equal(r.steps[0].kind, ROUTE_DROP);
    assert_string_equal(policy_ca_file(p, span_str("a.example")), "/a.pem");
    assert_string_equal(policy_ca_file(p, span_str("b.a.example")), "/wild.pem");
    assert_string_equal(policy_ca_file(p, span_str("ba.example")), "/all.pem");
    drop(&p);
}

static void mechanisms_follow_the_channel(void **state)
{
    (void)state;
    struct policy *p = load("{}");
    assert_int_equal(policy_mechanisms(p, false), 0);
    assert_int_equal(policy_mechanisms(p, true), AUTH_MECHANISMS_SCRAM | AUTH_MECHANISMS_BASIC);
    drop(&p);
    p = load(
        "authentication: { basic: { require_tls: false }, mechanisms: [LOGIN, SCRAM-SHA-256] }");
    assert_int_equal(policy_mechanisms(p, false), AUTH_LOGIN);
    assert_int_equal(policy_mechanisms(p, true), AUTH_LOGIN | AUTH_SCRAM_SHA_256);
    drop(&p);
    p = load("authentication: { basic: { enabled: false } }");
    assert_int_equal(policy_mechanisms(p, true), AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS);
    drop(&p);
    /* The machine checks passwords and has no verifiers. */
    p = load("authentication: { domains: [{ name: ., backend: system }] }");
    assert_int_equal(policy_mechanisms(p, false), 0);
    assert_int_equal(policy_mechanisms(p, true), AUTH_MECHANISMS_BASIC);
    drop(&p);
}

static void throttle_and_schedule_are_taken_over(void **state)
{
    (void)state;
    struct policy *p = load("authentication: { throttle: { delay: 0s, delay_max: 0s } }\n"
                            "delivery: { retry: [1s, 2m], expire: 3s, delay_notice: 0s }\n"
                            "resolver: { servers: [\"127.0.0.1:5353\", \"fd00::53\"] }\n");
    assert_int_equal(p->auth.throttle.delay_ms, 1); /* 0 would be throttle's own default */
    assert_int_equal(p->auth.throttle.delay_max_ms, 1);
    assert_int_equal(p->auth.throttle.refuse_after, 10);
    assert_int_equal(p->schedule.retry_count, 2);
    assert_true(p->schedule.retry_ms[1] == 120000 && p->schedule.expire_ms == 3000);
    assert_string_equal(p->resolver_servers, "127.0.0.1:5353,[fd00::53]:53");
    drop(&p);
}

static void listeners_inherit_and_are_found_by_their_text(void **state)
{
    (void)state;
    struct policy *p = load("authentication: { anonymous: false }\n"
                            "listeners:\n"
                            "  - { address: \"127.0.0.1:25\", bare_lf: normalise }\n"
                            "  - { address: \"[::1]:465\", tls: implicit, anonymous: true }\n");
    assert_false(p->listeners[0].anonymous);
    assert_true(p->listeners[0].normalise_bare_lf);
    assert_false(p->listeners[0].starttls); /* there is no certificate */
    assert_true(p->listeners[1].anonymous);
    assert_ptr_equal(policy_listener_find(p, "[::1]:465"), &p->listeners[1]);
    assert_null(policy_listener_find(p, "[0::1]:465"));
    drop(&p);
}

static void an_open_relay_is_an_error_of_the_review_unless_declared(void **state)
{
    (void)state;
    struct acl_reason why;
    struct policy *p = load("access: { relay: { grant: all-except, list: [10.0.0.1] } }");
    assert_true(policy_is_open_relay(p, &why));
    assert_int_equal(why.at.line, 1);
    assert_true(why.change[0] != '\0');
    assert_true(reviewed(p, why.rule, "open relay", CONFIG_ERROR));
    drop(&p);
    p = load("access: { i_know_this_is_an_open_relay: true, relay: { grant: all-except } }");
    assert_true(policy_is_open_relay(p, &why));
    assert_true(reviewed(p, why.rule, "open relay", CONFIG_WARNING));
    assert_false(reviewed(p, why.rule, "open relay", CONFIG_ERROR));
    drop(&p);
    p = load("access: { relay: { list: [10.0.0.0/8, self] } }");
    assert_false(policy_is_open_relay(p, NULL));
    drop(&p);
}

static void the_review_warns_of_what_will_not_work(void **state)
{
    (void)state;
    struct policy *p = load_with("listeners:\n"
                                 "  - { address: \"127.0.0.1:25\", tls: required }\n"
                                 "  - { address: \"127.0.0.1:26\", anonymous: false }\n"
                                 "authentication: { basic: { require_tls: false } }\n"
                                 "access: { connection: { list: [bad.example, 10.0.0.1, "
                                 "\"/spam/\", \"fd00::/8\", self] } }\n",
                                 "relay", CONFIG_OK);
    assert_true(reviewed(p, "listeners[0].tls", "no certificate", CONFIG_WARNING));
    assert_true(reviewed(p, "tls.certificate", "STARTTLS is not offered", CONFIG_WARNING));
    assert_true(reviewed(p, "authentication.basic.require_tls", "in clear", CONFIG_WARNING));
    assert_true(reviewed(p, "access.connection.list", "\"bad.example\" is a name", CONFIG_WARNING));
    assert_true(reviewed(p, "access.connection.list", "\"/spam/\" is a name", CONFIG_WARNING));
    assert_false(reviewed(p, "access.connection.list", "\"10.0.0.1\"", CONFIG_WARNING));
    assert_false(reviewed(p, "access.connection.list", "\"fd00::/8\"", CONFIG_WARNING));
    assert_false(reviewed(p, "access.connection.list", "\"self\"", CONFIG_WARNING));
    assert_true(reviewed(p, "service.hostname", "no full name", CONFIG_WARNING));
    assert_false(reviewed(p, "listeners[1].anonymous", "nobody", CONFIG_WARNING));
    drop(&p);
    p = load("listeners: [ { address: \"127.0.0.1:26\", anonymous: false } ]\n");
    assert_true(reviewed(p, "listeners[0].anonymous", "nobody can send", CONFIG_WARNING));
    assert_false(reviewed(p, "service.hostname", "", CONFIG_WARNING));
    drop(&p);
}

static void the_review_tells_duplicates_overlaps_and_names_of_files_that_refuse(void **state)
{
    (void)state;
    struct policy *p =
        load("access: { connection: { list: [\"file:relay-clients.txt\", 192.0.2.10] },\n"
             "          relay: { list: [10.0.0.0/8, 10.1.0.0/16, \"*.x.example\", a.x.example,\n"
             "                          127.0.0.1, self] } }\n");
    const char *connection = "access.connection.list", *relay = "access.relay.list";
    assert_true(
        reviewed(p, connection, "\"192.0.2.10\" is a duplicate of \"192.0.2.10\"", CONFIG_WARNING));
    assert_true(reviewed(p, connection, "relay-clients.txt:2)", CONFIG_WARNING));
    assert_true(reviewed(p, connection, "\"*.scan.corp.example\" is a name", CONFIG_WARNING));
    assert_true(reviewed(p, relay, "\"10.1.0.0/16\" overlaps with \"10.0.0.0/8\"", CONFIG_WARNING));
    assert_true(
        reviewed(p, relay, "\"a.x.example\" overlaps with \"*.x.example\"", CONFIG_WARNING));
    assert_false(reviewed(p, relay, "127.0.0.1", CONFIG_WARNING));
    assert_false(reviewed(p, relay, "is a name", CONFIG_WARNING)); /* it grants */
    drop(&p);
}

/* The first message at this line and column. */
static const char *said_at(unsigned line, unsigned column, enum config_severity severity)
{
    for (size_t i = 0; i < messages.count; i++)
        if (messages.items[i].at.line == line && messages.items[i].at.column == column &&
            messages.items[i].severity == severity)
            return messages.items[i].text;
    return "";
}

static void names_that_stand_for_two_domains_are_reported_where_they_stand(void **state)
{
    (void)state;
    struct policy *p = load("authentication:\n"
                            "  domains:\n"
                            "    - { name: CORP, aliases: [corp.example] }\n"
                            "    - name: OTHER\n"
                            "      aliases: [fine, corp.example]\n"
                            "    - { name: ., backend: system }\n"
                            "    - { name: K, backend: kerberos, realm: CORP.EXAMPLE }\n"
                            "    - { name: relay-host-in-t }\n");
    assert_string_equal(said_at(5, 23, CONFIG_WARNING),
                        "\"corp.example\" names the entry \"CORP\" (line 3), which comes first: it "
                        "has no effect here");
    assert_string_equal(said_at(7, 37, CONFIG_WARNING),
                        "\"CORP.EXAMPLE\" names the entry \"CORP\" (line 3): user@CORP.EXAMPLE is "
                        "asked there");
    assert_string_equal(
        said_at(8, 9, CONFIG_WARNING),
        "this machine is called \"relay-host-in-t\" too: clients who say so get this "
        "domain, and not the machine's accounts (\".\")");
    assert_int_equal(messages.count, 3);
    assert_int_equal(p->auth.machine_name_count, 3);
    assert_string_equal(p->auth.machine_names[1], "relay-host-in-the-basement");
    drop(&p);
}

static void names_that_can_be_no_domain_are_refused_where_they_stand(void **state)
{
    (void)state;
    load_with("authentication:\n"
              "  basic: { default_domain: NOBODY }\n"
              "  domains:\n"
              "    - { name: ., backend: userdb }\n"
              "    - { name: a@b }\n"
              "    - { name: LOCAL, backend: system, aliases: ['x\\y', fine] }\n",
              "relay.example.net", CONFIG_INVALID);
    assert_string_equal(said_at(4, 9, CONFIG_ERROR),
                        "\".\" stands for the accounts of this machine, expected backend: system");
    assert_string_equal(said_at(5, 9, CONFIG_ERROR),
                        "\"a@b\", expected a name without backslash, @ and control characters");
    assert_string_equal(said_at(6, 49, CONFIG_ERROR),
                        "\"x\\y\", expected a name without backslash, @ and control characters");
    assert_string_equal(said_at(2, 12, CONFIG_ERROR),
                        "no such domain, expected a name of authentication.domains");
    assert_int_equal(messages.count, 4);
    config_messages_deinit(&messages);
}

static void a_pam_name_has_a_place_for_the_user(void **state)
{
    (void)state;
    load_with("authentication:\n"
              "  domains:\n"
              "    - { name: A, backend: system, pam_name: '{domain}+{user}' }\n"
              "    - { name: B, backend: system, pam_name: '{domain}' }\n"
              "    - { name: C, backend: system, pam_name: '{user}{user}' }\n"
              "    - { name: D, backend: system, pam_name: '{user}@{realm}' }\n"
              "    - { name: E, backend: system, pam_name: '{user' }\n"
              "    - { name: F, backend: userdb, pam_name: 'not looked at' }\n",
              "relay.example.net", CONFIG_INVALID);
    assert_string_equal(said_at(3, 35, CONFIG_ERROR), "");
    for (unsigned line = 4; line < 8; line++)
        assert_non_null(
            strstr(said_at(line, 35, CONFIG_ERROR), "expected a name with {user} once"));
    assert_int_equal(messages.count, 4);
    config_messages_deinit(&messages);
}

static void an_allow_list_names_accounts_and_groups_of_its_own_domain(void **state)
{
    (void)state;
    struct policy *p = load("authentication:\n"
                            "  domains:\n"
                            "    - { name: ., backend: system, allow: ['.\\bob', carol,\n"
                            "          'RELAY-HOST-IN-T\\Domain Users'] }\n");
    assert_int_equal(p->auth.domains[0].allow_count, 3);
    drop(&p);
    load_with("authentication:\n"
              "  domains:\n"
              "    - { name: CORP, allow: ['CORP\\bob', 'OTHER\\bob', 'CORP\\', 'a\\b\\c'] }\n"
              "    - { name: OTHER, backend: kerberos, allow: [x, 'CORP\\y'] }\n",
              "relay.example.net", CONFIG_INVALID);
    assert_string_equal(said_at(3, 41, CONFIG_ERROR),
                        "\"OTHER\\bob\", expected an account of this domain: CORP\\name");
    assert_string_equal(said_at(3, 54, CONFIG_ERROR),
                        "\"CORP\\\", expected an account of this domain: CORP\\name");
    assert_string_equal(said_at(3, 63, CONFIG_ERROR),
                        "\"a\\b\\c\", expected an account of this domain: CORP\\name");
    assert_string_equal(said_at(4, 52, CONFIG_ERROR),
                        "\"CORP\\y\", expected an account or a group of this domain: OTHER\\name");
    assert_int_equal(messages.count, 4);
    config_messages_deinit(&messages);
}

static void a_realm_that_is_not_given_is_the_name_in_upper_case(void **state)
{
    (void)state;
    struct policy *p = load("authentication:\n"
                            "  basic: { default_domain: X.EXAMPLE }\n"
                            "  domains:\n"
                            "    - { name: users }\n"
                            "    - { name: corp.example, backend: kerberos }\n"
                            "    - { name: L, backend: ldap, bind: '{user}@x.example' }\n");
    assert_string_equal(p->auth.domains[1].kerberos.realm, "CORP.EXAMPLE");
    assert_int_equal(p->auth.machine_name_count, 0);
    drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_lives_until_its_last_reference_goes),
        cmocka_unit_test(lists_hold_their_entries_self_and_files),
        cmocka_unit_test(relative_names_are_of_the_files_folder),
        cmocka_unit_test(credentials_and_authorities_go_with_their_route),
        cmocka_unit_test(mechanisms_follow_the_channel),
        cmocka_unit_test(throttle_and_schedule_are_taken_over),
        cmocka_unit_test(listeners_inherit_and_are_found_by_their_text),
        cmocka_unit_test(an_open_relay_is_an_error_of_the_review_unless_declared),
        cmocka_unit_test(the_review_warns_of_what_will_not_work),
        cmocka_unit_test(the_review_tells_duplicates_overlaps_and_names_of_files_that_refuse),
        cmocka_unit_test(names_that_stand_for_two_domains_are_reported_where_they_stand),
        cmocka_unit_test(names_that_can_be_no_domain_are_refused_where_they_stand),
        cmocka_unit_test(a_pam_name_has_a_place_for_the_user),
        cmocka_unit_test(an_allow_list_names_accounts_and_groups_of_its_own_domain),
        cmocka_unit_test(a_realm_that_is_not_given_is_the_name_in_upper_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
