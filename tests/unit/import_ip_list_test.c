/* The binary lists of IIS: published samples, every form that the layout allows, and damage. */
#include "support/test.h"

#include "import/ip_list.h"

/* 127.0.0.1 and 192.168.1.5 granted, as it was published. */
static const char granted_two[] =
    "18000080200000803c00008044000080010000004c000000000000000000000001000000020000000200000003"
    "00000004000000000000004c00008000000000000000000000000000000000ffffffff7f000001c0a80105";
/* "Only the list below", empty: one granted address that nobody has. */
static const char only_nobody[] =
    "18000080200000803c00008044000080010000004c000000000000000000000001000000010000000200000002"
    "00000004000000000000004c00008000000000000000000000000000000000ffffffff00000000";

struct blob {
    uint8_t p[1024];
    size_t n;
};

static void put(struct blob *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        b->p[b->n++] = (uint8_t)(v >> 8 * i);
}

static void put_network(struct blob *b, uint32_t v)
{
    for (int i = 3; i >= 0; i--)
        b->p[b->n++] = (uint8_t)(v >> 8 * i);
}

/* A blob with denied 10.0.0.0/8, 172.16.0.0/255.240.0.0 and 192.0.2.7, 192.0.2.8: three groups. */
static struct blob three_groups(void)
{
    struct blob b = {.n = 0};
    const uint32_t flag = 0x80000000u, data = 0x88;
    put(&b, flag | 0x18), put(&b, flag | 0x5c), put(&b, flag | 0x64), put(&b, flag | 0x6c);
    put(&b, 1), put(&b, 0x74);
    put(&b, 3), put(&b, 4);
    const uint32_t items[3] = {2, 2, 3}, at[3] = {data, data + 8, data + 16};
    for (int i = 0; i < 3; i++)
        put(&b, 2), put(&b, items[i]), put(&b, 4), put(&b, 0), put(&b, flag | at[i]);
    while (b.n < data)
        b.p[b.n++] = 0;
    put_network(&b, 0xff000000), put_network(&b, 0x0a000000);
    put_network(&b, 0xfff00000), put_network(&b, 0xac100000);
    put_network(&b, 0xffffffff), put_network(&b, 0xc0000207), put_network(&b, 0xc0000208);
    return b;
}

static int set_up(void **state)
{
    static struct arena a;
    arena_init(&a, 16 * 1024 * 1024);
    *state = &a;
    return 0;
}

static int tear_down(void **state)
{
    arena_deinit(*state);
    return 0;
}

static void the_published_sample_has_its_two_addresses(void **state)
{
    struct ip_list l;
    struct err e = {0};
    assert_true(ip_list_parse_hex(*state, span_str(granted_two), &l, &e));
    assert_int_equal(l.granted.count, 2);
    assert_int_equal(l.denied.count, 0);
    assert_int_equal(l.granted.items[0].address, 0x7f000001);
    assert_int_equal(l.granted.items[0].mask, 0xffffffff);
    assert_int_equal(l.granted.items[1].address, 0xc0a80105);
    assert_false(l.granted_names_unread || l.denied_names_unread);
}

static void only_with_an_empty_list_is_one_address_that_nobody_has(void **state)
{
    struct ip_list l;
    struct err e = {0};
    assert_true(ip_list_parse_hex(*state, span_str(only_nobody), &l, &e));
    assert_int_equal(l.granted.count, 1);
    assert_int_equal(l.granted.items[0].address, 0);
    assert_int_equal(l.granted.items[0].mask, 0xffffffff);
}

static void each_mask_is_a_group_of_its_own(void **state)
{
    struct blob b = three_groups();
    struct ip_list l;
    struct err e = {0};
    assert_true(ip_list_parse(*state, span_of(b.p, b.n), &l, &e));
    assert_int_equal(l.denied.count, 4);
    assert_int_equal(l.granted.count, 0);
    assert_int_equal(l.denied.items[0].mask, 0xff000000);
    assert_int_equal(l.denied.items[1].address, 0xac100000);
    assert_int_equal(l.denied.items[3].address, 0xc0000208);
}

