/* Our TLS side against plain OpenSSL clients: versions, SNI, resumption, channel bindings, the
 * words for handshakes that fail, and what is said of files that cannot be used. */
#define _GNU_SOURCE
#include "net/tls.h"

#include "platform/clock.h"
#include "support/echo_server.h"
#include "support/test.h"
#include "support/tls_files.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tls_files files;

struct peer { /* an OpenSSL client of its own making */
    int minimum, maximum;
    const char *ciphers, *name, *signatures;
    bool verify;
    SSL_SESSION *session; /* offered, and replaced by what the server gave */
    bool ok, resumed;
    char version[16], subject[64];
    uint8_t finished[64], end_point[64];
    size_t finished_n;
};

static int connect_to(const struct sock_address *at)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(at->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {10, 0};
    assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static void look_at(struct peer *p, SSL *ssl)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    assert_non_null(certificate);
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, p->subject,
                                    sizeof p->subject);
    (void)snprintf(p->version, sizeof p->version, "%s", SSL_get_version(ssl));
    p->resumed = SSL_session_reused(ssl) == 1;
    unsigned n = 0; /* RFC 5929 section 4.1; the signatures of our files are made with SHA-256 */
    assert_int_equal(X509_digest(certificate, EVP_sha256(), p->end_point, &n), 1);
    assert_int_equal(n, 32);
    p->finished_n = p->resumed ? SSL_get_peer_finished(ssl, p->finished, sizeof p->finished)
                               : SSL_get_finished(ssl, p->finished, sizeof p->finished);
}

