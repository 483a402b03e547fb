/* directory.h - a bind to an LDAP directory under TLS, and searches as who was bound.
 * POSIX: OpenLDAP's library. Nothing of it shows here: results are the numbers of RFC 4511.
 * Owner: the backend has one struct directory; each check has a session of its own, for one thread.
 * Threads: any, many at once. BLOCKS, but a session with all that is done in it for no longer than
 * the deadline: at that moment its connection is cut. The servers are tried in order, each with its
 * share of what is left, beginning with the one that answered last.
 * Promise: no name and no password goes out before the server has shown a certificate of a trusted
 * authority with the name that the configuration has for it.
 * Sources: RFC 4511, RFC 4513 (binds and TLS), RFC 2830 3.6 (names), RFC 4532 (who am I). */
#ifndef POSTERN_PLATFORM_DIRECTORY_H
#define POSTERN_PLATFORM_DIRECTORY_H

#include "base/err.h"
#include "base/span.h"

struct directory_server {
    const char *host;
    uint16_t port;
    bool starttls; /* else TLS from the first byte */
};

struct directory_options {
    const struct directory_server *servers;
    size_t server_count;  /* at least one */
    const char *ca_file;  /* "" = the system's authorities */
    uint32_t deadline_ms; /* of one session */
};

struct directory;

/* Copies the options; contacts nobody. Fails without memory; what is wrong with ca_file is told by
 * directory_ready. sock_start must have been called. */
bool directory_open(const struct directory_options *options, struct directory **out, struct err *e);
void directory_close(struct directory **d);                     /* no session may live */
bool directory_ready(const struct directory *d, struct err *e); /* the authorities were loaded */
/* For an administrator who tries it out: every server answers and proves itself; the first that
 * does not is told. No name and no password goes out. */
bool directory_reach(struct directory *d, struct err *e);

enum directory_result { /* RFC 4511 appendix A, those that we tell apart */
                        DIRECTORY_SUCCESS = 0,
                        DIRECTORY_INVALID_CREDENTIALS = 49,
                        DIRECTORY_BUSY = 51,
                        DIRECTORY_SERVER_UNAVAILABLE = 52,
};

enum { DIRECTORY_TEXT_MAX = 256, DIRECTORY_NAME_MAX = 1024 };

enum directory_outcome {
    DIRECTORY_BOUND,
    DIRECTORY_REFUSED,   /* the server's word: code and text */
    DIRECTORY_NO_ANSWER, /* none of them was reached, proved itself and spoke in time: text */
};

struct directory_word {
    int code;                      /* RFC 4511 resultCode; may hold any number */
    char text[DIRECTORY_TEXT_MAX]; /* the server's diagnostic message, or what went wrong */
};

struct directory_session;

/* A simple bind. name and password: not empty (an empty password would be a bind of nobody, and
 * succeed; it is refused here without asking). A session is given out for DIRECTORY_BOUND alone. */
enum directory_outcome directory_bind(struct directory *d, const char *name, struct span password,
                                      struct directory_session **s, struct directory_word *word);
void directory_unbind(struct directory_session **s); /* NULL and a NULL session are taken */

/* Who was bound, as the server says it: "dn:uid=..." or "u:DOMAIN\name"; "" when it does not say.
 * false: the connection failed or its time is over. */
bool directory_who_am_i(struct directory_session *s, char out[DIRECTORY_NAME_MAX], struct err *e);

/* Calls found once for each entry with attribute NULL, and once for each value of the attributes.
 * All spans live as long as the call. No referral is followed. A refusal by the server (no such
 * base, no right) finds nothing and is no error; *more: it had more than max_entries. */
struct directory_search {
    const char *base; /* "" = the root */
    bool subtree;     /* else the base's own entry alone */
    const char *filter;
    const char *const *attributes; /* NULL-terminated */
    int max_entries;
};
typedef void directory_found(void *context, const char *dn, const char *attribute,
                             struct span value);
bool directory_find(struct directory_session *s, const struct directory_search *what,
                    directory_found *found, void *context, bool *more, struct err *e);

#endif
