/* Handshakes with certificates of a store whose keys never leave it: our server side against
 * OpenSSL's client, over memory. The store is tests/support/soft_store.c, with real keys. */
#include "net/tls.h"
#include "net/tls_store.h"

#include "support/soft_store.h"
#include "support/test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <uv.h>

enum { OUT_MAX = 256 * 1024 };

/* ---- a handshake ---- */

struct meeting {
    int version;            /* both ends of what the client speaks; 0: all */
    const char *signatures; /* what the client takes; NULL: OpenSSL's */
    const char *name;       /* SNI */
    SSL_SESSION *session;   /* offered */
    bool keep;              /* kept is wanted */
    /* results */
    bool ok, resumed;
    char spoke[16], subject[64], reason[200], change[300];
    int signature_type; /* EVP_PKEY_RSA, EVP_PKEY_RSA_PSS, EVP_PKEY_EC */
    int signature_hash;
    SSL_SESSION *kept;
};

static void look_at(struct meeting *m, SSL *client)
{
    X509 *shown = SSL_get0_peer_certificate(client);
    assert_non_null(shown);
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, m->subject,
                                    sizeof m->subject);
    (void)snprintf(m->spoke, sizeof m->spoke, "%s", SSL_get_version(client));
    m->resumed = SSL_session_reused(client) == 1;
    if (!m->resumed)
        assert_true(SSL_get_peer_signature_type_nid(client, &m->signature_type) == 1 &&
                    SSL_get_peer_signature_nid(client, &m->signature_hash) == 1);
}

static SSL *client_of(SSL_CTX *ctx, const struct meeting *m)
{
    SSL_CTX_set_security_level(ctx, 0);
    if (m->version != 0)
        assert_true(SSL_CTX_set_min_proto_version(ctx, m->version) == 1 &&
                    SSL_CTX_set_max_proto_version(ctx, m->version) == 1);
    if (m->signatures != NULL)
        assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, m->signatures), 1);
    SSL *client = SSL_new(ctx);
    assert_non_null(client);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(client, in, out);
    if (m->name != NULL)
        assert_true(SSL_set_tlsext_host_name(client, m->name));
    if (m->session != NULL)
        assert_int_equal(SSL_set_session(client, m->session), 1);
    SSL_set_connect_state(client);
    return client;
}

/* What each side has for the other goes over, until nothing moves any more. */
static bool pump(SSL *client, struct tls_session *server, struct buf *out,
                 struct tls_failure *failure)
{
    enum tls_step step = TLS_STEP_WANT_INPUT;
    bool client_done = false;
    for (int round = 0; round < 20; round++) {
        uint8_t bytes[32768];
        client_done = SSL_do_handshake(client) == 1;
        int n = BIO_read(SSL_get_wbio(client), bytes, sizeof bytes);
        if (n > 0)
            tls_session_input(server, span_of(bytes, (size_t)n));
        if (step == TLS_STEP_WANT_INPUT)
            step = tls_session_handshake(server, failure);
        if (out->n > 0)
            assert_int_equal(BIO_write(SSL_get_rbio(client), out->p, (int)out->n), (int)out->n);
        buf_reset(out);
        if (step == TLS_STEP_FAILED)
            return false;
        if (client_done && step == TLS_STEP_DONE)
            return true;
    }
    return false;
}

static void meet(struct tls_context *context, struct meeting *m)
{
    struct buf out;
    struct err e = {0};
    struct tls_failure failure = {{0}, {0}, {0}, {0}};
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *client = client_of(ctx, m);
    buf_init(&out, OUT_MAX);
    const struct tls_session_options o = {.context = context, .server = true, .out = &out};
    struct tls_session *server = tls_session_new(&o, &e);
    assert_non_null(server);
    m->ok = pump(client, server, &out, &failure);
    (void)snprintf(m->reason, sizeof m->reason, "%s", failure.reason);
    (void)snprintf(m->change, sizeof m->change, "%s", failure.change);
    if (m->ok) {
        uint8_t bytes[8];
        size_t n = 0;
        look_at(m, client);
        assert_int_equal(SSL_write(client, "echo", 4), 4); /* and the keys are the same */
        uint8_t record[256];
        int length = BIO_read(SSL_get_wbio(client), record, sizeof record);
        tls_session_input(server, span_of(record, (size_t)length));
        assert_int_equal(tls_session_read(server, bytes, sizeof bytes, &n, &failure),
                         TLS_STEP_DONE);
        assert_memory_equal(bytes, "echo", 4);
        (void)SSL_read(client, bytes, sizeof bytes); /* the ticket */
        m->kept = m->keep ? SSL_get1_session(client) : NULL;
    }
    tls_session_free(&server);
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or it forgets */
    SSL_free(client);
    SSL_CTX_free(ctx);
    buf_deinit(&out);
    ERR_clear_error();
}

