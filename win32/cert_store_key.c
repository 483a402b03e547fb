/* The private key of a certificate of a store: CNG where it is one of its keys, CryptoAPI for the
 * older kind. It signs and is never exported.
 * CryptoAPI opens a container with the provider it was made by, which may know no SHA-256; the
 * providers of Microsoft share their containers, so it is opened again by the one that does. */
#include "win32/cert_store_codes.h"
#include "win32/cert_store_parts.h"

#include <stdlib.h>
#include <string.h>

const struct cert_calls cert_calls_system = {
    .acquire = CryptAcquireCertificatePrivateKey,
    .capi_open = CryptAcquireContextW,
    .capi_close = CryptReleaseContext,
    .capi_hash = CryptCreateHash,
    .capi_set_hash = CryptSetHashParam,
    .capi_sign = CryptSignHashW,
    .capi_end_hash = CryptDestroyHash,
    .capi_get = CryptGetProvParam,
    .capi_set = CryptSetProvParam,
    .ncrypt_sign = NCryptSignHash,
    .ncrypt_get = NCryptGetProperty,
    .ncrypt_set = NCryptSetProperty,
    .ncrypt_close = NCryptFreeObject,
};

/* By the container's name; info->dwProvType 0 is a key of CNG and no matter of this. */
static bool open_container(const struct cert_calls *calls, PCCERT_CONTEXT certificate,
                           HCRYPTPROV *out, DWORD *spec)
{
    DWORD n = 0;
    bool ok = false;
    if (!CertGetCertificateContextProperty(certificate, CERT_KEY_PROV_INFO_PROP_ID, NULL, &n))
        return false;
    CRYPT_KEY_PROV_INFO *info = malloc(n);
    if (info != NULL &&
        CertGetCertificateContextProperty(certificate, CERT_KEY_PROV_INFO_PROP_ID, info, &n) &&
        info->dwProvType != 0) {
        *spec = info->dwKeySpec;
        ok = calls->capi_open(out, info->pwszContainerName, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES,
                              CRYPT_SILENT | (info->dwFlags & CRYPT_MACHINE_KEYSET));
    } else {
        SetLastError((DWORD)CRYPT_E_NO_KEY_PROPERTY);
    }
    DWORD code = GetLastError();
    free(info);
    SetLastError(code);
    return ok;
}

/* The system's own way first. Where it hands out CryptoAPI's key, or fails (Wine looks for a key of
 * the machine among the user's), the container is opened by name; where that fails, what the system
 * gave stays: another maker's provider may know SHA-256. */
enum cert_store_result cert_handle_open(const struct cert_calls *calls, PCCERT_CONTEXT certificate,
                                        struct cert_handle *out, struct err *e)
{
    HCRYPTPROV_OR_NCRYPT_KEY_HANDLE key = 0;
    HCRYPTPROV named = 0;
    DWORD spec = 0, named_spec = 0;
    BOOL to_free = FALSE;
    *out = (struct cert_handle){.calls = calls};
    bool acquired = calls->acquire(certificate,
                                   CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG | CRYPT_ACQUIRE_SILENT_FLAG,
                                   NULL, &key, &spec, &to_free);
    DWORD code = acquired ? 0 : GetLastError();
    bool by_name = (!acquired || spec != CERT_NCRYPT_KEY_SPEC) &&
                   open_container(calls, certificate, &named, &named_spec);
    if (!acquired && !by_name) {
        if (code == (DWORD)CRYPT_E_NO_KEY_PROPERTY &&
            GetLastError() != (DWORD)CRYPT_E_NO_KEY_PROPERTY)
            return cert_store_failed(GetLastError(), "CryptAcquireContext", e);
        return cert_store_failed(code, "CryptAcquireCertificatePrivateKey", e);
    }
    out->certificate = CertDuplicateCertificateContext(certificate);
    if (by_name) {
        if (acquired && to_free)
            (void)calls->capi_close(key, 0);
        out->capi = named;
        out->to_free = true;
        spec = named_spec;
    } else {
        out->to_free = to_free;
        if (spec == CERT_NCRYPT_KEY_SPEC)
            out->ncrypt = key;
        else
            out->capi = key;
    }
    out->spec = spec == AT_SIGNATURE ? AT_SIGNATURE : AT_KEYEXCHANGE; /* Wine says 3, for both */
    return CERT_STORE_OK;
}

void cert_handle_close(struct cert_handle *h)
{
    if (h->to_free && h->ncrypt != 0)
        (void)h->calls->ncrypt_close(h->ncrypt);
    else if (h->to_free)
        (void)h->calls->capi_close(h->capi, 0);
    if (h->certificate != NULL)
        (void)CertFreeCertificateContext(h->certificate);
    *h = (struct cert_handle){0};
}

