/* Who may use a private key: a list of rights as files have it. The service's virtual account is in
 * none by itself, since certificates are enrolled for the system and the administrators. */
#include "win32/cert_store_codes.h"
#include "win32/cert_store_parts.h"
#include "win32/rights.h"

#include <aclapi.h>
#include <sddl.h>
#include <stdlib.h>

/* The security descriptor, with its list of rights alone; to be freed. */
static enum cert_store_result descriptor(const struct cert_handle *h, PSECURITY_DESCRIPTOR *out,
                                         struct err *e)
{
    DWORD n = 0;
    *out = NULL;
    if (h->ncrypt != 0) {
        SECURITY_STATUS status = h->calls->ncrypt_get(h->ncrypt, NCRYPT_SECURITY_DESCR_PROPERTY,
                                                      NULL, 0, &n, DACL_SECURITY_INFORMATION);
        *out = status == ERROR_SUCCESS && n > 0 ? malloc(n) : NULL;
        if (*out != NULL)
            status = h->calls->ncrypt_get(h->ncrypt, NCRYPT_SECURITY_DESCR_PROPERTY, *out, n, &n,
                                          DACL_SECURITY_INFORMATION);
        if (status == ERROR_SUCCESS && *out != NULL && IsValidSecurityDescriptor(*out))
            return CERT_STORE_OK;
        free(*out);
        *out = NULL;
        return cert_store_failed(status == ERROR_SUCCESS ? (uint32_t)NTE_FAIL : (uint32_t)status,
                                 "NCryptGetProperty Security Descr", e);
    }
    BOOL ok = h->calls->capi_get(h->capi, PP_KEYSET_SEC_DESCR, NULL, &n, DACL_SECURITY_INFORMATION);
    DWORD code = ok ? (DWORD)NTE_FAIL : GetLastError();
    *out = ok && n > 0 ? malloc(n) : NULL;
    if (*out != NULL) {
        ok = h->calls->capi_get(h->capi, PP_KEYSET_SEC_DESCR, *out, &n, DACL_SECURITY_INFORMATION);
        code = ok ? (DWORD)NTE_FAIL : GetLastError();
    }
    if (*out != NULL && ok && IsValidSecurityDescriptor(*out))
        return CERT_STORE_OK;
    free(*out);
    *out = NULL;
    return cert_store_failed(code, "CryptGetProvParam PP_KEYSET_SEC_DESCR", e);
}

static bool list_of(PSECURITY_DESCRIPTOR d, PACL *list)
{
    BOOL present = FALSE, defaulted = FALSE;
    *list = NULL;
    return GetSecurityDescriptorDacl(d, &present, list, &defaulted) &&
           (!present || *list == NULL || IsValidAcl(*list));
}

/* The service itself, or a group that it is in. */
static bool is_the_service(PSID sid)
{
    static const wchar_t *const names[] = {
        RIGHTS_SERVICE_SID, L"S-1-5-80-0" /* all services */, L"S-1-1-0" /* everyone */,
        L"S-1-5-11" /* authenticated users */, L"S-1-5-6" /* logged on as a service */};
    bool found = false;
    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++) {
        PSID one = NULL;
        found = ConvertStringSidToSidW(names[i], &one) && EqualSid(sid, one);
        LocalFree(one);
    }
    return found;
}

static bool lets_the_service_read(PACL list)
{
    bool allowed = false, denied = false;
    for (DWORD i = 0; i < list->AceCount; i++) {
        void *entry;
        if (!GetAce(list, i, &entry))
            continue;
        const ACE_HEADER *header = entry;
        if ((header->AceType != ACCESS_ALLOWED_ACE_TYPE &&
             header->AceType != ACCESS_DENIED_ACE_TYPE) ||
            (header->AceFlags & INHERIT_ONLY_ACE) != 0)
            continue;
        ACCESS_ALLOWED_ACE *one = entry; /* the other kind has the same shape */
        bool reads = (one->Mask & (GENERIC_READ | GENERIC_ALL | FILE_READ_DATA)) != 0;
        if (!reads || !is_the_service((PSID)&one->SidStart))
            continue;
        if (header->AceType == ACCESS_DENIED_ACE_TYPE)
            denied = denied || !allowed;
        else
            allowed = allowed || !denied;
    }
    return allowed && !denied;
}

