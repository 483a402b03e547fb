/* The provider: key management that holds a public key and a cert_key, and two signature
 * algorithms. Source: provider-keymgmt(7), provider-signature(7). Elsewhere in the process these
 * keys are refused an export of their private part, which makes OpenSSL come back to us for
 * signatures (EVP_DigestSignInit tries its own algorithms first). */
#include "net/tls_provider.h"

#include "base/log.h"
#include "net/tls_key.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_TEXT = 256 };
static const char handle_param[] = "postern-key";

struct tls_provider {
    atomic_uint count;
    OSSL_LIB_CTX *library;
    OSSL_PROVIDER *loaded;
    EVP_PKEY *public_key, *key;
    struct cert_key *store_key;
    struct tls_key_abilities can;
    atomic_bool failing; /* said once, until it works again */
    bool ec;
    char name[NAME_MAX_TEXT];
};

/* ---- key management ---- */

/* What OpenSSL holds as a key: a counted provider is none of its business, so a mere pointer. */
struct held {
    struct tls_provider *of;
};

static void *keymgmt_new(void *provider)
{
    (void)provider;
    return calloc(1, sizeof(struct held));
}

static void keymgmt_free(void *key)
{
    free(key);
}

static int keymgmt_has(const void *key, int selection)
{
    (void)selection;
    return ((const struct held *)key)->of != NULL;
}

static int keymgmt_match(const void *a, const void *b, int selection)
{
    (void)selection;
    const struct tls_provider *x = ((const struct held *)a)->of, *y = ((const struct held *)b)->of;
    return x != NULL && y != NULL && (x == y || EVP_PKEY_eq(x->public_key, y->public_key) == 1);
}

static int keymgmt_import(void *key, int selection, const OSSL_PARAM params[])
{
    (void)selection;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, handle_param);
    void *of = NULL;
    size_t n = 0;
    void *where = &of;
    if (p == NULL || OSSL_PARAM_get_octet_string(p, &where, sizeof of, &n) != 1 || n != sizeof of)
        return 0;
    ((struct held *)key)->of = of;
    return 1;
}

static const OSSL_PARAM *keymgmt_import_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(handle_param, NULL, 0),
                                       OSSL_PARAM_END};
    (void)selection;
    return types;
}

static int keymgmt_export(void *key, int selection, OSSL_CALLBACK *callback, void *argument)
{
    const struct tls_provider *p = ((const struct held *)key)->of;
    if (p == NULL || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0)
        return 0; /* there is none to be had */
    return EVP_PKEY_export(p->public_key, selection, callback, argument);
}

static const OSSL_PARAM *keymgmt_public_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
                                       OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
                                       OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                       OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                       OSSL_PARAM_END};
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 ? NULL : types;
}

static int keymgmt_get_params(void *key, OSSL_PARAM params[])
{
    const struct tls_provider *p = ((const struct held *)key)->of;
    return p != NULL && EVP_PKEY_get_params(p->public_key, params) == 1;
}

static const OSSL_PARAM *keymgmt_gettable_params(void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END};
    (void)provider;
    return params;
}

static const char *keymgmt_rsa_operation(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "RSA" : NULL;
}

static const char *keymgmt_ec_operation(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

/* ---- signatures ---- */

struct signing {
    struct tls_provider *of;
    EVP_MD *md;
    EVP_MD_CTX *running;
    enum cert_hash hash;
    bool pss;
};

static void *signature_new(void *provider, const char *properties)
{
    (void)provider;
    (void)properties;
    return calloc(1, sizeof(struct signing));
}

static void signature_free(void *context)
{
    struct signing *s = context;
    if (s == NULL)
        return;
    EVP_MD_CTX_free(s->running);
    EVP_MD_free(s->md);
    free(s);
}

static void *signature_dup(void *context)
{
    const struct signing *from = context;
    struct signing *s = malloc(sizeof *s);
    if (s == NULL)
        return NULL;
    *s = *from;
    s->running = from->running == NULL ? NULL : EVP_MD_CTX_new();
    if (s->md != NULL && EVP_MD_up_ref(s->md) != 1)
        s->md = NULL;
    if (from->running != NULL &&
        (s->running == NULL || EVP_MD_CTX_copy_ex(s->running, from->running) != 1)) {
        signature_free(s);
        return NULL;
    }
    return s;
}

static int set_digest(struct signing *s, const char *name)
{
    EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
    enum cert_hash hash;
    unsigned able = s->of->can.plain | s->of->can.pss;
    /* OpenSSL asks by this whether a pair of algorithms is possible (EVP_PKEY_digestsign_...). */
    if (md == NULL || !tls_key_hash(md, &hash) || (able & 1U << hash) == 0) {
        EVP_MD_free(md);
        return 0;
    }
    EVP_MD_free(s->md);
    s->md = md;
    s->hash = hash;
    return 1;
}

static const OSSL_PARAM *signature_settable(void *context, void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0), OSSL_PARAM_END};
    (void)context;
    (void)provider;
    return params;
}

