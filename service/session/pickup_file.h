/* pickup_file.h - one Pickup file as an envelope and a stream of message bytes.
 * The front of the file may hold `x-sender: ADDRESS` and `x-receiver: ADDRESS` lines, as IIS takes
 * them; without any x-receiver the recipients are those of To, Cc and Bcc, and without x-sender the
 * sender is the first address of From. Bcc fields are left out of the message. Line ends become
 * CRLF.
 * Owner: the caller's heap. Threads: one at a time; all calls block (file lane). Failure: ERR_PERM
 * = this is no mail that can be sent, with the reason; ERR_TEMP = try again. */
#ifndef POSTERN_SESSION_PICKUP_FILE_H
#define POSTERN_SESSION_PICKUP_FILE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "message/header.h"
#include "platform/files.h"

enum { PICKUP_RECIPIENTS_MAX = 10000 };

struct pickup_file {
    struct file_reader reader;
    struct arena arena;
    struct span sender; /* "" = the null sender */
    struct span *recipients;
    size_t recipient_count, recipient_cap;
    bool ended;
    /* its own */
    struct buf raw; /* read ahead, not yet given out */
    struct header_filter filter;
    bool cr; /* the last byte given on was a CR */
};

bool pickup_file_open(struct pickup_file *f, const char *path, struct err *e);
/* Appends the next piece to out; f->ended after the last. */
bool pickup_file_next(struct pickup_file *f, struct buf *out, struct err *e);
void pickup_file_close(struct pickup_file *f);

#endif
