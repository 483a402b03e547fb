#include "win32/sspi_calls.h"

void sspi_calls_fill(struct sspi_calls *out)
{
    *out = (struct sspi_calls){
        .AcquireCredentialsHandle = AcquireCredentialsHandleW,
        .FreeCredentialsHandle = FreeCredentialsHandle,
        .AcceptSecurityContext = AcceptSecurityContext,
        .CompleteAuthToken = CompleteAuthToken,
        .DeleteSecurityContext = DeleteSecurityContext,
        .FreeContextBuffer = FreeContextBuffer,
        .QueryContextAttributes = QueryContextAttributesW,
        .EncryptMessage = EncryptMessage,
        .DecryptMessage = DecryptMessage,
        .QuerySecurityContextToken = QuerySecurityContextToken,
        .GetTokenInformation = GetTokenInformation,
        .LookupAccountSid = LookupAccountSidW,
        .CloseHandle = CloseHandle,
    };
}
