/* Properties of acl_decide and acl_list_match over random policies, clients and facts; the seed is
 * fixed, so a failure comes again. */
#include "support/test.h"

#include "acl/acl.h"

enum { POLICIES = 400, QUESTIONS = 40, ENTRIES_MAX = 12, LIST_ROUNDS = 300, PROBES = 60 };

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 16) % n;
}

/* Few different addresses, so that entries and clients meet; sometimes any address at all. */
static struct netaddr random_address(void)
{
    struct netaddr a = {{0}};
    if (random_below(3) == 0) {
        a.b[0] = 0xfd;
        a.b[random_below(15) + 1] = (uint8_t)random_below(3);
        a.b[15] = (uint8_t)random_below(16);
        return a;
    }
    uint8_t four[4] = {10, (uint8_t)random_below(3), (uint8_t)random_below(3),
                       (uint8_t)random_below(16)};
    if (random_below(8) == 0)
        for (int i = 0; i < 4; i++)
            four[i] = (uint8_t)random_below(256);
    return netaddr_v4(four);
}

static const char *const hosts[] = {"a.corp.example",   "b.corp.example", "corp.example",
                                    "x.y.corp.example", "mfp1.example",   "other.example"};
static const char *const name_entries[] = {"a.corp.example", "*.corp.example", "*.example",
                                           "/^mfp\\d+\\./",  "/y\\.corp/",     "other.example"};

/* What a list should do, said the slow way: entry by entry, in the words of the text. */
struct naive {
    struct netaddr first, last;
    const char *name;
};

struct random_list {
    struct naive naive[ENTRIES_MAX];
    char text[ENTRIES_MAX][128];
    size_t n;
};

static void random_entry(struct random_list *l, bool with_names)
{
    struct naive *x = &l->naive[l->n];
    char *text = l->text[l->n++];
    char first[NETADDR_TEXT_MAX], last[NETADDR_TEXT_MAX];
    struct netaddr a = random_address(), b = random_address();
    memset(x, 0, sizeof *x);
    if (with_names && random_below(4) == 0) {
        x->name = name_entries[random_below(sizeof name_entries / sizeof *name_entries)];
        (void)snprintf(text, 128, "%s", x->name);
        return;
    }
    netaddr_format(&a, first);
    x->first = x->last = a;
    (void)snprintf(text, 128, "%s", first);
    if (random_below(3) == 0) {
        bool v4 = netaddr_is_v4(&a);
        unsigned bits = v4 ? 8 + random_below(25) : 8 + random_below(121);
        netaddr_prefix(&a, v4 ? 96 + bits : bits, &x->first, &x->last);
        (void)snprintf(text, 128, "%s/%u", first, bits);
    } else if (random_below(2) == 0 && netaddr_is_v4(&a) == netaddr_is_v4(&b)) {
        netaddr_format(&b, last);
        bool forth = netaddr_compare(&a, &b) <= 0;
        x->first = forth ? a : b;
        x->last = forth ? b : a;
        (void)snprintf(text, 128, "%s-%s", forth ? first : last, forth ? last : first);
    }
}

static bool naive_name(const char *entry, const char *host)
{
    size_t n = strlen(entry), h = strlen(host);
    if (strcmp(entry, "/^mfp\\d+\\./") == 0)
        return strncmp(host, "mfp1.", 5) == 0;
    if (strcmp(entry, "/y\\.corp/") == 0)
        return strstr(host, "y.corp") != NULL;
    if (entry[0] == '*')
        return h > n - 1 && strcmp(host + h - (n - 1), entry + 1) == 0;
    return strcmp(entry, host) == 0;
}

static bool naive_match(const struct random_list *l, const struct netaddr *client, const char *host)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct naive *x = &l->naive[i];
        if (x->name != NULL && host != NULL && naive_name(x->name, host))
            return true;
        if (x->name == NULL && netaddr_is_v4(client) == netaddr_is_v4(&x->first) &&
            netaddr_compare(&x->first, client) <= 0 && netaddr_compare(client, &x->last) <= 0)
            return true;
    }
    return false;
}

