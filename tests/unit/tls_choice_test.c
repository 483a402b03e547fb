/* Which certificate of a store is meant, as a table; and how people write a thumbprint. */
#include "net/tls_choice.h"

#include "support/test.h"

#define DAY ((int64_t)86400000)
#define NOW (1000 * DAY)

static const uint8_t print_a[THUMBPRINT_BYTES] = {0xa9, 0x09, 0x50, 0x2d, 0xd8, 0x2a, 0xe4,
                                                  0x14, 0x33, 0xe6, 0xf8, 0x38, 0x86, 0xb0,
                                                  0x0d, 0x42, 0x77, 0xa3, 0x2a, 0x7b};

static struct tls_candidate candidate(const char *cn, const char *names, int begins, int ends)
{
    static char subjects[32][128];
    static size_t used;
    char *subject = subjects[used++ % 32];
    (void)snprintf(subject, sizeof subjects[0], "CN=%s,O=Example\\, Inc.,C=DE", cn);
    return (struct tls_candidate){.subject = subject,
                                  .common_name = cn,
                                  .names = names,
                                  .not_before_wall_ms = NOW + begins * DAY,
                                  .not_after_wall_ms = NOW + ends * DAY,
                                  .has_key = true,
                                  .for_servers = true};
}

static void a_subject_is_a_host_name_a_wildcard_or_parts_of_the_full_name(void **state)
{
    (void)state;
    static const struct {
        const char *wanted, *cn, *names;
        bool fits;
    } cases[] = {
        {"relay.example.net", "relay.example.net", "", true},
        {"RELAY.Example.net", "relay.example.net", "", true},
        {" relay.example.net ", "relay.example.net", "", true},
        {"relay.example.net", "something else", "mail.example.net relay.example.net", true},
        {"relay.example.net", "relay.example.net", "mail.example.net", false}, /* RFC 6125 6.4.4 */
        {"relay.example.net", "x", "*.example.net", true},
        {"a.relay.example.net", "x", "*.example.net", false},
        {"example.net", "x", "*.example.net", false},
        {".example.net", "x", "*.example.net", false},
        {"*.example.net", "x", "*.example.net", true},
        {"*.example.net", "x", "relay.example.net", false},
        {"*.example.net", "x", "*.net *.example.net", true},
        {"relay", "relay.example.net", "relay.example.net", false},
        {"relay.example.ne", "relay.example.net", "", false},
        {"elay.example.net", "relay.example.net", "", false},
        {"net", "x", "*.", false},
        {"*", "x", "*", true},
        {"CN=relay.example.net", "relay.example.net", "mail.example.net", true},
        {"cn = relay.example.net", "relay.example.net", "", true},
        {"CN=relay.example.net, C=DE", "relay.example.net", "", true},
        {"C=DE, CN=relay.example.net", "relay.example.net", "", true},
        {"C=DE, O=Example\\, Inc., CN=relay.example.net", "relay.example.net", "", true},
        {"CN=relay.example.net, C=FR", "relay.example.net", "", false},
        {"CN=relay", "relay.example.net", "", false},
        {"O=relay.example.net", "relay.example.net", "", false},
        {"=", "relay.example.net", "", false},
        {"CN=\\", "relay.example.net", "", false},
        {"", "relay.example.net", "", false},
        {" ", "", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_candidate c = candidate(cases[i].cn, cases[i].names, -1, 1);
        struct tls_wanted wanted = {.subject = cases[i].wanted};
        if ((tls_choice_fit(&c, &wanted, NOW) == TLS_FIT) != cases[i].fits)
            fail_msg("\"%s\" and \"%s\" (%s)", cases[i].wanted, cases[i].cn, cases[i].names);
    }
}

static void what_is_wrong_is_told_of_those_that_are_meant(void **state)
{
    (void)state;
    static const struct {
        int begins, ends;
        bool has_key, for_servers;
        enum tls_fit fit;
    } cases[] = {
        {-1, 1, true, true, TLS_FIT},           {-1, 1, false, true, TLS_FIT_NO_KEY},
        {-1, 1, true, false, TLS_FIT_PURPOSE},  {1, 2, true, true, TLS_FIT_NOT_YET},
        {-2, -1, true, true, TLS_FIT_EXPIRED},  {0, 0, true, true, TLS_FIT},
        {-2, -1, false, false, TLS_FIT_NO_KEY},
    };
    const struct tls_wanted wanted = {.subject = "relay.example.net"}, other = {.subject = "x.y"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_candidate c = candidate("relay.example.net", "", cases[i].begins, cases[i].ends);
        c.has_key = cases[i].has_key;
        c.for_servers = cases[i].for_servers;
        assert_int_equal(tls_choice_fit(&c, &wanted, NOW), cases[i].fit);
        assert_int_equal(tls_choice_fit(&c, &other, NOW), TLS_FIT_OTHER);
    }
    for (int f = 0; f < TLS_FITS; f++)
        assert_true(tls_fit_text((enum tls_fit)f)[0] != '\0');
}

static void the_newest_that_fits_comes_first_whatever_the_order_in_the_store(void **state)
{
    (void)state;
    enum { N = 8 };
    struct tls_candidate list[N] = {
        candidate("relay.test", "", -300, 60), candidate("relay.test", "", -10, 80),
        candidate("relay.test", "", -10, 300), candidate("relay.test", "", 1, 400),
        candidate("other.test", "", -1, 500),  candidate("relay.test", "", -400, -30),
        candidate("x", "*.test", -2, 30),      candidate("relay.test", "", -1, 100),
    };
    const struct tls_wanted wanted = {.subject = "relay.test"};
    static const int expected[] = {-2, -10, -10, -300};
    list[7].has_key = false;
    for (size_t turn = 0; turn < N; turn++) { /* every rotation */
        struct tls_candidate turned[N];
        size_t order[N];
        for (size_t i = 0; i < N; i++)
            turned[i] = list[(i + turn) % N];
        size_t n = tls_choice_order(turned, N, &wanted, NOW, order);
        assert_int_equal(n, 4);
        for (size_t i = 0; i < n; i++)
            assert_true(turned[order[i]].not_before_wall_ms == NOW + expected[i] * DAY);
        assert_true(turned[order[1]].not_after_wall_ms == NOW + 300 * DAY);
        assert_true(turned[order[2]].not_after_wall_ms == NOW + 80 * DAY);
    }
    size_t none[N];
    assert_int_equal(tls_choice_order(list, 0, &wanted, NOW, none), 0);
    assert_int_equal(tls_choice_order(list, N, &wanted, NOW + 1000 * DAY, none), 0);
}

static void twins_come_in_one_order_always(void **state)
{
    (void)state;
    struct tls_candidate two[2] = {candidate("relay.test", "", -1, 9),
                                   candidate("relay.test", "", -1, 9)};
    two[0].thumbprint[0] = 7;
    size_t order[2];
    const struct tls_wanted wanted = {.subject = "relay.test"};
    assert_int_equal(tls_choice_order(two, 2, &wanted, NOW, order), 2);
    assert_int_equal(order[0], 1);
    two[0].thumbprint[0] = 0;
    two[1].thumbprint[0] = 7;
    assert_int_equal(tls_choice_order(two, 2, &wanted, NOW, order), 2);
    assert_int_equal(order[0], 0);
}

static void a_thumbprint_names_one_certificate_whatever_its_name(void **state)
{
    (void)state;
    struct tls_candidate c = candidate("x", "", -1, 1), expired = candidate("x", "", -2, -1);
    struct tls_wanted wanted = {.subject = NULL};
    memcpy(wanted.thumbprint, print_a, sizeof print_a);
    assert_int_equal(tls_choice_fit(&c, &wanted, NOW), TLS_FIT_OTHER);
    memcpy(c.thumbprint, print_a, sizeof print_a);
    memcpy(expired.thumbprint, print_a, sizeof print_a);
    assert_int_equal(tls_choice_fit(&c, &wanted, NOW), TLS_FIT);
    assert_int_equal(tls_choice_fit(&expired, &wanted, NOW), TLS_FIT_EXPIRED);
}

static void a_thumbprint_is_read_as_the_dialogs_of_windows_give_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool known;
    } cases[] = {
        {"a909502dd82ae41433e6f83886b00d4277a32a7b", true},
        {"A909502DD82AE41433E6F83886B00D4277A32A7B", true},
        {"a9 09 50 2d d8 2a e4 14 33 e6 f8 38 86 b0 0d 42 77 a3 2a 7b", true},
        /* the invisible U+200E that the certificate dialog puts in front */
        {"\xe2\x80\x8e"
         "a9 09 50 2d d8 2a e4 14 33 e6 f8 38 86 b0 0d 42 77 a3 2a 7b",
         true},
        {"a9:09:50:2d:d8:2a:e4:14:33:e6:f8:38:86:b0:0d:42:77:a3:2a:7b", true},
        {"A9-09-50-2D-D8-2A-E4-14-33-E6-F8-38-86-B0-0D-42-77-A3-2A-7B\xc2\xa0", true},
        {"\xef\xbb\xbf"
         "a909502dd82ae41433e6f83886b00d4277a32a7b\xe2\x80\xac",
         true},
        {"a909502dd82ae41433e6f83886b00d4277a32a7", false},
        {"a909502dd82ae41433e6f83886b00d4277a32a7b0", false},
        {"g909502dd82ae41433e6f83886b00d4277a32a7b", false},
        {"\xe2\x80"
         "a909502dd82ae41433e6f83886b00d4277a32a7b",
         false},
        {"", false},
        {"\xe2\x80\x8e", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[THUMBPRINT_BYTES];
        if (thumbprint_parse(cases[i].text, out) != cases[i].known)
            fail_msg("\"%s\"", cases[i].text);
        if (cases[i].known)
            assert_memory_equal(out, print_a, sizeof print_a);
    }
    char text[THUMBPRINT_TEXT_MAX];
    thumbprint_format(print_a, text);
    assert_string_equal(text, "A909502DD82AE41433E6F83886B00D4277A32A7B");
}