static struct tls_server_options options_of(const struct soft_store *s)
{
    return (struct tls_server_options){
        .main = {.store = "LocalMachine/My", .subject = "relay.test", .from = &s->door}};
}

static struct tls_context *context_of(const struct soft_store *s)
{
    struct err e = {0};
    struct tls_server_options o = options_of(s);
    struct tls_context *c = tls_server_context(&o, &e);
    if (c == NULL)
        (void)fprintf(stderr, "%s\n", e.text);
    assert_non_null(c);
    return c;
}

static const struct soft_certificate relay[] = {
    [SOFT_RSA] = {SOFT_RSA, "relay.test", "DNS:relay.test", "serverAuth", -1, 90},
    [SOFT_P256] = {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", -1, 90},
    [SOFT_P384] = {SOFT_P384, "relay.test", "DNS:relay.test", "serverAuth", -1, 90},
    [SOFT_P521] = {SOFT_P521, "relay.test", "DNS:relay.test", "serverAuth", -1, 90},
};

/* ---- signatures ---- */

static void every_kind_of_signature_is_made_by_the_store(void **state)
{
    (void)state;
    static const struct {
        enum soft_kind kind;
        int version;
        const char *signatures;
        int type, hash;
    } cases[] = {
        {SOFT_RSA, TLS1_2_VERSION, "RSA+SHA256", EVP_PKEY_RSA, NID_sha256},
        {SOFT_RSA, TLS1_2_VERSION, "RSA+SHA384", EVP_PKEY_RSA, NID_sha384},
        {SOFT_RSA, TLS1_2_VERSION, "RSA+SHA512", EVP_PKEY_RSA, NID_sha512},
        {SOFT_RSA, TLS1_2_VERSION, "rsa_pss_rsae_sha256", EVP_PKEY_RSA_PSS, NID_sha256},
        {SOFT_RSA, TLS1_3_VERSION, "rsa_pss_rsae_sha256", EVP_PKEY_RSA_PSS, NID_sha256},
        {SOFT_RSA, TLS1_3_VERSION, "rsa_pss_rsae_sha384", EVP_PKEY_RSA_PSS, NID_sha384},
        {SOFT_RSA, TLS1_3_VERSION, "rsa_pss_rsae_sha512", EVP_PKEY_RSA_PSS, NID_sha512},
        {SOFT_P256, TLS1_2_VERSION, "ECDSA+SHA256", EVP_PKEY_EC, NID_sha256},
        {SOFT_P256, TLS1_2_VERSION, "ECDSA+SHA512", EVP_PKEY_EC, NID_sha512}, /* cut to the order */
        {SOFT_P256, TLS1_3_VERSION, "ECDSA+SHA256", EVP_PKEY_EC, NID_sha256},
        {SOFT_P384, TLS1_2_VERSION, "ECDSA+SHA256", EVP_PKEY_EC, NID_sha256},
        {SOFT_P384, TLS1_2_VERSION, "ECDSA+SHA512", EVP_PKEY_EC, NID_sha512},
        {SOFT_P384, TLS1_3_VERSION, "ECDSA+SHA384", EVP_PKEY_EC, NID_sha384},
        {SOFT_P521, TLS1_3_VERSION, "ECDSA+SHA512", EVP_PKEY_EC, NID_sha512},
        {SOFT_P521, TLS1_2_VERSION, "ECDSA+SHA256", EVP_PKEY_EC, NID_sha256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct soft_store store;
        soft_store_init(&store);
        struct soft_item *item = soft_store_add(&store, &relay[cases[i].kind]);
        struct tls_context *context = context_of(&store);
        unsigned before = atomic_load(&item->signatures);
        struct meeting m = {.version = cases[i].version, .signatures = cases[i].signatures};
        meet(context, &m);
        if (!m.ok)
            fail_msg("case %zu: %s", i, m.reason);
        assert_int_equal(m.signature_type, cases[i].type);
        assert_int_equal(m.signature_hash, cases[i].hash);
        assert_string_equal(m.subject, "relay.test");
        assert_int_equal(atomic_load(&item->signatures), before + 1);
        tls_unref(&context);
        soft_store_deinit(&store); /* every key was closed */
    }
}

static void versions_before_1_2_sign_with_md5_and_sha1(void **state)
{
    (void)state;
    struct soft_store store;
    struct err e = {0};
    soft_store_init(&store);
    struct soft_item *item = soft_store_add(&store, &relay[SOFT_RSA]);
    struct tls_server_options o = options_of(&store);
    o.minimum_version = "1.0";
    struct tls_context *context = tls_server_context(&o, &e);
    assert_non_null(context);
    unsigned before = atomic_load(&item->signatures);
    struct meeting m = {.version = TLS1_VERSION};
    meet(context, &m);
    assert_true(m.ok);
    assert_string_equal(m.spoke, "TLSv1");
    assert_int_equal(atomic_load(&item->signatures), before + 1);
    tls_unref(&context);
    soft_store_deinit(&store);
}

static void a_resumed_session_needs_no_signature(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct soft_store store;
        soft_store_init(&store);
        struct soft_item *item = soft_store_add(&store, &relay[SOFT_RSA]);
        struct tls_context *context = context_of(&store);
        struct meeting first = {.version = versions[i], .keep = true};
        meet(context, &first);
        assert_true(first.ok && !first.resumed && first.kept != NULL);
        unsigned before = atomic_load(&item->signatures);
        struct meeting again = {.version = versions[i], .session = first.kept};
        meet(context, &again);
        if (!again.ok || !again.resumed)
            fail_msg("%zu ok %d %s %s", i, again.ok, again.spoke, again.reason);
        assert_int_equal(atomic_load(&item->signatures), before);
        SSL_SESSION_free(first.kept);
        tls_unref(&context);
        soft_store_deinit(&store);
    }
}

static void a_key_without_pss_serves_tls_1_2_to_those_that_could_more(void **state)
{
    (void)state;
    struct soft_store store;
    soft_store_init(&store);
    soft_store_add(&store, &relay[SOFT_RSA])->fault = SOFT_NO_PSS;
    struct tls_context *context = context_of(&store);
    struct meeting m = {.version = 0};
    meet(context, &m);
    assert_true(m.ok);
    assert_string_equal(m.spoke, "TLSv1.2");
    assert_int_equal(m.signature_type, EVP_PKEY_RSA);
    m = (struct meeting){.version = TLS1_3_VERSION};
    meet(context, &m);
    assert_false(m.ok);
    assert_non_null(strstr(m.change, "RSA-PSS"));
    struct tls_certificate_info info;
    struct err e = {0};
    struct tls_server_options o = options_of(&store);
    assert_true(tls_certificate_info(&o.main, &info, &e));
    assert_true(info.no_pss);
    tls_unref(&context);
    o.minimum_version = "1.3";
    assert_null(tls_server_context(&o, &e));
    assert_non_null(strstr(e.text, "RSA-PSS"));
    soft_store_deinit(&store);
}

static void a_key_that_knows_sha_256_alone_is_asked_for_nothing_else(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct soft_store store;
        soft_store_init(&store);
        soft_store_add(&store, &relay[SOFT_RSA])->fault = SOFT_SHA256_ONLY;
        struct tls_context *context = context_of(&store);
        struct meeting m = {.version = versions[i],
                            .signatures = "rsa_pss_rsae_sha512:RSA+SHA512:rsa_pss_rsae_sha256:"
                                          "RSA+SHA256"};
        meet(context, &m);
        assert_true(m.ok);
        assert_int_equal(m.signature_hash, NID_sha256);
        tls_unref(&context);
        soft_store_deinit(&store);
    }
}

