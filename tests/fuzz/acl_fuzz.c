/* Any lists and any client: entries, domains and facts from the input, and what every decision must
 * hold to (contract 2). The input is four letters of flags and then sections that a line `--` ends:
 * connection list, relay list, domains (`l`, `r` or `-` before the name), with the bit 16 of the
 * second letter profiles, and the facts - client, host names, local part, domain, and the same two
 * of the sender, one a line. A line of profiles begins with what it is: `p` the next profile, `c` a
 * client, `a` an account, `s` a sender, `+` and `-` a recipient that it allows or refuses, `f` it
 * fixes the sender, `r0`..`r5` a limit by the minute, `d0`..`d5` the same for all. */
#include "acl/explain.h"
#include "lines.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES_MAX = 16,
    DOMAINS_MAX = 16,
    NAMES_MAX = 4,
    PROFILES_MAX = 3,
    WORDS_MAX = 4,
    WORD_KINDS = 4,
    FACTS = 4,
    STATES = 4,
    STAGES = ACL_RCPT + 1
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span next_section(struct span *rest)
{
    struct span section = *rest;
    section.n = 0;
    while (rest->n > 0) {
        struct span line = next_line(rest);
        if (span_is(line, "--"))
            break;
        section.n = (size_t)(line.p - section.p) + line.n;
    }
    return section;
}

/* Every entry is taken or told, and none both. */
static struct acl_list *read_list(struct span text, const char *file)
{
    struct acl_list *list = acl_list_new(NULL, 0);
    struct acl_problems problems;
    struct err e;
    acl_problems_init(&problems);
    check(list != NULL);
    size_t n = 0;
    while (text.n > 0 && n < ENTRIES_MAX) {
        const struct acl_entry_source one = {next_line(&text), file, (unsigned)++n, 1};
        check(acl_list_add(list, &one, 1, &problems, &e));
    }
    check(acl_list_count(list) + problems.n + problems.left_out == n);
    for (size_t i = 0; i < problems.n; i++)
        check(problems.v[i].text[0] != '\0' && problems.v[i].line >= 1);
    acl_problems_deinit(&problems);
    return list;
}

struct input {
    struct acl_domain_options domains[DOMAINS_MAX];
    char names[DOMAINS_MAX][300];
    struct acl_profile_options profiles[PROFILES_MAX];
    struct acl_word words[PROFILES_MAX][WORD_KINDS][WORDS_MAX];
    char texts[PROFILES_MAX][WORD_KINDS][WORDS_MAX][80];
    size_t n_words[PROFILES_MAX][WORD_KINDS];
    struct span hosts[NAMES_MAX];
    struct acl_facts facts;
    struct acl_listener_options listener;
    struct acl_policy *policy;
};

static void read_limit(struct span text, struct acl_rate_limits *limits)
{
    uint64_t most = 0;
    if (text.n == 0 || text.p[0] < '0' || text.p[0] > '5')
        return;
    size_t which = (size_t)(text.p[0] - '0');
    (void)span_u64(span_trim(span_from(text, 1)), 1000, &most);
    limits->v[which / ACL_RATES][which % ACL_RATES] =
        (struct acl_rate_limit){.set = true, .most = (uint32_t)most, .at = {"rates", 1, 1}};
}

static void read_word(struct input *in, size_t profile, size_t kind, struct span text)
{
    size_t *n = &in->n_words[profile][kind];
    char *to = *n < WORDS_MAX ? in->texts[profile][kind][*n] : NULL;
    if (to == NULL || !span_cstr(text, to, sizeof in->texts[0][0][0]))
        return;
    in->words[profile][kind][*n] = (struct acl_word){to, {"profiles", (unsigned)++*n, 1}};
}

/* The clients of a profile go into one list, entry by entry. */
static void read_client(struct acl_profile_options *x, struct span text)
{
    struct acl_problems problems;
    struct err e;
    const struct acl_entry_source one = {text, "clients", 1, 1};
    acl_problems_init(&problems);
    if (x->clients == NULL)
        x->clients = acl_list_new(NULL, 0);
    check(x->clients != NULL);
    if (acl_list_count(x->clients) < ENTRIES_MAX)
        check(acl_list_add(x->clients, &one, 1, &problems, &e));
    acl_problems_deinit(&problems);
}

static void read_profile_line(struct input *in, size_t i, struct span line)
{
    static const char kinds[] = "as+-";
    struct span text = span_from(line, 1);
    const char *kind = strchr(kinds, line.p[0]);
    if (line.p[0] == 'c')
        read_client(&in->profiles[i], text);
    else if (line.p[0] == 'f')
        in->profiles[i].fixes_sender = true;
    else if (line.p[0] == 'r')
        read_limit(text, &in->profiles[i].rates);
    else if (line.p[0] != '\0' && kind != NULL)
        read_word(in, i, (size_t)(kind - kinds), text);
}

