#include "session/pickup_file.h"

#include "message/address.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_MAX = 256 * 1024, /* of envelope lines and header together */
    PIECE_SIZE = 64 * 1024,
    ARENA_MAX = 16 * 1024 * 1024,
};

static bool read_more(struct pickup_file *f, size_t room, struct err *e)
{
    while (!f->ended && f->raw.n < room) {
        uint8_t *to = buf_room(&f->raw, PIECE_SIZE);
        size_t n = 0;
        if (to == NULL)
            return err_set(e, ERR_TEMP, "no memory");
        if (!file_reader_next(&f->reader, to, PIECE_SIZE, &n, e))
            return false;
        buf_grew(&f->raw, n);
        f->ended = n == 0;
    }
    return true;
}

static bool add_recipient(struct pickup_file *f, struct span address, struct err *e)
{
    for (size_t i = 0; i < f->recipient_count; i++)
        if (span_equal_nocase(f->recipients[i], address))
            return true; /* in To and in Cc: once is enough */
    if (f->recipient_count == PICKUP_RECIPIENTS_MAX)
        return err_set(e, ERR_PERM, "more than %d recipients", PICKUP_RECIPIENTS_MAX);
    if (f->recipient_count == f->recipient_cap) {
        size_t cap = f->recipient_cap == 0 ? 8 : f->recipient_cap * 2;
        struct span *more = realloc(f->recipients, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_TEMP, "no memory");
        f->recipients = more;
        f->recipient_cap = cap;
    }
    struct span copy = arena_span(&f->arena, address);
    if (copy.n != address.n)
        return err_set(e, ERR_TEMP, "no memory");
    f->recipients[f->recipient_count++] = copy;
    return true;
}

/* "x-receiver: <a@b>" -> a@b */
static struct span line_value(struct span line, size_t name)
{
    struct span v = span_trim(span_from(line, name));
    if (v.n >= 2 && v.p[0] == '<' && v.p[v.n - 1] == '>')
        v = span_sub(v, 1, v.n - 2);
    return v;
}

/* The lines that IIS puts in front of the message and takes off again. */
static bool take_envelope_lines(struct pickup_file *f, bool *has_sender, struct err *e)
{
    static const char sender[] = "x-sender:", receiver[] = "x-receiver:";
    struct span all = buf_span(&f->raw);
    size_t used = 0;
    for (;;) {
        struct span rest = span_from(all, used);
        size_t end = span_find(rest, '\n');
        struct span line = span_sub(rest, 0, end);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (end == rest.n)
            break;
        if (span_starts_nocase(line, sender)) {
            struct span value = line_value(line, sizeof sender - 1);
            if (*has_sender)
                return err_set(e, ERR_PERM, "more than one x-sender line");
            *has_sender = true;
            f->sender = arena_span(&f->arena, value);
            if (f->sender.n != value.n)
                return err_set(e, ERR_TEMP, "no memory");
        } else if (span_starts_nocase(line, receiver)) {
            if (!add_recipient(f, line_value(line, sizeof receiver - 1), e))
                return false;
        } else {
            break;
        }
        used += end + 1;
    }
    buf_consume(&f->raw, used);
    return true;
}

static bool addresses_of(struct pickup_file *f, const char *field, struct buf *value, bool sender,
                         struct err *e)
{
    struct address_scan scan;
    struct buf address;
    bool ok = true;
    if (value->failed)
        return err_set(e, ERR_PERM, "the %s field is too long", field);
    address_scan_init(&scan, buf_span(value));
    buf_init(&address, ADDRESS_TEXT_MAX + 1);
    for (enum address_result r = ADDRESS_OK; ok && r != ADDRESS_END;) {
        r = address_next(&scan, &address);
        if (r == ADDRESS_BAD) {
            ok = err_set(e, ERR_PERM, "the %s field holds something that is no address", field);
        } else if (r == ADDRESS_OK && sender) {
            f->sender = arena_span(&f->arena, buf_span(&address));
            break;
        } else if (r == ADDRESS_OK) {
            ok = add_recipient(f, buf_span(&address), e);
        }
    }
    buf_deinit(&address);
    return ok;
}

