/* base64.h - RFC 4648 section 4, the strict form that SASL wants (RFC 4954: no line breaks, no
 * foreign bytes, padding complete, unused bits zero). */
#ifndef POSTERN_BASE_BASE64_H
#define POSTERN_BASE_BASE64_H

#include "base/buf.h"

bool base64_encode(struct span in, struct buf *out);

/* False for anything but canonical base64, or when out is full; out may then hold a part. */
bool base64_decode(struct span in, struct buf *out);

#endif