static void one_certificate_s_limits_do_not_hold_for_another_name(void **state)
{
    (void)state;
    struct soft_store store;
    struct err e = {0};
    soft_store_init(&store);
    soft_store_add(&store, &relay[SOFT_RSA])->fault = SOFT_NO_PSS;
    const struct soft_certificate second = {SOFT_P256,    "other.test", "DNS:other.test",
                                            "serverAuth", -1,           90};
    soft_store_add(&store, &second);
    const struct tls_pair more[] = {
        {.store = "LocalMachine/My", .subject = "other.test", .from = &store.door}};
    struct tls_server_options o = options_of(&store);
    o.more = more;
    o.more_n = 1;
    struct tls_context *context = tls_server_context(&o, &e);
    assert_non_null(context);
    struct meeting m = {.name = "other.test"};
    meet(context, &m);
    assert_true(m.ok);
    assert_string_equal(m.spoke, "TLSv1.3");
    assert_string_equal(m.subject, "other.test");
    m = (struct meeting){.name = "relay.test"};
    meet(context, &m);
    assert_true(m.ok);
    assert_string_equal(m.spoke, "TLSv1.2");
    assert_string_equal(m.subject, "relay.test");
    tls_unref(&context);
    soft_store_deinit(&store);
}

/* ---- faults ---- */

