/* A context: versions, certificates, what a session of it does. The ciphers: tls_ciphers.c. */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char groups[] = "X25519:P-256:P-384";

static const struct {
    const char *text;
    int version;
} versions[] = {{"1.0", TLS1_VERSION},
                {"1.1", TLS1_1_VERSION},
                {"1.2", TLS1_2_VERSION},
                {"1.3", TLS1_3_VERSION}};

int tls_version_number(const char *text)
{
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (strcmp(text, versions[i].text) == 0)
            return versions[i].version;
    return 0;
}

bool tls_version_known(const char *text)
{
    return tls_version_number(text) != 0;
}

const char *tls_version_name(unsigned version)
{
    switch (version) {
    case 0x0002: return "SSL 2.0";
    case 0x0300: return "SSL 3.0";
    case 0x0301: return "TLS 1.0";
    case 0x0302: return "TLS 1.1";
    case 0x0303: return "TLS 1.2";
    case 0x0304: return "TLS 1.3";
    default: return "an unknown version";
    }
}

/* The BIO of a session: SSL reads from the span that conn.c gave and writes into its buffer, so
 * that a record is copied once in each direction and an idle session holds no BIO memory. */
static int hook_read(BIO *bio, char *out, int size)
{
    struct tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (s->in.n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = s->in.n < (size_t)size ? s->in.n : (size_t)size;
    memcpy(out, s->in.p, n);
    s->in = span_from(s->in, n);
    return (int)n;
}

static int hook_write(BIO *bio, const char *bytes, int n)
{
    struct tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return buf_add(s->out, span_of(bytes, (size_t)n)) ? n : -1;
}

static long hook_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int hook_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *make_hooks(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "postern");
    if (m == NULL)
        return NULL;
    if (BIO_meth_set_read(m, hook_read) != 1 || BIO_meth_set_write(m, hook_write) != 1 ||
        BIO_meth_set_ctrl(m, hook_ctrl) != 1 || BIO_meth_set_create(m, hook_create) != 1) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

static struct tls_context *context_new(const SSL_METHOD *method, struct err *e)
{
    char text[200];
    struct tls_context *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)err_set(e, ERR_TEMP, "tls: no memory");
        return NULL;
    }
    ERR_clear_error();
    atomic_init(&c->count, 1);
    c->hooks = make_hooks();
    c->ctx = SSL_CTX_new(method);
    if (c->ctx == NULL || c->hooks == NULL) {
        (void)err_set(e, ERR_TEMP, "tls: cannot make a context: %s",
                      tls_error_text(text, sizeof text));
        tls_unref(&c);
        return NULL;
    }
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* An idle session gives its record buffers back: 34 KiB each. */
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS);
    return c;
}

static bool set_versions(struct tls_context *c, const char *minimum, struct err *e)
{
    c->minimum = tls_version_number(minimum == NULL || minimum[0] == 0 ? "1.2" : minimum);
    if (c->minimum == 0)
        return err_set(e, ERR_PERM,
                       "tls.minimum_version: \"%s\": expected \"1.0\", \"1.1\", \"1.2\" or \"1.3\"",
                       minimum);
    if (SSL_CTX_set_min_proto_version(c->ctx, c->minimum) != 1 ||
        SSL_CTX_set_max_proto_version(c->ctx, 0) != 1)
        return err_set(e, ERR_BUG, "tls: this OpenSSL does not know %s",
                       tls_version_name((unsigned)c->minimum));
    return true;
}