static void read_profiles(struct input *in, struct span text, struct acl_options *o)
{
    memset(in->profiles, 0, sizeof in->profiles);
    memset(in->n_words, 0, sizeof in->n_words);
    o->profiles = in->profiles;
    while (text.n > 0) {
        struct span line = next_line(&text);
        if (line.n == 0)
            continue;
        if (line.p[0] == 'd')
            read_limit(span_from(line, 1), &o->rates);
        else if (line.p[0] == 'p' && o->n_profiles < PROFILES_MAX)
            in->profiles[o->n_profiles].at =
                (struct acl_position){"profiles", (unsigned)++o->n_profiles, 1};
        else if (o->n_profiles > 0)
            read_profile_line(in, o->n_profiles - 1, line);
    }
    for (size_t i = 0; i < o->n_profiles; i++) {
        struct acl_profile_options *x = &in->profiles[i];
        struct acl_words *to[] = {&x->accounts, &x->senders, &x->recipients_allow,
                                  &x->recipients_refuse};
        for (size_t k = 0; k < WORD_KINDS; k++)
            *to[k] = (struct acl_words){in->words[i][k], in->n_words[i][k], {"profiles", 1, 1}};
    }
}

static void read_policy(struct input *in, const uint8_t flags[4], struct span *rest)
{
    struct acl_options o = {
        .connection = {.grant = (flags[0] & 1) != 0 ? ACL_ONLY : ACL_ALL_EXCEPT},
        .relay = {.grant = (flags[0] & 2) != 0 ? ACL_ONLY : ACL_ALL_EXCEPT},
        .relay_authenticated = (flags[0] & 4) != 0,
        .anonymous = (flags[0] & 8) != 0,
        .hostname = "relay.example.net",
        .listeners = &in->listener,
        .n_listeners = flags[1] & 1,
        .domains = in->domains,
    };
    struct acl_problems problems;
    struct err e;
    in->listener = (struct acl_listener_options){.tls_required = (flags[1] & 2) != 0,
                                                 .anonymous_set = (flags[1] & 4) != 0,
                                                 .anonymous = (flags[1] & 8) != 0};
    o.connection.list = read_list(next_section(rest), "connection");
    o.relay.list = read_list(next_section(rest), "relay");
    for (struct span text = next_section(rest); text.n > 0 && o.n_domains < DOMAINS_MAX;) {
        struct span line = next_line(&text);
        char *name = in->names[o.n_domains];
        if (line.n == 0 || !span_cstr(span_from(line, 1), name, sizeof in->names[0]))
            continue;
        in->domains[o.n_domains] = (struct acl_domain_options){
            .name = name,
            .type = line.p[0] == 'l' ? ACL_DOMAIN_LOCAL : ACL_DOMAIN_REMOTE,
            .relay = line.p[0] == 'r',
            .at = {"domains", (unsigned)++o.n_domains, 1}};
    }
    if ((flags[1] & 16) != 0)
        read_profiles(in, next_section(rest), &o);
    acl_problems_init(&problems);
    if (!acl_policy_new(&o, &in->policy, &problems, &e)) {
        check(e.class == ERR_PERM && problems.n > 0 && in->policy == NULL);
        check(o.connection.list != NULL && o.relay.list != NULL);
    }
    acl_list_free(&o.connection.list);
    acl_list_free(&o.relay.list);
    for (size_t i = 0; i < o.n_profiles; i++)
        acl_list_free(&in->profiles[i].clients);
    acl_problems_deinit(&problems);
}

static void read_facts(struct input *in, const uint8_t flags[4], struct span rest)
{
    struct acl_facts *f = &in->facts;
    struct span client = next_line(&rest), hosts = next_line(&rest);
    *f = (struct acl_facts){.origin = (flags[3] & 7) == 7 ? ACL_FROM_PICKUP : ACL_FROM_NETWORK,
                            .authentication_failed = (flags[3] & 8) != 0,
                            .identity = span_str("CORP\\printer")};
    if (!netaddr_parse(client, &f->client))
        f->client = netaddr_v4((const uint8_t[4]){192, 0, 2, 1});
    f->names.v = in->hosts;
    while (hosts.n > 0 && f->names.n < NAMES_MAX) {
        size_t space = span_find(hosts, ' ');
        in->hosts[f->names.n++] = span_sub(hosts, 0, space);
        hosts = span_from(hosts, space + 1);
    }
    f->recipient.local = next_line(&rest);
    f->recipient.domain = next_line(&rest);
    f->recipient.text = f->recipient.local;
    f->recipient.literal = f->recipient.domain.n > 0 && f->recipient.domain.p[0] == '[';
    f->recipient.postmaster = f->recipient.domain.n == 0 && (flags[3] & 1) != 0;
    f->sender.local = f->sender.text = next_line(&rest);
    f->sender.domain = next_line(&rest);
    for (size_t i = 0; i < (size_t)ACL_RATE_BYS * ACL_RATES; i++)
        f->rates.use[i / ACL_RATES][i % ACL_RATES].used = flags[3] >> 4;
}

