/* How `postern explain` judges, and the options that all commands share. The commands belong to the
 * program and to no library, so their sources are taken in here. */
#include "commands/explain_effects.c"
#include "commands/explain_facts.c"
#include "commands/explain_identity.c"
#include "commands/options.c"

#include "support/test.h"

static const char configuration[] =
    "listeners:\n"
    "  - { address: \"127.0.0.1:25\" }\n"
    "  - { address: \"127.0.0.1:587\", tls: required, anonymous: false }\n"
    "  - { address: \"127.0.0.1:26\", tls: none }\n"
    "tls: { certificate: c.pem }\n"
    "access:\n"
    "  connection: { list: [198.51.100.0/24] }\n"
    "  relay:\n"
    "    list: [10.1.0.0/16, app.corp.example]\n"
    "domains:\n"
    "  - { name: example.net, type: local }\n"
    "  - { name: partner.example, type: remote, relay: true, smart_host: \"mx.p.example:2525\" }\n"
    "delivery: { smart_host: \"[10.0.0.1]:25\", direct_first: true }\n";

static struct policy *policy_of(const char *text)
{
    static const struct netaddr nobody = {{0}};
    static const char *const names[] = {"relay.example.net"};
    struct policy_machine machine = {&nobody, 1, "relay.example.net", names, 1};
    struct config_messages m;
    struct policy *p;
    config_messages_init(&m);
    assert_int_equal(policy_parse("t.yaml", span_str(text), &machine, &p, &m), CONFIG_OK);
    config_messages_deinit(&m);
    return p;
}

struct question {
    const char *client, *host, *user, *listener, *from, *to;
    bool tls;
    enum acl_outcome outcome;
    const char *rule, *reply; /* reply: how it begins */
    unsigned line;
};

static const struct question questions[] = {
    {"10.1.2.3", "", NULL, NULL, "a@b.example", "x@other.example", false, ACL_ALLOWED,
     "access.relay", "", 9},
    {"192.0.2.1", "", NULL, NULL, "a@b.example", "x@other.example", false, ACL_REFUSED,
     "access.relay", "550 5.7.1 Unable to relay for x@other.example", 9},
    {"192.0.2.1", NULL, NULL, NULL, "a@b.example", "x@other.example", false, ACL_CANNOT_TELL,
     "access.relay", "", 9},
    {"192.0.2.1", "app.corp.example", NULL, NULL, "", "x@other.example", false, ACL_ALLOWED,
     "access.relay", "", 9},
    {"192.0.2.1", NULL, "bob", NULL, "<>", "x@other.example", true, ACL_ALLOWED,
     "access.relay.authenticated", "", 8},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "x@example.net", false, ACL_ALLOWED, "domains[0]", "",
     11},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "<X@Partner.Example>", false, ACL_ALLOWED, "domains[1]",
     "", 12},
    {"198.51.100.7", NULL, NULL, NULL, "<>", "x@@y", false, ACL_REFUSED, "access.connection", "554",
     7},
    {"192.0.2.1", NULL, NULL, "127.0.0.1:587", "<>", "x@example.net", false, ACL_REFUSED,
     "listeners[1].tls", "530 5.7.0 Must issue a STARTTLS command first", 3},
    {"192.0.2.1", NULL, NULL, "127.0.0.1:587", "<>", "x@example.net", true, ACL_REFUSED,
     "listeners[1].anonymous", "530 5.7.1", 3},
    {"192.0.2.1", NULL, NULL, NULL, "a@b..c", "x@example.net", false, ACL_REFUSED, "smtp.address",
     "501 5.1.7", 0},
    {"192.0.2.1", NULL, NULL, NULL, "postmaster", "x@example.net", false, ACL_REFUSED,
     "smtp.address", "501 5.1.7", 0},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "", false, ACL_REFUSED, "smtp.address", "501 5.1.3", 0},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "bare", false, ACL_REFUSED, "smtp.address", "550 5.1.3",
     0},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "<x@example.net>y", false, ACL_REFUSED, "smtp.address",
     "501 5.1.3", 0},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "x@example.net>,<y@z.example", false, ACL_REFUSED,
     "smtp.address", "501 5.1.3", 0},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "PostMaster", false, ACL_ALLOWED, "domains[0]", "", 11},
    {"192.0.2.1", NULL, NULL, NULL, "<>", "@a.example:x@example.net", false, ACL_ALLOWED,
     "domains[0]", "", 11},
};

