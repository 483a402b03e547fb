/* cert_store.h - the system's certificate store: what certificates are in it, and signatures by
 * their private keys, which never leave it. Windows: the stores of the machine and of the account,
 * CNG and CryptoAPI keys. Elsewhere there is none.
 * Owner: the caller of what it was given. Threads: any; a key signs for several at once.
 * Failure: the result says what it is, the error names the call that failed with the system's own
 * text. Everything blocks, for milliseconds as a rule, for longer where a key lives in hardware.
 * The functions stand in a table, so that what uses a store can be shown with another one. */
#ifndef POSTERN_PLATFORM_CERT_STORE_H
#define POSTERN_PLATFORM_CERT_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

enum cert_store_result {
    CERT_STORE_OK,
    CERT_STORE_ABSENT,   /* no such store, no such certificate any more, or it has no private key */
    CERT_STORE_LOCKED,   /* the private key is there and this account may not use it */
    CERT_STORE_UNUSABLE, /* the key cannot do what is asked: hardware, kind, damage, a PIN */
    CERT_STORE_FAILED,   /* anything else: memory, a service of the system that does not answer */
};

/* May the service's account use the private key? Told for another account than our own. */
enum cert_store_right { CERT_STORE_MAY, CERT_STORE_MAY_NOT, CERT_STORE_CANNOT_TELL };

struct cert_store_item {
    struct span der; /* the certificate */
    bool has_key;    /* a private key is named; whether it can be used is another question */
    /* The store's own list of purposes forbids to serve with it, whatever the certificate says. */
    bool server_forbidden;
};

/* ---- the key ---- */

enum cert_padding {
    CERT_PADDING_PKCS1, /* RSASSA-PKCS1-v1_5 (RFC 8017 8.2) */
    CERT_PADDING_PSS,   /* RSASSA-PSS, MGF1 with the same hash, a salt as long as the hash */
    CERT_PADDING_NONE,  /* ECDSA */
};
enum cert_hash {
    CERT_HASH_MD5_SHA1, /* TLS before 1.2: 36 bytes, PKCS1 without a DigestInfo */
    CERT_HASH_SHA1,
    CERT_HASH_SHA256,
    CERT_HASH_SHA384,
    CERT_HASH_SHA512,
};
enum { CERT_HASHES = CERT_HASH_SHA512 + 1 };

/* A private key that stays where it is. The one call-back under net/tls_provider.c. */
struct cert_key {
    /* RSA: the signature as TLS sends it, big-endian, as long as the modulus. ECDSA: r and s, each
     * as long as the order of the curve. size: of out, enough for either. */
    enum cert_store_result (*sign)(struct cert_key *key, enum cert_padding padding,
                                   enum cert_hash hash, struct span digest, uint8_t *out,
                                   size_t size, size_t *n, struct err *e);
    void (*close)(struct cert_key *key);
};

/* ---- the store ---- */

struct cert_store {
    const void *context; /* of the one who made the table */
    /* store: "LocalMachine/My", of base/cert_name.h. The items live in the arena. */
    enum cert_store_result (*list)(const struct cert_store *s, const char *store,
                                   struct arena *arena, struct cert_store_item **items, size_t *n,
                                   struct err *e);
    /* The private key of that certificate, to be closed. Asks nobody for a PIN. */
    enum cert_store_result (*open_key)(const struct cert_store *s, const char *store,
                                       struct span der, struct cert_key **key, struct err *e);
    /* The certificates that lead from that one towards its root, without the root. What cannot be
     * found is left out: there is no failure. */
    void (*chain)(const struct cert_store *s, const char *store, struct span der,
                  struct arena *arena, struct span **chain, size_t *n);
    /* Has the service's own account been given the right to use the key? */
    enum cert_store_right (*right)(const struct cert_store *s, const char *store, struct span der,
                                   struct err *e);
    /* Gives it, to the right to read that is there already. Needs an administrator. */
    enum cert_store_result (*grant)(const struct cert_store *s, const char *store, struct span der,
                                    struct err *e);
};

/* The system's own; NULL: this system has none. */
const struct cert_store *cert_store_system(void);

#endif
