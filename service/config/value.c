#include "config/value.h"

#include <inttypes.h>
#include <string.h>

bool value_bool(const char *text, bool *value)
{
    static const char *const words[2][3] = {{"false", "False", "FALSE"}, {"true", "True", "TRUE"}};
    for (int truth = 0; truth < 2; truth++)
        for (int i = 0; i < 3; i++)
            if (strcmp(text, words[truth][i]) == 0) {
                *value = truth == 1;
                return true;
            }
    return false;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits and a unit; largest first, so that formatting takes the first that divides. */
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"G", UINT64_C(1) << 30}, {"M", UINT64_C(1) << 20}, {"K", UINT64_C(1) << 10}, {"", 1}};

static bool with_unit(const char *text, const struct unit *units, size_t n, uint64_t *value)
{
    struct span s = span_str(text);
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    for (size_t i = 0; i < n; i++) {
        uint64_t number;
        if (strcmp(text + digits, units[i].name) != 0)
            continue;
        if (!span_u64(span_sub(s, 0, digits), UINT64_MAX / units[i].factor, &number))
            return false;
        *value = number * units[i].factor;
        return true;
    }
    return false;
}

bool value_duration(const char *text, uint64_t *ms)
{
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return true;
    }
    return with_unit(text, duration_units, sizeof duration_units / sizeof *duration_units, ms);
}

bool value_size(const char *text, uint64_t *bytes)
{
    return with_unit(text, size_units, sizeof size_units / sizeof *size_units, bytes);
}

bool value_count(const char *text, uint64_t *count)
{
    return span_u64(span_str(text), UINT64_MAX, count);
}

bool value_word(const char *text, const char *const *words, unsigned *index)
{
    for (unsigned i = 0; words[i] != NULL; i++)
        if (span_is_nocase(span_str(words[i]), text)) {
            *index = i;
            return true;
        }
    return false;
}

static bool parse_port(struct span s, uint16_t *port)
{
    uint64_t n;
    if (!span_u64(s, 65535, &n) || n == 0)
        return false;
    *port = (uint16_t)n;
    return true;
}

/* Takes "[...]" off the front; false without brackets. */
static bool take_brackets(struct span *s, struct span *inside)
{
    size_t close = span_find(*s, ']');
    if (s->n == 0 || s->p[0] != '[' || close == s->n)
        return false;
    *inside = span_sub(*s, 1, close - 1);
    *s = span_from(*s, close + 1);
    return true;
}

bool value_endpoint(struct arena *a, const char *text, uint16_t port_default,
                    struct config_endpoint *value)
{
    struct span rest = span_str(text), host;
    struct config_endpoint e = {.port = port_default};
    bool bracketed = take_brackets(&rest, &host);
    if (!bracketed && port_default > 0 && netaddr_parse(rest, &e.ip)) {
        host = rest; /* a bare address, IPv6 without brackets too */
        rest = span_of(NULL, 0);
    } else if (!bracketed) {
        size_t colon = span_find(rest, ':');
        host = span_sub(rest, 0, colon);
        rest = span_from(rest, colon);
    }
    if (!netaddr_parse(host, &e.ip) || (bracketed && netaddr_is_v4(&e.ip)))
        return false;
    if (rest.n == 0 ? port_default == 0
                    : rest.p[0] != ':' || !parse_port(span_from(rest, 1), &e.port))
        return false;
    e.text = arena_str(a, text);
    *value = e;
    return e.text != NULL;
}

bool value_hop(struct arena *a, const char *text, struct config_hop *value)
{
    struct span rest = span_str(text), host;
    struct config_hop h = {.text = arena_str(a, text), .host = ""};
    if (rest.n == 0) {
        *value = h;
        return h.text != NULL;
    }
    h.literal = take_brackets(&rest, &host);
    if (h.literal) {
        if (span_starts_nocase(host, "IPv6:")) /* as RFC 5321 4.1.3 writes it */
            host = span_from(host, 5);
        if (!netaddr_parse(host, &h.ip))
            return false;
    } else {
        size_t colon = span_find(rest, ':');
        host = span_sub(rest, 0, colon);
        rest = span_from(rest, colon);
    }
    if (rest.n > 0 && (rest.p[0] != ':' || !parse_port(span_from(rest, 1), &h.port)))
        return false;
    h.host = arena_span_str(a, host);
    if (h.host == NULL || h.text == NULL || (!h.literal && !value_host(h.host)))
        return false;
    *value = h;
    return true;
}

static bool label_ok(struct span label, bool eight_bit)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = ascii_lower(label.p[i]);
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  (c > 127 && eight_bit);
        if (!ok)
            return false;
    }
    return true;
}

static bool labels_ok(struct span s, bool eight_bit)
{
    if (s.n == 0 || s.n > 255)
        return false;
    for (;;) {
        size_t dot = span_find(s, '.');
        if (!label_ok(span_sub(s, 0, dot), eight_bit))
            return false;
        if (dot == s.n)
            return true;
        s = span_from(s, dot + 1);
    }
}

bool value_host(const char *text)
{
    return labels_ok(span_str(text), false);
}

bool value_domain(const char *text, bool wildcard)
{
    struct span s = span_str(text);
    if (wildcard && span_starts_nocase(s, "*."))
        s = span_from(s, 2);
    return labels_ok(s, true);
}

bool value_mailbox(const char *text)
{
    struct span s = span_str(text);
    size_t at = span_rfind(s, '@');
    if (at == s.n || at == 0 || at > 64 || !labels_ok(span_from(s, at + 1), true))
        return false;
    for (size_t i = 0; i < at; i++)
        if (s.p[i] <= ' ' || strchr("<>()[]\\,;:\"@", s.p[i]) != NULL)
            return false;
    return true;
}

static void format_unit(uint64_t value, const struct unit *units, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || (value >= units[i].factor && value % units[i].factor == 0)) {
            buf_addf(out, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
            return;
        }
}

void value_format_duration(uint64_t ms, struct buf *out)
{
    size_t n = sizeof duration_units / sizeof *duration_units;
    if (ms == 0)
        buf_add_str(out, "0s");
    else
        format_unit(ms, duration_units, n, out);
}

void value_format_size(uint64_t bytes, struct buf *out)
{
    format_unit(bytes, size_units, sizeof size_units / sizeof *size_units, out);
}

unsigned value_distance(const char *a, const char *b)
{
    enum { MOST = 63 };
    size_t na = strlen(a), nb = strlen(b);
    if (na > MOST || nb > MOST)
        return MOST + 1;
    unsigned rows[3][MOST + 1]; /* optimal string alignment: the row before last is for swaps */
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *now = rows[i % 3], *last = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            bool swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swap && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[na % 3][nb];
}

bool value_credential(const char *text)
{
    static const char prefix[] = "credential:";
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return true;
    const char *name = text + sizeof prefix - 1;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    return n > 0 && n < 200 && name[n] == '\0' && name[0] != '.';
}