static int on_client_hello(SSL *ssl, int *alert, void *unused)
{
    (void)unused;
    struct tls_session *s = SSL_get_app_data(ssl);
    tls_hello_note(s, ssl);
    if (!s->context->limited || tls_limits_apply(s, ssl))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

bool tls_context_knows(const struct tls_context *c, const char *server_name)
{
    bool known = false;
    for (size_t i = 0; server_name != NULL && !known && i < c->identities_n; i++)
        known = tls_identity_matches(&c->identities[i], server_name);
    return known;
}

bool tls_identity_serves(const struct tls_context *c, size_t i, const char *server_name, bool known)
{
    const struct tls_identity *id = &c->identities[i];
    return known ? tls_identity_matches(id, server_name) : i == 0 || id->twin;
}

/* Chooses by SNI. All that hold the name are served, one for each kind of key, the first of a kind
 * before the others: so an RSA certificate beside an ECDSA one serves the clients that know RSA
 * only. Without a name, or with one that is unknown, the main one and its twins are. */
static int on_certificate(SSL *ssl, void *unused)
{
    (void)unused;
    const struct tls_session *s = SSL_get_app_data(ssl);
    const struct tls_context *c = s->context;
    if (c->identities_n == 1)
        return 1;
    bool known = tls_context_knows(c, s->server_name);
    SSL_certs_clear(ssl);
    for (size_t i = c->identities_n; i-- > 0;) { /* a later call replaces one of the same kind */
        const struct tls_identity *id = &c->identities[i];
        if (tls_identity_serves(c, i, s->server_name, known) &&
            SSL_use_cert_and_key(ssl, id->certificate, id->key, id->chain, 1) != 1)
            return 0;
    }
    return 1;
}

static const struct tls_pair *pair_of(const struct tls_server_options *o, size_t i)
{
    return i == 0 ? &o->main : &o->more[i - 1];
}

static bool of_store(const struct tls_pair *pair)
{
    return pair->store != NULL && pair->store[0] != '\0';
}

bool tls_server_has_store(const struct tls_server_options *o)
{
    bool found = false;
    for (size_t i = 0; i <= o->more_n && !found; i++)
        found = of_store(pair_of(o, i));
    return found;
}

/* previous: of the context in force, or NULL. */
static bool load_identity(const struct tls_pair *pair, const struct tls_identity *previous,
                          struct tls_identity *out, struct tls_renewal *renewal, struct err *e)
{
    if (of_store(pair))
        return tls_store_load(pair, previous, out, renewal, e);
    if (previous == NULL)
        return tls_identity_load(pair, out, e);
    return tls_identity_copy(previous, out) || err_set(e, ERR_TEMP, "tls: no memory");
}

static bool load_identities(struct tls_context *c, const struct tls_server_options *o,
                            const struct tls_context *in_force, struct tls_renewal *renewal,
                            struct err *e)
{
    char text[200], name[300];
    c->identities = calloc(o->more_n + 1, sizeof *c->identities);
    if (c->identities == NULL)
        return err_set(e, ERR_TEMP, "tls: no memory");
    for (size_t i = 0; i <= o->more_n; i++) {
        const struct tls_identity *previous =
            in_force != NULL && i < in_force->identities_n ? &in_force->identities[i] : NULL;
        struct tls_identity *it = &c->identities[i];
        if (!load_identity(pair_of(o, i), previous, it, renewal, e))
            return false;
        c->identities_n++;
        it->twin = i > 0 && tls_identity_shares_name(&c->identities[0], it);
        c->limited = c->limited || tls_identity_limited(it);
        if (c->minimum >= TLS1_3_VERSION && tls_identity_limited(it) && it->can.pss == 0 &&
            EVP_PKEY_is_a(it->key, "RSA") == 1)
            return err_set(e, ERR_PERM,
                           "certificate %s: its key cannot make RSA-PSS signatures, which TLS 1.3 "
                           "needs, expected tls.minimum_version: \"1.2\" or another key",
                           tls_pair_name(pair_of(o, i), name, sizeof name));
    }
    /* The main one goes last, so that it is the context's own; the others are only tried on, for
     * what may be wrong with them (a key too small for the security level, say). */
    for (size_t i = c->identities_n; i-- > 0;) {
        const struct tls_identity *id = &c->identities[i];
        SSL *fitting = SSL_new(c->ctx);
        bool ok = fitting != NULL &&
                  SSL_use_cert_and_key(fitting, id->certificate, id->key, id->chain, 1) == 1;
        SSL_free(fitting);
        if (ok && i == 0)
            ok = SSL_CTX_use_cert_and_key(c->ctx, id->certificate, id->key, id->chain, 1) == 1;
        if (!ok)
            return err_set(e, ERR_PERM, "certificate %s: cannot be used: %s",
                           tls_pair_name(pair_of(o, i), name, sizeof name),
                           tls_error_text(text, sizeof text));
    }
    return true;
}

static struct tls_context *server_context(const struct tls_server_options *options,
                                          const struct tls_context *in_force,
                                          struct tls_renewal *renewal, struct err *e)
{
    struct tls_context *c = context_new(TLS_server_method(), e);
    if (c == NULL)
        return NULL;
    static const unsigned char session_context[] = "postern";
    if (!set_versions(c, options->minimum_version, e) ||
        !tls_ciphers_set(c, options->ciphers, options->ciphersuites, e) ||
        !load_identities(c, options, in_force, renewal, e))
        goto fail;
    if (SSL_CTX_set1_groups_list(c->ctx, groups) != 1 ||
        SSL_CTX_set_session_id_context(c->ctx, session_context, sizeof session_context - 1) != 1) {
        (void)err_set(e, ERR_BUG, "tls: this OpenSSL does not take our groups");
        goto fail;
    }
    SSL_CTX_set_options(c->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    (void)SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_SERVER);
    (void)SSL_CTX_sess_set_cache_size(c->ctx, 4096);
    (void)SSL_CTX_set_timeout(c->ctx, 2L * 60 * 60);
    (void)SSL_CTX_set_num_tickets(c->ctx, 1); /* a printer needs no second one */
    SSL_CTX_set_client_hello_cb(c->ctx, on_client_hello, NULL);
    SSL_CTX_set_cert_cb(c->ctx, on_certificate, NULL);
    return c;
fail:
    tls_unref(&c);
    return NULL;
}

struct tls_context *tls_server_context(const struct tls_server_options *options, struct err *e)
{
    struct tls_renewal ignored = {0};
    return server_context(options, NULL, &ignored, e);
}

bool tls_server_renew(const struct tls_server_options *options, struct tls_context *in_force,
                      struct tls_context **fresh, struct tls_renewal *renewal, struct err *e)
{
    *renewal = (struct tls_renewal){0};
    *fresh = server_context(options, in_force, renewal, e);
    if (*fresh == NULL)
        return false;
    if (in_force != NULL && !renewal->renewed)
        tls_unref(fresh);
    return true;
}

struct tls_context *tls_client_context(const struct tls_client_options *options, struct err *e)
{
    char text[200];
    struct tls_context *c = context_new(TLS_client_method(), e);
    if (c == NULL)
        return NULL;
    bool own_roots = options->ca_file != NULL && options->ca_file[0] != 0;
    if (!set_versions(c, options->minimum_version, e))
        goto fail;
    if (c->minimum < TLS1_2_VERSION &&
        SSL_CTX_set_cipher_list(c->ctx, "DEFAULT:@SECLEVEL=0") != 1) {
        (void)err_set(e, ERR_BUG, "tls: cannot set ciphers");
        goto fail;
    }
    if (own_roots && SSL_CTX_load_verify_file(c->ctx, options->ca_file) != 1) {
        (void)err_set(e, ERR_PERM, "ca_file %s: cannot read certificates from it: %s",
                      options->ca_file, tls_error_text(text, sizeof text));
        goto fail;
    }
    cert_chain_verify *chain = options->chain != NULL ? options->chain : cert_chain_system();
    if (!own_roots && chain != NULL) {
        tls_verify_by_system(c, chain);
    } else if (!own_roots && SSL_CTX_set_default_verify_paths(c->ctx) != 1) {
        (void)err_set(e, ERR_TEMP, "tls: cannot read the system's roots: %s",
                      tls_error_text(text, sizeof text));
        goto fail;
    }
    (void)SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
    (void)snprintf(c->allowed, sizeof c->allowed, "%s or newer",
                   tls_version_name((unsigned)c->minimum));
    return c;
fail:
    tls_unref(&c);
    return NULL;
}

struct tls_context *tls_ref(struct tls_context *c)
{
    if (c != NULL)
        atomic_fetch_add_explicit(&c->count, 1, memory_order_relaxed);
    return c;
}

void tls_unref(struct tls_context **c)
{
    struct tls_context *it = *c;
    *c = NULL;
    if (it == NULL || atomic_fetch_sub_explicit(&it->count, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(it->ctx); /* it holds keys, which live by their identities' providers */
    for (size_t i = 0; i < it->identities_n; i++)
        tls_identity_drop(&it->identities[i]);
    free(it->identities);
    BIO_meth_free(it->hooks);
    free(it);
}
