/* Runs tests/acl/NAME.case: policies in plain words, and cases with the answer that is to come.
 *
 *   policy NAME                   begins a policy with the defaults of the configuration
 *     hostname NAME
 *     self ADDRESS                an address of this machine
 *     listener [tls] [anonymous | no-anonymous]
 *     anonymous on|off
 *     connection all-except|only  and  connection-entry TEXT
 *     relay all-except|only       and  relay-entry TEXT
 *     authenticated on|off
 *     local NAME | remote NAME | relay-domain NAME
 *     profile                     begins a profile; then profile-client TEXT, profile-account NAME,
 *                                 profile-sender, profile-allow and profile-refuse PATTERN
 *     rate NAME N                 a limit by the minute, "rate client.messages 60";
 *     profile-rate NAME N         the same of the profile
 *   faulty WORDS                  the policy before has a problem whose text holds the words
 *   open yes|no [rule=R] [entry=E]
 *   case KEY=VALUE... -> allowed|refused|unknown KEY=VALUE...
 *     client= listener= host=NAME[,NAME]|unknown|failed tls=yes|unknown user=NAME|unknown
 *     authfailed=yes origin=pickup from= to= counted=NAME:N[,NAME:N]|unknown (left out: nothing)
 *     stage= rule= entry= line=(of the case file) reply=550 status=5.7.1 hint~ text~ change~
 *
 * Every refused case is then tried again with the change that its reason proposes: that must turn
 * it. */
#include "support/test.h"

#include "acl/acl.h"
#include "acl/explain.h"

#include <dirent.h>

enum { LINES_MAX = 64, NAMES_MAX = 8, TEXT_MAX = 512 };

struct entry_line {
    char text[TEXT_MAX];
    unsigned line;
};

struct domain_line {
    char name[TEXT_MAX];
    enum acl_domain_type type;
    bool relay;
    unsigned line;
};

enum { PROFILES_MAX = 4, PROFILE_PARTS = 5 };

struct profile_lines {
    unsigned line;
    struct entry_line parts[PROFILE_PARTS][8]; /* in the order of part_names */
    size_t n[PROFILE_PARTS];
    struct acl_rate_limits rates;
};

static const char *const part_names[PROFILE_PARTS] = {
    "profile-client", "profile-account", "profile-sender", "profile-allow", "profile-refuse"};

struct spec {
    char hostname[TEXT_MAX];
    struct netaddr self[LINES_MAX];
    size_t n_self;
    struct acl_listener_options listeners[LINES_MAX];
    size_t n_listeners;
    bool anonymous, authenticated;
    enum acl_grant connection, relay;
    struct entry_line connection_entries[LINES_MAX], relay_entries[LINES_MAX];
    size_t n_connection, n_relay;
    struct domain_line domains[LINES_MAX];
    size_t n_domains;
    struct profile_lines profiles[PROFILES_MAX];
    size_t n_profiles;
    struct acl_rate_limits rates;
};

struct question {
    struct acl_facts facts;
    struct span names[NAMES_MAX];
    char text[16][TEXT_MAX]; /* what the spans point to */
    size_t n_text;
};

static const char *file_name;
static unsigned line_number;
static size_t cases_run, changes_tried;

static void fail_line(const char *what, const char *detail)
{
    fail_msg("%s:%u: %s: %s", file_name, line_number, what, detail);
}

static struct acl_list *build_list(const struct spec *s, const struct entry_line *lines, size_t n,
                                   struct acl_problems *problems)
{
    struct err e;
    struct acl_list *list = acl_list_new(s->self, s->n_self);
    assert_non_null(list);
    for (size_t i = 0; i < n; i++) {
        struct acl_entry_source source = {span_str(lines[i].text), file_name, lines[i].line, 5};
        assert_true(acl_list_add(list, &source, 1, problems, &e));
    }
    return list;
}

static struct acl_words words_of(const struct profile_lines *x, size_t part,
                                 struct acl_word words[PROFILE_PARTS][8])
{
    for (size_t i = 0; i < x->n[part]; i++)
        words[part][i] =
            (struct acl_word){x->parts[part][i].text, {file_name, x->parts[part][i].line, 5}};
    return (struct acl_words){words[part], x->n[part], {file_name, x->line, 3}};
}

