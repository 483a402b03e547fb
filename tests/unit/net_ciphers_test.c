/* Which lists of ciphers are taken, and the words for those that are not. */
#include "net/tls.h"

#include "support/test.h"

static void lists_that_openssl_knows_whole_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *list, *minimum;
    } good[] = {
        {"ECDHE-RSA-AES128-GCM-SHA256", "1.2"},
        {"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256", "1.2"},
        {"HIGH:!aNULL:!MD5", "1.2"},
        {"DEFAULT", "1.2"},
        {"ECDHE+AESGCM:AES128-SHA:-kRSA:@STRENGTH", "1.2"},
        {"AES128-SHA AES256-SHA,ECDHE-RSA-AES128-SHA", "1.0"},
        {"ECDHE-RSA-AES128-SHA:@SECLEVEL=0", "1.0"},
        {"ECDHE-RSA-AES128-GCM-SHA256", "1.3"}, /* has no effect, and no fault */
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct err e = {0};
        if (!tls_ciphers_check(good[i].list, good[i].minimum, &e))
            fail_msg("%s: %s", good[i].list, e.text);
    }
    struct err e = {0};
    assert_true(tls_ciphersuites_check("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", &e));
}

static void a_word_that_openssl_would_pass_over_is_a_fault(void **state)
{
    (void)state;
    static const struct {
        const char *list, *words;
    } bad[] = {
        {"ECDHE-RSA-AES128-GCM-SHA25", "\"ECDHE-RSA-AES128-GCM-SHA25\" is no cipher"},
        {"AES128-SHA:AES12", "\"AES12\" is no cipher"},
        {"HIGH:!aNUL", "\"!aNUL\" is no cipher"},
        {"AES128-SHA:@SECLEVEL=9", "\"@SECLEVEL=9\" is no cipher"},
        {"AES128-SHA:@WHATEVER", "\"@WHATEVER\" is no cipher"},
        {"AES128-SHA:-", "\"-\" is no cipher"},
        {"TLS_AES_128_GCM_SHA256", "is no cipher"}, /* belongs into ciphersuites */
        {"!ALL", "no cipher is left"},
        {":", "no cipher is left"},
        {"ALL:@SECLEVEL=0", "knows no certificate"},
        {"NULL-SHA256:@SECLEVEL=0", "does not encrypt"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        if (tls_ciphers_check(bad[i].list, "1.2", &e))
            fail_msg("%s was taken", bad[i].list);
        assert_int_equal(e.class, ERR_PERM);
        if (strstr(e.text, bad[i].words) == NULL)
            fail_msg("%s: %s", bad[i].list, e.text);
    }
    static const char *const suites[] = {"TLS_AES_129", "TLS_AES_128_GCM_SHA256:AES128-SHA",
                                         "AES128-SHA", "TLS_AES_128_GCM_SHA256 x"};
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        struct err e = {0};
        assert_false(tls_ciphersuites_check(suites[i], &e));
        assert_int_equal(e.class, ERR_PERM);
        assert_non_null(strstr(e.text, "is no cipher suite of TLS 1.3"));
    }
}

static void a_list_of_any_length_is_judged(void **state)
{
    (void)state;
    static char list[5000];
    struct err e = {0};
    memset(list, 'A', sizeof list - 1);
    assert_false(tls_ciphers_check(list, "1.2", &e));
    assert_int_equal(e.class, ERR_PERM);
    list[1500] = '\0';
    assert_false(tls_ciphers_check(list, "1.2", &e));
    assert_false(tls_ciphersuites_check(list, &e));
    assert_int_equal(e.class, ERR_PERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_that_openssl_knows_whole_are_taken),
        cmocka_unit_test(a_word_that_openssl_would_pass_over_is_a_fault),
        cmocka_unit_test(a_list_of_any_length_is_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
