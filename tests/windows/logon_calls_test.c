/* local_account_logon.c over a system that answers as it is told to: every failure of LogonUser,
 * guests, groups, calls that are late; and that each token is closed and each password wiped. */
#include "platform/local_account.h"
#include "win32/bounded_call.h"
#include "win32/logon_calls.h"

#include "support/test.h"

#include <sddl.h>
#include <stdatomic.h>
#include <wchar.h>

static struct {
    DWORD logon_error, user_error, groups_error, lookup_error;
    const wchar_t *sid, *group;
    DWORD group_has;
    const wchar_t *known_group; /* the group that LookupAccountName finds, with the SID of group */
    SID_NAME_USE use;
    DWORD sleep_ms;
    /* what was seen */
    wchar_t account[64], domain[64], whole[128];
    const wchar_t *password; /* where it stood */
    bool password_right, password_wiped;
    atomic_int logons, tokens, closed;
} system_;

static const wchar_t secret[] = L"geheim \x00fc";

static BOOL WINAPI logon(LPCWSTR account, LPCWSTR domain, LPCWSTR password, DWORD type,
                         DWORD provider, PHANDLE token)
{
    if (system_.sleep_ms > 0)
        Sleep(system_.sleep_ms);
    system_.logons++;
    assert_int_equal(type, LOGON32_LOGON_NETWORK);
    assert_int_equal(provider, LOGON32_PROVIDER_DEFAULT);
    (void)wcsncpy(system_.account, account, 63);
    (void)wcsncpy(system_.domain, domain, 63);
    system_.password = password;
    system_.password_right = wcscmp(password, secret) == 0;
    SetLastError(system_.logon_error);
    if (system_.logon_error != 0)
        return FALSE;
    *token = &system_;
    system_.tokens++;
    return TRUE;
}

static BOOL WINAPI close_token(HANDLE token)
{
    assert_ptr_equal(token, &system_);
    system_.tokens--;
    system_.closed++;
    return TRUE;
}

static void write_sid(PSID out, const wchar_t *text)
{
    PSID sid = NULL;
    assert_true(ConvertStringSidToSidW(text, &sid));
    assert_true(CopySid(SECURITY_MAX_SID_SIZE, out, sid));
    LocalFree(sid);
}

static TOKEN_GROUPS *groups_made(void)
{
    TOKEN_GROUPS *groups = calloc(1, sizeof *groups + SECURITY_MAX_SID_SIZE);
    groups->GroupCount = 1;
    groups->Groups[0].Sid = groups + 1;
    groups->Groups[0].Attributes = system_.group_has;
    write_sid(groups->Groups[0].Sid, system_.group);
    return groups;
}

static BOOL WINAPI token_information(HANDLE token, TOKEN_INFORMATION_CLASS class, LPVOID out,
                                     DWORD size, PDWORD needed)
{
    (void)token;
    system_.password_wiped = system_.password != NULL && system_.password[0] == 0 &&
                             wmemcmp(system_.password, L"\0\0\0\0\0\0\0\0", 8) == 0;
    DWORD code = class == TokenUser ? system_.user_error : system_.groups_error;
    *needed = sizeof(TOKEN_GROUPS) + SECURITY_MAX_SID_SIZE;
    SetLastError(code != 0 ? code : ERROR_INSUFFICIENT_BUFFER);
    if (size < *needed || code != 0)
        return FALSE;
    if (class == TokenUser) {
        TOKEN_USER *user = out;
        user->User.Sid = user + 1;
        write_sid(user->User.Sid, system_.sid);
    } else {
        TOKEN_GROUPS *made = groups_made(), *groups = out;
        memcpy(groups, made, *needed);
        groups->Groups[0].Sid = groups + 1;
        free(made);
    }
    return TRUE;
}

static BOOL WINAPI lookup(LPCWSTR machine, LPCWSTR name, PSID sid, LPDWORD sid_n, LPWSTR domain,
                          LPDWORD domain_n, PSID_NAME_USE use)
{
    (void)machine, (void)domain;
    assert_true(*sid_n >= SECURITY_MAX_SID_SIZE && *domain_n >= 64);
    const wchar_t *slash = wcschr(name, L'\\'), *bare = slash == NULL ? name : slash + 1;
    if (system_.known_group != NULL && wcscmp(bare, system_.known_group) == 0) {
        write_sid(sid, system_.group);
        *use = SidTypeAlias;
        return TRUE;
    }
    if (wcscmp(bare, L"alice") == 0 && system_.lookup_error == 0) {
        (void)wcsncpy(system_.whole, name, 127);
        write_sid(sid, system_.sid);
        *use = system_.use;
        return TRUE;
    }
    SetLastError(system_.lookup_error != 0 ? system_.lookup_error : ERROR_NONE_MAPPED);
    return FALSE;
}

