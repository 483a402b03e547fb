#define _GNU_SOURCE
#include "support/auth_lab.h"

#include "base/base64.h"
#include "support/folder.h"
#include "support/test.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <unistd.h>

static const uint8_t binding_bytes[32] = "0123456789abcdef0123456789abcde";

void auth_lab_must(bool ok, const struct err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

void auth_lab_prepare(struct auth_lab *lab)
{
    static const char *const aliases[] = {"people"};
    struct err e = {0};
    memset(lab, 0, sizeof *lab);
    test_folder("auth", lab->folder, sizeof lab->folder);
    (void)snprintf(lab->db_path, sizeof lab->db_path, "%s/users.db", lab->folder);
    lab->domains[0] = (struct auth_domain){
        .name = "users", .aliases = aliases, .alias_count = 1, .backend = AUTH_BACKEND_USERDB};
    lab->domains[1] = (struct auth_domain){.name = ".", .backend = AUTH_BACKEND_SYSTEM};
    lab->domains[2] = (struct auth_domain){.name = "CORP", .backend = AUTH_BACKEND_SYSTEM};
    lab->options = (struct auth_options){
        .hostname = "relay.example.net",
        .domains = lab->domains,
        .domain_count = 3,
        .mechanisms = AUTH_MECHANISMS_ALL,
        .basic = {.enabled = true, .require_tls = true},
        .scram = {.require_tls = true},
        .userdb_path = lab->db_path,
    };
    lab->peer = (struct auth_peer){
        .client = netaddr_v4((const uint8_t[]){192, 0, 2, 7}),
        .channel = {.tls = true, .channel_binding = true, .mechanisms = AUTH_MECHANISMS_ALL},
        .bindings = {{"tls-exporter", span_of(binding_bytes, sizeof binding_bytes)}},
        .binding_count = 1,
    };
    auth_lab_must(userdb_open(lab->db_path, true, &lab->db, &e), &e);
    static const char *const names[] = {"alice", "app@example.net", "off"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(
            userdb_add(lab->db, names[i], span_str("secret"), AUTH_ITERATIONS_LEAST, &e),
            USERDB_DONE);
    assert_int_equal(userdb_set_disabled(lab->db, "off", true, &e), USERDB_DONE);
}

void auth_lab_open(struct auth_lab *lab)
{
    struct err e = {0};
    auth_lab_must(auth_open(&lab->options, &lab->auth, &e), &e);
}

void auth_lab_close(struct auth_lab *lab)
{
    auth_close(&lab->auth);
    userdb_close(&lab->db);
    DIR *d = opendir(lab->folder);
    for (struct dirent *en; d != NULL && (en = readdir(d)) != NULL;) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", lab->folder, en->d_name);
        (void)unlink(path);
    }
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(lab->folder);
}

static const char *code_of(enum auth_outcome outcome)
{
    switch (outcome) {
    case AUTH_CONTINUE: return "334";
    case AUTH_OK: return "235";
    case AUTH_BAD_CREDENTIALS:
    case AUTH_NO_BACKEND: return "535";
    case AUTH_UNAVAILABLE:
    case AUTH_THROTTLED: return "454";
    case AUTH_SYNTAX: return "501";
    case AUTH_MECHANISM: return "504";
    }
    return "?";
}

static void record(struct auth_lab_result *r, const struct auth_step *step)
{
    size_t n = strlen(r->wire);
    r->steps++;
    r->outcome = step->outcome;
    r->delay_ms = step->delay_ms;
    (void)snprintf(r->identity, sizeof r->identity, "%s", step->identity);
    (void)snprintf(r->reason, sizeof r->reason, "%s", step->reason);
    if (step->outcome == AUTH_CONTINUE)
        (void)snprintf(r->wire + n, sizeof r->wire - n, "%s334:%zu", n == 0 ? "" : " ",
                       step->challenge.n);
    else
        (void)snprintf(r->wire + n, sizeof r->wire - n, "%s%s", n == 0 ? "" : " ",
                       code_of(step->outcome));
}

struct auth_lab_result auth_lab_login_as(struct auth_lab *lab, const struct auth_peer *peer,
                                         const struct auth_client_options *options)
{
    struct auth_lab_result r = {0};
    struct auth_client *c = NULL;
    struct auth_exchange *x = NULL;
    struct auth_step step = {.outcome = AUTH_CONTINUE};
    struct err e = {0};
    const char *mechanism = NULL;
    bool has_input = false;
    struct span in = {0};
    if (!auth_client_new(options, &c, &e) ||
        !auth_client_start(c, &mechanism, &has_input, &in, &e)) {
        r.client_refused = true;
        (void)snprintf(r.client_error, sizeof r.client_error, "%s", e.text);
        auth_client_free(&c);
        return r;
    }
    auth_lab_must(auth_exchange_new(lab->auth, peer, span_str(mechanism), &x, &e), &e);
    for (;;) {
        auth_exchange_step(x, has_input, in, &step);
        record(&r, &step);
        if (step.outcome != AUTH_CONTINUE)
            break;
        has_input = true;
        if (!auth_client_step(c, step.challenge, &in, &e)) {
            r.client_refused = true;
            (void)snprintf(r.client_error, sizeof r.client_error, "%s", e.text);
            break;
        }
    }
    r.client_content = auth_client_finish(c, &e);
    auth_exchange_free(&x);
    auth_client_free(&c);
    return r;
}

struct auth_lab_result auth_lab_login(struct auth_lab *lab, const char *mechanism, const char *user,
                                      const char *password)
{
    struct auth_client_options options = {
        .offered = span_str(mechanism),
        .hostname = "relay.example.net",
        .user = user,
        .password = span_str(password),
        .tls = true,
    };
    if (strcmp(mechanism, "SCRAM-SHA-256-PLUS") == 0)
        options.binding = lab->peer.bindings[0];
    return auth_lab_login_as(lab, &lab->peer, &options);
}

struct auth_lab_result auth_lab_raw(struct auth_lab *lab, const char *mechanism,
                                    const struct span *messages, size_t count)
{
    struct auth_lab_result r = {0};
    struct auth_exchange *x = NULL;
    struct err e = {0};
    auth_lab_must(auth_exchange_new(lab->auth, &lab->peer, span_str(mechanism), &x, &e), &e);
    for (size_t i = 0; i < count; i++) {
        struct auth_step step;
        auth_exchange_step(x, messages[i].p != NULL, messages[i], &step);
        record(&r, &step);
        if (step.outcome != AUTH_CONTINUE)
            break;
    }
    auth_exchange_free(&x);
    return r;
}

struct span auth_lab_plain(char *buffer, const char *authzid, const char *user,
                           const char *password)
{
    int n = sprintf(buffer, "%s%c%s%c%s", authzid, 0, user, 0, password);
    return span_of(buffer, (size_t)n);
}

/* --- the hand-made SCRAM client ----------------------------------------------------------------
 * Straight from RFC 5802 section 3, with OpenSSL and none of our own code but base64. */

static void hmac_of(const uint8_t *key, const char *text, uint8_t out[32])
{
    unsigned n = 0;
    assert_non_null(
        HMAC(EVP_sha256(), key, 32, (const unsigned char *)text, strlen(text), out, &n));
}

static void base64_text(struct span in, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, size - 1);
    assert_true(base64_encode(in, &b));
    assert_true(span_cstr(buf_span(&b), out, size));
    buf_deinit(&b);
}