static void build_profiles(const struct spec *s, struct acl_profile_options *out,
                           struct acl_word words[PROFILES_MAX][PROFILE_PARTS][8],
                           struct acl_problems *problems)
{
    for (size_t i = 0; i < s->n_profiles; i++) {
        const struct profile_lines *x = &s->profiles[i];
        out[i] = (struct acl_profile_options){
            .at = {file_name, x->line, 3},
            .clients = x->n[0] == 0 ? NULL : build_list(s, x->parts[0], x->n[0], problems),
            .accounts = words_of(x, 1, words[i]),
            .senders = words_of(x, 2, words[i]),
            .recipients_allow = words_of(x, 3, words[i]),
            .recipients_refuse = words_of(x, 4, words[i]),
            .rates = x->rates};
    }
}

static struct acl_policy *build(const struct spec *s, struct acl_problems *problems)
{
    struct acl_policy *policy = NULL;
    struct acl_domain_options domains[LINES_MAX];
    struct err e;
    for (size_t i = 0; i < s->n_domains; i++)
        domains[i] = (struct acl_domain_options){.name = s->domains[i].name,
                                                 .type = s->domains[i].type,
                                                 .relay = s->domains[i].relay,
                                                 .at = {file_name, s->domains[i].line, 3}};
    struct acl_profile_options profiles[PROFILES_MAX];
    static struct acl_word words[PROFILES_MAX][PROFILE_PARTS][8];
    build_profiles(s, profiles, words, problems);
    struct acl_options options = {
        .profiles = profiles,
        .n_profiles = s->n_profiles,
        .rates = s->rates,
        .connection = {.grant = s->connection,
                       .list = build_list(s, s->connection_entries, s->n_connection, problems)},
        .relay = {.grant = s->relay, .list = build_list(s, s->relay_entries, s->n_relay, problems)},
        .relay_authenticated = s->authenticated,
        .anonymous = s->anonymous,
        .hostname = s->hostname,
        .listeners = s->listeners,
        .n_listeners = s->n_listeners,
        .domains = domains,
        .n_domains = s->n_domains,
    };
    if (!acl_policy_new(&options, &policy, problems, &e)) {
        assert_int_equal(e.class, ERR_PERM);
        acl_list_free(&options.connection.list);
        acl_list_free(&options.relay.list);
        for (size_t i = 0; i < s->n_profiles; i++)
            acl_list_free(&profiles[i].clients);
        assert_null(policy);
    }
    assert_null(options.connection.list);
    return policy;
}

static struct acl_policy *build_good(const struct spec *s)
{
    struct acl_problems problems;
    acl_problems_init(&problems);
    struct acl_policy *policy = build(s, &problems);
    if (problems.n > 0)
        fail_line("a faulty policy", problems.v[0].text);
    acl_problems_deinit(&problems);
    return policy;
}

/* ---- reading ------------------------------------------------------------------------------- */

static void add_entry(struct entry_line *lines, size_t *n, const char *text)
{
    assert_true(*n < LINES_MAX);
    (void)snprintf(lines[*n].text, sizeof lines[*n].text, "%s", text);
    lines[(*n)++].line = line_number;
}

static void add_domain(struct spec *s, const char *name, enum acl_domain_type type, bool relay)
{
    struct domain_line *d = &s->domains[s->n_domains++];
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    d->type = type;
    d->relay = relay;
    d->line = line_number;
}

static void add_listener(struct spec *s, const char *words)
{
    struct acl_listener_options *l = &s->listeners[s->n_listeners++];
    *l = (struct acl_listener_options){0};
    l->tls_required = strstr(words, "tls") != NULL;
    l->anonymous_set = strstr(words, "anonymous") != NULL;
    l->anonymous = l->anonymous_set && strstr(words, "no-anonymous") == NULL;
}

static bool is_on(const char *word)
{
    if (strcmp(word, "on") != 0 && strcmp(word, "off") != 0)
        fail_line("neither on nor off", word);
    return strcmp(word, "on") == 0;
}

static enum acl_grant grant_of(const char *word)
{
    if (strcmp(word, "only") != 0 && strcmp(word, "all-except") != 0)
        fail_line("no polarity", word);
    return strcmp(word, "only") == 0 ? ACL_ONLY : ACL_ALL_EXCEPT;
}

