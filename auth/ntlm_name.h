/* ntlm_name.h - whom the last message of an NTLM login is about. PURE.
 * A hint and no more: for the log, which would else not say who was refused, and for counting an
 * account's wrong passwords before its domain does (lockout.h). Who it really is only the domain
 * says, so nothing else of the message is read, and whoever writes another name here is refused
 * under that name.
 * Sources: MS-NLMP section 2.2.1.3 (AUTHENTICATE_MESSAGE), RFC 4178 section 4.2.2 (NegTokenResp).
 */
#ifndef POSTERN_AUTH_NTLM_NAME_H
#define POSTERN_AUTH_NTLM_NAME_H

#include "base/span.h"

enum { NTLM_NAME_MAX = 256 };

struct ntlm_name {
    char domain[NTLM_NAME_MAX];  /* "" where the client gives none */
    char account[NTLM_NAME_MAX]; /* never "" */
};

/* token: the message, or SPNEGO around it. False: another message, or a name that cannot be one. */
bool ntlm_name_look(struct span token, struct ntlm_name *out);

#endif
