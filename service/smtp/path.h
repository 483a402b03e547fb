/* path.h - the addresses of an envelope, read once into a struct (RFC 5321 4.1.2, RFC 6531 3.3).
 * Owner: the caller (one plain struct, no pointers, may be copied). No allocation, no state.
 * Failure: a result that says what is wrong; *path is then all zero. */
#ifndef POSTERN_SMTP_PATH_H
#define POSTERN_SMTP_PATH_H

#include "base/span.h"

enum {
    SMTP_PATH_MAX = 256,   /* RFC 5321 4.5.3.1.3: octets, angle brackets and route included */
    SMTP_DOMAIN_MAX = 255, /* RFC 5321 4.5.3.1.2 */
};

struct smtp_path {
    char address[SMTP_PATH_MAX]; /* as it is sent onward: local@domain with the quoting and the
                                    case that the client used, source route taken off; "" for <>,
                                    "postmaster" for the bare one. NUL-terminated, no NUL inside. */
    char local[SMTP_PATH_MAX];   /* the local part after unquoting; printable, NUL-terminated */
    char domain[SMTP_DOMAIN_MAX + 1]; /* ASCII letters lower-cased; U-labels stay UTF-8; a literal
                                         keeps its brackets; "" for <> and bare postmaster */
    uint16_t local_n;
    uint16_t domain_n;
    bool null;            /* <> */
    bool bare_postmaster; /* <postmaster> without a domain, any case (RFC 5321 4.5.1) */
    bool literal;         /* domain is [192.0.2.1] or [IPv6:2001:db8::1] */
    bool utf8;            /* non-ASCII somewhere: needs SMTPUTF8 at every hop */
    bool quoted;          /* the local part was a quoted string */
};

enum smtp_path_result {
    SMTP_PATH_OK,
    SMTP_PATH_EMPTY,    /* nothing there: for a recipient an error; a sender should use <> */
    SMTP_PATH_SYNTAX,   /* not a mailbox */
    SMTP_PATH_DOMAIN,   /* the domain is at fault: empty label, hyphen at a label's end, ... */
    SMTP_PATH_BARE,     /* no domain, and not postmaster */
    SMTP_PATH_LONG,     /* over SMTP_PATH_MAX or SMTP_DOMAIN_MAX */
    SMTP_PATH_BAD_UTF8, /* 8-bit bytes that are no UTF-8 */
};

/* Reads an address without brackets, `local@domain` or `postmaster`; the empty text gives
 * SMTP_PATH_EMPTY. For Pickup, `send`, `explain`, headers. Nothing may stand before or behind. */
enum smtp_path_result smtp_path_parse_address(struct span text, struct smtp_path *path);

/* Reads `<...>` at the front of text (null path, source route and bare postmaster included) and
 * tells by *used how many bytes it took; what follows is the caller's to judge. */
enum smtp_path_result smtp_path_parse(struct span text, struct smtp_path *path, size_t *used);

/* What is wrong, for a reply or a log: "the domain has an empty label or ...". "" for OK. */
const char *smtp_path_why(enum smtp_path_result result);

/* True where the unquoted local part holds @ % ! or : , by which a further hop might be named;
 * design "Policy in words": only clients with the relay right may use those. */
bool smtp_path_has_routing(const struct smtp_path *path);

/* True for a host name as the paths take it: 1-255 octets, labels of letters, digits, hyphen,
 * underscore or UTF-8, none empty, none with a hyphen at an end, ASCII ones up to 63. */
bool smtp_domain_valid(struct span name);

/* RFC 3629: shortest form, no surrogates, no more than U+10FFFF. */
bool smtp_utf8_valid(struct span text);

#endif
