/* The prefix tree against comparing with every interval: dense, nested and scattered lists of both
 * families, asked at and beside every end. And what entries have in common is told. */
#include "support/test.h"

#include "acl/list.h"

#include <stdlib.h>

enum { ENTRIES = 3000, ROUNDS = 12 };

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 16) % n;
}

struct interval {
    struct netaddr first, last;
};

struct naive {
    struct interval v[ENTRIES];
    size_t n;
};

/* spread: how many bytes of the address are free; few = dense, clusters and nests. */
static struct netaddr random_address(bool v6, int spread)
{
    struct netaddr a = {{0}};
    uint8_t four[4] = {10, 0, 0, 0};
    if (!v6) {
        for (int i = 4 - spread; i < 4; i++)
            four[i] = (uint8_t)random_below(256);
        return netaddr_v4(four);
    }
    a.b[0] = 0x20;
    a.b[1] = 0x01;
    for (int i = 0; i < spread; i++)
        a.b[2 + random_below(14)] = (uint8_t)random_below(i == 0 ? 256 : 4);
    return a;
}

static struct netaddr stepped(struct netaddr a, bool up)
{
    for (size_t i = sizeof a.b; i > 0; i--) {
        uint8_t before = a.b[i - 1];
        a.b[i - 1] = (uint8_t)(up ? before + 1 : before - 1);
        if (before != (up ? 0xff : 0))
            break;
    }
    return a;
}

static void random_interval(bool v6, int spread, struct interval *x, char *text, size_t size)
{
    char first[NETADDR_TEXT_MAX], last[NETADDR_TEXT_MAX];
    struct netaddr a = random_address(v6, spread), b = random_address(v6, spread);
    netaddr_format(&a, first);
    x->first = x->last = a;
    (void)snprintf(text, size, "%s", first);
    if (random_below(8) == 0) {
        unsigned bits = v6 ? 16 + random_below(113) : 12 + random_below(21);
        netaddr_prefix(&a, v6 ? bits : 96 + bits, &x->first, &x->last);
        (void)snprintf(text, size, "%s/%u", first, bits);
    } else if (random_below(16) == 0) {
        bool forth = netaddr_compare(&a, &b) <= 0;
        netaddr_format(&b, last);
        x->first = forth ? a : b;
        x->last = forth ? b : a;
        (void)snprintf(text, size, "%s-%s", forth ? first : last, forth ? last : first);
    }
}

static bool holds(const struct interval *x, const struct netaddr *a)
{
    return netaddr_compare(&x->first, a) <= 0 && netaddr_compare(a, &x->last) <= 0;
}

static bool naive_match(const struct naive *n, const struct netaddr *a)
{
    for (size_t i = 0; i < n->n; i++)
        if (netaddr_is_v4(&n->v[i].first) == netaddr_is_v4(a) && holds(&n->v[i], a))
            return true;
    return false;
}

static void add(struct acl_list *list, const char *text, unsigned line)
{
    struct acl_problems problems;
    struct err e;
    struct acl_entry_source one = {span_str(text), "f", line, 1};
    acl_problems_init(&problems);
    assert_true(acl_list_add(list, &one, 1, &problems, &e));
    if (problems.n > 0)
        fail_msg("%s", problems.v[0].text);
    acl_problems_deinit(&problems);
}

static size_t probe(const struct acl_list *list, const struct naive *n, struct netaddr a)
{
    struct acl_names none = {.state = FACT_ABSENT};
    struct acl_hit hit = {.text = ""};
    char text[NETADDR_TEXT_MAX];
    bool want = naive_match(n, &a);
    netaddr_format(&a, text);
    if (acl_list_match(list, &a, &none, &hit) != (want ? ACL_MATCH_YES : ACL_MATCH_NO))
        fail_msg("%s: %s", text, want ? "held by an entry and not found" : "found in none");
    if (want) { /* the entry that is named holds it by itself, and says so */
        assert_true(hit.at.line >= 1 && hit.at.line <= n->n);
        assert_true(holds(&n->v[hit.at.line - 1], &a));
    }
    return want;
}

