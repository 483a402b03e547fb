/* A server's certificate judged by the system's chain engine (platform/cert_chain.h) in place of
 * OpenSSL's roots. The name is compared by both: here as everywhere, and by the engine's policy. */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum { CERTIFICATES_MAX = 16 };

/* The nearest of OpenSSL's words: they go into logs, and mean the same on all systems. */
static int code_of(enum cert_chain_verdict verdict)
{
    switch (verdict) {
    case CERT_CHAIN_TRUSTED: return X509_V_OK;
    case CERT_CHAIN_EXPIRED: return X509_V_ERR_CERT_HAS_EXPIRED;
    case CERT_CHAIN_INCOMPLETE: return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    case CERT_CHAIN_UNTRUSTED: return X509_V_ERR_CERT_UNTRUSTED;
    case CERT_CHAIN_NAME: return X509_V_ERR_HOSTNAME_MISMATCH;
    case CERT_CHAIN_PURPOSE: return X509_V_ERR_INVALID_PURPOSE;
    case CERT_CHAIN_REVOKED: return X509_V_ERR_CERT_REVOKED;
    case CERT_CHAIN_SIGNATURE: return X509_V_ERR_CERT_SIGNATURE_FAILURE;
    case CERT_CHAIN_FAILED: return X509_V_ERR_UNSPECIFIED;
    }
    return X509_V_ERR_UNSPECIFIED;
}

static enum cert_chain_verdict ask(X509_STORE_CTX *store, const struct tls_session *s,
                                   const char *host, char reason[CERT_CHAIN_REASON_MAX])
{
    unsigned char *der[CERTIFICATES_MAX] = {NULL};
    struct span list[CERTIFICATES_MAX];
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    X509 *own = X509_STORE_CTX_get0_cert(store);
    size_t n = 0;
    for (int i = -1; i < sk_X509_num(sent) && n < CERTIFICATES_MAX; i++) {
        X509 *one = i < 0 ? own : sk_X509_value(sent, i);
        if (one == NULL || (i >= 0 && one == own))
            continue;
        int length = i2d_X509(one, &der[n]);
        if (length > 0) {
            list[n] = span_of(der[n], (size_t)length);
            n++;
        }
    }
    bool patient = SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE;
    enum cert_chain_verdict verdict =
        n == 0 ? CERT_CHAIN_FAILED : s->context->chain(list, n, host, patient, reason);
    for (size_t i = 0; i < CERTIFICATES_MAX; i++)
        OPENSSL_free(der[i]);
    return verdict;
}

static int verify(X509_STORE_CTX *store, void *unused)
{
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_session *s = SSL_get_app_data(ssl);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);
    X509 *own = X509_STORE_CTX_get0_cert(store);
    char reason[CERT_CHAIN_REASON_MAX] = "";
    (void)ERR_set_mark(); /* asking for an address that is not there is an error to OpenSSL */
    const char *host = X509_VERIFY_PARAM_get0_host(param, 0);
    char *address = X509_VERIFY_PARAM_get1_ip_asc(param);
    unsigned flags = X509_VERIFY_PARAM_get_hostflags(param);
    int code = X509_V_OK;
    if (host != NULL && X509_check_host(own, host, 0, flags, NULL) != 1)
        code = X509_V_ERR_HOSTNAME_MISMATCH;
    else if (address != NULL && X509_check_ip_asc(own, address, 0) != 1)
        code = X509_V_ERR_IP_ADDRESS_MISMATCH;
    else
        code = code_of(ask(store, s, host, reason));
    OPENSSL_free(address);
    (void)ERR_pop_to_mark();
    X509_STORE_CTX_set_error(store, code);
    return code == X509_V_OK;
}

void tls_verify_by_system(struct tls_context *c, cert_chain_verify *chain)
{
    c->chain = chain;
    SSL_CTX_set_cert_verify_callback(c->ctx, verify, NULL);
}
