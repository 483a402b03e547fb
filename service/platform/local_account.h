/* local_account.h - the accounts of this machine, and those of the domain that it is joined to:
 * PAM through a small privileged helper here, LogonUserW on Windows.
 * Owner: auth/backend_system.c holds a struct local_accounts for each domain of kind system; the
 * helper that we start ourselves belongs to the process (run.c).
 * Threads: verify, member and ready on any, many at once; they block, at most the deadline.
 * Failure: the result enum; `text` is a line for the log without a secret. Whatever keeps the
 * system from answering (no helper, a helper that died or is late) is LOCAL_ACCOUNT_UNAVAILABLE. */
#ifndef POSTERN_PLATFORM_LOCAL_ACCOUNT_H
#define POSTERN_PLATFORM_LOCAL_ACCOUNT_H

#include "base/err.h"
#include "base/span.h"

enum local_account_result {
    LOCAL_ACCOUNT_OK,
    LOCAL_ACCOUNT_BAD_PASSWORD,
    LOCAL_ACCOUNT_NO_ACCOUNT,
    LOCAL_ACCOUNT_DISABLED,   /* expired, locked, must change, outside its hours; text says which */
    LOCAL_ACCOUNT_GUEST,      /* the system's guest; refused whatever the password */
    LOCAL_ACCOUNT_NOT_MEMBER, /* right, but in none of the groups */
    LOCAL_ACCOUNT_BUSY,       /* this account was asked about too often; nothing was checked */
    LOCAL_ACCOUNT_UNAVAILABLE,
};
enum { LOCAL_ACCOUNT_RESULTS = LOCAL_ACCOUNT_UNAVAILABLE + 1, LOCAL_ACCOUNT_TEXT_MAX = 160 };

struct local_accounts_options {
    const char *service; /* the PAM service; not used on Windows */
    const char *name;   /* how accounts and groups of a domain are called, with {domain} and {user};
                           "" or NULL: {domain}\{user}; not used on Windows */
    const char *helper; /* the socket of a helper that others start; "" = the one of our own */
    uint32_t deadline_ms; /* of one question, in all */
};

/* Whose account, and in which groups it must be: names of groups of the same domain. */
struct local_account_question {
    const char *domain; /* NULL or "": this machine; else a domain that it is joined to */
    const char *account;
    const char *const *groups; /* in one of them; none: no demand */
    size_t group_count;
};

struct local_accounts;

bool local_accounts_open(const struct local_accounts_options *options, struct local_accounts **l,
                         struct err *e); /* copies; asks nobody */
void local_accounts_close(struct local_accounts **l);

/* The password, and whether the account may log in now. An unknown or a locked account costs a hash
 * as well, which is not yet the time of a wrong password (docs/decisions/0050-account-helper.md).
 */
enum local_account_result local_accounts_verify(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                struct span password,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX]);

/* Of an account that has proved itself otherwise: OK, NO_ACCOUNT, NOT_MEMBER, GUEST, UNAVAILABLE.
 */
enum local_account_result local_accounts_member(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX]);

/* Whether it can answer at all; if not, why and what an administrator can do. */
bool local_accounts_ready(struct local_accounts *l, char reason[LOCAL_ACCOUNT_TEXT_MAX],
                          char cure[LOCAL_ACCOUNT_TEXT_MAX]);

/* The helper of our own, one a process: started with the rights that we have now, so before they
 * are given up, and before other threads are made. Without this call it is started by the first
 * question, with the rights of that time; one that died is started again where that loses nothing.
 * program: NULL = postern-accounts beside this program, else where it is installed. user: who will
 * ask once the rights are given up; "" = nobody else. Does nothing on Windows. */
bool local_account_helper_start(const char *program, const char *user, struct err *e);
void local_account_helper_stop(void); /* ends it and waits; harmless without one */

#endif