static void a_signature_that_fails_or_is_wrong_ends_that_handshake_and_no_other(void **state)
{
    (void)state;
    static const enum soft_fault faults[] = {SOFT_FAILS, SOFT_WRONG, SOFT_SHORT};
    static const enum soft_kind kinds[] = {SOFT_RSA, SOFT_P256};
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 12; i++) {
        struct soft_store store;
        soft_store_init(&store);
        struct soft_item *item = soft_store_add(&store, &relay[kinds[i / 6]]);
        struct tls_context *context = context_of(&store);
        item->fault = faults[i % 3];
        struct meeting m = {.version = versions[i / 3 % 2]};
        meet(context, &m);
        assert_false(m.ok);
        item->fault = SOFT_FAITHFUL;
        m = (struct meeting){.version = versions[i / 3 % 2]};
        meet(context, &m);
        assert_true(m.ok);
        tls_unref(&context);
        soft_store_deinit(&store);
    }
}

static void a_key_that_is_of_no_use_is_refused_at_the_start(void **state)
{
    (void)state;
    static const struct {
        enum soft_fault fault;
        const char *text;
    } cases[] = {
        {SOFT_LOCKED, "may not read"},  {SOFT_NO_KEY, "has no private key"},
        {SOFT_FAILS, "cannot be used"}, {SOFT_WRONG, "does not belong to the certificate"},
        {SOFT_SHORT, "bytes"},          {SOFT_FOREIGN_KEY, "does not belong to the certificate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct soft_store store;
        struct err e = {0};
        soft_store_init(&store);
        soft_store_add(&store, &relay[SOFT_RSA])->fault = cases[i].fault;
        struct tls_server_options o = options_of(&store);
        assert_null(tls_server_context(&o, &e));
        if (strstr(e.text, cases[i].text) == NULL)
            fail_msg("case %zu: %s", i, e.text);
        assert_non_null(strstr(e.text, "LocalMachine/My, subject relay.test"));
        soft_store_deinit(&store);
    }
}

static void a_locked_key_names_the_command_that_mends_it(void **state)
{
    (void)state;
    struct soft_store store;
    struct err e = {0};
    soft_store_init(&store);
    soft_store_add(&store, &relay[SOFT_RSA])->fault = SOFT_LOCKED;
    struct tls_server_options o = options_of(&store);
    assert_null(tls_server_context(&o, &e));
    assert_non_null(strstr(e.text, "postern check --grant-key"));
    soft_store_deinit(&store);
}

/* ---- renewal ---- */

static void renew(const struct tls_server_options *o, struct tls_context *in_force,
                  struct tls_context **fresh, struct tls_renewal *r)
{
    struct err e = {0};
    if (!tls_server_renew(o, in_force, fresh, r, &e))
        fail_msg("%s", e.text);
}

static void a_newer_certificate_is_taken_and_an_older_session_goes_on(void **state)
{
    (void)state;
    struct soft_store store;
    struct tls_renewal r;
    struct tls_context *fresh = NULL;
    soft_store_init(&store);
    struct soft_item *old = soft_store_add(&store, &relay[SOFT_RSA]);
    struct tls_server_options o = options_of(&store);
    struct tls_context *in_force = context_of(&store);

    renew(&o, in_force, &fresh, &r);
    assert_true(fresh == NULL && !r.renewed && r.refused[0] == '\0');

    struct soft_certificate newer = relay[SOFT_P256];
    newer.begins = 0;
    struct soft_item *new = soft_store_add(&store, &newer);
    renew(&o, in_force, &fresh, &r);
    assert_true(fresh != NULL && r.renewed && r.refused[0] == '\0');
    assert_int_equal(strlen(r.thumbprint), 40);
    unsigned by_old = atomic_load(&old->signatures), by_new = atomic_load(&new->signatures);
    struct meeting m = {.version = TLS1_3_VERSION};
    meet(fresh, &m);
    assert_true(m.ok && m.signature_type == EVP_PKEY_EC);
    assert_int_equal(atomic_load(&new->signatures), by_new + 1);
    /* whoever holds the old context still has its key */
    m = (struct meeting){.version = TLS1_3_VERSION};
    meet(in_force, &m);
    assert_true(m.ok && m.signature_type == EVP_PKEY_RSA_PSS);
    assert_int_equal(atomic_load(&old->signatures), by_old + 1);
    tls_unref(&in_force);
    assert_int_equal(atomic_load(&old->open), 0);
    tls_unref(&fresh);
    soft_store_deinit(&store);
}

static void a_newer_one_that_cannot_be_used_leaves_the_old_one_and_says_so(void **state)
{
    (void)state;
    static const enum soft_fault faults[] = {SOFT_LOCKED, SOFT_FAILS, SOFT_FOREIGN_KEY};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct soft_store store;
        struct tls_renewal r;
        struct tls_context *fresh = NULL;
        soft_store_init(&store);
        (void)soft_store_add(&store, &relay[SOFT_RSA]);
        struct tls_server_options o = options_of(&store);
        struct tls_context *in_force = context_of(&store);
        struct soft_certificate newer = relay[SOFT_RSA];
        newer.begins = 0;
        struct soft_item *new = soft_store_add(&store, &newer);
        new->fault = faults[i];
        renew(&o, in_force, &fresh, &r);
        assert_true(fresh == NULL && !r.renewed && r.refused[0] != '\0');
        assert_int_equal(r.locked, faults[i] == SOFT_LOCKED);
        new->fault = SOFT_FAITHFUL; /* mended: the next look takes it */
        renew(&o, in_force, &fresh, &r);
        assert_true(fresh != NULL && r.renewed && r.refused[0] == '\0');
        tls_unref(&fresh);
        tls_unref(&in_force);
        soft_store_deinit(&store);
    }
}

