/* from.h - another address in From:, with the name of who wrote it. PURE.
 * Owner: the caller. Failure: a value that cannot be read loses its name; false only when out is
 * full. Source: RFC 5322 3.4 (name-addr, group), 2.2.3 (folding), 4.4 (the name as a comment). */
#ifndef POSTERN_MESSAGE_FROM_H
#define POSTERN_MESSAGE_FROM_H

#include "base/buf.h"
#include "base/span.h"

enum { FROM_VALUE_MAX = 8 * 1024, FROM_NAME_MAX = 800 };

/* The line "From: NAME <address>" with CRLF, folded. value: that of the message's From: fields,
 * unfolded, with commas between them; empty where there is none. The name is that of the first
 * mailbox; a longer one than FROM_NAME_MAX is left out. */
bool from_line(struct buf *out, struct span value, struct span address);

#endif
