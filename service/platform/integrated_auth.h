/* integrated_auth.h - logins with what the system already knows of the user: Kerberos, SPNEGO,
 * NTLM. POSIX: MIT's GSSAPI with a keytab, and Samba's ntlm_auth for NTLM, which asks winbindd.
 * Windows: SSPI.
 * Owner: the auth room's snapshot; a context must end before the integrated_auth that it is of.
 * Threads: any; a context belongs to one thread at a time. BLOCKS: a Kerberos step computes and
 * reads the keytab, an NTLM step asks a domain controller and takes at most
 * INTEGRATED_STEP_MAX_MS, waiting for its turn included.
 * Failure: integrated_auth_open fails without memory alone; what does not work is told by
 * integrated_auth_ready. A step's reason is a line for the log and holds no secret.
 * Sources: RFC 4120 and 4121 (Kerberos), RFC 4178 (SPNEGO), RFC 4752 (the SASL layer step),
 * RFC 5929 (channel bindings). */
#ifndef POSTERN_PLATFORM_INTEGRATED_AUTH_H
#define POSTERN_PLATFORM_INTEGRATED_AUTH_H

#include "base/buf.h"
#include "base/err.h"

enum {
    INTEGRATED_REASON_MAX = 200,
    INTEGRATED_NAME_MAX = 256,
    /* Of one token: MaxTokenSize of Windows, the largest that a client can have. */
    INTEGRATED_TOKEN_MAX = 65536,
    INTEGRATED_STEP_MAX_MS = 10000,
    INTEGRATED_BINDINGS_MAX = 5,
    INTEGRATED_BINDING_MAX = 128,
};

/* What the first token of a client is: see auth/gss_token.h. */
enum integrated_package {
    INTEGRATED_KERBEROS,        /* a raw Kerberos token */
    INTEGRATED_SPNEGO_KERBEROS, /* SPNEGO that comes to Kerberos */
    INTEGRATED_SPNEGO_NTLM,     /* SPNEGO that comes to NTLM */
    INTEGRATED_NTLM,            /* a raw NTLM message */
};
enum { INTEGRATED_PACKAGES = 4 };

struct integrated_options {
    const char *keytab; /* "" = the system's: KRB5_KTNAME, else as krb5.conf says */
    /* The program with its arguments; "" = no NTLM. Words stand between spaces and tabs; '...' and
     * "..." keep them together; nothing else is special (a backslash is a backslash). No shell is
     * asked. The first word is a path from the root. */
    const char *ntlm_auth;
};

/* How a package proved itself when it was opened. */
struct integrated_readiness {
    bool ready;
    char reason[INTEGRATED_REASON_MAX]; /* not ready: why; ready: "" */
    char cure[INTEGRATED_REASON_MAX];   /* what the administrator can do */
    /* Ready, but some clients will not get in: what is missing. "" = nothing. */
    char warning[INTEGRATED_REASON_MAX];
};

struct integrated_auth;

bool integrated_auth_open(const struct integrated_options *options, struct integrated_auth **a,
                          struct err *e);
void integrated_auth_close(struct integrated_auth **a);
const struct integrated_readiness *integrated_auth_ready(const struct integrated_auth *a,
                                                         enum integrated_package package);

enum integrated_result {
    INTEGRATED_CONTINUE,  /* send the output (it may be empty), give the answer to the next step */
    INTEGRATED_DONE,      /* proved; where there is output, the client still wants it */
    INTEGRATED_REFUSED,   /* the proof is wrong, or the account may not */
    INTEGRATED_GUEST,     /* anonymous or guest: a refusal for us */
    INTEGRATED_MALFORMED, /* no such token, or not in this place; nothing was proved or guessed */
    INTEGRATED_UNAVAILABLE, /* nobody could be asked now */
};

struct integrated_context;

/* bindings: what this channel could be bound to, as the application data of RFC 5929 and 9266:
 * "tls-server-end-point:" and the hash, and so on. A client that binds to none of them is refused;
 * one that does not bind is not. Copied. NTLM: winbindd cannot check them.
 * NULL without memory. */
struct integrated_context *integrated_begin(struct integrated_auth *a,
                                            enum integrated_package package,
                                            const struct span *bindings, size_t binding_count);

/* out is emptied first; born with a maximum of at least INTEGRATED_TOKEN_MAX. */
enum integrated_result integrated_step(struct integrated_context *c, struct span in,
                                       struct buf *out, char reason[INTEGRATED_REASON_MAX]);

/* After INTEGRATED_DONE: who it is, as the system tells it. Kerberos: realm and principal; NTLM:
 * NetBIOS domain and account. Neither holds a backslash; the domain holds no '@'. */
const char *integrated_domain(const struct integrated_context *c);
const char *integrated_account(const struct integrated_context *c);

/* After INTEGRATED_DONE: whether this context can protect messages (Kerberos can). */
bool integrated_can_wrap(const struct integrated_context *c);
/* Integrity without confidentiality, as RFC 4752 section 3.1 wants it. */
bool integrated_wrap(struct integrated_context *c, struct span in, struct buf *out);
/* False: it was not made by the client of this context. */
bool integrated_unwrap(struct integrated_context *c, struct span in, struct buf *out);

void integrated_end(struct integrated_context **c);

#endif
