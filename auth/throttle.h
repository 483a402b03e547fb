/* throttle.h - what a wrong password costs. PURE: time comes in, a verdict goes out.
 * Owner: auth.c, which guards it with its mutex; the table itself has no lock.
 *
 * Three counters, all forgetting with time:
 *  - the peer (the address; for IPv6 its /64): the first `free_failures` wrong passwords cost the
 *    fixed delay, then the delay doubles up to its cap, and from `refuse_after` on the peer is
 *    refused outright (454) for a while that doubles too;
 *  - the account: adds delay to wrong passwords, bounded by account_delay_max_ms; it never refuses,
 *    so nobody can lock somebody else out;
 *  - the pair of both: a pair that has succeeded lately is not refused because of its peer's other
 *    accounts (many devices behind one address). The same wrong password said again costs its
 *    delay, but it is no new guess and leads to no refusal (a device that still has last year's).
 * Accounts of domains that lock have a counter of another kind besides: lockout.h.
 * Syntax and mechanism errors are no guesses and never come here.
 * Memory: a fixed number of entries, the longest unused goes first. */
#ifndef POSTERN_AUTH_THROTTLE_H
#define POSTERN_AUTH_THROTTLE_H

#include "base/err.h"
#include "base/span.h"

/* 0 in any field = the default behind it. */
struct throttle_options {
    uint32_t delay_ms;             /* 1000: of each wrong password */
    uint32_t delay_max_ms;         /* 30000: cap of the peer's doubled delay */
    uint32_t account_delay_max_ms; /* 5000: cap of what the account adds */
    uint32_t free_failures;        /* 3: that cost the fixed delay only */
    uint32_t refuse_after;         /* 10: failures of a peer before it is refused outright */
    uint32_t refuse_ms;            /* 60000: the first refusal lasts so long */
    uint32_t refuse_max_ms;        /* 3600000: and no longer than this */
    uint32_t decay_ms;             /* 600000: one failure is forgotten each */
    uint32_t entries;              /* 16384: of all kinds together */
};

struct throttle;

struct throttle_verdict {
    bool refuse;         /* answer 454 without checking anything */
    uint32_t delay_ms;   /* before the reply */
    uint32_t guesses;    /* of the peer, with this one */
    uint32_t refused_ms; /* with this one the peer is refused for so long; 0 = it is not */
};

/* A peer and an account are any bytes; they are known by keyed hashes, and their beginnings are
 * kept to be shown. key: 16 random bytes. */
bool throttle_new(const struct throttle_options *options, const uint8_t key[16],
                  struct throttle **t, struct err *e);
void throttle_set_options(struct throttle *t, const struct throttle_options *options);
void throttle_free(struct throttle **t);

uint32_t throttle_delay_ms(const struct throttle *t); /* of one wrong password */

/* Before a password is checked. Changes nothing. */
struct throttle_verdict throttle_check(struct throttle *t, struct span peer, struct span account,
                                       int64_t now_ms);
/* After a wrong one. fingerprint: a keyed hash of the password, 0 where it is not known (SCRAM).
 * The verdict's delay is for this reply. */
struct throttle_verdict throttle_failed(struct throttle *t, struct span peer, struct span account,
                                        uint64_t fingerprint, int64_t now_ms);
enum { THROTTLE_WHO_MAX = 63 };

/* What is counted of one peer or one account. */
struct throttle_count {
    bool peer;           /* else an account */
    struct span who;     /* the first THROTTLE_WHO_MAX bytes of it; the table's */
    uint32_t failures;   /* wrong passwords that are not forgotten yet */
    uint32_t guesses;    /* of them without the repetitions of one password */
    uint32_t refused_ms; /* a peer that is refused: for so long yet */
};
/* The newest first; each returns false to end it. */
void throttle_each(struct throttle *t, int64_t now_ms,
                   bool (*each)(void *context, const struct throttle_count *count), void *context);

/* After a right one: forgets the pair's failures, takes one from the peer's and the account's. */
void throttle_succeeded(struct throttle *t, struct span peer, struct span account, int64_t now_ms);

#endif
