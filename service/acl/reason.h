/* reason.h - the texts of a decision, and how one ends. Inside acl only.
 * A decision is made of some ten texts: none of these allocates or fails. */
#ifndef POSTERN_ACL_REASON_H
#define POSTERN_ACL_REASON_H

#include "acl/acl.h"
#include "base/compiler.h"

/* printf into a field of the reason, of %s, %.*s, %u, %zu; cut to fit, control bytes become '?'. */
void reason_put(char *out, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
/* The text as it is, cut to fit; quicker than "%s". */
void reason_copy(char *out, size_t size, const char *text);
/* As reason_put, behind what is there. */
void reason_append(char *out, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
/* " (postern.yaml:31)", or "" for a default. */
void reason_append_at(char *out, size_t size, const struct acl_position *at);

/* Appends entry i of the n that a change takes out of a list, with its place. */
void reason_put_item(char *out, size_t size, size_t i, size_t n, const char *text,
                     const struct acl_position *at);

/* The ends of a decision that is no ALLOW; each returns the verdict. */
enum acl_verdict reason_need(struct acl_reason *r, unsigned facts);
enum acl_verdict reason_refuse(struct acl_reason *r, enum acl_verdict verdict, unsigned code,
                               const char *enhanced);

#endif
