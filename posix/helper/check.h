/* check.h - one question answered, in a process of its own: PAM modules are not made for threads,
 * may hang and may crash. Owner: the forked child. Blocks. Failure: a result, never an error. */
#ifndef POSTERN_HELPER_CHECK_H
#define POSTERN_HELPER_CHECK_H

#include "base/account_protocol.h"
#include "platform/local_account.h"

enum { CHECK_SETTING_MAX = 384 }; /* CRYPT_OUTPUT_SIZE of libcrypt */

struct check_options {
    const char *pam_directory; /* NULL: the system's */
    const char *decoy;         /* a crypt(3) setting as most accounts have it */
};

/* VERIFY and MEMBER. Wipes its copies of the password, not q's. */
enum local_account_result check_answer(const struct check_options *options,
                                       const struct account_question *q,
                                       char text[LOCAL_ACCOUNT_TEXT_MAX]);

#endif
