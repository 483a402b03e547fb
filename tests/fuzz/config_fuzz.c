/* Any bytes as a configuration file: tree, binder, checks, and the policy made from it. What is
 * wrong with it is told with its place, and what is taken can be judged by. */
#include "acl/explain.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stranger's mail through each listener: a verdict with its reason, and a route. */
static void judge(const struct policy *p)
{
    static struct route route;
    struct acl_explanation x;
    struct acl_facts f = {.client = netaddr_v4((const uint8_t[4]){11, 2, 3, 4}),
                          .names = {.state = FACT_ABSENT},
                          .tls = FACT_ABSENT,
                          .identity_state = FACT_ABSENT};
    struct acl_reason why;
    struct err e;
    f.recipient.text = span_str("v@far.example");
    f.recipient.local = span_str("v");
    f.recipient.domain = span_str("far.example");
    bool open = policy_is_open_relay(p, &why);
    for (f.listener = 0; f.listener < p->listener_count; f.listener++) {
        acl_explain(p->acl, &f, &x);
        const struct acl_reason *r = acl_explain_last(&x);
        if (r->rule[0] == '\0' || (x.outcome == ACL_ALLOWED && r->relay_right && !open))
            __builtin_trap();
    }
    if (!route_decide(p->route, f.recipient.local, f.recipient.domain, &route, &e))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct netaddr self[1] = {{{0}}};
    static const char *const names[] = {"relay.example.net"};
    struct policy_machine machine = {self, 1, "relay.example.net", names, 1};
    struct config_messages m;
    struct policy *p;
    struct buf line;
    config_messages_init(&m);
    enum config_result result =
        policy_parse("/nonexistent/fuzz.yaml", span_of(data, size), &machine, &p, &m);
    if ((result == CONFIG_OK) != (p != NULL) || (result == CONFIG_INVALID && m.errors == 0))
        __builtin_trap();
    if (p != NULL) {
        judge(p);
        policy_review(p, &m);
    }
    for (size_t i = 0; i < m.count; i++) {
        if (result == CONFIG_INVALID && m.items[i].severity == CONFIG_ERROR &&
            (m.items[i].at.line == 0 || m.items[i].at.column == 0))
            __builtin_trap();
        buf_init(&line, 64 * 1024);
        if (!config_message_format(&m.items[i], &line))
            __builtin_trap();
        buf_deinit(&line);
    }
    policy_unref(&p);
    config_messages_deinit(&m);
    return 0;
}