/* "client.messages 60", or with another separator. */
static void read_rate(const char *text, char separator, struct acl_rate_limits *limits,
                      struct acl_rate_facts *facts)
{
    const char *number = strchr(text, separator);
    for (size_t i = 0; number != NULL && i < (size_t)ACL_RATE_BYS * ACL_RATES; i++) {
        size_t by = i / ACL_RATES, rate = i % ACL_RATES;
        if (!span_is(span_of(text, (size_t)(number - text)),
                     acl_rate_name((enum acl_rate_by)by, (enum acl_rate)rate)))
            continue;
        uint32_t n = (uint32_t)strtoul(number + 1, NULL, 10);
        if (limits != NULL)
            limits->v[by][rate] = (struct acl_rate_limit){true, n, {file_name, line_number, 3}};
        else
            facts->use[by][rate].used = n;
        return;
    }
    fail_line("no such limit", text);
}

static bool read_profile_line(struct spec *s, const char *key, const char *rest)
{
    if (strcmp(key, "profile") == 0) {
        assert_true(s->n_profiles < PROFILES_MAX);
        s->profiles[s->n_profiles] = (struct profile_lines){.line = line_number};
        s->n_profiles++;
        return true;
    }
    if (strcmp(key, "profile-rate") == 0) {
        assert_true(s->n_profiles > 0);
        read_rate(rest, ' ', &s->profiles[s->n_profiles - 1].rates, NULL);
        return true;
    }
    for (size_t i = 0; i < PROFILE_PARTS; i++)
        if (strcmp(key, part_names[i]) == 0) {
            struct profile_lines *x = &s->profiles[s->n_profiles - 1];
            assert_true(s->n_profiles > 0 && x->n[i] < 8);
            add_entry(x->parts[i], &x->n[i], rest);
            return true;
        }
    return false;
}

static bool read_policy_line(struct spec *s, const char *key, const char *rest)
{
    if (read_profile_line(s, key, rest))
        return true;
    if (strcmp(key, "policy") == 0) {
        memset(s, 0, sizeof *s);
        (void)snprintf(s->hostname, sizeof s->hostname, "relay.example.net");
        s->anonymous = s->authenticated = true;
        s->connection = ACL_ALL_EXCEPT;
        s->relay = ACL_ONLY;
    } else if (strcmp(key, "rate") == 0) {
        read_rate(rest, ' ', &s->rates, NULL);
    } else if (strcmp(key, "hostname") == 0) {
        (void)snprintf(s->hostname, sizeof s->hostname, "%s", rest);
    } else if (strcmp(key, "self") == 0) {
        assert_true(netaddr_parse(span_str(rest), &s->self[s->n_self++]));
    } else if (strcmp(key, "listener") == 0) {
        add_listener(s, rest);
    } else if (strcmp(key, "anonymous") == 0) {
        s->anonymous = is_on(rest);
    } else if (strcmp(key, "authenticated") == 0) {
        s->authenticated = is_on(rest);
    } else if (strcmp(key, "connection") == 0) {
        s->connection = grant_of(rest);
    } else if (strcmp(key, "relay") == 0) {
        s->relay = grant_of(rest);
    } else if (strcmp(key, "connection-entry") == 0) {
        add_entry(s->connection_entries, &s->n_connection, rest);
    } else if (strcmp(key, "relay-entry") == 0) {
        add_entry(s->relay_entries, &s->n_relay, rest);
    } else if (strcmp(key, "local") == 0) {
        add_domain(s, rest, ACL_DOMAIN_LOCAL, false);
    } else if (strcmp(key, "remote") == 0) {
        add_domain(s, rest, ACL_DOMAIN_REMOTE, false);
    } else if (strcmp(key, "relay-domain") == 0) {
        add_domain(s, rest, ACL_DOMAIN_REMOTE, true);
    } else {
        return false;
    }
    return true;
}

static struct span keep(struct question *q, struct span s)
{
    char *to = q->text[q->n_text++];
    assert_true(q->n_text <= 16 && span_cstr(s, to, TEXT_MAX));
    return span_str(to);
}

