#include "message/address.h"

#include <string.h>

/* The element under way. */
struct element {
    struct buf *out;
    bool at;        /* '@' was seen */
    bool word_last; /* the last token was a word: another one makes a phrase */
    bool phrase;    /* words without '.' or '@' between them: a display name */
    bool bad;
    bool domain_empty;
};

void address_scan_init(struct address_scan *s, struct span text)
{
    *s = (struct address_scan){.text = text};
}

static uint8_t peek(const struct address_scan *s)
{
    return s->at < s->text.n ? s->text.p[s->at] : 0;
}

static bool at_end(const struct address_scan *s)
{
    return s->at >= s->text.n;
}

/* comment = "(" *([FWS] ccontent) [FWS] ")"; nests. False when it does not end. */
static bool skip_comment(struct address_scan *s)
{
    size_t depth = 0;
    while (!at_end(s)) {
        uint8_t c = s->text.p[s->at++];
        if (c == '\\' && !at_end(s))
            s->at++;
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        if (depth == 0)
            return true;
        if (depth > ADDRESS_COMMENT_DEPTH_MAX) {
            s->at = s->text.n;
            return false;
        }
    }
    return false;
}

static bool skip_cfws(struct address_scan *s)
{
    while (!at_end(s)) {
        uint8_t c = peek(s);
        if (c == '(') {
            if (!skip_comment(s))
                return false;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            s->at++;
        } else {
            break;
        }
    }
    return true;
}

static void reset(struct element *e)
{
    buf_reset(e->out);
    *e = (struct element){.out = e->out, .bad = e->bad};
}

static void add_word(struct element *e, struct span word)
{
    if (e->word_last)
        e->phrase = true;
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] < ' ' || word.p[i] == 0x7f)
            e->bad = true;
    (void)buf_add(e->out, word);
    e->word_last = true;
    e->domain_empty = false;
}

/* From an opening character to its closing one, quoted pairs in between: a quoted string or a
 * domain literal, kept as it stands. */
static void take_enclosed(struct address_scan *s, struct element *e, uint8_t close)
{
    size_t begin = s->at++;
    while (!at_end(s) && peek(s) != close)
        s->at += peek(s) == '\\' && s->at + 1 < s->text.n ? 2 : 1;
    if (at_end(s)) {
        e->bad = true;
        return;
    }
    s->at++;
    add_word(e, span_sub(s->text, begin, s->at - begin));
}

/* encoded-word = "=?" charset "?" encoding "?" encoded-text "?=" (RFC 2047 2). Its length at the
 * scanner's place, 0 where none stands. Some writers leave a comma bare inside. Nothing longer than
 * an address is looked for, so that a text of many openings costs no more than its length. */
static size_t encoded_word(const struct address_scan *s)
{
    struct span rest = span_sub(s->text, s->at, ADDRESS_TEXT_MAX);
    unsigned marks = 0;
    if (rest.n < 2 || rest.p[0] != '=' || rest.p[1] != '?')
        return 0;
    for (size_t i = 2; i < rest.n && rest.p[i] > ' '; i++) {
        if (rest.p[i] != '?')
            continue;
        marks++;
        if (marks > 2 && i + 1 < rest.n && rest.p[i + 1] == '=')
            return i + 2;
    }
    return 0;
}

/* A run of anything that is neither white space nor one of the specials (RFC 5322 3.2.3; 8-bit by
 * RFC 6532). */
static void take_atom(struct address_scan *s, struct element *e)
{
    size_t begin = s->at;
    size_t encoded = encoded_word(s);
    if (encoded > 0) { /* only ever part of a display name */
        s->at += encoded;
        e->phrase = e->word_last = true;
        return;
    }
    while (!at_end(s) && peek(s) != 0 && strchr(" \t\r\n()<>[]:;@\\,.\"", peek(s)) == NULL)
        s->at++;
    if (s->at == begin) { /* a character that may not stand here */
        e->bad = true;
        s->at++;
        return;
    }
    add_word(e, span_sub(s->text, begin, s->at - begin));
}

