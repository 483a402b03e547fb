/* logon_calls.h - the calls of Windows by which local_account_logon.c judges an account, as a
 * table: its test brings one that answers with every failure, since the emulation of Windows where
 * the tests run lets everybody in. Each is the call of its name, with its arguments. */
#ifndef POSTERN_WIN32_LOGON_CALLS_H
#define POSTERN_WIN32_LOGON_CALLS_H

#include <windows.h>

#include <authz.h>

struct logon_calls {
    BOOL(WINAPI *LogonUser)(LPCWSTR, LPCWSTR, LPCWSTR, DWORD, DWORD, PHANDLE);
    BOOL(WINAPI *GetTokenInformation)(HANDLE, TOKEN_INFORMATION_CLASS, LPVOID, DWORD, PDWORD);
    BOOL(WINAPI *CloseHandle)(HANDLE);
    BOOL(WINAPI *LookupAccountName)
    (LPCWSTR, LPCWSTR, PSID, LPDWORD, LPWSTR, LPDWORD, PSID_NAME_USE);
    /* The groups of an account without its password: AuthzInitializeResourceManager,
     * AuthzInitializeContextFromSid, AuthzGetInformationFromContext and their releases. false: the
     * last error is set. The groups are of malloc. */
    BOOL (*groups_of)(PSID, TOKEN_GROUPS **);
};

void logon_calls_fill(struct logon_calls *out);

#endif
