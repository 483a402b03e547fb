/* Single values, positions, defaults, and the reference that is made from the table. */
#include "config/schema.h"
#include "config/value.h"
#include "config/yaml.h"
#include "platform/paths.h"

#include "support/test.h"

static const char *parse_error; /* the first message of the last parse that failed */
static char message[2048];

static struct config *parse(const char *text)
{
    struct config_messages m;
    struct config *c = NULL;
    config_messages_init(&m);
    enum config_result result = config_parse("t.yaml", span_str(text), &c, &m);
    parse_error = "";
    if (result != CONFIG_OK) {
        struct buf out;
        buf_init(&out, sizeof message);
        for (size_t i = 0; i < m.count && parse_error[0] == '\0'; i++)
            if (m.items[i].severity == CONFIG_ERROR && config_message_format(&m.items[i], &out)) {
                (void)snprintf(message, sizeof message, "%s", buf_cstr(&out));
                parse_error = message;
            }
        buf_deinit(&out);
        config_free(&c);
    }
    config_messages_deinit(&m);
    return c;
}

static void durations_want_a_unit(void **state)
{
    (void)state;
    uint64_t ms = 7;
    assert_true(value_duration("500ms", &ms) && ms == 500);
    assert_true(value_duration("10s", &ms) && ms == 10000);
    assert_true(value_duration("15m", &ms) && ms == 900000);
    assert_true(value_duration("12h", &ms) && ms == 43200000);
    assert_true(value_duration("2d", &ms) && ms == 172800000);
    assert_true(value_duration("0", &ms) && ms == 0);
    static const char *const bad[] = {"",    "10", "s",    "1.5s", "-1s",  "10 s",
                                      "10S", "1w", "10sm", "+1s",  "0x1s", "213503982335d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(value_duration(bad[i], &ms));
}

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(value_size("500", &n) && n == 500);
    assert_true(value_size("64K", &n) && n == 65536);
    assert_true(value_size("25M", &n) && n == 25 * 1024 * 1024);
    assert_true(value_size("1G", &n) && n == 1024 * 1024 * 1024);
    static const char *const bad[] = {"", "M", "25MB", "25m", "1.5M", "-1", "17179869184G", "1T"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(value_size(bad[i], &n));
}

static void endpoints_and_hops_are_read_with_their_ports(void **state)
{
    (void)state;
    struct arena a;
    struct config_endpoint e;
    struct config_hop h;
    arena_init(&a, 64 * 1024);
    assert_true(value_endpoint(&a, "0.0.0.0:25", 0, &e) && e.port == 25);
    assert_true(value_endpoint(&a, "[::]:587", 0, &e) && e.port == 587);
    assert_true(value_endpoint(&a, "fd00::53", 53, &e) && e.port == 53);
    assert_true(value_endpoint(&a, "[fd00::53]:5353", 53, &e) && e.port == 5353);
    assert_true(value_endpoint(&a, "10.0.0.53:5353", 53, &e) && e.port == 5353);
    static const char *const bad_endpoints[] = {
        "",       "0.0.0.0", "0.0.0.0:",     "1.2.3.4:0", "1.2.3.4:65536", "[1.2.3.4]:25",
        "::1:25", "[::1]25", "localhost:25", ":25",       "[::1",          "*:25"};
    for (size_t i = 0; i < sizeof bad_endpoints / sizeof *bad_endpoints; i++)
        assert_false(value_endpoint(&a, bad_endpoints[i], 0, &e));
    assert_true(value_hop(&a, "", &h) && h.host[0] == '\0');
    assert_true(value_hop(&a, "mx.example", &h) && !h.literal && h.port == 0);
    assert_true(value_hop(&a, "mx.example:587", &h) && h.port == 587);
    assert_string_equal(h.host, "mx.example");
    assert_true(value_hop(&a, "[10.0.0.1]:25", &h) && h.literal && h.port == 25);
    assert_true(value_hop(&a, "[IPv6:fd00::1]", &h) && h.literal && h.port == 0);
    static const char *const bad_hops[] = {"mx..example",     "mx.example:", "[10.0.0]:25", "[mx]",
                                           "mx.example:smtp", "a b",         "-mx.example"};
    for (size_t i = 0; i < sizeof bad_hops / sizeof *bad_hops; i++)
        assert_false(value_hop(&a, bad_hops[i], &h));
    arena_deinit(&a);
}

static void the_distance_counts_typing_slips(void **state)
{
    (void)state;
    assert_int_equal(value_distance("hostname", "hostname"), 0);
    assert_int_equal(value_distance("hostnmae", "hostname"), 1);
    assert_int_equal(value_distance("hosname", "hostname"), 1);
    assert_int_equal(value_distance("host", ""), 4);
    assert_int_equal(value_distance("kitten", "sitting"), 3);
    assert_int_equal(value_distance("", ""), 0);
}

static void an_empty_file_gives_every_default(void **state)
{
    (void)state;
    static const char *const empty[] = {"", "# nothing\n", "---\n", "{}\n", "access:\n"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        struct config *c = parse(empty[i]);
        assert_non_null(c);
        assert_string_equal(c->service.hostname, "");
        assert_string_equal(c->service.data_directory, paths_default_data_directory());
        assert_string_equal(c->service.user, "");
        assert_true(c->service.stop_timeout_ms == 10000 && c->service.workers == 0);
        assert_int_equal(c->listeners.count, 2);
        assert_string_equal(c->listeners.items[0].address.text, "0.0.0.0:25");
        assert_string_equal(c->listeners.items[1].address.text, "[::]:25");
        assert_int_equal(c->listeners.items[0].tls, CONFIG_LISTENER_OPTIONAL);
        assert_int_equal(c->listeners.items[0].anonymous, CONFIG_INHERIT);
        assert_int_equal(c->tls.minimum_version, CONFIG_TLS_1_2);
        assert_true(c->authentication.anonymous);
        assert_int_equal(c->authentication.mechanisms.count, 4);
        assert_string_equal(c->authentication.mechanisms.items[3].text, "SCRAM-SHA-256-PLUS");
        assert_true(c->authentication.scram.require_tls && c->authentication.basic.require_tls);
        assert_true(c->authentication.basic.enabled && !c->authentication.integrated.enabled);
        assert_true(c->authentication.scram.iterations == 100000);
        assert_int_equal(c->authentication.domains.count, 1);
        assert_string_equal(c->authentication.domains.items[0].name, "users");
        assert_true(c->authentication.throttle.free_failures == 3);
        assert_false(c->access.i_know_this_is_an_open_relay);
        assert_int_equal(c->access.connection.grant, CONFIG_ALL_EXCEPT);
        assert_int_equal(c->access.relay.grant, CONFIG_ONLY);
        assert_true(c->access.relay.authenticated);
        assert_int_equal(c->access.relay.list.count, 0);
        assert_true(c->limits.message_size == 25u << 20 && c->limits.session_size == 100u << 20);
        assert_true(c->limits.recipients == 100 && c->limits.connections == 1000);
        assert_true(c->limits.connections_per_client == 50 && c->limits.idle_ms == 600000);
        assert_true(c->limits.memory == 256u << 20 && c->limits.message_memory == 256u << 10);
        assert_true(c->limits.errors == 20 && c->limits.data_rate == 500);
        assert_int_equal(c->domains.count, 0);
        assert_int_equal(c->delivery.tls, CONFIG_DELIVERY_OPTIONAL);
        assert_true(c->delivery.port == 25 && c->delivery.hop_limit == 15);
        assert_true(c->delivery.connections_per_destination == 100);
        assert_int_equal(c->delivery.retry_ms.count, 4);
        assert_true(c->delivery.retry_ms.items[0] == 900000);
        assert_true(c->delivery.expire_ms == 172800000 && c->delivery.delay_notice_ms == 43200000);
        assert_int_equal(c->logging.level, CONFIG_LOG_INFO);
        assert_int_equal(c->logging.format, CONFIG_LOG_TEXT);
        assert_int_equal(c->queue.store, CONFIG_STORE_SQLITE);
        assert_true(c->pickup.enabled && c->pickup.relay);
        assert_true(c->resolver.timeout_ms == 5000 && c->resolver.servers.count == 0);
        config_free(&c);
    }
}

static void every_default_is_a_value_that_the_file_may_have(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_option_count; i++) {
        const struct schema_option *o = &schema_options[i];
        assert_true(schema_find(span_str(o->path)) == o); /* no path stands twice */
        if (o->value == NULL || o->value[0] == '\0' || strchr(o->path, '[') != NULL)
            continue;
        char text[512], *dot;
        const char *form =
            o->type == SCHEMA_LIST || o->type == SCHEMA_WORDS || o->type == SCHEMA_DURATIONS
                ? "%s{%s: [%s]"
            : o->type == SCHEMA_WORD ? "%s{%s: \"%s\""
                                     : "%s{%s: %s";
        char section[256] = "", path[128], closing[16] = "}\n";
        (void)snprintf(path, sizeof path, "%s", o->path);
        char *last = path;
        while ((dot = strchr(last, '.')) != NULL) {
            *dot = '\0';
            size_t n = strlen(section);
            (void)snprintf(section + n, sizeof section - n, "{%s: ", last);
            (void)snprintf(closing + strlen(closing) - 1, 3, "}\n");
            last = dot + 1;
        }
        int n = snprintf(text, sizeof text, form, section, last, o->value);
        (void)snprintf(text + n, sizeof text - (size_t)n, "%s", closing);
        struct config *c = parse(text);
        if (c == NULL)
            print_message("%s gives %s\n", text, parse_error);
        assert_non_null(c);
        config_free(&c);
    }
}

