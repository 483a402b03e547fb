#include "message/from.h"

#include <string.h>

enum { LINE_MAX_COLUMN = 76 };

/* The name of the first mailbox, as it was written; comment: it stood in parentheses behind a bare
 * address. */
struct name {
    struct span text;
    bool comment;
};

/* The index behind the quoted string or the comment that begins at i; n where it does not end. */
static size_t skip(struct span s, size_t i)
{
    bool quoted = s.p[i] == '"';
    size_t depth = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '\\') {
            i++;
        } else if (quoted) {
            depth += s.p[i] == '"';
            if (depth == 2)
                return i + 1;
        } else if (s.p[i] == '(') {
            depth++;
        } else if (s.p[i] == ')' && --depth == 0) {
            return i + 1;
        }
    }
    return s.n + 1;
}

static struct name first_name(struct span value)
{
    struct name name = {.text = span_of(NULL, 0)};
    size_t from = 0, i = 0;
    while (i < value.n) {
        size_t end = i + 1;
        switch (value.p[i]) {
        case '"':
        case '(':
            end = skip(value, i);
            if (end > value.n)
                return (struct name){.text = span_of(NULL, 0)};
            if (value.p[i] == '(') {
                name.text = span_sub(value, i + 1, end - i - 2);
                name.comment = true;
            }
            break;
        case ':': from = end; break; /* the name of a group */
        case '<': return (struct name){.text = span_trim(span_sub(value, from, i - from))};
        case ',':
        case ';': return name;
        default: break;
        }
        i = end;
    }
    return name;
}

static bool is_atom_char(uint8_t c)
{
    return c > 126 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           strchr("!#$%&'*+-/=?^_`{|}~ \t", c) != NULL;
}

/* Words and quoted strings; otherwise it is quoted as a whole. */
static bool is_phrase(struct span s)
{
    for (size_t i = 0; i < s.n;) {
        if (s.p[i] == '"' || s.p[i] == '(')
            i = skip(s, i);
        else if (is_atom_char(s.p[i]))
            i++;
        else
            return false;
    }
    return true;
}

static bool has_controls(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return true;
    return false;
}

static void put_quoted(struct buf *out, struct span s)
{
    (void)buf_add_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            (void)buf_add_byte(out, '\\');
        (void)buf_add_byte(out, s.p[i]);
    }
    (void)buf_add_byte(out, '"');
}

/* A line is broken before a space (2.2.3: the space stays). */
static void put_folded(struct buf *out, struct span text)
{
    size_t column = 0;
    while (text.n > 0) {
        size_t n = 1;
        while (n < text.n && text.p[n] != ' ' && text.p[n] != '\t')
            n++;
        /* A line of white space alone would end the field for some. */
        if (column > 0 && column + n > LINE_MAX_COLUMN && text.p[0] <= ' ' && n > 1) {
            (void)buf_add_str(out, "\r\n");
            column = 0;
        }
        (void)buf_add(out, span_sub(text, 0, n));
        column += n;
        text = span_from(text, n);
    }
}

bool from_line(struct buf *out, struct span value, struct span address)
{
    struct name name = first_name(value);
    struct buf line;
    buf_init(&line, 3 * FROM_NAME_MAX + 1024);
    (void)buf_add_str(&line, "From: ");
    if (name.text.n > 0 && name.text.n <= FROM_NAME_MAX && !has_controls(name.text)) {
        if (!name.comment && is_phrase(name.text))
            (void)buf_add(&line, name.text);
        else
            put_quoted(&line, name.text);
        (void)buf_add_byte(&line, ' ');
    }
    (void)buf_addf(&line, "<%.*s>", SPAN_ARG(address));
    bool ok = !line.failed;
    put_folded(out, buf_span(&line));
    (void)buf_add_str(out, "\r\n");
    buf_deinit(&line);
    return ok && !out->failed;
}
