/* The arithmetic and the messages of SCRAM, against the RFCs. */
#include "auth/scram.h"
#include "base/base64.h"
#include "support/test.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

static void decode(const char *text, uint8_t *out, size_t n)
{
    struct buf b;
    buf_init(&b, 256);
    assert_true(base64_decode(span_str(text), &b));
    assert_int_equal(buf_span(&b).n, n);
    memcpy(out, buf_span(&b).p, n);
    buf_deinit(&b);
}

/* RFC 7677 section 3: user "user", password "pencil". */
static void the_example_of_rfc_7677_comes_out(void **state)
{
    (void)state;
    static const char message[] =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    struct scram_verifier v = {.iterations = 4096, .salt_n = 16};
    struct err e = {0};
    uint8_t proof[32], want[32], signature[32], client_key[32], stored[32];
    unsigned n = 0;
    decode("W22ZaJ0SNY7soEsUEjb6gQ==", v.salt, 16);
    assert_true(scram_derive(span_str("pencil"), &v, &e));
    decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof, 32);
    decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", want, 32);
    assert_non_null(HMAC(EVP_sha256(), v.stored_key, 32, (const uint8_t *)message, strlen(message),
                         signature, &n));
    for (size_t i = 0; i < 32; i++)
        client_key[i] = (uint8_t)(proof[i] ^ signature[i]);
    assert_int_equal(EVP_Digest(client_key, 32, stored, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(stored, v.stored_key, 32);
    assert_non_null(HMAC(EVP_sha256(), v.server_key, 32, (const uint8_t *)message, strlen(message),
                         signature, &n));
    assert_memory_equal(signature, want, 32);
    char text[SCRAM_TEXT_MAX];
    assert_true(scram_format(&v, text, sizeof text));
    assert_memory_equal(text, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$", 44);
    assert_false(scram_format(&v, text, 60));
}

static void first_messages_are_read_by_the_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        char flag; /* 0 = malformed */
        const char *binding, *gs2, *name;
    } cases[] = {
        {"n,,n=user,r=abc", 'n', "", "n,,", "user"},
        {"y,,n=user,r=abc", 'y', "", "y,,", "user"},
        {"p=tls-exporter,,n=user,r=abc", 'p', "tls-exporter", "p=tls-exporter,,", "user"},
        {"n,a=other,n=user,r=abc", 'n', "", "n,a=other,", "user"},
        {"n,,n=a=2Cb=3Dc,r=abc", 'n', "", "n,,", "a,b=c"},
        {"n,,n=user,r=abc,x=ext", 'n', "", "n,,", "user"},
        {"n,,n=,r=abc", 'n', "", "n,,", ""},
        {"", 0, NULL, NULL, NULL},
        {"n", 0, NULL, NULL, NULL},
        {"n,", 0, NULL, NULL, NULL},
        {"n,,", 0, NULL, NULL, NULL},
        {"n,,n=user", 0, NULL, NULL, NULL},
        {"n,,n=user,", 0, NULL, NULL, NULL},
        {"n,,n=user,r=", 0, NULL, NULL, NULL},
        {"n,,r=abc,n=user", 0, NULL, NULL, NULL},
        {"n,,m=ext,n=user,r=abc", 0, NULL, NULL, NULL},
        {"n,a=,n=user,r=abc", 0, NULL, NULL, NULL},
        {"n,b=x,n=user,r=abc", 0, NULL, NULL, NULL},
        {"p=,,n=user,r=abc", 0, NULL, NULL, NULL},
        {"p,,n=user,r=abc", 0, NULL, NULL, NULL},
        {"nn,,n=user,r=abc", 0, NULL, NULL, NULL},
        {"x,,n=user,r=abc", 0, NULL, NULL, NULL},
        {"N,,n=user,r=abc", 0, NULL, NULL, NULL},
        {"n,,n=us=er,r=abc", 0, NULL, NULL, NULL},
        {"n,,n=user=2,r=abc", 0, NULL, NULL, NULL},
        {"n,,n=user=,r=abc", 0, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scram_first first;
        bool ok = scram_parse_first(span_str(cases[i].message), &first);
        if (ok != (cases[i].flag != 0))
            fail_msg("%s", cases[i].message);
        if (!ok)
            continue;
        assert_int_equal(first.flag, cases[i].flag);
        assert_true(span_is(first.binding_type, cases[i].binding));
        assert_true(span_is(first.gs2_header, cases[i].gs2));
        assert_true(span_is(span_of(first.name, first.name_n), cases[i].name));
    }
    struct scram_first first;
    assert_false(scram_parse_first(span_of("n,,n=us\0er,r=abc", 16), &first));
}

/* Every cut and every single changed byte of a good message is read without reading beyond it. */
static void broken_messages_do_not_hurt(void **state)
{
    (void)state;
    static const char good[] = "p=tls-exporter,a=x,n=us=2Cer,r=fyko+d2lbbFgONRv9qkxdawL";
    static const char final[] = "c=cD10bHMtZXhwb3J0ZXIsLA==,r=abc,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    struct scram_first first;
    struct span channel;
    for (size_t n = 0; n < sizeof good; n++) {
        char *copy = malloc(n + 1); /* exact, so that ASan sees a step too far */
        memcpy(copy, good, n);
        (void)scram_parse_first(span_of(copy, n), &first);
        for (size_t i = 0; i < n; i++)
            for (int byte = 0; byte < 256; byte += 3) {
                char kept = copy[i];
                copy[i] = (char)byte;
                if (scram_parse_first(span_of(copy, n), &first))
                    assert_true(first.name_n < sizeof first.name);
                copy[i] = kept;
            }
        free(copy);
    }
    for (size_t n = 0; n < sizeof final; n++) {
        char *copy = malloc(n + 1);
        memcpy(copy, final, n);
        (void)scram_parse_final(span_of(copy, n), &channel);
        free(copy);
    }
    assert_true(scram_parse_final(span_str(final), &channel));
    assert_true(span_is(channel, "cD10bHMtZXhwb3J0ZXIsLA=="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_rfc_7677_comes_out),
        cmocka_unit_test(first_messages_are_read_by_the_grammar),
        cmocka_unit_test(broken_messages_do_not_hurt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
