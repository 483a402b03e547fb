#include "posix/kerberos_codes.h"

#include <krb5/krb5.h>

struct code {
    int32_t code;
    enum kerberos_answer answer;
    const char *reason;
};

static const char clocks[] = "the KDC's clock and ours differ by more than it allows";
static const char false_kdc[] =
    "what the KDC gave does not open with the key in the keytab: an old keytab or a false KDC";

/* What can be brought about by the name or the state of one account is never NO_ANSWER: otherwise
 * one account could make the others wait for a KDC that is well. */
static const struct code account_codes[] = {
    {KRB5KDC_ERR_PREAUTH_FAILED, KERBEROS_BAD_PASSWORD, "wrong password"},
    {KRB5KRB_AP_ERR_BAD_INTEGRITY, KERBEROS_BAD_PASSWORD, "wrong password"},
    {KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, KERBEROS_NO_ACCOUNT, "the realm has no such account"},
    {KRB5KDC_ERR_PRINCIPAL_NOT_UNIQUE, KERBEROS_NO_ACCOUNT, "the realm has the account twice"},
    {KRB5KDC_ERR_CLIENT_REVOKED, KERBEROS_DISABLED, "the account is disabled or locked"},
    {KRB5KDC_ERR_NAME_EXP, KERBEROS_DISABLED, "the account has expired"},
    {KRB5KDC_ERR_CLIENT_NOTYET, KERBEROS_DISABLED, "the account is not valid yet"},
    {KRB5KDC_ERR_KEY_EXP, KERBEROS_DISABLED, "the password has expired or must be changed"},
    {KRB5KDC_ERR_POLICY, KERBEROS_DISABLED,
     "the realm's policy (logon hours, workstations) refuses the account"},
    {KRB5KDC_ERR_NEVER_VALID, KERBEROS_DISABLED, "the account may not log in at this time"},
    {KRB5KDC_ERR_NULL_KEY, KERBEROS_DISABLED, "the account has no password"},
    {KRB5KDC_ERR_ETYPE_NOSUPP, KERBEROS_DISABLED,
     "the account has no key of a type that this machine allows; a new password makes one"},
    {KRB5_PREAUTH_FAILED, KERBEROS_DISABLED, "the account wants something else than a password"},
    {KRB5KDC_ERR_PADATA_TYPE_NOSUPP, KERBEROS_DISABLED,
     "the account wants something else than a password"},
    {KRB5_LIBOS_CANTREADPWD, KERBEROS_DISABLED, "the account wants more than a password"},
    {KRB5_LIBOS_PWDINTR, KERBEROS_DISABLED, "the account wants more than a password"},
    {KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, KERBEROS_NO_ANSWER, "the KDC does not know this realm"},
    {KRB5KDC_ERR_WRONG_REALM, KERBEROS_NO_ANSWER, "the KDC is one of another realm"},
    {KRB5_REALM_UNKNOWN, KERBEROS_NO_ANSWER, "there is no KDC for this realm"},
    {KRB5_KDCREP_SKEW, KERBEROS_NO_ANSWER, clocks},
    {KRB5KRB_AP_ERR_SKEW, KERBEROS_NO_ANSWER, clocks},
    {KRB5_KDCREP_MODIFIED, KERBEROS_NO_ANSWER, "the KDC's reply is not to what was asked"},
    {KRB5KDC_ERR_SVC_UNAVAILABLE, KERBEROS_NO_ANSWER, "the KDC says that it cannot answer now"},
};

static const struct code proof_codes[] = {
    {KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, KERBEROS_NO_ANSWER,
     "the KDC does not know our principal: give it to an account with setspn -S"},
    {KRB5KDC_ERR_POLICY, KERBEROS_DISABLED,
     "the realm's policy does not let the account use our principal"},
    {KRB5KDC_ERR_CLIENT_REVOKED, KERBEROS_DISABLED, "the account is disabled or locked"},
    {KRB5KRB_AP_ERR_BAD_INTEGRITY, KERBEROS_NO_ANSWER, false_kdc},
    {KRB5KRB_AP_ERR_MODIFIED, KERBEROS_NO_ANSWER, false_kdc},
    {KRB5KRB_AP_ERR_BADKEYVER, KERBEROS_NO_ANSWER, false_kdc},
    {KRB5_KT_KVNONOTFOUND, KERBEROS_NO_ANSWER, false_kdc},
    {KRB5KRB_AP_ERR_NOKEY, KERBEROS_NO_ANSWER, false_kdc},
    {KRB5_KT_NOTFOUND, KERBEROS_NO_ANSWER,
     "the keytab has no key of the type that the KDC uses for our principal; export it again"},
    {KRB5KDC_ERR_ETYPE_NOSUPP, KERBEROS_NO_ANSWER,
     "our principal has no key of a type that this machine allows"},
    {KRB5KRB_AP_ERR_SKEW, KERBEROS_NO_ANSWER, clocks},
    {KRB5KRB_AP_ERR_TKT_NYV, KERBEROS_NO_ANSWER, clocks},
    {KRB5KRB_AP_ERR_TKT_EXPIRED, KERBEROS_NO_ANSWER, clocks},
};

enum kerberos_answer kerberos_code_answer(enum kerberos_stage stage, int32_t code,
                                          const char **reason)
{
    bool proof = stage == KERBEROS_STAGE_PROOF;
    const struct code *table = proof ? proof_codes : account_codes;
    size_t n = proof ? sizeof proof_codes / sizeof proof_codes[0]
                     : sizeof account_codes / sizeof account_codes[0];
    for (size_t i = 0; i < n; i++)
        if (table[i].code == code) {
            *reason = table[i].reason;
            return table[i].answer;
        }
    *reason = NULL;
    return KERBEROS_NO_ANSWER;
}