static void a_certificate_that_is_taken_away_stays_in_use_and_is_told_of(void **state)
{
    (void)state;
    struct soft_store store, empty;
    struct tls_renewal r;
    struct tls_context *fresh = NULL;
    soft_store_init(&store);
    soft_store_init(&empty);
    (void)soft_store_add(&store, &relay[SOFT_RSA]);
    struct tls_context *in_force = context_of(&store);
    struct tls_server_options o = options_of(&empty);
    renew(&o, in_force, &fresh, &r);
    assert_true(fresh == NULL && strstr(r.refused, "none of its 0") != NULL);
    empty.absent = true;
    renew(&o, in_force, &fresh, &r);
    assert_true(fresh == NULL && strstr(r.refused, "no such store") != NULL);
    struct meeting m = {.version = TLS1_3_VERSION};
    meet(in_force, &m);
    assert_true(m.ok);
    tls_unref(&in_force);
    soft_store_deinit(&store);
}

static void where_the_newest_is_locked_at_the_start_the_next_one_serves(void **state)
{
    (void)state;
    struct soft_store store;
    struct tls_renewal r;
    struct tls_context *fresh = NULL;
    soft_store_init(&store);
    (void)soft_store_add(&store, &relay[SOFT_P256]);
    struct soft_certificate newer = relay[SOFT_RSA];
    newer.begins = 0;
    soft_store_add(&store, &newer)->fault = SOFT_LOCKED;
    struct tls_server_options o = options_of(&store);
    renew(&o, NULL, &fresh, &r);
    assert_true(fresh != NULL && r.locked);
    struct meeting m = {.version = TLS1_3_VERSION};
    meet(fresh, &m);
    assert_true(m.ok && m.signature_type == EVP_PKEY_EC);
    tls_unref(&fresh);
    soft_store_deinit(&store);
}

/* ---- the list ---- */

