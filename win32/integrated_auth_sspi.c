/* The Windows side of platform/integrated_auth.h: SSPI, package Kerberos, Negotiate or NTLM. The
 * keys are the machine's (or those of the account that the service runs as), so that the options
 * keytab and ntlm_auth mean nothing here.
 *
 * Who the client is comes from the token of the context alone. SSPI takes one channel binding, not
 * a choice: that of the certificate (tls-server-end-point), which is what Windows clients bind to;
 * one that binds to another is refused, one that binds to nothing is let in. A client that names a
 * target must name a mail service (smtp/ or SMTPSVC/). Negotiate may settle on another package than
 * the client's first: what it came to is asked, and NTLM is refused where it was not meant.
 *
 * What a domain controller may have a part in runs as a bounded call (bounded_call.h): a step that
 * is late is UNAVAILABLE, and its context is done with when the system at last answers.
 * Sources: learn.microsoft.com, sspi.h; RFC 4752 section 3.1 for the messages. */
#include "platform/integrated_auth.h"

#include "win32/bounded_call.h"
#include "win32/local_account_codes.h"
#include "win32/sspi_calls.h"
#include "win32/sspi_codes.h"
#include "win32/text.h"

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
    struct sspi_calls system;
    atomic_int holders; /* the owner, and each conversation, which may outlive it when it is late */
    CredHandle credentials[PACKAGES];
    bool acquired[PACKAGES];
    struct integrated_readiness ready[INTEGRATED_PACKAGES];
};

/* All that a step reads and writes: of the context, until a step is late. */
struct conversation {
    struct bounded_call call;
    struct integrated_auth *auth;
    enum integrated_package package;
    CtxtHandle handle;
    bool begun, done, kerberos;
    struct {
        SEC_CHANNEL_BINDINGS head;
        uint8_t data[INTEGRATED_BINDING_MAX];
    } binding;
    ULONG binding_n; /* 0: none */
    uint8_t in[INTEGRATED_TOKEN_MAX], out[INTEGRATED_TOKEN_MAX];
    ULONG in_n, out_n;
    enum integrated_result result;
    char reason[INTEGRATED_REASON_MAX];
    char domain[INTEGRATED_NAME_MAX], account[INTEGRATED_NAME_MAX];
};

struct integrated_context {
    struct conversation *talk; /* NULL: a step was late */
    enum integrated_package package;
};

static void release(struct integrated_auth *a)
{
    if (atomic_fetch_sub(&a->holders, 1) != 1)
        return;
    for (size_t i = 0; i < PACKAGES; i++)
        if (a->acquired[i])
            (void)a->system.FreeCredentialsHandle(&a->credentials[i]);
    free(a);
}

static void prove(struct integrated_auth *a, enum integrated_package package)
{
    struct integrated_readiness *r = &a->ready[package];
    size_t i = index_of(package);
    if (!a->acquired[i]) {
        char why[SYSTEM_TEXT_MAX];
        wchar_t name[16]; /* the call's prototype wants one that it could change */
        (void)wcscpy(name, names[i]);
        SECURITY_STATUS status = a->system.AcquireCredentialsHandle(
            NULL, name, SECPKG_CRED_INBOUND, NULL, NULL, NULL, NULL, &a->credentials[i], NULL);
        a->acquired[i] = status == SEC_E_OK;
        if (!a->acquired[i])
            (void)snprintf(r->reason, sizeof r->reason, "AcquireCredentialsHandle %ls: %s",
                           names[i], system_text((uint32_t)status, why));
    }
    r->ready = a->acquired[i];
    if (!r->ready)
        (void)snprintf(
            r->cure, sizeof r->cure,
            "run the service under an account that has the keys, as NT SERVICE\\Postern");
}

bool integrated_auth_open(const struct integrated_options *options, struct integrated_auth **out,
                          struct err *e)
{
    struct integrated_auth *a = calloc(1, sizeof *a);
    (void)options;
    if (a == NULL)
        return err_set(e, ERR_TEMP, "authentication.integrated: no memory");
    atomic_store(&a->holders, 1);
    sspi_calls_fill(&a->system);
    for (size_t p = 0; p < INTEGRATED_PACKAGES; p++)
        prove(a, (enum integrated_package)p);
    *out = a;
    return true;
}

void integrated_auth_close(struct integrated_auth **auth)
{
    if (auth == NULL || *auth == NULL)
        return;
    release(*auth);
    *auth = NULL;
}

const struct integrated_readiness *integrated_auth_ready(const struct integrated_auth *a,
                                                         enum integrated_package package)
{
    return &a->ready[package];
}

