/* reply.h - what an SMTP server says: code, enhanced code (RFC 3463), text; written and read.
 * Owner: the caller. A reply is a small value whose text is borrowed; the parser owns a bounded
 * buffer. Failure: a writer returns false when out is full; the parser says BAD and stays there
 * (RFC 5321 4.2; bounds because of CVE-2020-8794 and its kin). */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include "base/buf.h"
#include "base/span.h"

struct smtp_reply {
    uint16_t code;     /* 200-599; 0 = no reply */
    char enhanced[12]; /* "5.7.1", or "" where there is none (3xx, greeting, EHLO, HELP) */
    struct span text;  /* without codes; several lines are separated by '\n' */
};

/* enhanced and text may be NULL; text is borrowed until the reply was written. */
struct smtp_reply smtp_reply_make(uint16_t code, const char *enhanced, const char *text);

/* code / 100 is 2 */
bool smtp_reply_is_ok(const struct smtp_reply *reply);

/* Writes all lines with CRLF, the enhanced code on each. No text can break a line or add one:
 * control characters become '?', as does 8-bit that is no UTF-8; a line past 900 octets is cut. */
bool smtp_reply_write(const struct smtp_reply *reply, struct buf *out);

enum {
    SMTP_REPLY_LINES_MAX = 128,   /* an EHLO reply has some 20 */
    SMTP_REPLY_LINE_MAX = 4096,   /* RFC 5321 says 512; long explanations exist */
    SMTP_REPLY_BYTES_MAX = 16384, /* of all lines together */
};

enum smtp_reply_status {
    SMTP_REPLY_MORE, /* all bytes taken, the reply is not complete */
    SMTP_REPLY_DONE, /* one reply is complete; bytes behind it were not taken */
    SMTP_REPLY_BAD,  /* no reply, or past a bound, or no memory: hang up */
};

/* Reads one reply at a time out of bytes that come in any pieces. The struct is small; text grows
 * with what arrives, up to SMTP_REPLY_BYTES_MAX. */
struct smtp_reply_parser {
    struct buf text;     /* finished lines without codes, '\n' between them */
    struct buf line;     /* the line under way, only while it is in pieces */
    const char *failure; /* why BAD, for the log */
    uint32_t bytes;      /* of this reply so far */
    uint16_t lines;
    uint16_t code;
    char enhanced[12];
    bool done;
    bool bad;
};

void smtp_reply_parser_init(struct smtp_reply_parser *p);
void smtp_reply_parser_deinit(struct smtp_reply_parser *p);

/* Takes bytes up to the end of one reply; *used says how many. The first call after DONE begins the
 * next reply. Lines may end with a bare LF (read tolerantly: nothing depends on it); all lines
 * must carry the same code, the first digit 2-5. */
enum smtp_reply_status smtp_reply_parser_feed(struct smtp_reply_parser *p, struct span bytes,
                                              size_t *used);

/* The reply after DONE; its text is valid until the next feed. The enhanced code is taken off the
 * text of every line where it is well-formed and its class fits the code. */
struct smtp_reply smtp_reply_parser_reply(const struct smtp_reply_parser *p);

/* Line number i (from 0) of a reply's text: for the keywords of an EHLO reply. False past the end.
 */
bool smtp_reply_line(const struct smtp_reply *reply, size_t i, struct span *line);

#endif
