#include "support/tls_files.h"

#include "support/folder.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    (void)fprintf(stderr, "tls_files: %s failed\n", what);
    abort();
}

static EVP_PKEY *make_key(int rsa)
{
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    must(key != NULL, "key");
    return key;
}

static void extend(X509 *c, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, c, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(ext != NULL && X509_add_ext(c, ext, -1) == 1, value);
    X509_EXTENSION_free(ext);
}

static X509 *make_certificate(EVP_PKEY *key, const char *name, const char *alternative, X509 *ca,
                              EVP_PKEY *ca_key, long valid_s)
{
    static long serial = 1000;
    X509 *c = X509_new();
    must(c != NULL && X509_set_version(c, 2) == 1 &&
             ASN1_INTEGER_set(X509_get_serialNumber(c), serial++) == 1,
         "certificate");
    must(X509_gmtime_adj(X509_getm_notBefore(c), -2L * 86400) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(c), valid_s) != NULL,
         "validity");
    X509_NAME *subject = X509_get_subject_name(c);
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                    -1, 0) == 1,
         "subject");
    must(X509_set_issuer_name(c, X509_get_subject_name(ca == NULL ? c : ca)) == 1 &&
             X509_set_pubkey(c, key) == 1,
         "issuer");
    if (ca == NULL)
        extend(c, c, NID_basic_constraints, "critical,CA:TRUE");
    else
        extend(c, ca, NID_subject_alt_name, alternative);
    must(X509_sign(c, ca_key, EVP_sha256()) > 0, "signature");
    return c;
}

static void path(const struct tls_files *f, char *out, const char *name)
{
    (void)snprintf(out, 128, "%s/%s", f->folder, name);
}

static void write_certificate(const char *file, X509 *c)
{
    FILE *out = fopen(file, "w");
    must(out != NULL && PEM_write_X509(out, c) == 1 && fclose(out) == 0, file);
}

static void write_key(const char *file, EVP_PKEY *key, const char *password)
{
    FILE *out = fopen(file, "w");
    must(out != NULL &&
             PEM_write_PKCS8PrivateKey(out, key, password == NULL ? NULL : EVP_aes_128_cbc(),
                                       password, password == NULL ? 0 : (int)sizeof "pw" - 1, NULL,
                                       NULL) == 1 &&
             fclose(out) == 0,
         file);
}

void tls_files_make(struct tls_files *f)
{
    test_folder("tls", f->folder, sizeof f->folder);
    path(f, f->ca, "ca.pem");
    path(f, f->main_certificate, "main.pem");
    path(f, f->main_key, "main.key");
    path(f, f->other_certificate, "other.pem");
    path(f, f->other_key, "other.key");
    path(f, f->twin_certificate, "twin.pem");
    path(f, f->locked_key, "locked.key");
    path(f, f->expired_certificate, "expired.pem");

    const long year = 365L * 86400;
    EVP_PKEY *ca_key = make_key(0), *main_key = make_key(0), *other_key = make_key(1);
    X509 *ca = make_certificate(ca_key, "Test CA", NULL, NULL, ca_key, year);
    X509 *main_one =
        make_certificate(main_key, "main.test", "DNS:main.test,IP:127.0.0.1", ca, ca_key, year);
    X509 *other = make_certificate(other_key, "other.test", "DNS:other.test,DNS:*.wild.test", ca,
                                   ca_key, year);
    X509 *expired = make_certificate(main_key, "main.test", "DNS:main.test", ca, ca_key, -86400);
    X509 *twin = make_certificate(other_key, "main.test", "DNS:main.test", ca, ca_key, year);
    write_certificate(f->twin_certificate, twin);
    X509_free(twin);
    write_certificate(f->ca, ca);
    write_certificate(f->main_certificate, main_one);
    write_certificate(f->other_certificate, other);
    write_certificate(f->expired_certificate, expired);
    write_key(f->main_key, main_key, NULL);
    write_key(f->other_key, other_key, NULL);
    write_key(f->locked_key, main_key, "pw");
    X509_free(ca);
    X509_free(main_one);
    X509_free(other);
    X509_free(expired);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(main_key);
    EVP_PKEY_free(other_key);
}

void tls_files_remove(struct tls_files *f)
{
    const char *files[] = {
        f->ca,        f->main_certificate, f->main_key,         f->other_certificate,
        f->other_key, f->locked_key,       f->twin_certificate, f->expired_certificate};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        (void)unlink(files[i]);
    (void)rmdir(f->folder);
}
