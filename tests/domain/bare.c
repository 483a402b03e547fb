/* What a login costs without Postern: the library's own call, COUNT times by THREADS threads.
 *   bare kerberos COUNT THREADS ACCOUNT SERVICE@HOST KEYTAB   password on standard input
 *   bare ldap     COUNT THREADS NAME URL CA                   the same
 *   bare winbind  COUNT THREADS DOMAIN\ACCOUNT                the same
 *   bare gssapi   COUNT THREADS CACHE SERVICE@HOST KEYTAB     CACHE holds the account's ticket
 *   bare spnego   COUNT THREADS CACHE SERVICE@HOST KEYTAB
 * Prints how many there were in a second; 1 where one of them failed. Built by load_test.py. */
#define _GNU_SOURCE
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <ldap.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wbclient.h>

static char **argument;
static char password[256];
static gss_buffer_desc *tokens;
static atomic_uint next, failed;
static unsigned count;

static bool kerberos(unsigned i)
{
    krb5_context k;
    krb5_principal who, service;
    krb5_creds creds;
    krb5_keytab keytab;
    krb5_verify_init_creds_opt strict;
    char principal[256];
    (void)i;
    memset(&creds, 0, sizeof creds);
    snprintf(principal, sizeof principal, "%.*s/%s", (int)strcspn(argument[1], "@"), argument[1],
             strchr(argument[1], '@') + 1);
    if (krb5_init_context(&k) != 0)
        return false;
    bool ok = krb5_parse_name(k, argument[0], &who) == 0 &&
              krb5_parse_name(k, principal, &service) == 0 &&
              krb5_kt_resolve(k, argument[2], &keytab) == 0;
    krb5_verify_init_creds_opt_init(&strict);
    krb5_verify_init_creds_opt_set_ap_req_nofail(&strict, 1);
    ok = ok &&
         krb5_get_init_creds_password(k, &creds, who, password, NULL, NULL, 0, NULL, NULL) == 0 &&
         krb5_verify_init_creds(k, &creds, service, keytab, NULL, &strict) == 0;
    krb5_free_cred_contents(k, &creds);
    krb5_free_principal(k, who);
    krb5_free_principal(k, service);
    krb5_kt_close(k, keytab);
    krb5_free_context(k);
    return ok;
}

static bool ldap(unsigned i)
{
    LDAP *l;
    int version = 3, demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
    struct berval secret = {strlen(password), password};
    (void)i;
    if (ldap_initialize(&l, argument[1]) != 0)
        return false;
    ldap_set_option(l, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(l, LDAP_OPT_X_TLS_CACERTFILE, argument[2]);
    ldap_set_option(l, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
    ldap_set_option(l, LDAP_OPT_X_TLS_NEWCTX, &client);
    bool ok = ldap_sasl_bind_s(l, argument[0], LDAP_SASL_SIMPLE, &secret, NULL, NULL, NULL) == 0;
    ldap_unbind_ext_s(l, NULL, NULL);
    return ok;
}

static bool winbind(unsigned i)
{
    (void)i;
    return wbcAuthenticateUser(argument[0], password) == WBC_ERR_SUCCESS;
}

static bool accept_one(unsigned i)
{
    static const uint8_t offer[] = {1, 0, 0, 0};
    OM_uint32 minor;
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
    gss_name_t client = GSS_C_NO_NAME;
    gss_buffer_desc out = GSS_C_EMPTY_BUFFER, wrapped = GSS_C_EMPTY_BUFFER;
    gss_buffer_desc clear = {sizeof offer, (void *)(uintptr_t)offer};
    gss_key_value_element_desc element = {"keytab", argument[2]};
    gss_key_value_set_desc store = {1, &element};
    bool ok = gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
                                    GSS_C_ACCEPT, &store, &cred, NULL, NULL) == 0 &&
              gss_accept_sec_context(&minor, &context, cred, &tokens[i], GSS_C_NO_CHANNEL_BINDINGS,
                                     &client, NULL, &out, NULL, NULL, NULL) == 0 &&
              gss_wrap(&minor, context, 0, GSS_C_QOP_DEFAULT, &clear, NULL, &wrapped) == 0;
    gss_release_buffer(&minor, &out);
    gss_release_buffer(&minor, &wrapped);
    gss_release_name(&minor, &client);
    gss_release_cred(&minor, &cred);
    gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
    return ok;
}

/* The clients' tokens, made before the clock runs. */
static bool make_tokens(bool spnego)
{
    gss_OID_desc mechanisms[] = {{9, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"},
                                 {6, "\x2b\x06\x01\x05\x05\x02"}};
    OM_uint32 minor;
    gss_name_t target;
    gss_cred_id_t cred;
    gss_buffer_desc name = {strlen(argument[1]), argument[1]};
    gss_key_value_element_desc element = {"ccache", argument[0]};
    gss_key_value_set_desc store = {1, &element};
    tokens = calloc(count, sizeof *tokens);
    if (gss_import_name(&minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &target) != 0 ||
        gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
                              GSS_C_INITIATE, &store, &cred, NULL, NULL) != 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        gss_ctx_id_t context = GSS_C_NO_CONTEXT;
        if (GSS_ERROR(gss_init_sec_context(&minor, cred, &context, target, &mechanisms[spnego],
                                           GSS_C_MUTUAL_FLAG | GSS_C_INTEG_FLAG, 0,
                                           GSS_C_NO_CHANNEL_BINDINGS, GSS_C_NO_BUFFER, NULL,
                                           &tokens[i], NULL, NULL)))
            return false;
        gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
    }
    return true;
}

static void *work(void *call)
{
    bool (*one)(unsigned) = *(bool (**)(unsigned))call;
    for (unsigned i; (i = atomic_fetch_add(&next, 1)) < count;)
        if (!one(i))
            atomic_fetch_add(&failed, 1);
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 64;
    bool spnego = strcmp(argv[1], "spnego") == 0,
         tickets = spnego || strcmp(argv[1], "gssapi") == 0;
    bool (*one)(unsigned) = tickets                            ? accept_one
                            : strcmp(argv[1], "kerberos") == 0 ? kerberos
                            : strcmp(argv[1], "ldap") == 0     ? ldap
                                                               : winbind;
    unsigned threads = (unsigned)atoi(argv[3]);
    pthread_t thread[64];
    count = (unsigned)atoi(argv[2]);
    argument = argv + 4;
    if (tickets ? !make_tokens(spnego) : fgets(password, sizeof password, stdin) == NULL)
        return 1;
    password[strcspn(password, "\n")] = 0;
    double start = now();
    for (unsigned i = 0; i < threads && i < 64; i++)
        pthread_create(&thread[i], NULL, work, &one);
    for (unsigned i = 0; i < threads && i < 64; i++)
        pthread_join(thread[i], NULL);
    printf("%.1f\n", count / (now() - start));
    return failed != 0;
}
