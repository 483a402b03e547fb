/* ntlm_reply.h - what Samba's ntlm_auth says on its standard output. PURE.
 * Two protocols, told by ntlm_auth(1) and the sources of Squid, which is the other user of them:
 *   squid-2.5-ntlmssp:  TT token | AF DOMAIN\account | NA reason | BH reason
 *   gss-spnego:         TT token * | AF token DOMAIN\account | NA token reason | BH reason
 * A token is base64, or `*` for none. An account may hold spaces. */
#ifndef POSTERN_POSIX_NTLM_REPLY_H
#define POSTERN_POSIX_NTLM_REPLY_H

#include "base/span.h"

enum ntlm_reply_kind {
    NTLM_REPLY_CHALLENGE, /* TT: the client has to go on */
    NTLM_REPLY_ACCEPTED,  /* AF */
    NTLM_REPLY_GUEST,     /* AF, of somebody who proved nothing */
    NTLM_REPLY_REFUSED,   /* NA */
    NTLM_REPLY_MALFORMED, /* NA, because the client's message is none */
    NTLM_REPLY_NOBODY,    /* NA or BH: winbindd or the controller could not be asked */
    NTLM_REPLY_GARBAGE,   /* no line of this protocol: the helper is not what we think */
};

struct ntlm_reply {
    enum ntlm_reply_kind kind;
    struct span token; /* base64; CHALLENGE and ACCEPTED, may be empty */
    struct span domain, account;
    struct span reason; /* the helper's own word */
};

/* line: without its end. spnego: which of the two protocols. */
struct ntlm_reply ntlm_reply_parse(struct span line, bool spnego);

/* Splits a command line into words as integrated_options says, in place; argv gets NULL at its end.
 * False: a quote without its end, no word, or more than max - 1 words. */
bool ntlm_command_split(char *command, char **argv, size_t max, size_t *argc);

#endif
