#include "import/plan.h"

#include <inttypes.h>

/* Keys of one section, its head written with the first of them. */
struct section {
    struct buf *out;
    const char *head;
    bool begun;
};

static void key(struct section *s, const char *name)
{
    if (!s->begun)
        buf_addf(s->out, "%s:\n", s->head);
    s->begun = true;
    buf_addf(s->out, "  %s: ", name);
}

static void key_text(struct section *s, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    key(s, name);
    buf_addf(s->out, "\"%s\"\n", value);
}

static void key_number(struct section *s, const char *name, struct plan_number n, const char *unit)
{
    if (!n.written)
        return;
    key(s, name);
    buf_addf(s->out, "%" PRIu64 "%s\n", n.value, unit);
}

/* In the largest unit that divides it. */
static void key_size(struct section *s, const char *name, struct plan_number n)
{
    static const char *const units[] = {"", "K", "M", "G"};
    size_t unit = 0;
    while (unit < 3 && n.value != 0 && n.value % 1024 == 0) {
        n.value /= 1024;
        unit++;
    }
    key_number(s, name, n, units[unit]);
}

/* From seconds, in the largest unit that divides it. */
static void key_time(struct section *s, const char *name, struct plan_number n)
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    size_t i = 0;
    while (n.value == 0 || n.value % units[i].seconds != 0)
        if (++i == 3)
            break;
    n.value /= units[i].seconds;
    key_number(s, name, n, units[i].unit);
}

static struct plan_number minutes(struct plan_number n)
{
    n.value *= 60;
    return n;
}

static void write_listeners(const struct import_plan *p, struct buf *out)
{
    buf_add_str(out, "listeners:\n");
    for (size_t i = 0; i < p->listener_count; i++)
        buf_addf(out, "  - { address: \"%s\", tls: %s }\n", p->listeners[i].address,
                 p->listeners[i].implicit_tls ? "implicit"
                 : p->require_tls             ? "required"
                                              : "optional");
    if (p->thumbprint[0] == '\0')
        return;
    buf_addf(out,
             "# NEEDS YOU: the certificate. IIS used %s in the machine's store %s.\n"
             "# tls:\n"
             "#   certificate: cert.pem\n"
             "#   key: key.pem\n"
             "# On Windows it may stay there: store: LocalMachine/My, subject: NAME.\n",
             p->thumbprint, p->store[0] == '\0' ? "MY" : p->store);
}

static void write_authentication(const struct import_plan *p, struct buf *out)
{
    buf_addf(out,
             "authentication:\n"
             "  anonymous: %s\n"
             "  basic: { enabled: %s, require_tls: true, default_domain: \"%s\" }\n"
             "  integrated: { enabled: %s }\n",
             p->anonymous ? "true" : "false", p->basic ? "true" : "false",
             p->basic ? p->logon_domain : "", p->integrated ? "true" : "false");
    if (!p->basic && !p->integrated)
        return;
    buf_add_str(out, "  domains:                  # NEEDS YOU: who knows the accounts\n");
    if (p->logon_domain[0] != '\0' && !span_is(span_str(p->logon_domain), "."))
        buf_addf(out, "    - { name: \"%s\", backend: system }\n", p->logon_domain);
    buf_add_str(out, "    - { name: \".\", backend: system }\n");
}

static void write_control(const struct plan_control *c, const char *name, bool authenticated,
                          struct buf *out)
{
    bool relay = span_is(span_str(name), "relay");
    buf_addf(out, "  %s:\n    grant: %s\n", name, c->only ? "only" : "all-except");
    if (relay)
        buf_addf(out, "    authenticated: %s\n", authenticated ? "true" : "false");
    buf_addf(out, "    list:%s\n", c->entries.count == 0 ? " []" : "");
    for (size_t i = 0; i < c->entries.count; i++)
        buf_addf(out, "      - \"%s\"\n", c->entries.items[i]);
}

