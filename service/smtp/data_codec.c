#include "smtp/data_codec.h"

#include <string.h>

void smtp_data_decoder_init(struct smtp_data_decoder *d, enum smtp_data_kind kind,
                            enum smtp_bare_lf policy)
{
    *d = (struct smtp_data_decoder){.kind = kind, .policy = policy, .state = SMTP_DATA_LINE};
}

static struct smtp_data_piece piece(struct span out, size_t used)
{
    return (struct smtp_data_piece){.out = out, .used = used};
}

static struct smtp_data_piece constant(const char *text, size_t used)
{
    return piece(span_str(text), used);
}

static void bare_cr(struct smtp_data_decoder *d, bool refuse)
{
    d->bare_cr = true;
    d->refused = d->refused || refuse;
}

/* A bare LF stands at in.p[at]; everything before it is plain. */
static struct smtp_data_piece bare_lf(struct smtp_data_decoder *d, struct span in, size_t at)
{
    d->bare_lf = true;
    if (d->policy == SMTP_BARE_LF_REJECT) {
        d->refused = true;
        d->state = SMTP_DATA_LF_LINE;
        return piece(span_sub(in, 0, at), at + 1);
    }
    if (at > 0) { /* first what stands before it, the next step finds it at the front */
        d->state = SMTP_DATA_TEXT;
        return piece(span_sub(in, 0, at), at);
    }
    d->state = SMTP_DATA_LF_LINE;
    return constant("\r\n", 1);
}

/* The fast way: as many whole lines as stand in one piece, up to a dot, a bare CR or LF, or the
 * end. Two memchr a line. */
static struct smtp_data_piece plain_run(struct smtp_data_decoder *d, struct span in)
{
    bool dots = d->kind == SMTP_DATA_DOTS;
    size_t i = 0;
    while (i < in.n) {
        if (dots && in.p[i] == '.' && d->state != SMTP_DATA_TEXT) {
            d->state = d->state == SMTP_DATA_LINE ? SMTP_DATA_LINE_DOT : SMTP_DATA_LF_LINE_DOT;
            return piece(span_sub(in, 0, i), i + 1);
        }
        const uint8_t *lf = memchr(in.p + i, '\n', in.n - i);
        size_t end = lf == NULL ? in.n : (size_t)(lf - in.p);
        const uint8_t *cr = end == i ? NULL : memchr(in.p + i, '\r', end - i);
        if (cr == NULL && lf != NULL)
            return bare_lf(d, in, end);
        if (cr == NULL) {
            d->state = SMTP_DATA_TEXT;
            return piece(in, in.n);
        }
        size_t at = (size_t)(cr - in.p);
        if (lf == NULL || at + 1 < end) { /* the last byte, or not before an LF: the next tells */
            d->state = SMTP_DATA_CR;
            return piece(span_sub(in, 0, at), at + 1);
        }
        d->state = SMTP_DATA_LINE;
        i = end + 1;
    }
    return piece(in, in.n);
}

/* A CR is held back and c is the next byte. */
static struct smtp_data_piece after_cr(struct smtp_data_decoder *d, uint8_t c)
{
    if (c == '\n') {
        d->state = SMTP_DATA_LINE;
        return constant("\r\n", 1);
    }
    if (c == '\r') {
        bare_cr(d, d->policy == SMTP_BARE_LF_REJECT);
        return constant("", 1);
    }
    bare_cr(d, true);
    d->state = SMTP_DATA_TEXT;
    return constant("", 0);
}

