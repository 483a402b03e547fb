/* config.h - the configuration file as plain values (the keys are explained in schema.c, which also
 * makes docs/configuration.md). A struct config is filled once and read-only from then on.
 * Owner: whoever loaded it; all strings and arrays live in its arena until config_free. Threads:
 * any may read. Failure: config_load reports everything that is wrong in one run, with file, line
 * and column. Strings are never NULL; "" = not given. Times are milliseconds, sizes bytes.
 * Nothing but the named file is opened: no certificate, no list, no password file. */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include "base/netaddr.h"
#include "config/messages.h"

enum config_result {
    CONFIG_OK,
    CONFIG_MISSING, /* there is no such file: exit code 66 */
    CONFIG_IO,      /* it cannot be read: 74 */
    CONFIG_INVALID, /* the messages say why: 78 */
    CONFIG_MEMORY,  /* 70 */
};

enum config_listener_tls {
    CONFIG_LISTENER_NONE,
    CONFIG_LISTENER_OPTIONAL, /* STARTTLS offered, as soon as there is a certificate */
    CONFIG_LISTENER_REQUIRED, /* STARTTLS before MAIL and AUTH */
    CONFIG_LISTENER_IMPLICIT, /* TLS from the first byte */
};
enum config_bare_lf { CONFIG_BARE_LF_REJECT, CONFIG_BARE_LF_NORMALISE };
enum config_profile_lf { CONFIG_LF_LISTENER, CONFIG_LF_REJECT, CONFIG_LF_NORMALISE };
enum config_profile_tls {
    CONFIG_TLS_DEFAULT,
    CONFIG_FROM_1_0,
    CONFIG_FROM_1_1,
    CONFIG_FROM_1_2,
    CONFIG_FROM_1_3
};
enum config_tls_version { CONFIG_TLS_1_0, CONFIG_TLS_1_1, CONFIG_TLS_1_2, CONFIG_TLS_1_3 };
enum config_backend { CONFIG_USERDB, CONFIG_SYSTEM, CONFIG_LDAP, CONFIG_KERBEROS };
enum config_grant { CONFIG_ALL_EXCEPT, CONFIG_ONLY };
enum config_access_mode { CONFIG_ENFORCE, CONFIG_OBSERVE };
enum config_domain_type { CONFIG_LOCAL, CONFIG_REMOTE };
enum config_delivery_tls {
    CONFIG_DELIVERY_NONE,
    CONFIG_DELIVERY_OPTIONAL,
    CONFIG_DELIVERY_REQUIRED, /* encrypted, with whomever */
    CONFIG_DELIVERY_VERIFY,   /* chain and name */
};
enum config_log_level {
    CONFIG_LOG_DEBUG,
    CONFIG_LOG_INFO,
    CONFIG_LOG_WARN,
    CONFIG_LOG_ERROR,
};
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON, CONFIG_LOG_W3C };
enum config_store { CONFIG_STORE_SQLITE, CONFIG_STORE_MEMORY };
/* A switch that may be left to the global one. */
enum config_tristate { CONFIG_INHERIT, CONFIG_FALSE, CONFIG_TRUE };

/* One entry of a list, with where it stands. */
struct config_entry {
    const char *text;
    struct config_pos at;
};
struct config_list {
    const struct config_entry *items;
    size_t count;
};
struct config_numbers {
    const uint64_t *items;
    size_t count;
};

/* "0.0.0.0:25", "[::]:587". */
struct config_endpoint {
    const char *text; /* as it stands in the file; "" = not given */
    struct netaddr ip;
    uint16_t port; /* 0 where the file names none and none is needed (resolver.servers) */
};

/* "mx.example.net", "mx.example.net:587", "[10.0.0.1]:25" (no DNS), "[2001:db8::1]". */
struct config_hop {
    const char *text; /* as it stands in the file; "" = not given */
    const char *host; /* without brackets and port */
    bool literal;     /* in brackets: ip is set and DNS is not asked */
    struct netaddr ip;
    uint16_t port; /* 0 = delivery.port */
};

