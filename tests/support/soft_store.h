/* soft_store.h - a certificate store for tests, with real keys that only sign: what
 * platform/cert_store.h promises, faithfully or with one fault. Threads: as a real one; its faults
 * are set by the test alone. */
#ifndef POSTERN_SUPPORT_SOFT_STORE_H
#define POSTERN_SUPPORT_SOFT_STORE_H

#include "platform/cert_store.h"

#include <openssl/x509.h>
#include <stdatomic.h>

enum soft_kind { SOFT_RSA, SOFT_P256, SOFT_P384, SOFT_P521 };
enum soft_fault {
    SOFT_FAITHFUL,
    SOFT_LOCKED,      /* opening the key is refused */
    SOFT_NO_KEY,      /* there is none */
    SOFT_NO_PSS,      /* as CryptoAPI */
    SOFT_SHA256_ONLY, /* as some hardware */
    SOFT_FAILS,       /* every signature fails */
    SOFT_WRONG,       /* every signature is another one's */
    SOFT_SHORT,       /* every signature lacks a byte */
    SOFT_FOREIGN_KEY, /* the key belongs to another certificate */
};
enum { SOFT_ITEMS = 16 };

struct soft_item {
    X509 *certificate;
    EVP_PKEY *key;
    struct span der;
    unsigned char *bytes;
    _Atomic(enum soft_fault) fault;
    enum cert_store_right right;
    bool server_forbidden;
    atomic_uint signatures, open; /* made in all; keys open now */
};

struct soft_store {
    struct cert_store door; /* hand out the address of this */
    struct soft_item items[SOFT_ITEMS];
    size_t n;
    bool absent; /* the store itself cannot be opened */
};

/* Begins and ends in days from now. names: of subjectAltName ("DNS:a,DNS:b"), NULL: none.
 * usage: of extendedKeyUsage, NULL: none. */
struct soft_certificate {
    enum soft_kind kind;
    const char *common_name, *names, *usage;
    int begins, ends;
};

void soft_store_init(struct soft_store *s);
struct soft_item *soft_store_add(struct soft_store *s, const struct soft_certificate *c);
void soft_store_remove(struct soft_store *s, struct soft_item *item); /* the last takes its place */
void soft_store_deinit(struct soft_store *s);

#endif
