#define _POSIX_C_SOURCE 200809L /* strdup */
#include "platform/directory.h"

#include "base/buf.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "posix/dial.h"
#include "posix/fd_guard.h"

#include <fcntl.h>
#include <ldap.h>
#include <openldap.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { INCOMING_BYTES_MAX = 1 << 20, CA_BYTES_MAX = 16 << 20, URL_BYTES_MAX = 300 };

/* Exported by the library from 2.1 on and in no header that is installed: the way to give back what
 * reading LDAP_OPT_X_TLS_CTX takes. */
void ldap_pvt_tls_ctx_free(void *context);

struct directory {
    struct directory_server *servers;
    size_t count;
    char *ca_file;
    uint32_t deadline_ms;
    void *tls; /* the TLS context that all sessions share; NULL: fault says why */
    char fault[DIRECTORY_TEXT_MAX];
    struct dialer *dialer;
    struct fd_guard *guard;
    atomic_uint first; /* the server that answered last */
};

struct directory_session {
    LDAP *ld;
    struct fd_watch *watch;
    bool broken;
};

/* Where systems keep the authorities that they trust, in one file. */
static const char *const system_authorities[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",                  /* Alpine, BSD */
};

static const char *authorities(const struct directory *d)
{
    if (d->ca_file[0] != '\0')
        return d->ca_file;
    for (size_t i = 0; i < sizeof system_authorities / sizeof system_authorities[0]; i++)
        if (access(system_authorities[i], R_OK) == 0)
            return system_authorities[i];
    return NULL;
}

/* Every option that counts is set here, so that ldap.conf and LDAPTLS_* change nothing. */
static bool set_options(LDAP *ld)
{
    const struct timeval never = {.tv_sec = -1}; /* the guard's business */
    const int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND,
              tls_1_2 = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
    return ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &never) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_TIMEOUT, &never) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &tls_1_2) == LDAP_OPT_SUCCESS;
}

/* The library takes a file without a certificate for one with no authorities. */
static bool has_certificate(const char *file)
{
    static const char mark[] = "CERTIFICATE-----";
    struct buf content;
    buf_init(&content, CA_BYTES_MAX);
    bool ok = files_read(file, CA_BYTES_MAX - 1, &content, NULL) == FILES_OK &&
              strstr(buf_cstr(&content), mark) != NULL;
    buf_deinit(&content);
    return ok;
}

/* The TLS context is made once: reading the system's authorities takes longer than a bind. */
static void make_context(struct directory *d)
{
    const int client = 0;
    const char *file = authorities(d);
    LDAP *ld = NULL;
    if (file == NULL) {
        (void)snprintf(d->fault, sizeof d->fault, "this system has no file of authorities");
        return;
    }
    if (access(file, R_OK) != 0) {
        (void)snprintf(d->fault, sizeof d->fault, "%.150s: cannot be read", file);
        return;
    }
    if (ldap_create(&ld) != LDAP_SUCCESS) {
        (void)snprintf(d->fault, sizeof d->fault, "no memory");
        return;
    }
    if (!set_options(ld) || !has_certificate(file) ||
        ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, file) != LDAP_OPT_SUCCESS ||
        ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &client) != LDAP_OPT_SUCCESS ||
        ldap_get_option(ld, LDAP_OPT_X_TLS_CTX, &d->tls) != LDAP_OPT_SUCCESS) {
        (void)snprintf(d->fault, sizeof d->fault, "%.150s: holds no authority's certificate", file);
        d->tls = NULL;
    }
    (void)ldap_unbind_ext_s(ld, NULL, NULL);
}

static bool copy_options(struct directory *d, const struct directory_options *from)
{
    d->deadline_ms = from->deadline_ms;
    d->ca_file = strdup(from->ca_file);
    d->servers = calloc(from->server_count, sizeof *d->servers);
    if (d->ca_file == NULL || d->servers == NULL)
        return false;
    for (size_t i = 0; i < from->server_count; i++) {
        d->servers[i] = from->servers[i];
        d->count = i + 1;
        d->servers[i].host = strdup(from->servers[i].host);
        if (d->servers[i].host == NULL)
            return false;
    }
    return true;
}

