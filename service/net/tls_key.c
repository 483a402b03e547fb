/* One signature of a key that somebody else holds, and which it can make at all. */
#include "net/tls_key.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>

enum { SIGNATURE_MAX = 2048 };

/* ---- hashes ---- */

static const struct {
    const char *name;
    int nid;
} hashes[CERT_HASHES] = {
    [CERT_HASH_MD5_SHA1] = {"MD5-SHA1", NID_md5_sha1}, [CERT_HASH_SHA1] = {"SHA1", NID_sha1},
    [CERT_HASH_SHA256] = {"SHA256", NID_sha256},       [CERT_HASH_SHA384] = {"SHA384", NID_sha384},
    [CERT_HASH_SHA512] = {"SHA512", NID_sha512},
};

bool tls_key_hash(const EVP_MD *md, enum cert_hash *out)
{
    for (int i = 0; i < CERT_HASHES; i++)
        if (EVP_MD_is_a(md, hashes[i].name)) {
            *out = (enum cert_hash)i;
            return true;
        }
    return false;
}

/* ---- one signature ---- */

/* r and s, one behind the other, as the SEQUENCE of two INTEGERs (RFC 3279 2.2.3). */
static bool ecdsa_der(const uint8_t *raw, size_t n, uint8_t *out, size_t size, size_t *out_n)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)(n / 2), NULL), *s = BN_bin2bn(raw + n / 2, (int)(n / 2), NULL);
    bool ok = sig != NULL && r != NULL && s != NULL && n % 2 == 0 && n > 0 &&
              ECDSA_SIG_set0(sig, r, s) == 1;
    if (ok) {
        int length = i2d_ECDSA_SIG(sig, NULL);
        ok = length > 0 && (size_t)length <= size;
        if (ok)
            *out_n = (size_t)i2d_ECDSA_SIG(sig, &out);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return ok;
}

/* A hash longer than the curve's order counts with its leftmost bits only (FIPS 186-4 6.4); the
 * orders of P-256 and P-384 end at a byte, P-521's is longer than every hash. */
static struct span cut_for_curve(EVP_PKEY *public_key, struct span digest)
{
    size_t order = (size_t)(EVP_PKEY_get_bits(public_key) + 7) / 8;
    return span_sub(digest, 0, order < digest.n ? order : digest.n);
}

enum cert_store_result tls_key_sign(EVP_PKEY *public_key, struct cert_key *key, bool ec,
                                    enum cert_padding padding, enum cert_hash hash,
                                    struct span digest, uint8_t *out, size_t size, size_t *n,
                                    struct err *e)
{
    uint8_t raw[SIGNATURE_MAX];
    size_t raw_n = 0;
    if (ec)
        digest = cut_for_curve(public_key, digest);
    enum cert_store_result result =
        key->sign(key, padding, hash, digest, raw, sizeof raw, &raw_n, e);
    if (result != CERT_STORE_OK)
        return result;
    bool ok = raw_n <= sizeof raw;
    if (ok && ec) {
        ok = ecdsa_der(raw, raw_n, out, size, n);
    } else if (ok) { /* a peer takes nothing but the modulus' length */
        ok = raw_n == (size_t)EVP_PKEY_get_size(public_key) && raw_n <= size;
        if (ok) {
            memcpy(out, raw, raw_n);
            *n = raw_n;
        }
    }
    if (ok)
        return CERT_STORE_OK;
    (void)err_set(e, ERR_PERM, "the signature that came back has %zu bytes", raw_n);
    return CERT_STORE_UNUSABLE;
}

static bool verifies(EVP_PKEY *public_key, enum cert_padding padding, enum cert_hash hash,
                     struct span digest, const uint8_t *signature, size_t n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(public_key, NULL);
    bool ok = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1;
    if (ok && padding != CERT_PADDING_NONE)
        ok = EVP_PKEY_CTX_set_rsa_padding(
                 ctx, padding == CERT_PADDING_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1;
    if (ok)
        ok = EVP_PKEY_CTX_set_signature_md(ctx, EVP_get_digestbynid(hashes[hash].nid)) == 1;
    if (ok && padding == CERT_PADDING_PSS)
        ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_PKEY_verify(ctx, signature, n, digest.p, digest.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static enum cert_store_result try_one(EVP_PKEY *public_key, struct cert_key *key, bool ec,
                                      enum cert_padding padding, enum cert_hash hash, struct err *e)
{
    static const size_t lengths[CERT_HASHES] = {36, 20, 32, 48, 64};
    uint8_t bytes[64], signature[SIGNATURE_MAX];
    size_t n = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    struct span digest = span_of(bytes, lengths[hash]);
    enum cert_store_result result = tls_key_sign(public_key, key, ec, padding, hash, digest,
                                                 signature, sizeof signature, &n, e);
    if (result == CERT_STORE_OK && !verifies(public_key, padding, hash, digest, signature, n)) {
        (void)err_set(e, ERR_PERM, "the private key does not belong to the certificate");
        result = CERT_STORE_UNUSABLE;
    }
    return result;
}

bool tls_key_probe(EVP_PKEY *public_key, struct cert_key *key, struct tls_key_abilities *can,
                   enum cert_store_result *result, struct err *e)
{
    static const enum cert_hash order[] = {CERT_HASH_SHA256, CERT_HASH_SHA384, CERT_HASH_SHA512,
                                           CERT_HASH_SHA1, CERT_HASH_MD5_SHA1};
    bool ec = EVP_PKEY_is_a(public_key, "EC") == 1;
    struct err first = {0}, one;
    *can = (struct tls_key_abilities){0};
    *result = CERT_STORE_OK;
    if (!ec && EVP_PKEY_is_a(public_key, "RSA") != 1) {
        *result = CERT_STORE_UNUSABLE;
        return err_set(e, ERR_PERM, "a key that is neither RSA nor ECDSA");
    }
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        enum cert_hash hash = order[i];
        if (ec && hash == CERT_HASH_MD5_SHA1)
            continue;
        enum cert_store_result r =
            try_one(public_key, key, ec, ec ? CERT_PADDING_NONE : CERT_PADDING_PKCS1, hash, &one);
        if (r == CERT_STORE_OK) {
            can->plain |= 1U << hash;
        } else if (*result == CERT_STORE_OK) {
            *result = r;
            first = one;
        }
        if (r == CERT_STORE_LOCKED || r == CERT_STORE_ABSENT)
            break; /* it will say so each time, and may take its time for it */
        if (!ec && hash >= CERT_HASH_SHA256 &&
            try_one(public_key, key, false, CERT_PADDING_PSS, hash, &one) == CERT_STORE_OK)
            can->pss |= 1U << hash;
    }
    if (((can->plain | can->pss) & TLS_KEY_TLS12) != 0) {
        *result = CERT_STORE_OK;
        return true;
    }
    if (*result == CERT_STORE_OK)
        *result = CERT_STORE_UNUSABLE;
    return err_set(e, first.class == ERR_NONE ? ERR_PERM : first.class, "%s",
                   first.text[0] == '\0' ? "the key signs with nothing newer than SHA-1"
                                         : first.text);
}
