#include "win32/rights.h"

#include "win32/text.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>

/* Protected from above; system, administrators, the service, the owner: everything, inherited by
 * files and folders in it. */
#define OURS                                                                                       \
    L"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)(A;OICI;FA;;;" RIGHTS_SERVICE_SID L")"

static PSECURITY_DESCRIPTOR ours(void)
{
    PSECURITY_DESCRIPTOR d = NULL;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(OURS, SDDL_REVISION_1, &d, NULL))
        return NULL;
    return d;
}

bool rights_make_folder(const wchar_t *path)
{
    PSECURITY_DESCRIPTOR d = ours();
    if (d == NULL)
        return false;
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = d};
    bool ok = CreateDirectoryW(path, &attributes);
    DWORD code = GetLastError();
    LocalFree(d);
    SetLastError(code);
    return ok;
}

void *rights_make_file(const wchar_t *path)
{
    PSECURITY_DESCRIPTOR d = ours();
    if (d == NULL)
        return INVALID_HANDLE_VALUE;
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = d};
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ, &attributes, CREATE_NEW,
                              FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD code = GetLastError();
    LocalFree(d);
    SetLastError(code);
    return file;
}

/* What the other one inherits stands in its list too: as it is now, it is taken over whole, by the
 * handle, as the call by name would have the folder's say again. */
bool rights_like(const wchar_t *path, const wchar_t *like)
{
    PACL list = NULL;
    PSECURITY_DESCRIPTOR d = NULL;
    SECURITY_DESCRIPTOR set;
    SECURITY_INFORMATION what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    DWORD code = GetNamedSecurityInfoW(like, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL,
                                       &list, NULL, &d);
    if (code == ERROR_SUCCESS && list != NULL) {
        HANDLE file =
            CreateFileW(path, WRITE_DAC, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                        NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
        bool ok = file != INVALID_HANDLE_VALUE &&
                  InitializeSecurityDescriptor(&set, SECURITY_DESCRIPTOR_REVISION) &&
                  SetSecurityDescriptorDacl(&set, TRUE, list, FALSE) &&
                  SetKernelObjectSecurity(file, what, &set);
        code = ok ? ERROR_SUCCESS : GetLastError();
        if (file != INVALID_HANDLE_VALUE)
            (void)CloseHandle(file);
    }
    LocalFree(d);
    SetLastError(code);
    return code == ERROR_SUCCESS;
}

bool rights_protect_folder(const wchar_t *path, struct err *e)
{
    PSECURITY_DESCRIPTOR d = ours();
    BOOL present = FALSE, defaulted = FALSE;
    PACL list = NULL;
    if (d == NULL || !GetSecurityDescriptorDacl(d, &present, &list, &defaulted)) {
        (void)call_failed(e, "ConvertStringSecurityDescriptorToSecurityDescriptor");
        LocalFree(d);
        return false;
    }
    wchar_t name[PATH_TEXT_MAX + 8]; /* the call does not promise to leave the name alone */
    size_t n = wcslen(path);
    DWORD code = ERROR_FILENAME_EXCED_RANGE;
    if (n < sizeof name / sizeof *name) {
        wmemcpy(name, path, n + 1);
        code = SetNamedSecurityInfoW(
            name, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            NULL, NULL, list, NULL);
    }
    LocalFree(d);
    SetLastError(code);
    return code == ERROR_SUCCESS || call_failed(e, "SetNamedSecurityInfo");
}

/* Those who may anyway: the system, the administrators, the service, whoever owns the object. */
static bool is_ours(PSID sid, PSID owner)
{
    static const WELL_KNOWN_SID_TYPE known[] = {WinLocalSystemSid, WinBuiltinAdministratorsSid,
                                                WinCreatorOwnerSid, WinCreatorOwnerRightsSid};
    if (owner != NULL && EqualSid(sid, owner))
        return true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (IsWellKnownSid(sid, known[i]))
            return true;
    PSID service = NULL;
    bool same = ConvertStringSidToSidW(RIGHTS_SERVICE_SID, &service) && EqualSid(sid, service);
    LocalFree(service);
    return same;
}

bool rights_may_own(void *sid)
{
    static const WELL_KNOWN_SID_TYPE known[] = {WinLocalSystemSid, WinBuiltinAdministratorsSid};
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } who;
    DWORD size = 0;
    HANDLE token = NULL;
    PSID service = NULL;
    bool ours = ConvertStringSidToSidW(RIGHTS_SERVICE_SID, &service) && EqualSid(sid, service);
    LocalFree(service);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        ours = ours || IsWellKnownSid(sid, known[i]);
    if (!ours && OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) {
        ours = GetTokenInformation(token, TokenUser, &who, sizeof who, &size) &&
               EqualSid(sid, who.user.User.Sid);
        (void)CloseHandle(token);
    }
    return ours;
}

