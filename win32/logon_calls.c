#include "win32/logon_calls.h"

#include <stdlib.h>

static BOOL groups_of(PSID sid, TOKEN_GROUPS **out)
{
    AUTHZ_RESOURCE_MANAGER_HANDLE manager = NULL;
    AUTHZ_CLIENT_CONTEXT_HANDLE context = NULL;
    const LUID none = {0};
    DWORD size = 0, code = ERROR_SUCCESS;
    BOOL ok =
        AuthzInitializeResourceManager(AUTHZ_RM_FLAG_NO_AUDIT, NULL, NULL, NULL, NULL, &manager) &&
        AuthzInitializeContextFromSid(0, sid, manager, NULL, none, NULL, &context);
    *out = NULL;
    if (ok) {
        (void)AuthzGetInformationFromContext(context, AuthzContextInfoGroupsSids, 0, &size, NULL);
        *out = size == 0 ? NULL : malloc(size);
        ok = *out != NULL &&
             AuthzGetInformationFromContext(context, AuthzContextInfoGroupsSids, size, &size, *out);
    }
    if (!ok) {
        code = GetLastError();
        free(*out);
        *out = NULL;
    }
    if (context != NULL)
        (void)AuthzFreeContext(context);
    if (manager != NULL)
        (void)AuthzFreeResourceManager(manager);
    SetLastError(code);
    return ok;
}

void logon_calls_fill(struct logon_calls *out)
{
    *out = (struct logon_calls){
        .LogonUser = LogonUserW,
        .GetTokenInformation = GetTokenInformation,
        .CloseHandle = CloseHandle,
        .LookupAccountName = LookupAccountNameW,
        .groups_of = groups_of,
    };
}
