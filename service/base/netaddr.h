/* netaddr.h - an IP address as a value, without any socket header.
 * IPv4 is kept in its IPv4-mapped IPv6 form (RFC 4291 2.5.5.2), so that both compare as 128 bits
 * and an IPv4-mapped peer is the IPv4 peer that it is. */
#ifndef POSTERN_BASE_NETADDR_H
#define POSTERN_BASE_NETADDR_H

#include "base/span.h"

enum { NETADDR_TEXT_MAX = 46 };

struct netaddr {
    uint8_t b[16]; /* network order */
};

bool netaddr_is_v4(const struct netaddr *a);
struct netaddr netaddr_v4(const uint8_t four[4]);
int netaddr_compare(const struct netaddr *a, const struct netaddr *b); /* <0, 0, >0 */
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b);

/* Dotted quad (four decimal parts, no leading zeros) or RFC 4291 text; nothing else, no zone. */
bool netaddr_parse(struct span text, struct netaddr *a);

/* Dotted quad for IPv4, RFC 5952 for IPv6. out has NETADDR_TEXT_MAX bytes. */
void netaddr_format(const struct netaddr *a, char *out);

/* The first and last address of a prefix; bits counts from the left of the 128 (IPv4 /n = 96+n). */
void netaddr_prefix(const struct netaddr *a, unsigned bits, struct netaddr *first,
                    struct netaddr *last);

#endif
