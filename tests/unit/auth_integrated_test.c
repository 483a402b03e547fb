/* AUTH GSSAPI and GSS-SPNEGO as the session drives them, with tickets of a real KDC: which token
 * goes where, the layer step of RFC 4752, and whose account comes out. */
#define _GNU_SOURCE
#include "auth/auth.h"

#include "support/auth_lab.h"
#include "support/kdc.h"
#include "support/test.h"

static struct kdc kdc;
static struct auth_lab lab;
static const char *const realm_aliases[] = {"krb.example", "krb"};

/* One AUTH command of a client with a ticket. */
struct attempt {
    struct auth_exchange *exchange;
    struct gss_client client;
    struct auth_step step;
    struct buf out, clear;
};

static void attempt_begin(struct attempt *a, const char *mechanism, const char *cache, bool spnego)
{
    struct err e = {0};
    *a = (struct attempt){0};
    gss_client_init(&a->client, cache, "smtp@relay.example");
    a->client.spnego = spnego;
    buf_init(&a->out, 1 << 17);
    buf_init(&a->clear, 1 << 17);
    auth_lab_must(auth_exchange_new(lab.auth, &lab.peer, span_str(mechanism), &a->exchange, &e),
                  &e);
}

static void attempt_end(struct attempt *a)
{
    auth_exchange_free(&a->exchange);
    gss_client_deinit(&a->client);
    buf_deinit(&a->out);
    buf_deinit(&a->clear);
}

static enum auth_outcome say(struct attempt *a, struct span message)
{
    auth_exchange_step(a->exchange, true, message, &a->step);
    return a->step.outcome;
}

/* The tokens, until the client is content or we have spoken. */
static enum auth_outcome handshake(struct attempt *a)
{
    struct span challenge = {0};
    do {
        assert_true(gss_client_step(&a->client, challenge, &a->out));
        if (a->client.complete && a->out.n == 0)
            return a->step.outcome;
        (void)say(a, buf_span(&a->out));
        challenge = a->step.challenge;
    } while (a->step.outcome == AUTH_CONTINUE && !a->client.complete);
    return a->step.outcome;
}

/* Behind the handshake: takes our offer, which must be "no layer". */
static void take_offer(struct attempt *a)
{
    if (a->step.challenge.n == 0 || a->client.flags & GSS_C_MUTUAL_FLAG)
        assert_int_equal(say(a, span_str("")), AUTH_CONTINUE);
    assert_true(gss_client_unwrap(&a->client, a->step.challenge, &a->clear));
    assert_true(span_equal(buf_span(&a->clear), span_of("\1\0\0\0", 4)));
}

static enum auth_outcome answer(struct attempt *a, struct span choice, const char *authzid)
{
    uint8_t message[300];
    memcpy(message, choice.p, choice.n);
    memcpy(message + choice.n, authzid, strlen(authzid));
    gss_client_wrap(&a->client, span_of(message, choice.n + strlen(authzid)), &a->out);
    return say(a, buf_span(&a->out));
}

static const struct span no_layer = {(const uint8_t *)"\1\0\0\0", 4};

static enum auth_outcome log_in(struct attempt *a, const char *authzid)
{
    if (handshake(a) != AUTH_CONTINUE)
        return a->step.outcome;
    take_offer(a);
    return answer(a, no_layer, authzid);
}

static void a_ticket_and_the_layer_step_get_in(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct attempt a;
        attempt_begin(&a, i % 2 ? "gssapi" : "GSSAPI", "MEMORY:alice", i >= 2);
        assert_int_equal(log_in(&a, ""), AUTH_OK);
        assert_string_equal(a.step.identity, "KRB\\alice");
        attempt_end(&a);
    }
}

static void without_an_initial_response_we_say_nothing_first(void **state)
{
    (void)state;
    struct attempt a;
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    auth_exchange_step(a.exchange, false, (struct span){0}, &a.step);
    assert_int_equal(a.step.outcome, AUTH_CONTINUE);
    assert_int_equal(a.step.challenge.n, 0);
    assert_int_equal(log_in(&a, ""), AUTH_OK);
    attempt_end(&a);
}

