/* tls.h - certificates and what we allow, as contexts that never change.
 * Owner: a context is counted; whoever holds a pointer holds a count. A reload makes a new one and
 * drops the old, sessions keep theirs. Threads: any. Failure: ERR_PERM with the file at fault.
 * Source: RFC 8446, 5246, 6066 (SNI), 9266 and 5929 (channel bindings), 9325 (recommendations). */
#ifndef POSTERN_NET_TLS_H
#define POSTERN_NET_TLS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "platform/cert_chain.h"
#include "platform/cert_store.h"

struct tls_context;

/* A certificate and its key: files, or one of the system's store, where the key stays. */
struct tls_pair {
    const char *certificate, *key; /* paths of PEM files; the chain follows the certificate */
    const char *store;             /* "LocalMachine/My"; NULL or "": files */
    const char *subject;           /* of the store: a name that it is for, see tls_choice.h, or */
    const char *thumbprint;        /* the one with this; NULL or "": by subject */
    const struct cert_store *from; /* NULL: cert_store_system() */
};
/* How it is named in messages: the file, or the store and what was asked of it. */
const char *tls_pair_name(const struct tls_pair *pair, char *out, size_t size);

struct tls_server_options {
    struct tls_pair main;        /* served where no name or no known name is asked for */
    const struct tls_pair *more; /* chosen by SNI from their subject alternative names */
    size_t more_n;
    const char *minimum_version; /* "1.0" "1.1" "1.2" "1.3"; NULL: "1.2" */
    const char *ciphers;         /* OpenSSL list for TLS 1.2 and below; NULL or "": ours */
    const char *ciphersuites;    /* the same for TLS 1.3; NULL or "": OpenSSL's */
};
struct tls_context *tls_server_context(const struct tls_server_options *options, struct err *e);

/* What has come of the certificates that a store holds. */
enum { TLS_NOTE_MAX = 400 };
struct tls_renewal {
    bool renewed; /* another one than before is taken: */
    char subject[256], thumbprint[41];
    int64_t not_after_wall_ms;
    char refused[TLS_NOTE_MAX]; /* why a newer one, or any at all, could not be taken: the one
                                   that there is stays; "": all is well */
    bool locked;                /* because this account may not read its key */
};
/* As tls_server_context, and looks at the stores again. in_force: made of the same options, or
 * NULL; its certificates of files are taken over as they are, and those of a store where there is
 * nothing better. fresh: NULL where nothing has changed. False: there is nothing to serve with. */
bool tls_server_renew(const struct tls_server_options *options, struct tls_context *in_force,
                      struct tls_context **fresh, struct tls_renewal *renewal, struct err *e);
/* Is there anything to look at again? */
bool tls_server_has_store(const struct tls_server_options *options);

enum tls_verify {
    TLS_VERIFY_NONE,  /* opportunistic: any certificate is better than none */
    TLS_VERIFY_CHAIN, /* it leads to a trusted root */
    TLS_VERIFY_NAME,  /* and it holds the name we asked for */
};
struct tls_client_options {
    const char *ca_file;         /* NULL or "": the system's roots */
    const char *minimum_version; /* NULL: "1.2"; for TLS_VERIFY_NONE peers "1.0" may be wise */
    cert_chain_verify *chain;    /* who knows the system's roots; NULL: cert_chain_system(), and
                                    without one OpenSSL's files */
};
struct tls_context *tls_client_context(const struct tls_client_options *options, struct err *e);

struct tls_context *tls_ref(struct tls_context *c);
void tls_unref(struct tls_context **c);

/* Is this text a minimum_version that we know? */
bool tls_version_known(const char *text);

/* Could a server context take these lists? Stricter than OpenSSL: every name must be known, and
 * what is left must encrypt and show a certificate. The error reads `"AES": is no cipher, expected
 * ...`. Opens nothing but OpenSSL's own configuration. */
bool tls_ciphers_check(const char *ciphers, const char *minimum_version, struct err *e);
bool tls_ciphersuites_check(const char *suites, struct err *e);

