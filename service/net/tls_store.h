/* tls_store.h - the certificates of a store as an administrator sees them: which one is taken, and
 * why the others are not. Threads: one. */
#ifndef POSTERN_NET_TLS_STORE_H
#define POSTERN_NET_TLS_STORE_H

#include "base/arena.h"
#include "net/tls.h"
#include "net/tls_choice.h"

struct tls_store_entry {
    struct tls_candidate facts;
    char thumbprint[THUMBPRINT_TEXT_MAX];
    struct span der;
    enum tls_fit fit;
    bool chosen;
    bool no_pss;                 /* of one that fits: TLS 1.2 at most */
    enum cert_store_right right; /* of the service's account; told for those that fit by name */
    char why[TLS_NOTE_MAX];      /* what a call of the system said; "" */
};

/* The newest first, those that are meant before the others. The entries live in the arena. */
bool tls_store_list(const struct tls_pair *pair, struct arena *arena,
                    struct tls_store_entry **entries, size_t *n, struct err *e);

/* Gives the service's account the right to use that key. */
bool tls_store_grant(const struct tls_pair *pair, const struct tls_store_entry *entry,
                     struct err *e);

#endif