/* The padding as a number or as a word. */
static int set_padding(struct signing *s, const OSSL_PARAM *p)
{
    int mode = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        const char *word = p->data;
        mode = word == NULL                                        ? 0
               : strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING
               : strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0     ? RSA_PKCS1_PSS_PADDING
                                                                   : 0;
    } else if (OSSL_PARAM_get_int(p, &mode) != 1) {
        return 0;
    }
    if (s->of->ec || (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING))
        return 0;
    s->pss = mode == RSA_PKCS1_PSS_PADDING;
    return 1;
}

/* No other salt than one as long as the hash: TLS has no other (RFC 8446 4.2.3). */
static int salt_is_ours(const struct signing *s, const OSSL_PARAM *p)
{
    int length = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING)
        return p->data != NULL && strcmp(p->data, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0;
    return OSSL_PARAM_get_int(p, &length) == 1 &&
           (length == RSA_PSS_SALTLEN_DIGEST ||
            (s->md != NULL && length == EVP_MD_get_size(s->md)));
}

static int signature_set_params(void *context, const OSSL_PARAM params[])
{
    struct signing *s = context;
    if (params == NULL)
        return 1;
    const OSSL_PARAM *digest = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST),
                     *padding = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE),
                     *salt = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN),
                     *mask = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
    return (digest == NULL ||
            (digest->data_type == OSSL_PARAM_UTF8_STRING && set_digest(s, digest->data) == 1)) &&
           (padding == NULL || set_padding(s, padding) == 1) &&
           (salt == NULL || salt_is_ours(s, salt)) &&
           (mask == NULL || (mask->data_type == OSSL_PARAM_UTF8_STRING && s->md != NULL &&
                             EVP_MD_is_a(s->md, mask->data) == 1));
}

static int signature_init(void *context, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct signing *s = context;
    if (key != NULL)
        s->of = ((struct held *)key)->of;
    s->pss = false;
    EVP_MD_CTX_free(s->running);
    s->running = NULL;
    return s->of != NULL && digest != NULL && set_digest(s, digest) == 1 &&
           signature_set_params(s, params) == 1;
}

static int signature_update(void *context, const unsigned char *bytes, size_t n)
{
    struct signing *s = context;
    if (s->running == NULL) {
        s->running = EVP_MD_CTX_new();
        if (s->running == NULL || s->md == NULL || EVP_DigestInit_ex(s->running, s->md, NULL) != 1)
            return 0;
    }
    return EVP_DigestUpdate(s->running, bytes, n);
}

/* Said when it begins and when it is over, not for each client. */
static void tell(struct tls_provider *p, bool ok, const struct err *e)
{
    bool was = atomic_exchange(&p->failing, !ok);
    if (!ok && !was)
        log_event(LOG_ERROR, "tls.key.failed", LOG_S("certificate", p->name),
                  LOG_S("why", e->text));
    else if (ok && was)
        log_event(LOG_INFO, "tls.key.recovered", LOG_S("certificate", p->name));
}

static int signature_final(void *context, unsigned char *out, size_t *n, size_t size)
{
    struct signing *s = context;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_n = 0;
    struct err e = {0};
    if (s->of == NULL || s->md == NULL)
        return 0;
    if (out == NULL) {
        *n = (size_t)EVP_PKEY_get_size(s->of->public_key);
        return 1;
    }
    unsigned able = s->pss ? s->of->can.pss : s->of->can.plain;
    if ((able & 1U << s->hash) == 0 || signature_update(s, (const unsigned char *)"", 0) != 1 ||
        EVP_DigestFinal_ex(s->running, digest, &digest_n) != 1)
        return 0;
    EVP_MD_CTX_free(s->running);
    s->running = NULL;
    enum cert_padding padding = s->of->ec ? CERT_PADDING_NONE
                                : s->pss  ? CERT_PADDING_PSS
                                          : CERT_PADDING_PKCS1;
    bool ok = tls_key_sign(s->of->public_key, s->of->store_key, s->of->ec, padding, s->hash,
                           span_of(digest, digest_n), out, size, n, &e) == CERT_STORE_OK;
    tell(s->of, ok, &e);
    return ok;
}

static int signature_whole(void *context, unsigned char *out, size_t *n, size_t size,
                           const unsigned char *bytes, size_t bytes_n)
{
    return (out == NULL || signature_update(context, bytes, bytes_n) == 1) &&
           signature_final(context, out, n, size) == 1;
}

/* ---- the tables ---- */

typedef void (*any)(void);

