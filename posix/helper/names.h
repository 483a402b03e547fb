/* names.h - accounts and groups as the name service knows them. Threads: none; blocks. */
#ifndef POSTERN_HELPER_NAMES_H
#define POSTERN_HELPER_NAMES_H

#include "base/account_protocol.h"
#include "platform/local_account.h"

enum { NAMES_BYTES_MAX = 2 * ACCOUNT_NAME_MAX + 2 };

/* How PAM and the name service call it: the form has {user} once, where the name goes; an empty
 * form is the name alone. */
bool names_join(struct span form, struct span name, char *out, size_t size);

/* Whether both are names of one account. */
bool names_same(const char *a, const char *b);

/* OK, or the refusal of who never logs in here: uid 0, the guest. */
enum local_account_result names_refused(const char *name, struct span account,
                                        char text[LOCAL_ACCOUNT_TEXT_MAX]);

/* Whether it is there, and in one of the groups where there are some. */
enum local_account_result names_member(const char *name, const struct account_question *q,
                                       char text[LOCAL_ACCOUNT_TEXT_MAX]);

#endif
