/* kerberos_codes.h - inside posix/: what an error of MIT Kerberos says about an account. PURE: a
 * table. Two stages, since the same code says different things in them: while the account asks for
 * its credentials a bad integrity is a bad password; while the KDC proves itself it is a false KDC,
 * and never the account's fault. */
#ifndef POSTERN_POSIX_KERBEROS_CODES_H
#define POSTERN_POSIX_KERBEROS_CODES_H

#include "platform/kerberos_account.h"

enum kerberos_stage { KERBEROS_STAGE_ACCOUNT, KERBEROS_STAGE_PROOF };

/* reason: NULL where the table does not know the code; the answer is then KERBEROS_NO_ANSWER. */
enum kerberos_answer kerberos_code_answer(enum kerberos_stage stage, int32_t code,
                                          const char **reason);

#endif
