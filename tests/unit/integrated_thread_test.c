/* Kerberos and SPNEGO on our side against MIT's clients with tickets of a real KDC. */
#define _GNU_SOURCE
#include "platform/integrated_auth.h"

#include "support/kdc.h"
#include "support/test.h"

#include <pthread.h>

static struct kdc kdc;
static char *const caches[] = {"MEMORY:alice", "MEMORY:bob"};

/* One login from its first to its last token. */
struct talk {
    struct integrated_auth *auth;
    struct gss_client client;
    enum integrated_package package;
    struct span bindings[INTEGRATED_BINDINGS_MAX];
    size_t binding_count;
    struct integrated_context *context;
    struct buf mine, theirs; /* tokens: the client's, ours */
    enum integrated_result result;
    char reason[INTEGRATED_REASON_MAX];
};

static struct integrated_auth *open_with(const char *keytab)
{
    struct integrated_auth *a = NULL;
    struct err e = {0};
    const struct integrated_options o = {.keytab = keytab, .ntlm_auth = ""};
    assert_true(integrated_auth_open(&o, &a, &e));
    return a;
}

static void talk_init(struct talk *t, struct integrated_auth *a, const char *cache,
                      const char *service, bool spnego)
{
    *t = (struct talk){.auth = a,
                       .package = spnego ? INTEGRATED_SPNEGO_KERBEROS : INTEGRATED_KERBEROS};
    char target[64];
    (void)snprintf(target, sizeof target, "%s@relay.example", service);
    gss_client_init(&t->client, cache, target);
    t->client.spnego = spnego;
    buf_init(&t->mine, INTEGRATED_TOKEN_MAX);
    buf_init(&t->theirs, INTEGRATED_TOKEN_MAX);
}

static void talk_deinit(struct talk *t)
{
    integrated_end(&t->context);
    gss_client_deinit(&t->client);
    buf_deinit(&t->mine);
    buf_deinit(&t->theirs);
}

static void begin(struct talk *t)
{
    integrated_end(&t->context);
    t->context = integrated_begin(t->auth, t->package, t->bindings, t->binding_count);
    assert_non_null(t->context);
}

/* Until one of the two is content or we refuse. */
static enum integrated_result converse(struct talk *t)
{
    begin(t);
    struct span in = {0};
    for (int i = 0; i < 5; i++) {
        if (!t->client.complete && !gss_client_step(&t->client, in, &t->mine))
            return t->result = INTEGRATED_REFUSED;
        t->result = integrated_step(t->context, buf_span(&t->mine), &t->theirs, t->reason);
        in = buf_span(&t->theirs);
        if (t->result != INTEGRATED_CONTINUE)
            break;
    }
    if (t->result == INTEGRATED_DONE && in.n > 0)
        assert_true(gss_client_step(&t->client, in, &t->mine));
    return t->result;
}

static enum integrated_result log_in(struct integrated_auth *a, const char *cache,
                                     const char *service, bool spnego,
                                     char reason[INTEGRATED_REASON_MAX])
{
    struct talk t;
    talk_init(&t, a, cache, service, spnego);
    enum integrated_result result = converse(&t);
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s", t.reason);
    talk_deinit(&t);
    return result;
}

static void a_ticket_tells_who_it_is_and_protects_both_ways(void **state)
{
    (void)state;
    static const char *const services[] = {"smtp", "SMTPSVC"};
    struct integrated_auth *a = open_with(kdc.keytab);
    assert_true(integrated_auth_ready(a, INTEGRATED_KERBEROS)->ready);
    assert_true(integrated_auth_ready(a, INTEGRATED_SPNEGO_KERBEROS)->ready);
    assert_string_equal(integrated_auth_ready(a, INTEGRATED_KERBEROS)->warning, "");
    for (unsigned i = 0; i < 8; i++) {
        struct talk t;
        talk_init(&t, a, caches[i / 4], services[i % 2], (i & 2) != 0);
        assert_int_equal(converse(&t), INTEGRATED_DONE);
        assert_true(t.client.complete);
        assert_string_equal(integrated_domain(t.context), KDC_REALM);
        assert_string_equal(integrated_account(t.context), i / 4 ? "bob" : "alice");
        assert_true(integrated_can_wrap(t.context));
        assert_true(integrated_wrap(t.context, span_str("ours"), &t.theirs));
        assert_true(gss_client_unwrap(&t.client, buf_span(&t.theirs), &t.mine));
        assert_true(span_is(buf_span(&t.mine), "ours"));
        gss_client_wrap(&t.client, span_str("theirs"), &t.mine);
        assert_true(integrated_unwrap(t.context, buf_span(&t.mine), &t.theirs));
        assert_true(span_is(buf_span(&t.theirs), "theirs"));
        t.mine.p[t.mine.start + t.mine.n - 1] ^= 1;
        assert_false(integrated_unwrap(t.context, buf_span(&t.mine), &t.theirs));
        talk_deinit(&t);
    }
    integrated_auth_close(&a);
}

