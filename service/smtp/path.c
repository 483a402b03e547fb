#include "smtp/path.h"

#include "base/netaddr.h"

#include <string.h>

static bool is_8bit(uint8_t c)
{
    return c >= 0x80;
}

/* atext (RFC 5322 3.2.3) with the dot, and UTF-8 (RFC 6531 3.3). Dots at an end or in a row are
 * taken: such mailboxes exist and are judged only by the host that owns them. */
static bool is_local_char(uint8_t c)
{
    static const char specials[] = "!#$%&'*+-/=?^_`{|}~.";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           is_8bit(c) || (c != 0 && strchr(specials, c) != NULL);
}

/* Length of the well-formed sequence at the front of s, 0 where there is none. */
static size_t utf8_sequence(struct span s)
{
    uint8_t c = s.p[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || s.n < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
    uint8_t d = s.p[1];
    bool bad = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) ||
               (c == 0xf4 && d > 0x8f);
    return bad ? 0 : n;
}

bool smtp_utf8_valid(struct span text)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = utf8_sequence(span_from(text, i));
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* The other full stops of IDNA2003 (U+3002, U+FF0E, U+FF61): a mapping would make a label border of
 * them after the domain was judged. */
static bool has_foreign_dot(struct span s)
{
    static const char *const dots[] = {"\xe3\x80\x82", "\xef\xbc\x8e", "\xef\xbd\xa1"};
    for (size_t i = 0; i + 3 <= s.n; i++)
        for (size_t k = 0; k < sizeof dots / sizeof *dots; k++)
            if (memcmp(s.p + i, dots[k], 3) == 0)
                return true;
    return false;
}

/* sub-domain = Let-dig [Ldh-str] (RFC 5321 4.1.2), with '_' and U-labels. */
static bool label_valid(struct span label)
{
    if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    bool ascii = true;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = ascii_lower(label.p[i]);
        if (is_8bit(c))
            ascii = false;
        else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return !ascii || label.n <= 63;
}

bool smtp_domain_valid(struct span name)
{
    if (name.n == 0 || name.n > SMTP_DOMAIN_MAX || !smtp_utf8_valid(name) || has_foreign_dot(name))
        return false;
    for (;;) {
        size_t dot = span_find(name, '.');
        if (!label_valid(span_sub(name, 0, dot)))
            return false;
        if (dot == name.n)
            return true;
        name = span_from(name, dot + 1);
        if (name.n == 0) /* a trailing dot is an empty label */
            return false;
    }
}

/* address-literal = "[" ( IPv4 / "IPv6:" IPv6 ) "]"  (RFC 5321 4.1.3; no general literals) */
static bool literal_valid(struct span s)
{
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    struct span inner = span_sub(s, 1, s.n - 2);
    bool six = span_starts_nocase(inner, "IPv6:");
    if (six)
        inner = span_from(inner, 5);
    struct netaddr a;
    return six == (span_find(inner, ':') < inner.n) && netaddr_parse(inner, &a);
}

static bool domain_or_literal_valid(struct span s)
{
    return s.n > 0 && s.p[0] == '[' ? literal_valid(s) : smtp_domain_valid(s);
}

/* Local-part = Dot-string / Quoted-string (RFC 5321 4.1.2). Fills local, tells its raw length. */
static bool take_local(struct span s, struct smtp_path *path, size_t *raw)
{
    size_t i = 0, n = 0;
    path->quoted = s.n > 0 && s.p[0] == '"';
    if (!path->quoted) {
        while (i < s.n && is_local_char(s.p[i]))
            path->local[n++] = (char)s.p[i++];
    } else {
        for (i = 1;; i++) {
            if (i < s.n && s.p[i] == '"')
                break;
            if (i < s.n && s.p[i] == '\\')
                i++;
            if (i >= s.n || s.p[i] < 32 || s.p[i] == 127)
                return false;
            path->local[n++] = (char)s.p[i];
        }
        i++;
    }
    path->local_n = (uint16_t)n;
    *raw = i;
    return n > 0;
}

static bool any_8bit(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_8bit(s.p[i]))
            return true;
    return false;
}

/* Mailbox = Local-part "@" ( Domain / address-literal ), or bare postmaster. s is no longer than
 * a path may be, so that everything fits into the struct. */