/* One handshake and one echo. */
static void meet(struct peer *p, const struct echo_server *server)
{
    char back[8] = "";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, p->minimum), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, p->maximum), 1);
    if (p->ciphers != NULL)
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, p->ciphers), 1);
    if (p->signatures != NULL)
        assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, p->signatures), 1);
    if (p->verify)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL); /* and no roots: nothing can be good */
    SSL *ssl = SSL_new(ctx);
    int fd = connect_to(&server->at);
    assert_true(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    if (p->name != NULL)
        assert_true(SSL_set_tlsext_host_name(ssl, p->name));
    if (p->session != NULL)
        assert_int_equal(SSL_set_session(ssl, p->session), 1);
    p->ok = SSL_connect(ssl) == 1;
    if (p->ok) {
        look_at(p, ssl);
        assert_int_equal(SSL_write(ssl, "echo", 4), 4);
        assert_int_equal(SSL_read(ssl, back, 4), 4); /* TLS 1.3: the ticket came with it */
        assert_string_equal(back, "echo");
        SSL_SESSION_free(p->session);
        p->session = SSL_get1_session(ssl);
        (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    (void)close(fd);
    SSL_CTX_free(ctx);
    ERR_clear_error();
}

static struct tls_context *context_of(const char *minimum)
{
    struct err e = {0};
    const struct tls_pair more[] = {
        {.certificate = files.other_certificate, .key = files.other_key}};
    struct tls_server_options o = {
        .main = {.certificate = files.main_certificate, .key = files.main_key},
        .more = more,
        .more_n = 1,
        .minimum_version = minimum};
    struct tls_context *c = tls_server_context(&o, &e);
    if (c == NULL)
        (void)fprintf(stderr, "%s\n", e.text);
    assert_non_null(c);
    return c;
}

/* Waits for the n-th handshake to be told of. */
static struct echo_seen seen_after(struct echo_server *server, unsigned n)
{
    struct echo_seen seen = echo_server_seen(server);
    for (int i = 0; seen.handshakes < n && i < 2000; i++) {
        sleep_ms(5);
        seen = echo_server_seen(server);
    }
    assert_int_equal(seen.handshakes, n);
    return seen;
}

static void versions_reach_from_the_minimum_to_1_3(void **state)
{
    (void)state;
    static const struct {
        const char *minimum;
        int version;
        bool ok;
    } cases[] = {
        {"1.2", TLS1_3_VERSION, true},  {"1.2", TLS1_2_VERSION, true},
        {"1.2", TLS1_1_VERSION, false}, {"1.2", TLS1_VERSION, false},
        {"1.0", TLS1_VERSION, true},    {"1.0", TLS1_1_VERSION, true},
        {"1.0", TLS1_3_VERSION, true},  {"1.1", TLS1_VERSION, false},
        {"1.1", TLS1_1_VERSION, true},  {"1.3", TLS1_2_VERSION, false},
        {"1.3", TLS1_3_VERSION, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_context *context = context_of(cases[i].minimum);
        struct echo_server server;
        echo_server_start(&server, ECHO_TLS, context, NULL);
        struct peer p = {.minimum = cases[i].version, .maximum = cases[i].version};
        meet(&p, &server);
        struct echo_seen seen = seen_after(&server, 1);
        assert_int_equal(p.ok, cases[i].ok);
        assert_int_equal(seen.ok, cases[i].ok);
        if (p.ok)
            assert_string_equal(seen.version, p.version);
        SSL_SESSION_free(p.session);
        echo_server_stop(&server);
        tls_unref(&context);
    }
}

static void the_old_printer_with_rsa_key_exchange_gets_in_at_1_0(void **state)
{
    (void)state;
    struct err e;
    struct tls_server_options o = {
        .main = {.certificate = files.other_certificate, .key = files.other_key},
        .minimum_version = "1.0"};
    struct tls_context *context = tls_server_context(&o, &e);
    assert_non_null(context);
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    struct peer p = {
        .minimum = TLS1_VERSION, .maximum = TLS1_VERSION, .ciphers = "AES128-SHA:@SECLEVEL=0"};
    meet(&p, &server);
    assert_true(p.ok);
    SSL_SESSION_free(p.session);
    echo_server_stop(&server);
    tls_unref(&context);
}

static void the_name_that_is_asked_for_chooses_the_certificate(void **state)
{
    (void)state;
    static const struct {
        const char *name, *subject;
    } cases[] = {{"main.test", "main.test"},    {"other.test", "other.test"},
                 {"x.wild.test", "other.test"}, {"x.y.wild.test", "main.test"},
                 {"unknown.test", "main.test"}, {NULL, "main.test"}};
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_context *context = context_of("1.2");
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    unsigned n = 0;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct peer p = {.minimum = versions[v], .maximum = versions[v], .name = cases[i].name};
            meet(&p, &server);
            assert_true(p.ok);
            assert_string_equal(p.subject, cases[i].subject);
            struct echo_seen seen = seen_after(&server, ++n);
            assert_string_equal(seen.server_name, cases[i].name == NULL ? "" : cases[i].name);
            SSL_SESSION_free(p.session);
        }
    }
    echo_server_stop(&server);
    tls_unref(&context);
}

static void a_second_kind_of_key_serves_those_who_know_no_other(void **state)
{
    (void)state;
    struct err e;
    const struct tls_pair more[] = {
        {.certificate = files.other_certificate, .key = files.other_key},
        {.certificate = files.twin_certificate, .key = files.other_key}};
    struct tls_server_options o = {
        .main = {.certificate = files.main_certificate, .key = files.main_key},
        .more = more,
        .more_n = 2};
    struct tls_context *context = tls_server_context(&o, &e);
    assert_non_null(context);
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    static const char *const names[] = {"main.test", NULL, "unknown.test"};
    for (size_t i = 0; i < 3; i++) {
        struct peer p = {.minimum = TLS1_2_VERSION,
                         .maximum = TLS1_2_VERSION,
                         .name = names[i],
                         .ciphers = "ECDHE-RSA-AES256-GCM-SHA384"};
        meet(&p, &server);
        assert_true(p.ok);
        assert_string_equal(p.subject, "main.test");
        SSL_SESSION_free(p.session);
    }
    echo_server_stop(&server);
    tls_unref(&context);
}

static bool has_end_point(const struct tls_end_points *ends, const struct peer *p)
{
    for (size_t i = 0; i < ends->count; i++)
        if (ends->n[i] == 32 && memcmp(ends->data[i], p->end_point, 32) == 0)
            return true;
    return false;
}

/* A resumed session shows no certificate: it may have been either of the name's. */
static void the_end_point_is_the_certificate_that_was_shown(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct err e;
    const struct tls_pair more[] = {
        {.certificate = files.other_certificate, .key = files.other_key},
        {.certificate = files.twin_certificate, .key = files.other_key}};
    struct tls_server_options o = {
        .main = {.certificate = files.main_certificate, .key = files.main_key},
        .more = more,
        .more_n = 2};
    struct tls_context *context = tls_server_context(&o, &e);
    assert_non_null(context);
    for (size_t v = 0; v < 4; v++) {
        struct echo_server server;
        echo_server_start(&server, ECHO_TLS, context, NULL);
        struct peer p = {.minimum = versions[v / 2],
                         .maximum = versions[v / 2],
                         .name = "main.test",
                         .signatures = v % 2 == 0 ? "ECDSA+SHA256" : "RSA-PSS+SHA256"};
        for (unsigned round = 0; round < 2; round++) {
            meet(&p, &server);
            assert_true(p.ok);
            struct echo_seen seen = seen_after(&server, round + 1);
            assert_int_equal(seen.resumed, round == 1);
            assert_int_equal(seen.ends.count, round == 0 ? 1 : 2);
            assert_true(has_end_point(&seen.ends, &p));
            p.end_point[0] ^= 1;
            assert_false(has_end_point(&seen.ends, &p));
        }
        SSL_SESSION_free(p.session);
        echo_server_stop(&server);
    }
    tls_unref(&context);
}

static void sessions_are_resumed_and_tls_unique_is_right_both_times(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t v = 0; v < 2; v++) {
        struct tls_context *context = context_of("1.2");
        struct echo_server server;
        echo_server_start(&server, ECHO_TLS, context, NULL);
        struct peer p = {.minimum = versions[v], .maximum = versions[v], .name = "other.test"};
        for (unsigned round = 0; round < 2; round++) {
            meet(&p, &server);
            assert_true(p.ok);
            struct echo_seen seen = seen_after(&server, round + 1);
            assert_int_equal(p.resumed, round == 1);
            assert_int_equal(seen.resumed, round == 1);
            assert_string_equal(seen.server_name, "other.test");
            assert_int_equal(seen.ends.count, 1);
            assert_true(has_end_point(&seen.ends, &p));
            if (versions[v] == TLS1_3_VERSION) {
                assert_string_equal(seen.binding.type, "tls-exporter");
                continue;
            }
            assert_string_equal(seen.binding.type, "tls-unique");
            assert_int_equal(seen.binding.n, p.finished_n);
            assert_memory_equal(seen.binding.data, p.finished, p.finished_n);
        }
        SSL_SESSION_free(p.session);
        echo_server_stop(&server);
        tls_unref(&context);
    }
}

