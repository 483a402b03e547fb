/* idna.c - the only place that knows of internationalised domain names. */
#include "route/parts.h"

#include <idn2.h>
#include <string.h>

static bool is_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

bool route_domain_to_ascii(struct span domain, char out[ROUTE_DOMAIN_MAX], struct err *e)
{
    char text[1024]; /* UTF-8 may be longer than its A-labels */
    char *ascii = NULL;
    out[0] = '\0';
    if (domain.n == 0 || !span_cstr(domain, text, sizeof text))
        return err_set(e, ERR_PERM, "domain: empty, too long or with a NUL");
    if (is_ascii(domain)) {
        if (!span_cstr(domain, out, ROUTE_DOMAIN_MAX))
            return err_set(e, ERR_PERM, "domain: over 255 octets");
        ascii_lower_str(out);
        return true;
    }
    int code = idn2_lookup_u8((const uint8_t *)text, (uint8_t **)&ascii,
                              IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (code != IDN2_OK) {
        idn2_free(ascii);
        return err_set(e, code == IDN2_MALLOC ? ERR_TEMP : ERR_PERM, "domain %s: %s", text,
                       idn2_strerror(code));
    }
    bool fits = span_cstr(span_str(ascii), out, ROUTE_DOMAIN_MAX);
    idn2_free(ascii);
    ascii_lower_str(out);
    /* A full-width `%` or `@` has turned into the ASCII one: it must not get in that way.
     * (libidn2's STD3 rules would drop it without a word.) */
    if (!fits || !route_name_ok(span_str(out)))
        return err_set(e, ERR_PERM, "domain %s: no host name as A-labels", text);
    return true;
}

static bool label_ok(struct span label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = label.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

bool route_name_ok(struct span name)
{
    for (;;) {
        size_t dot = span_find(name, '.');
        if (!label_ok(span_sub(name, 0, dot)))
            return false;
        if (dot == name.n)
            return true;
        name = span_from(name, dot + 1);
    }
}