static void positions_are_those_of_the_key_or_the_section_around_it(void **state)
{
    (void)state;
    struct config *c = parse("access:\n"
                             "  relay:\n"
                             "    grant: only\n"
                             "    list: [10.0.0.1,\n"
                             "      10.0.0.2]\n"
                             "domains:\n"
                             "  - name: a.example\n"
                             "    type: remote\n"
                             "    relay: true\n");
    bool given;
    assert_non_null(c);
    assert_int_equal(config_where(c, "access.relay.grant", &given).line, 3);
    assert_true(given);
    assert_int_equal(config_where(c, "access.relay.authenticated", &given).line, 2);
    assert_false(given);
    assert_int_equal(config_where(c, "access.relay.authenticated", &given).column, 3);
    assert_int_equal(config_where(c, "domains[0].relay", &given).line, 9);
    assert_int_equal(config_where(c, "domains[0].tls", &given).line, 7);
    assert_false(given);
    assert_int_equal(config_where(c, "domains[1].relay", &given).line, 6);
    assert_int_equal(config_where(c, "limits.idle", &given).line, 0);
    assert_false(given);
    assert_int_equal(c->access.relay.list.items[0].at.line, 4);
    assert_int_equal(c->access.relay.list.items[0].at.column, 12);
    assert_int_equal(c->access.relay.list.items[1].at.line, 5);
    assert_int_equal(c->access.relay.list.items[1].at.column, 7);
    config_free(&c);
}