/* ---- what holds for every answer ---- */

static void check_text(const char *text, size_t size)
{
    check(memchr(text, '\0', size) != NULL);
    for (; *text != '\0'; text++)
        check((uint8_t)*text >= 0x20 && *text != 0x7f); /* it goes into replies and logs */
}

static unsigned unknown_facts(const struct acl_facts *f)
{
    return (f->names.state == FACT_UNKNOWN ? (unsigned)ACL_NEED_NAMES : 0u) |
           (f->tls == FACT_UNKNOWN ? (unsigned)ACL_NEED_TLS : 0u) |
           (f->identity_state == FACT_UNKNOWN ? (unsigned)ACL_NEED_IDENTITY : 0u) |
           (f->rates.state != FACT_VALUE ? (unsigned)ACL_NEED_RATES : 0u);
}

static void check_reason(const struct acl_facts *f, enum acl_stage stage,
                         const struct acl_reason *r)
{
    bool refused = r->verdict == ACL_DENY || r->verdict == ACL_DEFER;
    check(r->stage == stage && r->rule[0] != '\0' && r->why[0] != '\0');
    check_text(r->rule, sizeof r->rule);
    check_text(r->entry, sizeof r->entry);
    check_text(r->enhanced, sizeof r->enhanced);
    check_text(r->text, sizeof r->text);
    check_text(r->hint, sizeof r->hint);
    check_text(r->why, sizeof r->why);
    check_text(r->change, sizeof r->change);
    check(refused == (r->code != 0));
    check((r->need & ACL_NEED_RATES) == 0 || r->need == ACL_NEED_RATES);
    check((r->verdict == ACL_NEED) == (r->need != 0) && (r->need & ~unknown_facts(f)) == 0);
    check((r->verdict == ACL_ALLOW) == (r->change[0] == '\0'));
    if (r->verdict == ACL_DENY && r->step == ACL_STEP_RATE)
        check(r->code >= 400 && r->code < 500 && r->enhanced[0] == '4' && r->text[0] != '\0');
    else if (r->verdict == ACL_DENY)
        check(r->code >= 500 && r->code < 600 && r->enhanced[0] == '5' && r->text[0] != '\0');
    if (r->verdict == ACL_DEFER)
        check(r->code >= 400 && r->code < 500 && r->enhanced[0] == '4' && r->text[0] != '\0');
}

static enum acl_verdict decide(const struct acl_policy *policy, const struct acl_facts *f,
                               enum acl_stage stage)
{
    struct acl_reason a, b;
    memset(&b, 0x55, sizeof b);
    enum acl_verdict verdict = acl_decide(policy, stage, f, &a);
    check(acl_decide(policy, stage, f, &b) == verdict && a.verdict == verdict);
    check(memcmp(&a, &b, sizeof a) == 0); /* the same question, the same answer, to the byte */
    check_reason(f, stage, &a);
    return verdict;
}

static enum acl_fact_state *fact(struct acl_facts *f, int which)
{
    return which == 0   ? &f->names.state
           : which == 1 ? &f->tls
           : which == 2 ? &f->identity_state
                        : &f->rates.state;
}

/* What is settled without a fact, or in spite of its failure, no state of the fact may turn. A
 * pattern that takes too many steps on a name is a failure of its own: DEFER. */
static void check_fact(const struct acl_policy *policy, struct acl_facts f, int which)
{
    for (int stage = 0; stage < STAGES; stage++) {
        enum acl_verdict v[STATES];
        for (int state = 0; state < STATES; state++) {
            *fact(&f, which) = (enum acl_fact_state)state;
            v[state] = decide(policy, &f, (enum acl_stage)stage);
            if (which == 0 && !acl_uses_names(policy))
                check(v[state] == v[0]);
        }
        for (int state = 0; state < STATES; state++) {
            enum acl_verdict unknown = v[FACT_UNKNOWN], failed = v[FACT_FAILED];
            if (unknown == ACL_ALLOW || unknown == ACL_DENY)
                check(v[state] == unknown);
            if (failed == ACL_ALLOW || failed == ACL_DENY)
                check(v[state] == failed || (state == FACT_UNKNOWN && v[state] == ACL_NEED));
        }
    }
}