static void without_mutual_authentication_the_offer_comes_at_once(void **state)
{
    (void)state;
    struct attempt a;
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    a.client.flags = GSS_C_INTEG_FLAG;
    assert_int_equal(log_in(&a, ""), AUTH_OK);
    attempt_end(&a);
}

static void spnego_by_its_own_name_has_no_layer_step(void **state)
{
    (void)state;
    struct attempt a;
    attempt_begin(&a, "GSS-SPNEGO", "MEMORY:bob", true);
    assert_int_equal(handshake(&a), AUTH_CONTINUE);
    assert_true(a.client.complete);
    assert_int_equal(say(&a, span_str("")), AUTH_OK);
    assert_string_equal(a.step.identity, "KRB\\bob");
    attempt_end(&a);
}

static void nobody_acts_for_somebody_else(void **state)
{
    (void)state;
    static const struct {
        const char *authzid;
        enum auth_outcome outcome;
    } cases[] = {
        {"alice", AUTH_OK},
        {"ALICE", AUTH_OK},
        {"KRB\\alice", AUTH_OK},
        {"alice@krb.example", AUTH_OK},
        {"alice@KRB.EXAMPLE", AUTH_OK},
        {"bob", AUTH_BAD_CREDENTIALS},
        {"KRB\\bob", AUTH_BAD_CREDENTIALS},
        {"users\\alice", AUTH_BAD_CREDENTIALS},
        {"alice@example.net", AUTH_BAD_CREDENTIALS},
        {"root", AUTH_BAD_CREDENTIALS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct attempt a;
        attempt_begin(&a, "GSSAPI", "MEMORY:alice", i % 2 == 1);
        assert_int_equal(log_in(&a, cases[i].authzid), cases[i].outcome);
        if (cases[i].outcome == AUTH_OK)
            assert_string_equal(a.step.identity, "KRB\\alice");
        attempt_end(&a);
    }
}

static void a_layer_that_smtp_has_not_is_a_mistake(void **state)
{
    (void)state;
    static const struct span choices[] = {
        {(const uint8_t *)"\2\0\x10\0", 4}, {(const uint8_t *)"\4\0\x10\0", 4},
        {(const uint8_t *)"\0\0\0\0", 4},   {(const uint8_t *)"\5\0\0\0", 4},
        {(const uint8_t *)"\1\0\0", 3},     {(const uint8_t *)"", 0},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        struct attempt a;
        attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
        assert_int_equal(handshake(&a), AUTH_CONTINUE);
        take_offer(&a);
        assert_int_equal(answer(&a, choices[i], ""), AUTH_SYNTAX);
        /* and it is over */
        assert_int_not_equal(answer(&a, no_layer, ""), AUTH_OK);
        attempt_end(&a);
    }
}

static void a_layer_step_in_clear_or_of_another_ticket_proves_nothing(void **state)
{
    (void)state;
    struct attempt a, b;
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    assert_int_equal(handshake(&a), AUTH_CONTINUE);
    take_offer(&a);
    assert_int_equal(say(&a, no_layer), AUTH_BAD_CREDENTIALS);
    attempt_end(&a);
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    attempt_begin(&b, "GSSAPI", "MEMORY:bob", false);
    assert_int_equal(handshake(&a), AUTH_CONTINUE);
    assert_int_equal(handshake(&b), AUTH_CONTINUE);
    take_offer(&a);
    take_offer(&b);
    gss_client_wrap(&b.client, no_layer, &b.out);
    assert_int_equal(say(&a, buf_span(&b.out)), AUTH_BAD_CREDENTIALS);
    attempt_end(&a);
    attempt_end(&b);
}

/* The replay of a whole session gets no further than its first token. */
static void the_layer_step_cannot_be_left_out(void **state)
{
    (void)state;
    struct attempt a;
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    assert_int_equal(handshake(&a), AUTH_CONTINUE);
    assert_int_equal(say(&a, span_str("x")), AUTH_SYNTAX);
    attempt_end(&a);
}

static void tokens_of_other_kinds_are_told_apart(void **state)
{
    (void)state;
    static const char ntlm[] = "NTLMSSP\0\1\0\0\0\x07\x82\x08\xa2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const struct {
        const char *mechanism;
        struct span token;
        enum auth_outcome outcome;
    } cases[] = {
        /* no ntlm_auth is configured, so NTLM is not offered under any name */
        {"GSSAPI", {(const uint8_t *)ntlm, sizeof ntlm - 1}, AUTH_MECHANISM},
        {"GSS-SPNEGO", {(const uint8_t *)ntlm, sizeof ntlm - 1}, AUTH_MECHANISM},
        {"NTLM", {(const uint8_t *)ntlm, sizeof ntlm - 1}, AUTH_MECHANISM},
        {"GSSAPI", {(const uint8_t *)"", 0}, AUTH_CONTINUE},
        {"GSSAPI", {(const uint8_t *)"rubbish", 7}, AUTH_SYNTAX},
        {"GSSAPI", {(const uint8_t *)"NTLMSSP", 7}, AUTH_SYNTAX},
        {"GSS-SPNEGO", {(const uint8_t *)"\x60\x82\xff\xff", 4}, AUTH_SYNTAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct attempt a;
        attempt_begin(&a, cases[i].mechanism, "MEMORY:alice", false);
        assert_int_equal(say(&a, cases[i].token), cases[i].outcome);
        assert_int_equal(a.step.delay_ms, 0); /* no guess */
        attempt_end(&a);
    }
    struct attempt a; /* raw Kerberos has a name of its own */
    attempt_begin(&a, "GSS-SPNEGO", "MEMORY:alice", false);
    assert_int_equal(handshake(&a), AUTH_SYNTAX);
    attempt_end(&a);
}

static void guests_and_nobody_are_wrong_credentials(void **state)
{
    (void)state;
    static const char *const accounts[] = {"guest", "WELLKNOWN/NOBODY"};
    for (size_t i = 0; i < 4; i++) {
        struct attempt a;
        kdc_login(accounts[i / 2], "MEMORY:who");
        attempt_begin(&a, i % 2 ? "GSS-SPNEGO" : "GSSAPI", "MEMORY:who", i % 2 == 1);
        assert_int_equal(handshake(&a), AUTH_BAD_CREDENTIALS);
        attempt_end(&a);
    }
}

static void the_certificate_is_a_binding_of_these_mechanisms_alone(void **state)
{
    (void)state;
    static const uint8_t hash[32] = "the hash of the certificate 1234";
    static const char end_point[] = "tls-server-end-point:the hash of the certificate 1234";
    static const struct {
        const char *binding;
        enum auth_outcome outcome;
    } cases[] = {
        {end_point, AUTH_CONTINUE},
        {"tls-exporter:0123456789abcdef0123456789abcde",
         AUTH_BAD_CREDENTIALS}, /* without its NUL */
        {"tls-server-end-point:the hash of the certificate 1235", AUTH_BAD_CREDENTIALS},
        {"tls-exporter:the hash of the certificate 1234", AUTH_BAD_CREDENTIALS},
        {"", AUTH_CONTINUE},
    };
    lab.peer.end_points[0] = span_of(hash, sizeof hash);
    lab.peer.end_point_count = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct attempt a;
        attempt_begin(&a, "GSSAPI", "MEMORY:alice", i % 2 == 1);
        a.client.binding = span_str(cases[i].binding);
        assert_int_equal(handshake(&a), cases[i].outcome);
        attempt_end(&a);
    }
    struct hand_scram h = {.gs2 = "p=tls-server-end-point,,",
                           .user = "alice",
                           .password = "secret",
                           .binding = span_of(hash, sizeof hash)};
    assert_int_equal(auth_lab_hand_scram(&lab, &lab.peer, "SCRAM-SHA-256-PLUS", &h).outcome,
                     AUTH_BAD_CREDENTIALS);
    lab.peer.end_point_count = 0;
}

