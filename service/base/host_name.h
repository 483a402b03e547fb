/* host_name.h - host names of ASCII letters, as DNS has them. PURE. Threads: any. */
#ifndef POSTERN_BASE_HOST_NAME_H
#define POSTERN_BASE_HOST_NAME_H

#include "base/span.h"

/* Labels of letters in any case, digits, `-` and `_` between dots, 63 bytes each, 253 in all, no
 * dot at the end; RFC 1035 2.3.1, and `_`, which Windows has in names. */
bool host_name_ok(struct span name);

/* Its last label is of digits: an address, or one that went wrong; no top-level domain is like that
 * (RFC 3696 2). */
bool host_name_looks_numeric(struct span name);

#endif
