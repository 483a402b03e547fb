/* host_port.h - "host", "host:port", "192.0.2.1:88", "[2001:db8::1]:88" and a bare "2001:db8::1".
 * Allocates nothing: the host is a part of the text. */
#ifndef POSTERN_BASE_HOST_PORT_H
#define POSTERN_BASE_HOST_PORT_H

#include "base/span.h"

enum { HOST_PORT_HOST_MAX = 253 };

/* false: no host, too long a one, a character that no host name or address has, or a port that is
 * none (0 is none). The host comes without its brackets. */
bool host_port_parse(struct span text, uint16_t default_port, struct span *host, uint16_t *port);

#endif
