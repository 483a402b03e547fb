/* Certificates and keys as files: reading them, and saying what is in them. */
#include "net/tls_internal.h"

#include "base/netaddr.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tls_error_text(char *out, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    if (reason != NULL)
        (void)snprintf(out, size, "%s", reason);
    else if (code != 0 && ERR_SYSTEM_ERROR(code))
        (void)snprintf(out, size, "%s", strerror(ERR_GET_REASON(code)));
    else
        (void)snprintf(out, size, "error %lx", code);
    ERR_clear_error();
    return out;
}

static BIO *open_pem(const char *path, const char *what, struct err *e)
{
    ERR_clear_error();
    BIO *file = path == NULL || path[0] == 0 ? NULL : BIO_new_file(path, "rb");
    if (file != NULL)
        return file;
    if (path == NULL || path[0] == 0) {
        (void)err_set(e, ERR_PERM, "%s: no file is named", what);
        return NULL;
    }
    unsigned long code = ERR_peek_error(); /* the first one is the system's */
    (void)err_set(e, ERR_PERM, "%s %s: cannot open: %s", what, path,
                  ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                                         : "no such file or no right to read it");
    ERR_clear_error();
    return NULL;
}

/* Asked for a password, it remembers that and gives none: a service has nobody to ask. */
static int note_password(char *out, int size, int writing, void *asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool load_certificates(const char *path, struct tls_identity *out, struct err *e)
{
    char text[200];
    BIO *file = open_pem(path, "certificate", e);
    if (file == NULL)
        return false;
    bool ok = false, asked = false;
    out->chain = sk_X509_new_null();
    out->certificate = PEM_read_bio_X509_AUX(file, NULL, note_password, &asked);
    if (out->certificate == NULL || out->chain == NULL) {
        (void)err_set(e, ERR_PERM,
                      "certificate %s: holds no PEM certificate (\"BEGIN CERTIFICATE\"): %s", path,
                      tls_error_text(text, sizeof text));
        goto done;
    }
    for (;;) {
        X509 *next = PEM_read_bio_X509(file, NULL, note_password, &asked);
        if (next == NULL)
            break;
        if (sk_X509_push(out->chain, next) == 0) {
            X509_free(next);
            (void)err_set(e, ERR_TEMP, "certificate %s: no memory", path);
            goto done;
        }
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        (void)err_set(e, ERR_PERM, "certificate %s: its chain cannot be read: %s", path,
                      tls_error_text(text, sizeof text));
        goto done;
    }
    ok = true;
done:
    ERR_clear_error();
    BIO_free(file);
    return ok;
}

static bool load_key(const char *path, struct tls_identity *out, struct err *e)
{
    char text[200];
    BIO *file = open_pem(path, "key", e);
    if (file == NULL)
        return false;
    bool asked = false;
    out->key = PEM_read_bio_PrivateKey(file, NULL, note_password, &asked);
    BIO_free(file);
    if (out->key != NULL)
        return true;
    if (asked) {
        ERR_clear_error();
        return err_set(e, ERR_PERM,
                       "key %s: is protected by a password, which a service cannot type; write it "
                       "without one: openssl pkey -in FILE -out NEWFILE",
                       path);
    }
    return err_set(e, ERR_PERM, "key %s: holds no PEM private key: %s", path,
                   tls_error_text(text, sizeof text));
}

const char *tls_pair_name(const struct tls_pair *pair, char *out, size_t size)
{
    if (pair->store == NULL || pair->store[0] == '\0')
        (void)snprintf(out, size, "%s", pair->certificate == NULL ? "" : pair->certificate);
    else if (pair->thumbprint != NULL && pair->thumbprint[0] != '\0')
        (void)snprintf(out, size, "%s, thumbprint %s", pair->store, pair->thumbprint);
    else
        (void)snprintf(out, size, "%s, subject %s", pair->store,
                       pair->subject == NULL ? "" : pair->subject);
    return out;
}

bool tls_identity_load(const struct tls_pair *pair, struct tls_identity *out, struct err *e)
{
    struct tls_renewal ignored = {0};
    *out = (struct tls_identity){0};
    if (pair->store != NULL && pair->store[0] != '\0')
        return tls_store_load(pair, NULL, out, &ignored, e);
    if (!load_certificates(pair->certificate, out, e) || !load_key(pair->key, out, e))
        goto fail;
    if (X509_check_private_key(out->certificate, out->key) != 1) {
        ERR_clear_error();
        (void)err_set(e, ERR_PERM, "key %s: does not belong to the certificate %s", pair->key,
                      pair->certificate);
        goto fail;
    }
    return true;
fail:
    tls_identity_drop(out);
    return false;
}

void tls_identity_drop(struct tls_identity *i)
{
    X509_free(i->certificate);
    EVP_PKEY_free(i->key);
    sk_X509_pop_free(i->chain, X509_free);
    tls_provider_unref(&i->provider); /* after the key that it made */
    *i = (struct tls_identity){0};
}

bool tls_identity_copy(const struct tls_identity *from, struct tls_identity *out)
{
    *out = (struct tls_identity){.twin = from->twin, .can = from->can};
    if (X509_up_ref(from->certificate) == 1)
        out->certificate = from->certificate;
    if (EVP_PKEY_up_ref(from->key) == 1)
        out->key = from->key;
    out->chain = from->chain == NULL ? sk_X509_new_null() : X509_chain_up_ref(from->chain);
    out->provider = tls_provider_ref(from->provider);
    if (out->certificate != NULL && out->key != NULL && out->chain != NULL)
        return true;
    tls_identity_drop(out);
    return false;
}

void tls_certificate_thumbprint(const X509 *c, uint8_t out[20])
{
    unsigned n = 0;
    memset(out, 0, 20);
    (void)X509_digest(c, EVP_sha1(), out, &n);
}

bool tls_identity_matches(const struct tls_identity *i, const char *host)
{
    return X509_check_host(i->certificate, host, strlen(host), 0, NULL) == 1;
}

bool tls_identity_shares_name(const struct tls_identity *a, const struct tls_identity *b)
{
    bool shares = false;
    GENERAL_NAMES *names = X509_get_ext_d2i(a->certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; !shares && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char text[256] = "";
        if (name->type == GEN_DNS && span_cstr(span_of(ASN1_STRING_get0_data(name->d.dNSName),
                                                       (size_t)ASN1_STRING_length(name->d.dNSName)),
                                               text, sizeof text))
            shares = tls_identity_matches(b, text);
    }
    GENERAL_NAMES_free(names);
    return shares;
}

int64_t tls_wall_ms_of(const ASN1_TIME *t)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t);
    ASN1_TIME_free(epoch);
    return ok ? ((int64_t)days * 86400 + seconds) * 1000 : 0;
}