/* The first is that of the certificate that the client was shown. */
static void take_binding(struct conversation *c, const struct span *bindings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!span_starts_nocase(bindings[i], "tls-server-end-point:") ||
            bindings[i].n > sizeof c->binding.data)
            continue;
        c->binding.head.cbApplicationDataLength = (ULONG)bindings[i].n;
        c->binding.head.dwApplicationDataOffset = sizeof c->binding.head;
        memcpy(c->binding.data, bindings[i].p, bindings[i].n);
        c->binding_n = (ULONG)(sizeof c->binding.head + bindings[i].n);
        return;
    }
}

/* ---- who it is ---- */

static enum integrated_result refuse(struct conversation *c, enum integrated_result result,
                                     const char *why)
{
    (void)snprintf(c->reason, sizeof c->reason, "%s", why);
    return result;
}

static enum integrated_result unknown(struct conversation *c, const char *call, DWORD code)
{
    char why[SYSTEM_TEXT_MAX];
    (void)snprintf(c->reason, sizeof c->reason, "%s: %s", call, system_text(code, why));
    return INTEGRATED_UNAVAILABLE;
}

static enum integrated_result name_of(struct conversation *c, PSID sid)
{
    wchar_t account[INTEGRATED_NAME_MAX], domain[INTEGRATED_NAME_MAX];
    DWORD account_n = INTEGRATED_NAME_MAX, domain_n = INTEGRATED_NAME_MAX;
    SID_NAME_USE use;
    if (local_account_is_guest(sid))
        return refuse(c, INTEGRATED_GUEST, "anonymous or the guest account");
    if (!c->auth->system.LookupAccountSid(NULL, sid, account, &account_n, domain, &domain_n, &use))
        return unknown(c, "LookupAccountSid", GetLastError());
    if ((use != SidTypeUser && use != SidTypeComputer) ||
        !text_from_wide(account, c->account, sizeof c->account) ||
        !text_from_wide(domain, c->domain, sizeof c->domain) || c->account[0] == 0 ||
        c->domain[0] == 0 || strchr(c->account, '\\') != NULL || strpbrk(c->domain, "\\@") != NULL)
        return refuse(c, INTEGRATED_REFUSED, "not the name of a user");
    return INTEGRATED_DONE;
}

static enum integrated_result judge_groups(struct conversation *c, HANDLE token)
{
    union {
        TOKEN_GROUPS groups;
        BYTE room[80 * 1024]; /* 1,015 groups at most, each with its identifier */
    } *all = malloc(sizeof *all);
    DWORD size = 0;
    enum integrated_result result = INTEGRATED_DONE;
    if (all == NULL)
        return refuse(c, INTEGRATED_UNAVAILABLE, "no memory");
    if (!c->auth->system.GetTokenInformation(token, TokenGroups, all, sizeof *all, &size))
        result = unknown(c, "GetTokenInformation", GetLastError());
    else
        for (DWORD i = 0; i < all->groups.GroupCount; i++)
            if (IsWellKnownSid(all->groups.Groups[i].Sid, WinBuiltinGuestsSid))
                result = refuse(c, INTEGRATED_GUEST, "a member of Guests");
    free(all);
    return result;
}

static enum integrated_result identify(struct conversation *c)
{
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } who;
    void *token = NULL;
    DWORD size = 0;
    SECURITY_STATUS status = c->auth->system.QuerySecurityContextToken(&c->handle, &token);
    if (status != SEC_E_OK)
        return unknown(c, "QuerySecurityContextToken", (DWORD)status);
    enum integrated_result result =
        c->auth->system.GetTokenInformation(token, TokenUser, &who, sizeof who, &size)
            ? name_of(c, who.user.User.Sid)
            : unknown(c, "GetTokenInformation", GetLastError());
    if (result == INTEGRATED_DONE)
        result = judge_groups(c, token);
    (void)c->auth->system.CloseHandle(token);
    return result;
}

/* What Negotiate came to. A package that the system does not tell of is taken for NTLM, of which
 * less is allowed. */
static bool came_to_kerberos(struct conversation *c)
{
    SecPkgContext_PackageInfoW info = {0};
    if (c->package == INTEGRATED_KERBEROS || c->package == INTEGRATED_NTLM)
        return c->package == INTEGRATED_KERBEROS;
    if (c->auth->system.QueryContextAttributes(&c->handle, SECPKG_ATTR_PACKAGE_INFO, &info) !=
            SEC_E_OK ||
        info.PackageInfo == NULL)
        return false;
    bool is = info.PackageInfo->Name != NULL && _wcsicmp(info.PackageInfo->Name, names[0]) == 0;
    (void)c->auth->system.FreeContextBuffer(info.PackageInfo);
    return is;
}

