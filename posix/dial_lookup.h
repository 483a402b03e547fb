/* dial_lookup.h - inside posix/dial: names to addresses, by the system's own resolver, within a
 * deadline that it does not know. See dial.h. */
#ifndef POSTERN_POSIX_DIAL_LOOKUP_H
#define POSTERN_POSIX_DIAL_LOOKUP_H

#include "posix/dial.h"

#include <sys/socket.h>

/* At least one address when true. An address in letters asks nobody. */
bool dial_addresses(struct dialer *d, const char *host, uint16_t port, uint64_t deadline_ms,
                    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX], size_t *count,
                    struct err *e);

/* The SRV records of a DNS answer, ordered; for dial_services and its test. */
bool dial_services_parse(struct span answer, struct dial_target targets[DIAL_TARGETS_MAX],
                         size_t *count);

#endif
