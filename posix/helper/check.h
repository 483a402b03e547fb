/* check.h - one question answered, in a process of its own: PAM modules are not made for threads,
 * may hang and may crash. Owner: the forked child. Blocks. Failure: a result, never an error. */
#ifndef POSTERN_HELPER_CHECK_H
#define POSTERN_HELPER_CHECK_H

#include "base/account_protocol.h"
#include "platform/local_account.h"

enum { CHECK_HASHES_MAX = 4 };

struct check_options {
    const char *pam_directory; /* NULL: the system's */
    const char *decoy;         /* a crypt(3) setting as most accounts have it */
    unsigned decoy_hashes;     /* how many such hashes a wrong password costs */
    bool count;                /* find that number out, where it can be */
};

/* VERIFY and MEMBER. Wipes its copies of the password, not q's. *hashes: how many hashes PAM
 * computed for a right password of an account with the decoy's method; 0: not counted. */
enum local_account_result check_answer(const struct check_options *options,
                                       const struct account_question *q, unsigned *hashes,
                                       char text[LOCAL_ACCOUNT_TEXT_MAX]);

#endif