static void write_domains(const struct import_plan *p, struct buf *out)
{
    if (p->domain_count > 0)
        buf_add_str(out, "domains:\n");
    for (size_t i = 0; i < p->domain_count; i++) {
        const struct plan_domain *d = &p->domains[i];
        buf_addf(out, "  - { name: \"%s\", type: %s", d->name, d->local ? "local" : "remote");
        if (d->smart_host[0] != '\0')
            buf_addf(out, ", smart_host: \"%s\"", d->smart_host);
        buf_add_str(out, " }\n");
    }
    if (p->undecided.count > 0 && p->domain_count == 0)
        buf_add_str(out, "# domains:\n");
    for (size_t i = 0; i < p->undecided.count; i++)
        buf_addf(out,
                 "  # NEEDS YOU: local or remote? relay: true takes mail for it from everybody.\n"
                 "  # - { name: \"%s\", type: remote, relay: false }\n",
                 p->undecided.items[i]);
}

static void write_limits(const struct import_plan *p, struct buf *out)
{
    struct section s = {out, "limits", false};
    key_size(&s, "message_size", p->message_size);
    key_size(&s, "session_size", p->session_size);
    key_number(&s, "recipients", p->recipients, "");
    key_number(&s, "connections", p->connections, "");
    key_time(&s, "idle", p->idle_s);
}

static void write_delivery(const struct import_plan *p, struct buf *out)
{
    struct section s = {out, "delivery", false};
    key_text(&s, "smart_host", p->smart_host);
    if (p->smart_host[0] != '\0') {
        key(&s, "direct_first");
        buf_add_str(out, p->direct_first ? "true\n" : "false\n");
    }
    key_number(&s, "connections", p->out_connections, "");
    key_number(&s, "connections_per_destination", p->out_per_domain, "");
    key_number(&s, "messages_per_connection", p->out_messages, "");
    key_number(&s, "port", p->out_port, "");
    key_time(&s, "idle", p->out_idle_s);
    key_text(&s, "masquerade", p->masquerade);
    key_text(&s, "ndr_copy_to", p->ndr_copy_to);
    if (p->retry_count > 0) {
        key(&s, "retry");
        for (size_t i = 0; i < p->retry_count; i++)
            buf_addf(out, "%s%" PRIu64 "m", i == 0 ? "[" : ", ", p->retry_min[i]);
        buf_add_str(out, "]\n");
    }
    key_time(&s, "delay_notice", minutes(p->delay_notice_min));
    key_time(&s, "expire", minutes(p->expire_min));
    key_number(&s, "hop_limit", p->hop_limit, "");
    if (p->outbound_user[0] == '\0')
        return;
    buf_addf(out,
             "  # NEEDS YOU: the password cannot be taken over, ask for it again.\n"
             "  # authentication: { user: \"%s\", password_file: smart-host.password }\n",
             p->outbound_user);
}

static void write_logging(const struct import_plan *p, struct buf *out)
{
    if (p->log_protocol)
        buf_addf(out, "logging:\n  protocol: true\n%s",
                 p->log_w3c ? "  # NEEDS YOU: W3C rows want a place.\n"
                              "  # format: w3c\n  # file: w3c.log\n"
                            : "");
}

bool plan_write(const struct import_plan *p, const char *input, unsigned server,
                const char *comment, struct buf *out)
{
    struct section service = {out, "service", false};
    buf_addf(out, "# The IIS SMTP virtual server %u%s%s%s of %s, by `postern import iis`.\n",
             server, comment[0] != '\0' ? " (" : "", comment, comment[0] != '\0' ? ")" : "", input);
    buf_add_str(out, "# What is not here has Postern's default, which then is IIS's as well.\n");
    key_text(&service, "hostname", p->hostname);
    write_listeners(p, out);
    write_authentication(p, out);
    buf_add_str(out, "access:\n");
    write_control(&p->connection, "connection", false, out);
    write_control(&p->relay, "relay", p->relay_authenticated, out);
    write_domains(p, out);
    write_limits(p, out);
    write_delivery(p, out);
    write_logging(p, out);
    return !out->failed;
}