static struct smtp_data_piece step(struct smtp_data_decoder *d, struct span in)
{
    uint8_t c = in.p[0];
    switch (d->state) {
    case SMTP_DATA_LINE:
    case SMTP_DATA_LF_LINE:
    case SMTP_DATA_TEXT: return plain_run(d, in);
    case SMTP_DATA_CR: return after_cr(d, c);
    case SMTP_DATA_LINE_DOT:
        /* RFC 5321 4.5.2: a dot that is not alone on its line was put there by the client. */
        d->state = c == '\r' ? SMTP_DATA_LINE_DOT_CR : SMTP_DATA_TEXT;
        return constant("", c == '\r' ? 1 : 0);
    case SMTP_DATA_LINE_DOT_CR:
        if (c == '\n') {
            d->state = SMTP_DATA_ENDED;
            return (struct smtp_data_piece){.used = 1, .end = true};
        }
        d->state = SMTP_DATA_CR;
        return constant("", 0);
    case SMTP_DATA_LF_LINE_DOT:
        /* A client of LF lines may stuff dots or not: ".." was stuffed, ".x" was not, and never is
         * it an end. The dot kept here is content, and stuffed again on the way out. */
        d->state = SMTP_DATA_TEXT;
        return constant(".", c == '.' ? 1 : 0);
    case SMTP_DATA_ENDED: break;
    }
    return (struct smtp_data_piece){.end = true};
}

struct smtp_data_piece smtp_data_decode(struct smtp_data_decoder *d, struct span in)
{
    if (in.n == 0)
        return piece(in, 0);
    bool silent = d->refused;
    struct smtp_data_piece p = step(d, in);
    if (silent)
        p.out = span_of(NULL, 0);
    return p;
}

void smtp_data_decode_end(struct smtp_data_decoder *d)
{
    if (d->state == SMTP_DATA_CR)
        bare_cr(d, true);
    d->state = SMTP_DATA_ENDED;
}

void smtp_data_encoder_init(struct smtp_data_encoder *e, enum smtp_data_kind kind)
{
    *e = (struct smtp_data_encoder){.kind = kind, .line = true};
}

/* Length of the run from `from` that can be written as it stands: up to a line's dot, a bare CR or
 * LF, or the end. e->line says where it ended. */
static size_t encode_run(struct smtp_data_encoder *e, struct span in, size_t from)
{
    size_t i = from;
    while (i < in.n) {
        if (i > from && e->line && in.p[i] == '.' && e->kind == SMTP_DATA_DOTS)
            return i - from;
        const uint8_t *lf = memchr(in.p + i, '\n', in.n - i);
        size_t end = lf == NULL ? in.n : (size_t)(lf - in.p);
        const uint8_t *cr = end == i ? NULL : memchr(in.p + i, '\r', end - i);
        size_t at = cr == NULL ? end : (size_t)(cr - in.p);
        if (lf == NULL || cr == NULL || at + 1 < end) {
            e->line = e->line && at == i;
            return at - from;
        }
        e->line = true;
        i = end + 1;
    }
    return i - from;
}

bool smtp_data_encode(struct smtp_data_encoder *e, struct span in, struct buf *out)
{
    size_t i = 0;
    while (i < in.n) {
        uint8_t c = in.p[i];
        if (e->cr || c == '\n') { /* a CR that waits ends a line in any case, with its LF if any */
            (void)buf_add_str(out, "\r\n");
            i += c == '\n' ? 1 : 0;
            e->cr = false;
            e->line = true;
            continue;
        }
        if (c == '\r') {
            e->cr = true;
            i++;
            continue;
        }
        if (e->line && c == '.' && e->kind == SMTP_DATA_DOTS)
            (void)buf_add_byte(out, '.');
        size_t n = encode_run(e, in, i);
        if (!buf_add(out, span_sub(in, i, n)))
            return false;
        i += n;
    }
    return !out->failed;
}

bool smtp_data_encode_end(struct smtp_data_encoder *e, struct buf *out)
{
    if (e->cr || (e->kind == SMTP_DATA_DOTS && !e->line))
        (void)buf_add_str(out, "\r\n");
    e->cr = false;
    e->line = true;
    if (e->kind == SMTP_DATA_DOTS)
        (void)buf_add_str(out, ".\r\n");
    return !out->failed;
}