static struct tls_failure failure_of(struct peer *p, const char *minimum)
{
    struct tls_context *context = context_of(minimum);
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    meet(p, &server);
    assert_false(p->ok);
    struct echo_seen seen = seen_after(&server, 1);
    assert_false(seen.ok);
    assert_true(wait_for_count(&server.closed, 1));
    echo_server_stop(&server);
    tls_unref(&context);
    return seen.failure;
}

static void a_failed_handshake_names_the_offer_and_the_smallest_change(void **state)
{
    (void)state;
    struct peer old = {.minimum = TLS1_VERSION,
                       .maximum = TLS1_1_VERSION,
                       .ciphers = "ECDHE-ECDSA-AES128-SHA:AES256-SHA:@SECLEVEL=0",
                       .name = "main.test"};
    struct tls_failure f = failure_of(&old, "1.2");
    assert_string_equal(f.reason, "no common version: the client's newest is TLS 1.1");
    assert_non_null(strstr(f.change, "set tls.minimum_version: \"1.1\", or tls_minimum"));
    assert_non_null(strstr(f.offered, "TLS 1.1"));
    assert_non_null(strstr(f.offered, "server name main.test"));
    assert_non_null(strstr(f.offered, "2 ciphers: ECDHE-ECDSA-AES128-SHA AES256-SHA"));
    assert_non_null(strstr(f.allowed, "TLS 1.2 to TLS 1.3"));

    struct peer weak = {.minimum = TLS1_2_VERSION,
                        .maximum = TLS1_2_VERSION,
                        .ciphers = "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"};
    f = failure_of(&weak, "1.2");
    assert_string_equal(f.reason, "no common cipher");
    assert_non_null(strstr(f.change, "set tls.minimum_version: \"1.1\""));
    assert_non_null(strstr(f.change, "ECDHE-ECDSA-AES256-SHA"));

    struct peer rsa = {.minimum = TLS1_2_VERSION,
                       .maximum = TLS1_2_VERSION,
                       .ciphers = "ECDHE-RSA-AES256-GCM-SHA384"};
    f = failure_of(&rsa, "1.2");
    assert_non_null(strstr(f.change, "RSA key in tls.certificate"));

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer distrust = {.minimum = version, .maximum = version, .verify = true};
        f = failure_of(&distrust, "1.2");
        assert_non_null(strstr(f.reason, "unknown CA"));
        assert_non_null(strstr(f.change, "install its CA on the client"));
    }
}

