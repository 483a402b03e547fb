/* buf.h - a growable byte buffer that is born with a maximum.
 * Owner: the struct that holds it. Failure: an add past the maximum or without memory adds nothing,
 * sets `failed` (sticky until buf_reset) and returns false; so a writer may add many times and
 * look once at the end. */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include "base/compiler.h"
#include "base/span.h"

struct buf {
    uint8_t *p;
    size_t n;     /* bytes in use, from p + start */
    size_t start; /* bytes already consumed at the front */
    size_t cap;
    size_t max;
    bool failed;
};

void buf_init(struct buf *b, size_t max); /* allocates nothing */
void buf_deinit(struct buf *b);           /* wipes nothing; for secrets use struct secret */

bool buf_add(struct buf *b, struct span s);
bool buf_add_str(struct buf *b, const char *text);
bool buf_add_byte(struct buf *b, uint8_t byte);
bool buf_addf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Room for n more bytes to be written by the caller; NULL as for a failed add. Then buf_grew. */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_grew(struct buf *b, size_t n);

struct span buf_span(const struct buf *b); /* valid until the next add or consume */
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front */
void buf_reset(struct buf *b);             /* empties, keeps the memory */
void buf_release(struct buf *b);           /* empties and gives the memory back; max stays */
const char *buf_cstr(struct buf *b);       /* the content with a NUL behind it; "" when failed */

#endif
