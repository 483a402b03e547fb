/* What a login costs without Postern: the bare call of the library, on as many threads as Postern's
 * lane has. Prints logins a second.
 *   bare_logins THREADS COUNT kerberos CLIENT PASSWORD SERVICE     (KRB5_CONFIG, KRB5_KTNAME)
 *   bare_logins THREADS COUNT ldap URL CA_FILE DN PASSWORD         (ldap:// with StartTLS)
 *   bare_logins THREADS COUNT pbkdf2 ITERATIONS */
#define _POSIX_C_SOURCE 200809L
#include <krb5/krb5.h>
#include <ldap.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char **arguments;
static atomic_int left, failed;

static int kerberos(void)
{
    krb5_context k;
    krb5_principal client = NULL, service = NULL;
    krb5_get_init_creds_opt *o = NULL;
    krb5_verify_init_creds_opt v;
    krb5_creds c;
    memset(&c, 0, sizeof c);
    if (krb5_init_context(&k) != 0)
        return 1;
    int code =
        krb5_parse_name(k, arguments[0], &client) != 0 ||
        krb5_parse_name(k, arguments[2], &service) != 0 ||
        krb5_get_init_creds_opt_alloc(k, &o) != 0 ||
        krb5_get_init_creds_password(k, &c, client, arguments[1], NULL, NULL, 0, NULL, o) != 0;
    krb5_verify_init_creds_opt_init(&v);
    krb5_verify_init_creds_opt_set_ap_req_nofail(&v, 1);
    code = code || krb5_verify_init_creds(k, &c, service, NULL, NULL, &v) != 0;
    krb5_free_cred_contents(k, &c);
    krb5_get_init_creds_opt_free(k, o);
    krb5_free_principal(k, client);
    krb5_free_principal(k, service);
    krb5_free_context(k);
    return code;
}

static int ldap(void)
{
    LDAP *l;
    const int version = 3, demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
    struct berval password = {strlen(arguments[3]), arguments[3]};
    if (ldap_initialize(&l, arguments[0]) != 0)
        return 1;
    int code =
        ldap_set_option(l, LDAP_OPT_PROTOCOL_VERSION, &version) != 0 ||
        ldap_set_option(l, LDAP_OPT_X_TLS_CACERTFILE, arguments[1]) != 0 ||
        ldap_set_option(l, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) != 0 ||
        ldap_set_option(l, LDAP_OPT_X_TLS_NEWCTX, &client) != 0 ||
        (strncmp(arguments[0], "ldap:", 5) == 0 && ldap_start_tls_s(l, NULL, NULL) != 0) ||
        ldap_sasl_bind_s(l, arguments[2], LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL) != 0;
    ldap_unbind_ext_s(l, NULL, NULL);
    return code;
}

static int pbkdf2(void)
{
    unsigned char out[32];
    return PKCS5_PBKDF2_HMAC("correct horse 7", 15, (const unsigned char *)"0123456789abcdef", 16,
                             atoi(arguments[0]), EVP_sha256(), 32, out) != 1;
}

static void *work(void *context)
{
    int (*const *one)(void) = context;
    while (atomic_fetch_sub(&left, 1) > 0)
        atomic_fetch_add(&failed, (*one)());
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    struct timespec began, ended;
    int n = argc > 4 ? atoi(argv[1]) : 0;
    if (n < 1 || n > 64)
        return 64;
    int (*one)(void) = strcmp(argv[3], "kerberos") == 0 ? kerberos
                       : strcmp(argv[3], "ldap") == 0   ? ldap
                                                        : pbkdf2;
    arguments = argv + 4;
    atomic_store(&left, atoi(argv[2]));
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, &one) != 0)
            return 70;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double seconds =
        (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    printf("%.1f\n", atoi(argv[2]) / seconds);
    return atomic_load(&failed) != 0;
}
