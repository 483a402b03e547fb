/* header.h - a message's header, read while it streams by: its end, its hops, what is missing,
 * selected fields, and a filter that drops fields (Bcc).
 *
 * Owner: the caller's structs. Threads: none of its own. Failure: a broken header is no error; a
 * line that can be no header field ends the header, as everywhere else in the world of mail.
 * State is bounded whatever comes. Lines end with CRLF or LF; a bare CR is a character.
 * Source: RFC 5322 2.2, 3.6, 4.5 (space before the colon is taken). */
#ifndef POSTERN_MESSAGE_HEADER_H
#define POSTERN_MESSAGE_HEADER_H

#include "base/buf.h"
#include "base/span.h"

enum {
    HEADER_NAME_MAX = 78,   /* longer names are fields that we do not know */
    HEADER_TOKEN_MAX = 256, /* a host name in Received */
};

/* A field to keep: value grows by each occurrence, unfolded (2.2.3), occurrences joined by ", ".
 * A value whose buffer is full is cut: look at value->failed. */
struct header_capture {
    const char *name; /* without the colon, any case */
    struct buf *value;
    unsigned count; /* occurrences */
};

struct header_scan {
    /* What was found; true once seen, so final only when ended (or at the end of the message). */
    bool ended;     /* the empty line, or a line that is no field */
    bool malformed; /* it was the latter, or a name of forbidden characters */
    bool eightbit;  /* some byte of the header is over 127: the header needs SMTPUTF8 */
    bool has_date, has_message_id, has_from;
    unsigned received; /* hops so far */
    unsigned own;      /* of these "by <our name>": a loop through ourselves */

    /* The scanner's own. */
    const char *own_name;
    struct header_capture *captures;
    size_t capture_count;
    struct header_capture *capture;
    int state;
    bool in_received, after_by;
    size_t name_n, token_n, comment_depth;
    char name[HEADER_NAME_MAX];
    char token[HEADER_TOKEN_MAX];
};

/* own_name may be NULL; captures stay the caller's and must outlive the scanner. */
void header_scan_init(struct header_scan *s, const char *own_name, struct header_capture *captures,
                      size_t capture_count);

/* Takes header bytes up to and with the empty line and returns how many those were; bytes.n while
 * the header goes on, 0 when it has ended before. Where a line that is no field ends the header,
 * its first bytes may have been taken already. */
size_t header_scan_feed(struct header_scan *s, struct span bytes);
/* The message is over; an unfinished field counts. */
void header_scan_end(struct header_scan *s);

/* Hop limit: true when the message has made more hops than the limit (0 switches it off). */
bool header_hops_exceeded(unsigned received, unsigned limit);

/* Copies a message and drops header fields, their folded lines too. */
struct header_filter {
    const char *const *names; /* NULL at the end; any case; stays the caller's */
    int state;
    size_t name_n;
    bool dropping; /* the line before was dropped: a folded one goes with it */
    char name[HEADER_NAME_MAX];
    size_t dropped; /* fields */
};

extern const char *const header_bcc_names[]; /* Bcc, Resent-Bcc */

void header_filter_init(struct header_filter *f, const char *const *names);
/* False when out is full. At most HEADER_NAME_MAX bytes are held back until the next feed. */
bool header_filter_feed(struct header_filter *f, struct span bytes, struct buf *out);
bool header_filter_end(struct header_filter *f, struct buf *out);
/* In the body everything is copied: the caller may stop filtering. */
bool header_filter_in_body(const struct header_filter *f);

#endif