static struct span unquote(struct question *q, struct span local)
{
    char out[TEXT_MAX];
    size_t n = 0;
    if (local.n < 2 || local.p[0] != '"')
        return keep(q, local);
    for (size_t i = 1; i + 1 < local.n; i++) {
        if (local.p[i] == '\\')
            i++;
        out[n++] = (char)local.p[i];
    }
    return keep(q, span_of(out, n));
}

/* What the grammar does elsewhere, for addresses without surprises. */
static struct acl_path path_of(struct question *q, struct span text)
{
    struct acl_path path = {.text = keep(q, text)};
    if (span_is(text, "<>")) {
        path.text = span_of(NULL, 0);
        return path;
    }
    size_t at = span_rfind(text, '@');
    if (text.n > 0 && text.p[text.n - 1] == '"')
        at = text.n; /* "v@V" is a bare local part */
    path.local = unquote(q, span_sub(text, 0, at));
    path.domain = keep(q, span_from(text, at + 1));
    path.literal = path.domain.n > 0 && path.domain.p[0] == '[';
    path.postmaster = path.domain.n == 0 && span_is_nocase(path.local, "postmaster");
    return path;
}

static void set_names(struct question *q, struct span value)
{
    struct acl_names *names = &q->facts.names;
    names->v = q->names;
    if (span_is(value, "unknown")) {
        names->state = FACT_UNKNOWN;
    } else if (span_is(value, "failed")) {
        names->state = FACT_FAILED;
    } else {
        names->state = FACT_VALUE;
        while (value.n > 0) {
            size_t comma = span_find(value, ',');
            q->names[names->n++] = keep(q, span_sub(value, 0, comma));
            value = span_from(value, comma + 1);
        }
    }
}

static enum acl_fact_state state_of(struct span value)
{
    return span_is(value, "unknown")  ? FACT_UNKNOWN
           : span_is(value, "failed") ? FACT_FAILED
           : span_is(value, "no")     ? FACT_ABSENT
                                      : FACT_VALUE;
}

static void read_fact(struct question *q, struct span key, struct span value)
{
    struct acl_facts *f = &q->facts;
    if (span_is(key, "client")) {
        if (!netaddr_parse(value, &f->client))
            fail_line("no address", (const char *)value.p);
    } else if (span_is(key, "listener")) {
        uint64_t index;
        assert_true(span_u64(value, LINES_MAX, &index));
        f->listener = (size_t)index;
    } else if (span_is(key, "host")) {
        set_names(q, value);
    } else if (span_is(key, "tls")) {
        f->tls = state_of(value);
    } else if (span_is(key, "user")) {
        f->identity_state = state_of(value);
        f->identity = keep(q, value);
    } else if (span_is(key, "counted")) {
        f->rates.state = span_is(value, "unknown") ? FACT_UNKNOWN : FACT_VALUE;
        while (f->rates.state == FACT_VALUE && value.n > 0) {
            size_t comma = span_find(value, ',');
            char one[TEXT_MAX];
            assert_true(span_cstr(span_sub(value, 0, comma), one, sizeof one));
            read_rate(one, ':', NULL, &f->rates);
            value = span_from(value, comma + 1);
        }
    } else if (span_is(key, "authfailed")) {
        f->authentication_failed = span_is(value, "yes");
    } else if (span_is(key, "origin")) {
        f->origin = span_is(value, "pickup") ? ACL_FROM_PICKUP : ACL_FROM_NETWORK;
    } else if (span_is(key, "from")) {
        f->sender = path_of(q, value);
    } else if (span_is(key, "to")) {
        f->recipient = path_of(q, value);
    } else {
        fail_line("no such fact", (const char *)key.p);
    }
}

/* Takes the next word off the line. */
static struct span next_word(struct span *line)
{
    *line = span_trim(*line);
    struct span word = span_sub(*line, 0, span_find(*line, ' '));
    *line = span_from(*line, word.n);
    return word;
}

static void read_question(struct question *q, struct span *line)
{
    memset(q, 0, sizeof *q);
    q->facts.rates.state = FACT_VALUE;
    q->facts.names.state = q->facts.tls = q->facts.identity_state = FACT_ABSENT;
    for (;;) {
        struct span word = next_word(line);
        size_t equals = span_find(word, '=');
        if (word.n == 0)
            fail_line("no -> in the case", "");
        if (span_is(word, "->"))
            return;
        read_fact(q, span_sub(word, 0, equals), span_from(word, equals + 1));
    }
}

