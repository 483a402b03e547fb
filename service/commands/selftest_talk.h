/* selftest_talk.h - one SMTP session as a conversation that waits: say, hear, turn TLS on. Over the
 * same connections and TLS code as deliveries, driven by a loop of its own on this thread.
 * Owner: the caller's struct, from talk_open to talk_close. Threads: one. Failure: a session that
 * ended or never came to be says TALK_CLOSED to everything, and why. */
#ifndef POSTERN_COMMANDS_SELFTEST_TALK_H
#define POSTERN_COMMANDS_SELFTEST_TALK_H

#include "base/buf.h"
#include "net/conn.h"

enum { TALK_WAIT_MS = 15000 };

struct talk {
    struct worker *worker; /* borrowed */
    struct conn *conn;     /* NULL: closed */
    struct buf in;
    bool connected, late, tls_ended, tls_ok, verified;
    char tls_version[16];
    char why[256]; /* what closed it, or what TLS has to say */
};

enum talk_result { TALK_REPLY, TALK_SILENT, TALK_CLOSED };

/* local: the address to come from; NULL: any. */
bool talk_open(struct talk *t, struct worker *w, const struct sock_address *to,
               const struct sock_address *local);
void talk_close(struct talk *t); /* at once: a message that is not ended is not accepted */

void talk_say(struct talk *t, struct span bytes);
void talk_say_line(struct talk *t, const char *format, ...) PRINTF_LIKE(2, 3);

/* One whole reply: its code, its text (lines by LF) when wanted. */
enum talk_result talk_hear(struct talk *t, uint64_t wait_ms, int *code, struct buf *text);
/* The code of the next reply; 0 when none came. */
int talk_code(struct talk *t);

/* Whatever comes first, unread before: at least n bytes. */
enum talk_result talk_bytes(struct talk *t, uint64_t wait_ms, size_t n);

/* The handshake. host: the name to check the certificate for, which ends nothing. */
bool talk_tls(struct talk *t, struct tls_context *trust, const char *host);

#endif
