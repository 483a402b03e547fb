#include "base/sock_address.h"

#include <stdio.h>

bool sock_address_parse(struct span text, struct sock_address *out)
{
    size_t colon = span_rfind(text, ':');
    uint64_t port;
    if (colon == text.n || !span_u64(span_from(text, colon + 1), UINT16_MAX, &port))
        return false;
    struct span ip = span_sub(text, 0, colon);
    bool bracketed = ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']';
    if (bracketed)
        ip = span_sub(ip, 1, ip.n - 2);
    struct sock_address a = {.port = (uint16_t)port};
    /* "::1:25" could be read two ways: IPv6 wants its brackets, IPv4 wants none. */
    if (!netaddr_parse(ip, &a.ip) || (span_find(ip, ':') < ip.n) != bracketed)
        return false;
    *out = a;
    return true;
}

void sock_address_format(const struct sock_address *a, char *out)
{
    char ip[NETADDR_TEXT_MAX];
    netaddr_format(&a->ip, ip);
    (void)snprintf(out, SOCK_ADDRESS_TEXT_MAX, netaddr_is_v4(&a->ip) ? "%s:%u" : "[%s]:%u", ip,
                   (unsigned)a->port);
}