static BOOL groups_of(PSID sid, TOKEN_GROUPS **out)
{
    assert_true(IsValidSid(sid));
    SetLastError(system_.groups_error);
    if (system_.groups_error == 0)
        *out = groups_made();
    return system_.groups_error == 0;
}

void logon_calls_fill(struct logon_calls *out)
{
    *out = (struct logon_calls){logon, token_information, close_token, lookup, groups_of};
}

static struct local_accounts *accounts;
static char text[LOCAL_ACCOUNT_TEXT_MAX];

static int set_up(void **state)
{
    (void)state;
    const struct local_accounts_options options = {.deadline_ms = 5000};
    struct err e;
    memset(&system_, 0, sizeof system_);
    system_.sid = L"S-1-5-21-1-2-3-1104";
    system_.group = L"S-1-5-32-545";
    system_.group_has = SE_GROUP_ENABLED;
    system_.use = SidTypeUser;
    return local_accounts_open(&options, &accounts, &e) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    local_accounts_close(&accounts);
    assert_int_equal(system_.tokens, 0);
    return 0;
}

static enum local_account_result verify(const char *domain, const char *account,
                                        const char *const *groups, size_t n)
{
    const struct local_account_question q = {domain, account, groups, n};
    return local_accounts_verify(accounts, &q, span_str("geheim \xc3\xbc"), text);
}

static enum local_account_result member(const char *domain, const char *const *groups, size_t n)
{
    const struct local_account_question q = {domain, "alice", groups, n};
    return local_accounts_member(accounts, &q, text);
}

static void a_right_password_is_one_and_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(verify(NULL, "alice", NULL, 0), LOCAL_ACCOUNT_OK);
    assert_true(system_.password_right && system_.password_wiped);
    assert_int_equal(wcscmp(system_.account, L"alice"), 0);
    assert_int_equal(wcscmp(system_.domain, L"."), 0);
    assert_int_equal(system_.closed, 1);
    assert_int_equal(verify("CORP", "alice", NULL, 0), LOCAL_ACCOUNT_OK);
    assert_int_equal(wcscmp(system_.domain, L"CORP"), 0);
    assert_int_equal(system_.closed, 2);
}

