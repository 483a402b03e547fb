/* tls_provider.h - a private key that OpenSSL can use and cannot see: every signature is asked of a
 * cert_key (platform/cert_store.h), be it of Windows' store or of a test. An OpenSSL 3 provider in
 * a library context of its own, so that nothing else in the process meets it; what is public is
 * left to OpenSSL. docs/decisions/0080-store-keys.md. Owner: counted; it has to outlive every
 * EVP_PKEY made of it. Threads: any. Failure: ERR_PERM, the key is of no use; ERR_TEMP, no memory,
 * or the store does not answer. */
#ifndef POSTERN_NET_TLS_PROVIDER_H
#define POSTERN_NET_TLS_PROVIDER_H

#include "base/err.h"
#include "net/tls_key.h"

struct tls_provider;

/* Takes the key over, also where it fails; name: of the certificate, for the log. */
struct tls_provider *tls_provider_new(EVP_PKEY *public_key, struct cert_key *key,
                                      const struct tls_key_abilities *can, const char *name,
                                      struct err *e);
EVP_PKEY *tls_provider_key(struct tls_provider *p); /* the caller's own reference */
struct tls_provider *tls_provider_ref(struct tls_provider *p);
void tls_provider_unref(struct tls_provider **p);

#endif
