#include "message/header.h"

#include <string.h>

/* Where a scanner stands. */
enum {
    AT_LINE,    /* at the begin of a line */
    AT_CR,      /* a CR at the begin of a line */
    IN_NAME,    /* in a field's name */
    AFTER_NAME, /* white space between the name and its colon */
    IN_VALUE,
    ENDED,
};

/* ftext = %d33-57 / %d59-126 (RFC 5322 2.2) */
static bool is_name_char(uint8_t c)
{
    return c > 32 && c < 127 && c != ':';
}

static bool is_wsp(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool header_hops_exceeded(unsigned received, unsigned limit)
{
    return limit != 0 && received > limit;
}

void header_scan_init(struct header_scan *s, const char *own_name, struct header_capture *captures,
                      size_t capture_count)
{
    *s = (struct header_scan){
        .own_name = own_name,
        .captures = captures,
        .capture_count = capture_count,
        .state = AT_LINE,
    };
}

/* A word of a Received field ends. */
static void end_token(struct header_scan *s)
{
    if (s->token_n == 0)
        return;
    struct span token = span_of(s->token, s->token_n);
    if (s->after_by && s->own_name != NULL && span_is_nocase(token, s->own_name))
        s->own++;
    s->after_by = span_is_nocase(token, "by");
    s->token_n = 0;
}

static void scan_received_char(struct header_scan *s, uint8_t c)
{
    if (c == '(') {
        end_token(s);
        s->comment_depth++;
        return;
    }
    if (c == ')' && s->comment_depth > 0) {
        s->comment_depth--;
        return;
    }
    if (s->comment_depth > 0)
        return;
    if (c <= ' ' || c == ';') {
        end_token(s);
    } else if (s->token_n < sizeof s->token) {
        s->token[s->token_n++] = (char)c;
    }
}

static void begin_field(struct header_scan *s)
{
    struct span name = span_of(s->name, s->name_n);
    s->in_received = span_is_nocase(name, "Received");
    s->has_date |= span_is_nocase(name, "Date");
    s->has_message_id |= span_is_nocase(name, "Message-ID");
    s->has_from |= span_is_nocase(name, "From");
    if (s->in_received) {
        if (s->received < UINT32_MAX)
            s->received++;
        s->after_by = false;
        s->token_n = s->comment_depth = 0;
    }
    for (size_t i = 0; i < s->capture_count; i++) {
        if (!span_is_nocase(name, s->captures[i].name))
            continue;
        s->capture = &s->captures[i];
        if (s->capture->count++ > 0)
            (void)buf_add_str(s->capture->value, ", ");
    }
}

static void end_field(struct header_scan *s)
{
    if (s->in_received)
        end_token(s);
    s->in_received = false;
    s->capture = NULL;
    s->name_n = 0;
}

static void end_header(struct header_scan *s, bool malformed)
{
    end_field(s);
    s->ended = true;
    s->malformed |= malformed;
    s->state = ENDED;
}

static void scan_name_char(struct header_scan *s, uint8_t c)
{
    if (c == ':') {
        begin_field(s);
        s->state = IN_VALUE;
    } else if (is_wsp(c)) {
        s->state = AFTER_NAME;
    } else if (s->state == AFTER_NAME || !is_name_char(c)) {
        end_header(s, true);
    } else if (s->name_n < sizeof s->name) { /* a longer name is none that we know */
        s->name[s->name_n++] = (char)c;
    }
}

static void scan_line_begin(struct header_scan *s, uint8_t c)
{
    if (c == '\n') {
        end_header(s, false);
    } else if (c == '\r' && s->state == AT_LINE) {
        s->state = AT_CR;
    } else if (s->state == AT_LINE && is_wsp(c)) { /* a folded line; before any field: no header */
        s->state = IN_VALUE;
        if (s->name_n == 0) {
            end_header(s, true);
        } else if (s->capture != NULL) {
            (void)buf_add_byte(s->capture->value, c);
        }
    } else if (s->state == AT_LINE && is_name_char(c)) {
        end_field(s);
        s->state = IN_NAME;
        scan_name_char(s, c);
    } else { /* a colon first, a CR without LF, a control character, 8-bit */
        end_header(s, true);
    }
}

/* Takes a run of value bytes up to a line end; returns its length. */
static size_t scan_value(struct header_scan *s, struct span bytes)
{
    size_t n = span_find(bytes, '\n');
    if (s->in_received)
        for (size_t i = 0; i < n; i++)
            scan_received_char(s, bytes.p[i]);
    if (s->capture != NULL)
        for (size_t i = 0; i < n; i++)
            if (bytes.p[i] != '\r')
                (void)buf_add_byte(s->capture->value, bytes.p[i]);
    if (n == bytes.n)
        return n;
    if (s->in_received)
        end_token(s);
    s->state = AT_LINE;
    return n + 1;
}

size_t header_scan_feed(struct header_scan *s, struct span bytes)
{
    size_t i = 0;
    while (i < bytes.n && !s->ended) {
        if (s->state == IN_VALUE) {
            size_t n = scan_value(s, span_from(bytes, i));
            for (size_t k = i; k < i + n && !s->eightbit; k++)
                s->eightbit = bytes.p[k] > 127;
            i += n;
            continue;
        }
        uint8_t c = bytes.p[i++];
        if (s->state == IN_NAME || s->state == AFTER_NAME)
            scan_name_char(s, c);
        else
            scan_line_begin(s, c);
    }
    return i;
}

void header_scan_end(struct header_scan *s)
{
    if (!s->ended)
        end_header(s, s->state == IN_NAME || s->state == AFTER_NAME);
}

/* ---- the filter ---- */

const char *const header_bcc_names[] = {"Bcc", "Resent-Bcc", NULL};

enum { FILTER_DROP = ENDED + 1, FILTER_BODY };

void header_filter_init(struct header_filter *f, const char *const *names)
{
    *f = (struct header_filter){.names = names, .state = AT_LINE};
}

bool header_filter_in_body(const struct header_filter *f)
{
    return f->state == FILTER_BODY;
}

static bool is_dropped(const struct header_filter *f)
{
    struct span name = span_trim(span_of(f->name, f->name_n));
    for (size_t i = 0; f->names[i] != NULL; i++)
        if (span_is_nocase(name, f->names[i]))
            return true;
    return false;
}

/* The bytes held back are copied after all. */
static void let_go(struct header_filter *f, struct buf *out)
{
    (void)buf_add(out, span_of(f->name, f->name_n));
    f->name_n = 0;
}

static void filter_name_char(struct header_filter *f, uint8_t c, struct buf *out)
{
    if (c == ':' && is_dropped(f)) {
        f->state = FILTER_DROP;
        f->name_n = 0;
        f->dropped++;
        return;
    }
    bool name_goes_on = f->state == IN_NAME ? is_name_char(c) || is_wsp(c) : is_wsp(c);
    if (name_goes_on && f->name_n < sizeof f->name) {
        f->name[f->name_n++] = (char)c;
        f->state = is_wsp(c) ? AFTER_NAME : IN_NAME;
        return;
    }
    if (name_goes_on && f->state == AFTER_NAME &&
        is_dropped(f)) { /* "Bcc", a hundred spaces, ":" */
        f->state = FILTER_DROP;
        f->name_n = 0;
        f->dropped++;
        return;
    }
    let_go(f, out);
    (void)buf_add_byte(out, c);
    if (c == ':' || name_goes_on) /* kept, or too long a name to be one of ours */
        f->state = IN_VALUE;
    else /* no field: here the body begins */
        f->state = FILTER_BODY;
}

static void filter_line_begin(struct header_filter *f, uint8_t c, struct buf *out)
{
    if (is_wsp(c)) {
        if (f->dropping) {
            f->state = FILTER_DROP;
        } else {
            f->state = IN_VALUE;
            (void)buf_add_byte(out, c);
        }
        return;
    }
    f->dropping = false;
    if (is_name_char(c)) {
        f->state = IN_NAME;
        f->name_n = 0;
        filter_name_char(f, c, out);
        return;
    }
    (void)buf_add_byte(out, c);
    f->state = FILTER_BODY; /* the empty line (its LF is copied as body), or no header at all */
}

bool header_filter_feed(struct header_filter *f, struct span bytes, struct buf *out)
{
    while (bytes.n > 0 && !out->failed) {
        if (f->state == FILTER_BODY)
            return buf_add(out, bytes);
        if (f->state == IN_VALUE || f->state == FILTER_DROP) {
            size_t n = span_find(bytes, '\n');
            bool line_ends = n < bytes.n;
            n += line_ends ? 1 : 0;
            if (f->state == IN_VALUE)
                (void)buf_add(out, span_sub(bytes, 0, n));
            if (line_ends) {
                f->dropping = f->state == FILTER_DROP;
                f->state = AT_LINE;
            }
            bytes = span_from(bytes, n);
            continue;
        }
        if (f->state == AT_LINE)
            filter_line_begin(f, bytes.p[0], out);
        else
            filter_name_char(f, bytes.p[0], out);
        bytes = span_from(bytes, 1);
    }
    return !out->failed;
}

bool header_filter_end(struct header_filter *f, struct buf *out)
{
    let_go(f, out);
    return !out->failed;
}