static void every_failure_has_its_result_and_no_token(void **state)
{
    (void)state;
    static const struct {
        DWORD code;
        enum local_account_result result;
    } table[] = {{ERROR_LOGON_FAILURE, LOCAL_ACCOUNT_BAD_PASSWORD},
                 {ERROR_WRONG_PASSWORD, LOCAL_ACCOUNT_BAD_PASSWORD},
                 {ERROR_INVALID_PASSWORD, LOCAL_ACCOUNT_BAD_PASSWORD},
                 {ERROR_NO_SUCH_USER, LOCAL_ACCOUNT_NO_ACCOUNT},
                 {ERROR_NONE_MAPPED, LOCAL_ACCOUNT_NO_ACCOUNT},
                 {ERROR_INVALID_ACCOUNT_NAME, LOCAL_ACCOUNT_NO_ACCOUNT},
                 {ERROR_ACCOUNT_RESTRICTION, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_INVALID_LOGON_HOURS, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_INVALID_WORKSTATION, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_PASSWORD_EXPIRED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_ACCOUNT_DISABLED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_ACCOUNT_EXPIRED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_PASSWORD_MUST_CHANGE, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_ACCOUNT_LOCKED_OUT, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_LOGON_NOT_GRANTED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_LOGON_TYPE_NOT_GRANTED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_AUTHENTICATION_FIREWALL_FAILED, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_TOO_MANY_CONTEXT_IDS, LOCAL_ACCOUNT_DISABLED},
                 {ERROR_NO_LOGON_SERVERS, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_DOMAIN_CONTROLLER_NOT_FOUND, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NO_SUCH_DOMAIN, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NETLOGON_NOT_STARTED, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NO_TRUST_LSA_SECRET, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NO_TRUST_SAM_ACCOUNT, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_TRUSTED_DOMAIN_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_TRUSTED_RELATIONSHIP_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_TRUST_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_TIME_SKEW, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_DOWNGRADE_DETECTED, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_PRIVILEGE_NOT_HELD, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_ACCESS_DENIED, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NOT_ENOUGH_MEMORY, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_BAD_NETPATH, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_SEM_TIMEOUT, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_CANT_ACCESS_DOMAIN_INFO, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_INVALID_SERVER_STATE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_NO_SUCH_LOGON_SESSION, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_LOGON_SESSION_COLLISION, LOCAL_ACCOUNT_UNAVAILABLE},
                 {ERROR_INTERNAL_ERROR, LOCAL_ACCOUNT_UNAVAILABLE},
                 {RPC_S_SERVER_UNAVAILABLE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {RPC_S_SERVER_TOO_BUSY, LOCAL_ACCOUNT_UNAVAILABLE},
                 {RPC_S_CALL_FAILED, LOCAL_ACCOUNT_UNAVAILABLE},
                 {RPC_S_COMM_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE},
                 {EPT_S_NOT_REGISTERED, LOCAL_ACCOUNT_UNAVAILABLE},
                 {54321, LOCAL_ACCOUNT_UNAVAILABLE}}; /* not known to us */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char number[16];
        system_.logon_error = table[i].code;
        if (verify("CORP", "alice", NULL, 0) != table[i].result)
            fail_msg("code %u: %s", (unsigned)table[i].code, text);
        (void)snprintf(number, sizeof number, "(%u)", (unsigned)table[i].code);
        assert_non_null(strstr(text, number));
    }
    assert_int_equal(system_.closed, 0);
}

static void guests_are_refused_and_their_token_closed(void **state)
{
    (void)state;
    static const wchar_t *const nobodies[] = {L"S-1-5-21-1-2-3-501", L"S-1-5-7", L"S-1-0-0",
                                              L"S-1-1-0"};
    for (size_t i = 0; i < sizeof nobodies / sizeof *nobodies; i++) {
        system_.sid = nobodies[i];
        assert_int_equal(verify(NULL, "alice", NULL, 0), LOCAL_ACCOUNT_GUEST);
        assert_int_equal(member(NULL, NULL, 0), LOCAL_ACCOUNT_GUEST);
    }
    system_.sid = L"S-1-5-21-1-2-3-1104";
    system_.group = L"S-1-5-32-546";
    assert_int_equal(verify(NULL, "alice", NULL, 0), LOCAL_ACCOUNT_GUEST);
    assert_int_equal(member(NULL, NULL, 0), LOCAL_ACCOUNT_GUEST);
    assert_int_equal(system_.closed, 5);
}

