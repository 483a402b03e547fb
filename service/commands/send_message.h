/* send_message.h - the message that `postern send` sends: a file as it is, or a short text. */
#ifndef POSTERN_COMMANDS_SEND_MESSAGE_H
#define POSTERN_COMMANDS_SEND_MESSAGE_H

#include "base/buf.h"

struct send_text {
    const char *to, *from, *subject, *body, *file, *hostname; /* subject, body, file may be NULL */
};

/* Initialises out and fills it; returns an exit code, the reason is said on stderr. */
int send_message_make(const struct send_text *text, struct buf *out);

#endif
