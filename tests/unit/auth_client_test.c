/* The client's side of AUTH: what it picks, what it never says, and servers that lie. */
#define _GNU_SOURCE
#include "auth/sasl_library.h"
#include "auth/scram.h"
#include "base/base64.h"
#include "support/auth_lab.h"
#include "support/test.h"

#include <openssl/hmac.h>
#include <sqlite3.h>

static const uint8_t exporter[32] = "0123456789abcdef0123456789abcde";

static struct auth_client_options client_of(const char *offered, bool tls, bool binding)
{
    struct auth_client_options o = {
        .offered = span_str(offered),
        .hostname = "mx.example.net",
        .user = "alice",
        .password = span_str("secret"),
        .tls = tls,
    };
    if (binding)
        o.binding = (struct auth_binding){"tls-exporter", span_of(exporter, sizeof exporter)};
    return o;
}

static void the_strongest_that_is_safe_is_picked(void **state)
{
    (void)state;
    static const struct {
        const char *offered;
        bool tls, binding;
        const char *mechanism, *initial; /* NULL: none possible; initial begins so */
    } cases[] = {
        {"PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", true, true, "SCRAM-SHA-256-PLUS",
         "p=tls-exporter,,n=alice,r="},
        {"PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", true, false, "SCRAM-SHA-256",
         "n,,n=alice,r="},
        {"LOGIN PLAIN SCRAM-SHA-256", true, true, "SCRAM-SHA-256", "y,,n=alice,r="},
        {"SCRAM-SHA-256-PLUS PLAIN", true, false, "PLAIN", ""},
        {"LOGIN PLAIN", true, true, "PLAIN", ""},
        {"login", true, false, "LOGIN", NULL},
        {"PLAIN LOGIN SCRAM-SHA-256", false, false, "SCRAM-SHA-256", "n,,n=alice,r="},
        {"PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256", false, true, "SCRAM-SHA-256",
         "n,,n=alice,r="},
        {"PLAIN LOGIN", false, false, NULL, NULL},
        {"PLAIN LOGIN SCRAM-SHA-256-PLUS", false, true, NULL, NULL},
        {"GSSAPI NTLM CRAM-MD5 XOAUTH2", true, true, NULL, NULL},
        {"", true, true, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct auth_client_options o = client_of(cases[i].offered, cases[i].tls, cases[i].binding);
        struct auth_client *c = NULL;
        struct err e = {0};
        const char *mechanism = NULL;
        bool has_initial = false;
        struct span initial;
        bool ok = auth_client_new(&o, &c, &e);
        assert_int_equal(ok, cases[i].mechanism != NULL);
        if (!ok) {
            assert_int_equal(e.class, ERR_PERM);
            assert_null(strstr(e.text, "secret"));
            continue;
        }
        auth_lab_must(auth_client_start(c, &mechanism, &has_initial, &initial, &e), &e);
        assert_string_equal(mechanism, cases[i].mechanism);
        assert_int_equal(has_initial, cases[i].initial != NULL);
        if (has_initial)
            assert_memory_equal(initial.p, cases[i].initial, strlen(cases[i].initial));
        if (strcmp(mechanism, "PLAIN") == 0)
            assert_memory_equal(initial.p, "\0alice\0secret", 13);
        auth_client_free(&c);
        assert_null(c);
    }
}

static void without_a_name_or_a_password_there_is_no_client(void **state)
{
    (void)state;
    struct auth_client *c = NULL;
    struct err e = {0};
    struct auth_client_options o = client_of("PLAIN", true, false);
    o.user = "";
    assert_false(auth_client_new(&o, &c, &e));
    o = client_of("PLAIN", true, false);
    o.password = span_str("");
    assert_false(auth_client_new(&o, &c, &e));
    o.password = span_of("a\0b", 3);
    assert_false(auth_client_new(&o, &c, &e));
    assert_null(c);
}

/* --- a SCRAM server made by hand, which can lie ------------------------------------------------
 */

struct liar {
    const char *first; /* printf format with the client's nonce; NULL = a right one */
    const char *final; /* NULL = a right one */
    bool no_final;     /* says 235 at once */
    bool ok;           /* the client must be content */
    const char *says;  /* else part of what it complains about */
};

static void hmac_text(const uint8_t *key, const char *text, uint8_t out[32])
{
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &n));
}

