/* hosts.c - "relay.example.net:587, [10.0.0.1]": the smart hosts of one option. */
#include "route/parts.h"

#include <string.h>

static bool faulty(struct err *e, struct span text, const char *what)
{
    return err_set(e, ERR_PERM, "%.*s: %s, expected host, host:port, [address] or [address]:port",
                   text.n > 100 ? 100 : (int)text.n, (const char *)text.p, what);
}

bool route_literal_parse(struct span inside, struct netaddr *address)
{
    if (span_starts_nocase(inside, "IPv6:")) {
        inside = span_from(inside, 5);
        return span_find(inside, ':') < inside.n && netaddr_parse(inside, address);
    }
    return netaddr_parse(inside, address);
}

static bool parse_port(struct span text, struct span port, struct route_host *host, struct err *e)
{
    uint64_t number;
    if (!span_u64(port, UINT16_MAX, &number) || number == 0)
        return faulty(e, text, "not a port from 1 to 65535");
    host->port = (uint16_t)number;
    return true;
}

static bool parse_host(struct span text, struct route_host *host, struct err *e)
{
    struct span name = text, rest;
    if (text.p[0] == '[') {
        size_t close = span_find(text, ']');
        if (close == text.n)
            return faulty(e, text, "no closing bracket");
        name = span_sub(text, 1, close - 1);
        rest = span_from(text, close + 1);
        if (!route_literal_parse(name, &host->address))
            return faulty(e, text, "no address between the brackets");
        host->literal = true;
    } else {
        size_t colon = span_find(text, ':');
        name = span_sub(text, 0, colon);
        rest = span_from(text, colon);
        if (span_find(span_from(rest, 1), ':') + 1 < rest.n)
            return faulty(e, text, "an IPv6 address without brackets");
        host->literal = netaddr_parse(name, &host->address);
    }
    if (rest.n > 0 && (rest.p[0] != ':' || !parse_port(text, span_from(rest, 1), host, e)))
        return rest.p[0] == ':' ? false : faulty(e, text, "something behind the bracket");
    if (host->literal) {
        netaddr_format(&host->address, host->name);
        return true;
    }
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    struct err why;
    bool ok = route_domain_to_ascii(name, host->name, &why);
    if (!ok && why.class == ERR_TEMP)
        return err_set(e, ERR_TEMP, "%s", why.text);
    if (!ok || !route_name_ok(span_str(host->name)))
        return faulty(e, text, "not a host name");
    return true;
}

bool route_hosts_parse(const char *text, uint16_t default_port,
                       struct route_host hosts[ROUTE_HOSTS_MAX], size_t *n, struct err *e)
{
    struct span all = span_trim(span_str(text));
    *n = 0;
    while (all.n > 0) {
        size_t comma = span_find(all, ',');
        struct span one = span_trim(span_sub(all, 0, comma));
        if (one.n == 0 || comma + 1 == all.n)
            return faulty(e, all, "an empty place between commas");
        if (*n == ROUTE_HOSTS_MAX)
            return err_set(e, ERR_PERM, "%.*s: more hosts than are tried, expected at most %d",
                           SPAN_ARG(span_sub(all, 0, 100)), (int)ROUTE_HOSTS_MAX);
        memset(&hosts[*n], 0, sizeof hosts[*n]);
        hosts[*n].port = default_port;
        if (!parse_host(one, &hosts[*n], e))
            return false;
        (*n)++;
        all = span_from(all, comma + 1);
    }
    return true;
}
