#include "win32/sspi_codes.h"

#include "win32/text.h"

#include <windows.h>

#include <stdio.h>

static const struct {
    HRESULT code;
    enum integrated_result result;
    const char *text; /* NULL: the system's own */
} table[] = {
    {SEC_E_LOGON_DENIED, INTEGRATED_REFUSED, "unknown account, wrong password, or it may not now"},
    {SEC_E_BAD_BINDINGS, INTEGRATED_REFUSED,
     "the channel binding is another than ours: is there a man in the middle?"},
    {SEC_E_WRONG_PRINCIPAL, INTEGRATED_REFUSED, "the ticket is for another service"},
    {SEC_E_MESSAGE_ALTERED, INTEGRATED_REFUSED, NULL},
    {SEC_E_OUT_OF_SEQUENCE, INTEGRATED_REFUSED, "the token is a replay, or out of its order"},
    {SEC_E_CONTEXT_EXPIRED, INTEGRATED_REFUSED, "the ticket has expired"},
    {SEC_E_DECRYPT_FAILURE, INTEGRATED_REFUSED, NULL},
    {SEC_E_MUTUAL_AUTH_FAILED, INTEGRATED_REFUSED, NULL},
    {SEC_E_DELEGATION_REQUIRED, INTEGRATED_REFUSED, NULL},
    {SEC_E_MULTIPLE_ACCOUNTS, INTEGRATED_REFUSED, NULL},
    {SEC_E_SMARTCARD_LOGON_REQUIRED, INTEGRATED_REFUSED, "the account needs its smart card"},
    {SEC_E_TARGET_UNKNOWN, INTEGRATED_REFUSED, NULL},
    {SEC_E_POLICY_NLTM_ONLY, INTEGRATED_REFUSED, NULL},
    {SEC_E_ENCRYPT_FAILURE, INTEGRATED_UNAVAILABLE, NULL},
    /* nothing was judged: it is no such token */
    {SEC_E_INVALID_TOKEN, INTEGRATED_MALFORMED, NULL},
    {SEC_E_INCOMPLETE_MESSAGE, INTEGRATED_MALFORMED, NULL},
    {SEC_E_ILLEGAL_MESSAGE, INTEGRATED_MALFORMED, NULL},
    {SEC_E_BUFFER_TOO_SMALL, INTEGRATED_MALFORMED, NULL},
    {SEC_E_INSUFFICIENT_BUFFERS, INTEGRATED_MALFORMED, NULL},
    {SEC_E_INVALID_PARAMETER, INTEGRATED_MALFORMED, NULL},
    /* nothing was judged: nobody could */
    {SEC_E_NO_AUTHENTICATING_AUTHORITY, INTEGRATED_UNAVAILABLE, "no domain controller answers"},
    {SEC_E_TIME_SKEW, INTEGRATED_UNAVAILABLE, "the clocks of the client and the domain differ"},
    {SEC_E_NO_CREDENTIALS, INTEGRATED_UNAVAILABLE, "the service's account has no key"},
    {SEC_E_NO_KERB_KEY, INTEGRATED_UNAVAILABLE, "the service's account has no key"},
    {SEC_E_UNKNOWN_CREDENTIALS, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_WRONG_CREDENTIAL_HANDLE, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_DOWNGRADE_DETECTED, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_INSUFFICIENT_MEMORY, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_INTERNAL_ERROR, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_INVALID_HANDLE, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_UNSUPPORTED_FUNCTION, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_SECPKG_NOT_FOUND, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_SHUTDOWN_IN_PROGRESS, INTEGRATED_UNAVAILABLE, "the machine is going down"},
    {SEC_E_KDC_UNKNOWN_ETYPE, INTEGRATED_UNAVAILABLE, NULL},
    {SEC_E_NO_TGT_REPLY, INTEGRATED_UNAVAILABLE, NULL},
};

enum integrated_result sspi_result_of(uint32_t code, const char *call,
                                      char reason[INTEGRATED_REASON_MAX])
{
    char system[SYSTEM_TEXT_MAX];
    const char *text = NULL;
    enum integrated_result result = INTEGRATED_UNAVAILABLE;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if ((uint32_t)table[i].code != code)
            continue;
        text = table[i].text;
        result = table[i].result;
    }
    if (text != NULL)
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s (%s: %#lx)", text, call,
                       (unsigned long)code);
    else
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s: %s", call, system_text(code, system));
    return result;
}
