/* Access control without memory, at every single allocation of building, deciding and explaining:
 * no crash, no leak, never an allowance that full memory would not give. An entry that is lost on
 * the way is the danger: the one that shuts somebody out. */
#include "support/test.h"

#include "support/no_memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* PCRE2 allocates inside its library: here it is made to say that it could not. */
static pcre2_code *compile_or_not(PCRE2_SPTR pattern, PCRE2_SIZE n, uint32_t options, int *code,
                                  PCRE2_SIZE *offset, pcre2_compile_context *context)
{
    if (!refuse_allocation())
        return pcre2_compile(pattern, n, options, code, offset, context);
    *code = PCRE2_ERROR_HEAP_FAILED;
    *offset = 0;
    return NULL;
}

static pcre2_match_context *context_or_not(pcre2_general_context *general)
{
    return refuse_allocation() ? NULL : pcre2_match_context_create(general);
}

static pcre2_match_data *data_or_not(uint32_t pairs, pcre2_general_context *general)
{
    return refuse_allocation() ? NULL : pcre2_match_data_create(pairs, general);
}

static int match_or_not(const pcre2_code *code, PCRE2_SPTR subject, PCRE2_SIZE n, PCRE2_SIZE start,
                        uint32_t options, pcre2_match_data *data, pcre2_match_context *context)
{
    return refuse_allocation() ? PCRE2_ERROR_NOMEMORY
                               : pcre2_match(code, subject, n, start, options, data, context);
}

#define pcre2_compile_8 compile_or_not
#define pcre2_match_context_create_8 context_or_not
#define pcre2_match_data_create_8 data_or_not
#define pcre2_match_8 match_or_not
#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "base/arena.c"
#include "base/buf.c"

#include "acl/address.c"
#include "acl/decide.c"
#include "acl/entry.c"
#include "acl/explain.c"
#include "acl/list.c"
#include "acl/list_match.c"
#include "acl/list_seal.c"
#include "acl/names.c"
#include "acl/open_relay.c"
#include "acl/pattern.c"
#include "acl/policy.c"
#include "acl/profile.c"
#include "acl/trie.c"
#undef realloc
#undef calloc
#undef malloc
#undef free

/* Enough of each kind that every table has to grow. */
static const char *const kept_out[] = {
    "192.0.2.0/24",
    "198.51.100.7",
    "2001:db8:bad::/48",
    "/^mfp\\d+\\.evil\\.example$/",
    "bad.example",
    "*.worse.example",
    "203.0.113.1-203.0.113.9",
    "/dyn/",
    "/^pool-/",
    "2001:db8::66",
    "10.66.0.0/16",
    "a.bad.example",
    "b.bad.example",
    "c.bad.example",
    "d.bad.example",
    "e.bad.example",
    "10.67.0.0/255.255.0.0",
    "/x1/",
    "/x2/",
    "/x3/",
    "/x4/",
    "/x5/",
    "/x6/",
    "10.68.0.1",
    "10.68.0.2",
    "*.one.example",
    "*.two.example",
};
static const char *const may_relay[] = {"self", "10.0.0.0/8", "app.corp.example",
                                        "*.print.corp.example", "/^mfp\\d+\\.corp\\.example$/"};