static void guests_nobody_and_tickets_for_others_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *account, *service, *why;
        enum integrated_result result;
    } cases[] = {
        {"guest", "smtp", "guest", INTEGRATED_GUEST},
        {"WELLKNOWN/NOBODY", "smtp", "anonymous", INTEGRATED_GUEST},
        {"alice", "host", "for another service", INTEGRATED_REFUSED},
    };
    struct integrated_auth *a = open_with(kdc.keytab);
    for (size_t i = 0; i < 6; i++) {
        char reason[INTEGRATED_REASON_MAX];
        kdc_login(cases[i / 2].account, "MEMORY:who");
        assert_int_equal(log_in(a, "MEMORY:who", cases[i / 2].service, i % 2 == 1, reason),
                         cases[i / 2].result);
        assert_non_null(strstr(reason, cases[i / 2].why));
    }
    integrated_auth_close(&a);
}

static void a_keytab_proves_itself_or_says_what_to_do(void **state)
{
    (void)state;
    char nothing[128];
    (void)snprintf(nothing, sizeof nothing, "%s/nothing", kdc.folder);
    const struct {
        const char *keytab;
        bool ready;
        const char *says;
    } cases[] = {
        {kdc.keytab, true, ""},
        {kdc.smtp_keytab, true, "no key for SMTPSVC/"},
        {kdc.host_keytab, false, "holds no key for smtp/ or SMTPSVC/"},
        {nothing, false, "not found"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct integrated_auth *a = open_with(cases[i].keytab);
        const struct integrated_readiness *r = integrated_auth_ready(a, INTEGRATED_KERBEROS);
        assert_int_equal(r->ready, cases[i].ready);
        assert_non_null(strstr(r->ready ? r->warning : r->reason, cases[i].says));
        assert_int_equal(r->cure[0] == 0, r->ready);
        /* and there is no NTLM without a program for it */
        assert_false(integrated_auth_ready(a, INTEGRATED_NTLM)->ready);
        assert_false(integrated_auth_ready(a, INTEGRATED_SPNEGO_NTLM)->ready);
        assert_null(integrated_begin(a, INTEGRATED_NTLM, NULL, 0));
        integrated_auth_close(&a);
    }
}

static void a_token_is_good_once(void **state)
{
    (void)state;
    struct integrated_auth *a = open_with(kdc.keytab);
    static const char *const bound[] = {"", "tls-server-end-point:one", "tls-exporter:two"};
    for (size_t i = 0; i < 6; i++) {
        struct talk t;
        talk_init(&t, a, caches[0], "smtp", i % 2 == 1);
        t.bindings[0] = span_str(bound[1]);
        t.bindings[1] = span_str(bound[2]);
        t.binding_count = 2;
        t.client.binding = span_str(bound[i / 2]);
        assert_true(gss_client_step(&t.client, (struct span){0}, &t.mine));
        begin(&t);
        assert_int_equal(integrated_step(t.context, buf_span(&t.mine), &t.theirs, t.reason),
                         INTEGRATED_DONE);
        begin(&t);
        assert_int_equal(integrated_step(t.context, buf_span(&t.mine), &t.theirs, t.reason),
                         INTEGRATED_REFUSED);
        assert_non_null(strstr(t.reason, "replay"));
        talk_deinit(&t);
    }
    integrated_auth_close(&a);
}

static void a_client_binds_to_this_channel_or_to_none(void **state)
{
    (void)state;
    static const char one[] = "tls-server-end-point:0123456789", two[] = "tls-exporter:abcdef";
    static const struct {
        const char *client;
        size_t ours;
        enum integrated_result result;
    } cases[] = {
        {"", 2, INTEGRATED_DONE},
        {one, 2, INTEGRATED_DONE},
        {two, 2, INTEGRATED_DONE},
        {"other", 2, INTEGRATED_REFUSED},
        {one, 1, INTEGRATED_DONE},
        {two, 1, INTEGRATED_REFUSED},
        {one, 0, INTEGRATED_DONE}, /* no TLS: there is nothing to compare with */
        {"tls-exporter:abcdeg", 2, INTEGRATED_REFUSED},
    };
    struct integrated_auth *a = open_with(kdc.keytab);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct talk t;
        talk_init(&t, a, caches[0], "smtp", i % 2 == 1);
        t.bindings[0] = span_str(one);
        t.bindings[1] = span_str(two);
        t.binding_count = cases[i / 2].ours;
        t.client.binding = span_str(cases[i / 2].client);
        assert_int_equal(converse(&t), cases[i / 2].result);
        if (t.result == INTEGRATED_REFUSED)
            assert_non_null(strstr(t.reason, "channel binding"));
        talk_deinit(&t);
    }
    integrated_auth_close(&a);
}

