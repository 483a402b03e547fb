/* The Windows side of platform/cert_store.h: the stores. Their keys: cert_store_key.c; who may use
 * them: cert_store_rights.c. */
#include "platform/cert_store.h"

#include "base/cert_name.h"
#include "win32/cert_store_codes.h"
#include "win32/cert_store_parts.h"
#include "win32/text.h"

#include <stdlib.h>
#include <string.h>

enum { STORE_NAME_MAX = 128 };

/* NULL: the error is set. Looked at anew each time, so that what is new is seen. */
static HCERTSTORE open_store(const char *store, enum cert_store_result *result, struct err *e)
{
    bool machine = true;
    struct span name;
    char text[STORE_NAME_MAX];
    wchar_t wide[STORE_NAME_MAX];
    *result = CERT_STORE_ABSENT;
    if (!cert_store_name(store, &machine, &name) || !span_cstr(name, text, sizeof text) ||
        !text_to_wide(text, wide, STORE_NAME_MAX)) {
        (void)err_set(e, ERR_PERM, "%s: no name of a store", store);
        return NULL;
    }
    DWORD where = machine ? CERT_SYSTEM_STORE_LOCAL_MACHINE : CERT_SYSTEM_STORE_CURRENT_USER;
    HCERTSTORE it =
        CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0,
                      where | CERT_STORE_READONLY_FLAG | CERT_STORE_OPEN_EXISTING_FLAG, wide);
    if (it == NULL) {
        *result = cert_store_failed(GetLastError(), "CertOpenStore", e);
        (void)err_wrap(e, "%s", store);
    }
    return it;
}

/* The store's own context of that certificate: it knows where the key is. */
static PCCERT_CONTEXT find(HCERTSTORE store, struct span der, struct err *e)
{
    PCCERT_CONTEXT like = CertCreateCertificateContext(X509_ASN_ENCODING, der.p, (DWORD)der.n),
                   it = NULL;
    if (like != NULL)
        it =
            CertFindCertificateInStore(store, X509_ASN_ENCODING, 0, CERT_FIND_EXISTING, like, NULL);
    if (it == NULL)
        (void)cert_store_failed(GetLastError(), "CertFindCertificateInStore", e);
    if (like != NULL)
        (void)CertFreeCertificateContext(like);
    return it;
}

/* ---- what there is ---- */

/* Purposes may be taken away in the store, besides what the certificate itself says. */
static bool server_forbidden(PCCERT_CONTEXT c)
{
    DWORD n = 0;
    if (!CertGetEnhancedKeyUsage(c, 0, NULL, &n) || n == 0)
        return false;
    CERT_ENHKEY_USAGE *usage = malloc(n);
    bool forbidden = false;
    SetLastError(0);
    if (usage != NULL && CertGetEnhancedKeyUsage(c, 0, usage, &n)) {
        /* none: good for everything, or (with CRYPT_E_NOT_FOUND unset) for nothing */
        forbidden = usage->cUsageIdentifier > 0 || GetLastError() != (DWORD)CRYPT_E_NOT_FOUND;
        for (DWORD i = 0; i < usage->cUsageIdentifier; i++)
            if (strcmp(usage->rgpszUsageIdentifier[i], szOID_PKIX_KP_SERVER_AUTH) == 0 ||
                strcmp(usage->rgpszUsageIdentifier[i], szOID_ANY_ENHANCED_KEY_USAGE) == 0)
                forbidden = false;
    }
    free(usage);
    return forbidden;
}

static enum cert_store_result list(const struct cert_store *s, const char *store,
                                   struct arena *arena, struct cert_store_item **items, size_t *n,
                                   struct err *e)
{
    enum cert_store_result result;
    HCERTSTORE from = open_store(store, &result, e);
    PCCERT_CONTEXT c = NULL;
    size_t room = 0;
    (void)s;
    *items = NULL;
    *n = 0;
    if (from == NULL)
        return result;
    result = CERT_STORE_OK;
    while (result == CERT_STORE_OK && (c = CertEnumCertificatesInStore(from, c)) != NULL) {
        DWORD size = 0;
        struct cert_store_item *more = arena_grown(arena, *items, *n, &room, sizeof *more);
        if (more != NULL) {
            *items = more;
            more[*n] = (struct cert_store_item){
                .der = arena_span(arena, span_of(c->pbCertEncoded, c->cbCertEncoded)),
                .has_key =
                    CertGetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, NULL, &size) ||
                    CertGetCertificateContextProperty(c, CERT_KEY_CONTEXT_PROP_ID, NULL, &size),
                .server_forbidden = server_forbidden(c)};
        }
        if (more == NULL || more[*n].der.p == NULL)
            result = cert_store_failed(ERROR_NOT_ENOUGH_MEMORY, store, e);
        else
            (*n)++;
    }
    if (c != NULL)
        (void)CertFreeCertificateContext(c);
    (void)CertCloseStore(from, 0);
    return result;
}