/* ---- checking ------------------------------------------------------------------------------ */

static void expect_text(struct span want, const char *got, const char *what)
{
    char both[2 * TEXT_MAX];
    if (span_is(want, got))
        return;
    (void)snprintf(both, sizeof both, "%s is \"%s\", expected \"%.*s\"", what, got, SPAN_ARG(want));
    fail_line("wrong answer", both);
}

static void expect_within(struct span want, const char *got, const char *what)
{
    char both[2 * TEXT_MAX], needle[TEXT_MAX];
    assert_true(span_cstr(want, needle, sizeof needle));
    if (strstr(got, needle) != NULL)
        return;
    (void)snprintf(both, sizeof both, "%s is \"%s\", expected it to hold \"%s\"", what, got,
                   needle);
    fail_line("wrong answer", both);
}

static void expect_number(struct span want, unsigned got, const char *what)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%u", got);
    expect_text(want, text, what);
}

static void check_field(const struct acl_reason *r, struct span word, struct span rest)
{
    size_t at = span_find(word, '=');
    struct span key = span_sub(word, 0, at), value = span_from(word, at + 1);
    if (span_is(key, "stage"))
        expect_text(value, acl_stage_name(r->stage), "stage");
    else if (span_is(key, "rule"))
        expect_text(value, r->rule, "rule");
    else if (span_is(key, "entry"))
        expect_text(value, r->entry, "entry");
    else if (span_is(key, "reply"))
        expect_number(value, r->code, "reply");
    else if (span_is(key, "status"))
        expect_text(value, r->enhanced, "status");
    else if (span_is(key, "line"))
        expect_number(value, r->at.line, "line");
    else if (span_is(key, "need"))
        expect_number(value, r->need, "need");
    else if (span_is(key, "local"))
        expect_text(value, r->local ? "yes" : "no", "local");
    else if (span_is(key, "hint~"))
        expect_within(span_trim(rest), r->hint, "hint");
    else if (span_is(key, "text~"))
        expect_within(span_trim(rest), r->text, "text");
    else if (span_is(key, "change~"))
        expect_within(span_trim(rest), r->change, "change");
    else
        fail_line("no such expectation", (const char *)word.p);
}

/* hint~, text~ and change~ take the rest of the line. */
static void check_fields(const struct acl_reason *r, struct span rest)
{
    for (struct span word = next_word(&rest); word.n > 0; word = next_word(&rest)) {
        check_field(r, word, rest);
        if (word.p[word.n - 1] == '~')
            return;
    }
}

static void remove_entry(struct entry_line *lines, size_t *n, size_t i)
{
    memmove(&lines[i], &lines[i + 1], (*n - i - 1) * sizeof *lines);
    (*n)--;
}

/* Whether the change names this entry, by the line where it stands. */
static bool names_entry(const char *change, const struct entry_line *entry)
{
    char end[320];
    (void)snprintf(end, sizeof end, "(%s:%u)", file_name, entry->line);
    return strstr(change, end) != NULL;
}

/* Takes out the entries that the change names, and no other. */
static void remove_named(struct spec *s, const struct acl_reason *r)
{
    struct entry_line *lines = r->stage == ACL_CONNECT ? s->connection_entries : s->relay_entries;
    size_t *n = r->stage == ACL_CONNECT ? &s->n_connection : &s->n_relay;
    size_t before = *n;
    for (size_t i = *n; i > 0; i--)
        if (names_entry(r->change, &lines[i - 1]))
            remove_entry(lines, n, i - 1);
    if (*n == before)
        fail_line("the change names no entry of the list", r->change);
}

/* "access.profiles[1].senders": which profile, which part. */
static bool profile_rule(const char *rule, size_t *index, size_t *part)
{
    static const char *const ends[PROFILE_PARTS] = {".clients", ".accounts", ".senders",
                                                    ".recipients.allow", ".recipients.refuse"};
    char end[32];
    if (sscanf(rule, "access.profiles[%zu]%31s", index, end) != 2)
        return false;
    for (*part = 0; *part < PROFILE_PARTS; (*part)++)
        if (strcmp(end, ends[*part]) == 0)
            return true;
    return false;
}

