/* lockout.h - how often a domain may be asked about an account, so that we never lock it there.
 * PURE: time comes in, a verdict goes out.
 * Owner: auth.c, which guards it with its mutex; the table itself has no lock.
 *
 * A domain counts wrong passwords of an account and locks it at its threshold; it forgets them when
 * none came for a while (Active Directory: "Reset account lockout counter after") or when a right
 * one comes. We count what we have asked it in vain in the same way, and stop in time:
 *  - wrong passwords of one account, from whatever address, may reach the domain `below` times
 *    within `window_ms` of the last one. Attempts under way count as if they had failed: nobody
 * gets more by trying at once, the next ones wait for the answer;
 *  - a password that was refused is remembered: the same again is refused from memory and not asked
 *    about. As somebody may have made it right meanwhile it is asked about again after
 *    LOCKOUT_WRONG_MS, but never with the last try that is left for others;
 *  - a password that was right within LOCKOUT_PROVED_MS may be asked about when others may not (the
 *    last of the `below` tries is kept for it): a right password does the domain no harm, so
 * whoever guesses cannot shut the account's own devices out. One that was right within
 * LOCKOUT_FRESH_MS waits for nobody. Passwords are known by keyed fingerprints only. Memory: a
 * fixed number of accounts, the longest unused goes first; whoever can name so many accounts within
 * the window makes us forget. */
#ifndef POSTERN_AUTH_LOCKOUT_H
#define POSTERN_AUTH_LOCKOUT_H

#include "auth/keyed_hash.h"
#include "base/err.h"

enum {
    LOCKOUT_FRESH_MS = 60 * 1000,
    LOCKOUT_WRONG_MS = 5 * 60 * 1000,
    LOCKOUT_PROVED_MS = 24 * 3600 * 1000,
};

struct lockout_limits {
    uint32_t below;     /* at least 1 */
    uint32_t window_ms; /* not below the domain's own */
};

enum lockout_verdict {
    LOCKOUT_ASK,         /* ask the domain, then tell */
    LOCKOUT_WAIT,        /* others are being asked about: ask here again when one has told */
    LOCKOUT_KNOWN_WRONG, /* refuse it: the domain has refused it lately */
    LOCKOUT_HELD_BACK,   /* it may be right: answer "later" */
};

enum lockout_answer {
    LOCKOUT_RIGHT,
    LOCKOUT_WRONG,
    /* the same where the fingerprint is not of the password, but of where its proof came from (NTLM
     * shows no password): it is no longer proved, and nothing is known to be wrong */
    LOCKOUT_WRONG_PROOF,
    LOCKOUT_NO_ANSWER, /* the domain did not say */
};

struct lockout;

bool lockout_new(uint32_t accounts, const uint8_t key[KEYED_HASH_KEY], struct lockout **t,
                 struct err *e);
void lockout_free(struct lockout **t);

/* account: its canonical name. fingerprint: a keyed hash of the password; 0 = not known. */
enum lockout_verdict lockout_ask(struct lockout *t, struct span account, uint64_t fingerprint,
                                 const struct lockout_limits *limits, int64_t now_ms);
/* After LOCKOUT_ASK, once. True when with this answer the account begins to be held back. */
bool lockout_tell(struct lockout *t, struct span account, uint64_t fingerprint,
                  enum lockout_answer answer, const struct lockout_limits *limits, int64_t now_ms);

enum { LOCKOUT_WHO_MAX = 63 };

struct lockout_count {
    struct span account; /* the first LOCKOUT_WHO_MAX bytes of it; the table's */
    uint32_t wrong;      /* passwords that its domain remembers */
    uint32_t held_ms;    /* it is held back for so long yet; 0 = it is not */
};
/* The newest first; each returns false to end it. */
void lockout_each(const struct lockout *t, int64_t now_ms,
                  bool (*each)(void *context, const struct lockout_count *count), void *context);

/* How many accounts are held back now. */
size_t lockout_held_back(const struct lockout *t, int64_t now_ms);

#endif
