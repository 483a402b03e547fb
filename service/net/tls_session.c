/* One SSL over the hooks of tls_context.c. */
#include "base/netaddr.h"
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static bool set_up_client(struct tls_session *s, const struct tls_session_options *o)
{
    SSL_set_verify(s->ssl, o->verify == TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_set_connect_state(s->ssl);
    if (o->host == NULL || o->host[0] == 0)
        return o->verify != TLS_VERIFY_NAME; /* nothing to compare with */
    struct netaddr address;
    bool is_address = netaddr_parse(span_str(o->host), &address);
    /* RFC 6066 section 3: no addresses in SNI. */
    if (!is_address && SSL_set_tlsext_host_name(s->ssl, o->host) != 1)
        return false;
    if (o->verify != TLS_VERIFY_NAME)
        return true;
    X509_VERIFY_PARAM *p = SSL_get0_param(s->ssl);
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return (is_address ? X509_VERIFY_PARAM_set1_ip_asc(p, o->host)
                       : X509_VERIFY_PARAM_set1_host(p, o->host, 0)) == 1;
}

/* Another oldest version than the context's: of this session alone. */
static bool set_minimum(struct tls_session *s, const char *minimum_version)
{
    s->minimum = s->context->minimum;
    if (minimum_version == NULL)
        return true;
    s->minimum = tls_version_number(minimum_version);
    if (s->minimum == 0 || SSL_set_min_proto_version(s->ssl, s->minimum) != 1)
        return false;
    bool loosened = s->minimum < TLS1_2_VERSION && s->context->minimum >= TLS1_2_VERSION;
    return !loosened || tls_ciphers_loosen(s->context, s->ssl);
}

struct tls_session *tls_session_new(const struct tls_session_options *o, struct err *e)
{
    ERR_clear_error();
    struct tls_session *s = calloc(1, sizeof *s);
    BIO *bio = BIO_new(o->context->hooks);
    if (s == NULL || bio == NULL)
        goto fail;
    s->context = tls_ref(o->context);
    s->server = o->server;
    s->out = o->out;
    s->ssl = SSL_new(o->context->ctx);
    if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1)
        goto fail;
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio);
    bio = NULL;
    if (s->server) {
        s->hello = calloc(1, sizeof *s->hello);
        if (s->hello == NULL || !set_minimum(s, o->minimum_version))
            goto fail;
        SSL_set_accept_state(s->ssl);
    } else if (!set_up_client(s, o)) {
        goto fail;
    }
    return s;
fail:
    (void)err_set(e, ERR_TEMP, "tls: cannot begin a session with %s",
                  o->host == NULL ? "the peer" : o->host);
    ERR_clear_error();
    BIO_free(bio);
    tls_session_free(&s);
    return NULL;
}

void tls_session_free(struct tls_session **s)
{
    struct tls_session *it = *s;
    *s = NULL;
    if (it == NULL)
        return;
    if (it->ssl != NULL) /* no close_notify does not spoil the session for a resumption */
        SSL_set_shutdown(it->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(it->ssl);
    tls_unref(&it->context);
    free(it->hello);
    free(it->server_name);
    free(it);
}

void tls_session_input(struct tls_session *s, struct span in)
{
    s->in = in;
    struct tls_hello *h = s->hello;
    if (h != NULL && h->first_n < sizeof h->first) {
        struct span more = span_sub(in, 0, sizeof h->first - h->first_n);
        if (more.n > 0)
            memcpy(h->first + h->first_n, more.p, more.n);
        h->first_n += more.n;
    }
}

struct span tls_session_rest(const struct tls_session *s)
{
    return s->in;
}

/* What SSL says after a call that did not succeed. */
static enum tls_step step_of(struct tls_session *s, int result, struct tls_failure *why)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return TLS_STEP_WANT_INPUT;
    case SSL_ERROR_ZERO_RETURN: return TLS_STEP_CLOSED;
    default:
        tls_failure_explain(s, ERR_peek_error(), why);
        ERR_clear_error();
        return TLS_STEP_FAILED;
    }
}

enum tls_step tls_session_handshake(struct tls_session *s, struct tls_failure *why)
{
    ERR_clear_error();
    int result = SSL_do_handshake(s->ssl);
    if (result != 1)
        return step_of(s, result, why);
    free(s->hello);
    s->hello = NULL;
    return TLS_STEP_DONE;
}

