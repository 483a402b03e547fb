/* sspi_lab.c - the calls of win32/sspi_calls.h for a service that logs clients in under Wine. Wine
 * really judges: NTLM by the program ntlm_auth on PATH, Kerberos by MIT's library with its keytab.
 * But it keeps no token of the client and does not say who it was, and it wraps messages in another
 * order. So here a token stands for the name that the judge has left in the folder
 * POSTERN_SSPI_LAB (a service has that variable from the registry): ntlm_auth in "accepted"
 * (tests/windows/bin), MIT's library in "trace" (KRB5_TRACE). One login at a time. In this program
 * alone; postern.exe has the system's calls. */
#include "win32/sspi_calls.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum { NAME_MAX_HERE = 128, NAMES_MAX = 64, FIRST_RID = 1000, CHECKSUM_N = 28 };

static struct {
    SRWLOCK lock;
    bool ntlm;
    char account[NAME_MAX_HERE], domain[NAME_MAX_HERE], target[NAME_MAX_HERE];
    struct {
        char account[NAME_MAX_HERE], domain[NAME_MAX_HERE];
    } names[NAMES_MAX]; /* RID 1000 and further */
    size_t names_n;
} lab = {.lock = SRWLOCK_INIT};

/* The last line that has key in it, from behind the key; false: there is none. */
static bool last_line(const char *file, const char *key, char out[512])
{
    char path[512], line[512], registered[256] = ".";
    DWORD n = sizeof registered;
    const char *folder = getenv("POSTERN_SSPI_LAB");
    if (folder == NULL &&
        RegGetValueA(HKEY_LOCAL_MACHINE,
                     "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment",
                     "POSTERN_SSPI_LAB", RRF_RT_REG_SZ, NULL, registered, &n) == ERROR_SUCCESS)
        folder = registered;
    (void)snprintf(path, sizeof path, "%s\\%s", folder == NULL ? "." : folder, file);
    FILE *f = fopen(path, "rb");
    bool found = false;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, key);
        if (at == NULL)
            continue;
        found = true;
        (void)snprintf(out, 512, "%s", at + strlen(key));
        out[strcspn(out, "\r\n")] = 0;
    }
    if (f != NULL)
        (void)fclose(f);
    return found;
}

static void copy(char out[NAME_MAX_HERE], const char *from, size_t n)
{
    (void)snprintf(out, NAME_MAX_HERE, "%.*s", (int)n, from);
}

/* "DOMAIN\account", or "account@REALM -> smtp/host@REALM, session key ...". */
static void note_who(void)
{
    char line[512] = "";
    lab.account[0] = lab.domain[0] = lab.target[0] = 0;
    if (lab.ntlm) {
        if (!last_line("accepted", "", line))
            return;
        size_t n = strcspn(line, "\\");
        copy(lab.domain, line, n);
        copy(lab.account, line + n + (line[n] != 0), NAME_MAX_HERE);
        return;
    }
    if (!last_line("trace", "AP-REQ ticket: ", line))
        return;
    const char *at = strchr(line, '@'), *to = strstr(line, " -> ");
    if (at == NULL || to == NULL || to < at)
        return;
    copy(lab.account, line, (size_t)(at - line));
    copy(lab.domain, at + 1, (size_t)(to - at - 1));
    copy(lab.target, to + 4, strcspn(to + 4, "@"));
}

static SECURITY_STATUS SEC_ENTRY accept(PCredHandle credentials, PCtxtHandle context,
                                        PSecBufferDesc input, ULONG request, ULONG order,
                                        PCtxtHandle out_context, PSecBufferDesc output,
                                        ULONG *attributes, PTimeStamp until)
{
    AcquireSRWLockExclusive(&lab.lock);
    lab.ntlm =
        input->pBuffers[0].cbBuffer > 7 && memcmp(input->pBuffers[0].pvBuffer, "NTLMSSP", 7) == 0;
    SECURITY_STATUS status = AcceptSecurityContext(credentials, context, input, request, order,
                                                   out_context, output, attributes, until);
    if (status == SEC_E_OK)
        note_who();
    ReleaseSRWLockExclusive(&lab.lock);
    return status;
}