static struct acl_list *make_list(const struct random_list *l)
{
    struct acl_entry_source sources[ENTRIES_MAX];
    struct acl_problems problems;
    struct err e;
    struct acl_list *list = acl_list_new(NULL, 0);
    assert_non_null(list);
    acl_problems_init(&problems);
    for (size_t i = 0; i < l->n; i++)
        sources[i] = (struct acl_entry_source){span_str(l->text[i]), "f", (unsigned)i + 1, 1};
    assert_true(acl_list_add(list, sources, l->n, &problems, &e));
    if (problems.n > 0)
        fail_msg("%s", problems.v[0].text);
    acl_problems_deinit(&problems);
    return list;
}

static void lookups_agree_with_a_linear_list(void **state)
{
    (void)state;
    size_t matched = 0, asked = 0;
    random_state = 1;
    for (int round = 0; round < LIST_ROUNDS; round++) {
        struct random_list l = {.n = 0};
        struct err e;
        size_t n = random_below(ENTRIES_MAX + 1);
        while (l.n < n)
            random_entry(&l, true);
        struct acl_list *list = make_list(&l);
        assert_true(acl_list_seal(list, &e));
        for (int i = 0; i < PROBES; i++) {
            struct netaddr client = random_address();
            const char *host = random_below(3) == 0 ? NULL : hosts[random_below(6)];
            struct span name = span_str(host);
            struct acl_names names = {host == NULL ? FACT_ABSENT : FACT_VALUE, &name, 1};
            struct acl_hit hit;
            bool want = naive_match(&l, &client, host);
            enum acl_match got = acl_list_match(list, &client, &names, &hit);
            assert_int_equal(got, want ? ACL_MATCH_YES : ACL_MATCH_NO);
            matched += want;
            asked++;
            if (want) { /* the entry that is named does hold the client by itself */
                struct random_list one = {.n = 1};
                assert_true(hit.at.line >= 1 && hit.at.line <= l.n);
                one.naive[0] = l.naive[hit.at.line - 1];
                assert_true(naive_match(&one, &client, host));
            }
        }
        acl_list_free(&list);
    }
    assert_true(matched > asked / 20 && matched < asked - asked / 20);
}

/* ---- decisions ----------------------------------------------------------------------------- */

static void random_rates(struct acl_rate_limits *limits, unsigned one_in)
{
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++)
        if (random_below(one_in) == 0)
            limits->v[i / ACL_RATES][i % ACL_RATES] =
                (struct acl_rate_limit){.set = true, .most = random_below(4)};
}

static struct acl_policy *random_policy(void)
{
    struct acl_policy *policy;
    struct acl_problems problems;
    struct err e;
    struct random_list connection = {.n = 0}, relay = {.n = 0};
    size_t n_connection = random_below(4), n_relay = random_below(ENTRIES_MAX);
    bool with_names = random_below(4) != 0;
    while (connection.n < n_connection)
        random_entry(&connection, with_names);
    while (relay.n < n_relay)
        random_entry(&relay, with_names);
    struct acl_listener_options listeners[2] = {
        {.tls_required = random_below(2) != 0},
        {.anonymous_set = true, .anonymous = random_below(2) != 0}};
    struct acl_domain_options domains[] = {
        {.name = "local.example", .type = ACL_DOMAIN_LOCAL},
        {.name = "partner.example", .type = ACL_DOMAIN_REMOTE, .relay = true},
        {.name = "*.remote.example", .type = ACL_DOMAIN_REMOTE}};
    static const struct acl_word senders[] = {{.text = "*@a.example"}, {.text = "<>"}};
    static const struct acl_word accounts[] = {{.text = "alice"}};
    static const struct acl_word some[] = {{.text = "*@local.example"}, {.text = "/victim/"}};
    struct random_list clients = {.n = 0};
    while (clients.n < 3)
        random_entry(&clients, with_names);
    struct acl_profile_options profiles[2] = {
        {.clients = random_below(2) == 0 ? NULL : make_list(&clients),
         .accounts = {.v = accounts, .n = random_below(2)},
         .senders = {.v = senders, .n = random_below(3)},
         .recipients_refuse = {.v = some, .n = random_below(3)}},
        {.senders = {.v = senders, .n = random_below(3)},
         .recipients_allow = {.v = some, .n = random_below(3)}}};
    struct acl_options options = {
        .profiles = profiles,
        .n_profiles = random_below(2) == 0 ? 0 : 2,
        .connection = {.grant = random_below(3) == 0 ? ACL_ONLY : ACL_ALL_EXCEPT,
                       .list = make_list(&connection)},
        .relay = {.grant = random_below(2) == 0 ? ACL_ONLY : ACL_ALL_EXCEPT,
                  .list = make_list(&relay)},
        .relay_authenticated = random_below(2) != 0,
        .anonymous = random_below(3) != 0,
        .hostname = "relay.example",
        .listeners = listeners,
        .n_listeners = 2,
        .domains = domains,
        .n_domains = random_below(4),
    };
    if (random_below(3) == 0)
        random_rates(&options.rates, 2);
    if (random_below(3) == 0)
        random_rates(&profiles[0].rates, 3);
    if (random_below(3) == 0)
        random_rates(&profiles[1].rates, 3);
    acl_problems_init(&problems);
    assert_true(acl_policy_new(&options, &policy, &problems, &e));
    acl_problems_deinit(&problems);
    acl_list_free(&profiles[0].clients); /* where there were no profiles */
    return policy;
}

