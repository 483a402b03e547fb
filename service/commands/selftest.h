/* selftest.h - what the parts of `postern selftest` share: the peer, the names, the report.
 * No message is ever completed: recipients are offered and taken back, and what is written after
 * DATA never ends. */
#ifndef POSTERN_COMMANDS_SELFTEST_H
#define POSTERN_COMMANDS_SELFTEST_H

#include "commands/commands.h"
#include "commands/selftest_talk.h"

#include <jansson.h>

enum selftest_outcome { SELFTEST_OK, SELFTEST_FAILED, SELFTEST_SKIPPED, SELFTEST_NOTE };
enum { SELFTEST_OUTCOMES = 4 };

struct selftest {
    const struct policy *policy; /* NULL: --server, and nothing is known of it */
    const struct policy_listener *listener;
    struct worker *worker;
    struct tls_context *trust;
    struct sock_address to, local;
    struct span name; /* of --server, while its address is not known */
    bool has_local;
    char address[SOCK_ADDRESS_TEXT_MAX]; /* of the listener, for the report */
    char ip[NETADDR_TEXT_MAX];           /* the server's */
    char host[256], domain[256];         /* its name; a local domain, "" = none known */
    bool implicit_tls, must_secure;      /* TLS from the start; STARTTLS before MAIL */
    bool verbose;
    json_t *lines;
    size_t counts[SELFTEST_OUTCOMES];
};

void selftest_say(struct selftest *s, enum selftest_outcome outcome, const char *test,
                  const char *format, ...) PRINTF_LIKE(4, 5);

/* A session up to a good EHLO, under TLS where it has to be. ehlo (may be NULL) gets its reply. On
 * false the talk is closed, and *code is the refusing greeting (0: none came). */
bool selftest_begin(struct selftest *s, struct talk *t, struct buf *ehlo, int *code);

void selftest_relay(struct selftest *s);
void selftest_smuggling(struct selftest *s);
void selftest_tls(struct selftest *s);

/* What to add to a refusal for now: "" for other codes. */
const char *selftest_limited(int code);

#endif