static bool apply_profile(struct spec *s, const struct acl_reason *r)
{
    size_t index, part;
    char text[TEXT_MAX];
    if (!profile_rule(r->rule, &index, &part))
        return false;
    struct profile_lines *x = &s->profiles[index];
    if (sscanf(r->change, "add \"%500[^\"]", text) == 1) {
        add_entry(x->parts[part], &x->n[part], text);
        return true;
    }
    size_t before = x->n[part];
    for (size_t i = x->n[part]; i > 0; i--)
        if (names_entry(r->change, &x->parts[part][i - 1])) {
            memmove(&x->parts[part][i - 1], &x->parts[part][i],
                    (x->n[part] - i) * sizeof x->parts[part][0]);
            x->n[part]--;
        }
    assert_true(x->n[part] < before);
    return true;
}

/* "wait 12 s, or set access.profiles[0].rate.client.messages: 61 (...)" */
static bool apply_rate(struct spec *s, const struct acl_reason *r)
{
    size_t index;
    const char *set = strstr(r->change, "set "), *name = strstr(r->rule, "rate.");
    assert_true(set != NULL && name != NULL);
    assert_true(span_starts_nocase(span_str(set + 4), r->rule));
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof text, "%s", set + 4 + (name + 5 - r->rule));
    bool own = sscanf(r->rule, "access.profiles[%zu]", &index) == 1;
    read_rate(text, ':', own ? &s->profiles[index].rates : &s->rates, NULL);
    return true;
}

static bool apply(struct spec *s, struct question *q, const struct acl_reason *r)
{
    char text[TEXT_MAX];
    if (r->step == ACL_STEP_RATE)
        return apply_rate(s, r);
    if (apply_profile(s, r))
        return true;
    const char *quoted = strstr(r->change, "add \"");
    if (span_starts_nocase(span_str(r->change), "authenticate")) {
        q->facts.identity_state = FACT_VALUE;
        q->facts.identity = span_str("somebody");
    } else if (span_starts_nocase(span_str(r->change), "use TLS")) {
        q->facts.tls = FACT_VALUE;
    } else if (span_starts_nocase(span_str(r->change), "remove \"")) {
        remove_named(s, r);
    } else if (quoted != NULL) {
        assert_int_equal(sscanf(quoted, "add \"%500[^\"]", text), 1);
        if (r->stage == ACL_CONNECT)
            add_entry(s->connection_entries, &s->n_connection, text);
        else
            add_entry(s->relay_entries, &s->n_relay, text);
    } else {
        return false; /* "write the recipient with its domain" */
    }
    return true;
}

static void try_change(const struct spec *spec, const struct question *question,
                       const struct acl_reason *r)
{
    static struct spec changed;
    static struct question asked;
    struct acl_reason again;
    changed = *spec;
    asked = *question;
    asked.facts.names.v = question->names;
    if (!apply(&changed, &asked, r))
        return;
    struct acl_policy *policy = build_good(&changed);
    enum acl_verdict verdict = acl_decide(policy, r->stage, &asked.facts, &again);
    bool next = verdict == ACL_DENY && strcmp(again.rule, r->rule) != 0; /* TLS, then a login */
    /* What is unknown or failed may still stand between. */
    bool open = (verdict == ACL_DEFER && question->facts.names.state == FACT_FAILED) ||
                (verdict == ACL_NEED && (question->facts.tls == FACT_UNKNOWN ||
                                         question->facts.names.state == FACT_UNKNOWN));
    if (verdict != ACL_ALLOW && !next && !open)
        fail_line("the proposed change does not turn it", r->change);
    changes_tried++;
    acl_policy_free(&policy);
}

