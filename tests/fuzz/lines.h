/* lines.h - for fuzzers whose input is lines of text, and what must hold in all of them. */
#ifndef POSTERN_FUZZ_LINES_H
#define POSTERN_FUZZ_LINES_H

#include "base/span.h"

#include <stdlib.h>

static inline void check(bool holds)
{
    if (!holds)
        abort();
}

/* Without its line feed; the last line needs none. */
static inline struct span next_line(struct span *rest)
{
    size_t end = span_find(*rest, '\n');
    struct span line = span_sub(*rest, 0, end);
    *rest = span_from(*rest, end + 1);
    return line;
}

#endif
