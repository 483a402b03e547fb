/* scram.h - the arithmetic of SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677) and the parts of its
 * messages that we look at ourselves. No state, any thread. Only scram_derive takes long. */
#ifndef POSTERN_AUTH_SCRAM_H
#define POSTERN_AUTH_SCRAM_H

#include "auth/backend.h"
#include "base/err.h"

/* SaltedPassword, then ClientKey -> StoredKey, and ServerKey. v->iterations, salt and salt_n are
 * set by the caller. BLOCKS for some 10 ms a 100,000 iterations. */
bool scram_derive(struct span password, struct scram_verifier *v, struct err *e);
/* The same, and the ClientKey that only a client needs; the caller wipes it. */
bool scram_derive_client(struct span password, struct scram_verifier *v,
                         uint8_t client_key[SCRAM_KEY_SIZE], struct err *e);

/* As libsasl2's SCRAM wants *authPassword: "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey". */
enum { SCRAM_TEXT_MAX = 192 };
bool scram_format(const struct scram_verifier *v, char *out, size_t size);

/* client-first-message, RFC 5802 section 7:
 *     gs2-header [reserved-mext ","] username "," nonce ["," extensions]
 *     gs2-header = ("p=" cb-name / "n" / "y") "," [ "a=" saslname ] ","
 * Names are given with =2C and =3D undone. */
struct scram_first {
    char flag; /* 'p', 'n' or 'y' */
    struct span binding_type;
    struct span gs2_header; /* with its last comma */
    char name[1024];
    size_t name_n;
};
bool scram_parse_first(struct span message, struct scram_first *first);

/* client-final-message: "c=" base64 "," ... ; the value of c, still in base64. */
bool scram_parse_final(struct span message, struct span *channel);

#endif
