/* Whose folder may be the service's. */
#include "win32/rights.h"

#include "support/folder.h"
#include "support/test.h"

#include <windows.h>

#include <sddl.h>

static void a_folder_of_another_user_is_not_ours(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *sid;
        bool ours;
    } table[] = {{L"S-1-5-18", true},     /* the system */
                 {L"S-1-5-32-544", true}, /* Administrators */
                 {RIGHTS_SERVICE_SID, true},
                 {L"S-1-5-32-545", false}, /* Users */
                 {L"S-1-5-11", false},     /* whoever has logged in */
                 {L"S-1-1-0", false},      /* everybody */
                 {L"S-1-5-21-7-8-9-1001", false},
                 {L"S-1-5-21-7-8-9-500", false},  /* an administrator who is not the one who asks */
                 {L"S-1-5-80-1-2-3-4-5", false}}; /* another service */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        PSID sid = NULL;
        assert_true(ConvertStringSidToSidW(table[i].sid, &sid));
        if (rights_may_own(sid) != table[i].ours)
            fail_msg("row %u", (unsigned)i);
        LocalFree(sid);
    }
}

static void whoever_runs_this_may_own_it(void **state)
{
    (void)state;
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } who;
    DWORD size;
    HANDLE token;
    assert_true(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token));
    assert_true(GetTokenInformation(token, TokenUser, &who, sizeof who, &size));
    assert_true(rights_may_own(who.user.User.Sid));
    CloseHandle(token);
}

static void a_folder_that_we_have_made_and_one_that_is_not_there_are_fine(void **state)
{
    (void)state;
    char folder[200];
    wchar_t path[400];
    struct err e = {0};
    test_folder("rights", folder, sizeof folder);
    assert_true(MultiByteToWideChar(CP_UTF8, 0, folder, -1, path, 350) > 0);
    if (!rights_owned_folder(path, folder, &e))
        fail_msg("%s", e.text);
    (void)wcscat(path, L"\\not there");
    assert_true(rights_owned_folder(path, folder, &e));
    (void)wcscat(path, L"\\nor this");
    assert_false(rights_owned_folder(path, folder, &e));
    assert_non_null(strstr(e.text, "cannot look at the folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_of_another_user_is_not_ours),
        cmocka_unit_test(whoever_runs_this_may_own_it),
        cmocka_unit_test(a_folder_that_we_have_made_and_one_that_is_not_there_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
