/* reason.c - the texts of a decision. */
#include "acl/reason.h"

#include <stdarg.h>
#include <string.h>

struct writer {
    char *out;
    size_t room; /* the NUL's place included */
};

static void write_bytes(struct writer *w, const char *text, size_t n)
{
    for (size_t i = 0; i < n && w->room > 1; i++, w->room--) {
        unsigned char c = (unsigned char)text[i];
        *w->out++ = c < 0x20 || c == 0x7f ? '?' : text[i];
    }
}

static void write_number(struct writer *w, size_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    write_bytes(w, digits + at, sizeof digits - at);
}

/* What is a format's own: no control bytes in it. */
static void write_plain(struct writer *w, const char *text, size_t n)
{
    size_t fits = n < w->room ? n : w->room - 1;
    memcpy(w->out, text, fits);
    w->out += fits;
    w->room -= fits;
}

/* %s, %.*s, %u and %zu, which is all that a reason needs: a decision is made of some ten texts, and
 * vsnprintf would take longer over them than over the look-up among a million entries. */
static const char *write_value(struct writer *w, const char *f, va_list *args)
{
    switch (*f) {
    case 's': {
        const char *text = va_arg(*args, const char *);
        write_bytes(w, text, strlen(text));
        return f + 1;
    }
    case '.': {
        int n = va_arg(*args, int);
        const char *text = va_arg(*args, const char *);
        write_bytes(w, text, n < 0 ? 0 : (size_t)n);
        return f + 3; /* ".*s" */
    }
    case 'u': write_number(w, va_arg(*args, unsigned)); return f + 1;
    case 'z': write_number(w, va_arg(*args, size_t)); return f + 2;
    default: write_bytes(w, "%", 1); return f;
    }
}

/* Formats at the given place, with room for size bytes; control bytes become '?'. */
static void put_at(char *out, size_t size, const char *format, va_list *args)
{
    struct writer w = {out, size};
    for (const char *f = format; *f != '\0';) {
        const char *end = strchr(f, '%');
        size_t plain = end == NULL ? strlen(f) : (size_t)(end - f);
        write_plain(&w, f, plain);
        f += plain;
        if (*f == '%')
            f = write_value(&w, f + 1, args);
    }
    *w.out = '\0';
}

void reason_append(char *out, size_t size, const char *format, ...)
{
    size_t at = strlen(out);
    va_list args;
    va_start(args, format);
    put_at(out + at, size - at, format, &args);
    va_end(args);
}

void reason_put(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_at(out, size, format, &args);
    va_end(args);
}

void reason_copy(char *out, size_t size, const char *text)
{
    struct writer w = {out, size};
    write_bytes(&w, text, strlen(text));
    *w.out = '\0';
}

void reason_append_at(char *out, size_t size, const struct acl_position *at)
{
    if (at->line > 0)
        reason_append(out, size, " (%s:%u)", at->file == NULL ? "" : at->file, at->line);
}

void reason_put_item(char *out, size_t size, size_t i, size_t n, const char *text,
                     const struct acl_position *at)
{
    reason_append(out, size, "%s\"%s\"", i == 0 ? "remove " : i + 1 < n ? ", " : " and ", text);
    reason_append_at(out, size, at);
}

enum acl_verdict reason_need(struct acl_reason *r, unsigned facts)
{
    r->need = facts;
    reason_put(r->why, sizeof r->why, "the answer hangs on what is not known yet:%s%s%s%s",
               (facts & ACL_NEED_NAMES) != 0 ? " the client's host name" : "",
               (facts & ACL_NEED_TLS) != 0 ? " whether the session is under TLS" : "",
               (facts & ACL_NEED_IDENTITY) != 0 ? " whether the client has authenticated" : "",
               (facts & ACL_NEED_RATES) != 0 ? " what was counted within the last minute" : "");
    reason_put(r->change, sizeof r->change, "find out%s%s%s%s",
               (facts & ACL_NEED_NAMES) != 0 ? " the client's confirmed host name" : "",
               (facts & ACL_NEED_TLS) != 0 ? " whether there is TLS" : "",
               (facts & ACL_NEED_IDENTITY) != 0 ? " who has authenticated" : "",
               (facts & ACL_NEED_RATES) != 0 ? " what was counted" : "");
    return r->verdict = ACL_NEED;
}

enum acl_verdict reason_refuse(struct acl_reason *r, enum acl_verdict verdict, unsigned code,
                               const char *enhanced)
{
    r->code = code;
    reason_copy(r->enhanced, sizeof r->enhanced, enhanced);
    return r->verdict = verdict;
}