/* That of a Kerberos ticket, or the one that an NTLM client has put under its proof. */
static bool for_another_service(struct conversation *c)
{
    SecPkgContext_ClientSpecifiedTarget target = {0};
    if (c->auth->system.QueryContextAttributes(&c->handle, SECPKG_ATTR_CLIENT_SPECIFIED_TARGET,
                                               &target) != SEC_E_OK ||
        target.sTargetName == NULL)
        return false; /* none was named, which older clients do not */
    const wchar_t *name = target.sTargetName;
    bool other =
        name[0] != 0 && _wcsnicmp(name, L"smtp/", 5) != 0 && _wcsnicmp(name, L"SMTPSVC/", 8) != 0;
    (void)c->auth->system.FreeContextBuffer(target.sTargetName);
    return other;
}

static enum integrated_result judge(struct conversation *c, ULONG attributes)
{
    c->kerberos = came_to_kerberos(c);
    if ((attributes & ASC_RET_NULL_SESSION) != 0)
        return refuse(c, INTEGRATED_GUEST, "an anonymous session");
    if (c->package == INTEGRATED_SPNEGO_KERBEROS && !c->kerberos)
        return refuse(c, INTEGRATED_REFUSED, "Negotiate came to NTLM, which was not meant");
    if (for_another_service(c))
        return refuse(c, INTEGRATED_REFUSED, "the client's target is another service, not smtp/");
    return identify(c);
}

/* ---- the conversation ---- */

static SECURITY_STATUS complete(struct conversation *c, SECURITY_STATUS status,
                                SecBufferDesc *output)
{
    if (status != SEC_I_COMPLETE_NEEDED && status != SEC_I_COMPLETE_AND_CONTINUE)
        return status;
    SECURITY_STATUS completed = c->auth->system.CompleteAuthToken(&c->handle, output);
    return completed < 0                     ? completed
           : status == SEC_I_COMPLETE_NEEDED ? SEC_E_OK
                                             : SEC_I_CONTINUE_NEEDED;
}

/* On a thread of the pool. */
static void step(struct bounded_call *call)
{
    struct conversation *c = (struct conversation *)call;
    ULONG attributes = 0;
    SecBuffer given[2] = {{.cbBuffer = c->in_n, .BufferType = SECBUFFER_TOKEN, .pvBuffer = c->in},
                          {.cbBuffer = c->binding_n,
                           .BufferType = SECBUFFER_CHANNEL_BINDINGS,
                           .pvBuffer = &c->binding}};
    SecBuffer made = {.cbBuffer = sizeof c->out, .BufferType = SECBUFFER_TOKEN, .pvBuffer = c->out};
    SecBufferDesc input = {SECBUFFER_VERSION, c->binding_n == 0 ? 1 : 2, given};
    SecBufferDesc output = {SECBUFFER_VERSION, 1, &made};
    SECURITY_STATUS status = c->auth->system.AcceptSecurityContext(
        &c->auth->credentials[index_of(c->package)], c->begun ? &c->handle : NULL, &input,
        ASC_REQ_INTEGRITY | ASC_REQ_ALLOW_MISSING_BINDINGS, SECURITY_NETWORK_DREP, &c->handle,
        &output, &attributes, NULL);
    if (status >= 0)
        c->begun = true;
    status = complete(c, status, &output);
    c->out_n = status >= 0 && made.cbBuffer <= sizeof c->out ? made.cbBuffer : 0;
    if (status == SEC_I_CONTINUE_NEEDED) {
        c->result = INTEGRATED_CONTINUE;
    } else if (status == SEC_E_OK) {
        c->result = judge(c, attributes);
        c->done = c->result == INTEGRATED_DONE;
    } else {
        c->result = sspi_result_of((uint32_t)status, "AcceptSecurityContext", c->reason);
    }
}

static void dispose(struct bounded_call *call)
{
    struct conversation *c = (struct conversation *)call;
    if (c->begun)
        (void)c->auth->system.DeleteSecurityContext(&c->handle);
    release(c->auth);
    free(c);
}

struct integrated_context *integrated_begin(struct integrated_auth *a,
                                            enum integrated_package package,
                                            const struct span *bindings, size_t binding_count)
{
    bool can = a->acquired[index_of(package)];
    struct integrated_context *c = can ? calloc(1, sizeof *c) : NULL;
    struct conversation *talk = c != NULL ? calloc(1, sizeof *talk) : NULL;
    if (talk == NULL) {
        free(c);
        return NULL;
    }
    talk->call.work = step;
    talk->call.dispose = dispose;
    bounded_call_begin(&talk->call);
    (void)atomic_fetch_add(&a->holders, 1);
    talk->auth = a;
    talk->package = package;
    take_binding(talk, bindings, binding_count);
    c->talk = talk;
    c->package = package;
    return c;
}