enum tls_step tls_session_read(struct tls_session *s, uint8_t *out, size_t size, size_t *n,
                               struct tls_failure *why)
{
    ERR_clear_error();
    *n = 0;
    int result = SSL_read_ex(s->ssl, out, size, n);
    if (result == 1)
        return TLS_STEP_DONE;
    *n = 0;
    return step_of(s, result, why);
}

void tls_session_gone(const struct tls_session *s, struct tls_failure *why)
{
    tls_failure_explain(s, 0, why);
}

bool tls_session_write(struct tls_session *s, struct span clear)
{
    size_t n;
    ERR_clear_error();
    /* The hook takes all or fails: a write never waits. */
    bool ok = clear.n == 0 || SSL_write_ex(s->ssl, clear.p, clear.n, &n) == 1;
    ERR_clear_error();
    return ok;
}

void tls_session_close_notify(struct tls_session *s)
{
    ERR_clear_error();
    if (SSL_is_init_finished(s->ssl))
        (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}

void tls_session_info(const struct tls_session *s, struct tls_info *out)
{
    long verify = SSL_get_verify_result(s->ssl);
    const char *name =
        s->server ? s->server_name : SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    *out = (struct tls_info){
        .version = SSL_get_version(s->ssl),
        .cipher = SSL_get_cipher_name(s->ssl),
        .bits = SSL_get_cipher_bits(s->ssl, NULL),
        .server_name = name == NULL ? "" : name,
        .resumed = SSL_session_reused(s->ssl) == 1,
        .verified = !s->server && verify == X509_V_OK && SSL_get0_peer_certificate(s->ssl) != NULL,
        .verify_text = s->server ? "" : X509_verify_cert_error_string(verify),
    };
}

void tls_session_binding(const struct tls_session *s, struct tls_binding *out)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    *out = (struct tls_binding){0};
    if (!SSL_is_init_finished(s->ssl))
        return;
    if (SSL_version(s->ssl) >= TLS1_3_VERSION) { /* RFC 9266 section 4.1: 32 bytes, empty context */
        if (SSL_export_keying_material(s->ssl, out->data, 32, label, sizeof label - 1,
                                       (const unsigned char *)"", 0, 1) != 1)
            return;
        out->type = "tls-exporter";
        out->n = 32;
        return;
    }
    /* RFC 5929 section 3: the first Finished message. Without the extended master secret two
     * connections can be made to have the same one (RFC 7627): then there is no binding. */
    if (SSL_get_extms_support(s->ssl) != 1)
        return;
    bool resumed = SSL_session_reused(s->ssl) == 1;
    bool ours = s->server ? resumed : !resumed;
    out->n = ours ? SSL_get_finished(s->ssl, out->data, sizeof out->data)
                  : SSL_get_peer_finished(s->ssl, out->data, sizeof out->data);
    if (out->n > 0 && out->n <= sizeof out->data)
        out->type = "tls-unique";
    else
        out->n = 0;
}

/* RFC 5929 section 4.1: hashed as the certificate's own signature, SHA-256 in place of MD5 and
 * SHA-1; a signature without one hash (Ed25519) has no such binding. */
static void add_end_point(X509 *certificate, struct tls_end_points *out)
{
    int digest = NID_undef;
    unsigned n = 0;
    if (out->count == TLS_END_POINTS_MAX ||
        X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1)
        return;
    if (digest == NID_md5 || digest == NID_sha1 || digest == NID_md5_sha1)
        digest = NID_sha256;
    const EVP_MD *md = digest == NID_undef ? NULL : EVP_get_digestbynid(digest);
    if (md == NULL || EVP_MD_get_size(md) > TLS_END_POINT_MAX ||
        X509_digest(certificate, md, out->data[out->count], &n) != 1)
        return;
    out->n[out->count++] = n;
}

void tls_session_end_points(const struct tls_session *s, struct tls_end_points *out)
{
    *out = (struct tls_end_points){0};
    if (!s->server || !SSL_is_init_finished(s->ssl))
        return;
    if (SSL_session_reused(s->ssl) != 1) {
        X509 *shown = SSL_get_certificate(s->ssl);
        if (shown != NULL)
            add_end_point(shown, out);
    } else {
        const struct tls_context *c = s->context;
        bool known = tls_context_knows(c, s->server_name);
        int last_kind = EVP_PKEY_NONE;
        for (size_t i = 0; i < c->identities_n; i++) {
            int kind = EVP_PKEY_get_base_id(c->identities[i].key);
            if (!tls_identity_serves(c, i, s->server_name, known) || kind == last_kind)
                continue;
            add_end_point(c->identities[i].certificate, out);
            last_kind = kind;
        }
    }
    ERR_clear_error();
}
