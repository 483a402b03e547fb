/* Envelope addresses, verbs, xtext, hello names. */
#include "smtp/grammar.h"

#include "support/test.h"

static void addresses_without_brackets(void **state)
{
    (void)state;
    struct smtp_path p;
    assert_int_equal(smtp_path_parse_address(span_str("Joe.\"x"), &p), SMTP_PATH_SYNTAX);
    assert_int_equal(smtp_path_parse_address(span_str("Joe@B.Example"), &p), SMTP_PATH_OK);
    assert_string_equal(p.address, "Joe@B.Example");
    assert_string_equal(p.local, "Joe");
    assert_string_equal(p.domain, "b.example");
    assert_int_equal(p.local_n, 3);
    assert_int_equal(p.domain_n, 9);
    assert_false(p.null || p.bare_postmaster || p.literal || p.utf8 || p.quoted);
    assert_int_equal(smtp_path_parse_address(span_str(""), &p), SMTP_PATH_EMPTY);
    assert_int_equal(smtp_path_parse_address(span_str("<a@b>"), &p), SMTP_PATH_SYNTAX);
    assert_int_equal(smtp_path_parse_address(span_str("joe"), &p), SMTP_PATH_BARE);
    assert_int_equal(smtp_path_parse_address(span_str("POSTMASTER"), &p), SMTP_PATH_OK);
    assert_true(p.bare_postmaster);
    assert_string_equal(p.address, "postmaster");
    assert_int_equal(p.domain_n, 0);
    assert_int_equal(smtp_path_parse_address(span_str("a@b c"), &p), SMTP_PATH_DOMAIN);
    assert_int_equal(p.local_n, 0); /* nothing of a refused one is left */
}

static void quoting_is_kept_onward_and_undone_for_judging(void **state)
{
    (void)state;
    struct smtp_path p;
    size_t used;
    struct span text = span_str("<\"v\\@w\\\"> \"@V.example> SIZE=3");
    assert_int_equal(smtp_path_parse(text, &p, &used), SMTP_PATH_OK);
    assert_int_equal(text.p[used], ' ');
    assert_string_equal(p.address, "\"v\\@w\\\"> \"@V.example");
    assert_string_equal(p.local, "v@w\"> ");
    assert_true(p.quoted && smtp_path_has_routing(&p));
}

static void names_that_could_route_further_are_seen(void **state)
{
    (void)state;
    static const char *const routing[] = {"v%w@l.example", "w!v@l.example", "\"v@w\"@l.example",
                                          "\"v\\@w\"@l.example", "\"a:b\"@l.example"};
    static const char *const plain[] = {"v@l.example", "a+b=c@l.example", "v\\@l"};
    struct smtp_path p;
    for (size_t i = 0; i < sizeof routing / sizeof *routing; i++) {
        assert_int_equal(smtp_path_parse_address(span_str(routing[i]), &p), SMTP_PATH_OK);
        assert_true(smtp_path_has_routing(&p));
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(smtp_path_parse_address(span_str(plain[i]), &p), SMTP_PATH_OK);
        assert_false(smtp_path_has_routing(&p));
    }
    assert_int_equal(smtp_path_parse_address(span_str(plain[2]), &p), SMTP_PATH_SYNTAX);
}

static void the_longest_addresses_fit(void **state)
{
    (void)state;
    char text[SMTP_PATH_MAX + 2];
    struct smtp_path p;
    memset(text, 'a', sizeof text);
    text[252] = '@';
    assert_int_equal(smtp_path_parse_address(span_of(text, 254), &p), SMTP_PATH_OK);
    assert_int_equal(p.local_n, 252);
    assert_int_equal(smtp_path_parse_address(span_of(text, 255), &p), SMTP_PATH_LONG);
    text[252] = 'a';
    assert_int_equal(smtp_path_parse_address(span_of(text, 254), &p), SMTP_PATH_BARE);
    text[0] = '"';
    text[253] = '"';
    assert_int_equal(smtp_path_parse_address(span_of(text, 254), &p), SMTP_PATH_BARE);
    text[1] = '@';
    text[0] = 'x';
    for (size_t i = 2; i < 254; i++)
        text[i] = i % 4 == 0 ? '.' : 'd';
    assert_int_equal(smtp_path_parse_address(span_of(text, 254), &p), SMTP_PATH_OK);
    assert_int_equal(p.domain_n, 252);
}

static void utf8_is_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf"};
    static const char *const bad[] = {
        "\x80",         "\xc3",         "\xc0\xaf",         "\xc1\xbf",
        "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xe2\x82",     "\xff",         "a\xc3(",           "\xf0\x80\x80\xaf"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(smtp_utf8_valid(span_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(smtp_utf8_valid(span_str(bad[i])));
}

static void xtext_hides_no_control_characters(void **state)
{
    (void)state;
    assert_true(smtp_xtext_valid(span_str("a+2Bb+20"), false));
    static const char *const bad[] = {"+",   "+2",  "+2b",      "+0A",  "+00", "+7F",
                                      "a b", "a=b", "\xc3\xa9", "\x7f", "+1F"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(smtp_xtext_valid(span_str(bad[i]), false));
    assert_true(smtp_xtext_valid(span_str("\xc3\xa9"), true));
    assert_false(smtp_xtext_valid(span_str("\xc3"), true));
}

static void hello_names_are_made_fit_for_a_header(void **state)
{
    (void)state;
    char out[SMTP_PATH_MAX], longer[1000];
    bool odd;
    smtp_hello_name(span_str("mail.example"), out, &odd);
    assert_string_equal(out, "mail.example");
    assert_false(odd);
    smtp_hello_name(span_str("a\r\nX: y (\"z\")"), out, &odd);
    assert_string_equal(out, "a??X:?y???z??");
    assert_true(odd);
    memset(longer, 'x', sizeof longer);
    for (size_t n = 240; n < sizeof longer; n++) {
        smtp_hello_name(span_of(longer, n), out, &odd);
        assert_true(odd && strlen(out) < sizeof out);
    }
}

static void bdat_sizes(void **state)
{
    (void)state;
    uint64_t n;
    bool last;
    assert_true(smtp_bdat_parse(span_str("9223372036854775807 LAST"), &n, &last));
    assert_true(n == INT64_MAX && last);
    assert_true(smtp_bdat_parse(span_str("0"), &n, &last));
    assert_true(n == 0 && !last);
    static const char *const bad[] = {"",
                                      "LAST",
                                      "-1",
                                      "+1",
                                      "0x1",
                                      "1e3",
                                      "9223372036854775808",
                                      "18446744073709551616",
                                      "1 LAST x",
                                      "1 LASTX",
                                      "1 FIRST",
                                      "1,LAST",
                                      "1\tLAST",
                                      "99999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (smtp_bdat_parse(span_str(bad[i]), &n, &last))
            fail_msg("BDAT %s was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_without_brackets),
        cmocka_unit_test(quoting_is_kept_onward_and_undone_for_judging),
        cmocka_unit_test(names_that_could_route_further_are_seen),
        cmocka_unit_test(the_longest_addresses_fit),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(xtext_hides_no_control_characters),
        cmocka_unit_test(hello_names_are_made_fit_for_a_header),
        cmocka_unit_test(bdat_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
