#include "win32/rights.h"

#include "win32/text.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

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