bool directory_open(const struct directory_options *options, struct directory **out, struct err *e)
{
    struct directory *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(e, ERR_TEMP, "directory: no memory");
    if (!copy_options(d, options) || !dialer_open(&d->dialer, NULL) ||
        !fd_guard_open(&d->guard, NULL)) {
        directory_close(&d);
        return err_set(e, ERR_TEMP, "directory: no memory");
    }
    make_context(d);
    *out = d;
    return true;
}

void directory_close(struct directory **directory)
{
    if (directory == NULL || *directory == NULL)
        return;
    struct directory *d = *directory;
    *directory = NULL;
    if (d->tls != NULL)
        ldap_pvt_tls_ctx_free(d->tls);
    fd_guard_close(&d->guard);
    dialer_close(&d->dialer);
    for (size_t i = 0; i < d->count; i++)
        free((void *)(uintptr_t)d->servers[i].host);
    free(d->servers);
    free(d->ca_file);
    free(d);
}

bool directory_ready(const struct directory *d, struct err *e)
{
    return d->fault[0] == '\0' || err_set(e, ERR_PERM, "%s", d->fault);
}

static void drop(LDAP *ld)
{
    if (ld != NULL)
        (void)ldap_unbind_ext_s(ld, NULL, NULL);
}

/* The code of the last call, with what the server or the library says about it. */
static int explain(LDAP *ld, int code, char text[DIRECTORY_TEXT_MAX])
{
    char *more = NULL;
    (void)ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
    bool some = more != NULL && more[0] != '\0';
    (void)snprintf(text, DIRECTORY_TEXT_MAX, "%.100s%s%.150s", ldap_err2string(code),
                   some ? ": " : "", some ? more : "");
    ldap_memfree(more);
    return code;
}

/* The library's face on a connection of ours, TLS not yet begun. Owns fd, whatever happens. */
static LDAP *wrap(const struct directory *d, const struct directory_server *server, int fd)
{
    char url[URL_BYTES_MAX];
    LDAP *ld = NULL;
    Sockbuf *stream = NULL;
    ber_len_t most = INCOMING_BYTES_MAX;
    bool v6 = strchr(server->host, ':') != NULL;
    (void)snprintf(url, sizeof url, v6 ? "%s://[%.253s]:%u" : "%s://%.253s:%u",
                   server->starttls ? "ldap" : "ldaps", server->host, (unsigned)server->port);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) != 0 ||
        ldap_init_fd(fd, LDAP_PROTO_TCP, url, &ld) != LDAP_SUCCESS || ld == NULL) {
        (void)close(fd);
        return NULL;
    }
    if (set_options(ld) && ldap_get_option(ld, LDAP_OPT_SOCKBUF, &stream) == LDAP_OPT_SUCCESS &&
        stream != NULL && ber_sockbuf_ctrl(stream, LBER_SB_OPT_SET_MAX_INCOMING, &most) == 1 &&
        ldap_set_option(ld, LDAP_OPT_X_TLS_CTX, d->tls) == LDAP_OPT_SUCCESS)
        return ld;
    drop(ld);
    return NULL;
}

/* TLS is up and the server is the one that the configuration names, or it is an error. */
static int begin_tls(LDAP *ld, const struct directory_server *server)
{
    return server->starttls ? ldap_start_tls_s(ld, NULL, NULL) : ldap_install_tls(ld);
}

struct credentials {
    const char *name;
    struct span password;
};

/* A connection to one server with TLS up: LDAP_SUCCESS with *s, else below zero. *act: what it was
 * about to do. */
static int connect_one(struct directory *d, const struct directory_server *server,
                       uint64_t until_ms, struct directory_session *s, const char **act,
                       char text[DIRECTORY_TEXT_MAX])
{
    struct err e = {0};
    int fd, code = LDAP_NO_MEMORY;
    *s = (struct directory_session){0};
    if (!dial_tcp(d->dialer, server->host, server->port, until_ms, &fd, &e)) {
        (void)snprintf(text, DIRECTORY_TEXT_MAX, "%.250s", e.text);
        return LDAP_SERVER_DOWN;
    }
    if (!fd_watch_begin(d->guard, fd, until_ms, &s->watch, &e)) {
        (void)close(fd);
        (void)snprintf(text, DIRECTORY_TEXT_MAX, "%.250s", e.text);
        return LDAP_NO_MEMORY;
    }
    *act = "connect";
    s->ld = wrap(d, server, fd);
    if (s->ld != NULL) {
        *act = server->starttls ? "StartTLS" : "TLS";
        code = begin_tls(s->ld, server);
    }
    if (code > 0) /* the server refuses StartTLS: nothing more is said to it */
        code = LDAP_CONNECT_ERROR;
    if (code == LDAP_SUCCESS && !ldap_tls_inplace(s->ld))
        code = LDAP_CONNECT_ERROR; /* never so far; a password does not go out in clear */
    return code;
}

