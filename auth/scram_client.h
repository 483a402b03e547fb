/* scram_client.h - the client's half of SCRAM-SHA-256 (RFC 5802 section 3 and 7, RFC 7677).
 * Ours, because libsasl2's (2.1.28) gives up above 65,536 iterations and Postern's own verifiers
 * have 100,000 at least.
 * Owner: auth_client. Threads: one at a time. Failure: ERR_PERM = this server will not do. */
#ifndef POSTERN_AUTH_SCRAM_CLIENT_H
#define POSTERN_AUTH_SCRAM_CLIENT_H

#include "auth/backend.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

/* RFC 7677 section 4 wants 4096 iterations at least. The most is ours: a server must not be able to
 * keep a lane busy for as long as it likes (some seconds). */
enum { SCRAM_ITERATIONS_LEAST = 4096, SCRAM_ITERATIONS_MOST = 5000000 };

enum scram_client_state {
    SCRAM_CLIENT_START,
    SCRAM_CLIENT_FIRST_SENT,
    SCRAM_CLIENT_PROOF_SENT,
    SCRAM_CLIENT_DONE, /* the server has proved that it knows the password */
    SCRAM_CLIENT_FAILED,
};

struct scram_client {
    enum scram_client_state state;
    struct buf gs2;     /* the header, then the channel binding's bytes: what "c=" encodes */
    size_t gs2_header;  /* bytes of the header alone */
    struct buf message; /* client-first-message-bare, then the whole AuthMessage */
    struct buf out;     /* what is to be sent */
    char nonce[32];
    uint8_t server_signature[SCRAM_KEY_SIZE];
};

/* flag: 'p' with a type and bytes, 'y' (we could bind, the server does not offer it) or 'n'. */
bool scram_client_init(struct scram_client *c, char flag, const char *binding_type,
                       struct span binding, struct err *e);
void scram_client_deinit(struct scram_client *c);

/* client-first-message; *out stays until the next call. */
bool scram_client_first(struct scram_client *c, const char *user, struct span *out, struct err *e);
/* After server-first-message: client-final-message. BLOCKS for the derivation. After
 * server-final-message: nothing, and the state is DONE. */
bool scram_client_step(struct scram_client *c, struct span challenge, struct span password,
                       struct span *out, struct err *e);

#endif
