/* Any bytes as a configuration file: tree, binder, checks, and the policy made from it. */
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct netaddr self[1] = {{{0}}};
    struct policy_machine machine = {self, 1, "relay.example.net"};
    struct config_messages m;
    struct policy *p;
    struct acl_reason why;
    struct buf line;
    config_messages_init(&m);
    enum config_result result =
        policy_parse("/nonexistent/fuzz.yaml", span_of(data, size), &machine, &p, &m);
    if ((result == CONFIG_OK) != (p != NULL) || (result == CONFIG_INVALID && m.errors == 0))
        __builtin_trap();
    if (p != NULL) {
        (void)policy_is_open_relay(p, &why);
        policy_review(p, &m);
    }
    for (size_t i = 0; i < m.count; i++) {
        buf_init(&line, 64 * 1024);
        if (!config_message_format(&m.items[i], &line))
            __builtin_trap();
        buf_deinit(&line);
    }
    policy_unref(&p);
    config_messages_deinit(&m);
    return 0;
}
