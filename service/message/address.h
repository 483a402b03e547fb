/* address.h - the addresses of a From, To, Cc or Bcc field, one after the other.
 *
 * Owner: the caller's struct over the caller's text. Threads: none. Failure: an element that is no
 * address is ADDRESS_BAD and the scan goes on behind its comma. Source: RFC 5322 3.4 and its
 * obsolete forms 4.4 (routes, empty elements), groups included; display names, comments and encoded
 * words are skipped. Text must be unfolded. */
#ifndef POSTERN_MESSAGE_ADDRESS_H
#define POSTERN_MESSAGE_ADDRESS_H

#include "base/buf.h"
#include "base/span.h"

enum {
    ADDRESS_TEXT_MAX = 998, /* what an address may hold at most; longer is bad */
    ADDRESS_COMMENT_DEPTH_MAX = 32,
};

enum address_result {
    ADDRESS_END, /* nothing more */
    ADDRESS_OK,
    ADDRESS_BAD, /* an element that holds no address, or a broken one */
};

struct address_scan {
    struct span text;
    size_t at;
    bool in_group;
};

void address_scan_init(struct address_scan *s, struct span text);

/* On ADDRESS_OK out holds local-part@domain without white space and comments, a quoted local part
 * as it was quoted; or the local part alone where no domain stood (the caller qualifies it).
 * out is emptied first. */
enum address_result address_next(struct address_scan *s, struct buf *out);

#endif
