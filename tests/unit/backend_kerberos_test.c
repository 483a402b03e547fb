/* The Kerberos backend where no KDC is asked: names and passwords that it refuses by itself. */
#include "auth/auth.h"
#include "auth/backend_kerberos.h"
#include "support/test.h"

static struct auth_backend *open_backend(const char *kdc)
{
    const struct auth_options options = {.hostname = "mail.example.net"};
    const struct auth_domain domain = {
        .name = "KRB",
        .backend = AUTH_BACKEND_KERBEROS,
        .kerberos = {.realm = "KRB.EXAMPLE",
                     .service = "smtp",
                     .keytab = "/nonexistent/keytab",
                     .kdcs = &kdc,
                     .kdc_count = 1},
        .deadline_ms = 1000,
    };
    struct auth_backend *b = NULL;
    struct err e = {0};
    assert_true(backend_kerberos_open(&options, &domain, &b, &e));
    return b;
}

static void one_account_has_one_name_so_others_are_refused_without_asking(void **state)
{
    (void)state;
    struct auth_backend *b = open_backend("127.0.0.1:1");
    static const char *const names[] = {
        "alice@KRB.EXAMPLE",
        "alice@krb.example",
        "@",
        "alice/admin",
        "/",
        "krbtgt/KRB.EXAMPLE",
        "a\\b",
        "a\nb",
        "a\x01",
        "a\x7f",
        "",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char reason[BACKEND_REASON_MAX] = "";
        assert_int_equal(b->ops->verify(b, names[i], span_str("secret"), NULL, reason),
                         BACKEND_NO_ACCOUNT);
        assert_string_equal(reason, "no account of a realm is named like that");
    }
    /* and a plain one is asked about, where the door says why nobody can answer here */
    char reason[BACKEND_REASON_MAX] = "", why[BACKEND_REASON_MAX] = "", cure[BACKEND_REASON_MAX];
    assert_int_equal(b->ops->verify(b, "alice", span_str("secret"), NULL, reason),
                     BACKEND_UNAVAILABLE);
    assert_false(b->ops->ready(b, why, cure));
    assert_string_equal(reason, why);
    assert_true(strlen(reason) > 10 && strlen(cure) > 10);
    b->ops->close(b);
}

static void an_empty_password_and_one_with_nul_are_wrong_without_asking(void **state)
{
    (void)state;
    struct auth_backend *b = open_backend("127.0.0.1:1");
    char reason[BACKEND_REASON_MAX] = "";
    assert_int_equal(b->ops->verify(b, "alice", span_of("", 0), NULL, reason),
                     BACKEND_BAD_PASSWORD);
    assert_int_equal(b->ops->verify(b, "alice", span_of("a\0b", 3), NULL, reason),
                     BACKEND_BAD_PASSWORD);
    b->ops->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_account_has_one_name_so_others_are_refused_without_asking),
        cmocka_unit_test(an_empty_password_and_one_with_nul_are_wrong_without_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