/* All but the change, which the walk gives for an allowance, too. */
static void check_same(const struct acl_reason *a, const struct acl_reason *b)
{
    check(a->verdict == b->verdict && a->stage == b->stage && a->step == b->step &&
          a->need == b->need && a->code == b->code && a->relay_right == b->relay_right &&
          a->at.file == b->at.file && a->at.line == b->at.line && a->at.column == b->at.column);
    check(strcmp(a->rule, b->rule) == 0 && strcmp(a->entry, b->entry) == 0 &&
          strcmp(a->enhanced, b->enhanced) == 0 && strcmp(a->text, b->text) == 0 &&
          strcmp(a->hint, b->hint) == 0 && strcmp(a->why, b->why) == 0);
    check(a->verdict == ACL_ALLOW || strcmp(a->change, b->change) == 0);
}

/* Limits by the minute are passed in one step each; one that refuses is the last. */
static bool settles(const struct acl_reason *step, const struct acl_reason *r)
{
    return step->step == r->step && (r->step != ACL_STEP_RATE || step->verdict != ACL_ALLOW);
}

/* The walk is that of the stages: before what settles one there are only steps that allow. */
static void check_explanation(const struct acl_policy *policy, const struct acl_facts *f)
{
    struct acl_explanation x;
    struct acl_reason r;
    struct buf text;
    size_t n = 0;
    int stage = ACL_CONNECT;
    acl_explain(policy, f, &x);
    check(x.n <= ACL_STEPS);
    do {
        acl_decide(policy, (enum acl_stage)stage, f, &r);
        while (n < x.n && !settles(&x.steps[n], &r)) {
            check(x.steps[n].stage == (enum acl_stage)stage && x.steps[n].rule[0] != '\0');
            check(x.steps[n++].verdict == ACL_ALLOW);
        }
        check(n < x.n);
        check_same(&r, &x.steps[n++]);
        while (n < x.n && x.steps[n].step == ACL_STEP_RATE &&
               x.steps[n].stage == (enum acl_stage)stage)
            check(x.steps[n++].verdict == ACL_ALLOW);
        stage++;
    } while (r.verdict == ACL_ALLOW && stage < STAGES);
    check(n == x.n && acl_explain_last(&x) == &x.steps[n - 1]);
    check(x.outcome == (r.verdict == ACL_ALLOW  ? ACL_ALLOWED
                        : r.verdict == ACL_DENY ? ACL_REFUSED
                                                : ACL_CANNOT_TELL));
    buf_init(&text, 65536);
    check(acl_explain_steps(&x, 0, x.n, &text));
    buf_reset(&text);
    check(acl_explain_text(&x, &text));
    buf_deinit(&text);
}

/* A stranger without name and login who may relay makes an open relay. */
static void check_open_relay(const struct acl_policy *policy, struct acl_facts f)
{
    struct acl_reason r;
    bool open = acl_is_open_relay(policy, &r);
    check_text(r.why, sizeof r.why);
    check(open == (r.change[0] != '\0'));
    bool global = netaddr_is_v4(&f.client) ? f.client.b[12] >= 11 && f.client.b[12] <= 99
                                           : f.client.b[0] == 0x26;
    if (!global || f.origin != ACL_FROM_NETWORK)
        return;
    f.names = (struct acl_names){.state = FACT_ABSENT};
    f.tls = FACT_VALUE;
    f.identity_state = FACT_ABSENT;
    for (int stage = 0; stage < STAGES; stage++)
        if (acl_decide(policy, (enum acl_stage)stage, &f, &r) != ACL_ALLOW)
            return;
    check(open || !r.relay_right);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input in;
    struct span rest = span_from(span_of(data, size), 5); /* four letters and a line end */
    if (size < 5)
        return 0;
    in.policy = NULL;
    read_policy(&in, data, &rest);
    read_facts(&in, data, rest);
    if (in.policy == NULL)
        return 0;
    struct acl_facts f = in.facts;
    f.names.state = (enum acl_fact_state)(data[2] & 3);
    f.tls = (enum acl_fact_state)(data[2] >> 2 & 3);
    f.identity_state = (enum acl_fact_state)(data[2] >> 4 & 3);
    for (int which = 0; which < FACTS; which++)
        check_fact(in.policy, f, which);
    check_explanation(in.policy, &f);
    check_open_relay(in.policy, f);
    check(acl_postmaster_domain(in.policy)[0] != '\0');
    acl_policy_free(&in.policy);
    return 0;
}