static void the_tree_finds_what_a_walk_over_all_finds(void **state)
{
    (void)state;
    static struct naive n;
    size_t asked = 0, found = 0;
    random_state = 7;
    for (int round = 0; round < ROUNDS; round++) {
        bool v6 = round % 2 == 1;
        int spread = v6 ? 1 + round / 2 : 1 + round / 2 % 3;
        struct err e;
        struct acl_list *list = acl_list_new(NULL, 0);
        n.n = round < 8 ? ENTRIES : 40;
        for (size_t i = 0; i < n.n; i++) {
            char text[2 * NETADDR_TEXT_MAX];
            random_interval(v6, spread, &n.v[i], text, sizeof text);
            add(list, text, (unsigned)i + 1);
        }
        assert_true(acl_list_seal(list, &e));
        for (size_t i = 0; i < n.n; i += 3) {
            found += probe(list, &n, n.v[i].first) + probe(list, &n, n.v[i].last) +
                     probe(list, &n, stepped(n.v[i].first, false)) +
                     probe(list, &n, stepped(n.v[i].last, true)) +
                     probe(list, &n, random_address(v6, spread + 1)) +
                     probe(list, &n, random_address(!v6, 3));
            asked += 6;
        }
        acl_list_free(&list);
    }
    print_message("%zu addresses asked, %zu held\n", asked, found);
    assert_true(asked > 20000 / 3 && found > asked / 4 && found < asked);
}

static void the_ends_of_the_address_space_are_held(void **state)
{
    (void)state;
    static const char *const all[] = {"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"};
    static const char *const ends[] = {"0.0.0.0",
                                       "127.255.255.255",
                                       "128.0.0.0",
                                       "255.255.255.255",
                                       "::",
                                       "::2",
                                       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    struct acl_names none = {.state = FACT_ABSENT};
    struct err e;
    struct acl_list *list = acl_list_new(NULL, 0);
    for (unsigned i = 0; i < 4; i++)
        add(list, all[i], i + 1);
    assert_true(acl_list_seal(list, &e));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct netaddr a;
        assert_true(netaddr_parse(span_str(ends[i]), &a));
        assert_int_equal(acl_list_match(list, &a, &none, NULL), ACL_MATCH_YES);
    }
    acl_list_free(&list);
}

/* ---- what entries have in common ---- */

static bool told(const struct acl_list *list, const char *text, const char *by, bool same)
{
    for (size_t i = 0; i < acl_list_overlaps(list) && i < ACL_OVERLAPS_MAX; i++) {
        struct acl_overlap o;
        acl_list_overlap(list, i, &o);
        if (strcmp(o.text, text) == 0 && strcmp(o.by, by) == 0 && o.same == same) {
            assert_true(o.at.line > 0 && o.by_at.line > 0 && strcmp(o.at.file, "f") == 0);
            return true;
        }
    }
    return false;
}

static void duplicates_parts_and_overlaps_are_told_with_their_places(void **state)
{
    (void)state;
    static const char *const entries[] = {"10.0.0.0/8",
                                          "10.1.2.3",
                                          "192.0.2.7",
                                          "192.0.2.7",
                                          "::ffff:192.0.2.8",
                                          "192.0.2.8",
                                          "fd00::/16",
                                          "fd00:1::5",
                                          "172.16.0.0-172.16.0.9",
                                          "172.16.0.5-172.16.0.20",
                                          "a.corp.example",
                                          "A.corp.example",
                                          "*.corp.example",
                                          "*.b.corp.example",
                                          "self",
                                          "127.0.0.1",
                                          "198.51.100.1",
                                          "/corp/"};
    struct err e;
    struct acl_list *list = acl_list_new(NULL, 0);
    for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++)
        add(list, entries[i], i + 1);
    assert_true(acl_list_seal(list, &e));
    assert_true(told(list, "10.1.2.3", "10.0.0.0/8", false));
    assert_true(told(list, "192.0.2.7", "192.0.2.7", true));
    assert_true(told(list, "192.0.2.8", "192.0.2.8", true));
    assert_true(told(list, "fd00:1::5", "fd00::/16", false));
    assert_true(told(list, "172.16.0.5-172.16.0.20", "172.16.0.0-172.16.0.9", false));
    assert_true(told(list, "A.corp.example", "a.corp.example", true));
    assert_true(told(list, "a.corp.example", "*.corp.example", false));
    assert_true(told(list, "*.b.corp.example", "*.corp.example", false));
    assert_int_equal(acl_list_overlaps(list), 9); /* A.corp.example lies below the domain, too */
    struct acl_hit hit;
    struct netaddr a;
    struct acl_names none = {.state = FACT_ABSENT};
    assert_true(netaddr_parse(span_str("172.16.0.12"), &a)); /* the later one, as it was written */
    assert_int_equal(acl_list_match(list, &a, &none, &hit), ACL_MATCH_YES);
    assert_string_equal(hit.text, "172.16.0.5-172.16.0.20");
    assert_true(acl_list_first_name(list, NULL, &hit));
    assert_string_equal(hit.text, "a.corp.example");
    assert_false(acl_list_first_name(list, "f", &hit));
    acl_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_finds_what_a_walk_over_all_finds),
        cmocka_unit_test(the_ends_of_the_address_space_are_held),
        cmocka_unit_test(duplicates_parts_and_overlaps_are_told_with_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
