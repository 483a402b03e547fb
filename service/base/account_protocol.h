/* account_protocol.h - what the service and the account helper say to each other: one question and
 * one answer on a stream. PURE, and both sides parse with it; neither trusts the other's lengths.
 *
 *     question = version(1) act(1) length(2) body
 *     body     = deadline_ms(4) service domain account password count(1) *group
 *     domain   = how accounts and groups of a domain are called, with {user} where the name goes
 *                ("CORP\{user}"); empty: names of this machine
 *     answer   = version(1) result(1) length(2) text
 *
 * Numbers are big-endian, each string is length(2) and its bytes, the body ends with its last
 * string. result is enum local_account_result of platform/local_account.h, as a number; text is
 * for the log. READY's text is the reason, a NUL and the cure. */
#ifndef POSTERN_BASE_ACCOUNT_PROTOCOL_H
#define POSTERN_BASE_ACCOUNT_PROTOCOL_H

#include "base/span.h"

enum account_act { ACCOUNT_VERIFY = 1, ACCOUNT_MEMBER = 2, ACCOUNT_READY = 3 };

enum {
    ACCOUNT_PROTOCOL_VERSION = 1,
    ACCOUNT_HEAD_SIZE = 4,
    ACCOUNT_SERVICE_MAX = 64,
    ACCOUNT_NAME_MAX = 255, /* of an account, a domain, a group */
    ACCOUNT_PASSWORD_MAX = 1024,
    ACCOUNT_GROUPS_MAX = 64,
    ACCOUNT_QUESTION_MAX = ACCOUNT_HEAD_SIZE + 4 + 2 + ACCOUNT_SERVICE_MAX +
                           2 * (2 + ACCOUNT_NAME_MAX) + 2 + ACCOUNT_PASSWORD_MAX + 1 +
                           ACCOUNT_GROUPS_MAX * (2 + ACCOUNT_NAME_MAX),
    ACCOUNT_TEXT_MAX = 400,
    ACCOUNT_ANSWER_MAX = ACCOUNT_HEAD_SIZE + ACCOUNT_TEXT_MAX,
};

struct account_question {
    enum account_act act;
    uint32_t deadline_ms;
    struct span service, domain, account, password;
    struct span groups[ACCOUNT_GROUPS_MAX];
    size_t group_count;
};

struct account_answer {
    uint8_t result;
    struct span text;
};

/* Checks what parse checks, so that nothing is sent that would be refused. Returns the bytes used,
 * 0 when it is malformed or does not fit. out holds a secret: wipe it. */
size_t account_question_format(const struct account_question *q, uint8_t *out, size_t size);

enum account_parsed { ACCOUNT_PARSED_WHOLE, ACCOUNT_PARSED_MORE, ACCOUNT_PARSED_WRONG };

/* The first message in `in`. MORE: it is right so far and not all there; what follows a whole one
 * is WRONG, since there is one question and one answer. The spans point into `in`.
 * Strings hold no NUL; the service is [A-Za-z0-9_-] and inner dots; VERIFY and MEMBER have an
 * account, VERIFY alone a password, READY neither. */
enum account_parsed account_question_parse(struct span in, struct account_question *q);

size_t account_answer_format(const struct account_answer *a, uint8_t *out, size_t size);
/* results: how many there are; a number beyond is WRONG. The text may hold one NUL. */
enum account_parsed account_answer_parse(struct span in, uint8_t results, struct account_answer *a);

#endif