#define KEYMGMT(operation)                                                                         \
    {                                                                                              \
        {OSSL_FUNC_KEYMGMT_NEW, (any)keymgmt_new}, {OSSL_FUNC_KEYMGMT_FREE, (any)keymgmt_free},    \
            {OSSL_FUNC_KEYMGMT_HAS, (any)keymgmt_has},                                             \
            {OSSL_FUNC_KEYMGMT_MATCH, (any)keymgmt_match},                                         \
            {OSSL_FUNC_KEYMGMT_IMPORT, (any)keymgmt_import},                                       \
            {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (any)keymgmt_import_types},                           \
            {OSSL_FUNC_KEYMGMT_EXPORT, (any)keymgmt_export},                                       \
            {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (any)keymgmt_public_types},                           \
            {OSSL_FUNC_KEYMGMT_GET_PARAMS, (any)keymgmt_get_params},                               \
            {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (any)keymgmt_gettable_params},                     \
            {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (any)(operation)},                            \
        {                                                                                          \
            0, NULL                                                                                \
        }                                                                                          \
    }
static const OSSL_DISPATCH rsa_keymgmt[] = KEYMGMT(keymgmt_rsa_operation);
static const OSSL_DISPATCH ec_keymgmt[] = KEYMGMT(keymgmt_ec_operation);

static const OSSL_DISPATCH signature_functions[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (any)signature_new},
    {OSSL_FUNC_SIGNATURE_FREECTX, (any)signature_free},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (any)signature_dup},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (any)signature_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (any)signature_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (any)signature_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (any)signature_whole},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (any)signature_set_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (any)signature_settable},
    {0, NULL}};

static const OSSL_ALGORITHM keymgmts[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=postern", rsa_keymgmt, NULL},
    {"EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=postern", ec_keymgmt, NULL},
    {NULL, NULL, NULL, NULL}};
static const OSSL_ALGORITHM signatures[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=postern", signature_functions, NULL},
    {"ECDSA", "provider=postern", signature_functions, NULL},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_KEYMGMT     ? keymgmts
           : operation == OSSL_OP_SIGNATURE ? signatures
                                            : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (any)query},
                                                   {0, NULL}};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **context)
{
    static const char nothing; /* OpenSSL wants an address */
    (void)handle;
    (void)in;
    *out = provider_functions;
    *context = (void *)&nothing;
    return 1;
}

/* ---- the outside ---- */

static bool load(struct tls_provider *p)
{
    p->library = OSSL_LIB_CTX_new();
    if (p->library == NULL || OSSL_PROVIDER_add_builtin(p->library, "postern", provider_init) != 1)
        return false;
    p->loaded = OSSL_PROVIDER_load(p->library, "postern");
    EVP_PKEY_CTX *ctx = p->loaded == NULL
                            ? NULL
                            : EVP_PKEY_CTX_new_from_name(p->library, p->ec ? "EC" : "RSA", NULL);
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string(handle_param, &p, sizeof p), OSSL_PARAM_END};
    bool ok = ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &p->key, EVP_PKEY_KEYPAIR, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

struct tls_provider *tls_provider_new(EVP_PKEY *public_key, struct cert_key *key,
                                      const struct tls_key_abilities *can, const char *name,
                                      struct err *e)
{
    struct tls_provider *p = calloc(1, sizeof *p);
    if (p == NULL) {
        key->close(key);
        (void)err_set(e, ERR_TEMP, "certificate %s: no memory", name);
        return NULL;
    }
    atomic_init(&p->count, 1);
    p->store_key = key;
    p->can = *can;
    p->ec = EVP_PKEY_is_a(public_key, "EC") == 1;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    if (EVP_PKEY_up_ref(public_key) == 1)
        p->public_key = public_key;
    if (p->public_key != NULL && load(p))
        return p;
    ERR_clear_error();
    (void)err_set(e, ERR_TEMP, "certificate %s: OpenSSL does not take the store's key", name);
    tls_provider_unref(&p);
    return NULL;
}

EVP_PKEY *tls_provider_key(struct tls_provider *p)
{
    return EVP_PKEY_up_ref(p->key) == 1 ? p->key : NULL;
}

struct tls_provider *tls_provider_ref(struct tls_provider *p)
{
    if (p != NULL)
        atomic_fetch_add_explicit(&p->count, 1, memory_order_relaxed);
    return p;
}

void tls_provider_unref(struct tls_provider **p)
{
    struct tls_provider *it = *p;
    *p = NULL;
    if (it == NULL || atomic_fetch_sub_explicit(&it->count, 1, memory_order_acq_rel) != 1)
        return;
    EVP_PKEY_free(it->key);
    EVP_PKEY_free(it->public_key);
    if (it->loaded != NULL)
        (void)OSSL_PROVIDER_unload(it->loaded);
    OSSL_LIB_CTX_free(it->library);
    it->store_key->close(it->store_key);
    free(it);
}