enum cert_store_right cert_handle_right(const struct cert_handle *h, struct err *e)
{
    PSECURITY_DESCRIPTOR d;
    PACL list;
    if (descriptor(h, &d, e) != CERT_STORE_OK)
        return CERT_STORE_CANNOT_TELL;
    enum cert_store_right right = CERT_STORE_CANNOT_TELL;
    if (list_of(d, &list))
        right = list == NULL || lets_the_service_read(list) ? CERT_STORE_MAY : CERT_STORE_MAY_NOT;
    free(d);
    return right;
}

/* The list that there is and one entry more, as a descriptor in one piece; to be freed. */
static DWORD with_the_service(PSECURITY_DESCRIPTOR d, SECURITY_DESCRIPTOR **out, DWORD *n)
{
    PSID service = NULL;
    PACL list = NULL, longer = NULL;
    SECURITY_DESCRIPTOR whole;
    DWORD code = ERROR_SUCCESS;
    *out = NULL;
    *n = 0;
    if (!list_of(d, &list) || !ConvertStringSidToSidW(RIGHTS_SERVICE_SID, &service))
        return GetLastError();
    EXPLICIT_ACCESSW more = {.grfAccessPermissions = GENERIC_READ,
                             .grfAccessMode = GRANT_ACCESS,
                             .grfInheritance = NO_INHERITANCE,
                             .Trustee = {.TrusteeForm = TRUSTEE_IS_SID,
                                         .TrusteeType = TRUSTEE_IS_WELL_KNOWN_GROUP,
                                         .ptstrName = (LPWSTR)service}};
    code = SetEntriesInAclW(1, &more, list, &longer);
    if (code == ERROR_SUCCESS &&
        (!InitializeSecurityDescriptor(&whole, SECURITY_DESCRIPTOR_REVISION) ||
         !SetSecurityDescriptorDacl(&whole, TRUE, longer, FALSE)))
        code = GetLastError();
    if (code == ERROR_SUCCESS) {
        (void)MakeSelfRelativeSD(&whole, NULL, n);
        *out = malloc(*n);
        if (*out == NULL)
            code = ERROR_NOT_ENOUGH_MEMORY;
        else if (!MakeSelfRelativeSD(&whole, *out, n))
            code = GetLastError();
    }
    if (code != ERROR_SUCCESS) {
        free(*out);
        *out = NULL;
    }
    LocalFree(longer);
    LocalFree(service);
    return code;
}

enum cert_store_result cert_handle_grant(const struct cert_handle *h, struct err *e)
{
    PSECURITY_DESCRIPTOR d;
    SECURITY_DESCRIPTOR *longer;
    DWORD n;
    enum cert_store_result result = descriptor(h, &d, e);
    if (result != CERT_STORE_OK)
        return result;
    PACL list;
    if (list_of(d, &list) && (list == NULL || lets_the_service_read(list))) {
        free(d);
        return CERT_STORE_OK;
    }
    DWORD code = with_the_service(d, &longer, &n);
    free(d);
    if (code != ERROR_SUCCESS)
        return cert_store_failed(code, "SetEntriesInAcl", e);
    if (h->ncrypt != 0) {
        SECURITY_STATUS status =
            h->calls->ncrypt_set(h->ncrypt, NCRYPT_SECURITY_DESCR_PROPERTY, (PBYTE)longer, n,
                                 DACL_SECURITY_INFORMATION | NCRYPT_SILENT_FLAG);
        if (status != ERROR_SUCCESS)
            result = cert_store_failed((uint32_t)status, "NCryptSetProperty Security Descr", e);
    } else if (!h->calls->capi_set(h->capi, PP_KEYSET_SEC_DESCR, (const BYTE *)longer,
                                   DACL_SECURITY_INFORMATION)) {
        result = cert_store_failed(GetLastError(), "CryptSetProvParam PP_KEYSET_SEC_DESCR", e);
    }
    free(longer);
    return result;
}