static void set_recipient(struct acl_path *path)
{
    static const char *const texts[][3] = {
        {"a@local.example", "a", "local.example"},
        {"a%b@local.example", "a%b", "local.example"},
        {"a@partner.example", "a", "partner.example"},
        {"a!b@partner.example", "a!b", "partner.example"},
        {"a@x.remote.example", "a", "x.remote.example"},
        {"a@victim.example", "a", "victim.example"},
        {"a@[192.0.2.1]", "a", "[192.0.2.1]"},
        {"postmaster", "postmaster", ""},
        {"postmaster@relay.example", "postmaster", "relay.example"},
        {"a", "a", ""}};
    const char *const *pick = texts[random_below(sizeof texts / sizeof *texts)];
    *path = (struct acl_path){.text = span_str(pick[0]),
                              .local = span_str(pick[1]),
                              .domain = span_str(pick[2]),
                              .postmaster = strcmp(pick[0], "postmaster") == 0,
                              .literal = pick[2][0] == '['};
}

/* Every way to know more than `from`: up to 8 name facts, 3 of TLS, 3 of identity,
 * and two counts: nothing yet and a lot. */
enum {
    NAME_FACTS = 8,
    BOOL_FACTS = 3,
    RATE_FACTS = 2,
    ALL_FACTS = NAME_FACTS * BOOL_FACTS * BOOL_FACTS * RATE_FACTS
};

static void set_counts(struct acl_rate_facts *rates, uint32_t used)
{
    rates->state = FACT_VALUE;
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++)
        rates->use[i / ACL_RATES][i % ACL_RATES].used = used;
}

static bool fill(const struct acl_facts *from, unsigned which, struct acl_facts *to,
                 struct span *name)
{
    static const enum acl_fact_state known[BOOL_FACTS] = {FACT_FAILED, FACT_ABSENT, FACT_VALUE};
    unsigned names = which % NAME_FACTS, tls = which / NAME_FACTS % BOOL_FACTS,
             login = which / NAME_FACTS / BOOL_FACTS % BOOL_FACTS,
             counts = which / NAME_FACTS / BOOL_FACTS / BOOL_FACTS;
    *to = *from;
    if (from->rates.state == FACT_UNKNOWN)
        set_counts(&to->rates, counts * 100);
    else if (counts > 0)
        return false;
    if (from->names.state == FACT_UNKNOWN) {
        if (names < 6)
            *name = span_str(hosts[names]);
        to->names = (struct acl_names){names < 6    ? FACT_VALUE
                                       : names == 6 ? FACT_ABSENT
                                                    : FACT_FAILED,
                                       name, 1};
    } else if (names > 0) {
        return false; /* told already */
    }
    if (from->tls == FACT_UNKNOWN)
        to->tls = known[tls];
    else if (tls > 0)
        return false;
    if (from->identity_state == FACT_UNKNOWN) {
        to->identity_state = known[login];
        to->identity = span_str("alice");
    } else if (login > 0) {
        return false;
    }
    return true;
}

