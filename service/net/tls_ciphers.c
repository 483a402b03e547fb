/* The ciphers that a listener takes. Ours: Mozilla's intermediate profile (version 5), narrowed to
 * ECDHE. An administrator's list is read more strictly than OpenSSL reads it, which passes over
 * every word that it does not know. */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 2048, WORD_MAX = 128 };

static const char modern_ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
/* For the clients that a minimum of 1.0 or 1.1 is meant for: they know no AEAD, many no ECDHE. */
static const char legacy_ciphers[] =
    ":ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:"
    "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:"
    "DES-CBC3-SHA:";

bool tls_legacy_has_cipher(const char *name)
{
    char between[80];
    (void)snprintf(between, sizeof between, ":%s:", name);
    return strstr(legacy_ciphers, between) != NULL;
}

/* ---- reading a list ---- */

static struct span next_word(struct span *rest, const char *separators)
{
    size_t from = 0, n = 0;
    while (from < rest->n && strchr(separators, rest->p[from]) != NULL)
        from++;
    *rest = span_from(*rest, from);
    while (n < rest->n && strchr(separators, rest->p[n]) == NULL)
        n++;
    struct span word = span_sub(*rest, 0, n);
    *rest = span_from(*rest, n);
    return word;
}

/* A word of a list for TLS 1.2 and below: a cipher, a class of them, a combination with `+`; or one
 * of the commands that OpenSSL takes. */
static bool word_known(SSL_CTX *scratch, struct span word)
{
    char list[WORD_MAX];
    if (span_is(word, "@STRENGTH") || (word.n == 11 && span_starts_nocase(word, "@SECLEVEL=") &&
                                       word.p[10] >= '0' && word.p[10] <= '5'))
        return true;
    if (word.n > 0 && strchr("!-+", word.p[0]) != NULL)
        word = span_from(word, 1);
    if (word.n == 0 || word.n >= sizeof list - 1 || word.p[0] == '@')
        return false;
    (void)span_cstr(word, list, sizeof list);
    ERR_clear_error();
    bool known = SSL_CTX_set_cipher_list(scratch, list) == 1;
    ERR_clear_error();
    return known;
}

static bool words_known(struct span list, struct err *e)
{
    bool known = true;
    SSL_CTX *scratch = SSL_CTX_new(TLS_server_method());
    if (scratch == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    for (struct span word = next_word(&list, ": ,;"); known && word.n > 0;
         word = next_word(&list, ": ,;")) {
        known = word_known(scratch, word);
        if (!known)
            (void)err_set(e, ERR_PERM,
                          "\"%.*s\" is no cipher, expected names as `openssl ciphers` knows them, "
                          "with colons between",
                          SPAN_ARG(span_sub(word, 0, 100)));
    }
    SSL_CTX_free(scratch);
    return known;
}

/* What clients could really use: the security level counted in, TLS 1.3 not. */
static bool usable(SSL_CTX *ctx, struct err *e)
{
    SSL *ssl = SSL_new(ctx);
    STACK_OF(SSL_CIPHER) *supported = ssl == NULL ? NULL : SSL_get1_supported_ciphers(ssl);
    int n = 0;
    const SSL_CIPHER *bad = NULL;
    for (int i = 0; i < sk_SSL_CIPHER_num(supported); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(supported, i);
        bool old = SSL_CIPHER_get_auth_nid(c) != NID_auth_any;
        n += old;
        if (old &&
            (SSL_CIPHER_get_bits(c, NULL) == 0 || SSL_CIPHER_get_auth_nid(c) == NID_auth_null))
            bad = c;
    }
    bool ok = ssl != NULL && n > 0 && bad == NULL;
    if (ssl == NULL)
        (void)err_set(e, ERR_TEMP, "no memory");
    else if (bad != NULL)
        (void)err_set(e, ERR_PERM, "%s would be taken, which %s, expected ciphers that protect",
                      SSL_CIPHER_get_name(bad),
                      SSL_CIPHER_get_bits(bad, NULL) == 0 ? "does not encrypt"
                                                          : "knows no certificate");
    else if (n == 0)
        (void)err_set(e, ERR_PERM,
                      "no cipher is left, expected one that this OpenSSL allows at its security "
                      "level (see @SECLEVEL)");
    sk_SSL_CIPHER_free(supported);
    SSL_free(ssl);
    return ok;
}

/* ---- setting it ---- */

/* OpenSSL 3 counts the MD5-SHA1 of TLS 1.0 and 1.1 as no security at all: they exist at level 0
 * only. That level stays the exception of those who asked for these versions. */
static bool set_list(SSL_CTX *ctx, bool legacy, const char *given, struct err *e)
{
    char list[LIST_MAX], text[200];
    bool ours = given == NULL || given[0] == '\0';
    int n = snprintf(list, sizeof list, "%s%s%s", ours ? modern_ciphers : given,
                     ours && legacy ? legacy_ciphers : ":",
                     legacy && (ours || strstr(given, "@SECLEVEL") == NULL) ? "@SECLEVEL=0" : "");
    if (n < 0 || (size_t)n >= sizeof list)
        return err_set(e, ERR_PERM, "too long, expected at most %d bytes", LIST_MAX - 16);
    if (!ours && !words_known(span_str(given), e))
        return false;
    ERR_clear_error();
    if (SSL_CTX_set_cipher_list(ctx, list) != 1)
        return err_set(e, ERR_PERM, "no cipher is left of it: %s",
                       tls_error_text(text, sizeof text));
    return ours || usable(ctx, e);
}

static bool set_suites(SSL_CTX *ctx, const char *given, struct err *e)
{
    char text[200];
    ERR_clear_error();
    struct span rest = span_str(given);
    for (struct span word = next_word(&rest, ":"); word.n > 0; word = next_word(&rest, ":")) {
        char one[WORD_MAX];
        bool known = false;
        if (span_cstr(word, one, sizeof one) && SSL_CTX_set_ciphersuites(ctx, one) == 1) {
            const STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(ctx);
            for (int i = 0; i < sk_SSL_CIPHER_num(list) && !known; i++)
                known = strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(list, i)), one) == 0;
        }
        ERR_clear_error();
        if (!known)
            return err_set(e, ERR_PERM,
                           "\"%.*s\" is no cipher suite of TLS 1.3, expected names as "
                           "TLS_AES_128_GCM_SHA256, with colons between",
                           SPAN_ARG(span_sub(word, 0, 100)));
    }
    if (SSL_CTX_set_ciphersuites(ctx, given) != 1)
        return err_set(e, ERR_PERM, "cannot be set: %s", tls_error_text(text, sizeof text));
    return true;
}

