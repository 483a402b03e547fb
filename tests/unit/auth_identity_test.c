/* Which account a name means. */
#include "auth/identity.h"
#include "support/test.h"

static const char *const corp_aliases[] = {"CORP2", "corp.local"};
static const struct auth_domain house[] = {
    {.name = "users", .backend = AUTH_BACKEND_USERDB},
    {.name = ".", .backend = AUTH_BACKEND_SYSTEM},
    {.name = "CORP", .backend = AUTH_BACKEND_SYSTEM},
    {.name = "corp.example",
     .aliases = corp_aliases,
     .alias_count = 2,
     .backend = AUTH_BACKEND_LDAP},
    {.name = "CORP2", .backend = AUTH_BACKEND_SYSTEM}, /* never reached: the alias above is first */
};
enum { HOUSE = sizeof house / sizeof *house };

struct name_case {
    const char *name;
    const char *default_domain;
    enum identity_result result;
    const char *account, *canonical;
};

static void check(const struct auth_domain *domains, size_t n, const struct name_case *c)
{
    struct identity id;
    const struct auth_options o = {
        .domains = domains, .domain_count = n, .basic.default_domain = c->default_domain};
    enum identity_result result = identity_resolve(span_str(c->name), &o, &id);
    if (result != c->result)
        fail_msg("%s: result %d, want %d", c->name, (int)result, (int)c->result);
    if (result != IDENTITY_OK)
        return;
    if (strcmp(id.account, c->account) != 0 || strcmp(id.canonical, c->canonical) != 0)
        fail_msg("%s: %s, %s", c->name, id.account, id.canonical);
}

