#include "auth/directory_names.h"

#include "base/host_port.h"

#include <stdio.h>
#include <string.h>

enum { PORT_LDAP = 389, PORT_LDAPS = 636 };

static const char placeholder[] = "{user}";

static bool parse_url(struct span text, struct directory_url *out)
{
    static const char ldaps[] = "ldaps://", ldap[] = "ldap://";
    struct span host;
    out->starttls = !span_starts_nocase(text, ldaps);
    if (out->starttls && !span_starts_nocase(text, ldap))
        return false;
    struct span rest = span_from(text, strlen(out->starttls ? ldap : ldaps));
    if (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    return host_port_parse(rest, out->starttls ? PORT_LDAP : PORT_LDAPS, &host, &out->port) &&
           span_cstr(host, out->host, sizeof out->host);
}

bool directory_urls_parse(const char *text, struct directory_url urls[DIRECTORY_URLS_MAX],
                          size_t *count, struct err *e)
{
    struct span rest = span_trim(span_str(text));
    *count = 0;
    while (rest.n > 0) {
        struct span one = span_sub(rest, 0, span_find(rest, ' '));
        rest = span_trim(span_from(rest, one.n));
        if (*count == DIRECTORY_URLS_MAX)
            return err_set(e, ERR_PERM, "url: more than %d servers", (int)DIRECTORY_URLS_MAX);
        if (!parse_url(one, &urls[*count]))
            return err_set(e, ERR_PERM, "url: %.*s: not ldaps://host[:port] or ldap://host[:port]",
                           one.n < 100 ? (int)one.n : 100, (const char *)one.p);
        ++*count;
    }
    return *count > 0 || err_set(e, ERR_PERM, "url: no server is named");
}

bool directory_pattern_ok(const char *pattern, struct err *e)
{
    size_t found = 0;
    for (const char *p = pattern; *p != '\0'; p++) {
        if (strncmp(p, placeholder, strlen(placeholder)) == 0) {
            found++;
            p += strlen(placeholder) - 1;
        } else if (*p == '{' || *p == '}') {
            return err_set(e, ERR_PERM, "bind: %.100s: a brace that is not of {user}", pattern);
        }
    }
    return found > 0 || err_set(e, ERR_PERM, "bind: %.100s: there is no {user} in it", pattern);
}

bool directory_pattern_is_dn(const char *pattern)
{
    return strchr(pattern, '=') != NULL;
}

/* RFC 4514 2.4; hexadecimal for all that is special, which no reader takes for anything else. */
static bool add_dn_value(struct buf *out, struct span value)
{
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        bool edge = (i == 0 || i == value.n - 1) && c == ' ';
        if (edge || c < 0x20 || c == 0x7f || (i == 0 && c == '#') ||
            strchr("\"+,;<>=\\", c) != NULL)
            (void)buf_addf(out, "\\%02X", (unsigned)c);
        else
            (void)buf_add_byte(out, c);
    }
    return !out->failed;
}

/* What a sAMAccountName may not have (MS-SAMR 3.1.1.8.4), and "@". */
static bool plain_account(const char *account)
{
    return account[strcspn(account, "\"/\\[]:;|=,+*?<>@")] == '\0';
}

bool directory_bind_name(const char *pattern, const char *account, char *out, size_t size)
{
    bool dn = directory_pattern_is_dn(pattern);
    struct buf name;
    out[0] = '\0';
    if (account[0] == '\0' || (!dn && !plain_account(account)))
        return false;
    buf_init(&name, size - 1);
    const char *rest = pattern;
    for (const char *at; (at = strstr(rest, placeholder)) != NULL;
         rest = at + strlen(placeholder)) {
        (void)buf_add(&name, span_of(rest, (size_t)(at - rest)));
        if (dn)
            (void)add_dn_value(&name, span_str(account));
        else
            (void)buf_add_str(&name, account);
    }
    (void)buf_add_str(&name, rest);
    bool ok = !name.failed && span_cstr(buf_span(&name), out, size);
    buf_deinit(&name);
    return ok;
}

/* RFC 4515 3: "(", ")", "*", "\", NUL; here all that is not a letter, a digit or plain. */
bool directory_filter_value(struct buf *out, struct span value)
{
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c >= 0x20 && c < 0x7f && strchr("()*\\&|!=<>~/", c) == NULL)
            (void)buf_add_byte(out, c);
        else
            (void)buf_addf(out, "\\%02x", (unsigned)c);
    }
    return !out->failed;
}
