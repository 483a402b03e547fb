/* grammar.h - command lines and ESMTP parameters, read by pure functions (RFC 5321 4.1).
 * Owner: the caller; spans in results point into the line. No allocation, no state. Failure: false
 * with the refusal to send, whose text is constant. */
#ifndef POSTERN_SMTP_GRAMMAR_H
#define POSTERN_SMTP_GRAMMAR_H

#include "smtp/path.h"
#include "smtp/reply.h"

enum smtp_verb {
    SMTP_VERB_EHLO,
    SMTP_VERB_HELO,
    SMTP_VERB_MAIL,
    SMTP_VERB_RCPT,
    SMTP_VERB_DATA,
    SMTP_VERB_BDAT,
    SMTP_VERB_RSET,
    SMTP_VERB_NOOP,
    SMTP_VERB_VRFY,
    SMTP_VERB_HELP,
    SMTP_VERB_QUIT,
    SMTP_VERB_STARTTLS,
    SMTP_VERB_AUTH,
    SMTP_VERB_COUNT,
    SMTP_VERB_NOT_DONE = SMTP_VERB_COUNT, /* known to SMTP, not to us: EXPN, TURN, ... (502) */
    SMTP_VERB_NOT_SMTP,                   /* GET, POST, ...: a browser was led here */
    SMTP_VERB_UNKNOWN,
};

/* The word at the front of a line that has no line end; args is what stands behind it, without the
 * spaces around. */
enum smtp_verb smtp_verb_find(struct span line, struct span *args);

/* What the session may use: EHLO was said, and what the options offer. */
struct smtp_dialect {
    bool extended;
    bool smtputf8;
    bool dsn;
};

enum smtp_body_type {
    SMTP_BODY_NONE, /* no BODY parameter */
    SMTP_BODY_7BIT,
    SMTP_BODY_8BITMIME,
};

enum smtp_ret {
    SMTP_RET_NONE,
    SMTP_RET_FULL,
    SMTP_RET_HDRS,
};

enum { /* RFC 3461 4.1, bits; 0 = no NOTIFY parameter */
       SMTP_NOTIFY_NEVER = 1,
       SMTP_NOTIFY_SUCCESS = 2,
       SMTP_NOTIFY_FAILURE = 4,
       SMTP_NOTIFY_DELAY = 8,
};

struct smtp_mail_params {
    bool has_size;
    bool smtputf8;
    enum smtp_body_type body;
    enum smtp_ret ret;
    uint64_t size;
    struct span envid; /* xtext as given, at most 100 octets; empty = none */
    struct span auth;  /* xtext as given, or "<>"; empty = none. A claim of the client's only. */
};

struct smtp_rcpt_params {
    uint8_t notify;    /* SMTP_NOTIFY_ bits */
    struct span orcpt; /* "rfc822;xtext" as given, at most 500 octets; empty = none */
};

/* args of MAIL: "FROM:" Reverse-path [SP Mail-parameters] (RFC 5321 4.1.1.2) */
bool smtp_mail_parse(struct span args, struct smtp_dialect dialect, struct smtp_path *path,
                     struct smtp_mail_params *params, struct smtp_reply *refusal);
/* args of RCPT: "TO:" Forward-path [SP Rcpt-parameters] (RFC 5321 4.1.1.3); utf8 = the MAIL
 * command had SMTPUTF8. */
bool smtp_rcpt_parse(struct span args, struct smtp_dialect dialect, bool utf8,
                     struct smtp_path *path, struct smtp_rcpt_params *params,
                     struct smtp_reply *refusal);

/* args of BDAT: chunk-size [SP "LAST"] (RFC 3030 2); false where the octets that follow cannot be
 * counted, or something foreign stands behind. */
bool smtp_bdat_parse(struct span args, uint64_t *size, bool *last);

/* xtext (RFC 3461 4) without encoded control characters: they would come out in a DSN. utf8 also
 * takes UTF-8 (utf-8-addr-unitext, RFC 6533 3). */
bool smtp_xtext_valid(struct span text, bool utf8);

/* The argument of EHLO/HELO made fit for a Received line; *odd where it is no host name or literal.
 * out has SMTP_PATH_MAX bytes. */
void smtp_hello_name(struct span arg, char *out, bool *odd);

#endif
