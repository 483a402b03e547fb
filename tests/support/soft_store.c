#include "support/soft_store.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    (void)fprintf(stderr, "soft_store: %s failed\n", what);
    abort();
}

/* ---- certificates ---- */

static EVP_PKEY *make_key(enum soft_kind kind)
{
    static const char *const curves[] = {NULL, "P-256", "P-384", "P-521"};
    EVP_PKEY *key = kind == SOFT_RSA ? EVP_RSA_gen(2048) : EVP_EC_gen(curves[kind]);
    must(key != NULL, "key");
    return key;
}

static void extend(X509 *c, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, c, c, NULL, NULL, 0);
    X509_EXTENSION *ext = value == NULL ? NULL : X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(value == NULL || (ext != NULL && X509_add_ext(c, ext, -1) == 1), "extension");
    X509_EXTENSION_free(ext);
}

static X509 *make_certificate(EVP_PKEY *key, const struct soft_certificate *from)
{
    static long serial = 1;
    X509 *c = X509_new();
    must(c != NULL && X509_set_version(c, 2) == 1 &&
             ASN1_INTEGER_set(X509_get_serialNumber(c), serial++) == 1 &&
             X509_gmtime_adj(X509_getm_notBefore(c), from->begins * 86400L) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(c), from->ends * 86400L) != NULL,
         "certificate");
    X509_NAME *name = X509_get_subject_name(c);
    must(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Test", -1, -1,
                                    0) == 1 &&
             X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                        (const unsigned char *)from->common_name, -1, -1, 0) == 1 &&
             X509_set_issuer_name(c, name) == 1 && X509_set_pubkey(c, key) == 1,
         "names");
    extend(c, NID_subject_alt_name, from->names);
    extend(c, NID_ext_key_usage, from->usage);
    must(X509_sign(c, key, EVP_sha256()) > 0, "signature");
    return c;
}

/* ---- the key ---- */

struct soft_key {
    struct cert_key key;
    struct soft_item *item;
    EVP_PKEY *private_key;
};

static enum cert_store_result fail(struct err *e, enum cert_store_result result, const char *text)
{
    (void)err_set(e, ERR_PERM, "soft_store: %s", text);
    return result;
}

static bool sign_it(EVP_PKEY *key, enum cert_padding padding, enum cert_hash hash,
                    struct span digest, uint8_t *out, size_t size, size_t *n)
{
    static const int nids[CERT_HASHES] = {NID_md5_sha1, NID_sha1, NID_sha256, NID_sha384,
                                          NID_sha512};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    *n = size;
    bool ok = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1;
    if (ok && padding != CERT_PADDING_NONE)
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, padding == CERT_PADDING_PSS
                                                   ? RSA_PKCS1_PSS_PADDING
                                                   : RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_CTX_set_signature_md(ctx, EVP_get_digestbynid(nids[hash])) == 1 &&
             (padding != CERT_PADDING_PSS ||
              EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
    ok = ok && EVP_PKEY_sign(ctx, out, n, digest.p, digest.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* As CNG gives it: r and s, each as long as the order. */
static void make_raw(EVP_PKEY *key, uint8_t *signature, size_t *n)
{
    const unsigned char *p = signature;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)*n);
    int half = (EVP_PKEY_get_bits(key) + 7) / 8;
    must(sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, half) == half &&
             BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + half, half) == half,
         "signature");
    *n = 2 * (size_t)half;
    ECDSA_SIG_free(sig);
}

static enum cert_store_result key_sign(struct cert_key *key, enum cert_padding padding,
                                       enum cert_hash hash, struct span digest, uint8_t *out,
                                       size_t size, size_t *n, struct err *e)
{
    struct soft_key *k = (struct soft_key *)key;
    enum soft_fault fault = atomic_load(&k->item->fault);
    uint8_t other[64];
    if (fault == SOFT_FAILS)
        return fail(e, CERT_STORE_FAILED, "the signature fails");
    if ((fault == SOFT_NO_PSS && padding == CERT_PADDING_PSS) ||
        (fault == SOFT_SHA256_ONLY && hash != CERT_HASH_SHA256))
        return fail(e, CERT_STORE_UNUSABLE, "not supported");
    if (fault == SOFT_WRONG) {
        memcpy(other, digest.p, digest.n);
        other[0] ^= 1;
        digest.p = other;
    }
    if (!sign_it(k->private_key, padding, hash, digest, out, size, n))
        return fail(e, CERT_STORE_UNUSABLE, "OpenSSL does not sign");
    if (padding == CERT_PADDING_NONE)
        make_raw(k->private_key, out, n);
    if (fault == SOFT_SHORT)
        *n -= 1;
    atomic_fetch_add(&k->item->signatures, 1);
    return CERT_STORE_OK;
}

