/* breaker.h - when to stop asking a backend that does not answer. PURE: time comes in.
 * Closed: everybody asks. After BREAKER_FAILURES silences in a row it opens: nobody asks, so that a
 * frozen controller costs its users nothing but a 454 at once and its lane stays free. After a
 * pause that doubles up to BREAKER_PAUSE_MAX_MS one asks for all; its answer closes or opens it
 * again. Owner: backends.c, one for each backend, under that backend's lock. */
#ifndef POSTERN_AUTH_BREAKER_H
#define POSTERN_AUTH_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { BREAKER_FAILURES = 3, BREAKER_PAUSE_MS = 2000, BREAKER_PAUSE_MAX_MS = 30000 };

struct breaker { /* all zero: closed */
    unsigned failures;
    uint32_t pause_ms;
    uint64_t open_until_ms; /* 0: closed */
    bool probing;           /* one asks for all at the moment */
};

/* Whether the caller may ask; who may must tell how it went. */
bool breaker_ask(struct breaker *b, uint64_t now_ms);
/* True when it opened or closed by this, which is worth a line in the log. */
bool breaker_tell(struct breaker *b, bool answered, uint64_t now_ms);
bool breaker_is_open(const struct breaker *b);

#endif