static void a_name_means_one_account_by_the_table(void **state)
{
    (void)state;
    static const struct name_case cases[] = {
        {"alice", NULL, IDENTITY_OK, "alice", "users\\alice"},
        {"Alice", "", IDENTITY_OK, "alice", "users\\alice"},
        {"alice", "CORP", IDENTITY_OK, "alice", "CORP\\alice"},
        {"alice", "corp2", IDENTITY_OK, "alice", "corp.example\\alice"},
        {"alice", "GONE", IDENTITY_NO_DOMAIN, NULL, NULL},
        {"users\\alice", "CORP", IDENTITY_OK, "alice", "users\\alice"},
        {"USERS\\alice", NULL, IDENTITY_OK, "alice", "users\\alice"},
        {"corp\\Alice", NULL, IDENTITY_OK, "alice", "CORP\\alice"},
        {"CORP2\\Alice", NULL, IDENTITY_OK, "alice", "corp.example\\alice"},
        {"Alice@corp.example", NULL, IDENTITY_OK, "alice", "corp.example\\alice"},
        {"alice@CORP.LOCAL", NULL, IDENTITY_OK, "alice", "corp.example\\alice"},
        {".\\bob", NULL, IDENTITY_OK, "bob", ".\\bob"},
        {".\\Bob", NULL, IDENTITY_OK, "Bob", ".\\Bob"},
        {"alice@users", NULL, IDENTITY_OK, "alice", "users\\alice"},
        {"App@Example.NET", NULL, IDENTITY_OK, "app@example.net", "users\\app@example.net"},
        {"app@example.net", "CORP", IDENTITY_OK, "app@example.net", "users\\app@example.net"},
        {"users\\app@example.net", NULL, IDENTITY_OK, "app@example.net", "users\\app@example.net"},
        {"users\\alice@users", NULL, IDENTITY_OK, "alice@users", "users\\alice@users"},
        {"a@b@users", NULL, IDENTITY_OK, "a@b", "users\\a@b"},
        {"j\xc3\xb6rg", NULL, IDENTITY_OK, "j\xc3\xb6rg", "users\\j\xc3\xb6rg"},
        {"NOPE\\alice", NULL, IDENTITY_NO_DOMAIN, NULL, NULL},
        {"", NULL, IDENTITY_EMPTY, NULL, NULL},
        {"\\", NULL, IDENTITY_EMPTY, NULL, NULL},
        {"CORP\\", NULL, IDENTITY_EMPTY, NULL, NULL},
        {"@users", NULL, IDENTITY_EMPTY, NULL, NULL},
        {"\\alice", NULL, IDENTITY_NO_DOMAIN, NULL, NULL},
        {"a\\b\\c", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"users\\a\\c", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {" alice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"alice ", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"users\\ alice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"al\tice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"al\r\nice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"al\x7fice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"al\xc2\x85ice", NULL, IDENTITY_MALFORMED, NULL, NULL},
        {"al\xff", NULL, IDENTITY_MALFORMED, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(house, HOUSE, &cases[i]);
}

static void without_a_userdb_an_unknown_realm_is_no_domain(void **state)
{
    (void)state;
    static const struct name_case cases[] = {
        {"app@example.net", NULL, IDENTITY_NO_DOMAIN, NULL, NULL},
        {"alice", NULL, IDENTITY_OK, "alice", ".\\alice"},
        {"alice@CORP", NULL, IDENTITY_OK, "alice", "CORP\\alice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(house + 1, 2, &cases[i]);
    static const struct name_case nothing = {"alice", NULL, IDENTITY_NO_DOMAIN, NULL, NULL};
    check(NULL, 0, &nothing);
}

static void names_that_are_too_long_or_hold_a_nul_are_malformed(void **state)
{
    (void)state;
    struct identity id;
    char name[2 * IDENTITY_ACCOUNT_MAX + 2];
    const struct auth_options o = {.domains = house, .domain_count = HOUSE};
    memset(name, 'a', sizeof name);
    assert_int_equal(identity_resolve(span_of(name, IDENTITY_ACCOUNT_MAX), &o, &id), IDENTITY_OK);
    assert_int_equal(identity_resolve(span_of(name, IDENTITY_ACCOUNT_MAX + 1), &o, &id),
                     IDENTITY_MALFORMED);
    assert_int_equal(identity_resolve(span_of(name, sizeof name), &o, &id), IDENTITY_MALFORMED);
    assert_int_equal(identity_resolve(span_of("al\0ice", 6), &o, &id), IDENTITY_MALFORMED);
}

static void only_the_shortest_utf8_form_is_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x93\xa7", true},
        {"\xc0\xaf", false},
        {"\xc1\xbf", false},
        {"\xe0\x80\xaf", false},
        {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xf0\x80\x80\xaf", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xc3", false},
        {"\xe2\x82", false},
        {"\x80", false},
        {"\xc3(", false},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xee\x80\x80", true},
        {"\xe2\x28\xa1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (identity_text_ok(span_str(cases[i].text)) != cases[i].ok)
            fail_msg("case %zu", i);
}

/* ---- names that follow from other settings, and the machine's own ---- */

static const char *const machine[] = {"relay7", "relay7.corp.example", "RELAY7-LONGNAM"};
static const char *const krb_aliases[] = {"krb"};
static const struct auth_domain mixed[] = {
    {.name = "KRB",
     .aliases = krb_aliases,
     .alias_count = 1,
     .backend = AUTH_BACKEND_KERBEROS,
     .kerberos.realm = "KRB.EXAMPLE"},
    {.name = "CORP", .backend = AUTH_BACKEND_LDAP, .ldap.bind = "{user}@ad.corp.example"},
    {.name = "DIR", .backend = AUTH_BACKEND_LDAP, .ldap.bind = "uid={user},dc=dir,dc=example"},
    {.name = "machine", .backend = AUTH_BACKEND_SYSTEM}, /* no `.`: these are no local accounts */
    {.name = "relay7", .backend = AUTH_BACKEND_SYSTEM},  /* these are */
    {.name = "late.example", .backend = AUTH_BACKEND_USERDB},
};
enum { MIXED = sizeof mixed / sizeof *mixed };

static const struct {
    const char *name;
    enum identity_result result;
    enum identity_match match;
    const char *canonical;
} mixed_cases[] = {
    {"alice@KRB.EXAMPLE", IDENTITY_OK, IDENTITY_BY_IMPLIED, "KRB\\alice"},
    {"Alice@krb.example", IDENTITY_OK, IDENTITY_BY_IMPLIED, "KRB\\alice"},
    {"krb\\alice", IDENTITY_OK, IDENTITY_BY_NAME, "KRB\\alice"},
    {"KRB.EXAMPLE\\alice", IDENTITY_OK, IDENTITY_BY_IMPLIED, "KRB\\alice"},
    {"KRB\\alice@KRB.EXAMPLE", IDENTITY_OK, IDENTITY_BY_NAME, "KRB\\alice"},
    {"KRB\\alice@corp", IDENTITY_MALFORMED, IDENTITY_BY_NAME, NULL},
    {"KRB\\alice@nobody", IDENTITY_MALFORMED, IDENTITY_BY_NAME, NULL},
    {"KRB\\@KRB.EXAMPLE", IDENTITY_MALFORMED, IDENTITY_BY_NAME, NULL},
    {"alice@ad.corp.example", IDENTITY_OK, IDENTITY_BY_IMPLIED, "CORP\\alice"},
    {"AD.CORP.EXAMPLE\\alice", IDENTITY_OK, IDENTITY_BY_IMPLIED, "CORP\\alice"},
    {"alice@corp.example", IDENTITY_OK, IDENTITY_BY_WHOLE, "late.example\\alice@corp.example"},
    /* a directory whose pattern has no @ may know its accounts by their mail address */
    {"DIR\\alice@firm.example", IDENTITY_OK, IDENTITY_BY_NAME, "DIR\\alice@firm.example"},
    {"DIR\\alice@dir", IDENTITY_OK, IDENTITY_BY_NAME, "DIR\\alice"},
    {"dir.example\\alice", IDENTITY_NO_DOMAIN, IDENTITY_BY_NAME, NULL},
    /* the machine: case makes another account there, and nowhere else */
    {".\\Bob", IDENTITY_OK, IDENTITY_BY_MACHINE, "relay7\\Bob"},
    {"RELAY7\\Bob", IDENTITY_OK, IDENTITY_BY_NAME, "relay7\\Bob"},
    {"relay7.corp.example\\Bob", IDENTITY_OK, IDENTITY_BY_MACHINE, "relay7\\Bob"},
    {"Bob@Relay7.Corp.Example", IDENTITY_OK, IDENTITY_BY_MACHINE, "relay7\\Bob"},
    {"relay7-longnam\\Bob", IDENTITY_OK, IDENTITY_BY_MACHINE, "relay7\\Bob"},
    {"machine\\Bob", IDENTITY_OK, IDENTITY_BY_NAME, "machine\\bob"},
    {".\\bob@relay7", IDENTITY_OK, IDENTITY_BY_MACHINE, "relay7\\bob"},
    {".\\bob@krb", IDENTITY_MALFORMED, IDENTITY_BY_MACHINE, NULL},
    {"relay8\\Bob", IDENTITY_NO_DOMAIN, IDENTITY_BY_NAME, NULL},
    /* the embedded database keeps what stands behind the backslash */
    {"late.example\\App@Other.Example", IDENTITY_OK, IDENTITY_BY_NAME,
     "late.example\\app@other.example"},
    {"app@Late.Example", IDENTITY_OK, IDENTITY_BY_NAME, "late.example\\app"},
    {"Alice", IDENTITY_OK, IDENTITY_BY_FIRST, "KRB\\alice"},
};

static void names_follow_from_realms_patterns_and_the_machine(void **state)
{
    (void)state;
    const struct auth_options o = {
        .domains = mixed, .domain_count = MIXED, .machine_names = machine, .machine_name_count = 3};
    for (size_t i = 0; i < sizeof mixed_cases / sizeof *mixed_cases; i++) {
        struct identity id;
        const char *name = mixed_cases[i].name;
        enum identity_result result = identity_resolve(span_str(name), &o, &id);
        if (result != mixed_cases[i].result)
            fail_msg("%s: result %d, want %d", name, (int)result, (int)mixed_cases[i].result);
        if (result == IDENTITY_OK && (strcmp(id.canonical, mixed_cases[i].canonical) != 0 ||
                                      id.match != mixed_cases[i].match))
            fail_msg("%s: %s by %d", name, id.canonical, (int)id.match);
    }
    /* the canonical name means itself, whatever it came from: one account has one name */
    for (size_t i = 0; i < sizeof mixed_cases / sizeof *mixed_cases; i++) {
        struct identity id;
        const char *canonical = mixed_cases[i].canonical;
        if (canonical == NULL)
            continue;
        assert_int_equal(identity_resolve(span_str(canonical), &o, &id), IDENTITY_OK);
        assert_string_equal(id.canonical, canonical);
    }
}

static void a_bare_name_says_by_what_it_got_its_domain(void **state)
{
    (void)state;
    struct identity id;
    struct auth_options o = {.domains = mixed, .domain_count = MIXED};
    assert_int_equal(identity_resolve(span_str("alice"), &o, &id), IDENTITY_OK);
    assert_int_equal(id.match, IDENTITY_BY_FIRST);
    o.basic.default_domain = "ad.corp.example"; /* by any of its names */
    assert_int_equal(identity_resolve(span_str("alice"), &o, &id), IDENTITY_OK);
    assert_int_equal(id.match, IDENTITY_BY_DEFAULT);
    assert_string_equal(id.canonical, "CORP\\alice");
}

/* ---- who is allowed ---- */

static void the_allow_list_names_accounts_of_its_own_domain(void **state)
{
    (void)state;
    static const char *const corp[] = {"OTHER\\eve", "CORP\\Alice", "relay-users", "corp2\\dora",
                                       "",           "CORP\\",      "a\\b\\c"};
    static const char *const local[] = {".\\Bob", "RELAY7\\carol"};
    static const char *const nobody[] = {"OTHER\\eve"};
    static const char *const aliases[] = {"CORP2"};
    const struct auth_domain domains[] = {
        {.name = "CORP",
         .aliases = aliases,
         .alias_count = 1,
         .backend = AUTH_BACKEND_LDAP,
         .ldap.bind = "{user}@corp.example",
         .allow = corp,
         .allow_count = 7},
        {.name = ".", .backend = AUTH_BACKEND_SYSTEM, .allow = local, .allow_count = 2},
        {.name = "users", .backend = AUTH_BACKEND_USERDB},
        {.name = "shut", .backend = AUTH_BACKEND_USERDB, .allow = nobody, .allow_count = 1},
    };
    static const char *const names[] = {"relay7"};
    const struct auth_options o = {
        .domains = domains, .domain_count = 4, .machine_names = names, .machine_name_count = 1};
    static const struct {
        const char *name;
        enum identity_allowance allowance;
        size_t entry;
    } cases[] = {
        {"CORP\\alice", IDENTITY_LISTED, 1},
        {"ALICE@corp.example", IDENTITY_LISTED, 1},
        {"CORP\\dora", IDENTITY_LISTED, 3},        /* through the alias */
        {"CORP\\relay-users", IDENTITY_LISTED, 2}, /* an account may be called like a group */
        {"CORP\\eve", IDENTITY_ONLY_BY_GROUP, 7},  /* that entry is of another domain */
        {"CORP\\bob", IDENTITY_ONLY_BY_GROUP, 7},
        {".\\Bob", IDENTITY_LISTED, 0},
        {".\\bob", IDENTITY_ONLY_BY_GROUP, 2}, /* case makes another account here */
        {"relay7\\carol", IDENTITY_LISTED, 1}, /* `.` and the machine's name are one */
        {"users\\anybody", IDENTITY_EVERYONE, 0},
        {"shut\\eve", IDENTITY_ONLY_BY_GROUP, 1}, /* a list without any name is a list */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct identity id;
        size_t entry = 99;
        assert_int_equal(identity_resolve(span_str(cases[i].name), &o, &id), IDENTITY_OK);
        enum identity_allowance got = identity_allowed(&id, &o, &entry);
        if (got != cases[i].allowance || entry != cases[i].entry)
            fail_msg("%s: %d by entry %zu", cases[i].name, (int)got, entry);
    }
    assert_string_equal(identity_allow_name("CORP\\x", 0, &o), "x");
    assert_string_equal(identity_allow_name("x", 0, &o), "x");
    assert_null(identity_allow_name("CORP\\x", 1, &o));
    assert_null(identity_allow_name("", 0, &o));
    assert_null(identity_allow_name("CORP\\", 0, &o));
    assert_null(identity_allow_name("CORP\\x\\y", 0, &o));
    assert_null(identity_allow_name(" x", 0, &o));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_means_one_account_by_the_table),
        cmocka_unit_test(without_a_userdb_an_unknown_realm_is_no_domain),
        cmocka_unit_test(names_that_are_too_long_or_hold_a_nul_are_malformed),
        cmocka_unit_test(only_the_shortest_utf8_form_is_text),
        cmocka_unit_test(names_follow_from_realms_patterns_and_the_machine),
        cmocka_unit_test(a_bare_name_says_by_what_it_got_its_domain),
        cmocka_unit_test(the_allow_list_names_accounts_of_its_own_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