static void a_store_has_a_place_and_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool known, machine;
        const char *name;
    } cases[] = {
        {"LocalMachine/My", true, true, "My"},
        {"localmachine\\my", true, true, "my"},
        {"CurrentUser/My", true, false, "My"},
        {"LocalMachine/Web Hosting", true, true, "Web Hosting"},
        {"LocalMachine/", false, false, ""},
        {"LocalMachine", false, false, ""},
        {"LocalMachineMy", false, false, ""},
        {"LocalMachine/My/Other", false, false, ""},
        {"LocalMachine/..\\My", false, false, ""},
        {"My", false, false, ""},
        {"", false, false, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool machine = false;
        struct span name = {NULL, 0};
        if (cert_store_name(cases[i].text, &machine, &name) != cases[i].known)
            fail_msg("\"%s\"", cases[i].text);
        if (cases[i].known)
            assert_true(machine == cases[i].machine && span_is(name, cases[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subject_is_a_host_name_a_wildcard_or_parts_of_the_full_name),
        cmocka_unit_test(what_is_wrong_is_told_of_those_that_are_meant),
        cmocka_unit_test(the_newest_that_fits_comes_first_whatever_the_order_in_the_store),
        cmocka_unit_test(twins_come_in_one_order_always),
        cmocka_unit_test(a_thumbprint_names_one_certificate_whatever_its_name),
        cmocka_unit_test(a_thumbprint_is_read_as_the_dialogs_of_windows_give_it),
        cmocka_unit_test(a_store_has_a_place_and_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