static void add_name(char *out, size_t size, const char *name)
{
    size_t used = strlen(out);
    if (used + strlen(name) + 2 <= size)
        (void)snprintf(out + used, size - used, "%s%s", used ? " " : "", name);
}

void tls_certificate_names_of(const X509 *certificate, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char text[256] = "";
        if (name->type == GEN_DNS) {
            struct span s = span_of(ASN1_STRING_get0_data(name->d.dNSName),
                                    (size_t)ASN1_STRING_length(name->d.dNSName));
            (void)span_cstr(s, text, sizeof text);
        } else if (name->type == GEN_IPADD) {
            struct span s = span_of(ASN1_STRING_get0_data(name->d.iPAddress),
                                    (size_t)ASN1_STRING_length(name->d.iPAddress));
            struct netaddr a = {{0}};
            if (s.n == 4)
                a = netaddr_v4(s.p);
            else if (s.n == 16)
                memcpy(a.b, s.p, 16);
            if (s.n == 4 || s.n == 16)
                netaddr_format(&a, text);
        }
        if (text[0] != 0)
            add_name(out, size, text);
    }
    GENERAL_NAMES_free(names);
}

void tls_certificate_subject(const X509 *c, char *out, size_t size)
{
    BIO *text = BIO_new(BIO_s_mem());
    out[0] = '\0';
    if (text != NULL &&
        X509_NAME_print_ex(text, X509_get_subject_name(c), 0, XN_FLAG_RFC2253) >= 0) {
        char *p = NULL;
        long n = BIO_get_mem_data(text, &p);
        (void)snprintf(out, size, "%.*s", (int)n, p);
    }
    BIO_free(text);
}

void tls_identity_describe(const struct tls_identity *i, struct tls_certificate_info *out)
{
    const X509 *c = i->certificate;
    *out = (struct tls_certificate_info){0};
    tls_certificate_subject(c, out->subject, sizeof out->subject);
    tls_certificate_names_of(c, out->names, sizeof out->names);
    out->not_before_wall_ms = tls_wall_ms_of(X509_get0_notBefore(c));
    out->not_after_wall_ms = tls_wall_ms_of(X509_get0_notAfter(c));
    out->self_signed = X509_NAME_cmp(X509_get_subject_name(c), X509_get_issuer_name(c)) == 0;
    out->no_pss = i->provider != NULL && EVP_PKEY_is_a(i->key, "RSA") == 1 && i->can.pss == 0;
}

bool tls_certificate_info(const struct tls_pair *pair, struct tls_certificate_info *out,
                          struct err *e)
{
    struct tls_identity identity;
    *out = (struct tls_certificate_info){0};
    if (!tls_identity_load(pair, &identity, e))
        return false;
    tls_identity_describe(&identity, out);
    tls_identity_drop(&identity);
    return true;
}

bool tls_certificate_names(const struct tls_pair *pair, const char *host, bool *names,
                           struct err *e)
{
    struct tls_identity identity;
    if (!tls_identity_load(pair, &identity, e))
        return false;
    *names = tls_identity_matches(&identity, host);
    tls_identity_drop(&identity);
    return true;
}