static void run_case(const struct spec *spec, const struct acl_policy *policy, struct span line)
{
    static struct question q;
    struct acl_explanation x, twice;
    struct buf text;
    read_question(&q, &line);
    struct span outcome = next_word(&line);
    acl_explain(policy, &q.facts, &x);
    acl_explain(policy, &q.facts, &twice);
    const struct acl_reason *r = acl_explain_last(&x);
    expect_text(outcome, acl_outcome_name(x.outcome), "outcome");
    check_fields(r, line);
    assert_true(r->rule[0] != '\0' && r->why[0] != '\0');
    assert_memory_equal(r, acl_explain_last(&twice), sizeof *r);
    for (size_t i = 0; i < x.n;
         i++) { /* every step has a rule, and a change unless it is Pickup's */
        const struct acl_reason *step = &x.steps[i];
        assert_true(step->rule[0] != '\0' && step->why[0] != '\0');
        assert_true(step->change[0] != '\0' || q.facts.origin == ACL_FROM_PICKUP);
        assert_true(i == 0 || x.steps[i - 1].step < step->step ||
                    x.steps[i - 1].step == ACL_STEP_RATE);
        assert_true((step->verdict == ACL_ALLOW) == (i + 1 < x.n || x.outcome == ACL_ALLOWED));
    }
    assert_true((r->verdict == ACL_DENY || r->verdict == ACL_DEFER) == (r->code >= 400));
    if (r->verdict == ACL_DEFER)
        assert_true(r->code < 500);
    buf_init(&text, 65536);
    assert_true(acl_explain_steps(&x, 0, x.n, &text) && acl_explain_text(&x, &text));
    assert_non_null(strstr(buf_cstr(&text), acl_outcome_name(x.outcome)));
    buf_deinit(&text);
    if (x.outcome == ACL_REFUSED)
        try_change(spec, &q, r);
    cases_run++;
}

static void run_faulty(const struct spec *spec, const char *words)
{
    struct acl_problems problems;
    acl_problems_init(&problems);
    struct acl_policy *policy = build(spec, &problems);
    bool found = false;
    for (size_t i = 0; i < problems.n; i++)
        found = found || strstr(problems.v[i].text, words) != NULL;
    if (!found)
        fail_line(problems.n > 0 ? problems.v[0].text : "no problem found", words);
    for (size_t i = 0; i < problems.n; i++)
        assert_true(problems.v[i].line > 0 && strcmp(problems.v[i].file, file_name) == 0);
    acl_policy_free(&policy);
    acl_problems_deinit(&problems);
    cases_run++;
}

static void run_open(const struct acl_policy *policy, struct span line)
{
    struct acl_reason r;
    bool open = acl_is_open_relay(policy, &r);
    expect_text(next_word(&line), open ? "yes" : "no", "open relay");
    assert_true(r.rule[0] != '\0' && r.why[0] != '\0');
    assert_true(open == (r.change[0] != '\0'));
    check_fields(&r, line);
    cases_run++;
}

static void run_line(struct spec *spec, char *line)
{
    char key[32];
    int used = 0;
    line[strcspn(line, "\r\n")] = '\0';
    while (*line == ' ')
        line++;
    if (*line == '\0' || *line == '#')
        return;
    if (sscanf(line, "%31s %n", key, &used) < 1)
        return;
    char *rest = line + used;
    if (read_policy_line(spec, key, rest))
        return;
    if (strcmp(key, "faulty") == 0) {
        run_faulty(spec, rest);
        return;
    }
    struct acl_policy *policy = build_good(spec);
    if (strcmp(key, "case") == 0)
        run_case(spec, policy, span_str(rest));
    else if (strcmp(key, "open") == 0)
        run_open(policy, span_str(rest));
    else
        fail_line("not a word of a case file", key);
    acl_policy_free(&policy);
}

static void run_file(const char *name)
{
    static struct spec spec;
    char path[1024], line[2048];
    (void)snprintf(path, sizeof path, "%s/acl/%s", TESTS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    file_name = name;
    line_number = 0;
    memset(&spec, 0, sizeof spec);
    while (fgets(line, sizeof line, f) != NULL) {
        line_number++;
        run_line(&spec, line);
    }
    (void)fclose(f);
}

static void every_case_gives_its_answer_and_every_change_turns_it(void **state)
{
    (void)state;
    DIR *d = opendir(TESTS_DIR "/acl");
    assert_non_null(d);
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        if (strlen(entry->d_name) > 5 && span_ends_nocase(span_str(entry->d_name), ".case"))
            run_file(entry->d_name);
    (void)closedir(d);
    print_message("%zu cases, %zu proposed changes tried\n", cases_run, changes_tried);
    assert_true(cases_run >= 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_gives_its_answer_and_every_change_turns_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