/* Ends a session that came to nothing, and says why. */
static void give_up(const struct directory_server *server, struct directory_session *s, int code,
                    const char *act, char text[DIRECTORY_TEXT_MAX])
{
    char said[DIRECTORY_TEXT_MAX] = "";
    if (code == LDAP_CONNECT_ERROR) /* the library does not tell which */
        (void)snprintf(said, sizeof said,
                       "no TLS there, or its certificate is not signed by an authority that is "
                       "trusted (ca_file), or not for this name");
    else if (s->ld != NULL)
        (void)explain(s->ld, code, said);
    drop(s->ld);
    bool late = fd_watch_end(&s->watch);
    if (code > 0)
        (void)snprintf(text, DIRECTORY_TEXT_MAX, "%.250s", said);
    else
        (void)snprintf(text, DIRECTORY_TEXT_MAX, "%.80s:%u: %s: %.140s", server->host,
                       (unsigned)server->port, act, late ? "no answer in time" : said);
}

/* The code of one server: LDAP_SUCCESS with *s; below zero the library's, for a connection that
 * failed. */
static int bind_one(struct directory *d, const struct directory_server *server,
                    const struct credentials *c, uint64_t until_ms, struct directory_session *s,
                    char text[DIRECTORY_TEXT_MAX])
{
    const char *act = NULL;
    int code = connect_one(d, server, until_ms, s, &act, text);
    if (code == LDAP_SUCCESS) {
        struct berval password = {c->password.n, (char *)(uintptr_t)c->password.p};
        act = "bind";
        code = ldap_sasl_bind_s(s->ld, c->name, LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL);
    }
    if (code != LDAP_SUCCESS && act != NULL)
        give_up(server, s, code, act, text);
    return code;
}

bool directory_reach(struct directory *d, struct err *e)
{
    bool all = true;
    uint64_t deadline_ms = clock_monotonic_ms() + d->deadline_ms;
    if (!directory_ready(d, e))
        return false;
    for (size_t i = 0; i < d->count; i++) {
        struct directory_session s;
        char text[DIRECTORY_TEXT_MAX] = "";
        const char *act = NULL;
        int code =
            connect_one(d, &d->servers[i], dial_share(deadline_ms, d->count - i), &s, &act, text);
        if (code != LDAP_SUCCESS && act != NULL)
            give_up(&d->servers[i], &s, code, act, text);
        if (code == LDAP_SUCCESS) {
            drop(s.ld);
            (void)fd_watch_end(&s.watch);
        } else if (all) {
            all = err_set(e, ERR_TEMP, "%.250s", text);
        }
    }
    return all;
}

static bool answered(int code)
{
    return code >= 0 && code != DIRECTORY_BUSY && code != DIRECTORY_SERVER_UNAVAILABLE;
}