static bool talk(const struct liar *liar, struct err *e)
{
    struct auth_client_options o = client_of("SCRAM-SHA-256", true, false);
    struct scram_verifier v = {.iterations = 4096, .salt_n = 16, .salt = "salt salt salt!"};
    struct auth_client *c = NULL;
    const char *mechanism;
    bool has_initial, ok;
    struct span out;
    char first[256], nonce[64], server_first[512], message[1200], final[128];
    uint8_t signature[32];
    auth_lab_must(scram_derive(o.password, &v, e), e);
    auth_lab_must(auth_client_new(&o, &c, e), e);
    auth_lab_must(auth_client_start(c, &mechanism, &has_initial, &out, e), e);
    assert_true(span_cstr(out, first, sizeof first));
    assert_int_equal(sscanf(first, "n,,n=alice,r=%63s", nonce), 1);
    (void)snprintf(server_first, sizeof server_first,
                   liar->first != NULL ? liar->first : "r=%sXYZ,s=c2FsdCBzYWx0IHNhbHQhAA==,i=4096",
                   nonce);
    ok = auth_client_step(c, span_str(server_first), &out, e);
    if (ok && !liar->no_final) {
        struct buf signature64;
        size_t without_proof = out.n;
        while (without_proof > 0 && memcmp(out.p + without_proof - 3, ",p=", 3) != 0)
            without_proof--;
        (void)snprintf(message, sizeof message, "%s,%s,%.*s", first + 3, server_first,
                       (int)without_proof - 3, (const char *)out.p);
        hmac_text(v.server_key, message, signature);
        buf_init(&signature64, 64);
        assert_true(base64_encode(span_of(signature, 32), &signature64));
        (void)snprintf(final, sizeof final, "v=%s", buf_cstr(&signature64));
        buf_deinit(&signature64);
        ok = auth_client_step(c, span_str(liar->final != NULL ? liar->final : final), &out, e) &&
             out.n == 0;
    }
    ok = ok && auth_client_finish(c, e);
    if (ok) /* and nothing comes after the end */
        assert_false(auth_client_step(c, span_str("r=again"), &out, e));
    auth_client_free(&c);
    return ok;
}