struct config_service {
    const char *hostname; /* "" = the machine's own name; policy.h gives the final one */
    const char *data_directory;
    const char *user;
    uint64_t stop_timeout_ms;
    uint64_t workers; /* 0 = one a core */
};

struct config_listener {
    struct config_pos at; /* of the entry in the list */
    struct config_endpoint address;
    enum config_listener_tls tls;
    enum config_tristate anonymous;
    enum config_bare_lf bare_lf;
    struct config_list mechanisms; /* none: as authentication.mechanisms and integrated say */
};

/* Files, or of the system's store (base/cert_name.h); what is not given is "". */
struct config_certificate {
    struct config_pos at;
    const char *certificate, *key;
    const char *store, *subject, *thumbprint;
};

struct config_tls {
    const char *certificate, *key; /* "" = no TLS to offer */
    const char *store, *subject, *thumbprint;
    struct {
        const struct config_certificate *items;
        size_t count;
    } certificates; /* further pairs, chosen by SNI */
    enum config_tls_version minimum_version;
    const char *ciphers, *ciphersuites; /* "" = ours */
};

struct config_auth_domain {
    struct config_pos at;
    const char *name;
    struct config_list aliases;
    enum config_backend backend;
    struct config_list allow;                    /* accounts and groups; none: all */
    const char *pam_service, *pam_name, *helper; /* system */
    const char *url, *ca_file, *bind, *base;     /* ldap */
    const char *realm, *service, *keytab;        /* kerberos */
    struct config_list kdc;
    uint64_t deadline_ms, lockout_below, lockout_window_ms; /* all but userdb */
};

/* auth/throttle.h says how they work together. */
struct config_throttle {
    uint64_t delay_ms, delay_max_ms, account_delay_max_ms;
    uint64_t free_failures, refuse_after;
    uint64_t refuse_ms, refuse_max_ms, decay_ms;
};

struct config_authentication {
    bool anonymous;
    bool name_in_received;
    struct config_list mechanisms;
    struct {
        bool require_tls;
        uint64_t iterations;
    } scram;
    struct {
        bool enabled, require_tls;
        const char *default_domain;
    } basic;
    struct {
        bool enabled;
        struct config_list mechanisms;
        const char *keytab, *ntlm_auth;
    } integrated;
    struct {
        const struct config_auth_domain *items;
        size_t count;
    } domains;
    struct config_throttle throttle;
};

/* So many a minute; 0: as many as they like. */
struct config_rate {
    uint64_t connections, messages, recipients;
};
struct config_rates {
    struct config_rate client, account;
};

struct config_profile {
    struct config_pos at;
    const char *name;
    struct config_list clients, accounts; /* none: all */
    struct config_list senders;           /* address patterns; none: all */
    struct {
        struct config_list allow, refuse;
    } recipients;
    const char *sender; /* "" = as the client gives it */
    const char *from;   /* "" = as the message has it */
    enum config_profile_lf bare_lf;
    enum config_profile_tls tls_minimum;
    struct config_rates rate; /* config_where tells which of them are given; the others: limits */
};

struct config_access {
    bool i_know_this_is_an_open_relay;
    enum config_access_mode mode;
    struct {
        enum config_grant grant;
        struct config_list list;
    } connection;
    struct {
        enum config_grant grant;
        bool authenticated;
        struct config_list list;
    } relay;
    struct {
        const struct config_profile *items;
        size_t count;
    } profiles;
};

struct config_limits {
    uint64_t message_size, session_size;
    uint64_t recipients;
    uint64_t connections, connections_per_client;
    uint64_t idle_ms;            /* a silent client between commands */
    uint64_t command_timeout_ms; /* for the first command, a handshake, more data */
    uint64_t data_rate;          /* bytes a second, on average over the message's data */
    uint64_t errors;             /* bad commands before 421 */
    uint64_t memory;             /* bodies of all sessions together */
    uint64_t message_memory;     /* one body; what is more goes to the store at once */
    struct config_rates rate;    /* where the profile says nothing else */
};