static void explain_question(const struct policy *p, const struct question *q,
                             struct explain_answer *answer)
{
    struct span host = span_str(q->host);
    struct explain_request r = {
        .user = q->user,
        .tls = q->tls,
        .from = q->from,
        .to = q->to,
        .listener = q->listener == NULL ? p->listeners : policy_listener_find(p, q->listener)};
    assert_true(netaddr_parse(span_str(q->client), &r.client));
    if (q->host != NULL)
        r.names = (struct acl_names){host.n > 0 ? FACT_VALUE : FACT_ABSENT, &host, 1};
    explain_judge(p, &r, answer);
}

static void each_question_has_its_answer(void **state)
{
    (void)state;
    struct policy *p = policy_of(configuration);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        const struct question *q = &questions[i];
        struct explain_answer answer;
        struct buf reply;
        buf_init(&reply, 4096);
        explain_question(p, q, &answer);
        const struct acl_reason *last = acl_explain_last(&answer.walk);
        acl_reason_reply(last, &reply);
        if (answer.walk.outcome != q->outcome || strcmp(last->rule, q->rule) != 0 ||
            last->at.line != q->line || strstr(buf_cstr(&reply), q->reply) != buf_cstr(&reply))
            fail_msg("%s -> %s: %s by %s line %u: %s", q->client, q->to,
                     acl_outcome_name(answer.walk.outcome), last->rule, last->at.line,
                     buf_cstr(&reply));
        assert_true(answer.has_route == (q->outcome == ACL_ALLOWED));
        if (q->outcome == ACL_REFUSED)
            assert_true(last->change[0] != '\0');
        buf_deinit(&reply);
    }
    policy_unref(&p);
}

static void what_is_allowed_has_its_route(void **state)
{
    (void)state;
    struct policy *p = policy_of(configuration);
    struct explain_answer answer;
    explain_question(p, &questions[0], &answer);
    assert_int_equal(answer.route.n, 2);
    assert_int_equal(answer.route.steps[0].kind, ROUTE_MX);
    assert_int_equal(answer.route.steps[1].kind, ROUTE_HOSTS);
    explain_question(p, &questions[6], &answer);
    assert_string_equal(answer.route.steps[0].hosts[0].name, "mx.p.example");
    assert_int_equal(answer.route.steps[0].hosts[0].port, 2525);
    assert_int_equal(answer.route.line, 12);
    policy_unref(&p);
}

static void pickup_may_relay_unless_it_is_told_not_to(void **state)
{
    (void)state;
    struct explain_request r = {.pickup = true, .from = "a@b.example", .to = "x@other.example"};
    struct explain_answer answer;
    struct policy *p = policy_of("{}");
    explain_judge(p, &r, &answer);
    assert_int_equal(answer.walk.outcome, ACL_ALLOWED);
    assert_string_equal(acl_explain_last(&answer.walk)->rule, "pickup");
    policy_unref(&p);
    p = policy_of("pickup: { relay: false }\ndomains: [ { name: example.net, type: local } ]\n");
    explain_judge(p, &r, &answer);
    assert_int_equal(answer.walk.outcome, ACL_REFUSED);
    assert_string_equal(acl_explain_last(&answer.walk)->rule, "pickup.relay");
    assert_int_equal(acl_explain_last(&answer.walk)->at.line, 1);
    r.to = "x@example.net";
    explain_judge(p, &r, &answer);
    assert_int_equal(answer.walk.outcome, ACL_ALLOWED);
    policy_unref(&p);
}

