/* Sample files with the exact messages they must give: tests/config/bad/NAME.yaml and NAME.expected
 * (one message a line, without the folder). POSTERN_WRITE_EXPECTED=1 writes them anew; look at the
 * difference before it is committed. */
#include "policy/policy.h"

#include "support/test.h"

static const struct netaddr self[1] = {{{0}}};
static const char *const machine_names[] = {"relay.example.net"};
static const struct policy_machine machine = {self, 1, "relay.example.net", machine_names, 1};

static const char *const bad[] = {"values",   "keys",        "entries",  "open_flow", "tab",
                                  "anchor",   "alias",       "tag",      "second",    "top_list",
                                  "top_text", "with_nul",    "not_utf8", "list_key",  "deep",
                                  "ciphers",  "certificates"};

/* All messages, a line each, with the folder taken off. */
static void print_messages(const struct config_messages *m, struct buf *out)
{
    static const char folder[] = TESTS_DIR "/config/";
    for (size_t i = 0; i < m->count; i++) {
        struct buf line;
        buf_init(&line, 64 * 1024);
        assert_true(config_message_format(&m->items[i], &line));
        const char *text = buf_cstr(&line), *at;
        while ((at = strstr(text, folder)) != NULL) {
            buf_add(out, span_of(text, (size_t)(at - text)));
            text = at + strlen(folder);
            text = strchr(text, '/') != NULL ? strchr(text, '/') + 1 : text;
        }
        buf_add_str(out, text);
        buf_add_str(out, "\n");
        buf_deinit(&line);
    }
}

static void compare(const char *name, const char *got)
{
    char path[512];
    static char expected[64 * 1024];
    (void)snprintf(path, sizeof path, TESTS_DIR "/config/%s.expected", name);
    if (getenv("POSTERN_WRITE_EXPECTED") != NULL) {
        FILE *to = fopen(path, "wb");
        assert_non_null(to);
        fputs(got, to);
        fclose(to);
    }
    FILE *from = fopen(path, "rb");
    assert_non_null(from);
    size_t n = fread(expected, 1, sizeof expected - 1, from);
    expected[n] = '\0';
    fclose(from);
    assert_string_equal(got, expected);
}

static enum config_result load(const char *name, struct policy **p, struct config_messages *m)
{
    char path[512];
    (void)snprintf(path, sizeof path, TESTS_DIR "/config/%s.yaml", name);
    config_messages_init(m);
    return policy_load_for(path, &machine, p, m);
}

static void bad_files_give_exactly_these_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config_messages m;
        struct policy *p;
        struct buf out;
        char name[64];
        (void)snprintf(name, sizeof name, "bad/%s", bad[i]);
        buf_init(&out, 64 * 1024);
        assert_int_equal(load(name, &p, &m), CONFIG_INVALID);
        assert_null(p);
        assert_true(m.errors > 0);
        print_messages(&m, &out);
        compare(name, buf_cstr(&out));
        buf_deinit(&out);
        config_messages_deinit(&m);
    }
}

/* On a system that has none it is an error, on the other each wrong name is. */
static void a_certificate_store_is_there_on_one_system_only(void **state)
{
    (void)state;
    struct config_messages m;
    struct policy *p;
    struct buf out;
    buf_init(&out, 64 * 1024);
    assert_int_equal(load("bad/store", &p, &m), CONFIG_INVALID);
    print_messages(&m, &out);
    compare(cert_store_system() == NULL ? "bad/store_absent" : "bad/store_present", buf_cstr(&out));
    buf_deinit(&out);
    config_messages_deinit(&m);
}

static void the_full_example_gives_warnings_only(void **state)
{
    (void)state;
    struct config_messages m;
    struct policy *p;
    struct buf out;
    buf_init(&out, 64 * 1024);
    assert_int_equal(load("good/full", &p, &m), CONFIG_OK);
    assert_int_equal(m.errors, 0);
    assert_true(m.warnings > 0);
    print_messages(&m, &out);
    compare("good/full", buf_cstr(&out));
    assert_true(acl_uses_names(p->acl));
    assert_int_equal(p->listener_count, 2);
    assert_true(p->listeners[0].anonymous && !p->listeners[1].anonymous);
    assert_true(p->listeners[0].starttls);
    assert_non_null(p->tls);
    assert_string_equal(p->tls->main.key, "/etc/postern/key.pem");
    assert_int_equal(p->auth.domain_count, 5);
    assert_string_equal(p->auth.userdb_path, "/var/lib/postern/users.db");
    assert_int_equal(p->schedule.retry_count, 4);
    assert_true(p->schedule.retry_ms[3] == 240 * 60 * 1000);
    policy_unref(&p);
    assert_null(p);
    config_messages_deinit(&m);
    buf_deinit(&out);
}

static void a_missing_file_is_told_apart(void **state)
{
    (void)state;
    struct config_messages m;
    struct policy *p;
    assert_int_equal(load("good/there_is_none", &p, &m), CONFIG_MISSING);
    assert_null(p);
    assert_int_equal(m.errors, 1);
    config_messages_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_give_exactly_these_messages),
        cmocka_unit_test(a_certificate_store_is_there_on_one_system_only),
        cmocka_unit_test(the_full_example_gives_warnings_only),
        cmocka_unit_test(a_missing_file_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