static SECURITY_STATUS SEC_ENTRY token_of(PCtxtHandle context, void **token)
{
    (void)context;
    *token = &lab;
    return lab.account[0] == 0 && lab.domain[0] == 0 ? SEC_E_NO_IMPERSONATION : SEC_E_OK;
}

static BOOL WINAPI close_token(HANDLE token)
{
    return token == &lab;
}

static DWORD rid_of(void)
{
    for (size_t i = 0; i < lab.names_n; i++)
        if (strcmp(lab.names[i].account, lab.account) == 0 &&
            strcmp(lab.names[i].domain, lab.domain) == 0)
            return (DWORD)(FIRST_RID + i);
    if (lab.names_n == NAMES_MAX)
        return DOMAIN_USER_RID_GUEST;
    copy(lab.names[lab.names_n].account, lab.account, NAME_MAX_HERE);
    copy(lab.names[lab.names_n].domain, lab.domain, NAME_MAX_HERE);
    return (DWORD)(FIRST_RID + lab.names_n++);
}

/* What Windows gives these: the anonymous logon, RID 501 of the machine, an account of its own. */
static bool write_sid(PSID out)
{
    static SID_IDENTIFIER_AUTHORITY nt = {SECURITY_NT_AUTHORITY};
    bool anonymous = strcmp(lab.account, "ANONYMOUS LOGON") == 0;
    if (!InitializeSid(out, &nt, anonymous ? 1 : 5))
        return false;
    *GetSidSubAuthority(out, 0) = anonymous ? SECURITY_ANONYMOUS_LOGON_RID : SECURITY_NT_NON_UNIQUE;
    for (DWORD i = 1; !anonymous && i < 4; i++)
        *GetSidSubAuthority(out, i) = i;
    if (!anonymous)
        *GetSidSubAuthority(out, 4) =
            _stricmp(lab.account, "guest") == 0 ? (DWORD)DOMAIN_USER_RID_GUEST : rid_of();
    return true;
}

/* The account "visitor" is a member of Guests. */
static BOOL WINAPI token_information(HANDLE token, TOKEN_INFORMATION_CLASS class, LPVOID out,
                                     DWORD size, PDWORD needed)
{
    (void)token;
    *needed = size;
    if (class == TokenUser) {
        TOKEN_USER *user = out;
        user->User = (SID_AND_ATTRIBUTES){.Sid = user + 1};
        return write_sid(user->User.Sid);
    }
    TOKEN_GROUPS *groups = out;
    DWORD n = SECURITY_MAX_SID_SIZE;
    groups->GroupCount = 1;
    groups->Groups[0] = (SID_AND_ATTRIBUTES){.Sid = groups + 1, .Attributes = SE_GROUP_ENABLED};
    return CreateWellKnownSid(strcmp(lab.account, "visitor") == 0 ? WinBuiltinGuestsSid
                                                                  : WinBuiltinUsersSid,
                              NULL, groups->Groups[0].Sid, &n);
}

static BOOL WINAPI account_of(LPCWSTR machine, PSID sid, LPWSTR account, LPDWORD account_n,
                              LPWSTR domain, LPDWORD domain_n, PSID_NAME_USE use)
{
    (void)machine;
    size_t i = *GetSidSubAuthority(sid, 4) - FIRST_RID;
    *use = SidTypeUser;
    if (i < lab.names_n &&
        MultiByteToWideChar(CP_UTF8, 0, lab.names[i].account, -1, account, (int)*account_n) > 0 &&
        MultiByteToWideChar(CP_UTF8, 0, lab.names[i].domain, -1, domain, (int)*domain_n) > 0)
        return TRUE;
    SetLastError(ERROR_NONE_MAPPED);
    return FALSE;
}