static void a_token_that_tells_nothing_lets_nobody_in(void **state)
{
    (void)state;
    system_.user_error = ERROR_ACCESS_DENIED;
    assert_int_equal(verify(NULL, "alice", NULL, 0), LOCAL_ACCOUNT_UNAVAILABLE);
    system_.user_error = 0;
    system_.groups_error = ERROR_ACCESS_DENIED;
    assert_int_equal(verify(NULL, "alice", NULL, 0), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_int_equal(member(NULL, NULL, 0), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_int_equal(system_.closed, 2);
}

static void a_member_is_one_whose_group_is_in_force(void **state)
{
    (void)state;
    static const char *const groups[] = {"no such group", "relays"};
    system_.known_group = L"relays";
    assert_int_equal(verify(NULL, "alice", groups, 2), LOCAL_ACCOUNT_OK);
    assert_int_equal(member("CORP", groups, 2), LOCAL_ACCOUNT_OK);
    assert_int_equal(wcscmp(system_.whole, L"CORP\\alice"), 0);
    system_.group_has = SE_GROUP_ENABLED | SE_GROUP_USE_FOR_DENY_ONLY;
    assert_int_equal(verify(NULL, "alice", groups, 2), LOCAL_ACCOUNT_NOT_MEMBER);
    system_.group_has = 0;
    assert_int_equal(member("CORP", groups, 2), LOCAL_ACCOUNT_NOT_MEMBER);
    system_.known_group = NULL;
    assert_int_equal(verify(NULL, "alice", groups, 2), LOCAL_ACCOUNT_NOT_MEMBER);
    assert_non_null(strstr(text, "known"));
}

static void an_account_of_this_machine_is_looked_for_here_alone(void **state)
{
    (void)state;
    assert_int_equal(member(NULL, NULL, 0), LOCAL_ACCOUNT_OK);
    assert_non_null(wcschr(system_.whole, L'\\'));
    assert_true(system_.whole[0] != L'.' && system_.whole[0] != L'\\');
    system_.lookup_error = ERROR_NONE_MAPPED;
    assert_int_equal(member(NULL, NULL, 0), LOCAL_ACCOUNT_NO_ACCOUNT);
    system_.lookup_error = RPC_S_SERVER_UNAVAILABLE;
    assert_int_equal(member("CORP", NULL, 0), LOCAL_ACCOUNT_UNAVAILABLE);
    system_.lookup_error = 0;
    system_.use = SidTypeComputer;
    assert_int_equal(member("CORP", NULL, 0), LOCAL_ACCOUNT_NO_ACCOUNT);
}

static void a_name_that_no_account_has_is_not_asked_about(void **state)
{
    (void)state;
    static const char *const none[] = {"", "a\\b", "a/b", "alice@corp.example", "a*", "\xff"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(verify(NULL, none[i], NULL, 0), LOCAL_ACCOUNT_NO_ACCOUNT);
    const struct local_account_question q = {.account = "alice"};
    assert_int_equal(local_accounts_verify(accounts, &q, span_str(""), text),
                     LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_int_equal(local_accounts_verify(accounts, &q, span_of("a\0b", 3), text),
                     LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_int_equal(system_.logons, 0);
}

static void a_system_that_lets_everybody_in_is_not_ready(void **state)
{
    (void)state;
    char cure[LOCAL_ACCOUNT_TEXT_MAX];
    assert_false(local_accounts_ready(accounts, text, cure));
    assert_non_null(strstr(text, "any account with any password"));
    system_.logon_error = ERROR_LOGON_FAILURE;
    assert_true(local_accounts_ready(accounts, text, cure));
    system_.logon_error = ERROR_PRIVILEGE_NOT_HELD;
    assert_false(local_accounts_ready(accounts, text, cure));
    assert_true(cure[0] != 0);
}

static void late_answers_are_not_waited_for_and_too_many_begin_nothing(void **state)
{
    (void)state;
    const struct local_accounts_options options = {.deadline_ms = 50};
    struct local_accounts *hasty;
    struct err e;
    assert_true(local_accounts_open(&options, &hasty, &e));
    const struct local_account_question q = {.account = "alice"};
    system_.sleep_ms = 8000;
    ULONGLONG before = GetTickCount64();
    assert_int_equal(local_accounts_verify(hasty, &q, span_str("x"), text),
                     LOCAL_ACCOUNT_UNAVAILABLE);
    assert_non_null(strstr(text, "no answer in time"));
    assert_true(GetTickCount64() - before < 2500);
    system_.sleep_ms = 20000;
    for (int i = 1; i < BOUNDED_CALLS_LATE_MAX; i++)
        (void)local_accounts_verify(hasty, &q, span_str("x"), text);
    assert_int_equal(local_accounts_verify(hasty, &q, span_str("x"), text),
                     LOCAL_ACCOUNT_UNAVAILABLE);
    assert_non_null(strstr(text, "too many"));
    /* The first has come back by then; what nobody waited for has closed its token. */
    for (int i = 0; i < 100 && system_.closed == 0; i++)
        Sleep(100);
    assert_true(system_.closed > 0);
    system_.sleep_ms = 0;
    assert_int_equal(local_accounts_verify(accounts, &q, span_str("x"), text), LOCAL_ACCOUNT_OK);
    local_accounts_close(&hasty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_right_password_is_one_and_leaves_nothing_behind, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_failure_has_its_result_and_no_token, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(guests_are_refused_and_their_token_closed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_token_that_tells_nothing_lets_nobody_in, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_member_is_one_whose_group_is_in_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_account_of_this_machine_is_looked_for_here_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_no_account_has_is_not_asked_about, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_system_that_lets_everybody_in_is_not_ready, set_up,
                                        tear_down),
        /* the last: some of its calls go on until the program ends */
        cmocka_unit_test_setup_teardown(late_answers_are_not_waited_for_and_too_many_begin_nothing,
                                        set_up, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
