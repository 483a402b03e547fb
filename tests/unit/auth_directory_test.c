/* What goes into LDAP and what its refusals say: tables. */
#include "auth/directory_answer.h"
#include "auth/directory_names.h"
#include "auth/refusal_pace.h"
#include "support/test.h"

static void each_sub_code_of_active_directory_has_its_result(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *data;
        enum backend_result result;
    } cases[] = {
        {49, "525", BACKEND_NO_ACCOUNT},    {49, "52e", BACKEND_BAD_PASSWORD},
        {49, "530", BACKEND_DISABLED},      {49, "531", BACKEND_DISABLED},
        {49, "532", BACKEND_DISABLED},      {49, "533", BACKEND_DISABLED},
        {49, "701", BACKEND_DISABLED},      {49, "773", BACKEND_DISABLED},
        {49, "775", BACKEND_DISABLED},      {49, "zzz", BACKEND_BAD_PASSWORD},
        {49, "52e1", BACKEND_BAD_PASSWORD}, {32, "525", BACKEND_NO_ACCOUNT},
        {8, "0", BACKEND_UNAVAILABLE},      {52, "533", BACKEND_UNAVAILABLE},
        {80, "52e", BACKEND_UNAVAILABLE},   {19, "", BACKEND_DISABLED},
        {49, "52f", BACKEND_DISABLED},      {49, "534", BACKEND_DISABLED},
        {49, "569", BACKEND_DISABLED},      {49, "52E", BACKEND_BAD_PASSWORD},
        {49, "0", BACKEND_BAD_PASSWORD},    {49, "ffffffff533", BACKEND_BAD_PASSWORD},
        {34, "", BACKEND_NO_ACCOUNT},       {48, "", BACKEND_DISABLED},
        {50, "", BACKEND_DISABLED},         {53, "", BACKEND_DISABLED},
        {13, "", BACKEND_UNAVAILABLE},      {51, "", BACKEND_UNAVAILABLE},
        {1, "525", BACKEND_UNAVAILABLE},    {-1, "52e", BACKEND_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200], reason[BACKEND_REASON_MAX] = "";
        (void)snprintf(text, sizeof text,
                       "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, "
                       "data %s, v1db1",
                       cases[i].data);
        assert_int_equal(directory_answer(cases[i].code, text, reason), cases[i].result);
        assert_true(reason[0] != '\0');
    }
}

static void urls_are_ldaps_or_ldap_and_nothing_else(void **state)
{
    (void)state;
    struct directory_url u[DIRECTORY_URLS_MAX];
    size_t n;
    struct err e = {0};
    assert_true(directory_urls_parse("ldaps://dc1  ldap://dc2:3890/ LDAPS://[::1]:1", u, &n, &e));
    assert_int_equal(n, 3);
    assert_string_equal(u[0].host, "dc1");
    assert_int_equal(u[0].port, 636);
    assert_false(u[0].starttls);
    assert_int_equal(u[1].port, 3890);
    assert_true(u[1].starttls);
    assert_string_equal(u[2].host, "::1");
    static const char *const bad[] = {"",
                                      " ",
                                      "ldapi:///",
                                      "dc1",
                                      "ldaps://",
                                      "ldaps://dc1:0",
                                      "ldaps://u@dc1",
                                      "ldaps://dc1/dc=x",
                                      "ldap://dc1:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(directory_urls_parse(bad[i], u, &n, &e));
}

static void an_account_cannot_leave_its_place_in_the_name(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *account, *name; /* NULL: refused */
    } cases[] = {
        {"{user}@corp.example", "alice", "alice@corp.example"},
        {"{user}@corp.example", "alice@other", NULL},
        {"{user}", "CN=alice,DC=x", NULL},
        {"{user}", "a/b", NULL},
        {"uid={user},ou=p", "al ice", "uid=al ice,ou=p"},
        {"uid={user},ou=p", "a,ou=x", "uid=a\\2Cou\\3Dx,ou=p"},
        {"uid={user},ou=p", "#a\\", "uid=\\23a\\5C,ou=p"},
        {"uid={user},ou=p", " a ", "uid=\\20a\\20,ou=p"},
        {"uid={user},ou=p", "{user}", "uid={user},ou=p"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool ok = directory_bind_name(cases[i].pattern, cases[i].account, out, sizeof out);
        assert_int_equal(ok, cases[i].name != NULL);
        if (ok)
            assert_string_equal(out, cases[i].name);
    }
    assert_false(directory_bind_name("{user}@corp.example", "alice", out, 8));
    struct buf b;
    buf_init(&b, 100);
    assert_true(directory_filter_value(&b, span_of("a*)(\\\0z", 7)));
    assert_string_equal(buf_cstr(&b), "a\\2a\\29\\28\\5c\\00z");
    buf_deinit(&b);
    struct err e = {0};
    assert_true(directory_pattern_ok("uid={user},dc=x", &e));
    assert_false(directory_pattern_ok("uid=user", &e));
    assert_false(directory_pattern_ok("{user}{x}", &e));
}

static void refusals_end_at_common_instants(void **state)
{
    (void)state;
    struct refusal_pace p = {0};
    assert_int_equal(refusal_pace_us(&p, 0), 60000);
    assert_int_equal(refusal_pace_us(&p, 2000), 60000);
    assert_int_equal(refusal_pace_us(&p, 48000), 60000);
    assert_int_equal(refusal_pace_us(&p, 48001), 90000); /* it would leave less than a fifth */
    assert_int_equal(refusal_pace_us(&p, 2000), 90000);
    assert_int_equal(refusal_pace_us(&p, 170000), 300000); /* a slow one lifts it, and itself */
    for (unsigned i = 0; i < REFUSAL_PACE_SINK - 1; i++)
        assert_int_equal(refusal_pace_us(&p, 2000), 300000);
    assert_int_equal(refusal_pace_us(&p, 2000), 200000);
    for (unsigned i = 0; i < REFUSAL_PACE_SINK - 1; i++)
        assert_int_equal(refusal_pace_us(&p, 2000), 200000);
    assert_int_equal(refusal_pace_us(&p, 150000), 200000); /* it needs this step: counted anew */
    for (unsigned i = 0; i < REFUSAL_PACE_SINK - 1; i++)
        assert_int_equal(refusal_pace_us(&p, 2000), 200000);
    for (unsigned i = 0; i < 10 * REFUSAL_PACE_SINK; i++)
        (void)refusal_pace_us(&p, 2000);
    assert_int_equal(refusal_pace_us(&p, 2000), 60000);
    assert_int_equal(refusal_pace_us(&p, 5000000), 5200000);
    assert_int_equal(refusal_pace_us(&p, 9000000), 9000000); /* longer than every step */
    assert_int_equal(refusal_pace_us(&p, 1), 5200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sub_code_of_active_directory_has_its_result),
        cmocka_unit_test(urls_are_ldaps_or_ldap_and_nothing_else),
        cmocka_unit_test(an_account_cannot_leave_its_place_in_the_name),
        cmocka_unit_test(refusals_end_at_common_instants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
