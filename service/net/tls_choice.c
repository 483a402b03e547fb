#include "net/tls_choice.h"

#include <string.h>

const char *tls_fit_text(enum tls_fit fit)
{
    switch (fit) {
    case TLS_FIT: return "fits";
    case TLS_FIT_OTHER: return "is another one";
    case TLS_FIT_NO_KEY: return "has no private key here";
    case TLS_FIT_PURPOSE: return "is not for servers (extended key usage)";
    case TLS_FIT_NOT_YET: return "is not valid yet";
    case TLS_FIT_EXPIRED: return "has expired";
    case TLS_FIT_LOCKED: return "has a private key that this account may not read";
    case TLS_FIT_UNUSABLE: return "has a private key that cannot be used";
    }
    return "";
}

/* Does the certificate's name hold the host? A star is one whole label, the first (RFC 6125 6.4.3).
 */
static bool holds(struct span name, struct span host)
{
    if (span_equal_nocase(name, host))
        return true;
    size_t dot = span_find(host, '.');
    return name.n > 2 && name.p[0] == '*' && name.p[1] == '.' && dot > 0 && dot < host.n &&
           host.p[0] != '*' && span_equal_nocase(span_from(name, 1), span_from(host, dot));
}

static bool holds_host(const struct tls_candidate *c, struct span host)
{
    struct span rest = span_str(c->names);
    if (rest.n == 0)
        return c->common_name[0] != '\0' && holds(span_str(c->common_name), host);
    bool found = false;
    while (!found && rest.n > 0) {
        size_t end = span_find(rest, ' ');
        found = holds(span_sub(rest, 0, end), host);
        rest = span_from(rest, end + 1);
    }
    return found;
}

/* The next part of a distinguished name: up to a comma or a plus sign without a backslash before.
 */
static struct span next_part(struct span *rest)
{
    size_t end = 0;
    while (end < rest->n && rest->p[end] != ',' && rest->p[end] != '+')
        end += rest->p[end] == '\\' ? 2 : 1;
    end = end > rest->n ? rest->n : end;
    struct span part = span_trim(span_sub(*rest, 0, end));
    *rest = span_from(*rest, end + 1);
    return part;
}

/* "CN = relay" and "CN=relay" are the same. */
static bool same_part(struct span a, struct span b)
{
    size_t x = span_find(a, '='), y = span_find(b, '=');
    return x < a.n && y < b.n &&
           span_equal_nocase(span_trim(span_sub(a, 0, x)), span_trim(span_sub(b, 0, y))) &&
           span_equal_nocase(span_trim(span_from(a, x + 1)), span_trim(span_from(b, y + 1)));
}

static bool holds_parts(const struct tls_candidate *c, struct span wanted)
{
    bool all = true;
    while (all && wanted.n > 0) {
        struct span part = next_part(&wanted), rest = span_str(c->subject);
        bool found = false;
        while (!found && rest.n > 0)
            found = same_part(next_part(&rest), part);
        all = found;
    }
    return all;
}

static bool is_meant(const struct tls_candidate *c, const struct tls_wanted *wanted)
{
    if (wanted->subject == NULL)
        return memcmp(c->thumbprint, wanted->thumbprint, THUMBPRINT_BYTES) == 0;
    struct span subject = span_trim(span_str(wanted->subject));
    if (subject.n == 0)
        return false;
    return span_find(subject, '=') < subject.n ? holds_parts(c, subject) : holds_host(c, subject);
}

enum tls_fit tls_choice_fit(const struct tls_candidate *c, const struct tls_wanted *wanted,
                            int64_t now_wall_ms)
{
    if (!is_meant(c, wanted))
        return TLS_FIT_OTHER;
    if (!c->has_key)
        return TLS_FIT_NO_KEY;
    if (!c->for_servers)
        return TLS_FIT_PURPOSE;
    if (now_wall_ms < c->not_before_wall_ms)
        return TLS_FIT_NOT_YET;
    return now_wall_ms > c->not_after_wall_ms ? TLS_FIT_EXPIRED : TLS_FIT;
}

bool tls_choice_newer(const struct tls_candidate *a, const struct tls_candidate *b)
{
    if (a->not_before_wall_ms != b->not_before_wall_ms)
        return a->not_before_wall_ms > b->not_before_wall_ms;
    if (a->not_after_wall_ms != b->not_after_wall_ms)
        return a->not_after_wall_ms > b->not_after_wall_ms;
    return memcmp(a->thumbprint, b->thumbprint, THUMBPRINT_BYTES) < 0; /* always the same one */
}

size_t tls_choice_order(const struct tls_candidate *list, size_t n, const struct tls_wanted *wanted,
                        int64_t now_wall_ms, size_t *order)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (tls_choice_fit(&list[i], wanted, now_wall_ms) != TLS_FIT)
            continue;
        size_t at = count++;
        for (; at > 0 && tls_choice_newer(&list[i], &list[order[at - 1]]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return count;
}