/* ---- CNG ---- */

static const wchar_t *const ncrypt_hashes[CERT_HASHES] = {
    [CERT_HASH_MD5_SHA1] = NULL, /* no name: no DigestInfo */
    [CERT_HASH_SHA1] = BCRYPT_SHA1_ALGORITHM,
    [CERT_HASH_SHA256] = BCRYPT_SHA256_ALGORITHM,
    [CERT_HASH_SHA384] = BCRYPT_SHA384_ALGORITHM,
    [CERT_HASH_SHA512] = BCRYPT_SHA512_ALGORITHM,
};

static enum cert_store_result ncrypt_sign(const struct cert_handle *h, enum cert_padding padding,
                                          enum cert_hash hash, struct span digest, uint8_t *out,
                                          size_t size, size_t *n, struct err *e)
{
    BCRYPT_PKCS1_PADDING_INFO pkcs1 = {ncrypt_hashes[hash]};
    BCRYPT_PSS_PADDING_INFO pss = {ncrypt_hashes[hash], (ULONG)digest.n};
    void *info = padding == CERT_PADDING_PKCS1 ? (void *)&pkcs1
                 : padding == CERT_PADDING_PSS ? (void *)&pss
                                               : NULL;
    DWORD flags = padding == CERT_PADDING_PKCS1 ? BCRYPT_PAD_PKCS1
                  : padding == CERT_PADDING_PSS ? BCRYPT_PAD_PSS
                                                : 0;
    BYTE bytes[64];
    DWORD wrote = 0;
    if (digest.n > sizeof bytes)
        return cert_store_failed((uint32_t)NTE_BAD_LEN, "NCryptSignHash", e);
    memcpy(bytes, digest.p, digest.n); /* the call does not promise to leave it alone */
    SECURITY_STATUS status = h->calls->ncrypt_sign(h->ncrypt, info, bytes, (DWORD)digest.n, out,
                                                   (DWORD)size, &wrote, flags | NCRYPT_SILENT_FLAG);
    if (status != ERROR_SUCCESS)
        return cert_store_failed((uint32_t)status, "NCryptSignHash", e);
    *n = wrote;
    return CERT_STORE_OK;
}

/* ---- CryptoAPI ---- */

static const ALG_ID capi_hashes[CERT_HASHES] = {
    [CERT_HASH_MD5_SHA1] = CALG_SSL3_SHAMD5, [CERT_HASH_SHA1] = CALG_SHA1,
    [CERT_HASH_SHA256] = CALG_SHA_256,       [CERT_HASH_SHA384] = CALG_SHA_384,
    [CERT_HASH_SHA512] = CALG_SHA_512,
};

static void reverse(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t kept = bytes[i];
        bytes[i] = bytes[n - 1 - i];
        bytes[n - 1 - i] = kept;
    }
}

static enum cert_store_result capi_sign(const struct cert_handle *h, enum cert_padding padding,
                                        enum cert_hash hash, struct span digest, uint8_t *out,
                                        size_t size, size_t *n, struct err *e)
{
    HCRYPTHASH object = 0;
    DWORD wrote = (DWORD)size, code = 0;
    const char *call = NULL;
    if (padding != CERT_PADDING_PKCS1) /* CryptoAPI knows no PSS */
        return cert_store_failed((uint32_t)NTE_NOT_SUPPORTED, "CryptSignHash", e);
    if (!h->calls->capi_hash(h->capi, capi_hashes[hash], 0, 0, &object))
        return cert_store_failed(GetLastError(), "CryptCreateHash", e);
    if (!h->calls->capi_set_hash(object, HP_HASHVAL, digest.p, 0))
        call = "CryptSetHashParam";
    else if (!h->calls->capi_sign(object, h->spec, NULL, 0, out, &wrote))
        call = "CryptSignHash";
    code = GetLastError();
    (void)h->calls->capi_end_hash(object);
    if (call != NULL)
        return cert_store_failed(code, call, e);
    reverse(out, wrote); /* little-endian there */
    *n = wrote;
    return CERT_STORE_OK;
}

enum cert_store_result cert_handle_sign(const struct cert_handle *h, enum cert_padding padding,
                                        enum cert_hash hash, struct span digest, uint8_t *out,
                                        size_t size, size_t *n, struct err *e)
{
    *n = 0;
    return h->ncrypt != 0 ? ncrypt_sign(h, padding, hash, digest, out, size, n, e)
                          : capi_sign(h, padding, hash, digest, out, size, n, e);
}
