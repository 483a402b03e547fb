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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_means_one_account_by_the_table),
        cmocka_unit_test(without_a_userdb_an_unknown_realm_is_no_domain),
        cmocka_unit_test(names_that_are_too_long_or_hold_a_nul_are_malformed),
        cmocka_unit_test(only_the_shortest_utf8_form_is_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