/* Whatever happens to the bytes of a token: it names nobody else, and cut short it names nobody.
 * The replay cache is off, so that each change comes as far as it can. */
static void damaged_tokens_prove_nothing(void **state)
{
    (void)state;
    assert_int_equal(setenv("KRB5RCACHENAME", "none:", 1), 0);
    struct integrated_auth *a = open_with(kdc.keytab);
    for (unsigned spnego = 0; spnego < 2; spnego++) {
        struct talk t;
        talk_init(&t, a, caches[0], "smtp", spnego == 1);
        assert_true(gss_client_step(&t.client, (struct span){0}, &t.mine));
        struct span token = buf_span(&t.mine);
        uint8_t *copy = malloc(token.n);
        assert_non_null(copy);
        unsigned refused = 0;
        for (size_t i = 0; i < token.n; i++) {
            memcpy(copy, token.p, token.n);
            copy[i] ^= (uint8_t)(1u << (i % 8));
            begin(&t);
            t.result = integrated_step(t.context, span_of(copy, token.n), &t.theirs, t.reason);
            refused += t.result != INTEGRATED_DONE;
            if (t.result != INTEGRATED_DONE)
                continue;
            assert_string_equal(integrated_account(t.context), "alice");
            assert_string_equal(integrated_domain(t.context), KDC_REALM);
        }
        assert_true(refused > token.n * 3 / 4);
        for (size_t n = 0; n < token.n; n += 1 + n / 64) {
            uint8_t *cut = malloc(n == 0 ? 1 : n); /* of its very length, for ASan */
            assert_non_null(cut);
            memcpy(cut, token.p, n);
            begin(&t);
            assert_int_not_equal(integrated_step(t.context, span_of(cut, n), &t.theirs, t.reason),
                                 INTEGRATED_DONE);
            free(cut);
        }
        free(copy);
        talk_deinit(&t);
    }
    integrated_auth_close(&a);
    assert_int_equal(unsetenv("KRB5RCACHENAME"), 0);
}

static void a_new_key_is_used_at_once_and_the_old_one_while_it_is_there(void **state)
{
    (void)state;
    char keytab[128], command[300], reason[INTEGRATED_REASON_MAX];
    (void)snprintf(keytab, sizeof keytab, "%s/changing.keytab", kdc.folder);
    (void)snprintf(command, sizeof command, "cp %s %s", kdc.smtp_keytab, keytab);
    kdc_run(command);
    struct integrated_auth *a = open_with(keytab);
    kdc_login("alice", "MEMORY:old");
    assert_int_equal(log_in(a, "MEMORY:old", "smtp", false, reason), INTEGRATED_DONE);
    /* Another key of the next version at the KDC, and here not yet. */
    kdc_admin(&kdc, "cpw -randkey -keepold smtp/relay.example\n");
    kdc_login("alice", "MEMORY:new");
    assert_int_equal(log_in(a, "MEMORY:old", "smtp", false, reason), INTEGRATED_DONE);
    assert_int_equal(log_in(a, "MEMORY:new", "smtp", false, reason), INTEGRATED_UNAVAILABLE);
    assert_int_equal(log_in(a, "MEMORY:new", "smtp", true, reason), INTEGRATED_UNAVAILABLE);
    /* Both keys; nobody is told. */
    kdc_export(&kdc, keytab, "smtp");
    assert_int_equal(log_in(a, "MEMORY:old", "smtp", false, reason), INTEGRATED_DONE);
    assert_int_equal(log_in(a, "MEMORY:new", "smtp", true, reason), INTEGRATED_DONE);
    /* The new one alone. */
    assert_int_equal(unlink(keytab), 0);
    assert_int_not_equal(log_in(a, "MEMORY:new", "smtp", false, reason), INTEGRATED_DONE);
    kdc_admin(&kdc, "purgekeys smtp/relay.example\n");
    kdc_export(&kdc, keytab, "smtp");
    assert_int_equal(log_in(a, "MEMORY:old", "smtp", false, reason), INTEGRATED_UNAVAILABLE);
    assert_int_equal(log_in(a, "MEMORY:new", "smtp", false, reason), INTEGRATED_DONE);
    integrated_auth_close(&a);
    /* For the tests that follow. */
    (void)snprintf(command, sizeof command, "rm %s", kdc.keytab);
    kdc_run(command);
    static const char *const services[] = {"smtp", "SMTPSVC", "host"};
    for (size_t i = 0; i < 3; i++)
        kdc_export(&kdc, kdc.keytab, services[i]);
    kdc_login("alice", caches[0]);
    kdc_login("bob", caches[1]);
}

