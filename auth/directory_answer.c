#include "auth/directory_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct answer {
    unsigned long code;
    enum backend_result result;
    const char *reason;
};

static const struct answer windows_codes[] = {
    {0x525, BACKEND_NO_ACCOUNT, "the directory has no such account"},
    {0x52e, BACKEND_BAD_PASSWORD, "wrong password"},
    {0x52f, BACKEND_DISABLED, "a restriction of the account forbids the login"},
    {0x530, BACKEND_DISABLED, "the account may not log in at this hour"},
    {0x531, BACKEND_DISABLED, "the account may not log in at this machine"},
    {0x532, BACKEND_DISABLED, "the password has expired"},
    {0x533, BACKEND_DISABLED, "the account is disabled"},
    {0x534, BACKEND_DISABLED, "the account has not the right to this kind of login"},
    {0x569, BACKEND_DISABLED, "the account has not the right to this kind of login"},
    {0x701, BACKEND_DISABLED, "the account has expired"},
    {0x773, BACKEND_DISABLED, "the password must be changed before the first login"},
    {0x775, BACKEND_DISABLED, "the account is locked after wrong passwords"},
};

/* What one account can bring about is never UNAVAILABLE: that would make the others wait. */
static const struct answer ldap_codes[] = {
    {8, BACKEND_UNAVAILABLE, "the directory wants a stronger bind than a simple one"},
    {13, BACKEND_UNAVAILABLE, "the directory wants confidentiality and does not see ours"},
    {19, BACKEND_DISABLED, "a policy of the directory forbids the login, as after wrong passwords"},
    {32, BACKEND_NO_ACCOUNT, "the directory has no such account"},
    {34, BACKEND_NO_ACCOUNT, "the directory takes the name of the bind for none; see bind"},
    {48, BACKEND_DISABLED, "the account has no password"},
    {49, BACKEND_BAD_PASSWORD, "the directory refuses name or password"},
    {50, BACKEND_DISABLED, "the account may not bind"},
    {53, BACKEND_DISABLED, "the directory is unwilling to let the account bind"},
};

static const struct answer *find(const struct answer *table, size_t n, unsigned long code)
{
    for (size_t i = 0; i < n; i++)
        if (table[i].code == code)
            return &table[i];
    return NULL;
}

/* The number behind "data "; 0 when there is none. */
static unsigned long windows_code(const char *text)
{
    const char *at = strstr(text, ", data ");
    if (at == NULL)
        return 0;
    at += strlen(", data ");
    size_t digits = strspn(at, "0123456789abcdefABCDEF");
    return digits > 0 && digits <= 8 ? strtoul(at, NULL, 16) : 0;
}

enum backend_result directory_answer(int code, const char *text, char reason[BACKEND_REASON_MAX])
{
    const struct answer *a = NULL;
    if (code == 49)
        a = find(windows_codes, sizeof windows_codes / sizeof windows_codes[0], windows_code(text));
    if (a == NULL)
        a = find(ldap_codes, sizeof ldap_codes / sizeof ldap_codes[0], (unsigned long)code);
    if (a != NULL)
        (void)snprintf(reason, BACKEND_REASON_MAX, "%s", a->reason);
    else
        (void)snprintf(reason, BACKEND_REASON_MAX, "the directory answers %d: %.110s", code, text);
    return a != NULL ? a->result : BACKEND_UNAVAILABLE;
}
