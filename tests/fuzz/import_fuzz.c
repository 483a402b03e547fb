/* Any bytes as MetaBase.xml or the exporter's JSON: where an import comes out of it, the
 * configuration loads, and it is no open relay. */
#include "import/import.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_open(const struct import_result *r)
{
    static const struct netaddr self[1] = {{{0}}};
    static const char *const names[] = {"localhost"};
    struct policy_machine machine = {self, 0, "localhost", names, 1};
    struct config_messages m;
    struct policy *p;
    struct acl_reason why;
    config_messages_init(&m);
    if (policy_parse("/nonexistent/fuzz.yaml", buf_span(&r->yaml), &machine, &p, &m) != CONFIG_OK)
        __builtin_trap();
    bool open = policy_is_open_relay(p, &why);
    policy_unref(&p);
    config_messages_deinit(&m);
    return open;
}

static void try_server(const struct metabase *m, unsigned server)
{
    struct import_options o = {.input = "fuzz", .server = server};
    struct import_result r;
    struct buf report;
    struct err e = {0};
    bool open = false;
    for (int round = 0; round < 2; round++, o.close_relay = true) {
        if (!import_run(m, &o, &r, &e)) {
            if (e.class != ERR_PERM)
                __builtin_trap();
            import_deinit(&r);
            return;
        }
        buf_init(&report, (size_t)64 * 1024 * 1024);
        open = is_open(&r);
        size_t said = r.counts[0] + r.counts[1] + r.counts[2];
        if (!import_report(&r, &report) || said != r.line_count || (open && o.close_relay))
            __builtin_trap();
        buf_deinit(&report);
        import_deinit(&r);
        if (!open)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metabase m;
    struct err e = {0};
    if (metabase_read(span_of(data, size), &m, &e)) {
        try_server(&m, 0);
        try_server(&m, 2);
    } else if (e.class != ERR_PERM || e.text[0] == '\0') {
        __builtin_trap();
    }
    metabase_deinit(&m);
    return 0;
}
