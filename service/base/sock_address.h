/* sock_address.h - an address and a TCP port, and their text. PURE. Threads: any. */
#ifndef POSTERN_BASE_SOCK_ADDRESS_H
#define POSTERN_BASE_SOCK_ADDRESS_H

#include "base/netaddr.h"

enum { SOCK_ADDRESS_TEXT_MAX = NETADDR_TEXT_MAX + 8 };

struct sock_address {
    struct netaddr ip;
    uint16_t port;
    uint32_t scope; /* interface index of a link-local address, else 0 */
};

/* "192.0.2.1:25", "[2001:db8::1]:25"; parse wants the port and refuses anything else. */
bool sock_address_parse(struct span text, struct sock_address *out);
void sock_address_format(const struct sock_address *a, char *out); /* SOCK_ADDRESS_TEXT_MAX */

#endif