static void name_of(PSID sid, char *out, size_t size)
{
    wchar_t account[256], domain[256], whole[520], *text = NULL;
    DWORD account_n = 256, domain_n = 256;
    SID_NAME_USE use;
    if (LookupAccountSidW(NULL, sid, account, &account_n, domain, &domain_n, &use))
        (void)_snwprintf(whole, 520, L"%ls\\%ls", domain, account);
    else if (ConvertSidToStringSidW(sid, &text))
        (void)_snwprintf(whole, 520, L"%ls", text);
    else
        (void)_snwprintf(whole, 520, L"somebody");
    LocalFree(text);
    whole[519] = 0;
    if (!text_from_wide(whole, out, size))
        (void)snprintf(out, size, "somebody");
}

bool rights_owned_folder(const wchar_t *path, const char *shown, struct err *e)
{
    PSID owner = NULL;
    PSECURITY_DESCRIPTOR d = NULL;
    char name[256];
    HANDLE folder = CreateFileW(
        path, READ_CONTROL, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
        OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (folder == INVALID_HANDLE_VALUE)
        return GetLastError() == ERROR_FILE_NOT_FOUND || act_failed(e, shown, "look at the folder");
    DWORD code = GetSecurityInfo(folder, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL,
                                 NULL, NULL, &d);
    (void)CloseHandle(folder);
    SetLastError(code);
    if (code != ERROR_SUCCESS)
        return act_failed(e, shown, "look at the folder's owner");
    bool ours = rights_may_own(owner);
    if (!ours) {
        name_of(owner, name, sizeof name);
        (void)err_set(e, ERR_PERM,
                      "%s: it is there already and belongs to %s, who could change what is in it; "
                      "look at it, then take it away, or make it yours: takeown /f \"%s\" /a /r",
                      shown, name, shown);
    }
    LocalFree(d);
    return ours;
}

void rights_of_others(void *handle, bool *read, bool *write)
{
    PSID owner = NULL;
    PACL list = NULL;
    PSECURITY_DESCRIPTOR d = NULL;
    *read = *write = true;
    if (GetSecurityInfo((HANDLE)handle, SE_FILE_OBJECT,
                        OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, NULL, &list,
                        NULL, &d) != ERROR_SUCCESS)
        return;
    if (list != NULL) { /* no list at all allows everything to everybody */
        *read = *write = false;
        for (DWORD i = 0; i < list->AceCount; i++) {
            void *entry;
            if (!GetAce(list, i, &entry))
                continue;
            const ACE_HEADER *header = entry;
            if (header->AceType != ACCESS_ALLOWED_ACE_TYPE ||
                (header->AceFlags & INHERIT_ONLY_ACE) != 0)
                continue;
            ACCESS_ALLOWED_ACE *allowed = entry;
            if (is_ours((PSID)&allowed->SidStart, owner))
                continue;
            ACCESS_MASK mask = allowed->Mask;
            *read = *read || (mask & (FILE_READ_DATA | GENERIC_READ | GENERIC_ALL)) != 0;
            *write = *write || (mask & (FILE_WRITE_DATA | FILE_APPEND_DATA | DELETE | WRITE_DAC |
                                        WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL)) != 0;
        }
    }
    LocalFree(d);
}
