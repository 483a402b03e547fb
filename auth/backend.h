/* backend.h - what keeps accounts: the embedded user database, the machine, a directory, a KDC.
 * Owner: auth.c opens and closes them. Threads: every call may come from any auth lane thread, many
 * at once. Calls BLOCK; a backend that reaches over a network has its own deadline and says
 * BACKEND_UNAVAILABLE when it passes.
 * Failure: the result enum; `reason` is a line for the log that holds no secret.
 * Promise: an unknown account, a wrong password and a disabled account take the same time; the
 * userdb keeps it itself, for the others the exchange does (refusal_pace.h). */
#ifndef POSTERN_AUTH_BACKEND_H
#define POSTERN_AUTH_BACKEND_H

#include "base/err.h"
#include "base/span.h"

enum backend_result {
    BACKEND_OK,
    BACKEND_BAD_PASSWORD,
    BACKEND_NO_ACCOUNT,
    BACKEND_DISABLED, /* disabled, locked, expired, outside its hours, must change its password */
    BACKEND_NOT_ALLOWED, /* right password, and in none of the groups that may */
    BACKEND_GUEST,       /* the system let a guest or anonymous in: a refusal for us */
    BACKEND_UNSUPPORTED, /* it cannot do what was asked, as handing out a verifier */
    BACKEND_BUSY,        /* it answers, but not about this account just now: 454 */
    BACKEND_UNAVAILABLE, /* it does not answer now: 454 */
};

enum { SCRAM_SALT_MAX = 32, SCRAM_SALT_SIZE = 16, SCRAM_KEY_SIZE = 32, BACKEND_REASON_MAX = 160 };

/* RFC 5802 section 3, RFC 7677: what a server keeps in place of a password. */
struct scram_verifier {
    uint32_t iterations;
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_n;
    uint8_t stored_key[SCRAM_KEY_SIZE];
    uint8_t server_key[SCRAM_KEY_SIZE];
};

#define BACKEND_REASON_NOT_LISTED "the account is not in the domain's allow list"

/* Names of groups of the backend's own domain, without the domain. */
struct backend_groups {
    const char *const *names;
    size_t count;
};

struct auth_backend;

struct backend_ops {
    const char *kind; /* "userdb", "system", ... */
    /* account: normalised by identity.h, NUL-terminated, not empty; password: not empty, no NUL.
     * groups: where there are some the account must be in one of them, else BACKEND_NOT_ALLOWED. */
    enum backend_result (*verify)(struct auth_backend *b, const char *account, struct span password,
                                  const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX]);
    /* The same question of an account that has proved itself otherwise (a Kerberos ticket, NTLM):
     * OK, NOT_ALLOWED, NO_ACCOUNT, UNAVAILABLE; NULL where it cannot be answered without a
     * password. */
    enum backend_result (*member)(struct auth_backend *b, const char *account,
                                  const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX]);
    /* Whether it works at all, asked when options are taken; quick, at most the deadline. NULL:
     * always ready. cure: what the administrator can do. */
    bool (*ready)(struct auth_backend *b, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX]);
    /* For an administrator who tries it out: whether what it asks outside answers now, by the
     * deadline; sends nobody's password. NULL: there is nothing outside. */
    bool (*reach)(struct auth_backend *b, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX]);
    /* Fills *v for every result but UNSUPPORTED and UNAVAILABLE: where there is no usable account
     * with a decoy that nobody can tell from a real one. *version changes with every change of the
     * account. */
    enum backend_result (*lookup_verifier)(struct auth_backend *b, const char *account,
                                           struct scram_verifier *v, uint64_t *version,
                                           char reason[BACKEND_REASON_MAX]);
    void (*close)(struct auth_backend *b);
};

/* What every kind is opened with: its entry of the options, whose strings it copies. */
struct auth_domain;
struct auth_options;
typedef bool backend_open(const struct auth_options *options, const struct auth_domain *domain,
                          struct auth_backend **b, struct err *e);

/* The head of each backend's own struct. */
struct auth_backend {
    const struct backend_ops *ops;
};

#endif
