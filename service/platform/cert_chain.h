/* cert_chain.h - is the certificate that a server shows to be trusted, asked of the system that
 * keeps the roots. Windows: its chain engine, with the roots that group policy and Windows Update
 * give it. Elsewhere the roots are files that OpenSSL reads, and there is nothing to ask.
 * Threads: any. It blocks for milliseconds: what it needs is in the system's cache as a rule. Where
 * the verdict matters, a chain that is not complete there is completed over the network once,
 * within CERT_CHAIN_PATIENCE_MS. */
#ifndef POSTERN_PLATFORM_CERT_CHAIN_H
#define POSTERN_PLATFORM_CERT_CHAIN_H

#include "base/span.h"

#include <stdbool.h>

enum { CERT_CHAIN_PATIENCE_MS = 5000, CERT_CHAIN_REASON_MAX = 160 };

enum cert_chain_verdict {
    CERT_CHAIN_TRUSTED,
    CERT_CHAIN_EXPIRED,    /* it, or one above it, or not yet valid */
    CERT_CHAIN_INCOMPLETE, /* an issuer is not to be found */
    CERT_CHAIN_UNTRUSTED,  /* the root is not one of ours, or it is distrusted */
    CERT_CHAIN_NAME,       /* it is for another name */
    CERT_CHAIN_PURPOSE,    /* it is not for servers, or the one above not for issuing */
    CERT_CHAIN_REVOKED,
    CERT_CHAIN_SIGNATURE, /* a signature is wrong */
    CERT_CHAIN_FAILED,    /* the system could not say; no reason to trust */
};

/* certificates: as the server sent them, its own first, DER. host: the name that was asked for;
 * NULL: any. patient: the network may be asked. reason: the system's own words, "" where it is
 * trusted.
 */
typedef enum cert_chain_verdict cert_chain_verify(const struct span *certificates, size_t n,
                                                  const char *host, bool patient,
                                                  char reason[CERT_CHAIN_REASON_MAX]);

/* NULL: this system has none. */
cert_chain_verify *cert_chain_system(void);

#endif
