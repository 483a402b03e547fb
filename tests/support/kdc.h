/* kdc.h - MIT's KDC for one test program, in a folder of its own on 127.0.0.1, and clients of it
 * over the system's GSSAPI. Needs krb5-kdc (packaging/debian-test.list).
 * Principals: alice, bob, guest and WELLKNOWN/NOBODY, all with the password KDC_PASSWORD;
 * smtp/, SMTPSVC/ and host/relay.example, whose keys are in keytab, smtp_keytab (the first alone)
 * and host_keytab (the last alone). */
#ifndef POSTERN_SUPPORT_KDC_H
#define POSTERN_SUPPORT_KDC_H

#include "base/buf.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KDC_REALM "KRB.EXAMPLE"
#define KDC_PASSWORD "correct horse 7"

struct kdc {
    char folder[64], keytab[96], smtp_keytab[96], host_keytab[96];
    int port;
    pid_t pid;
};

static inline void kdc_write(const struct kdc *k, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", k->folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void kdc_run(const char *command)
{
    if (system(command) != 0)
        fail_msg("failed (are the packages of debian-test.list installed?): %s", command);
}

/* Lines for kadmin.local. */
static inline void kdc_admin(const struct kdc *k, const char *lines)
{
    char command[512];
    kdc_write(k, "commands", lines);
    (void)snprintf(command, sizeof command,
                   "kadmin.local -r " KDC_REALM " <%s/commands >%s/kadmin.log 2>&1 && "
                   "! grep -E ' while ' %s/kadmin.log",
                   k->folder, k->folder, k->folder);
    kdc_run(command);
}

static inline int kdc_free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&in, n) == 0 &&
                getsockname(fd, (struct sockaddr *)&in, &n) == 0);
    (void)close(fd);
    return ntohs(in.sin_port);
}

static inline void kdc_wait(const struct kdc *k)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)k->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 3000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool there = connect(fd, (struct sockaddr *)&in, sizeof in) == 0;
        (void)close(fd);
        if (there)
            return;
        const struct timespec pause = {.tv_nsec = 10000000};
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("the KDC did not come up");
}

static inline void kdc_export(const struct kdc *k, const char *keytab, const char *service)
{
    char lines[256];
    (void)snprintf(lines, sizeof lines, "ktadd -q -norandkey -k %s %s/relay.example\n", keytab,
                   service);
    kdc_admin(k, lines);
}

static inline void kdc_configure(struct kdc *k)
{
    char text[1024], path[128];
    (void)snprintf(text, sizeof text,
                   "[libdefaults]\n default_realm = " KDC_REALM "\n dns_lookup_kdc = false\n"
                   " rdns = false\n dns_canonicalize_hostname = false\n"
                   "[realms]\n " KDC_REALM " = {\n  kdc = 127.0.0.1:%d\n }\n"
                   "[domain_realm]\n relay.example = " KDC_REALM "\n",
                   k->port);
    kdc_write(k, "krb5.conf", text);
    (void)snprintf(text, sizeof text,
                   "[kdcdefaults]\n kdc_listen = \"\"\n kdc_tcp_listen = 127.0.0.1:%d\n"
                   "[realms]\n " KDC_REALM " = {\n  database_name = %s/principal\n"
                   "  key_stash_file = %s/stash\n  acl_file = %s/acl\n"
                   "  supported_enctypes = aes256-cts-hmac-sha1-96:normal\n }\n"
                   "[logging]\n kdc = FILE:%s/kdc.log\n",
                   k->port, k->folder, k->folder, k->folder, k->folder);
    kdc_write(k, "kdc.conf", text);
    (void)snprintf(path, sizeof path, "%s/krb5.conf", k->folder);
    assert_int_equal(setenv("KRB5_CONFIG", path, 1), 0);
    (void)snprintf(path, sizeof path, "%s/kdc.conf", k->folder);
    assert_int_equal(setenv("KRB5_KDC_PROFILE", path, 1), 0);
    assert_int_equal(setenv("KRB5RCACHEDIR", k->folder, 1), 0);
    (void)snprintf(k->keytab, sizeof k->keytab, "%s/relay.keytab", k->folder);
    (void)snprintf(k->smtp_keytab, sizeof k->smtp_keytab, "%s/smtp.keytab", k->folder);
    (void)snprintf(k->host_keytab, sizeof k->host_keytab, "%s/host.keytab", k->folder);
}

static inline void kdc_start(struct kdc *k)
{
    char *const argv[] = {"setpriv", "--pdeathsig", "KILL", "krb5kdc", "-n", "-r", KDC_REALM, NULL};
    extern char **environ;
    char command[256], path[256] = "/usr/sbin:";
    *k = (struct kdc){.folder = "/tmp/postern-kdc-XXXXXX"};
    assert_non_null(mkdtemp(k->folder));
    k->port = kdc_free_port();
    (void)strncat(path, getenv("PATH"), sizeof path - strlen(path) - 1);
    assert_int_equal(setenv("PATH", path, 1), 0);
    kdc_configure(k);
    (void)snprintf(command, sizeof command,
                   "kdb5_util create -s -r " KDC_REALM " -P master >%s/kdb5.log 2>&1", k->folder);
    kdc_run(command);
    kdc_admin(k, "addprinc -pw \"" KDC_PASSWORD "\" alice\n"
                 "addprinc -pw \"" KDC_PASSWORD "\" bob\n"
                 "addprinc -pw \"" KDC_PASSWORD "\" guest\n"
                 "addprinc -pw \"" KDC_PASSWORD "\" WELLKNOWN/NOBODY\n"
                 "addprinc -randkey smtp/relay.example\n"
                 "addprinc -randkey SMTPSVC/relay.example\n"
                 "addprinc -randkey host/relay.example\n");
    static const char *const services[] = {"smtp", "SMTPSVC", "host"};
    for (size_t i = 0; i < 3; i++)
        kdc_export(k, k->keytab, services[i]);
    kdc_export(k, k->smtp_keytab, "smtp");
    kdc_export(k, k->host_keytab, "host");
    assert_int_equal(posix_spawnp(&k->pid, argv[0], NULL, NULL, argv, environ), 0);
    kdc_wait(k);
}