/* One token of an addr-spec or a display name; the caller has dealt with < > , ; : */
static void take_token(struct address_scan *s, struct element *e)
{
    uint8_t c = peek(s);
    if (c == '"') {
        take_enclosed(s, e, '"');
    } else if (c == '[' && e->at) {
        take_enclosed(s, e, ']');
    } else if (c == '@') {
        e->bad |= e->at || e->out->n == 0;
        e->at = e->domain_empty = true;
        e->word_last = false;
        (void)buf_add_byte(e->out, c);
        s->at++;
    } else if (c == '.') {
        if (!e->word_last) /* at the begin of a part, or doubled: old phones did, we take it */
            e->bad |= e->at;
        e->word_last = false;
        (void)buf_add_byte(e->out, c);
        s->at++;
    } else {
        take_atom(s, e);
    }
}

/* obs-route = obs-domain-list ":" — "<@a,@b:user@c>"; stripped (RFC 5322 4.4). */
static void skip_route(struct address_scan *s, struct element *e)
{
    if (peek(s) != '@')
        return;
    while (!at_end(s) && peek(s) != ':' && peek(s) != '>')
        s->at++;
    if (peek(s) == ':')
        s->at++;
    else
        e->bad = true;
}

/* angle-addr = [CFWS] "<" addr-spec ">" [CFWS]; stands behind the "<". */
static void take_angle(struct address_scan *s, struct element *e)
{
    reset(e); /* what stood before was a display name */
    e->bad |= !skip_cfws(s);
    skip_route(s, e);
    for (;;) {
        e->bad |= !skip_cfws(s);
        uint8_t c = peek(s);
        if (at_end(s) || c == '<' || c == ',' || c == ';' || c == ':') {
            e->bad = true;
            return;
        }
        if (c == '>') {
            s->at++;
            return;
        }
        take_token(s, e);
    }
}

/* Up to the separator that ends this element, which is consumed; true when something stood there.
 */
static bool skip_rest(struct address_scan *s)
{
    bool something = false;
    while (!at_end(s)) {
        if (!skip_cfws(s))
            return true;
        uint8_t c = peek(s);
        if (at_end(s))
            break;
        s->at++;
        if (c == ';')
            s->in_group = false;
        if (c == ',' || c == ';')
            break;
        something = true;
    }
    return something;
}

static enum address_result finish(struct element *e)
{
    bool good = !e->bad && !e->phrase && !e->domain_empty && e->out->n > 0 && !e->out->failed &&
                e->out->n <= ADDRESS_TEXT_MAX && e->word_last;
    return good ? ADDRESS_OK : ADDRESS_BAD;
}

enum address_result address_next(struct address_scan *s, struct buf *out)
{
    struct element e = {.out = out};
    reset(&e);
    bool begun = false; /* some token of this element was read */
    for (;;) {
        e.bad |= !skip_cfws(s);
        uint8_t c = peek(s);
        if (at_end(s))
            return begun || e.bad ? finish(&e) : ADDRESS_END;
        if (c == ',' || c == ';') { /* ';' ends a group, and separates where Outlook wrote it */
            s->at++;
            if (c == ';')
                s->in_group = false;
            if (begun)
                return finish(&e);
            continue; /* an empty element */
        }
        begun = true;
        if (c == ':') { /* group = display-name ":" [group-list] ";" */
            s->at++;
            e.bad |= s->in_group || e.at;
            s->in_group = true;
            reset(&e);
            begun = e.bad;
        } else if (c == '<') {
            s->at++;
            e.bad = false; /* whatever stood before is a display name, "a@b <a@b>" too */
            take_angle(s, &e);
            e.bad |= skip_rest(s);
            return finish(&e);
        } else if (c == '>') {
            s->at++;
            e.bad = true;
        } else {
            take_token(s, &e);
        }
    }
}