static void check_reason(const struct acl_reason *r)
{
    assert_true(r->rule[0] != '\0' && r->why[0] != '\0');
    assert_true((r->verdict == ACL_NEED) == (r->need != 0));
    assert_true((r->verdict == ACL_ALLOW) == (r->change[0] == '\0'));
    if (r->verdict == ACL_DENY && r->step == ACL_STEP_RATE)
        assert_true(r->code >= 400 && r->code < 500 && r->enhanced[0] == '4' && r->text[0] != '\0');
    else if (r->verdict == ACL_DENY)
        assert_true(r->code >= 500 && r->code < 600 && r->enhanced[0] == '5' && r->text[0] != '\0');
    else if (r->verdict == ACL_DEFER)
        assert_true(r->code >= 400 && r->code < 500 && r->enhanced[0] == '4' && r->text[0] != '\0');
    else
        assert_int_equal(r->code, 0);
}

/* Only what is unknown may be asked for; and where something is asked for, some answer to exactly
 * those facts leads to another verdict, or to another rule for it, than some other answer. */
static void check_need(const struct acl_policy *policy, enum acl_stage stage,
                       const struct acl_facts *facts, unsigned need)
{
    bool seen[4] = {false}, other_rule = false;
    char rule[sizeof((struct acl_reason *)0)->rule] = "";
    if ((need & ACL_NEED_NAMES) != 0)
        assert_int_equal(facts->names.state, FACT_UNKNOWN);
    if ((need & ACL_NEED_TLS) != 0)
        assert_int_equal(facts->tls, FACT_UNKNOWN);
    if ((need & ACL_NEED_IDENTITY) != 0)
        assert_int_equal(facts->identity_state, FACT_UNKNOWN);
    if ((need & ACL_NEED_RATES) != 0)
        assert_true(need == ACL_NEED_RATES && facts->rates.state == FACT_UNKNOWN);
    for (unsigned which = 0; which < ALL_FACTS; which++) {
        struct acl_facts more;
        struct acl_reason r;
        struct span name;
        if (!fill(facts, which, &more, &name))
            continue;
        enum acl_verdict verdict = acl_decide(policy, stage, &more, &r);
        assert_int_not_equal(verdict, ACL_NEED);
        seen[verdict] = true;
        other_rule = other_rule || (rule[0] != '\0' && strcmp(rule, r.rule) != 0);
        memcpy(rule, r.rule, sizeof rule);
    }
    assert_true(seen[ACL_ALLOW] + seen[ACL_DENY] + seen[ACL_DEFER] >= 2 || other_rule);
}

static void check_final(const struct acl_policy *policy, enum acl_stage stage,
                        const struct acl_facts *facts, enum acl_verdict verdict)
{
    for (unsigned which = 0; which < ALL_FACTS; which++) {
        struct acl_facts more;
        struct acl_reason r;
        struct span name;
        if (fill(facts, which, &more, &name))
            assert_int_equal(acl_decide(policy, stage, &more, &r), verdict);
    }
}

static void ask(const struct acl_policy *policy, size_t counts[4])
{
    struct span name = span_str(hosts[random_below(6)]);
    struct acl_facts facts = {.client = random_address(),
                              .names = {(enum acl_fact_state)random_below(4), &name, 1},
                              .listener = random_below(2),
                              .tls = (enum acl_fact_state)random_below(4),
                              .identity_state = (enum acl_fact_state)random_below(4),
                              .identity = span_str("bob"),
                              .authentication_failed = random_below(4) == 0};
    struct acl_reason r, again;
    enum acl_stage stage = (enum acl_stage)random_below(3);
    set_recipient(&facts.recipient);
    if (random_below(2) == 0)
        set_counts(&facts.rates, random_below(5));
    if (random_below(3) != 0)
        facts.sender = (struct acl_path){.text = span_str("s@a.example"),
                                         .local = span_str("s"),
                                         .domain = span_str("a.example")};
    enum acl_verdict verdict = acl_decide(policy, stage, &facts, &r);
    assert_int_equal(acl_decide(policy, stage, &facts, &again), verdict);
    assert_memory_equal(&r, &again, sizeof r);
    assert_int_equal(r.verdict, verdict);
    check_reason(&r);
    counts[verdict]++;
    if (verdict == ACL_NEED)
        check_need(policy, stage, &facts, r.need);
    else if (verdict != ACL_DEFER)
        check_final(policy, stage, &facts, verdict);
    if (stage == ACL_RCPT && r.relay_right)
        assert_true(acl_has_relay_right(policy, &facts));
}