static inline void kdc_stop(struct kdc *k)
{
    char command[128];
    if (k->pid > 0) {
        (void)kill(k->pid, SIGKILL);
        (void)waitpid(k->pid, NULL, 0);
    }
    (void)snprintf(command, sizeof command, "rm -rf %s", k->folder);
    kdc_run(command);
}

/* ---- clients ---- */

/* Puts a ticket-granting ticket of the account into a cache of that name. */
static inline void kdc_login(const char *account, const char *cache)
{
    krb5_context c;
    krb5_principal p;
    krb5_creds creds = {0};
    krb5_ccache cc;
    assert_int_equal(krb5_init_context(&c), 0);
    assert_int_equal(krb5_parse_name(c, account, &p), 0);
    assert_int_equal(
        krb5_get_init_creds_password(c, &creds, p, KDC_PASSWORD, NULL, NULL, 0, NULL, NULL), 0);
    assert_int_equal(krb5_cc_resolve(c, cache, &cc), 0);
    assert_int_equal(krb5_cc_initialize(c, cc, p), 0);
    assert_int_equal(krb5_cc_store_cred(c, cc, &creds), 0);
    krb5_free_cred_contents(c, &creds);
    (void)krb5_cc_close(c, cc);
    krb5_free_principal(c, p);
    krb5_free_context(c);
}

struct gss_client {
    gss_ctx_id_t context;
    gss_cred_id_t cred;
    gss_name_t target;
    bool spnego, complete;
    OM_uint32 flags;
    struct span binding; /* n 0: none */
};

static inline void gss_client_init(struct gss_client *c, const char *cache, const char *target)
{
    OM_uint32 minor;
    gss_buffer_desc name = {strlen(target), (void *)(uintptr_t)target};
    gss_key_value_element_desc element = {"ccache", cache};
    gss_key_value_set_desc store = {1, &element};
    *c = (struct gss_client){.context = GSS_C_NO_CONTEXT,
                             .flags = GSS_C_MUTUAL_FLAG | GSS_C_INTEG_FLAG};
    assert_int_equal(gss_import_name(&minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &c->target), 0);
    assert_int_equal(gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE,
                                           GSS_C_NO_OID_SET, GSS_C_INITIATE, &store, &c->cred, NULL,
                                           NULL),
                     0);
}

static inline void gss_client_deinit(struct gss_client *c)
{
    OM_uint32 minor;
    if (c->context != GSS_C_NO_CONTEXT)
        (void)gss_delete_sec_context(&minor, &c->context, GSS_C_NO_BUFFER);
    (void)gss_release_cred(&minor, &c->cred);
    (void)gss_release_name(&minor, &c->target);
}

/* False: the server's token is no answer to ours. */
static inline bool gss_client_step(struct gss_client *c, struct span in, struct buf *out)
{
    gss_OID_desc spnego = {6, (void *)"\x2b\x06\x01\x05\x05\x02"};
    gss_OID_desc kerberos = {9, (void *)"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"};
    gss_buffer_desc token = {in.n, (void *)(uintptr_t)in.p}, answer = GSS_C_EMPTY_BUFFER;
    struct gss_channel_bindings_struct bindings = {
        .application_data = {c->binding.n, (void *)(uintptr_t)c->binding.p}};
    OM_uint32 minor, ignored;
    OM_uint32 major = gss_init_sec_context(&minor, c->cred, &c->context, c->target,
                                           c->spnego ? &spnego : &kerberos, c->flags, 0,
                                           c->binding.n > 0 ? &bindings : GSS_C_NO_CHANNEL_BINDINGS,
                                           &token, NULL, &answer, NULL, NULL);
    buf_reset(out);
    bool ok = !GSS_ERROR(major) && buf_add(out, span_of(answer.value, answer.length));
    c->complete = major == GSS_S_COMPLETE;
    (void)gss_release_buffer(&ignored, &answer);
    return ok;
}

static inline void gss_client_wrap(struct gss_client *c, struct span in, struct buf *out)
{
    OM_uint32 minor;
    gss_buffer_desc clear = {in.n, (void *)(uintptr_t)in.p}, wrapped = GSS_C_EMPTY_BUFFER;
    assert_int_equal(gss_wrap(&minor, c->context, 0, GSS_C_QOP_DEFAULT, &clear, NULL, &wrapped), 0);
    buf_reset(out);
    assert_true(buf_add(out, span_of(wrapped.value, wrapped.length)));
    (void)gss_release_buffer(&minor, &wrapped);
}

static inline bool gss_client_unwrap(struct gss_client *c, struct span in, struct buf *out)
{
    OM_uint32 minor;
    gss_buffer_desc wrapped = {in.n, (void *)(uintptr_t)in.p}, clear = GSS_C_EMPTY_BUFFER;
    buf_reset(out);
    bool ok = gss_unwrap(&minor, c->context, &wrapped, &clear, NULL, NULL) == 0 &&
              buf_add(out, span_of(clear.value, clear.length));
    (void)gss_release_buffer(&minor, &clear);
    return ok;
}

#endif
