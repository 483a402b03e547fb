/* directory_answer.h - what a directory's refusal of a bind says about the account. PURE: a table.
 * Active Directory (and Samba) answer each with 49 and put the Windows code into the text:
 * "80090308: LdapErr: DSID-..., comment: AcceptSecurityContext error, data 52e, v4563".
 * Sources: RFC 4511 appendix A; MS-ERREF 2.2 for the numbers. */
#ifndef POSTERN_AUTH_DIRECTORY_ANSWER_H
#define POSTERN_AUTH_DIRECTORY_ANSWER_H

#include "auth/backend.h"

/* code: not success. text: the server's diagnostic message. */
enum backend_result directory_answer(int code, const char *text, char reason[BACKEND_REASON_MAX]);

#endif