static void names_are_told_and_not_guessed(void **state)
{
    struct blob b = three_groups();
    struct ip_list l;
    struct err e = {0};
    b.p[0x64] = 1; /* one denied name */
    assert_true(ip_list_parse(*state, span_of(b.p, b.n), &l, &e));
    assert_true(l.denied_names_unread);
    assert_false(l.granted_names_unread);
}

static void a_blob_cut_anywhere_is_damaged(void **state)
{
    struct blob b = three_groups();
    for (size_t n = 0; n < b.n; n++) {
        struct ip_list l;
        struct err e = {0};
        uint8_t *exact = malloc(n + 1);
        assert_non_null(exact);
        memcpy(exact, b.p, n);
        assert_false(ip_list_parse(*state, span_of(exact, n), &l, &e));
        assert_int_equal(e.class, ERR_PERM);
        free(exact);
    }
}

static void what_cannot_be_is_damaged(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } breaks[] = {
        {0x00, 0x18},       /* an offset without its mark */
        {0x00, 0x80000004}, /* into the head */
        {0x04, 0x80ffffff}, /* behind the end */
        {0x10, 2},          /* another form */
        {0x14, 0xffffff},   /* data behind the end */
        {0x18, 0xffffffff}, /* four thousand million groups */
        {0x1c, 5},          /* more addresses than the groups have */
        {0x1c, 3},          /* fewer */
        {0x1c, 0xffffffff}, /* and far too many */
        {0x20, 23},         /* IPv6 */
        {0x24, 0},          /* not even a mask */
        {0x24, 0xffffffff}, /* an overflow of the multiplication */
        {0x28, 16},         /* long addresses */
        {0x30, 0x80ffffff}, /* data behind the end */
        {0x30, 0x88},       /* an offset without its mark */
    };
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        struct blob b = three_groups();
        struct ip_list l;
        struct err e = {0};
        for (int j = 0; j < 4; j++)
            b.p[breaks[i].at + (size_t)j] = (uint8_t)(breaks[i].value >> 8 * j);
        if (ip_list_parse(*state, span_of(b.p, b.n), &l, &e))
            fail_msg("break %zu was taken", i);
        assert_int_equal(e.class, ERR_PERM);
    }
}

static void hexadecimal_is_even_and_of_digits(void **state)
{
    struct ip_list l;
    struct err e = {0};
    assert_false(ip_list_parse_hex(*state, span_str("180"), &l, &e));
    assert_false(ip_list_parse_hex(*state, span_str("18zz"), &l, &e));
    assert_false(ip_list_parse_hex(*state, span_str(""), &l, &e));
}

static void masks_are_ones_and_then_zeros(void **state)
{
    unsigned bits;
    (void)state;
    assert_true(ip_mask_bits(0, &bits) && bits == 0);
    assert_true(ip_mask_bits(0xffffffff, &bits) && bits == 32);
    assert_true(ip_mask_bits(0xfff00000, &bits) && bits == 12);
    assert_false(ip_mask_bits(0xff00ff00, &bits));
    assert_false(ip_mask_bits(1, &bits));
}

static void overlap_looks_at_what_both_masks_hold(void **state)
{
    struct ip_entry net = {0x0a000000, 0xff000000}, host = {0x0a010203, 0xffffffff},
                    other = {0x0b000000, 0xff000000}, all = {0, 0};
    (void)state;
    assert_true(ip_entries_overlap(net, host));
    assert_true(ip_entries_overlap(host, net));
    assert_false(ip_entries_overlap(other, host));
    assert_true(ip_entries_overlap(all, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_published_sample_has_its_two_addresses, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_with_an_empty_list_is_one_address_that_nobody_has,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_mask_is_a_group_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_told_and_not_guessed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_blob_cut_anywhere_is_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hexadecimal_is_even_and_of_digits, set_up, tear_down),
        cmocka_unit_test(masks_are_ones_and_then_zeros),
        cmocka_unit_test(overlap_looks_at_what_both_masks_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
