/* tls_choice.h - which certificate of a store is meant: facts and the time of day in, an order out.
 * PURE: no OpenSSL, no clock, no store. Threads: any.
 *
 * The subject that is asked for is one of
 *   relay.example.net        a DNS name of the certificate, or its common name where it has no DNS
 *                            names; *.example.net of a certificate holds it
 *   *.example.net            that very name
 *   CN=relay, O=Example      every part is one of the certificate's subject, in any order
 * all without case. Of those that fit, the newest is meant: the one that begins last, then the one
 * that ends last. */
#ifndef POSTERN_NET_TLS_CHOICE_H
#define POSTERN_NET_TLS_CHOICE_H

#include "base/cert_name.h"

struct tls_candidate {
    const char *subject;     /* RFC 2253: "CN=relay.example.net,O=Example" */
    const char *common_name; /* "" = none */
    const char *names;       /* DNS names, a space between */
    uint8_t thumbprint[THUMBPRINT_BYTES];
    int64_t not_before_wall_ms, not_after_wall_ms;
    bool has_key;
    bool for_servers; /* its extended key usage, and the store's, allow it */
};

struct tls_wanted {
    const char *subject; /* NULL: by thumbprint */
    uint8_t thumbprint[THUMBPRINT_BYTES];
};

enum tls_fit {
    TLS_FIT, /* it can be taken, as far as it can be told without its key */
    TLS_FIT_OTHER,
    TLS_FIT_NO_KEY,
    TLS_FIT_PURPOSE,
    TLS_FIT_NOT_YET,
    TLS_FIT_EXPIRED,
    /* what an attempt to sign has shown */
    TLS_FIT_LOCKED,
    TLS_FIT_UNUSABLE,
};
enum { TLS_FITS = TLS_FIT_UNUSABLE + 1 };

/* "has expired", "has no private key", ... for a sentence that begins with the certificate. */
const char *tls_fit_text(enum tls_fit fit);

enum tls_fit tls_choice_fit(const struct tls_candidate *c, const struct tls_wanted *wanted,
                            int64_t now_wall_ms);

/* The places of those that fit, the best first; order has room for n. Returns how many. */
size_t tls_choice_order(const struct tls_candidate *list, size_t n, const struct tls_wanted *wanted,
                        int64_t now_wall_ms, size_t *order);

/* Is a better than b, both fitting? */
bool tls_choice_newer(const struct tls_candidate *a, const struct tls_candidate *b);

#endif