static void reload_with(const char *keytab, const char *const *allow, size_t allow_count,
                        bool realm_known)
{
    struct err e = {0};
    struct auth_options o = lab.options;
    o.integrated.keytab = keytab;
    lab.domains[3].allow = allow;
    lab.domains[3].allow_count = allow_count;
    o.domain_count = realm_known ? 4 : 3;
    auth_lab_must(auth_reload(lab.auth, &o, &e), &e);
}

static void an_allow_list_names_who_may(void **state)
{
    (void)state;
    static const char *const allow[] = {"KRB\\bob"};
    static const struct {
        const char *cache;
        enum auth_outcome outcome;
    } cases[] = {{"MEMORY:alice", AUTH_BAD_CREDENTIALS}, {"MEMORY:bob", AUTH_OK}};
    reload_with(kdc.keytab, allow, 1, true);
    for (size_t i = 0; i < 2; i++) {
        struct attempt a;
        attempt_begin(&a, "GSSAPI", cases[i].cache, false);
        assert_int_equal(log_in(&a, ""), cases[i].outcome);
        attempt_end(&a);
    }
    reload_with(kdc.keytab, NULL, 0, true);
}

static void a_realm_that_is_not_configured_is_nobodys(void **state)
{
    (void)state;
    struct attempt a;
    reload_with(kdc.keytab, NULL, 0, false);
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    assert_int_equal(handshake(&a), AUTH_NO_BACKEND);
    attempt_end(&a);
    reload_with(kdc.keytab, NULL, 0, true);
}