struct keys {
    uint8_t client[32], stored[32], server[32];
};

static void keys_of(const char *password, const char *salt64, int iterations, struct keys *k)
{
    struct buf salt;
    uint8_t salted[32];
    buf_init(&salt, 256);
    assert_true(base64_decode(span_str(salt64), &salt));
    struct span s = buf_span(&salt);
    assert_int_equal(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), s.p, (int)s.n, iterations,
                                       EVP_sha256(), 32, salted),
                     1);
    hmac_of(salted, "Client Key", k->client);
    assert_int_equal(EVP_Digest(k->client, 32, k->stored, NULL, EVP_sha256(), NULL), 1);
    hmac_of(salted, "Server Key", k->server);
    buf_deinit(&salt);
}

struct auth_lab_result auth_lab_hand_scram(struct auth_lab *lab, const struct auth_peer *peer,
                                           const char *mechanism, struct hand_scram *h)
{
    struct auth_lab_result r = {0};
    struct auth_exchange *x = NULL;
    struct auth_step step;
    struct err e = {0};
    struct keys k;
    char bare[300], first[400], nonce[128], salt[64], channel[256], channel64[400];
    char without_proof[700], message[1600], proof64[64], final[900], want[64];
    uint8_t signature[32], proof[32];
    int iterations = 0;
    (void)snprintf(bare, sizeof bare, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", h->user);
    (void)snprintf(first, sizeof first, "%s%s", h->gs2, bare);
    auth_lab_must(auth_exchange_new(lab->auth, peer, span_str(mechanism), &x, &e), &e);
    auth_exchange_step(x, true, span_str(first), &step);
    record(&r, &step);
    if (step.outcome != AUTH_CONTINUE)
        goto done;
    assert_true(span_cstr(step.challenge, h->server_first, sizeof h->server_first));
    assert_int_equal(sscanf(h->server_first, "r=%127[^,],s=%63[^,],i=%d", nonce, salt, &iterations),
                     3);
    keys_of(h->password, salt, iterations, &k);

    const char *gs2 = h->final_gs2 != NULL ? h->final_gs2 : h->gs2;
    size_t n = strlen(gs2);
    memcpy(channel, gs2, n);
    if (h->binding.n > 0)
        memcpy(channel + n, h->binding.p, h->binding.n);
    base64_text(span_of(channel, n + h->binding.n), channel64, sizeof channel64);
    (void)snprintf(without_proof, sizeof without_proof, "c=%s,r=%s", channel64, nonce);
    (void)snprintf(message, sizeof message, "%s,%s,%s", bare, h->server_first, without_proof);
    hmac_of(k.stored, message, signature);
    for (size_t i = 0; i < 32; i++)
        proof[i] = (uint8_t)(k.client[i] ^ signature[i] ^ (h->break_proof && i == 7 ? 1 : 0));
    base64_text(span_of(proof, 32), proof64, sizeof proof64);
    (void)snprintf(final, sizeof final, "%s,p=%s", without_proof, proof64);
    auth_exchange_step(x, true, span_str(final), &step);
    record(&r, &step);
    if (step.outcome != AUTH_CONTINUE)
        goto done;
    hmac_of(k.server, message, signature);
    base64_text(span_of(signature, 32), want, sizeof want);
    h->server_proved = step.challenge.n == strlen(want) + 2 &&
                       memcmp(step.challenge.p, "v=", 2) == 0 &&
                       memcmp(step.challenge.p + 2, want, strlen(want)) == 0;
    auth_exchange_step(x, true, span_str(""), &step);
    record(&r, &step);
done:
    /* Whatever the end was, a further step must not turn a refusal into a yes. */
    if (r.outcome != AUTH_OK) {
        for (int i = 0; i < 2; i++) {
            auth_exchange_step(x, true, span_str(""), &step);
            assert_int_not_equal(step.outcome, AUTH_OK);
            assert_int_not_equal(step.outcome, AUTH_CONTINUE);
        }
    }
    auth_exchange_free(&x);
    return r;
}
