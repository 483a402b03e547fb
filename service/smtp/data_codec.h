/* data_codec.h - message content as it stands on the wire, in both directions.
 * Server side: a decoder that undoes dot-stuffing, finds the end and holds the bare CR/LF policy.
 * Client side: an encoder that stuffs dots and never lets a bare CR or LF out, so that we are never
 * the sending half of a smuggling pair (RFC 5321 2.3.8, 4.5.2; VU#302671).
 * Owner: the caller (small structs, no allocation). Content in our hands always has CRLF lines. */
#ifndef POSTERN_SMTP_DATA_CODEC_H
#define POSTERN_SMTP_DATA_CODEC_H

#include "base/buf.h"
#include "base/span.h"

enum smtp_bare_lf {
    SMTP_BARE_LF_REJECT,    /* a bare LF or CR anywhere: the whole message is refused */
    SMTP_BARE_LF_NORMALISE, /* LF alone, and CRs before an LF, become one CRLF; a CR in the middle
                               of a line is refused all the same (as a line end it could end a
                               header where its writer saw none) */
};

enum smtp_data_kind {
    SMTP_DATA_DOTS,   /* DATA: dot-stuffed, ends with CRLF.CRLF */
    SMTP_DATA_CHUNKS, /* BDAT: dots mean nothing, the end is counted by the caller */
};

/* Where the decoder stands. LINE = a line begins after CRLF; LF_LINE = one begins after a bare LF.
 */
enum smtp_data_state {
    SMTP_DATA_LINE,
    SMTP_DATA_LINE_DOT,    /* CRLF .      the dot is held back */
    SMTP_DATA_LINE_DOT_CR, /* CRLF . CR   both are held back */
    SMTP_DATA_TEXT,
    SMTP_DATA_CR, /* a CR (NORMALISE: or several) is held back until the next byte tells what it is
                   */
    SMTP_DATA_LF_LINE,
    SMTP_DATA_LF_LINE_DOT, /* bare LF .   the dot is held back */
    SMTP_DATA_ENDED,
};

struct smtp_data_decoder {
    enum smtp_data_kind kind;
    enum smtp_bare_lf policy;
    enum smtp_data_state state;
    bool bare_lf; /* one was seen, whatever the policy */
    bool bare_cr;
    bool refused; /* the policy refuses this content: from here on nothing is given out */
};

/* What one step of the decoder gives. */
struct smtp_data_piece {
    struct span out; /* decoded bytes: inside the input, or a constant; may be empty */
    size_t used;     /* bytes of the input that are done with */
    bool end;        /* CRLF.CRLF was reached; the rest of the input is commands */
};

void smtp_data_decoder_init(struct smtp_data_decoder *d, enum smtp_data_kind kind,
                            enum smtp_bare_lf policy);

/* One step; makes progress on any non-empty input (`used` may be 0 where a held-back byte is given
 * out). Call until the input is used up or `end`. The joined output depends on the joined input
 * only, not on how it was cut. */
struct smtp_data_piece smtp_data_decode(struct smtp_data_decoder *d, struct span in);

/* CHUNKS: the last octet has been given. A CR still held back is a bare one. */
void smtp_data_decode_end(struct smtp_data_decoder *d);

struct smtp_data_encoder {
    enum smtp_data_kind kind;
    bool line; /* at the start of a line */
    bool cr;   /* the last byte was a CR, not yet written */
};

void smtp_data_encoder_init(struct smtp_data_encoder *e, enum smtp_data_kind kind);

/* Appends the encoded form to out. A bare LF or CR becomes CRLF, so each line of the result starts
 * after CRLF and is stuffed by that. False when out is full: out may then hold a part, give up. Out
 * never needs more than 2 * in.n + 2 bytes. */
bool smtp_data_encode(struct smtp_data_encoder *e, struct span in, struct buf *out);

/* DOTS: ends an unfinished line, then writes ".\r\n". CHUNKS: writes a CR held back as CRLF, and
 * nothing else: an unfinished last line stays so. */
bool smtp_data_encode_end(struct smtp_data_encoder *e, struct buf *out);

#endif
