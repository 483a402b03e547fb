/* gss_token.h - what the first token of an integrated login is. PURE.
 * .NET sends SPNEGO or raw NTLM under the name GSSAPI, others raw Kerberos; only the token tells.
 * No more is read than the names of the mechanisms: what stands behind them is for the system.
 * Sources: RFC 2743 section 3.1 (the frame), RFC 4178 section 4.2.1 (NegTokenInit), RFC 4121
 * section 4.1, MS-NLMP section 2.2.1 (the signature). */
#ifndef POSTERN_AUTH_GSS_TOKEN_H
#define POSTERN_AUTH_GSS_TOKEN_H

#include "base/span.h"

enum gss_token_kind {
    GSS_TOKEN_NONE,     /* none of these, or malformed */
    GSS_TOKEN_KERBEROS, /* [APPLICATION 0] with the OID of Kerberos */
    GSS_TOKEN_SPNEGO,   /* [APPLICATION 0] with the OID of SPNEGO and a well-formed list */
    GSS_TOKEN_NTLM,     /* "NTLMSSP" NUL and message type 1 */
};

struct gss_token {
    enum gss_token_kind kind;
    bool kerberos; /* SPNEGO: the list holds Kerberos (or the misspelt OID that Windows has) */
    bool ntlm;     /* SPNEGO: the list holds NTLM */
    /* SPNEGO: the first of the list, for which its optimistic token is */
    bool kerberos_first, ntlm_first;
};

struct gss_token gss_token_look(struct span token);

/* What a later token of SPNEGO carries: the responseToken of a NegTokenResp (RFC 4178 section
 * 4.2.2); a token that is no NegTokenResp as it is. Empty where there is none. */
struct span gss_token_response(struct span token);

#endif
