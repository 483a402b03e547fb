/* exchange_parts.h - one exchange from the inside, for the files that work on it:
 *   exchange.c           its life and its steps
 *   exchange_messages.c  what we read in a message before libsasl2 does
 *   exchange_sasl.c      what libsasl2 asks us meanwhile
 *   sasl_userdb.c        the plug-in that hands verifiers to SCRAM
 *   sasl_integrated.c    the plug-in for GSSAPI, GSS-SPNEGO and NTLM
 * All on the exchange's own thread. */
#ifndef POSTERN_AUTH_EXCHANGE_PARTS_H
#define POSTERN_AUTH_EXCHANGE_PARTS_H

#include "auth/exchange.h"
#include "auth/sasl_library.h"
#include "base/buf.h"
#include "base/secret.h"
#include "platform/integrated_auth.h"

#include <sasl/sasl.h>

enum {
    /* Of one response but for the integrated mechanisms, whose tokens may have
     * INTEGRATED_TOKEN_MAX; the longest good one is far shorter. */
    EXCHANGE_MESSAGE_MAX = 4096,
    EXCHANGE_NAME_MAX = 2 * IDENTITY_ACCOUNT_MAX,
    EXCHANGE_REASON_MAX = 256,
    EXCHANGE_BINDING_TYPE_MAX = 32,
    EXCHANGE_CALLBACKS = 6,
};

/* Where a SCRAM exchange stands; what libsasl2 checks we check too, and some of it it does not. */
enum exchange_phase { PHASE_START, PHASE_NAME_KNOWN, PHASE_SECRET_SENT };

/* An integrated exchange: see sasl_integrated.h. */
enum integrated_phase {
    INTEGRATED_PHASE_TOKEN,
    INTEGRATED_PHASE_HANDSHAKE,
    INTEGRATED_PHASE_LAST,
    INTEGRATED_PHASE_LAYER,
};

struct exchange_integrated {
    enum integrated_phase phase;
    enum integrated_package package;
    struct integrated_context *context;
    struct buf reply; /* what goes to the client */
    bool challenged;  /* something (be it empty) has gone */
};

struct auth_exchange {
    struct auth *auth;
    struct auth_snapshot *s;
    struct auth_peer peer;
    char binding_types[AUTH_BINDINGS_MAX][EXCHANGE_BINDING_TYPE_MAX];
    uint8_t binding_bytes[AUTH_BINDINGS_MAX][AUTH_BINDING_BYTES_MAX];
    uint8_t end_point_bytes[AUTH_END_POINTS_MAX][AUTH_BINDING_BYTES_MAX];
    unsigned mechanism; /* one bit; 0 = one that we do not know */
    sasl_conn_t *conn;
    sasl_callback_t callbacks[EXCHANGE_CALLBACKS];
    sasl_channel_binding_t binding; /* the one that the client chose */

    struct exchange_integrated integrated;
    enum exchange_phase phase;
    bool over;
    bool guess;                /* a password was tried: a failure counts */
    enum auth_outcome verdict; /* what we or a call-back found out; AUTH_CONTINUE = nothing yet */
    char reason[EXCHANGE_REASON_MAX];
    char name[EXCHANGE_NAME_MAX + 1]; /* as the client gave it */
    enum identity_result resolved;
    struct identity id;
    char subject[IDENTITY_CANONICAL_MAX + EXCHANGE_NAME_MAX]; /* whom the throttle counts */
    struct secret password; /* PLAIN and LOGIN: until the failure has been counted */
    struct buf channel;     /* SCRAM: what "c=" has to say, RFC 5802 section 7 cbind-input */
    /* SCRAM: what was found for the verifier that was handed out. It is told only after the proof
     * has failed: until then an unknown account must fare as a known one does. */
    enum backend_result found;
    char found_reason[BACKEND_REASON_MAX];
    uint64_t version;
    bool member; /* the backend found the account in a group of the allow list */
};

/* Sets the verdict and its reason for the log; gives the outcome back. */
enum auth_outcome exchange_refuse(struct auth_exchange *x, enum auth_outcome outcome,
                                  const char *reason);
bool exchange_is_scram(const struct auth_exchange *x);
bool exchange_is_integrated(const struct auth_exchange *x);
bool exchange_is_ntlm(const struct auth_exchange *x); /* it has begun, under whatever name */
/* The account in x->id is not named by its domain's allow list, so it must be in one of these;
 * NULL: it is named, or there is no list. */
const struct backend_groups *exchange_groups(const struct auth_exchange *x);

/* AUTH_CONTINUE: libsasl2 may have the message. */
enum auth_outcome exchange_look_at(struct auth_exchange *x, bool has_input, struct span in);
/* PLAIN: what the message holds; false where it is malformed. */
bool exchange_plain_parts(struct span in, struct span *name, struct span *password);

/* Why a proof could not be right, or that it was wrong. */
enum auth_outcome exchange_refuse_proof(struct auth_exchange *x);
/* Makes libsasl2's connection with our call-backs. */
bool exchange_connect(struct auth_exchange *x);

#endif
