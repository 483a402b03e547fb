/* The Windows side of platform/integrated_auth.h: SSPI, package Kerberos, Negotiate or NTLM. The
 * keys are the machine's (or those of the account that the service runs as), so that the options
 * keytab and ntlm_auth mean nothing here. Who the client is comes from the token of the context
 * alone. SSPI takes one channel binding, not a choice: the one of the certificate
 * (tls-server-end-point), which is what Windows clients bind to; a client that binds to nothing is
 * let in. */
#define SECURITY_WIN32
#include "platform/integrated_auth.h"

#include "win32/local_account_codes.h"
#include "win32/text.h"

#include <windows.h>

#include <security.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PACKAGES = 3 }; /* of Windows; two of ours are Negotiate */

static const wchar_t *const names[PACKAGES] = {L"Kerberos", L"Negotiate", L"NTLM"};

static size_t index_of(enum integrated_package package)
{
    static const size_t of[INTEGRATED_PACKAGES] = {[INTEGRATED_KERBEROS] = 0,
                                                   [INTEGRATED_SPNEGO_KERBEROS] = 1,
                                                   [INTEGRATED_SPNEGO_NTLM] = 1,
                                                   [INTEGRATED_NTLM] = 2};
    return of[package];
}

struct integrated_auth {
    CredHandle credentials[PACKAGES];
    bool acquired[PACKAGES];
    struct integrated_readiness ready[INTEGRATED_PACKAGES];
};

struct integrated_context {
    struct integrated_auth *auth;
    enum integrated_package package;
    CtxtHandle handle;
    bool begun, done;
    ULONG attributes;
    struct {
        SEC_CHANNEL_BINDINGS head;
        uint8_t data[INTEGRATED_BINDING_MAX];
    } binding;
    ULONG binding_n; /* 0: none */
    char domain[INTEGRATED_NAME_MAX], account[INTEGRATED_NAME_MAX];
};

bool integrated_auth_open(const struct integrated_options *options, struct integrated_auth **out,
                          struct err *e)
{
    struct integrated_auth *a = calloc(1, sizeof *a);
    (void)options;
    if (a == NULL)
        return err_set(e, ERR_TEMP, "authentication.integrated: no memory");
    for (size_t p = 0; p < INTEGRATED_PACKAGES; p++) {
        struct integrated_readiness *r = &a->ready[p];
        size_t i = index_of((enum integrated_package)p);
        char why[SYSTEM_TEXT_MAX];
        SECURITY_STATUS status = SEC_E_OK;
        if (!a->acquired[i]) {
            wchar_t name[16]; /* the call's prototype wants one that it could change */
            (void)wcscpy(name, names[i]);
            status = AcquireCredentialsHandleW(NULL, name, SECPKG_CRED_INBOUND, NULL, NULL, NULL,
                                               NULL, &a->credentials[i], NULL);
            a->acquired[i] = status == SEC_E_OK;
        }
        r->ready = a->acquired[i];
        if (r->ready)
            continue;
        (void)snprintf(r->reason, sizeof r->reason, "AcquireCredentialsHandle %ls: %s", names[i],
                       system_text((uint32_t)status, why));
        (void)snprintf(
            r->cure, sizeof r->cure,
            "run the service under an account that has the keys, as NT SERVICE\\Postern");
    }
    *out = a;
    return true;
}

void integrated_auth_close(struct integrated_auth **auth)
{
    if (auth == NULL || *auth == NULL)
        return;
    for (size_t i = 0; i < PACKAGES; i++)
        if ((*auth)->acquired[i])
            (void)FreeCredentialsHandle(&(*auth)->credentials[i]);
    free(*auth);
    *auth = NULL;
}

const struct integrated_readiness *integrated_auth_ready(const struct integrated_auth *a,
                                                         enum integrated_package package)
{
    return &a->ready[package];
}

static void take_binding(struct integrated_context *c, const struct span *bindings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!span_starts_nocase(bindings[i], "tls-server-end-point:") ||
            bindings[i].n > sizeof c->binding.data)
            continue;
        c->binding.head.cbApplicationDataLength = (ULONG)bindings[i].n;
        c->binding.head.dwApplicationDataOffset = sizeof c->binding.head;
        memcpy(c->binding.data, bindings[i].p, bindings[i].n);
        c->binding_n = (ULONG)(sizeof c->binding.head + bindings[i].n);
    }
}

struct integrated_context *integrated_begin(struct integrated_auth *a,
                                            enum integrated_package package,
                                            const struct span *bindings, size_t binding_count)
{
    struct integrated_context *c = a->acquired[index_of(package)] ? calloc(1, sizeof *c) : NULL;
    if (c == NULL)
        return NULL;
    c->auth = a;
    c->package = package;
    take_binding(c, bindings, binding_count);
    return c;
}