static void doubts(const struct policy *p, const char *listener, bool tls, const char *user,
                   const char *expected)
{
    struct explain_request r = {
        .listener = policy_listener_find(p, listener), .tls = tls, .user = user};
    struct buf out;
    buf_init(&out, 4096);
    explain_doubt(p, &r, &out);
    if (expected == NULL)
        assert_string_equal(buf_cstr(&out), "");
    else if (strstr(buf_cstr(&out), expected) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", buf_cstr(&out), expected);
    buf_deinit(&out);
}

static void sessions_that_cannot_be_are_doubted(void **state)
{
    (void)state;
    struct policy *p = policy_of(configuration);
    doubts(p, "127.0.0.1:25", false, NULL, NULL);
    doubts(p, "127.0.0.1:25", true, "bob", NULL);
    doubts(p, "127.0.0.1:25", true, "users\\bob", NULL);
    doubts(p, "127.0.0.1:25", true, "CORP\\bob", "has no \"CORP\"");
    doubts(p, "127.0.0.1:25", false, "bob", "no mechanism");
    doubts(p, "127.0.0.1:26", true, NULL, "no TLS");
    policy_unref(&p);
}

/* ---- options ---- */

struct parsed {
    const char *config, *to;
    bool json;
    struct command_line line;
    int code;
    bool go_on;
};

static void parse_line(struct parsed *x, int argc, ...)
{
    static char *argv[16];
    va_list args;
    va_start(args, argc);
    argv[0] = (char *)(uintptr_t) "test";
    for (int i = 0; i < argc; i++)
        argv[i + 1] = va_arg(args, char *);
    va_end(args);
    const struct option options[] = {OPTION_CONFIG(&x->config),
                                     OPTION_JSON(&x->json),
                                     {.name = "to", .value = "A", .help = "h", .text = &x->to}};
    x->config = x->to = NULL;
    x->json = false;
    x->line = (struct command_line){
        .usage = "postern test", .about = "", OPTIONS(options), .operands_max = 2};
    x->go_on = options_parse(&x->line, argc + 1, argv, &x->code);
    x->line.options = NULL; /* they end here */
}

static void options_are_taken_in_every_form(void **state)
{
    (void)state;
    struct parsed x;
    parse_line(&x, 6, "one", "-c", "f.yaml", "--to=a@b", "--json", "two");
    assert_true(x.go_on && x.json);
    assert_string_equal(x.config, "f.yaml");
    assert_string_equal(x.to, "a@b");
    assert_int_equal(x.line.operand_count, 2);
    assert_string_equal(x.line.operands[0], "one");
    assert_string_equal(x.line.operands[1], "two");
    parse_line(&x, 2, "--to", "");
    assert_true(x.go_on);
    assert_string_equal(x.to, "");
    parse_line(&x, 1, "--to=");
    assert_true(x.go_on);
    parse_line(&x, 1, "--to=--x");
    assert_true(x.go_on);
    assert_string_equal(x.to, "--x");
    parse_line(&x, 3, "--", "--json", "-c");
    assert_true(x.go_on && !x.json);
    assert_string_equal(x.line.operands[1], "-c");
    parse_line(&x, 0);
    assert_true(x.go_on && x.line.operand_count == 0);
}

static void wrong_options_are_usage_errors(void **state)
{
    (void)state;
    struct parsed x;
    static const char *const wrong[][3] = {{"--frob", "", NULL},      {"--to", NULL, NULL},
                                           {"-c", NULL, NULL},        {"--json=1", NULL, NULL},
                                           {"-x", NULL, NULL},        {"--js", NULL, NULL},
                                           {"a", "b", "c"},           {"--to", "--json", NULL},
                                           {"-cfile", NULL, NULL},    {"--json", "--json", NULL},
                                           {"--to=a", "--to=b", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int n = 0;
        while (n < 3 && wrong[i][n] != NULL)
            n++;
        parse_line(&x, n, wrong[i][0], wrong[i][1], wrong[i][2]);
        assert_false(x.go_on);
        assert_int_equal(x.code, EXIT_USAGE);
    }
    parse_line(&x, 2, "--frob", "--help");
    assert_false(x.go_on);
    assert_int_equal(x.code, EXIT_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_has_its_answer),
        cmocka_unit_test(what_is_allowed_has_its_route),
        cmocka_unit_test(pickup_may_relay_unless_it_is_told_not_to),
        cmocka_unit_test(sessions_that_cannot_be_are_doubted),
        cmocka_unit_test(options_are_taken_in_every_form),
        cmocka_unit_test(wrong_options_are_usage_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
