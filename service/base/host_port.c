#include "base/host_port.h"

#include <string.h>

static bool host_byte(uint8_t c, bool address)
{
    if (address)
        return strchr("0123456789abcdefABCDEF:.%", c) != NULL && c != 0;
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.' || c == '_';
}

bool host_port_parse(struct span text, uint16_t default_port, struct span *host, uint16_t *port)
{
    struct span name = text, number = {0};
    bool has_port = false, address = false;
    if (text.n > 0 && text.p[0] == '[') {
        size_t end = span_find(text, ']');
        if (end == text.n)
            return false;
        name = span_sub(text, 1, end - 1);
        number = span_from(text, end + 1);
        has_port = number.n > 0;
        if (has_port && number.p[0] != ':')
            return false;
        number = span_from(number, 1);
        address = true;
        if (span_find(name, ':') == name.n) /* brackets are IPv6's */
            return false;
    } else if (span_find(text, ':') < text.n) {
        size_t colon = span_rfind(text, ':');
        if (span_find(text, ':') == colon) {
            name = span_sub(text, 0, colon);
            number = span_from(text, colon + 1);
            has_port = true;
        } else {
            address = true; /* more than one colon: a bare IPv6 address */
        }
    }
    if (name.n == 0 || name.n > HOST_PORT_HOST_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!host_byte(name.p[i], address))
            return false;
    uint64_t value = default_port;
    if (has_port && (!span_u64(number, UINT16_MAX, &value) || value == 0))
        return false;
    *host = name;
    *port = (uint16_t)value;
    return true;
}
