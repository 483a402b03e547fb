/* Whom an NTLM login is about: the names in its last message, raw and in SPNEGO, and what is none.
 */
#include "auth/gss_token.h"
#include "auth/ntlm_name.h"

#include "support/test.h"

enum { HEAD = 72 };

/* An AUTHENTICATE_MESSAGE with these two names, as bytes, behind its head. */
static struct span message_of(uint8_t *out, struct span domain, struct span user, bool unicode)
{
    memset(out, 0, HEAD);
    memcpy(out, "NTLMSSP\0\3", 9);
    const struct {
        size_t at;
        struct span text;
    } fields[] = {{28, domain}, {36, user}};
    size_t n = HEAD;
    for (size_t i = 0; i < 2; i++) {
        out[fields[i].at] = out[fields[i].at + 2] = (uint8_t)fields[i].text.n;
        out[fields[i].at + 1] = out[fields[i].at + 3] = (uint8_t)(fields[i].text.n >> 8);
        out[fields[i].at + 4] = (uint8_t)n;
        out[fields[i].at + 5] = (uint8_t)(n >> 8);
        memcpy(out + n, fields[i].text.p, fields[i].text.n);
        n += fields[i].text.n;
    }
    out[60] = unicode ? 1 : 0;
    return span_of(out, n);
}

static struct span utf16(const char *ascii, uint8_t *out)
{
    size_t n = strlen(ascii);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = (uint8_t)ascii[i];
        out[2 * i + 1] = 0;
    }
    return span_of(out, 2 * n);
}

static void names_are_read_in_both_encodings(void **state)
{
    (void)state;
    uint8_t bytes[600], domain[64], user[64];
    struct ntlm_name n;
    assert_true(
        ntlm_name_look(message_of(bytes, utf16("CORP", domain), utf16("alice", user), true), &n));
    assert_string_equal(n.domain, "CORP");
    assert_string_equal(n.account, "alice");
    assert_true(ntlm_name_look(message_of(bytes, span_str("CORP"), span_str("Alice"), false), &n));
    assert_string_equal(n.account, "Alice");
    assert_true(ntlm_name_look(
        message_of(bytes, span_str(""), utf16("alice@corp.example", user), true), &n));
    assert_string_equal(n.domain, "");
    assert_string_equal(n.account, "alice@corp.example");
    /* j U+00FC r, the euro sign, U+1F511 */
    static const uint8_t letters[] = {'j', 0, 0xfc, 0, 'r', 0, 0xac, 0x20, 0x3d, 0xd8, 0x11, 0xdd};
    assert_true(ntlm_name_look(
        message_of(bytes, utf16("CORP", domain), span_of(letters, sizeof letters), true), &n));
    assert_string_equal(n.account, "j\xc3\xbcr\xe2\x82\xac\xf0\x9f\x94\x91");
}

static void what_cannot_be_a_name_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        size_t n;
        bool unicode;
    } cases[] = {
        {"", 0, true},
        {"a", 1, true},        /* half a letter */
        {"\x3d\xd8", 2, true}, /* half a pair */
        {"\x3d\xd8"
         "a\0",
         4, true},                     /* no second half */
        {"\x11\xdd\x3d\xd8", 4, true}, /* in the wrong order */
        {"a\0\0\0", 4, true},          /* NUL */
        {"a\0\\\0", 4, true},          /* a backslash */
        {"a\0\n\0", 4, true},
        {"a\\b", 3, false},
        {"j\xfcr", 3, false}, /* of an unknown code page */
        {"a\0b", 3, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[600], domain[64];
        struct ntlm_name n;
        struct span d = cases[i].unicode ? utf16("CORP", domain) : span_str("CORP");
        assert_false(ntlm_name_look(
            message_of(bytes, d, span_of(cases[i].user, cases[i].n), cases[i].unicode), &n));
    }
    uint8_t bytes[2000], name[1200];
    struct ntlm_name n;
    memset(name, 'x', sizeof name);
    assert_true(ntlm_name_look(message_of(bytes, span_str("D"), span_of(name, 255), false), &n));
    assert_false(ntlm_name_look(message_of(bytes, span_str("D"), span_of(name, 256), false), &n));
}

/* Each length and offset that points outside, each end, and the other messages. */
static void nothing_is_read_outside_of_the_message(void **state)
{
    (void)state;
    uint8_t bytes[600];
    struct ntlm_name n;
    struct span whole = message_of(bytes, span_str("CORP"), span_str("alice"), false);
    for (size_t cut = 0; cut < whole.n; cut++) {
        uint8_t *exact = malloc(cut == 0 ? 1 : cut);
        assert_non_null(exact);
        memcpy(exact, whole.p, cut);
        assert_false(ntlm_name_look(span_of(exact, cut), &n));
        free(exact);
    }
    static const size_t at[] = {28, 29, 32, 33, 34, 35, 36, 37, 40, 41, 42, 43};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        whole = message_of(bytes, span_str("CORP"), span_str("alice"), false);
        bytes[at[i]] = 0xff;
        assert_false(ntlm_name_look(whole, &n));
    }
    for (unsigned type = 0; type < 256; type++) {
        whole = message_of(bytes, span_str("CORP"), span_str("alice"), false);
        bytes[8] = (uint8_t)type;
        assert_int_equal(ntlm_name_look(whole, &n), type == 3);
    }
}

static void in_spnego_it_stands_in_the_response_token(void **state)
{
    (void)state;
    uint8_t inner[600], token[700];
    struct ntlm_name n;
    struct span m = message_of(inner, span_str("CORP"), span_str("alice"), false);
    assert_true(m.n < 0x80);
    /* negTokenResp [1] { negState [0] accept-incomplete, responseToken [2] } */
    const uint8_t head[] = {
        0xa1, (uint8_t)(m.n + 11), 0x30, (uint8_t)(m.n + 9), 0xa0, 3, 0x0a, 1, 1,
        0xa2, (uint8_t)(m.n + 2),  0x04, (uint8_t)m.n};
    memcpy(token, head, sizeof head);
    memcpy(token + sizeof head, m.p, m.n);
    struct span whole = span_of(token, sizeof head + m.n);
    assert_true(span_equal(gss_token_response(whole), m));
    assert_true(ntlm_name_look(whole, &n));
    assert_string_equal(n.account, "alice");
    for (size_t cut = 0; cut < whole.n; cut++)
        assert_false(ntlm_name_look(span_sub(whole, 0, cut), &n));
    token[9] = 0xa3; /* no response token, but a MIC */
    assert_int_equal(gss_token_response(whole).n, 0);
    assert_false(ntlm_name_look(whole, &n));
    /* what is no SPNEGO is left as it is */
    assert_true(span_equal(gss_token_response(span_str("NTLMSSP")), span_str("NTLMSSP")));
    assert_int_equal(gss_token_response(span_str("")).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_in_both_encodings),
        cmocka_unit_test(what_cannot_be_a_name_is_none),
        cmocka_unit_test(nothing_is_read_outside_of_the_message),
        cmocka_unit_test(in_spnego_it_stands_in_the_response_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