static bool take_header_envelope(struct pickup_file *f, bool has_sender, struct err *e)
{
    static const char *const names[] = {"From", "To", "Cc", "Bcc"};
    struct buf values[4];
    struct header_capture captures[4];
    struct header_scan scan;
    bool ok = true;
    for (size_t i = 0; i < 4; i++) {
        buf_init(&values[i], HEADER_MAX);
        captures[i] = (struct header_capture){.name = names[i], .value = &values[i]};
    }
    header_scan_init(&scan, NULL, captures, 4);
    (void)header_scan_feed(&scan, buf_span(&f->raw));
    if (f->ended)
        header_scan_end(&scan);
    if (!scan.ended && !f->ended)
        ok = err_set(e, ERR_PERM, "no end of the header within %d bytes", HEADER_MAX);
    if (ok && !has_sender)
        ok = addresses_of(f, names[0], &values[0], true, e);
    bool by_lines = f->recipient_count > 0;
    for (size_t i = 1; ok && i < 4 && !by_lines; i++)
        ok = addresses_of(f, names[i], &values[i], false, e);
    for (size_t i = 0; i < 4; i++)
        buf_deinit(&values[i]);
    if (ok && f->recipient_count == 0)
        ok = err_set(e, ERR_PERM, "no recipient: neither x-receiver lines nor To, Cc or Bcc");
    return ok;
}

bool pickup_file_open(struct pickup_file *f, const char *path, struct err *e)
{
    struct files_info info;
    bool has_sender = false;
    *f = (struct pickup_file){.reader.handle = -1};
    arena_init(&f->arena, ARENA_MAX);
    buf_init(&f->raw, HEADER_MAX + 2 * PIECE_SIZE);
    header_filter_init(&f->filter, header_bcc_names);
    enum files_result result = file_reader_open(&f->reader, path, &info, e);
    if (result == FILES_ABSENT)
        (void)err_set(e, ERR_TEMP, "%s: gone", path);
    if (result == FILES_OK && read_more(f, HEADER_MAX, e) &&
        take_envelope_lines(f, &has_sender, e) && take_header_envelope(f, has_sender, e))
        return true;
    pickup_file_close(f);
    return false;
}

/* LF alone and CR alone become CRLF. */
static bool add_lines(struct pickup_file *f, struct span in, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        bool pair = c == '\n' && f->cr;
        if (f->cr && !pair) { /* the CR before stood alone */
            buf_add(out, span_sub(in, from, i - from));
            buf_add_byte(out, '\n');
            from = i;
        }
        if (c == '\n' && !f->cr) {
            buf_add(out, span_sub(in, from, i - from));
            buf_add_byte(out, '\r');
            from = i;
        }
        f->cr = c == '\r';
    }
    buf_add(out, span_from(in, from));
    return !out->failed;
}

bool pickup_file_next(struct pickup_file *f, struct buf *out, struct err *e)
{
    struct buf piece;
    if (!read_more(f, PIECE_SIZE, e))
        return false;
    struct span raw = span_sub(buf_span(&f->raw), 0, PIECE_SIZE);
    bool last = f->ended && raw.n == f->raw.n;
    buf_init(&piece, 4 * PIECE_SIZE);
    bool ok = header_filter_feed(&f->filter, raw, &piece) &&
              (!last || header_filter_end(&f->filter, &piece)) &&
              add_lines(f, buf_span(&piece), out);
    if (ok && last && f->cr) {
        ok = buf_add_byte(out, '\n');
        f->cr = false;
    }
    buf_deinit(&piece);
    buf_consume(&f->raw, raw.n);
    return ok || err_set(e, ERR_TEMP, "no memory");
}

void pickup_file_close(struct pickup_file *f)
{
    file_reader_close(&f->reader);
    buf_deinit(&f->raw);
    arena_deinit(&f->arena);
    free(f->recipients);
    f->recipients = NULL;
}
