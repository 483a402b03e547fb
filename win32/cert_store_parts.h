/* cert_store_parts.h - what the files of the certificate store share, and its calls of Windows as a
 * table: what Wine only pretends to do is shown with a table of another making. Threads: any. */
#ifndef POSTERN_WIN32_CERT_STORE_PARTS_H
#define POSTERN_WIN32_CERT_STORE_PARTS_H

#include "platform/cert_store.h"

#include <windows.h>

#include <ncrypt.h>
#include <wincrypt.h>

struct cert_calls {
    BOOL(WINAPI *acquire)
    (PCCERT_CONTEXT certificate, DWORD flags, void *parameters,
     HCRYPTPROV_OR_NCRYPT_KEY_HANDLE *key, DWORD *spec, BOOL *to_free);
    BOOL(WINAPI *capi_open)
    (HCRYPTPROV *provider, LPCWSTR container, LPCWSTR name, DWORD type, DWORD flags);
    BOOL(WINAPI *capi_close)(HCRYPTPROV provider, DWORD flags);
    BOOL(WINAPI *capi_hash)
    (HCRYPTPROV provider, ALG_ID algorithm, HCRYPTKEY key, DWORD flags, HCRYPTHASH *hash);
    BOOL(WINAPI *capi_set_hash)(HCRYPTHASH hash, DWORD parameter, const BYTE *bytes, DWORD flags);
    BOOL(WINAPI *capi_sign)
    (HCRYPTHASH hash, DWORD spec, LPCWSTR description, DWORD flags, BYTE *signature, DWORD *n);
    BOOL(WINAPI *capi_end_hash)(HCRYPTHASH hash);
    BOOL(WINAPI *capi_get)(HCRYPTPROV provider, DWORD parameter, BYTE *data, DWORD *n, DWORD flags);
    BOOL(WINAPI *capi_set)(HCRYPTPROV provider, DWORD parameter, const BYTE *data, DWORD flags);
    SECURITY_STATUS(WINAPI *ncrypt_sign)
    (NCRYPT_KEY_HANDLE key, VOID *padding, PBYTE hash, DWORD hash_n, PBYTE signature, DWORD size,
     DWORD *n, DWORD flags);
    SECURITY_STATUS(WINAPI *ncrypt_get)
    (NCRYPT_HANDLE key, LPCWSTR property, PBYTE data, DWORD size, DWORD *n, DWORD flags);
    SECURITY_STATUS(WINAPI *ncrypt_set)
    (NCRYPT_HANDLE key, LPCWSTR property, PBYTE data, DWORD n, DWORD flags);
    SECURITY_STATUS(WINAPI *ncrypt_close)(NCRYPT_HANDLE key);
};

extern const struct cert_calls cert_calls_system;

/* A store by these calls, for tests. */
struct cert_store cert_store_by(const struct cert_calls *calls);

/* A private key that is open. */
struct cert_handle {
    const struct cert_calls *calls;
    PCCERT_CONTEXT certificate; /* a handle that is not ours to free lives as long as this */
    NCRYPT_KEY_HANDLE ncrypt;   /* 0: CryptoAPI */
    HCRYPTPROV capi;
    DWORD spec; /* CryptoAPI: AT_KEYEXCHANGE or AT_SIGNATURE */
    bool to_free;
};

enum cert_store_result cert_handle_open(const struct cert_calls *calls, PCCERT_CONTEXT certificate,
                                        struct cert_handle *out, struct err *e);
void cert_handle_close(struct cert_handle *h);
enum cert_store_result cert_handle_sign(const struct cert_handle *h, enum cert_padding padding,
                                        enum cert_hash hash, struct span digest, uint8_t *out,
                                        size_t size, size_t *n, struct err *e);

/* cert_store_rights.c: the list of who may use the key, and the service's place in it. */
enum cert_store_right cert_handle_right(const struct cert_handle *h, struct err *e);
enum cert_store_result cert_handle_grant(const struct cert_handle *h, struct err *e);

#endif