static void a_server_has_to_prove_itself(void **state)
{
    (void)state;
    static const struct liar cases[] = {
        {NULL, NULL, false, true, ""},
        {NULL, NULL, true, false, "before it proved"},
        {NULL, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false, false, "did not prove"},
        {NULL, "v=", false, false, "did not prove"},
        {NULL, "v=!!", false, false, "did not prove"},
        {NULL, "e=invalid-proof", false, false, "refused our proof"},
        {NULL, "", false, false, "refused our proof"},
        {"r=other,s=c2FsdA==,i=4096%.0s", NULL, false, false, "nonce"},
        {"r=%s,s=c2FsdA==,i=4096", NULL, false, false, "nonce"},
        {"r=%sX,s=c2FsdA==,i=4095", NULL, false, false, "iterations"},
        {"r=%sX,s=c2FsdA==,i=1", NULL, false, false, "iterations"},
        {"r=%sX,s=c2FsdA==,i=4000000000", NULL, false, false, "iterations"},
        {"r=%sX,s=c2FsdA==,i=5000001", NULL, false, false, "iterations"},
        {"r=%sX,s=c2FsdA==,i=-1", NULL, false, false, "malformed"},
        {"r=%sX,s=c2FsdA==,i=99999999999999999999", NULL, false, false, "malformed"},
        {"r=%sX,s=c2FsdA==", NULL, false, false, "malformed"},
        {"r=%sX,s=,i=4096", NULL, false, false, "salt"},
        {"r=%sX,s=?,i=4096", NULL, false, false, "salt"},
        {"m=x,r=%sX,s=c2FsdA==,i=4096", NULL, false, false, "malformed"},
        {"%.0s", NULL, false, false, "malformed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        bool ok = talk(&cases[i], &e);
        if (ok != cases[i].ok || (!ok && strstr(e.text, cases[i].says) == NULL))
            fail_msg("case %zu: %s", i, e.text);
        if (!ok)
            assert_int_equal(e.class, ERR_PERM);
    }
}

static void names_are_escaped(void **state)
{
    (void)state;
    struct auth_client_options o = client_of("SCRAM-SHA-256", true, false);
    struct auth_client *c = NULL;
    struct err e = {0};
    const char *mechanism;
    bool has_initial;
    struct span out;
    o.user = "a,b=c";
    auth_lab_must(auth_client_new(&o, &c, &e), &e);
    auth_lab_must(auth_client_start(c, &mechanism, &has_initial, &out, &e), &e);
    assert_memory_equal(out.p, "n,,n=a=2Cb=3Dc,r=", 17);
    auth_client_free(&c);
}

/* --- libsasl2's own SCRAM client against our server ------------------------------------------ */

static int sasl_name(void *context, int id, const char **result, unsigned *n)
{
    (void)context;
    *result = id == SASL_CB_USER ? "" : "old";
    if (n != NULL)
        *n = (unsigned)strlen(*result);
    return SASL_OK;
}

static int sasl_password(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    (void)conn, (void)id;
    *secret = context;
    return SASL_OK;
}

static enum auth_outcome libsasl2_login(struct auth_lab *lab, const char *mechanism,
                                        const char *password, bool binding)
{
    union {
        sasl_secret_t secret;
        char room[64];
    } secret = {.secret = {.len = strlen(password)}};
    memcpy(secret.room + offsetof(sasl_secret_t, data), password, strlen(password));
    const sasl_callback_t callbacks[] = {
        {SASL_CB_USER, (sasl_library_callback)(void (*)(void))sasl_name, NULL},
        {SASL_CB_AUTHNAME, (sasl_library_callback)(void (*)(void))sasl_name, NULL},
        {SASL_CB_PASS, (sasl_library_callback)(void (*)(void))sasl_password, &secret},
        {SASL_CB_LIST_END, NULL, NULL},
    };
    sasl_channel_binding_t cb = {"tls-exporter", 1, sizeof exporter, exporter};
    struct auth_exchange *x = NULL;
    struct auth_step step;
    struct err e = {0};
    sasl_conn_t *c = NULL;
    const char *out = NULL, *chosen = NULL;
    unsigned n = 0;
    assert_int_equal(sasl_client_new("smtp", "relay", NULL, NULL, callbacks, 0, &c), SASL_OK);
    if (binding)
        assert_int_equal(sasl_setprop(c, SASL_CHANNEL_BINDING, &cb), SASL_OK);
    int code = sasl_client_start(c, mechanism, NULL, &out, &n, &chosen);
    assert_int_equal(code, SASL_CONTINUE);
    auth_lab_must(auth_exchange_new(lab->auth, &lab->peer, span_str(mechanism), &x, &e), &e);
    auth_exchange_step(x, true, span_of(out, n), &step);
    while (step.outcome == AUTH_CONTINUE) {
        code = sasl_client_step(c, (const char *)step.challenge.p, (unsigned)step.challenge.n, NULL,
                                &out, &n);
        if (code != SASL_OK && code != SASL_CONTINUE)
            fail_msg("libsasl2: %s", sasl_errdetail(c));
        auth_exchange_step(x, true, span_of(out, n), &step);
    }
    if (step.outcome == AUTH_OK)
        assert_int_equal(code, SASL_OK); /* it has seen our proof */
    auth_exchange_free(&x);
    sasl_dispose(&c);
    return step.outcome;
}

/* Its limit is 65,536 iterations, so this account comes from elsewhere with 4096. */
static void libsasl2s_scram_client_understands_us(void **state)
{
    (void)state;
    static struct auth_lab lab;
    struct scram_verifier v = {.iterations = 4096, .salt_n = 16, .salt = "another salt 16"};
    struct err e = {0};
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    auth_lab_prepare(&lab);
    auth_lab_must(scram_derive(span_str("secret"), &v, &e), &e);
    assert_int_equal(sqlite3_open(lab.db_path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "INSERT INTO account VALUES ('old', 4096, ?1, ?2, ?3, 0, "
                                        "999, 0)",
                                        -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_bind_blob(st, 1, v.salt, 16, SQLITE_STATIC), SQLITE_OK);
    assert_int_equal(sqlite3_bind_blob(st, 2, v.stored_key, 32, SQLITE_STATIC), SQLITE_OK);
    assert_int_equal(sqlite3_bind_blob(st, 3, v.server_key, 32, SQLITE_STATIC), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_DONE);
    assert_int_equal(sqlite3_finalize(st), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    auth_lab_open(&lab);
    assert_int_equal(libsasl2_login(&lab, "SCRAM-SHA-256", "secret", false), AUTH_OK);
    assert_int_equal(libsasl2_login(&lab, "SCRAM-SHA-256-PLUS", "secret", true), AUTH_OK);
    assert_int_equal(libsasl2_login(&lab, "SCRAM-SHA-256", "Secret", false), AUTH_BAD_CREDENTIALS);
    assert_int_equal(libsasl2_login(&lab, "SCRAM-SHA-256-PLUS", "Secret", true),
                     AUTH_BAD_CREDENTIALS);
    auth_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_strongest_that_is_safe_is_picked),
        cmocka_unit_test(without_a_name_or_a_password_there_is_no_client),
        cmocka_unit_test(a_server_has_to_prove_itself),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(libsasl2s_scram_client_understands_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
