#include "auth/auth.h"

#include <stdio.h>

static const struct {
    enum auth_mechanism bit;
    const char *name;
} mechanisms[] = {
    {AUTH_SCRAM_SHA_256_PLUS, "SCRAM-SHA-256-PLUS"},
    {AUTH_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {AUTH_GSSAPI, "GSSAPI"},
    {AUTH_GSS_SPNEGO, "GSS-SPNEGO"},
    {AUTH_NTLM, "NTLM"},
    {AUTH_PLAIN, "PLAIN"},
    {AUTH_LOGIN, "LOGIN"},
};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

unsigned auth_mechanism_parse(struct span name)
{
    for (size_t i = 0; i < MECHANISMS; i++)
        if (span_is_nocase(name, mechanisms[i].name))
            return mechanisms[i].bit;
    return 0;
}

const char *auth_mechanism_name(enum auth_mechanism mechanism)
{
    for (size_t i = 0; i < MECHANISMS; i++)
        if (mechanisms[i].bit == mechanism)
            return mechanisms[i].name;
    return "";
}

unsigned auth_mechanisms_parse(struct span list)
{
    unsigned bits = 0;
    while (list.n > 0) {
        size_t n = span_find(list, ' ');
        bits |= auth_mechanism_parse(span_sub(list, 0, n));
        list = span_from(list, n + 1);
    }
    return bits;
}

bool auth_mechanisms(struct auth *a, const struct auth_channel *channel, char *out, size_t size)
{
    unsigned bits = auth_mechanisms_for(a, channel);
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < MECHANISMS; i++) {
        if ((bits & (unsigned)mechanisms[i].bit) == 0)
            continue;
        int n = snprintf(out + used, size - used, "%s%s", used == 0 ? "" : " ", mechanisms[i].name);
        if (n < 0 || (size_t)n >= size - used)
            return false; /* the caller's room is smaller than AUTH_MECHANISMS_TEXT_MAX */
        used += (size_t)n;
    }
    return bits != 0;
}