/* ---- who it is ---- */

static enum integrated_result name_of(struct integrated_context *c, PSID sid,
                                      char reason[INTEGRATED_REASON_MAX])
{
    wchar_t account[INTEGRATED_NAME_MAX], domain[INTEGRATED_NAME_MAX];
    DWORD account_n = INTEGRATED_NAME_MAX, domain_n = INTEGRATED_NAME_MAX;
    SID_NAME_USE use;
    char why[SYSTEM_TEXT_MAX];
    if (local_account_is_guest(sid)) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "anonymous or the guest account");
        return INTEGRATED_GUEST;
    }
    if (!LookupAccountSidW(NULL, sid, account, &account_n, domain, &domain_n, &use)) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "LookupAccountSid: %s",
                       system_text(GetLastError(), why));
        return INTEGRATED_UNAVAILABLE;
    }
    if ((use != SidTypeUser && use != SidTypeComputer) ||
        !text_from_wide(account, c->account, sizeof c->account) ||
        !text_from_wide(domain, c->domain, sizeof c->domain)) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "not the name of a user");
        return INTEGRATED_REFUSED;
    }
    return INTEGRATED_DONE;
}

static bool is_in_guests(HANDLE token)
{
    union {
        TOKEN_GROUPS groups;
        BYTE room[64 * 1024]; /* 1,015 groups at most, each with its identifier */
    } *all = malloc(sizeof *all);
    DWORD size = 0;
    bool found = all == NULL || !GetTokenInformation(token, TokenGroups, all, sizeof *all, &size);
    for (DWORD i = 0; !found && i < all->groups.GroupCount; i++)
        found = IsWellKnownSid(all->groups.Groups[i].Sid, WinBuiltinGuestsSid);
    free(all);
    return found; /* what cannot be found out is refused */
}

static enum integrated_result identify(struct integrated_context *c,
                                       char reason[INTEGRATED_REASON_MAX])
{
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } who;
    HANDLE token = NULL;
    DWORD size = 0;
    char why[SYSTEM_TEXT_MAX];
    SECURITY_STATUS status = QuerySecurityContextToken(&c->handle, &token);
    if (status != SEC_E_OK) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "QuerySecurityContextToken: %s",
                       system_text((uint32_t)status, why));
        return INTEGRATED_UNAVAILABLE;
    }
    enum integrated_result result = INTEGRATED_UNAVAILABLE;
    if (!GetTokenInformation(token, TokenUser, &who, sizeof who, &size))
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "GetTokenInformation: %s",
                       system_text(GetLastError(), why));
    else
        result = name_of(c, who.user.User.Sid, reason);
    if (result == INTEGRATED_DONE && is_in_guests(token)) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "a member of Guests");
        result = INTEGRATED_GUEST;
    }
    (void)CloseHandle(token);
    return result;
}

/* ---- the conversation ---- */

static enum integrated_result failure(SECURITY_STATUS status, char reason[INTEGRATED_REASON_MAX])
{
    char why[SYSTEM_TEXT_MAX];
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "AcceptSecurityContext: %s",
                   system_text((uint32_t)status, why));
    switch (status) {
    case SEC_E_INVALID_TOKEN:
    case SEC_E_INCOMPLETE_MESSAGE:
    case SEC_E_BUFFER_TOO_SMALL: return INTEGRATED_MALFORMED;
    case SEC_E_INSUFFICIENT_MEMORY:
    case SEC_E_INTERNAL_ERROR:
    case SEC_E_INVALID_HANDLE:
    case SEC_E_NO_AUTHENTICATING_AUTHORITY:
    case SEC_E_SECPKG_NOT_FOUND:
    case SEC_E_TIME_SKEW:
    case SEC_E_UNSUPPORTED_FUNCTION: return INTEGRATED_UNAVAILABLE;
    default: return INTEGRATED_REFUSED;
    }
}

