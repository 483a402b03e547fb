/* span.h - borrowed bytes: a pointer and a length. Whoever hands one out owns the bytes and says
 * for how long they stay. A span is never NUL-terminated by promise; { NULL, 0 } is the empty one.
 */
#ifndef POSTERN_BASE_SPAN_H
#define POSTERN_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const uint8_t *p;
    size_t n;
};

/* For printf's "%.*s". */
#define SPAN_ARG(s) (int)(s).n, (const char *)(s).p

struct span span_of(const void *p, size_t n);
struct span span_str(const char *text); /* NULL gives the empty span */

/* The bytes from `from` on, at most n of them; both are clipped to the span. */
struct span span_sub(struct span s, size_t from, size_t n);
struct span span_from(struct span s, size_t from);

bool span_equal(struct span a, struct span b);
/* ASCII letters without case, all other bytes exactly; no locale. */
bool span_equal_nocase(struct span a, struct span b);
bool span_is(struct span s, const char *text);
bool span_is_nocase(struct span s, const char *text);
bool span_starts_nocase(struct span s, const char *text);
bool span_ends_nocase(struct span s, const char *text);

/* Index of the byte, or s.n when it is not there. */
size_t span_find(struct span s, uint8_t byte);
size_t span_rfind(struct span s, uint8_t byte);
struct span span_trim(struct span s); /* spaces and tabs at both ends */

/* Decimal digits only, no sign, no space; false when empty, not digits, or over max. */
bool span_u64(struct span s, uint64_t max, uint64_t *value);

/* Copies with a NUL at the end; false (and an empty string) when it does not fit or holds a NUL. */
bool span_cstr(struct span s, char *out, size_t size);

/* ASCII only, no locale. */
uint8_t ascii_lower(uint8_t c);
void ascii_lower_str(char *text);

#endif
