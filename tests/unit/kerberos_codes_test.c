/* What an error of MIT Kerberos says about an account, in both stages. */
#include "posix/kerberos_codes.h"
#include "support/test.h"

#include <krb5/krb5.h>

struct expected {
    int32_t code;
    enum kerberos_answer account, proof;
};

static const struct expected codes[] = {
    {KRB5KDC_ERR_PREAUTH_FAILED, KERBEROS_BAD_PASSWORD, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_BAD_INTEGRITY, KERBEROS_BAD_PASSWORD, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, KERBEROS_NO_ACCOUNT, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_PRINCIPAL_NOT_UNIQUE, KERBEROS_NO_ACCOUNT, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_CLIENT_REVOKED, KERBEROS_DISABLED, KERBEROS_DISABLED},
    {KRB5KDC_ERR_NAME_EXP, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_CLIENT_NOTYET, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_KEY_EXP, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_POLICY, KERBEROS_DISABLED, KERBEROS_DISABLED},
    {KRB5KDC_ERR_NEVER_VALID, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_NULL_KEY, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_ETYPE_NOSUPP, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5_PREAUTH_FAILED, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_PADATA_TYPE_NOSUPP, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5_LIBOS_CANTREADPWD, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5_LIBOS_PWDINTR, KERBEROS_DISABLED, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_WRONG_REALM, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_REALM_UNKNOWN, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_KDCREP_SKEW, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_SKEW, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_KDCREP_MODIFIED, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KDC_ERR_SVC_UNAVAILABLE, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_KDC_UNREACH, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_MODIFIED, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_BADKEYVER, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_NOKEY, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_TKT_NYV, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_AP_ERR_TKT_EXPIRED, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_KT_NOTFOUND, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5_KT_KVNONOTFOUND, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {KRB5KRB_ERR_GENERIC, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {ASN1_BAD_ID, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
    {12, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER}, /* ENOMEM */
    {-1, KERBEROS_NO_ANSWER, KERBEROS_NO_ANSWER},
};

static void each_code_has_its_answer_in_both_stages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        const char *reason = "";
        if (kerberos_code_answer(KERBEROS_STAGE_ACCOUNT, codes[i].code, &reason) !=
            codes[i].account)
            fail_msg("row %zu, account", i);
        assert_true(reason == NULL || reason[0] != '\0');
        if (kerberos_code_answer(KERBEROS_STAGE_PROOF, codes[i].code, &reason) != codes[i].proof)
            fail_msg("row %zu, proof", i);
        assert_true(reason == NULL || reason[0] != '\0');
    }
}

/* Whatever a KDC may say: no error is an acceptance, and while it proves itself none is a wrong
 * password, since nobody has shown yet that it may judge about one. */
static void no_error_of_a_kdc_lets_anybody_in_and_no_failed_proof_is_a_wrong_password(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 128; i++) {
        const char *reason;
        int32_t code = (int32_t)ERROR_TABLE_BASE_krb5 + i;
        assert_int_not_equal(kerberos_code_answer(KERBEROS_STAGE_ACCOUNT, code, &reason),
                             KERBEROS_ACCEPTED);
        enum kerberos_answer proof = kerberos_code_answer(KERBEROS_STAGE_PROOF, code, &reason);
        assert_true(proof == KERBEROS_NO_ANSWER || proof == KERBEROS_DISABLED);
    }
}

static void a_keytab_that_is_not_there_is_named(void **state)
{
    (void)state;
    const struct kerberos_account_options options = {
        .realm = "KRB.EXAMPLE", .service = "smtp", .host = "h", .keytab = "/nonexistent/keytab"};
    struct kerberos_account *a = NULL;
    struct err e = {0};
    char reason[KERBEROS_REASON_MAX] = "";
    assert_true(kerberos_account_open(&options, &a, &e));
    assert_int_equal(kerberos_account_check(a, "alice", span_str("secret"), reason),
                     KERBEROS_NO_ANSWER);
    assert_non_null(strstr(reason, "keytab"));
    kerberos_account_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_has_its_answer_in_both_stages),
        cmocka_unit_test(no_error_of_a_kdc_lets_anybody_in_and_no_failed_proof_is_a_wrong_password),
        cmocka_unit_test(a_keytab_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
