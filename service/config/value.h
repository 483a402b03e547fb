/* value.h - single values of the configuration: text in, value out. Pure.
 * Failure: false, and *expected says what would have been right ("true or false"). */
#ifndef POSTERN_CONFIG_VALUE_H
#define POSTERN_CONFIG_VALUE_H

#include "base/buf.h"
#include "config/config.h"

bool value_bool(const char *text, bool *value);
bool value_duration(const char *text, uint64_t *ms); /* 500ms 10s 15m 12h 2d, and 0 */
bool value_size(const char *text, uint64_t *bytes);  /* 500 64K 25M 1G */
bool value_count(const char *text, uint64_t *count); /* decimal digits */
bool value_word(const char *text, const char *const *words, unsigned *index);

/* Address and port; port_default > 0: the port and its colon may be left out. */
bool value_endpoint(struct arena *a, const char *text, uint16_t port_default,
                    struct config_endpoint *value);
bool value_hop(struct arena *a, const char *text, struct config_hop *value);

/* Labels of letters, digits, hyphens and underscores (and, for a mail domain, octets over 127);
 * no empty label, none over 63, none with a hyphen at an end, at most 255 in all. */
bool value_host(const char *text);
bool value_domain(const char *text, bool wildcard);
bool value_mailbox(const char *text);
bool value_credential(const char *text); /* false: begins with "credential:" and goes on wrong */

/* For "expected 1s to 1h". */
void value_format_duration(uint64_t ms, struct buf *out);
void value_format_size(uint64_t bytes, struct buf *out);

/* How many letters have to be added, dropped, changed or swapped; for names up to 63 bytes. */
unsigned value_distance(const char *a, const char *b);

#endif
