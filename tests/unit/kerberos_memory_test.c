/* A Kerberos account checked without memory, at every single allocation of ours: no crash, no leak
 * (LeakSanitizer counts, since some of what we free was allocated by the library), and no verdict
 * about the account. */
#define _GNU_SOURCE
#include "support/test.h"

#include "support/bad_server.h"
#include "support/no_memory.h"

#include <unistd.h>

static char *counted_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = counted_malloc(n);
    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

#include <krb5/krb5.h>
#include <profile.h>
#include <pthread.h>
#include <resolv.h>

#undef strdup
#define strdup counted_strdup
#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "base/buf.c"
#include "base/secret.c"

#include "posix/dial_lookup.c"
#define ask kdc_ask
#include "posix/kdc_exchange.c"
#undef ask
#include "posix/kerberos_profile.c"

#include "posix/kerberos_account_mit.c"
#undef strdup
#undef realloc
#undef calloc
#undef malloc
#undef free

static char keytab_path[64];

static void make_keytab(void)
{
    krb5_context context;
    krb5_keytab keytab;
    char name[80];
    krb5_keytab_entry entry = {.vno = 1};
    krb5_data password = {.length = 6, .data = (char *)(uintptr_t) "secret"};
    int fd = -1;
    (void)snprintf(keytab_path, sizeof keytab_path, "/tmp/postern-keytab-XXXXXX");
    fd = mkstemp(keytab_path);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)unlink(keytab_path);
    (void)snprintf(name, sizeof name, "FILE:%s", keytab_path);
    assert_int_equal(krb5_init_context(&context), 0);
    assert_int_equal(krb5_kt_resolve(context, name, &keytab), 0);
    assert_int_equal(krb5_parse_name(context, "smtp/relay.example@KRB.EXAMPLE", &entry.principal),
                     0);
    assert_int_equal(krb5_c_string_to_key(context, ENCTYPE_AES256_CTS_HMAC_SHA1_96, &password,
                                          &password, &entry.key),
                     0);
    assert_int_equal(krb5_kt_add_entry(context, keytab, &entry), 0);
    krb5_free_principal(context, entry.principal);
    krb5_free_keyblock_contents(context, &entry.key);
    (void)krb5_kt_close(context, keytab);
    krb5_free_context(context);
}

static unsigned opened, ready_told, no_answers;

static void one_check(const char *kdc)
{
    const struct kerberos_account_options o = {
        .realm = "KRB.EXAMPLE",
        .service = "smtp",
        .host = "relay.example",
        .keytab = keytab_path,
        .kdcs = &kdc,
        .kdc_count = 1,
        .deadline_ms = 2000,
    };
    struct kerberos_account *a = NULL;
    struct err e = {0};
    char reason[KERBEROS_REASON_MAX], cure[KERBEROS_REASON_MAX];
    if (!kerberos_account_open(&o, &a, &e)) {
        assert_int_equal(e.class, ERR_TEMP);
        assert_null(a);
        return;
    }
    opened++;
    ready_told += kerberos_account_ready(a, reason, cure);
    assert_int_equal(kerberos_account_check(a, "alice", span_str("secret"), reason),
                     KERBEROS_NO_ANSWER);
    assert_true(reason[0] != '\0');
    no_answers++;
    kerberos_account_close(&a);
}

static void no_allocation_that_fails_makes_a_verdict(void **state)
{
    (void)state;
    struct bad_server *s = bad_server_start(BAD_SERVER_CLOSE, span_of("", 0));
    char kdc[64];
    long n = 0;
    (void)snprintf(kdc, sizeof kdc, "127.0.0.1:%u", (unsigned)bad_server_port(s));
    for (unsigned once = 0; once < 2; once++)
        for (n = 1;; n++) {
            assert_true(n < 2000);
            fail_allocation(n, once == 1);
            one_check(kdc);
            bool all_there = !ran_out;
            fail_allocation(0, false);
            if (all_there)
                break;
        }
    assert_true(n > 10 && opened > 2 && ready_told > 2 && no_answers > 2);
    bad_server_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_that_fails_makes_a_verdict),
    };
    make_keytab();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(keytab_path);
    return failed;
}