enum integrated_result integrated_step(struct integrated_context *c, struct span in,
                                       struct buf *out, char reason[INTEGRATED_REASON_MAX])
{
    struct conversation *talk = c->talk;
    buf_reset(out);
    reason[0] = 0;
    if (in.n == 0 || in.n > INTEGRATED_TOKEN_MAX || talk == NULL || talk->done) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s",
                       in.n == 0 ? "an empty token" : "the token is too long, or one too many");
        return INTEGRATED_MALFORMED;
    }
    memcpy(talk->in, in.p, in.n);
    talk->in_n = (ULONG)in.n;
    talk->reason[0] = 0;
    enum bounded_result ran = bounded_call_run(&talk->call, INTEGRATED_STEP_MAX_MS);
    if (ran != BOUNDED_DONE) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "AcceptSecurityContext: %s",
                       bounded_text(ran));
        bounded_call_release(&talk->call);
        c->talk = NULL;
        return INTEGRATED_UNAVAILABLE;
    }
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s", talk->reason);
    if (!buf_add(out, span_of(talk->out, talk->out_n))) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "the answer is too long");
        return INTEGRATED_UNAVAILABLE;
    }
    return talk->result;
}

const char *integrated_domain(const struct integrated_context *c)
{
    return c->talk != NULL ? c->talk->domain : "";
}

const char *integrated_account(const struct integrated_context *c)
{
    return c->talk != NULL ? c->talk->account : "";
}

/* ---- messages under the context's protection ---- */

bool integrated_can_wrap(const struct integrated_context *c)
{
    return c->talk != NULL && c->talk->done && c->talk->kerberos;
}

bool integrated_wrap(struct integrated_context *c, struct span in, struct buf *out)
{
    SecPkgContext_Sizes sizes;
    uint8_t trailer[1024], padding[256], data[1024];
    if (!integrated_can_wrap(c) || in.n > sizeof data)
        return false;
    const struct sspi_calls *system = &c->talk->auth->system;
    if (system->QueryContextAttributes(&c->talk->handle, SECPKG_ATTR_SIZES, &sizes) != SEC_E_OK ||
        sizes.cbSecurityTrailer > sizeof trailer || sizes.cbBlockSize > sizeof padding)
        return false;
    memcpy(data, in.p, in.n);
    SecBuffer parts[3] = {
        {.cbBuffer = sizes.cbSecurityTrailer, .BufferType = SECBUFFER_TOKEN, .pvBuffer = trailer},
        {.cbBuffer = (ULONG)in.n, .BufferType = SECBUFFER_DATA, .pvBuffer = data},
        {.cbBuffer = sizes.cbBlockSize, .BufferType = SECBUFFER_PADDING, .pvBuffer = padding}};
    SecBufferDesc message = {SECBUFFER_VERSION, 3, parts};
    if (system->EncryptMessage(&c->talk->handle, SECQOP_WRAP_NO_ENCRYPT, &message, 0) != SEC_E_OK)
        return false;
    bool ok = true;
    buf_reset(out);
    for (size_t i = 0; i < 3; i++)
        ok = ok && buf_add(out, span_of(parts[i].pvBuffer, parts[i].cbBuffer));
    return ok;
}

bool integrated_unwrap(struct integrated_context *c, struct span in, struct buf *out)
{
    bool fits = integrated_can_wrap(c) && in.n > 0 && in.n <= INTEGRATED_TOKEN_MAX;
    uint8_t *copy = fits ? malloc(in.n) : NULL;
    if (copy == NULL)
        return false;
    memcpy(copy, in.p, in.n);
    SecBuffer parts[2] = {
        {.cbBuffer = (ULONG)in.n, .BufferType = SECBUFFER_STREAM, .pvBuffer = copy},
        {.BufferType = SECBUFFER_DATA}};
    SecBufferDesc message = {SECBUFFER_VERSION, 2, parts};
    ULONG quality = 0;
    bool ok =
        c->talk->auth->system.DecryptMessage(&c->talk->handle, &message, 0, &quality) == SEC_E_OK;
    buf_reset(out);
    ok = ok && buf_add(out, span_of(parts[1].pvBuffer, parts[1].cbBuffer));
    free(copy);
    return ok;
}

void integrated_end(struct integrated_context **c)
{
    if (c == NULL || *c == NULL)
        return;
    if ((*c)->talk != NULL)
        bounded_call_release(&(*c)->talk->call);
    free(*c);
    *c = NULL;
}