bool tls_ciphers_set(struct tls_context *c, const char *ciphers, const char *suites, struct err *e)
{
    bool legacy = c->minimum < TLS1_2_VERSION;
    bool more = c->minimum < TLS1_3_VERSION;
    c->own_list = ciphers != NULL && ciphers[0] != '\0';
    if (!set_list(c->ctx, legacy, ciphers, e))
        return err_wrap(e, "tls.ciphers");
    if (suites != NULL && suites[0] != '\0' && !set_suites(c->ctx, suites, e))
        return err_wrap(e, "tls.ciphersuites");
    (void)snprintf(c->allowed, sizeof c->allowed, "%s%s%s, %s",
                   tls_version_name((unsigned)c->minimum), more ? " to " : "",
                   more ? "TLS 1.3" : "",
                   c->own_list ? "the ciphers of tls.ciphers"
                   : legacy    ? "our ciphers with those for old clients"
                               : "our ciphers (ECDHE)");
    return true;
}

bool tls_ciphers_loosen(const struct tls_context *c, SSL *ssl)
{
    char list[LIST_MAX];
    SSL_set_security_level(ssl, 0);
    if (c->own_list)
        return true;
    int n = snprintf(list, sizeof list, "%s%s@SECLEVEL=0", modern_ciphers, legacy_ciphers);
    return n > 0 && (size_t)n < sizeof list && SSL_set_cipher_list(ssl, list) == 1;
}

bool tls_ciphers_check(const char *ciphers, const char *minimum_version, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int minimum = tls_version_number(minimum_version);
    bool ok = ctx != NULL && SSL_CTX_set_min_proto_version(
                                 ctx, minimum < TLS1_2_VERSION ? minimum : TLS1_2_VERSION) == 1;
    ok = ok ? set_list(ctx, minimum < TLS1_2_VERSION, ciphers, e)
            : err_set(e, ERR_TEMP, "no memory");
    SSL_CTX_free(ctx);
    return ok;
}

bool tls_ciphersuites_check(const char *suites, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool ok = ctx != NULL ? set_suites(ctx, suites, e) : err_set(e, ERR_TEMP, "no memory");
    SSL_CTX_free(ctx);
    return ok;
}

bool tls_context_has_cipher(const struct tls_context *c, const SSL_CIPHER *cipher)
{
    const STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(c->ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(list); i++)
        if (SSL_CIPHER_get_id(sk_SSL_CIPHER_value(list, i)) == SSL_CIPHER_get_id(cipher))
            return true;
    return false;
}
