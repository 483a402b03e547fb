/* client.h - the client's side of AUTH: a smart host wants our password, or `postern send` ours.
 * PLAIN and LOGIN are libsasl2's; SCRAM is ours (scram_client.h says why).
 * Owner: the outbound session. Threads: one at a time; nothing here waits for anybody, but SCRAM
 * derives a key with as many iterations as the server names (bounded), so call it on a lane.
 * Failure: ERR_PERM = this server cannot be authenticated to as configured (no common mechanism, no
 * TLS, a server that did not prove itself); ERR_TEMP = no memory. Nothing here logs. */
#ifndef POSTERN_AUTH_CLIENT_H
#define POSTERN_AUTH_CLIENT_H

#include "auth/auth.h"
#include "base/secret.h"

struct auth_client_options {
    struct span offered;  /* what stood behind AUTH in the EHLO reply, copied from there */
    const char *hostname; /* of the server */
    const char *user;
    struct span password;        /* copied, wiped at the end */
    bool tls;                    /* PLAIN and LOGIN are used only then */
    struct auth_binding binding; /* type NULL = none; then -PLUS is not used */
};

struct auth_client;

/* Picks the strongest mechanism that is offered and possible: SCRAM-SHA-256-PLUS, SCRAM-SHA-256,
 * PLAIN, LOGIN. Where TLS has a binding but the server offers no -PLUS, SCRAM says so ("y"), which
 * uncovers somebody who took it out of the list. */
bool auth_client_new(const struct auth_client_options *options, struct auth_client **c,
                     struct err *e);
/* "AUTH mechanism" with an initial response where has_initial (raw; empty is sent as "="). The
 * pointers belong to the client and stay until its next call. */
bool auth_client_start(struct auth_client *c, const char **mechanism, bool *has_initial,
                       struct span *initial, struct err *e);
/* After a 334 with that challenge (decoded): what to answer (raw). */
bool auth_client_step(struct auth_client *c, struct span challenge, struct span *response,
                      struct err *e);
/* After a 235: false when the mechanism had not come to its end, as a server that never proved that
 * it knows the password (SCRAM). Then do not hand it any mail. */
bool auth_client_finish(struct auth_client *c, struct err *e);
void auth_client_free(struct auth_client **c);

#endif
