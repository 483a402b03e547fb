/* ntlm_helpers.h - a pool of long-lived Samba `ntlm_auth` processes: NTLM without a parser of ours.
 * Owner: posix/integrated_auth.c. Threads: a pool is shared, a talk belongs to one thread at a
 * time.
 *
 * A helper keeps the challenge of one login between its two messages, so a login holds a helper
 * until the client has answered. Nobody can keep them all: where none is free, the login that has
 * waited longest for its client (at least NTLM_HOLD_MS) loses its helper and ends UNAVAILABLE.
 *   NONE -> starting -> IDLE <-> BUSY (a thread speaks with it) <-> HELD (its client is asked)
 * A helper that is silent for NTLM_STEP_MS, dies or speaks nonsense is killed; after each such
 * failure the pool starts none for a while that doubles. */
#ifndef POSTERN_POSIX_NTLM_HELPERS_H
#define POSTERN_POSIX_NTLM_HELPERS_H

#include "platform/integrated_auth.h"

enum {
    NTLM_HELPERS_MAX = 8,
    NTLM_STEP_MS = 5000,
    NTLM_WAIT_MS = 5000, /* for a helper; with NTLM_STEP_MS: INTEGRATED_STEP_MAX_MS */
    NTLM_HOLD_MS = 2000,
    NTLM_BACKOFF_MS = 200,
    NTLM_BACKOFF_MAX_MS = 10000,
    NTLM_LINE_MAX = 96 * 1024, /* a token of INTEGRATED_TOKEN_MAX in base64, and names */
};

struct ntlm_helpers;

/* command: as integrated_options.ntlm_auth; spnego: which protocol. NULL without memory. Starts
 * nothing. */
struct ntlm_helpers *ntlm_helpers_new(const char *command, bool spnego);
/* No talk may live. Kills and reaps. */
void ntlm_helpers_free(struct ntlm_helpers **h);

/* Starts a helper and lets it answer one login of nobody. BLOCKS, at most twice NTLM_STEP_MS. */
void ntlm_helpers_prove(struct ntlm_helpers *h, struct integrated_readiness *r);

struct ntlm_talk;

struct ntlm_talk *ntlm_talk_new(struct ntlm_helpers *h);
void ntlm_talk_free(struct ntlm_talk **t);
enum integrated_result ntlm_talk_step(struct ntlm_talk *t, struct span in, struct buf *out,
                                      char reason[INTEGRATED_REASON_MAX]);
const char *ntlm_talk_domain(const struct ntlm_talk *t);
const char *ntlm_talk_account(const struct ntlm_talk *t);

#endif
