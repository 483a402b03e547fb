#include "win32/local_account_codes.h"

#include "win32/text.h"

#include <windows.h>

#include <stdio.h>

static const struct {
    uint32_t code;
    enum local_account_result result;
    const char *text; /* NULL: the system's own */
} table[] = {
    /* Windows does not tell an unknown account from a wrong password, and so do we. */
    {ERROR_LOGON_FAILURE, LOCAL_ACCOUNT_BAD_PASSWORD, "unknown account or wrong password"},
    {ERROR_WRONG_PASSWORD, LOCAL_ACCOUNT_BAD_PASSWORD, "wrong password"},
    {ERROR_INVALID_PASSWORD, LOCAL_ACCOUNT_BAD_PASSWORD, "wrong password"},
    {ERROR_NO_SUCH_USER, LOCAL_ACCOUNT_NO_ACCOUNT, "there is no such account"},
    {ERROR_NONE_MAPPED, LOCAL_ACCOUNT_NO_ACCOUNT, "there is no such account"},
    {ERROR_INVALID_ACCOUNT_NAME, LOCAL_ACCOUNT_NO_ACCOUNT, "no name that an account can have"},
    /* right, but it may not now */
    {ERROR_ACCOUNT_RESTRICTION, LOCAL_ACCOUNT_DISABLED,
     "an account restriction: an empty password, or a policy that forbids it here"},
    {ERROR_INVALID_LOGON_HOURS, LOCAL_ACCOUNT_DISABLED, "outside its logon hours"},
    {ERROR_INVALID_WORKSTATION, LOCAL_ACCOUNT_DISABLED, "may not log on at this machine"},
    {ERROR_PASSWORD_EXPIRED, LOCAL_ACCOUNT_DISABLED, "the password has expired"},
    {ERROR_ACCOUNT_DISABLED, LOCAL_ACCOUNT_DISABLED, "the account is disabled"},
    {ERROR_ACCOUNT_EXPIRED, LOCAL_ACCOUNT_DISABLED, "the account has expired"},
    {ERROR_PASSWORD_MUST_CHANGE, LOCAL_ACCOUNT_DISABLED, "the password must be changed first"},
    {ERROR_ACCOUNT_LOCKED_OUT, LOCAL_ACCOUNT_DISABLED, "the account is locked out"},
    {ERROR_LOGON_NOT_GRANTED, LOCAL_ACCOUNT_DISABLED, "may not log on here"},
    {ERROR_LOGON_TYPE_NOT_GRANTED, LOCAL_ACCOUNT_DISABLED,
     "has no right to log on from the network here"},
    {ERROR_AUTHENTICATION_FIREWALL_FAILED, LOCAL_ACCOUNT_DISABLED,
     "selective authentication does not let it in here"},
    {ERROR_TOO_MANY_CONTEXT_IDS, LOCAL_ACCOUNT_DISABLED, "is in more groups than a logon can have"},
    /* nobody could answer */
    {ERROR_NO_LOGON_SERVERS, LOCAL_ACCOUNT_UNAVAILABLE, "no domain controller answers"},
    {ERROR_DOMAIN_CONTROLLER_NOT_FOUND, LOCAL_ACCOUNT_UNAVAILABLE, "no domain controller is found"},
    {ERROR_NO_SUCH_DOMAIN, LOCAL_ACCOUNT_UNAVAILABLE, "the domain is not known here"},
    {ERROR_NETLOGON_NOT_STARTED, LOCAL_ACCOUNT_UNAVAILABLE, "the Netlogon service does not run"},
    {ERROR_NO_TRUST_LSA_SECRET, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_NO_TRUST_SAM_ACCOUNT, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_TRUSTED_DOMAIN_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_TRUSTED_RELATIONSHIP_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_TRUST_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_TIME_SKEW, LOCAL_ACCOUNT_UNAVAILABLE,
     "the clocks of this machine and the domain differ"},
    {ERROR_DOWNGRADE_DETECTED, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_PRIVILEGE_NOT_HELD, LOCAL_ACCOUNT_UNAVAILABLE, "the service may not log users on"},
    {ERROR_ACCESS_DENIED, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_NOT_ENOUGH_MEMORY, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_OUTOFMEMORY, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_NO_SYSTEM_RESOURCES, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_BAD_NETPATH, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_SEM_TIMEOUT, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_CANT_ACCESS_DOMAIN_INFO, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INVALID_SERVER_STATE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INVALID_DOMAIN_STATE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INVALID_DOMAIN_ROLE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_NO_SUCH_LOGON_SESSION, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_LOGON_SESSION_COLLISION, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_LOGON_SESSION_EXISTS, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INVALID_LOGON_TYPE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_BAD_LOGON_SESSION_STATE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_NO_SUCH_PACKAGE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INTERNAL_ERROR, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {ERROR_INTERNAL_DB_CORRUPTION, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_SERVER_UNAVAILABLE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_SERVER_TOO_BUSY, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_CALL_FAILED, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_CALL_FAILED_DNE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_UNKNOWN_AUTHN_SERVICE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {RPC_S_COMM_FAILURE, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
    {EPT_S_NOT_REGISTERED, LOCAL_ACCOUNT_UNAVAILABLE, NULL},
};

enum local_account_result local_account_of_code(uint32_t code, char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    char system[SYSTEM_TEXT_MAX];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].code != code)
            continue;
        if (table[i].text != NULL)
            (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%s (%lu)", table[i].text,
                           (unsigned long)code);
        else
            (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "LogonUser: %s",
                           system_text(code, system));
        return table[i].result;
    }
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "LogonUser: %s", system_text(code, system));
    return LOCAL_ACCOUNT_UNAVAILABLE;
}

bool local_account_is_guest(void *sid)
{
    static const WELL_KNOWN_SID_TYPE nobodies[] = {WinAnonymousSid, WinNullSid, WinWorldSid,
                                                   WinBuiltinGuestsSid, WinAccountGuestSid};
    for (size_t i = 0; i < sizeof nobodies / sizeof *nobodies; i++)
        if (IsWellKnownSid(sid, nobodies[i]))
            return true;
    UCHAR parts = *GetSidSubAuthorityCount(sid);
    return parts == 5 && *GetSidSubAuthority(sid, 0) == SECURITY_NT_NON_UNIQUE &&
           *GetSidSubAuthority(sid, 4) == DOMAIN_USER_RID_GUEST;
}