static SECURITY_STATUS SEC_ENTRY attributes_of(PCtxtHandle context, ULONG which, void *out)
{
    if (which != SECPKG_ATTR_CLIENT_SPECIFIED_TARGET)
        return QueryContextAttributesW(context, which, out);
    wchar_t *name = lab.target[0] == 0 ? NULL : malloc(NAME_MAX_HERE * sizeof *name);
    if (name == NULL)
        return SEC_E_TARGET_UNKNOWN;
    (void)swprintf(name, NAME_MAX_HERE, L"%hs", lab.target);
    ((SecPkgContext_ClientSpecifiedTarget *)out)->sTargetName = name;
    return SEC_E_OK;
}

static SECURITY_STATUS SEC_ENTRY free_buffer(void *buffer)
{
    free(buffer);
    return SEC_E_OK;
}

/* Wine puts the first bytes of the message into the data and the rest into the trailer; Windows
 * puts the message's head into the trailer, which then stands first. */
static SECURITY_STATUS SEC_ENTRY encrypt(PCtxtHandle context, ULONG quality, PSecBufferDesc message,
                                         ULONG number)
{
    uint8_t whole[2048];
    SecBuffer *trailer = &message->pBuffers[0], *data = &message->pBuffers[1];
    SecBuffer parts[2] = {*data, *trailer};
    SecBufferDesc asked = {SECBUFFER_VERSION, 2, parts};
    SECURITY_STATUS status = EncryptMessage(context, quality, &asked, number);
    size_t n = parts[0].cbBuffer + parts[1].cbBuffer;
    if (status != SEC_E_OK || n > sizeof whole)
        return status;
    memcpy(whole, parts[0].pvBuffer, parts[0].cbBuffer);
    memcpy(whole + parts[0].cbBuffer, parts[1].pvBuffer, parts[1].cbBuffer);
    trailer->cbBuffer = parts[1].cbBuffer;
    memcpy(trailer->pvBuffer, whole, trailer->cbBuffer);
    memcpy(data->pvBuffer, whole + trailer->cbBuffer, data->cbBuffer);
    message->pBuffers[2].cbBuffer = 0;
    return status;
}

/* Wine knows no stream: it takes the message in two halves and leaves the text in the first, which
 * must be as long as the text. 28: head and checksum of AES with SHA-1, RFC 4121 and 3962. */
static SECURITY_STATUS SEC_ENTRY decrypt(PCtxtHandle context, PSecBufferDesc message, ULONG number,
                                         ULONG *quality)
{
    SecBuffer *stream = &message->pBuffers[0];
    if (stream->cbBuffer <= CHECKSUM_N)
        return SEC_E_INVALID_TOKEN;
    ULONG n = stream->cbBuffer - CHECKSUM_N;
    SecBuffer parts[2] = {
        {.cbBuffer = n, .BufferType = SECBUFFER_DATA, .pvBuffer = stream->pvBuffer},
        {.cbBuffer = CHECKSUM_N,
         .BufferType = SECBUFFER_TOKEN,
         .pvBuffer = (uint8_t *)stream->pvBuffer + n}};
    SecBufferDesc asked = {SECBUFFER_VERSION, 2, parts};
    SECURITY_STATUS status = DecryptMessage(context, &asked, number, quality);
    message->pBuffers[1].pvBuffer = parts[0].pvBuffer;
    message->pBuffers[1].cbBuffer = parts[0].cbBuffer;
    return status;
}

void sspi_calls_fill(struct sspi_calls *out)
{
    *out = (struct sspi_calls){
        .AcquireCredentialsHandle = AcquireCredentialsHandleW,
        .FreeCredentialsHandle = FreeCredentialsHandle,
        .AcceptSecurityContext = accept,
        .CompleteAuthToken = CompleteAuthToken,
        .DeleteSecurityContext = DeleteSecurityContext,
        .FreeContextBuffer = free_buffer,
        .QueryContextAttributes = attributes_of,
        .EncryptMessage = encrypt,
        .DecryptMessage = decrypt,
        .QuerySecurityContextToken = token_of,
        .GetTokenInformation = token_information,
        .LookupAccountSid = account_of,
        .CloseHandle = close_token,
    };
}
