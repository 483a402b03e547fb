/* Header scanner, Bcc filter and address reader on any bytes. The first byte is where the rest is
 * cut in two; what must hold: the cut changes nothing, the filter only ever removes whole fields
 * (its output is a subsequence of its input, of the same length where it says that it dropped
 * nothing), a filtered message shows no Bcc to the scanner, addresses hold nothing that cannot be
 * in one. */
#include "message/address.h"
#include "message/header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

struct found {
    struct header_scan scan;
    size_t header_n;
    struct buf to, bcc;
};

static void scan(struct found *f, struct span message, size_t cut)
{
    memset(f, 0, sizeof *f);
    buf_init(&f->to, 2000);
    buf_init(&f->bcc, 2000);
    struct header_capture captures[] = {
        {"To", &f->to, 0}, {"Bcc", &f->bcc, 0}, {"Resent-Bcc", &f->bcc, 0}};
    header_scan_init(&f->scan, "relay.example.net", captures, 3);
    f->header_n = header_scan_feed(&f->scan, span_sub(message, 0, cut));
    if (f->header_n == cut)
        f->header_n += header_scan_feed(&f->scan, span_from(message, cut));
    header_scan_end(&f->scan);
    check(f->scan.ended && f->header_n <= message.n);
    f->scan.captures = NULL;
    f->scan.capture = NULL;
    f->scan.capture_count = captures[1].count + captures[2].count;
}

static void done(struct found *f)
{
    buf_deinit(&f->to);
    buf_deinit(&f->bcc);
}

static void filter(struct buf *out, struct span message, size_t cut, size_t *dropped)
{
    struct header_filter f;
    buf_init(out, message.n + HEADER_NAME_MAX + 1);
    header_filter_init(&f, header_bcc_names);
    check(header_filter_feed(&f, span_sub(message, 0, cut), out));
    check(header_filter_feed(&f, span_from(message, cut), out));
    check(header_filter_end(&f, out));
    *dropped = f.dropped;
}

static void check_subsequence(struct span whole, struct span part)
{
    size_t at = 0;
    for (size_t i = 0; i < part.n; i++, at++) {
        while (at < whole.n && whole.p[at] != part.p[i])
            at++;
        check(at < whole.n);
    }
}

static void read_addresses(struct span text)
{
    struct address_scan s;
    struct buf out;
    buf_init(&out, ADDRESS_TEXT_MAX);
    address_scan_init(&s, text);
    enum address_result result;
    size_t rounds = 0;
    while ((result = address_next(&s, &out)) != ADDRESS_END) {
        check(rounds++ <= text.n + 1);
        struct span a = buf_span(&out);
        if (result != ADDRESS_OK)
            continue;
        check(a.n > 0 && a.n <= ADDRESS_TEXT_MAX);
        for (size_t i = 0; i < a.n; i++)
            check(a.p[i] >= ' ' && a.p[i] != 0x7f);
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span message = span_of(data + 1, size - 1);
    size_t cut = data[0] <= message.n ? data[0] : message.n;
    struct found whole, pieces, after;
    scan(&whole, message, message.n);
    scan(&pieces, message, cut);
    check(whole.header_n == pieces.header_n && whole.scan.malformed == pieces.scan.malformed &&
          whole.scan.received == pieces.scan.received && whole.scan.own == pieces.scan.own &&
          whole.scan.eightbit == pieces.scan.eightbit &&
          whole.scan.capture_count == pieces.scan.capture_count &&
          span_equal(buf_span(&whole.to), buf_span(&pieces.to)));
    struct buf a, b;
    size_t dropped, dropped_in_pieces;
    filter(&a, message, message.n, &dropped);
    filter(&b, message, cut, &dropped_in_pieces);
    check(span_equal(buf_span(&a), buf_span(&b)) && dropped == dropped_in_pieces);
    check((dropped == 0) == (a.n == message.n) && dropped >= whole.scan.capture_count);
    check_subsequence(message, buf_span(&a));
    scan(&after, buf_span(&a), a.n);
    check(after.scan.capture_count == 0);
    read_addresses(buf_span(&whole.to));
    read_addresses(message);
    buf_deinit(&a);
    buf_deinit(&b);
    done(&whole);
    done(&pieces);
    done(&after);
    return 0;
}
