#include "auth/ntlm_name.h"

#include "auth/gss_token.h"

enum {
    AUTHENTICATE_MESSAGE = 3,
    DOMAIN_FIELDS = 28, /* length, room, offset of DomainName; UserName's follow */
    USER_FIELDS = 36,
    FLAGS = 60, /* messages of the oldest clients end before it */
    NEGOTIATE_UNICODE = 1,
};

static uint32_t little(struct span s, size_t at, size_t octets)
{
    uint32_t value = 0;
    for (size_t i = octets; i-- > 0;)
        value = value << 8 | s.p[at + i];
    return value;
}

static bool field(struct span message, size_t at, struct span *out)
{
    size_t n = little(message, at, 2), offset = little(message, at + 4, 4);
    if (n > message.n || offset > message.n - n)
        return false;
    *out = span_sub(message, offset, n);
    return true;
}

static bool put(uint32_t c, char *out, size_t *n)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    size_t more = 0;
    while (more < 3 && c >= least[more + 1])
        more++;
    if (c < 0x20 || c == 0x7f || c == '\\' || *n + more + 1 >= NTLM_NAME_MAX)
        return false;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[(*n)++] = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0)
        out[(*n)++] = (char)(0x80 | (c >> (6 * more) & 0x3f));
    return true;
}

static bool utf16_text(struct span s, char out[NTLM_NAME_MAX])
{
    size_t n = 0;
    if (s.n % 2 != 0)
        return false;
    for (size_t i = 0; i < s.n; i += 2) {
        uint32_t c = little(s, i, 2);
        if (c >= 0xd800 && c < 0xe000) {
            uint32_t low = i + 4 <= s.n ? little(s, i + 2, 2) : 0;
            if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
                return false;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        }
        if (!put(c, out, &n))
            return false;
    }
    out[n] = 0;
    return true;
}

/* A client without Unicode: its code page is not told, so beyond ASCII there is nothing to know. */
static bool ascii_text(struct span s, char out[NTLM_NAME_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80 || !put(s.p[i], out, &n))
            return false;
    out[n] = 0;
    return true;
}

bool ntlm_name_look(struct span token, struct ntlm_name *out)
{
    static const uint8_t head[] = {'N', 'T', 'L', 'M', 'S', 'S', 'P', 0, AUTHENTICATE_MESSAGE,
                                   0,   0,   0};
    struct span message = gss_token_response(token), domain, user;
    if (message.n < FLAGS ||
        !span_equal(span_sub(message, 0, sizeof head), span_of(head, sizeof head)) ||
        !field(message, DOMAIN_FIELDS, &domain) || !field(message, USER_FIELDS, &user) ||
        user.n == 0)
        return false;
    bool unicode = message.n >= FLAGS + 4 && (little(message, FLAGS, 4) & NEGOTIATE_UNICODE) != 0;
    return unicode ? utf16_text(domain, out->domain) && utf16_text(user, out->account)
                   : ascii_text(domain, out->domain) && ascii_text(user, out->account);
}
