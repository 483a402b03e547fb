/* Next hops judged by the system's chain engine: our client side against OpenSSL's server, over
 * memory, with an engine of the test's. */
#include "net/tls.h"

#include "support/soft_store.h"
#include "support/test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

/* ---- the engine ---- */

static enum cert_chain_verdict verdict;
static size_t asked, shown;
static bool patience;
static char asked_for[256];

static enum cert_chain_verdict engine(const struct span *certificates, size_t n, const char *host,
                                      bool patient, char reason[CERT_CHAIN_REASON_MAX])
{
    asked++;
    shown = n;
    patience = patient;
    assert_true(n > 0 && certificates[0].n > 0);
    (void)snprintf(asked_for, sizeof asked_for, "%s", host == NULL ? "(none)" : host);
    (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "as the test says");
    return verdict;
}

/* ---- a handshake ---- */

static struct soft_store store;

struct outcome {
    bool done, verified;
    char text[128], reason[200];
};

static struct outcome meet(enum tls_verify verify, const char *host)
{
    struct outcome out = {false, false, "", ""};
    struct err e = {0};
    struct tls_failure failure = {{0}, {0}, {0}, {0}};
    struct buf sent;
    const struct tls_client_options options = {.chain = engine};
    struct tls_context *context = tls_client_context(&options, &e);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_true(context != NULL && ctx != NULL);
    assert_true(SSL_CTX_use_certificate(ctx, store.items[0].certificate) == 1 &&
                SSL_CTX_use_PrivateKey(ctx, store.items[0].key) == 1 &&
                SSL_CTX_add1_chain_cert(ctx, store.items[1].certificate) == 1);
    SSL *server = SSL_new(ctx);
    SSL_set_bio(server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(server);
    buf_init(&sent, 256 * 1024);
    const struct tls_session_options o = {
        .context = context, .verify = verify, .host = host, .out = &sent};
    struct tls_session *client = tls_session_new(&o, &e);
    assert_non_null(client);
    enum tls_step step = TLS_STEP_WANT_INPUT;
    for (int round = 0; round < 10 && step == TLS_STEP_WANT_INPUT; round++) {
        uint8_t bytes[32768];
        int n = BIO_read(SSL_get_wbio(server), bytes, sizeof bytes);
        if (n > 0)
            tls_session_input(client, span_of(bytes, (size_t)n));
        step = tls_session_handshake(client, &failure);
        if (sent.n > 0)
            (void)BIO_write(SSL_get_rbio(server), sent.p, (int)sent.n);
        buf_reset(&sent);
        (void)SSL_do_handshake(server);
    }
    struct tls_info info;
    tls_session_info(client, &info);
    out.done = step == TLS_STEP_DONE;
    out.verified = info.verified;
    (void)snprintf(out.text, sizeof out.text, "%s", info.verify_text);
    (void)snprintf(out.reason, sizeof out.reason, "%s", failure.reason);
    tls_session_free(&client);
    tls_unref(&context);
    SSL_free(server);
    SSL_CTX_free(ctx);
    buf_deinit(&sent);
    ERR_clear_error();
    return out;
}

static void what_the_engine_trusts_is_verified(void **state)
{
    (void)state;
    verdict = CERT_CHAIN_TRUSTED;
    asked = 0;
    struct outcome o = meet(TLS_VERIFY_NAME, "mx.test");
    assert_true(o.done && o.verified);
    assert_int_equal(asked, 1);
    assert_int_equal(shown, 2); /* its own first, then what it sent along */
    assert_string_equal(asked_for, "mx.test");
    assert_true(patience);
}

static void every_other_verdict_ends_the_handshake_with_its_reason(void **state)
{
    (void)state;
    static const struct {
        enum cert_chain_verdict verdict;
        const char *text;
    } cases[] = {
        {CERT_CHAIN_EXPIRED, "expired"},
        {CERT_CHAIN_INCOMPLETE, "unable to get local issuer certificate"},
        {CERT_CHAIN_UNTRUSTED, "not trusted"},
        {CERT_CHAIN_NAME, "hostname mismatch"},
        {CERT_CHAIN_PURPOSE, "purpose"},
        {CERT_CHAIN_REVOKED, "revoked"},
        {CERT_CHAIN_SIGNATURE, "signature failure"},
        {CERT_CHAIN_FAILED, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        verdict = cases[i].verdict;
        struct outcome o = meet(TLS_VERIFY_NAME, "mx.test");
        assert_false(o.done);
        assert_false(o.verified);
        if (strstr(o.text, cases[i].text) == NULL || strstr(o.reason, "certificate") == NULL)
            fail_msg("%s: %s; %s", cases[i].text, o.text, o.reason);
    }
}

static void another_name_is_refused_whatever_the_engine_says(void **state)
{
    (void)state;
    verdict = CERT_CHAIN_TRUSTED;
    assert_false(meet(TLS_VERIFY_NAME, "other.test").done);
    assert_false(meet(TLS_VERIFY_NAME, "127.0.0.2").done);
    assert_true(meet(TLS_VERIFY_NAME, "127.0.0.1").done); /* an address of the certificate */
    assert_string_equal(asked_for, "(none)");
    assert_true(meet(TLS_VERIFY_CHAIN, "other.test").done); /* any name will do */
    assert_string_equal(asked_for, "(none)");
}

static void opportunistic_tls_goes_on_and_does_not_wait_for_the_network(void **state)
{
    (void)state;
    verdict = CERT_CHAIN_UNTRUSTED;
    struct outcome o = meet(TLS_VERIFY_NONE, "mx.test");
    assert_true(o.done && !o.verified && !patience);
    verdict = CERT_CHAIN_TRUSTED;
    o = meet(TLS_VERIFY_NONE, "mx.test");
    assert_true(o.done && o.verified);
}

static void roots_of_one_s_own_leave_the_engine_out(void **state)
{
    (void)state;
    struct err e = {0};
    const struct tls_client_options options = {.chain = engine, .ca_file = "/nonexistent/ca.pem"};
    assert_null(tls_client_context(&options, &e));
    assert_non_null(strstr(e.text, "/nonexistent/ca.pem"));
}

static int set_up(void **state)
{
    (void)state;
    static const struct soft_certificate two[] = {
        {SOFT_P256, "mx.test", "DNS:mx.test,IP:127.0.0.1", "serverAuth", -1, 90},
        {SOFT_P256, "issuer", NULL, NULL, -1, 90}};
    soft_store_init(&store);
    (void)soft_store_add(&store, &two[0]);
    (void)soft_store_add(&store, &two[1]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    soft_store_deinit(&store);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_engine_trusts_is_verified),
        cmocka_unit_test(every_other_verdict_ends_the_handshake_with_its_reason),
        cmocka_unit_test(another_name_is_refused_whatever_the_engine_says),
        cmocka_unit_test(opportunistic_tls_goes_on_and_does_not_wait_for_the_network),
        cmocka_unit_test(roots_of_one_s_own_leave_the_engine_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