static void domains_inherit_what_they_leave_out(void **state)
{
    (void)state;
    struct config *c =
        parse("delivery: { tls: verify, ca_file: ca.pem }\n"
              "domains:\n"
              "  - { name: A.Example, type: remote }\n"
              "  - { name: \"*.b.example\", type: remote, tls: none, ca_file: \"\" }\n");
    assert_non_null(c);
    assert_string_equal(c->domains.items[0].name, "a.example");
    assert_int_equal(c->domains.items[0].tls, CONFIG_DELIVERY_VERIFY);
    assert_false(c->domains.items[0].tls_given);
    assert_string_equal(c->domains.items[0].ca_file, "ca.pem");
    assert_int_equal(c->domains.items[1].tls, CONFIG_DELIVERY_NONE);
    assert_string_equal(c->domains.items[1].ca_file, "");
    config_free(&c);
}

static void bounds_stop_hostile_files(void **state)
{
    (void)state;
    enum { KEYS = YAML_KEYS_MAX + 1, SIZE = YAML_BYTES_MAX + 1 };
    char *text = calloc(1, SIZE + 1), *at = text;
    assert_non_null(text);
    for (int i = 0; i < KEYS; i++)
        at += sprintf(at, "k%d: 1\n", i);
    assert_null(parse(text));
    assert_non_null(strstr(parse_error, "too many keys"));
    memset(text, '#', SIZE);
    assert_null(parse(text));
    assert_non_null(strstr(parse_error, "too large"));
    memset(text, 0, SIZE);
    at = text + sprintf(text, "access: { relay: { list: [");
    for (int i = 0; i <= YAML_NODES_MAX; i++)
        at += sprintf(at, "a,");
    (void)sprintf(at, "] } }\n");
    assert_null(parse(text));
    assert_non_null(strstr(parse_error, "too many values"));
    free(text);
}

/* Run build/PRESET/postern config-reference > docs/configuration.md where it fails. */
static void the_committed_reference_is_the_generated_one(void **state)
{
    (void)state;
    static char committed[512 * 1024];
    struct buf out;
    buf_init(&out, sizeof committed);
    assert_true(schema_reference(&out));
    FILE *from = fopen(TESTS_DIR "/../docs/configuration.md", "rb");
    assert_non_null(from);
    committed[fread(committed, 1, sizeof committed - 1, from)] = '\0';
    fclose(from);
    assert_string_equal(buf_cstr(&out), committed);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_want_a_unit),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(endpoints_and_hops_are_read_with_their_ports),
        cmocka_unit_test(the_distance_counts_typing_slips),
        cmocka_unit_test(an_empty_file_gives_every_default),
        cmocka_unit_test(every_default_is_a_value_that_the_file_may_have),
        cmocka_unit_test(positions_are_those_of_the_key_or_the_section_around_it),
        cmocka_unit_test(domains_inherit_what_they_leave_out),
        cmocka_unit_test(bounds_stop_hostile_files),
        cmocka_unit_test(the_committed_reference_is_the_generated_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