static void the_list_tells_of_each_why_it_is_not_taken(void **state)
{
    (void)state;
    struct soft_store store;
    struct arena arena;
    struct err e = {0};
    struct tls_store_entry *list = NULL;
    size_t n = 0;
    static const struct soft_certificate made[] = {
        {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", -1, 90},
        {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", -400, -35},
        {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", 2, 90},
        {SOFT_P256, "relay.test", "DNS:relay.test", "clientAuth", -2, 90},
        {SOFT_P256, "other.test", "DNS:other.test", "serverAuth", -3, 90},
        {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", -4, 90},
        {SOFT_P256, "relay.test", "DNS:relay.test", "serverAuth", 0, 90},
        {SOFT_P256, "relay.test", "DNS:relay.test", NULL, -6, 90},
    };
    static const enum tls_fit expected[] = {TLS_FIT_NOT_YET, TLS_FIT_LOCKED, TLS_FIT,
                                            TLS_FIT_PURPOSE, TLS_FIT_NO_KEY, TLS_FIT_PURPOSE,
                                            TLS_FIT_EXPIRED, TLS_FIT_OTHER};
    soft_store_init(&store);
    arena_init(&arena, 1024 * 1024);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        (void)soft_store_add(&store, &made[i]);
    store.items[5].fault = SOFT_NO_KEY;
    store.items[6].fault = SOFT_LOCKED;
    store.items[7].server_forbidden = true;
    store.items[0].right = CERT_STORE_MAY_NOT;
    struct tls_server_options o = options_of(&store);
    assert_true(tls_store_list(&o.main, &arena, &list, &n, &e));
    assert_int_equal(n, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < n; i++) {
        if (list[i].fit != expected[i])
            fail_msg("%zu: %s", i, tls_fit_text(list[i].fit));
        assert_int_equal(list[i].chosen, i == 2);
    }
    assert_int_equal(list[2].right, CERT_STORE_MAY_NOT);
    assert_true(tls_store_grant(&o.main, &list[2], &e));
    assert_int_equal(store.items[0].right, CERT_STORE_MAY);
    arena_deinit(&arena);
    soft_store_deinit(&store);
}

static void the_system_s_own_store_is_asked_where_no_other_is_given(void **state)
{
    (void)state;
    struct err e = {0};
    struct tls_server_options o = {
        .main = {.store = "LocalMachine/My", .subject = "nobody.has.this.test"}};
    assert_null(tls_server_context(&o, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_non_null(strstr(e.text, "LocalMachine/My"));
    /* Wine makes a machine's store when it is first written to. */
    bool said = cert_store_system() == NULL ? strstr(e.text, "only on Windows") != NULL
                                            : strstr(e.text, "none of its") != NULL ||
                                                  strstr(e.text, "CertOpenStore") != NULL;
    if (!said)
        fail_msg("%s", e.text);
}

/* ---- threads ---- */

struct crowd {
    struct tls_context *context;
    atomic_uint done;
};

static void many(void *argument)
{
    struct crowd *c = argument;
    for (int i = 0; i < 12; i++) {
        struct meeting m = {.version = i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION};
        meet(c->context, &m);
        if (m.ok)
            atomic_fetch_add(&c->done, 1);
    }
}

static void one_key_signs_for_many_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static const enum soft_kind kinds[] = {SOFT_RSA, SOFT_P256};
    for (size_t k = 0; k < 2; k++) {
        struct soft_store store;
        uv_thread_t threads[THREADS];
        soft_store_init(&store);
        (void)soft_store_add(&store, &relay[kinds[k]]);
        struct crowd crowd = {.context = context_of(&store)};
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(uv_thread_create(&threads[i], many, &crowd), 0);
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(uv_thread_join(&threads[i]), 0);
        assert_int_equal(atomic_load(&crowd.done), THREADS * 12);
        tls_unref(&crowd.context);
        soft_store_deinit(&store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_signature_is_made_by_the_store),
        cmocka_unit_test(versions_before_1_2_sign_with_md5_and_sha1),
        cmocka_unit_test(a_resumed_session_needs_no_signature),
        cmocka_unit_test(a_key_without_pss_serves_tls_1_2_to_those_that_could_more),
        cmocka_unit_test(a_key_that_knows_sha_256_alone_is_asked_for_nothing_else),
        cmocka_unit_test(one_certificate_s_limits_do_not_hold_for_another_name),
        cmocka_unit_test(a_signature_that_fails_or_is_wrong_ends_that_handshake_and_no_other),
        cmocka_unit_test(a_key_that_is_of_no_use_is_refused_at_the_start),
        cmocka_unit_test(a_locked_key_names_the_command_that_mends_it),
        cmocka_unit_test(a_newer_certificate_is_taken_and_an_older_session_goes_on),
        cmocka_unit_test(a_newer_one_that_cannot_be_used_leaves_the_old_one_and_says_so),
        cmocka_unit_test(a_certificate_that_is_taken_away_stays_in_use_and_is_told_of),
        cmocka_unit_test(where_the_newest_is_locked_at_the_start_the_next_one_serves),
        cmocka_unit_test(the_list_tells_of_each_why_it_is_not_taken),
        cmocka_unit_test(the_system_s_own_store_is_asked_where_no_other_is_given),
        cmocka_unit_test(one_key_signs_for_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
