#include "smtp/reply.h"

#include "smtp/path.h"

#include <string.h>

enum {
    TEXT_CUT = 900, /* what we write on one line behind the codes */
};

struct smtp_reply smtp_reply_make(uint16_t code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = {.code = code, .text = span_str(text)};
    if (enhanced != NULL)
        (void)span_cstr(span_str(enhanced), reply.enhanced, sizeof reply.enhanced);
    return reply;
}

bool smtp_reply_is_ok(const struct smtp_reply *reply)
{
    return reply->code / 100 == 2;
}

bool smtp_reply_line(const struct smtp_reply *reply, size_t i, struct span *line)
{
    struct span rest = reply->text;
    for (;; i--) {
        size_t end = span_find(rest, '\n');
        *line = span_sub(rest, 0, end);
        if (i == 0)
            return true;
        if (end == rest.n)
            return false;
        rest = span_from(rest, end + 1);
    }
}

static void write_text(struct span line, struct buf *out)
{
    line = span_sub(line, 0, TEXT_CUT);
    size_t plain = 0;
    while (plain < line.n && line.p[plain] >= 32 && line.p[plain] < 127)
        plain++;
    (void)buf_add(out, span_sub(line, 0, plain));
    line = span_from(line, plain);
    bool utf8 = line.n > 0 && smtp_utf8_valid(line);
    for (size_t i = 0; i < line.n; i++) {
        uint8_t c = line.p[i];
        (void)buf_add_byte(out, (c >= 32 && c < 127) || (c >= 128 && utf8) ? c : '?');
    }
}

bool smtp_reply_write(const struct smtp_reply *reply, struct buf *out)
{
    struct span rest = reply->text;
    struct span enhanced = span_str(reply->enhanced);
    uint8_t code[4] = {(uint8_t)('0' + reply->code / 100 % 10),
                       (uint8_t)('0' + reply->code / 10 % 10), (uint8_t)('0' + reply->code % 10)};
    for (;;) {
        size_t end = span_find(rest, '\n');
        bool last = end == rest.n;
        code[3] = last ? ' ' : '-';
        (void)buf_add(out, span_of(code, sizeof code));
        (void)buf_add(out, enhanced);
        if (enhanced.n > 0)
            (void)buf_add_byte(out, ' ');
        write_text(span_sub(rest, 0, end), out);
        (void)buf_add_str(out, "\r\n");
        if (last)
            return !out->failed;
        rest = span_from(rest, end + 1);
    }
}

void smtp_reply_parser_init(struct smtp_reply_parser *p)
{
    *p = (struct smtp_reply_parser){.code = 0};
    buf_init(&p->text, SMTP_REPLY_BYTES_MAX + SMTP_REPLY_LINES_MAX);
    buf_init(&p->line, SMTP_REPLY_LINE_MAX);
}

void smtp_reply_parser_deinit(struct smtp_reply_parser *p)
{
    if (p == NULL)
        return;
    buf_deinit(&p->text);
    buf_deinit(&p->line);
}

static enum smtp_reply_status bad(struct smtp_reply_parser *p, const char *why)
{
    p->bad = true;
    p->failure = why;
    return SMTP_REPLY_BAD;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* status-code = class "." subject "." detail (RFC 3463 2). Length, 0 where there is none; the class
 * must be the code's. */
static size_t enhanced_length(struct span s, uint16_t code)
{
    if (s.n < 5 || s.p[0] != '0' + code / 100 || s.p[1] != '.' || code / 100 == 3)
        return 0;
    size_t i = 2;
    for (int part = 0; part < 2; part++) {
        size_t from = i;
        while (i < s.n && i - from < 3 && is_digit(s.p[i]))
            i++;
        if (i == from || (part == 0 && (i == s.n || s.p[i++] != '.')))
            return 0;
    }
    return i == s.n || s.p[i] == ' ' ? i : 0;
}

/* Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
 * (RFC 5321 4.2). line comes without its line end. */
static enum smtp_reply_status take_line(struct smtp_reply_parser *p, struct span line)
{
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) ||
        !is_digit(line.p[2]))
        return bad(p, "the line has no reply code");
    if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
        return bad(p, "neither space nor hyphen behind the reply code");
    uint16_t code = (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0');
    if (p->lines > 0 && code != p->code)
        return bad(p, "the lines of one reply have different codes");
    if (p->lines == SMTP_REPLY_LINES_MAX)
        return bad(p, "too many lines in one reply");
    bool last = line.n < 4 || line.p[3] == ' ';
    struct span text = span_from(line, 4);
    size_t n = enhanced_length(text, code);
    if (n > 0) {
        if (p->enhanced[0] == '\0')
            (void)span_cstr(span_sub(text, 0, n), p->enhanced, sizeof p->enhanced);
        text = span_from(text, n + 1);
    }
    p->code = code;
    if (p->lines++ > 0)
        (void)buf_add_byte(&p->text, '\n');
    if (!buf_add(&p->text, text))
        return bad(p, "no room for the reply");
    p->done = last;
    return last ? SMTP_REPLY_DONE : SMTP_REPLY_MORE;
}

static void begin(struct smtp_reply_parser *p)
{
    buf_reset(&p->text);
    p->bytes = 0;
    p->lines = 0;
    p->code = 0;
    p->enhanced[0] = '\0';
    p->done = false;
}

enum smtp_reply_status smtp_reply_parser_feed(struct smtp_reply_parser *p, struct span bytes,
                                              size_t *used)
{
    *used = 0;
    if (p->bad)
        return SMTP_REPLY_BAD;
    if (p->done)
        begin(p);
    while (*used < bytes.n) {
        struct span rest = span_from(bytes, *used);
        size_t end = span_find(rest, '\n');
        size_t n = end == rest.n ? rest.n : end + 1;
        if (n > SMTP_REPLY_LINE_MAX - buf_span(&p->line).n)
            return bad(p, "a line of the reply is too long");
        p->bytes += (uint32_t)n;
        if (p->bytes > SMTP_REPLY_BYTES_MAX)
            return bad(p, "the reply is too long");
        struct span line = span_sub(rest, 0, end);
        *used += n;
        if (end == rest.n || p->line.n > 0) { /* the line comes in pieces */
            if (!buf_add(&p->line, line))
                return bad(p, "no memory");
            line = buf_span(&p->line);
        }
        if (end == rest.n)
            break;
        enum smtp_reply_status status = take_line(p, line);
        buf_release(&p->line);
        if (status != SMTP_REPLY_MORE)
            return status;
    }
    return SMTP_REPLY_MORE;
}

struct smtp_reply smtp_reply_parser_reply(const struct smtp_reply_parser *p)
{
    struct smtp_reply reply = {.code = p->done ? p->code : 0, .text = buf_span(&p->text)};
    memcpy(reply.enhanced, p->enhanced, sizeof reply.enhanced);
    return reply;
}