static bool fill(struct acl_list **list, const char *const *entries, size_t n,
                 struct acl_problems *problems, struct err *e)
{
    *list = acl_list_new(NULL, 0);
    if (*list == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    for (size_t i = 0; i < n; i++) {
        const struct acl_entry_source one = {span_str(entries[i]), i % 2 == 0 ? "a" : "b",
                                             (unsigned)i + 1, 1};
        if (!acl_list_add(*list, &one, 1, problems, e))
            return false;
    }
    return true;
}

#define COUNT(v) (sizeof(v) / sizeof *(v))

static const struct acl_domain_options domains[] = {
    {.name = "example.net", .type = ACL_DOMAIN_LOCAL, .at = {"p", 1, 1}},
    {.name = "*.example.org", .type = ACL_DOMAIN_LOCAL, .at = {"p", 2, 1}},
    {.name = "partner.example", .type = ACL_DOMAIN_REMOTE, .relay = true, .at = {"p", 3, 1}},
    {.name = "other.example", .type = ACL_DOMAIN_REMOTE, .at = {"p", 4, 1}},
};
static const struct acl_listener_options listeners[] = {
    {.at = {"p", 5, 1}},
    {.at = {"p", 6, 1}, .tls_required = true, .anonymous_set = true},
};

static bool build(struct acl_policy **policy, struct acl_problems *problems, struct err *e)
{
    struct acl_options o = {
        .connection = {.grant = ACL_ALL_EXCEPT, .grant_at = {"p", 7, 1}, .list_at = {"p", 8, 1}},
        .relay = {.grant = ACL_ONLY, .grant_at = {"p", 9, 1}, .list_at = {"p", 10, 1}},
        .relay_authenticated = true,
        .anonymous = true,
        .hostname = "relay.example.net",
        .listeners = listeners,
        .n_listeners = COUNT(listeners),
        .domains = domains,
        .n_domains = COUNT(domains),
    };
    bool ok = fill(&o.connection.list, kept_out, COUNT(kept_out), problems, e) &&
              fill(&o.relay.list, may_relay, COUNT(may_relay), problems, e) &&
              acl_policy_new(&o, policy, problems, e);
    acl_list_free(&o.connection.list);
    acl_list_free(&o.relay.list);
    return ok;
}

/* ---- the questions ---- */

static const struct {
    const char *client, *name, *to, *identity;
    size_t listener;
} questions[] = {
    {"10.1.2.3", NULL, "v@far.example", NULL, 0},
    {"192.0.2.9", NULL, "v@example.net", NULL, 0},
    {"203.0.113.5", NULL, "v@example.net", NULL, 0},
    {"203.0.113.50", "mfp7.evil.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "bad.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "x.worse.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "host-dyn-7.isp.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "x6.isp.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "good.example", "v@example.net", NULL, 0},
    {"203.0.113.50", "good.example", "v@far.example", NULL, 0},
    {"203.0.113.50", "good.example", "v@other.example", NULL, 0},
    {"203.0.113.50", "good.example", "a%b@example.net", NULL, 0},
    {"203.0.113.50", "mfp7.corp.example", "v@far.example", NULL, 0},
    {"203.0.113.50", "q.print.corp.example", "v@far.example", NULL, 0},
    {"203.0.113.50", "good.example", "v@far.example", "printer", 0},
    {"203.0.113.50", "good.example", "v@example.net", NULL, 1},
    {"203.0.113.50", "good.example", "v@x.example.org", "printer", 1},
    {"2001:db8:bad::1", "good.example", "v@example.net", NULL, 0},
    {"127.0.0.1", NULL, "v@far.example", NULL, 0},
};

static void facts_of(size_t i, struct acl_facts *f, struct span *name)
{
    struct span to = span_str(questions[i].to);
    size_t at = span_find(to, '@');
    *f = (struct acl_facts){.listener = questions[i].listener,
                            .tls = questions[i].identity == NULL ? FACT_ABSENT : FACT_VALUE,
                            .identity_state =
                                questions[i].identity == NULL ? FACT_ABSENT : FACT_VALUE,
                            .identity = span_str(questions[i].identity)};
    assert_true(netaddr_parse(span_str(questions[i].client), &f->client));
    *name = span_str(questions[i].name);
    f->names = (struct acl_names){
        .state = name->n == 0 ? FACT_ABSENT : FACT_VALUE, .v = name, .n = name->n == 0 ? 0 : 1};
    f->recipient = (struct acl_path){
        .text = to, .local = span_sub(to, 0, at), .domain = span_from(to, at + 1)};
}

static enum acl_outcome full_outcomes[COUNT(questions)];
enum { STAGES = 3 };
static enum acl_verdict full_verdicts[COUNT(questions)][STAGES];

/* Every question, by stage and as a whole; the text of the explanation too. */
static void ask_all(const struct acl_policy *policy, bool full)
{
    for (size_t i = 0; i < COUNT(questions); i++) {
        struct acl_facts f;
        struct span name;
        struct acl_reason r;
        struct acl_explanation x;
        struct buf text;
        facts_of(i, &f, &name);
        for (int stage = 0; stage < STAGES; stage++) {
            enum acl_verdict v = acl_decide(policy, (enum acl_stage)stage, &f, &r);
            if (full)
                full_verdicts[i][stage] = v;
            else if (v != full_verdicts[i][stage] && v != ACL_DEFER)
                fail_msg("question %zu stage %d: %d instead of %d", i, stage, (int)v,
                         (int)full_verdicts[i][stage]);
            if (acl_has_relay_right(policy, &f))
                assert_true(questions[i].identity != NULL || questions[i].client[0] == '1' ||
                            strstr(questions[i].name, "corp.example") != NULL);
        }
        acl_explain(policy, &f, &x);
        if (full)
            full_outcomes[i] = x.outcome;
        else
            assert_true(x.outcome == full_outcomes[i] || x.outcome == ACL_CANNOT_TELL);
        buf_init(&text, 8192);
        if (acl_explain_text(&x, &text))
            assert_non_null(strstr(buf_cstr(&text), acl_outcome_name(x.outcome)));
        else
            assert_false(full);
        buf_deinit(&text);
    }
}

static void with_all_its_memory_it_answers_as_the_lists_say(void **state)
{
    (void)state;
    struct acl_policy *policy = NULL;
    struct acl_problems problems;
    struct acl_reason r;
    struct err e = {0};
    acl_problems_init(&problems);
    fail_allocation(0, false);
    if (!build(&policy, &problems, &e))
        fail_msg("%s", e.text);
    assert_int_equal(problems.n, 0);
    ask_all(policy, true);
    static const enum acl_outcome want[COUNT(questions)] = {
        ACL_ALLOWED, ACL_REFUSED, ACL_REFUSED, ACL_REFUSED, ACL_REFUSED, ACL_REFUSED, ACL_REFUSED,
        ACL_REFUSED, ACL_ALLOWED, ACL_REFUSED, ACL_REFUSED, ACL_REFUSED, ACL_ALLOWED, ACL_ALLOWED,
        ACL_ALLOWED, ACL_REFUSED, ACL_ALLOWED, ACL_REFUSED, ACL_ALLOWED};
    for (size_t i = 0; i < COUNT(questions); i++)
        if (full_outcomes[i] != want[i])
            fail_msg("question %zu: %s", i, acl_outcome_name(full_outcomes[i]));
    assert_false(acl_is_open_relay(policy, &r));
    acl_policy_free(&policy);
    acl_problems_deinit(&problems);
    assert_int_equal(blocks_held, 0);
}

/* True while there are further allocations to fail. */
static bool build_without(long nth, bool once, size_t *failed)
{
    struct acl_policy *policy = NULL;
    struct acl_problems problems;
    struct err e = {0};
    acl_problems_init(&problems);
    fail_allocation(nth, once);
    bool ok = build(&policy, &problems, &e), out = ran_out;
    fail_allocation(0, false);
    if (ok) { /* what could be built is whole: giving spare memory back may fail, say */
        assert_int_equal(problems.n + problems.left_out, 0);
        ask_all(policy, false);
    } else {
        assert_null(policy);
        assert_int_equal(e.class, ERR_TEMP);
        (*failed)++;
    }
    acl_policy_free(&policy);
    acl_problems_deinit(&problems);
    assert_int_equal(blocks_held, 0);
    return out;
}

static void a_policy_is_built_whole_or_not_at_all(void **state)
{
    (void)state;
    size_t failed = 0;
    long nth = 1, once = 1;
    while (build_without(nth, false, &failed))
        nth++;
    while (build_without(once, true, &failed))
        once++;
    print_message("%ld allocations failed, for good and once; %zu policies refused\n", nth - 1,
                  failed);
    assert_true(nth > 60 && once == nth && failed > 2 * 60);
}

static void a_faulty_entry_is_told_or_the_list_is_refused(void **state)
{
    (void)state;
    static const char *const faulty[] = {"10.0.0.300", "/(/", "-x.example"};
    for (size_t i = 0; i < COUNT(faulty); i++) {
        for (long nth = 1;; nth++) {
            struct acl_problems problems;
            struct acl_list *list = NULL;
            struct err e = {0};
            acl_problems_init(&problems);
            fail_allocation(nth, false);
            bool ok = fill(&list, &faulty[i], 1, &problems, &e), out = ran_out;
            fail_allocation(0, false);
            assert_true(ok ? problems.n == 1 : e.class == ERR_TEMP);
            acl_list_free(&list);
            acl_problems_deinit(&problems);
            assert_int_equal(blocks_held, 0);
            if (!out) {
                assert_true(ok);
                break;
            }
        }
    }
}

static void no_answer_becomes_an_allowance_where_memory_is_missing(void **state)
{
    (void)state;
    struct acl_policy *policy = NULL;
    struct acl_problems problems;
    struct err e = {0};
    acl_problems_init(&problems);
    assert_true(build(&policy, &problems, &e));
    size_t before = blocks_held;
    bool out = true;
    long nth = 1;
    for (int once = 0; once < 2; once++) {
        for (nth = 1, out = true; out; nth++) {
            fail_allocation(nth, once == 1);
            ask_all(policy, false);
            out = ran_out;
            fail_allocation(0, false);
            assert_int_equal(blocks_held, before);
        }
        assert_true(nth > 100);
    }
    print_message("%ld allocations of asking failed\n", nth - 2);
    acl_policy_free(&policy);
    acl_problems_deinit(&problems);
    assert_int_equal(blocks_held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_all_its_memory_it_answers_as_the_lists_say),
        cmocka_unit_test(a_policy_is_built_whole_or_not_at_all),
        cmocka_unit_test(a_faulty_entry_is_told_or_the_list_is_refused),
        cmocka_unit_test(no_answer_becomes_an_allowance_where_memory_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