struct config_credentials {
    const char *user, *password_file;
};

struct config_domain {
    struct config_pos at;
    const char *name; /* lower case; "*.example.net" takes all below it */
    enum config_domain_type type;
    bool relay;
    struct config_hop smart_host;
    enum config_delivery_tls tls; /* delivery.tls where the domain does not say */
    bool tls_given;
    const char *ca_file; /* delivery.ca_file where the domain does not say */
    struct config_credentials authentication;
};

struct config_delivery {
    struct config_hop smart_host;
    bool direct_first;
    enum config_delivery_tls tls;
    const char *ca_file; /* "" = the system's roots */
    struct config_credentials authentication;
    uint64_t connections, connections_per_destination, messages_per_connection;
    uint64_t port;
    const char *masquerade, *ndr_copy_to;
    struct config_numbers retry_ms; /* at least one; the last repeats */
    uint64_t delay_notice_ms, expire_ms;
    uint64_t hop_limit;
    uint64_t connect_timeout_ms;
    uint64_t idle_ms;  /* a next hop that says nothing for so long is given up */
    uint64_t reuse_ms; /* an idle connection is kept open for the next message for so long */
};

struct config_logging {
    enum config_log_level level;
    enum config_log_format format;
    bool protocol;
    const char *file; /* "" = standard error (the journal under systemd) */
    uint64_t rotate_size, rotate_age_ms, rotate_keep;
};

struct config_resolver {
    struct config_list servers; /* as they stand */
    const struct config_endpoint
        *endpoints; /* servers.count of them; port 53 where none is given */
    uint64_t timeout_ms;
};

struct config_queue {
    enum config_store store;
    uint64_t reserve; /* disk space kept back so that results can always be recorded */
};

struct config_pickup {
    bool enabled;
    bool relay; /* its messages have the relay right: an explicit rule, shown by explain */
};

struct config {
    struct arena arena;
    const char *path;   /* as it was given */
    const char *folder; /* of the file */
    struct span text;   /* the file's, as it was read */
    const struct yaml_node *tree;
    struct config_service service;
    struct {
        const struct config_listener *items;
        size_t count;
    } listeners;
    struct config_tls tls;
    struct config_authentication authentication;
    struct config_access access;
    struct config_limits limits;
    struct {
        const struct config_domain *items;
        size_t count;
    } domains;
    struct config_delivery delivery;
    struct config_logging logging;
    struct config_resolver resolver;
    struct config_queue queue;
    struct config_pickup pickup;
    struct config_endpoint admin; /* admin.address */
};

/* Reads, checks and binds the file. On CONFIG_OK messages may hold warnings; otherwise they hold at
 * least one error. *out is to be released with config_free; on CONFIG_INVALID it may hold what
 * could be bound, so that more can be found wrong with it, and must not be used for anything else.
 * In all other cases it is NULL. */
enum config_result config_load(const char *path, struct config **out, struct config_messages *m);

/* The same from memory; path is only named. */
enum config_result config_parse(const char *path, struct span text, struct config **out,
                                struct config_messages *m);
void config_free(struct config **c);

/* Where an option stands, by its path ("access.relay.authenticated", "domains[2].relay"): its own
 * key if the file has it, else the nearest section around it that the file has, else line 0.
 * given (may be NULL) tells whether it was the option itself. */
struct config_pos config_where(const struct config *c, const char *path, bool *given);

/* A path that stands in the configuration; relative ones are taken from the file's folder, and
 * "credential:NAME" is a file that the service manager hands in (docs/decisions/0060). In the
 * arena given; NULL when it is too long, NAME is none, or there is no memory. */
const char *config_file_path(const struct config *c, struct arena *a, const char *path);

#endif