enum integrated_result integrated_step(struct integrated_context *c, struct span in,
                                       struct buf *out, char reason[INTEGRATED_REASON_MAX])
{
    buf_reset(out);
    reason[0] = 0;
    if (in.n == 0 || in.n > INTEGRATED_TOKEN_MAX || c->done) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s",
                       in.n == 0 ? "an empty token" : "the token is too long, or one too many");
        return INTEGRATED_MALFORMED;
    }
    SecBuffer given[2] = {{.cbBuffer = (ULONG)in.n,
                           .BufferType = SECBUFFER_TOKEN,
                           .pvBuffer = (void *)(uintptr_t)in.p},
                          {.cbBuffer = c->binding_n,
                           .BufferType = SECBUFFER_CHANNEL_BINDINGS,
                           .pvBuffer = &c->binding}};
    SecBuffer made = {.BufferType = SECBUFFER_TOKEN};
    SecBufferDesc input = {SECBUFFER_VERSION, c->binding_n == 0 ? 1 : 2, given};
    SecBufferDesc output = {SECBUFFER_VERSION, 1, &made};
    SECURITY_STATUS status = AcceptSecurityContext(
        &c->auth->credentials[index_of(c->package)], c->begun ? &c->handle : NULL, &input,
        ASC_REQ_ALLOCATE_MEMORY | ASC_REQ_ALLOW_MISSING_BINDINGS, SECURITY_NETWORK_DREP, &c->handle,
        &output, &c->attributes, NULL);
    if (status >= 0)
        c->begun = true;
    if (status == SEC_I_COMPLETE_NEEDED || status == SEC_I_COMPLETE_AND_CONTINUE) {
        SECURITY_STATUS completed = CompleteAuthToken(&c->handle, &output);
        status = completed < 0                     ? completed
                 : status == SEC_I_COMPLETE_NEEDED ? SEC_E_OK
                                                   : SEC_I_CONTINUE_NEEDED;
    }
    bool fits = made.pvBuffer == NULL || buf_add(out, span_of(made.pvBuffer, made.cbBuffer));
    if (made.pvBuffer != NULL)
        (void)FreeContextBuffer(made.pvBuffer);
    if (!fits) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "the answer is too long");
        return INTEGRATED_UNAVAILABLE;
    }
    if (status == SEC_I_CONTINUE_NEEDED)
        return INTEGRATED_CONTINUE;
    if (status != SEC_E_OK)
        return failure(status, reason);
    c->done = true;
    return identify(c, reason);
}

const char *integrated_domain(const struct integrated_context *c)
{
    return c->domain;
}

const char *integrated_account(const struct integrated_context *c)
{
    return c->account;
}

/* ---- messages under the context's protection ---- */

bool integrated_can_wrap(const struct integrated_context *c)
{
    return c->package == INTEGRATED_KERBEROS || c->package == INTEGRATED_SPNEGO_KERBEROS;
}

bool integrated_wrap(struct integrated_context *c, struct span in, struct buf *out)
{
    SecPkgContext_Sizes sizes;
    uint8_t trailer[1024], padding[256], data[1024];
    if (!c->done || in.n > sizeof data ||
        QueryContextAttributesW(&c->handle, SECPKG_ATTR_SIZES, &sizes) != SEC_E_OK ||
        sizes.cbSecurityTrailer > sizeof trailer || sizes.cbBlockSize > sizeof padding)
        return false;
    memcpy(data, in.p, in.n);
    SecBuffer parts[3] = {
        {.cbBuffer = sizes.cbSecurityTrailer, .BufferType = SECBUFFER_TOKEN, .pvBuffer = trailer},
        {.cbBuffer = (ULONG)in.n, .BufferType = SECBUFFER_DATA, .pvBuffer = data},
        {.cbBuffer = sizes.cbBlockSize, .BufferType = SECBUFFER_PADDING, .pvBuffer = padding}};
    SecBufferDesc message = {SECBUFFER_VERSION, 3, parts};
    if (EncryptMessage(&c->handle, SECQOP_WRAP_NO_ENCRYPT, &message, 0) != SEC_E_OK)
        return false;
    bool ok = true;
    for (size_t i = 0; i < 3; i++)
        ok = ok && buf_add(out, span_of(parts[i].pvBuffer, parts[i].cbBuffer));
    return ok;
}

bool integrated_unwrap(struct integrated_context *c, struct span in, struct buf *out)
{
    uint8_t *copy = c->done && in.n > 0 && in.n <= INTEGRATED_TOKEN_MAX ? malloc(in.n) : NULL;
    if (copy == NULL)
        return false;
    memcpy(copy, in.p, in.n);
    SecBuffer parts[2] = {
        {.cbBuffer = (ULONG)in.n, .BufferType = SECBUFFER_STREAM, .pvBuffer = copy},
        {.BufferType = SECBUFFER_DATA}};
    SecBufferDesc message = {SECBUFFER_VERSION, 2, parts};
    ULONG quality;
    bool ok = DecryptMessage(&c->handle, &message, 0, &quality) == SEC_E_OK &&
              buf_add(out, span_of(parts[1].pvBuffer, parts[1].cbBuffer));
    free(copy);
    return ok;
}

void integrated_end(struct integrated_context **c)
{
    if (c == NULL || *c == NULL)
        return;
    if ((*c)->begun)
        (void)DeleteSecurityContext(&(*c)->handle);
    free(*c);
    *c = NULL;
}
