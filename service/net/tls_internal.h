/* tls_internal.h - what the tls files share. Not for other rooms, nor for conn.c. */
#ifndef POSTERN_NET_TLS_INTERNAL_H
#define POSTERN_NET_TLS_INTERNAL_H

#include "net/tls.h"
#include "net/tls_provider.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <stdatomic.h>

struct tls_identity { /* a certificate, its key, its chain */
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
    bool twin;                     /* holds a name of the main one too */
    struct tls_provider *provider; /* of a key in a store; NULL: the key is ours */
    struct tls_key_abilities can;  /* of that key */
};

struct tls_context {
    atomic_uint count;
    SSL_CTX *ctx;
    BIO_METHOD *hooks;               /* the BIO that reads from a span and writes into a buf */
    struct tls_identity *identities; /* server: [0] is the main one */
    size_t identities_n;
    int minimum;   /* TLS1_2_VERSION, ... */
    bool own_list; /* tls.ciphers is given */
    bool limited;  /* some identity's key cannot make every signature: tls_limits.c */
    char allowed[300];
    cert_chain_verify *chain; /* client: who knows the roots; NULL: OpenSSL does */
};

/* What a client hello said, kept while the handshake runs. */
enum { TLS_HELLO_CIPHERS = 64, TLS_HELLO_VERSIONS = 8 };
struct tls_hello {
    bool seen;
    uint16_t versions[TLS_HELLO_VERSIONS];
    size_t versions_n;
    uint16_t ciphers[TLS_HELLO_CIPHERS];
    size_t ciphers_n;
    size_t ciphers_offered; /* in all */
    uint8_t first[64];      /* the first bytes that came, whatever they were */
    size_t first_n;
};

struct tls_session {
    struct tls_context *context;
    SSL *ssl;
    bool server;
    int minimum; /* the context's, or its own */
    struct span in;
    struct buf *out;
    struct tls_hello *hello; /* NULL on the client side and after the handshake */
    char *server_name;       /* server side: SNI as the client sent it; NULL: none */
};

bool tls_identity_load(const struct tls_pair *pair, struct tls_identity *out, struct err *e);
void tls_identity_drop(struct tls_identity *i);
bool tls_identity_copy(const struct tls_identity *from, struct tls_identity *out);
void tls_identity_describe(const struct tls_identity *i, struct tls_certificate_info *out);
/* SHA-1, as Windows names a certificate. */
void tls_certificate_thumbprint(const X509 *c, uint8_t out[20]);
int64_t tls_wall_ms_of(const ASN1_TIME *t);
void tls_certificate_names_of(const X509 *c, char *out, size_t size);
void tls_certificate_subject(const X509 *c, char *out, size_t size);

/* tls_store.c. previous: NULL, or what is in force; out is a copy of it where that is still the
 * best that can be had, and renewal says why. */
bool tls_store_load(const struct tls_pair *pair, const struct tls_identity *previous,
                    struct tls_identity *out, struct tls_renewal *renewal, struct err *e);

/* tls_limits.c: keeps a handshake to what the served keys can sign. */
bool tls_identity_limited(const struct tls_identity *i);
bool tls_limits_apply(const struct tls_session *s, SSL *ssl);

/* tls_verify.c: the system's chain engine in place of OpenSSL's. */
void tls_verify_by_system(struct tls_context *c, cert_chain_verify *chain);
bool tls_identity_matches(const struct tls_identity *i, const char *host);
bool tls_identity_shares_name(const struct tls_identity *a, const struct tls_identity *b);

/* Which identities a client that asks for this name (NULL: none) is served, tls_context.c. */
bool tls_context_knows(const struct tls_context *c, const char *server_name);
bool tls_identity_serves(const struct tls_context *c, size_t i, const char *server_name,
                         bool known);

/* The newest entry of OpenSSL's error queue as text; empties the queue. */
const char *tls_error_text(char *out, size_t size);

const char *tls_version_name(unsigned version); /* 0x0303 -> "TLS 1.2" */

int tls_version_number(const char *text); /* "1.2" -> TLS1_2_VERSION; 0: unknown */

/* tls_ciphers.c. NULL or "": ours. Needs the context's minimum. */
bool tls_ciphers_set(struct tls_context *c, const char *ciphers, const char *suites, struct err *e);
bool tls_context_has_cipher(const struct tls_context *c, const SSL_CIPHER *cipher);

/* A session that takes older versions than its context: the ciphers for them, unless tls.ciphers is
 * given, and the level that they need. */
bool tls_ciphers_loosen(const struct tls_context *c, SSL *ssl);

/* Is that cipher one of those that a minimum of 1.0 or 1.1 adds? */
bool tls_legacy_has_cipher(const char *name);

/* Remembers what the client offers; an SSL_client_hello_cb_fn's body. */
void tls_hello_note(struct tls_session *s, SSL *ssl);

/* Explains a failed handshake; `error` is ERR_peek_error's, 0 for a peer that went away. */
void tls_failure_explain(const struct tls_session *s, unsigned long error, struct tls_failure *out);

#endif