static void key_close(struct cert_key *key)
{
    struct soft_key *k = (struct soft_key *)key;
    atomic_fetch_sub(&k->item->open, 1);
    EVP_PKEY_free(k->private_key);
    free(k);
}

/* ---- the store ---- */

static struct soft_item *find(const struct cert_store *s, struct span der)
{
    const struct soft_store *it = s->context;
    for (size_t i = 0; i < it->n; i++)
        if (span_equal(it->items[i].der, der))
            return (struct soft_item *)&it->items[i];
    return NULL;
}

static enum cert_store_result list(const struct cert_store *s, const char *store,
                                   struct arena *arena, struct cert_store_item **items, size_t *n,
                                   struct err *e)
{
    const struct soft_store *it = s->context;
    *n = 0;
    if (it->absent || strcmp(store, "LocalMachine/My") != 0)
        return fail(e, CERT_STORE_ABSENT, "there is no such store");
    *items = arena_alloc(arena, (it->n + 1) * sizeof **items);
    for (; *n < it->n; (*n)++)
        (*items)[*n] = (struct cert_store_item){.der = arena_span(arena, it->items[*n].der),
                                                .has_key = it->items[*n].fault != SOFT_NO_KEY,
                                                .server_forbidden = it->items[*n].server_forbidden};
    return CERT_STORE_OK;
}

static enum cert_store_result open_key(const struct cert_store *s, const char *store,
                                       struct span der, struct cert_key **key, struct err *e)
{
    struct soft_item *item = find(s, der);
    (void)store;
    if (item == NULL || item->fault == SOFT_NO_KEY)
        return fail(e, CERT_STORE_ABSENT, "no private key");
    if (item->fault == SOFT_LOCKED)
        return fail(e, CERT_STORE_LOCKED, "access is denied");
    struct soft_key *k = calloc(1, sizeof *k);
    must(k != NULL, "memory");
    *k = (struct soft_key){.key = {key_sign, key_close}, .item = item};
    k->private_key = item->fault == SOFT_FOREIGN_KEY ? EVP_RSA_gen(2048) : item->key;
    must(item->fault == SOFT_FOREIGN_KEY || EVP_PKEY_up_ref(item->key) == 1, "key");
    atomic_fetch_add(&item->open, 1);
    *key = &k->key;
    return CERT_STORE_OK;
}

static void chain(const struct cert_store *s, const char *store, struct span der,
                  struct arena *arena, struct span **out, size_t *n)
{
    (void)s;
    (void)store;
    (void)der;
    (void)arena;
    *out = NULL;
    *n = 0;
}

static enum cert_store_right right(const struct cert_store *s, const char *store, struct span der,
                                   struct err *e)
{
    struct soft_item *item = find(s, der);
    (void)store;
    (void)e;
    return item == NULL ? CERT_STORE_CANNOT_TELL : item->right;
}

static enum cert_store_result grant(const struct cert_store *s, const char *store, struct span der,
                                    struct err *e)
{
    struct soft_item *item = find(s, der);
    (void)store;
    if (item == NULL)
        return fail(e, CERT_STORE_ABSENT, "no such certificate");
    item->right = CERT_STORE_MAY;
    return CERT_STORE_OK;
}

void soft_store_init(struct soft_store *s)
{
    memset(s, 0, sizeof *s);
    s->door = (struct cert_store){s, list, open_key, chain, right, grant};
}

struct soft_item *soft_store_add(struct soft_store *s, const struct soft_certificate *c)
{
    must(s->n < SOFT_ITEMS, "room");
    struct soft_item *i = &s->items[s->n++];
    memset(i, 0, sizeof *i);
    i->key = make_key(c->kind);
    i->certificate = make_certificate(i->key, c);
    int n = i2d_X509(i->certificate, &i->bytes);
    must(n > 0, "DER");
    i->der = span_of(i->bytes, (size_t)n);
    return i;
}

static void drop(struct soft_item *i)
{
    must(atomic_load(&i->open) == 0, "closing every key");
    X509_free(i->certificate);
    EVP_PKEY_free(i->key);
    OPENSSL_free(i->bytes);
}

void soft_store_remove(struct soft_store *s, struct soft_item *item)
{
    drop(item);
    s->n--;
    if (item != &s->items[s->n])
        memcpy(item, &s->items[s->n], sizeof *item);
}

void soft_store_deinit(struct soft_store *s)
{
    for (size_t i = 0; i < s->n; i++)
        drop(&s->items[i]);
    s->n = 0;
}