/* Without the network: what the certificate's issuer is meant to be is in the machine's stores. */
static void chain(const struct cert_store *s, const char *store, struct span der,
                  struct arena *arena, struct span **out, size_t *n)
{
    enum cert_store_result result;
    struct err ignored;
    CERT_CHAIN_PARA wanted = {.cbSize = sizeof wanted};
    PCCERT_CHAIN_CONTEXT built = NULL;
    HCERTSTORE from = open_store(store, &result, &ignored);
    PCCERT_CONTEXT c = from == NULL ? NULL : find(from, der, &ignored);
    (void)s;
    *out = NULL;
    *n = 0;
    if (c != NULL &&
        CertGetCertificateChain(HCCE_LOCAL_MACHINE, c, NULL, from, &wanted,
                                CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL, NULL, &built) &&
        built->cChain > 0) {
        const CERT_SIMPLE_CHAIN *first = built->rgpChain[0];
        struct span *list_of = arena_alloc(arena, first->cElement * sizeof *list_of);
        for (DWORD i = 1; list_of != NULL && i < first->cElement; i++) {
            const CERT_CHAIN_ELEMENT *one = first->rgpElement[i];
            if ((one->TrustStatus.dwInfoStatus & CERT_TRUST_IS_SELF_SIGNED) != 0)
                break;
            list_of[*n] = arena_span(
                arena, span_of(one->pCertContext->pbCertEncoded, one->pCertContext->cbCertEncoded));
            if (list_of[*n].p == NULL)
                break;
            (*n)++;
        }
        *out = list_of;
    }
    if (built != NULL)
        CertFreeCertificateChain(built);
    if (c != NULL)
        (void)CertFreeCertificateContext(c);
    if (from != NULL)
        (void)CertCloseStore(from, 0);
}

/* ---- keys ---- */

static enum cert_store_result open_handle(const struct cert_store *s, const char *store,
                                          struct span der, struct cert_handle *out, struct err *e)
{
    enum cert_store_result result;
    *out = (struct cert_handle){0};
    HCERTSTORE from = open_store(store, &result, e);
    if (from == NULL)
        return result;
    PCCERT_CONTEXT c = find(from, der, e);
    result = c == NULL ? CERT_STORE_ABSENT : cert_handle_open(s->context, c, out, e);
    if (c != NULL)
        (void)CertFreeCertificateContext(c);
    (void)CertCloseStore(from, 0);
    return result;
}

struct store_key {
    struct cert_key key; /* the first: it is what others hold */
    struct cert_handle handle;
    SRWLOCK lock; /* a CryptoAPI handle is used by one thread at a time */
};

static enum cert_store_result key_sign(struct cert_key *key, enum cert_padding padding,
                                       enum cert_hash hash, struct span digest, uint8_t *out,
                                       size_t size, size_t *n, struct err *e)
{
    struct store_key *k = (struct store_key *)key;
    if (k->handle.ncrypt != 0)
        return cert_handle_sign(&k->handle, padding, hash, digest, out, size, n, e);
    AcquireSRWLockExclusive(&k->lock);
    enum cert_store_result result =
        cert_handle_sign(&k->handle, padding, hash, digest, out, size, n, e);
    ReleaseSRWLockExclusive(&k->lock);
    return result;
}

static void key_close(struct cert_key *key)
{
    struct store_key *k = (struct store_key *)key;
    cert_handle_close(&k->handle);
    free(k);
}

static enum cert_store_result open_key(const struct cert_store *s, const char *store,
                                       struct span der, struct cert_key **key, struct err *e)
{
    struct store_key *k = calloc(1, sizeof *k);
    *key = NULL;
    if (k == NULL)
        return cert_store_failed(ERROR_NOT_ENOUGH_MEMORY, store, e);
    k->key = (struct cert_key){key_sign, key_close};
    InitializeSRWLock(&k->lock);
    enum cert_store_result result = open_handle(s, store, der, &k->handle, e);
    if (result == CERT_STORE_OK)
        *key = &k->key;
    else
        free(k);
    return result;
}

static enum cert_store_right right(const struct cert_store *s, const char *store, struct span der,
                                   struct err *e)
{
    struct cert_handle h;
    enum cert_store_right it = open_handle(s, store, der, &h, e) == CERT_STORE_OK
                                   ? cert_handle_right(&h, e)
                                   : CERT_STORE_CANNOT_TELL;
    cert_handle_close(&h);
    return it;
}

static enum cert_store_result grant(const struct cert_store *s, const char *store, struct span der,
                                    struct err *e)
{
    struct cert_handle h;
    enum cert_store_result result = open_handle(s, store, der, &h, e);
    if (result == CERT_STORE_OK)
        result = cert_handle_grant(&h, e);
    cert_handle_close(&h);
    return result;
}

struct cert_store cert_store_by(const struct cert_calls *calls)
{
    return (struct cert_store){.context = calls,
                               .list = list,
                               .open_key = open_key,
                               .chain = chain,
                               .right = right,
                               .grant = grant};
}

const struct cert_store *cert_store_system(void)
{
    static const struct cert_store it = {.context = &cert_calls_system,
                                         .list = list,
                                         .open_key = open_key,
                                         .chain = chain,
                                         .right = right,
                                         .grant = grant};
    return &it;
}
