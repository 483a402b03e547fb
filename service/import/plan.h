/* plan.h - what the configuration is to say, before it is written. Inside import only. All texts
 * are ASCII and have been checked: they can be quoted as they are. */
#ifndef POSTERN_IMPORT_PLAN_H
#define POSTERN_IMPORT_PLAN_H

#include "base/buf.h"
#include "import/ip_list.h"

enum { PLAN_LISTENERS_MAX = 64, PLAN_RETRIES_MAX = 16 };

struct plan_listener {
    const char *address; /* "0.0.0.0:25" */
    bool implicit_tls;
};

struct plan_control {
    bool only;               /* else all-except */
    struct ip_names entries; /* as the configuration writes them */
};

struct plan_domain {
    const char *name;
    bool local;             /* else remote */
    const char *smart_host; /* "" = as delivery says */
};

/* A number that is not written has Postern's default, which is then the right one. */
struct plan_number {
    bool written;
    uint64_t value;
};

struct import_plan {
    const char *hostname;
    struct plan_listener listeners[PLAN_LISTENERS_MAX];
    size_t listener_count;
    bool require_tls;
    const char *thumbprint, *store; /* of the certificate, for a comment; "" */
    bool anonymous, basic, integrated;
    const char *logon_domain;
    struct plan_control connection, relay;
    bool relay_authenticated;
    struct plan_number message_size, session_size, recipients, connections, idle_s;
    struct plan_domain *domains;
    size_t domain_count, domain_capacity;
    struct ip_names undecided; /* domains whose type cannot be told, for comments */
    const char *smart_host;    /* "" = MX */
    bool direct_first;
    const char *outbound_user; /* for a comment; "" */
    struct plan_number out_connections, out_per_domain, out_messages, out_port, out_idle_s;
    const char *masquerade, *ndr_copy_to;
    uint64_t retry_min[PLAN_RETRIES_MAX];
    size_t retry_count;
    struct plan_number delay_notice_min, expire_min, hop_limit;
    bool log_protocol, log_w3c;
};

/* False without memory. input and comment are cleaned by the caller. */
bool plan_write(const struct import_plan *p, const char *input, unsigned server,
                const char *comment, struct buf *out);

#endif