/* The cipher that a client of this version gets; "" none, and then the change that is advised. */
static void with_lists(struct peer *p, const char *ciphers, const char *suites, const char *cipher,
                       const char *change)
{
    struct err e = {0};
    const struct tls_server_options o = {
        .main = {.certificate = files.other_certificate, .key = files.other_key},
        .ciphers = ciphers,
        .ciphersuites = suites};
    struct tls_context *context = tls_server_context(&o, &e);
    if (context == NULL)
        fail_msg("%s", e.text);
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    meet(p, &server);
    struct echo_seen seen = seen_after(&server, 1);
    assert_int_equal(p->ok, cipher[0] != '\0');
    if (p->ok)
        assert_string_equal(SSL_CIPHER_get_name(SSL_SESSION_get0_cipher(p->session)), cipher);
    else
        assert_string_equal(seen.failure.change, change);
    SSL_SESSION_free(p->session);
    echo_server_stop(&server);
    tls_unref(&context);
}

static void the_ciphers_of_the_configuration_are_the_ones_taken(void **state)
{
    (void)state;
    struct peer any = {.minimum = TLS1_2_VERSION, .maximum = TLS1_2_VERSION};
    with_lists(&any, "ECDHE-RSA-AES256-GCM-SHA384", NULL, "ECDHE-RSA-AES256-GCM-SHA384", "");
    struct peer old = {
        .minimum = TLS1_2_VERSION, .maximum = TLS1_2_VERSION, .ciphers = "AES128-SHA"};
    with_lists(&old, "ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA", NULL, "AES128-SHA", "");
    struct peer other = {
        .minimum = TLS1_2_VERSION, .maximum = TLS1_2_VERSION, .ciphers = "AES128-SHA"};
    with_lists(&other, "ECDHE-RSA-AES256-GCM-SHA384", NULL, "", "add AES128-SHA to tls.ciphers");
    struct peer newest = {.minimum = TLS1_3_VERSION, .maximum = TLS1_3_VERSION};
    with_lists(&newest, "ECDHE-RSA-AES256-GCM-SHA384", "TLS_CHACHA20_POLY1305_SHA256",
               "TLS_CHACHA20_POLY1305_SHA256", "");

    struct err e = {0};
    const struct tls_server_options o = {
        .main = {.certificate = files.other_certificate, .key = files.other_key},
        .ciphers = "ECDHERSA"};
    assert_null(tls_server_context(&o, &e));
    assert_string_equal(e.text,
                        "tls.ciphers: \"ECDHERSA\" is no cipher, expected names as `openssl "
                        "ciphers` knows them, with colons between");
}

static void plain_text_on_a_tls_port_is_called_by_its_name(void **state)
{
    (void)state;
    struct tls_context *context = context_of("1.2");
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, context, NULL);
    int fd = connect_to(&server.at);
    static const char hello[] = "EHLO printer.\x01test\r\nMAIL FROM:<>\r\n";
    assert_int_equal(write(fd, hello, sizeof hello - 1), sizeof hello - 1);
    struct echo_seen seen = seen_after(&server, 1);
    assert_string_equal(seen.failure.reason, "the client spoke no TLS");
    assert_string_equal(seen.failure.offered, "no TLS: it sent \"EHLO printer.\\x01test\"");
    assert_non_null(strstr(seen.failure.change, "STARTTLS"));
    (void)close(fd);

    fd = connect_to(&server.at); /* and one who goes without a word */
    (void)close(fd);
    seen = seen_after(&server, 2);
    assert_string_equal(seen.failure.reason,
                        "the client closed the connection during the handshake");
    assert_true(wait_for_count(&server.closed, 2));
    echo_server_stop(&server);
    tls_unref(&context);
}