/* Why a handshake failed, in words for the log and the administrator. Empty: nothing to say. */
struct tls_failure {
    char reason[200];  /* "no common version", "peer's alert: unknown CA", ... */
    char offered[600]; /* server side: versions, SNI, ciphers of the client, or what it sent in
                          clear */
    char allowed[300]; /* what we allow */
    char change[300];  /* the smallest change that lets it in */
};

/* What `postern check` says of a certificate. */
struct tls_certificate_info {
    char subject[256];
    char names[512]; /* subject alternative names, separated by one space, cut to fit */
    int64_t not_before_wall_ms, not_after_wall_ms;
    bool self_signed;
    bool no_pss; /* the key of a store cannot make what TLS 1.3 needs: TLS 1.2 at most */
};
/* Reads both files, or picks from the store, and proves that the key belongs to the certificate. */
bool tls_certificate_info(const struct tls_pair *pair, struct tls_certificate_info *out,
                          struct err *e);
/* Would a client that asks for this host take the certificate for it? */
bool tls_certificate_names(const struct tls_pair *pair, const char *host, bool *names,
                           struct err *e);

/* Channel binding data of a finished handshake: "tls-exporter" (RFC 9266) on TLS 1.3, "tls-unique"
 * (RFC 5929) below. */
struct tls_binding {
    const char *type; /* NULL: none */
    uint8_t data[64];
    size_t n;
};

/* "tls-server-end-point" (RFC 5929 section 4): the hash of the certificate that the server showed.
 * A resumed session shows none; where it may have been one of several, all of them are here: each
 * is ours, so nobody between us and the client has its key. */
enum { TLS_END_POINTS_MAX = 2, TLS_END_POINT_MAX = 64 };
struct tls_end_points {
    uint8_t data[TLS_END_POINTS_MAX][TLS_END_POINT_MAX];
    size_t n[TLS_END_POINTS_MAX];
    size_t count;
};

/* What a finished handshake gave. Texts live as long as the connection. */
struct tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
    int bits;
    const char *server_name; /* SNI; "" if none */
    bool resumed;
    bool verified; /* client side: the chain (and the name, where it was to be checked) is good */
    const char *verify_text; /* client side: why not */
};

/* The rest is for conn.c. A tls_session runs over two hooks instead of a socket: it takes bytes
 * from a span and puts bytes into a buf. */
struct tls_session;

struct tls_session_options {
    struct tls_context *context;
    bool server;
    enum tls_verify verify;
    const char *minimum_version; /* server: of this session alone; NULL: the context's */
    const char *host; /* client: SNI (unless an address) and the name to check; may be NULL */
    struct buf *out;  /* where records for the peer go */
};
struct tls_session *tls_session_new(const struct tls_session_options *o, struct err *e);
void tls_session_free(struct tls_session **s);

enum tls_step { TLS_STEP_DONE, TLS_STEP_WANT_INPUT, TLS_STEP_FAILED, TLS_STEP_CLOSED };

/* Gives the session its next input; it is borrowed until it is used up or replaced. */
void tls_session_input(struct tls_session *s, struct span in);
struct span tls_session_rest(const struct tls_session *s); /* what of it is not used yet */
enum tls_step tls_session_handshake(struct tls_session *s, struct tls_failure *why);
enum tls_step tls_session_read(struct tls_session *s, uint8_t *out, size_t size, size_t *n,
                               struct tls_failure *why);
/* The peer went away in the middle of the handshake: what is there to say? */
void tls_session_gone(const struct tls_session *s, struct tls_failure *why);
bool tls_session_write(struct tls_session *s, struct span clear);
void tls_session_close_notify(struct tls_session *s);
void tls_session_info(const struct tls_session *s, struct tls_info *out);
void tls_session_binding(const struct tls_session *s, struct tls_binding *out);
/* Server side; none on the client's. */
void tls_session_end_points(const struct tls_session *s, struct tls_end_points *out);

#endif