static void verdicts_are_deterministic_named_and_final(void **state)
{
    (void)state;
    size_t counts[4] = {0};
    random_state = 2;
    for (int i = 0; i < POLICIES; i++) {
        struct acl_policy *policy = random_policy();
        for (int j = 0; j < QUESTIONS; j++)
            ask(policy, counts);
        acl_policy_free(&policy);
    }
    print_message("%zu allowed, %zu denied, %zu deferred, %zu needed facts\n", counts[ACL_ALLOW],
                  counts[ACL_DENY], counts[ACL_DEFER], counts[ACL_NEED]);
    for (int i = 0; i < 4; i++)
        assert_true(counts[i] > POLICIES * QUESTIONS / 50);
}

/* A failed fact never lets in what its absence would keep out. */
static void a_failed_name_never_allows_more_than_no_name(void **state)
{
    (void)state;
    random_state = 3;
    for (int i = 0; i < POLICIES; i++) {
        struct acl_policy *policy = random_policy();
        for (int j = 0; j < QUESTIONS; j++) {
            struct acl_facts facts = {.client = random_address(),
                                      .names = {.state = FACT_FAILED},
                                      .tls = FACT_ABSENT,
                                      .identity_state = FACT_ABSENT,
                                      .rates = {.state = FACT_VALUE}};
            struct acl_reason r;
            set_recipient(&facts.recipient);
            if (acl_decide(policy, ACL_RCPT, &facts, &r) != ACL_ALLOW)
                continue;
            facts.names.state = FACT_ABSENT;
            assert_int_equal(acl_decide(policy, ACL_RCPT, &facts, &r), ACL_ALLOW);
            for (size_t k = 0; k < 6; k++) { /* nor does it hang on any name */
                struct span name = span_str(hosts[k]);
                facts.names = (struct acl_names){FACT_VALUE, &name, 1};
                assert_int_equal(acl_decide(policy, ACL_RCPT, &facts, &r), ACL_ALLOW);
            }
        }
        acl_policy_free(&policy);
    }
}

/* The open-relay verdict against trying addresses: what a probe can do must have been told. */
static void what_a_stranger_can_do_is_called_an_open_relay(void **state)
{
    (void)state;
    size_t open = 0;
    random_state = 4;
    for (int i = 0; i < POLICIES; i++) {
        struct acl_policy *policy = random_policy();
        struct acl_reason r;
        bool said = acl_is_open_relay(policy, &r);
        open += said;
        for (int j = 0; j < QUESTIONS && !said; j++) {
            uint8_t four[4] = {(uint8_t)(20 + random_below(60)), (uint8_t)random_below(256),
                               (uint8_t)random_below(256), (uint8_t)random_below(256)};
            struct acl_facts facts = {.client = netaddr_v4(four),
                                      .names = {.state = FACT_ABSENT},
                                      .tls = FACT_VALUE,
                                      .identity_state = FACT_ABSENT,
                                      .listener = random_below(2),
                                      .rates = {.state = FACT_VALUE},
                                      .recipient = {.text = span_str("v@victim.example"),
                                                    .local = span_str("v"),
                                                    .domain = span_str("victim.example")}};
            assert_false(acl_decide(policy, ACL_CONNECT, &facts, &r) == ACL_ALLOW &&
                         acl_decide(policy, ACL_MAIL, &facts, &r) == ACL_ALLOW &&
                         acl_decide(policy, ACL_RCPT, &facts, &r) == ACL_ALLOW);
        }
        acl_policy_free(&policy);
    }
    assert_true(open > POLICIES / 10 && open < POLICIES - POLICIES / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups_agree_with_a_linear_list),
        cmocka_unit_test(verdicts_are_deterministic_named_and_final),
        cmocka_unit_test(a_failed_name_never_allows_more_than_no_name),
        cmocka_unit_test(what_a_stranger_can_do_is_called_an_open_relay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