static enum smtp_path_result mailbox(struct span s, struct smtp_path *path)
{
    size_t raw = 0;
    path->utf8 = any_8bit(s);
    if (path->utf8 && !smtp_utf8_valid(s))
        return SMTP_PATH_BAD_UTF8;
    if (!take_local(s, path, &raw))
        return SMTP_PATH_SYNTAX;
    memcpy(path->address, s.p, s.n);
    if (raw == s.n) {
        if (path->quoted || !span_is_nocase(s, "postmaster"))
            return SMTP_PATH_BARE;
        path->bare_postmaster = true;
        ascii_lower_str(path->address);
        ascii_lower_str(path->local);
        return SMTP_PATH_OK;
    }
    if (s.p[raw] != '@')
        return SMTP_PATH_SYNTAX;
    struct span domain = span_from(s, raw + 1);
    if (domain.n > SMTP_DOMAIN_MAX)
        return SMTP_PATH_LONG;
    if (!domain_or_literal_valid(domain))
        return SMTP_PATH_DOMAIN;
    path->literal = domain.p[0] == '[';
    memcpy(path->domain, domain.p, domain.n);
    ascii_lower_str(path->domain);
    path->domain_n = (uint16_t)domain.n;
    return SMTP_PATH_OK;
}

static enum smtp_path_result settled(enum smtp_path_result result, struct smtp_path *path)
{
    if (result != SMTP_PATH_OK)
        memset(path, 0, sizeof *path);
    return result;
}

enum smtp_path_result smtp_path_parse_address(struct span text, struct smtp_path *path)
{
    memset(path, 0, sizeof *path);
    if (text.n == 0)
        return SMTP_PATH_EMPTY;
    if (text.n > SMTP_PATH_MAX - 2)
        return SMTP_PATH_LONG;
    return settled(mailbox(text, path), path);
}

/* A-d-l ":" = "@" Domain *( "," "@" Domain ) ":"  (RFC 5321 4.1.2, obsolete: taken and forgotten)
 */
static bool strip_route(struct span *s)
{
    if (s->n == 0 || s->p[0] != '@')
        return true;
    for (struct span rest = *s;;) {
        if (rest.n == 0 || rest.p[0] != '@')
            return false;
        /* colons inside a literal's brackets do not end the route */
        size_t end = rest.n > 1 && rest.p[1] == '[' ? span_find(rest, ']') : 1;
        while (end < rest.n && rest.p[end] != ',' && rest.p[end] != ':')
            end++;
        if (end == rest.n || !domain_or_literal_valid(span_sub(rest, 1, end - 1)))
            return false;
        bool last = rest.p[end] == ':';
        rest = span_from(rest, end + 1);
        if (last) {
            *s = rest;
            return true;
        }
    }
}

/* Index of the '>' that closes a path which begins at s.p[0] == '<'; s.n when there is none. */
static size_t closing_bracket(struct span s)
{
    bool quoted = false;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (quoted && s.p[i] == '\\')
            i++;
        else if (!quoted && s.p[i] == '>')
            return i;
    }
    return s.n;
}

enum smtp_path_result smtp_path_parse(struct span text, struct smtp_path *path, size_t *used)
{
    memset(path, 0, sizeof *path);
    *used = 0;
    if (text.n == 0)
        return SMTP_PATH_EMPTY;
    if (text.p[0] != '<')
        return SMTP_PATH_SYNTAX;
    size_t close = closing_bracket(text);
    if (close == text.n)
        return SMTP_PATH_SYNTAX;
    if (close + 1 > SMTP_PATH_MAX)
        return SMTP_PATH_LONG;
    *used = close + 1;
    struct span inner = span_sub(text, 1, close - 1);
    if (inner.n == 0) {
        path->null = true;
        return SMTP_PATH_OK;
    }
    if (!strip_route(&inner) || inner.n == 0)
        return SMTP_PATH_SYNTAX;
    return settled(mailbox(inner, path), path);
}

const char *smtp_path_why(enum smtp_path_result result)
{
    switch (result) {
    case SMTP_PATH_OK: return "";
    case SMTP_PATH_EMPTY: return "there is no address";
    case SMTP_PATH_SYNTAX: return "not an address in angle brackets, as <user@example.com>";
    case SMTP_PATH_DOMAIN:
        return "the domain is no host name or address literal (an empty label, a hyphen at the "
               "end of a label, a foreign character)";
    case SMTP_PATH_BARE: return "the address has no domain";
    case SMTP_PATH_LONG: return "the address is longer than 256 octets or its domain than 255";
    case SMTP_PATH_BAD_UTF8: return "the address is neither ASCII nor UTF-8";
    }
    return "";
}

bool smtp_path_has_routing(const struct smtp_path *path)
{
    for (size_t i = 0; i < path->local_n; i++)
        if (path->local[i] != '\0' && strchr("@%!:", path->local[i]) != NULL)
            return true;
    return false;
}
