/* Why a handshake failed: what was offered, what we allow, the smallest change between the two. */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTENSION_SERVER_NAME = 0, EXTENSION_SUPPORTED_VERSIONS = 43 };
enum { ALERT_OFFSET = 1000 }; /* OpenSSL: reason of a received alert = 1000 + its number */

static unsigned u16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* RFC 8701: values that mean nothing and are there to keep us tolerant. */
static bool is_grease(unsigned value)
{
    return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

static void note_versions(struct tls_hello *h, SSL *ssl)
{
    const unsigned char *ext;
    size_t n;
    if (SSL_client_hello_get0_ext(ssl, EXTENSION_SUPPORTED_VERSIONS, &ext, &n) == 1 && n >= 1) {
        for (size_t i = 1; i + 1 < n && h->versions_n < TLS_HELLO_VERSIONS; i += 2)
            if (!is_grease(u16(ext + i)))
                h->versions[h->versions_n++] = (uint16_t)u16(ext + i);
        return;
    }
    h->versions[h->versions_n++] = (uint16_t)SSL_client_hello_get0_legacy_version(ssl);
}

/* RFC 6066 section 3: list length, type 0 (host_name), length, name. */
static void note_server_name(struct tls_session *s, SSL *ssl)
{
    const unsigned char *ext;
    size_t n;
    if (SSL_client_hello_get0_ext(ssl, EXTENSION_SERVER_NAME, &ext, &n) != 1 || n < 5 ||
        ext[2] != 0)
        return;
    struct span name = span_sub(span_of(ext, n), 5, u16(ext + 3));
    if (name.n == 0 || name.n > 255 || span_find(name, 0) < name.n)
        return;
    free(s->server_name); /* a second hello after HelloRetryRequest */
    s->server_name = malloc(name.n + 1);
    if (s->server_name != NULL)
        (void)span_cstr(name, s->server_name, name.n + 1);
}

void tls_hello_note(struct tls_session *s, SSL *ssl)
{
    struct tls_hello *h = s->hello;
    note_server_name(s, ssl);
    if (h == NULL)
        return;
    h->seen = true;
    h->versions_n = h->ciphers_n = h->ciphers_offered = 0;
    note_versions(h, ssl);
    const unsigned char *list;
    size_t n = SSL_client_hello_get0_ciphers(ssl, &list);
    for (size_t i = 0; i + 1 < n; i += 2) {
        unsigned id = u16(list + i);
        if (is_grease(id) || id == 0x00ff || id == 0x5600) /* signalling values, no ciphers */
            continue;
        h->ciphers_offered++;
        if (h->ciphers_n < TLS_HELLO_CIPHERS)
            h->ciphers[h->ciphers_n++] = (uint16_t)id;
    }
}

static const SSL_CIPHER *find_cipher(const struct tls_session *s, unsigned id)
{
    const unsigned char two[2] = {(unsigned char)(id >> 8), (unsigned char)id};
    return SSL_CIPHER_find(s->ssl, two);
}

/* Adds to a fixed text, cutting with "..." when it is full. */
static void add(char *text, size_t size, const char *more)
{
    size_t used = strlen(text), n = strlen(more);
    if (used + n + 4 < size)
        memcpy(text + used, more, n + 1);
    else if (used >= 3 && strcmp(text + used - 3, "...") != 0)
        memcpy(text + used, "...", 4);
}

static void add_escaped(char *text, size_t size, struct span bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        char one[5];
        uint8_t c = bytes.p[i];
        if (c == '\r' || c == '\n')
            break;
        (void)snprintf(one, sizeof one, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
        add(text, size, one);
    }
}

static void describe_offer(const struct tls_session *s, struct tls_failure *out)
{
    const struct tls_hello *h = s->hello;
    if (h == NULL || !h->seen) {
        if (h != NULL && h->first_n > 0) {
            add(out->offered, sizeof out->offered, "no TLS: it sent \"");
            add_escaped(out->offered, sizeof out->offered, span_of(h->first, h->first_n));
            add(out->offered, sizeof out->offered, "\"");
        }
        return;
    }
    for (size_t i = 0; i < h->versions_n; i++) {
        add(out->offered, sizeof out->offered, i == 0 ? "" : ", ");
        add(out->offered, sizeof out->offered, tls_version_name(h->versions[i]));
    }
    if (s->server_name != NULL) {
        add(out->offered, sizeof out->offered, "; server name ");
        add_escaped(out->offered, sizeof out->offered, span_str(s->server_name));
    }
    char text[64];
    (void)snprintf(text, sizeof text, "; %zu ciphers:", h->ciphers_offered);
    add(out->offered, sizeof out->offered, text);
    for (size_t i = 0; i < h->ciphers_n; i++) {
        const SSL_CIPHER *c = find_cipher(s, h->ciphers[i]);
        (void)snprintf(text, sizeof text, " %s", c == NULL ? "" : SSL_CIPHER_get_name(c));
        if (c == NULL)
            (void)snprintf(text, sizeof text, " 0x%04x", (unsigned)h->ciphers[i]);
        add(out->offered, sizeof out->offered, text);
    }
}

static unsigned newest_offered(const struct tls_hello *h)
{
    unsigned newest = 0;
    for (size_t i = 0; i < h->versions_n; i++)
        if (h->versions[i] > newest && h->versions[i] <= 0x0304)
            newest = h->versions[i];
    return newest;
}

static void explain_versions(const struct tls_session *s, struct tls_failure *out)
{
    unsigned newest = newest_offered(s->hello);
    (void)snprintf(out->reason, sizeof out->reason, "no common version: the client's newest is %s",
                   tls_version_name(newest));
    if (newest >= 0x0301 && newest < (unsigned)s->minimum)
        (void)snprintf(out->change, sizeof out->change,
                       "set tls.minimum_version: \"1.%u\", or tls_minimum of a profile for this "
                       "client alone",
                       newest - 0x0301);
    else if (newest >= (unsigned)s->minimum) /* tls_limits.c */
        (void)snprintf(out->change, sizeof out->change,
                       "a certificate whose key can make RSA-PSS signatures, which TLS 1.3 needs: "
                       "that of the store cannot, postern check lists them");
    else
        (void)snprintf(out->change, sizeof out->change,
                       "none for us, %s is broken: update the client, or give it a listener with "
                       "tls: none and let its address alone relay there",
                       tls_version_name(newest));
}

/* The best of the client's ciphers that our key could serve, were it allowed. */
static void explain_ciphers(const struct tls_session *s, struct tls_failure *out)
{
    (void)snprintf(out->reason, sizeof out->reason, "no common cipher");
    int key = EVP_PKEY_get_base_id(s->context->identities[0].key);
    const char *other_key = NULL;
    for (size_t i = 0; i < s->hello->ciphers_n; i++) {
        const SSL_CIPHER *c = find_cipher(s, s->hello->ciphers[i]);
        if (c == NULL || SSL_CIPHER_get_cipher_nid(c) == NID_undef ||
            SSL_CIPHER_get_auth_nid(c) == NID_auth_any)
            continue;
        int auth = SSL_CIPHER_get_auth_nid(c), exchange = SSL_CIPHER_get_kx_nid(c);
        if (exchange != NID_kx_rsa && exchange != NID_kx_ecdhe)
            continue;
        bool fits = (auth == NID_auth_rsa && key == EVP_PKEY_RSA) ||
                    (auth == NID_auth_ecdsa && key == EVP_PKEY_EC);
        if (fits && s->context->own_list && !tls_context_has_cipher(s->context, c)) {
            (void)snprintf(out->change, sizeof out->change, "add %s to tls.ciphers",
                           SSL_CIPHER_get_name(c));
            return;
        }
        if (fits && s->minimum >= TLS1_2_VERSION && tls_legacy_has_cipher(SSL_CIPHER_get_name(c))) {
            (void)snprintf(out->change, sizeof out->change,
                           "set tls.minimum_version: \"1.1\", which also allows the ciphers of old "
                           "clients, %s among them",
                           SSL_CIPHER_get_name(c));
            return;
        }
        if (!fits && (auth == NID_auth_rsa || auth == NID_auth_ecdsa))
            other_key = auth == NID_auth_rsa ? "RSA" : "ECDSA";
    }
    if (other_key != NULL)
        (void)snprintf(out->change, sizeof out->change,
                       "use a certificate with an %s key in tls.certificate: the client has no "
                       "cipher for ours",
                       other_key);
    else
        (void)snprintf(out->change, sizeof out->change,
                       "none for us: the client has no cipher that this OpenSSL has; update it");
}

static void explain_alert(const struct tls_session *s, int alert, struct tls_failure *out)
{
    (void)snprintf(out->reason, sizeof out->reason, "the %s sent the alert %d (%s)",
                   s->server ? "client" : "server", alert, SSL_alert_desc_string_long(alert));
    const char *change = "";
    switch (alert) {
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
        change = s->server ? "the client does not trust our certificate: install its CA on the "
                             "client, or use a certificate of a CA that the client knows (with the "
                             "intermediate certificates in tls.certificate)"
                           : "the server wants a certificate of ours, which we do not send";
        break;
    case SSL_AD_CERTIFICATE_EXPIRED:
        change = "renew tls.certificate, and look at the clock of the client";
        break;
    case SSL_AD_PROTOCOL_VERSION:
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_INSUFFICIENT_SECURITY:
        change = s->server
                     ? "the client refuses what we chose: look at the versions and ciphers that "
                       "it allows, and at the kind and size of our key"
                     : "the server has no version or cipher in common with us: update it, or "
                       "set tls: none for this destination";
        break;
    case SSL_AD_UNRECOGNIZED_NAME:
        change = "the server has no certificate for the name that we asked for";
        break;
    default: break;
    }
    (void)snprintf(out->change, sizeof out->change, "%s", change);
}

static bool looks_like_tls(const struct tls_hello *h)
{
    return h->first_n == 0 || h->first[0] == 0x16 || (h->first[0] & 0x80) != 0 ||
           h->first[0] == 0x15;
}

static void explain_verification(const struct tls_session *s, struct tls_failure *out)
{
    long code = SSL_get_verify_result(s->ssl);
    (void)snprintf(out->reason, sizeof out->reason, "the server's certificate is not good: %s",
                   X509_verify_cert_error_string(code));
    bool name = code == X509_V_ERR_HOSTNAME_MISMATCH || code == X509_V_ERR_IP_ADDRESS_MISMATCH;
    (void)snprintf(out->change, sizeof out->change, "%s",
                   name ? "name the server as its certificate does, or set tls: required, which "
                          "does not compare names"
                        : "put the server's CA into ca_file, or set tls: required, which does not "
                          "check");
}

void tls_failure_explain(const struct tls_session *s, unsigned long error, struct tls_failure *out)
{
    *out = (struct tls_failure){0};
    const struct tls_hello *h = s->hello;
    describe_offer(s, out);
    (void)snprintf(out->allowed, sizeof out->allowed, "%s", s->context->allowed);
    int reason = ERR_GET_REASON(error);
    bool hello = h != NULL && h->seen;

    if (h != NULL && !hello && h->first_n > 0 && !looks_like_tls(h)) {
        (void)snprintf(out->reason, sizeof out->reason, "the client spoke no TLS");
        (void)snprintf(
            out->change, sizeof out->change,
            "make the client speak TLS from the first byte here, or send it to a listener "
            "with tls: optional or required (STARTTLS)");
    } else if (error == 0) {
        (void)snprintf(out->reason, sizeof out->reason,
                       "the %s closed the connection during the handshake",
                       s->server ? "client" : "server");
        if (hello)
            (void)snprintf(out->change, sizeof out->change,
                           "clients that close without a word often do not trust the certificate: "
                           "install its CA on the client");
    } else if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > ALERT_OFFSET &&
               reason < ALERT_OFFSET + 256) {
        explain_alert(s, reason - ALERT_OFFSET, out);
    } else if (hello && (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW ||
                         reason == SSL_R_UNKNOWN_PROTOCOL)) {
        explain_versions(s, out);
    } else if (hello && reason == SSL_R_NO_SHARED_CIPHER) {
        explain_ciphers(s, out);
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        explain_verification(s, out);
    } else if (!s->server && reason == SSL_R_WRONG_VERSION_NUMBER) {
        (void)snprintf(out->reason, sizeof out->reason, "the server spoke no TLS");
    } else {
        const char *text = ERR_reason_error_string(error);
        (void)snprintf(out->reason, sizeof out->reason, "%s", text == NULL ? "TLS failed" : text);
    }
}
