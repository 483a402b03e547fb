/* text.h - other people's words made fit to stand in a header that we write.
 * Owner: the caller's buffer. Threads: none. Failure: false when the buffer is full. */
#ifndef POSTERN_MESSAGE_TEXT_H
#define POSTERN_MESSAGE_TEXT_H

#include "base/buf.h"
#include "base/span.h"

bool text_is_ascii(struct span s);
bool text_is_utf8(struct span s); /* RFC 3629: no overlong forms, no surrogates */

/* At most max bytes of s; what is not printable ASCII, or stands in forbidden, becomes '?'. With
 * utf8 the whole characters of valid UTF-8 are kept, C1 controls excepted. */
bool text_add_clean(struct buf *out, struct span s, size_t max, bool utf8, const char *forbidden);

/* The words of s, cleaned, broken at spaces into lines of about 76; the text begins in the given
 * column, each further line with `indent`. Words longer than a line are cut at 900 bytes. */
bool text_add_wrapped(struct buf *out, struct span s, size_t column, const char *indent, bool utf8);

/* RFC 3461 4: "+41" -> 'A'. False for what is no xtext; out may then hold a part. */
bool text_xtext_decode(struct span s, struct buf *out);

/* RFC 6533 3, utf-8-addr-xtext: '+', '=', '\' and everything over 127 becomes \x{HEX}. */
bool text_add_utf8_xtext(struct buf *out, struct span s);
/* The way back, to UTF-8; what is no such escape stays as it is. */
bool text_utf8_xtext_decode(struct span s, struct buf *out);

/* The character at s.p[0] as a code point and its length; 0 for what is no UTF-8. */
size_t text_utf8_next(struct span s, uint32_t *code);

#endif
