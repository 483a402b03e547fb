/* sspi_calls.h - the calls of Windows by which integrated_auth_sspi.c judges a client, as a table:
 * its tests bring one that answers with every result code, and Wine, which has no token of a
 * client, gets one that has (tests/windows). Each is the call of its name, with its arguments.
 * Sources: the pages of sspi.h and securitybaseapi.h at learn.microsoft.com. */
#ifndef POSTERN_WIN32_SSPI_CALLS_H
#define POSTERN_WIN32_SSPI_CALLS_H

#ifndef SECURITY_WIN32
#define SECURITY_WIN32
#endif
#include <windows.h>

#include <security.h>

struct sspi_calls {
    SECURITY_STATUS(SEC_ENTRY *AcquireCredentialsHandle)
    (SEC_WCHAR *, SEC_WCHAR *, ULONG, void *, void *, SEC_GET_KEY_FN, void *, PCredHandle,
     PTimeStamp);
    SECURITY_STATUS(SEC_ENTRY *FreeCredentialsHandle)(PCredHandle);
    SECURITY_STATUS(SEC_ENTRY *AcceptSecurityContext)
    (PCredHandle, PCtxtHandle, PSecBufferDesc, ULONG, ULONG, PCtxtHandle, PSecBufferDesc, ULONG *,
     PTimeStamp);
    SECURITY_STATUS(SEC_ENTRY *CompleteAuthToken)(PCtxtHandle, PSecBufferDesc);
    SECURITY_STATUS(SEC_ENTRY *DeleteSecurityContext)(PCtxtHandle);
    SECURITY_STATUS(SEC_ENTRY *FreeContextBuffer)(void *);
    SECURITY_STATUS(SEC_ENTRY *QueryContextAttributes)(PCtxtHandle, ULONG, void *);
    SECURITY_STATUS(SEC_ENTRY *EncryptMessage)(PCtxtHandle, ULONG, PSecBufferDesc, ULONG);
    SECURITY_STATUS(SEC_ENTRY *DecryptMessage)(PCtxtHandle, PSecBufferDesc, ULONG, ULONG *);
    SECURITY_STATUS(SEC_ENTRY *QuerySecurityContextToken)(PCtxtHandle, void **);
    BOOL(WINAPI *GetTokenInformation)
    (HANDLE, TOKEN_INFORMATION_CLASS, LPVOID, DWORD, PDWORD);
    BOOL(WINAPI *LookupAccountSid)
    (LPCWSTR, PSID, LPWSTR, LPDWORD, LPWSTR, LPDWORD, PSID_NAME_USE);
    BOOL(WINAPI *CloseHandle)(HANDLE);
};

void sspi_calls_fill(struct sspi_calls *out);

#endif