static void a_session_outlives_the_reload_of_its_context(void **state)
{
    (void)state;
    struct tls_context *context = context_of("1.2");
    struct tls_context *second = tls_ref(context);
    tls_unref(&context);
    assert_null(context);
    struct echo_server server;
    echo_server_start(&server, ECHO_TLS, second, NULL);
    struct peer p = {.minimum = TLS1_2_VERSION, .maximum = TLS1_3_VERSION};
    meet(&p, &server);
    assert_true(p.ok);
    SSL_SESSION_free(p.session);
    echo_server_stop(&server);
    tls_unref(&second);
}

static void files_that_cannot_be_used_are_named_with_the_reason(void **state)
{
    (void)state;
    struct err e;
    char missing[160];
    (void)snprintf(missing, sizeof missing, "%s/missing.pem", files.folder);
    const struct {
        struct tls_pair pair;
        const char *path, *words;
    } cases[] = {
        {{.certificate = missing, .key = files.main_key}, missing, "No such file"},
        {{.certificate = files.main_certificate, .key = missing}, missing, "No such file"},
        {{.certificate = files.main_key, .key = files.main_key},
         files.main_key,
         "holds no PEM certificate"},
        {{.certificate = files.main_certificate, .key = files.ca},
         files.ca,
         "holds no PEM private key"},
        {{.certificate = files.main_certificate, .key = files.locked_key},
         files.locked_key,
         "protected by a password"},
        {{.certificate = files.main_certificate, .key = files.other_key},
         files.other_key,
         "does not belong to"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_server_options o = {.main = cases[i].pair};
        assert_null(tls_server_context(&o, &e));
        assert_int_equal(e.class, ERR_PERM);
        assert_non_null(strstr(e.text, cases[i].path));
        assert_non_null(strstr(e.text, cases[i].words));
    }
    struct tls_server_options o = {
        .main = {.certificate = files.main_certificate, .key = files.main_key},
        .minimum_version = "1.4"};
    assert_null(tls_server_context(&o, &e));
    assert_non_null(strstr(e.text, "\"1.4\""));
    struct tls_client_options co = {.ca_file = missing};
    assert_null(tls_client_context(&co, &e));
    assert_non_null(strstr(e.text, missing));
}

static void a_certificate_tells_its_names_and_its_end(void **state)
{
    (void)state;
    struct err e;
    struct tls_certificate_info info;
    struct tls_pair pair = {.certificate = files.main_certificate, .key = files.main_key};
    assert_true(tls_certificate_info(&pair, &info, &e));
    assert_string_equal(info.subject, "CN=main.test");
    assert_string_equal(info.names, "main.test 127.0.0.1");
    assert_false(info.self_signed);
    int64_t days = (info.not_after_wall_ms - clock_wall_ms()) / 86400000;
    assert_true(days >= 364 && days <= 365);
    bool names = false;
    assert_true(tls_certificate_names(&pair, "main.test", &names, &e) && names);
    assert_true(tls_certificate_names(&pair, "other.test", &names, &e) && !names);
    pair.certificate = files.expired_certificate;
    assert_true(tls_certificate_info(&pair, &info, &e));
    assert_true(info.not_after_wall_ms < clock_wall_ms());
}

static int set_up(void **state)
{
    (void)state;
    tls_files_make(&files);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_files_remove(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_reach_from_the_minimum_to_1_3),
        cmocka_unit_test(the_old_printer_with_rsa_key_exchange_gets_in_at_1_0),
        cmocka_unit_test(the_name_that_is_asked_for_chooses_the_certificate),
        cmocka_unit_test(a_second_kind_of_key_serves_those_who_know_no_other),
        cmocka_unit_test(the_end_point_is_the_certificate_that_was_shown),
        cmocka_unit_test(sessions_are_resumed_and_tls_unique_is_right_both_times),
        cmocka_unit_test(a_failed_handshake_names_the_offer_and_the_smallest_change),
        cmocka_unit_test(the_ciphers_of_the_configuration_are_the_ones_taken),
        cmocka_unit_test(plain_text_on_a_tls_port_is_called_by_its_name),
        cmocka_unit_test(a_session_outlives_the_reload_of_its_context),
        cmocka_unit_test(files_that_cannot_be_used_are_named_with_the_reason),
        cmocka_unit_test(a_certificate_tells_its_names_and_its_end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