static void a_keytab_that_goes_is_no_refusal(void **state)
{
    (void)state;
    char keytab[128], command[300], reason[INTEGRATED_REASON_MAX];
    (void)snprintf(keytab, sizeof keytab, "%s/going.keytab", kdc.folder);
    (void)snprintf(command, sizeof command, "cp %s %s", kdc.keytab, keytab);
    kdc_run(command);
    struct integrated_auth *a = open_with(keytab);
    assert_int_equal(log_in(a, caches[0], "smtp", false, reason), INTEGRATED_DONE);
    assert_int_equal(unlink(keytab), 0);
    assert_int_equal(log_in(a, caches[0], "smtp", false, reason), INTEGRATED_UNAVAILABLE);
    assert_int_equal(log_in(a, caches[0], "smtp", true, reason), INTEGRATED_UNAVAILABLE);
    kdc_run(command);
    assert_int_equal(log_in(a, caches[0], "smtp", true, reason), INTEGRATED_DONE);
    integrated_auth_close(&a);
}

static void a_replay_cache_that_cannot_be_written_is_no_refusal(void **state)
{
    (void)state;
    char nowhere[128], reason[INTEGRATED_REASON_MAX];
    (void)snprintf(nowhere, sizeof nowhere, "%s/nowhere", kdc.folder);
    struct integrated_auth *a = open_with(kdc.keytab);
    assert_int_equal(setenv("KRB5RCACHEDIR", nowhere, 1), 0);
    for (int spnego = 0; spnego < 2; spnego++)
        assert_int_equal(log_in(a, caches[0], "smtp", spnego == 1, reason), INTEGRATED_UNAVAILABLE);
    assert_int_equal(setenv("KRB5RCACHEDIR", kdc.folder, 1), 0);
    assert_int_equal(log_in(a, caches[0], "smtp", true, reason), INTEGRATED_DONE);
    integrated_auth_close(&a);
}

enum { THREADS = 4, LOGINS = 25 };

struct lane {
    pthread_t thread;
    struct integrated_auth *auth;
    unsigned index, good;
};

static void *log_in_often(void *argument)
{
    struct lane *l = argument;
    for (unsigned i = 0; i < LOGINS; i++) {
        struct talk t;
        talk_init(&t, l->auth, caches[l->index % 2], i % 3 == 0 ? "SMTPSVC" : "smtp", i % 2 == 1);
        bool ok = converse(&t) == INTEGRATED_DONE &&
                  strcmp(integrated_account(t.context), l->index % 2 ? "bob" : "alice") == 0 &&
                  integrated_wrap(t.context, span_str("layer"), &t.theirs) &&
                  gss_client_unwrap(&t.client, buf_span(&t.theirs), &t.mine) &&
                  span_is(buf_span(&t.mine), "layer");
        l->good += ok;
        talk_deinit(&t);
    }
    return NULL;
}

static void lanes_log_in_at_once_each_its_own_account(void **state)
{
    (void)state;
    struct integrated_auth *a = open_with(kdc.keytab);
    struct lane lanes[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        lanes[i] = (struct lane){.auth = a, .index = i};
        assert_int_equal(pthread_create(&lanes[i].thread, NULL, log_in_often, &lanes[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(lanes[i].thread, NULL), 0);
        assert_int_equal(lanes[i].good, LOGINS);
    }
    integrated_auth_close(&a);
}

static int set_up(void **state)
{
    (void)state;
    kdc_start(&kdc);
    kdc_login("alice", caches[0]);
    kdc_login("bob", caches[1]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kdc_stop(&kdc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_tells_who_it_is_and_protects_both_ways),
        cmocka_unit_test(guests_nobody_and_tickets_for_others_are_refused),
        cmocka_unit_test(a_keytab_proves_itself_or_says_what_to_do),
        cmocka_unit_test(a_token_is_good_once),
        cmocka_unit_test(a_client_binds_to_this_channel_or_to_none),
        cmocka_unit_test(damaged_tokens_prove_nothing),
        cmocka_unit_test(a_new_key_is_used_at_once_and_the_old_one_while_it_is_there),
        cmocka_unit_test(a_keytab_that_goes_is_no_refusal),
        cmocka_unit_test(a_replay_cache_that_cannot_be_written_is_no_refusal),
        cmocka_unit_test(lanes_log_in_at_once_each_its_own_account),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