enum directory_outcome directory_bind(struct directory *d, const char *name, struct span password,
                                      struct directory_session **out, struct directory_word *word)
{
    *out = NULL;
    *word = (struct directory_word){.code = DIRECTORY_INVALID_CREDENTIALS};
    if (password.n == 0 || name[0] == '\0') { /* RFC 4513 5.1.2: it would be a bind of nobody */
        (void)snprintf(word->text, sizeof word->text, "no name or no password");
        return DIRECTORY_REFUSED;
    }
    if (d->tls == NULL) {
        (void)snprintf(word->text, sizeof word->text, "%s", d->fault);
        return DIRECTORY_NO_ANSWER;
    }
    struct directory_session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        (void)snprintf(word->text, sizeof word->text, "no memory");
        return DIRECTORY_NO_ANSWER;
    }
    const struct credentials c = {name, password};
    uint64_t deadline_ms = clock_monotonic_ms() + d->deadline_ms;
    unsigned first = atomic_load_explicit(&d->first, memory_order_relaxed);
    for (size_t i = 0; i < d->count && clock_monotonic_ms() < deadline_ms; i++) {
        size_t at = (first + i) % d->count;
        uint64_t until_ms = dial_share(deadline_ms, d->count - i);
        word->code = bind_one(d, &d->servers[at], &c, until_ms, s, word->text);
        if (!answered(word->code))
            continue;
        atomic_store_explicit(&d->first, (unsigned)at, memory_order_relaxed);
        if (word->code != LDAP_SUCCESS)
            break;
        fd_watch_move(s->watch, deadline_ms);
        *out = s;
        return DIRECTORY_BOUND;
    }
    free(s);
    return answered(word->code) ? DIRECTORY_REFUSED : DIRECTORY_NO_ANSWER;
}

void directory_unbind(struct directory_session **session)
{
    if (session == NULL || *session == NULL)
        return;
    struct directory_session *s = *session;
    *session = NULL;
    drop(s->ld);
    (void)fd_watch_end(&s->watch);
    free(s);
}

/* A call that failed below the protocol: the session is over, or the library would connect anew,
 * by itself and with no deadline. */
static bool lost(struct directory_session *s, int code, struct err *e)
{
    char said[DIRECTORY_TEXT_MAX] = "connection lost";
    if (!s->broken)
        (void)explain(s->ld, code, said);
    s->broken = true;
    return err_set(e, ERR_TEMP, "directory: %s", said);
}

bool directory_who_am_i(struct directory_session *s, char out[DIRECTORY_NAME_MAX], struct err *e)
{
    struct berval *who = NULL;
    out[0] = '\0';
    if (s->broken)
        return lost(s, LDAP_SERVER_DOWN, e);
    int code = ldap_whoami_s(s->ld, &who, NULL, NULL);
    if (code < 0)
        return lost(s, code, e);
    if (code == LDAP_SUCCESS && who != NULL)
        (void)span_cstr(span_of(who->bv_val, who->bv_len), out, DIRECTORY_NAME_MAX);
    ber_bvfree(who);
    return true;
}

static void give_values(LDAP *ld, LDAPMessage *entry, const char *dn,
                        const struct directory_search *what, directory_found *found, void *context)
{
    for (size_t i = 0; what->attributes[i] != NULL; i++) {
        struct berval **values = ldap_get_values_len(ld, entry, what->attributes[i]);
        for (size_t k = 0; values != NULL && values[k] != NULL; k++)
            found(context, dn, what->attributes[i], span_of(values[k]->bv_val, values[k]->bv_len));
        if (values != NULL)
            ldap_value_free_len(values);
    }
}

bool directory_find(struct directory_session *s, const struct directory_search *what,
                    directory_found *found, void *context, bool *more, struct err *e)
{
    LDAPMessage *result = NULL;
    *more = false;
    if (s->broken)
        return lost(s, LDAP_SERVER_DOWN, e);
    int code = ldap_search_ext_s(
        s->ld, what->base, what->subtree ? LDAP_SCOPE_SUBTREE : LDAP_SCOPE_BASE, what->filter,
        (char **)(uintptr_t)what->attributes, 0, NULL, NULL, NULL, what->max_entries, &result);
    if (code < 0) {
        if (result != NULL)
            (void)ldap_msgfree(result);
        return lost(s, code, e);
    }
    *more = code == LDAP_SIZELIMIT_EXCEEDED;
    int n = 0;
    for (LDAPMessage *m = ldap_first_entry(s->ld, result); m != NULL && n < what->max_entries;
         m = ldap_next_entry(s->ld, m), n++) {
        char *dn = ldap_get_dn(s->ld, m);
        if (dn == NULL)
            continue;
        found(context, dn, NULL, (struct span){NULL, 0});
        give_values(s->ld, m, dn, what, found, context);
        ldap_memfree(dn);
    }
    if (result != NULL)
        (void)ldap_msgfree(result);
    return true;
}
