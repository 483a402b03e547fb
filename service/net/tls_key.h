/* tls_key.h - signatures in TLS's form by a cert_key (platform/cert_store.h), and which of them it
 * can make at all. Threads: any. Failure: the result says what it is, the error why. */
#ifndef POSTERN_NET_TLS_KEY_H
#define POSTERN_NET_TLS_KEY_H

#include "base/err.h"
#include "platform/cert_store.h"

#include <openssl/evp.h>

/* What a key can do, one bit for each cert_hash. ECDSA keys have plain alone. */
struct tls_key_abilities {
    unsigned plain; /* PKCS1, or ECDSA */
    unsigned pss;
};
enum { TLS_KEY_TLS12 = 1 << CERT_HASH_SHA256 | 1 << CERT_HASH_SHA384 | 1 << CERT_HASH_SHA512 };

/* Signs something with each and compares with the public key: what a store promises is not
 * believed. A key that can do nothing of use is an error, and result tells which. */
bool tls_key_probe(EVP_PKEY *public_key, struct cert_key *key, struct tls_key_abilities *can,
                   enum cert_store_result *result, struct err *e);

/* Is it one of the hashes that there are? */
bool tls_key_hash(const EVP_MD *md, enum cert_hash *out);

/* ec: the public key is one. out: the signature as it goes into a handshake. */
enum cert_store_result tls_key_sign(EVP_PKEY *public_key, struct cert_key *key, bool ec,
                                    enum cert_padding padding, enum cert_hash hash,
                                    struct span digest, uint8_t *out, size_t size, size_t *n,
                                    struct err *e);

#endif
