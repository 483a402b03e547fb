/* values.h - the forms in which the metabase writes values. Inside import only. */
#ifndef POSTERN_IMPORT_VALUES_H
#define POSTERN_IMPORT_VALUES_H

#include "base/arena.h"

/* "600", "-1" (as the 32 bits that it is), "0x40", "TRUE", "FALSE"; spaces around it. */
bool iis_number(const char *text, uint32_t *value);

/* "AuthBasic | AuthAnonymous", by these names in any case, or a number. */
struct iis_flag {
    const char *name;
    uint32_t bit;
};
bool iis_flags(const char *text, const struct iis_flag *flags, size_t n, uint32_t *value);

/* Several texts in one value, with line ends between them; an attribute has blanks instead. Takes
 * the next one off; false at the end. */
bool iis_next(struct span *rest, struct span *item);

/* A host name (base/host_name.h), also with `*.` in front. */
bool iis_domain(struct span s);
/* user@domain, in the characters that the configuration takes. */
bool iis_mailbox(struct span s);

/* Lower case, trimmed, without a dot at the end. NULL: no memory. */
char *iis_lower(struct arena *a, const char *text);

/* A copy to show: at most max bytes, control characters and what ends a line made harmless.
 * ascii: everything beyond ASCII too. NULL: no memory. */
char *iis_shown(struct arena *a, const char *text, size_t max, bool ascii);

#endif