static void a_keytab_that_does_not_prove_itself_takes_the_mechanisms_away(void **state)
{
    (void)state;
    char nothing[128];
    (void)snprintf(nothing, sizeof nothing, "%s/nothing", kdc.folder);
    unsigned both = AUTH_GSSAPI | AUTH_GSS_SPNEGO;
    assert_int_equal(auth_mechanisms_for(lab.auth, &lab.peer.channel) & AUTH_MECHANISMS_INTEGRATED,
                     both);
    struct attempt old; /* under way: it keeps what it began with */
    attempt_begin(&old, "GSSAPI", "MEMORY:alice", false);
    assert_int_equal(handshake(&old), AUTH_CONTINUE);
    reload_with(nothing, NULL, 0, true);
    assert_int_equal(auth_mechanisms_for(lab.auth, &lab.peer.channel) & AUTH_MECHANISMS_INTEGRATED,
                     0);
    take_offer(&old);
    assert_int_equal(answer(&old, no_layer, ""), AUTH_OK);
    attempt_end(&old);
    struct attempt a;
    attempt_begin(&a, "GSSAPI", "MEMORY:alice", false);
    assert_int_equal(handshake(&a), AUTH_MECHANISM);
    attempt_end(&a);
    reload_with(kdc.keytab, NULL, 0, true);
}

static int set_up(void **state)
{
    (void)state;
    kdc_start(&kdc);
    kdc_login("alice", "MEMORY:alice");
    kdc_login("bob", "MEMORY:bob");
    auth_lab_prepare(&lab);
    lab.domains[3] = (struct auth_domain){
        .name = "KRB",
        .aliases = realm_aliases,
        .alias_count = 2,
        .backend = AUTH_BACKEND_KERBEROS,
        .kerberos = {.realm = KDC_REALM, .service = "smtp", .keytab = kdc.keytab}};
    lab.options.domain_count = 4;
    lab.options.integrated.enabled = true;
    lab.options.integrated.keytab = kdc.keytab;
    lab.options.integrated.ntlm_auth = "";
    auth_lab_open(&lab);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    auth_lab_close(&lab);
    kdc_stop(&kdc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_and_the_layer_step_get_in),
        cmocka_unit_test(without_an_initial_response_we_say_nothing_first),
        cmocka_unit_test(without_mutual_authentication_the_offer_comes_at_once),
        cmocka_unit_test(spnego_by_its_own_name_has_no_layer_step),
        cmocka_unit_test(nobody_acts_for_somebody_else),
        cmocka_unit_test(a_layer_that_smtp_has_not_is_a_mistake),
        cmocka_unit_test(a_layer_step_in_clear_or_of_another_ticket_proves_nothing),
        cmocka_unit_test(the_layer_step_cannot_be_left_out),
        cmocka_unit_test(tokens_of_other_kinds_are_told_apart),
        cmocka_unit_test(guests_and_nobody_are_wrong_credentials),
        cmocka_unit_test(the_certificate_is_a_binding_of_these_mechanisms_alone),
        cmocka_unit_test(an_allow_list_names_who_may),
        cmocka_unit_test(a_realm_that_is_not_configured_is_nobodys),
        cmocka_unit_test(a_keytab_that_does_not_prove_itself_takes_the_mechanisms_away),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
