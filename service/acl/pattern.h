/* pattern.h - PCRE2 behind its door. Inside acl only.
 * A compiled pattern is immutable and shared by all threads; a match takes its own memory. */
#ifndef POSTERN_ACL_PATTERN_H
#define POSTERN_ACL_PATTERN_H

#include "acl/list.h"
#include "base/err.h"
#include "base/span.h"

struct acl_pattern; /* a pcre2_code */

bool acl_pattern_compile(struct span text, struct acl_pattern **pattern, struct err *e);
void acl_pattern_free(struct acl_pattern **pattern);
size_t acl_pattern_memory(const struct acl_pattern *pattern);

/* ACL_MATCH_FAILED: a match limit was hit, or there was no memory. */
enum acl_match acl_pattern_match(const struct acl_pattern *pattern, struct span name);

/* The literal domain that every match must end in: "corp.example" for `^mfp\d+\.corp\.example$`,
 * empty when the pattern binds the end of the name to nothing. Written to out as plain text. */
void acl_pattern_tail(struct span text, char out[256]);

#endif
