#include "config/schema.h"

#include <string.h>

static const char *const words_listener_tls[] = {"none", "optional", "required", "implicit", NULL};
static const char *const words_bare_lf[] = {"reject", "normalise", NULL};
static const char *const words_profile_lf[] = {"listener", "reject", "normalise", NULL};
static const char *const words_profile_tls[] = {"default", "1.0", "1.1", "1.2", "1.3", NULL};
static const char *const words_version[] = {"1.0", "1.1", "1.2", "1.3", NULL};
static const char *const words_mechanisms[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256",
                                               "SCRAM-SHA-256-PLUS", NULL};
static const char *const words_all_mechanisms[] = {
    "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "GSSAPI", "GSS-SPNEGO", "NTLM", NULL};
static const char *const words_integrated[] = {"GSSAPI", "GSS-SPNEGO", "NTLM", NULL};
static const char *const words_backend[] = {"userdb", "system", "ldap", "kerberos", NULL};
static const char *const words_grant[] = {"all-except", "only", NULL};
static const char *const words_domain[] = {"local", "remote", NULL};
static const char *const words_delivery_tls[] = {"none", "optional", "required", "verify", NULL};
static const char *const words_level[] = {"debug", "info", "warn", "error", NULL};
static const char *const words_format[] = {"text", "json", "w3c", NULL};
static const char *const words_store[] = {"sqlite", "memory", NULL};
static const char *const words_mode[] = {"enforce", "observe", NULL};

#define AT(member) .offset = offsetof(struct config, member)
#define AT_LISTENER(member) .offset = offsetof(struct config_listener, member)
#define AT_PAIR(member) .offset = offsetof(struct config_certificate, member)
#define AT_ACCOUNTS(member) .offset = offsetof(struct config_auth_domain, member)
#define AT_PROFILE(member) .offset = offsetof(struct config_profile, member)
#define AT_DOMAIN(member) .offset = offsetof(struct config_domain, member)

#define SECTION(p, ...)                                                                            \
    {                                                                                              \
        .path = (p), .type = SCHEMA_SECTION, __VA_ARGS__                                           \
    }
#define OPTION(p, t, ...)                                                                          \
    {                                                                                              \
        .path = (p), .type = SCHEMA_##t, __VA_ARGS__                                               \
    }

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
#define DAY ((uint64_t)24 * HOUR)
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define RANGE(least, most) .min = (least), .max = (most)

/* One option reads as one paragraph. */
/* clang-format off */
const struct schema_option schema_options[] = {
SECTION("service", .help = "The service itself."),
OPTION("service.hostname", HOST, AT(service.hostname), .value = "",
    .help = "The name in the banner, EHLO and Received. Empty: the machine's own full name.",
    .iis = "Fully-qualified domain name"),
OPTION("service.data_directory", TEXT, AT(service.data_directory), .value = "/var/lib/postern",
    .help = "Holds queue.db, users.db and mail/{Pickup,Drop,Badmail}; made if missing. "
            "A relative path is taken from the configuration file's folder."),
OPTION("service.user", TEXT, AT(service.user), .value = "",
    .help = "Become this user after the ports are bound. Empty: stay who started it."),
OPTION("service.stop_timeout", DURATION, AT(service.stop_timeout_ms), .value = "10s",
    RANGE(0, 10 * MINUTE), .help = "How long sessions may finish their message when the service stops."),
OPTION("service.workers", COUNT, AT(service.workers), .value = "0", RANGE(0, 256),
    .help = "Threads that serve sessions. 0: one for each core."),

OPTION("listeners", ITEMS, AT(listeners), .item_size = sizeof(struct config_listener),
    .help = "Where clients connect. Left out: one listener on 0.0.0.0:25 and one on [::]:25, both "
            "with `tls: optional`.",
    .iis = "Advanced (IP address, TCP port)"),
OPTION("listeners[].address", ENDPOINT, AT_LISTENER(address), .flags = SCHEMA_REQUIRED,
    .help = "Address and port. An IPv6 listener takes IPv6 only: name both for both."),
OPTION("listeners[].tls", WORD, AT_LISTENER(tls), .words = words_listener_tls, .value = "optional",
    .help = "none; optional: STARTTLS is offered as soon as there is a certificate; required: "
            "STARTTLS before MAIL and AUTH; implicit: TLS from the first byte.",
    .iis = "Require TLS encryption"),
OPTION("listeners[].anonymous", TRISTATE, AT_LISTENER(anonymous),
    .help = "Whether MAIL is taken without authentication on this listener. Left out: as "
            "authentication.anonymous says."),
OPTION("listeners[].mechanisms", WORDS, AT_LISTENER(mechanisms), .words = words_all_mechanisms,
    .value = "", .help = "Narrows the mechanisms that are offered on this listener. Left out: all."),
OPTION("listeners[].bare_lf", WORD, AT_LISTENER(bare_lf), .words = words_bare_lf, .value = "reject",
    .help = "Lines that end in LF alone: reject, or normalise for old devices (taken, written as "
            "CRLF). A message ends with CRLF.CRLF alone, always."),

SECTION("tls", .help = "The certificate that listeners show, and what they accept."),
OPTION("tls.certificate", TEXT, AT(tls.certificate), .value = "",
    .help = "PEM file with the certificate and its chain. Empty: no TLS is offered.",
    .iis = "Certificate"),
OPTION("tls.key", TEXT, AT(tls.key), .value = "",
    .help = "PEM file with the private key. Empty: it stands in the certificate's file."),
OPTION("tls.store", TEXT, AT(tls.store), .value = "",
    .help = "Windows, in place of certificate and key: the store that holds both, LocalMachine/My as "
            "a rule. The key stays there. Needs subject or thumbprint."),
OPTION("tls.subject", TEXT, AT(tls.subject), .value = "",
    .help = "Windows: the newest valid certificate of the store for this host name; one with the "
            "name *.example.net is for each host of it. Or parts of the full subject, as `CN=relay, "
            "O=Example`. A renewed one is taken as soon as it is there."),
OPTION("tls.thumbprint", TEXT, AT(tls.thumbprint), .value = "",
    .help = "Windows: the certificate of the store with this thumbprint (SHA-1), and no other, a "
            "renewed one neither. Spaces and case do not matter.", .iis = "SSLCertHash"),
OPTION("tls.certificates", ITEMS, AT(tls.certificates), .item_size = sizeof(struct config_certificate),
    .help = "Further ones, of files or of the store, chosen by the name the client asks for (SNI)."),
OPTION("tls.certificates[].certificate", TEXT, AT_PAIR(certificate), .value = "",
    .help = "As tls.certificate."),
OPTION("tls.certificates[].key", TEXT, AT_PAIR(key), .value = "", .help = "As tls.key."),
OPTION("tls.certificates[].store", TEXT, AT_PAIR(store), .value = "", .help = "As tls.store."),
OPTION("tls.certificates[].subject", TEXT, AT_PAIR(subject), .value = "", .help = "As tls.subject."),
OPTION("tls.certificates[].thumbprint", TEXT, AT_PAIR(thumbprint), .value = "",
    .help = "As tls.thumbprint."),
OPTION("tls.minimum_version", WORD, AT(tls.minimum_version), .words = words_version, .value = "1.2",
    .help = "The oldest TLS version that is spoken with clients. Below 1.2 for old devices only."),
OPTION("tls.ciphers", TEXT, AT(tls.ciphers), .value = "",
    .help = "Ciphers for TLS 1.2 and below, as `openssl ciphers` writes them, best first. Empty: "
            "ECDHE with AES-GCM or ChaCha20, and with a minimum_version below 1.2 those of old "
            "devices too."),
OPTION("tls.ciphersuites", TEXT, AT(tls.ciphersuites), .value = "",
    .help = "Cipher suites for TLS 1.3, as TLS_AES_128_GCM_SHA256, with colons between. Empty: "
            "OpenSSL's three."),

SECTION("authentication", .help = "Who may prove to be somebody, and how."),
OPTION("authentication.anonymous", BOOL, AT(authentication.anonymous), .value = "true",
    .help = "Whether MAIL is taken without authentication. false: 530 5.7.1, for local domains and "
            "listed clients too.", .iis = "Anonymous access"),
OPTION("authentication.name_in_received", BOOL, AT(authentication.name_in_received),
    .value = "false", .help = "Whether Received tells who has authenticated, as DOMAIN\\account. It "
            "goes out with the message, and names of accounts help who guesses passwords."),
OPTION("authentication.mechanisms", WORDS, AT(authentication.mechanisms), .words = words_mechanisms,
    .value = "PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-256-PLUS",
    .help = "Narrows the mechanisms that are offered."),
SECTION("authentication.scram", .help = "SCRAM-SHA-256, against the embedded user database."),
OPTION("authentication.scram.require_tls", BOOL, AT(authentication.scram.require_tls), .value = "true",
    .help = "Offer SCRAM inside TLS only."),
OPTION("authentication.scram.iterations", COUNT, AT(authentication.scram.iterations),
    .value = "100000", RANGE(100000, 10000000),
    .help = "PBKDF2 iterations of verifiers that are made from now on."),
SECTION("authentication.basic", .help = "PLAIN and LOGIN: the password itself is sent.",
    .iis = "Basic authentication"),
OPTION("authentication.basic.enabled", BOOL, AT(authentication.basic.enabled), .value = "true",
    .help = "Offer PLAIN and LOGIN.", .iis = "Basic authentication"),
OPTION("authentication.basic.require_tls", BOOL, AT(authentication.basic.require_tls), .value = "true",
    .help = "Inside TLS only. With false, passwords travel in clear.", .iis = "Requires TLS encryption"),
OPTION("authentication.basic.default_domain", TEXT, AT(authentication.basic.default_domain),
    .value = "", .help = "The domain (of authentication.domains) of a bare user name. Empty: the first.",
    .iis = "Default domain"),
SECTION("authentication.integrated",
    .help = "Kerberos, SPNEGO and NTLM: the client proves who it is without sending a password.",
    .iis = "Integrated Windows Authentication"),
OPTION("authentication.integrated.enabled", BOOL, AT(authentication.integrated.enabled),
    .value = "false", .help = "Offer those that prove themselves at start and on reload.",
    .iis = "Integrated Windows Authentication"),
OPTION("authentication.integrated.mechanisms", WORDS, AT(authentication.integrated.mechanisms),
    .words = words_integrated, .value = "GSSAPI, GSS-SPNEGO, NTLM", .help = "Which of them."),
OPTION("authentication.integrated.keytab", TEXT, AT(authentication.integrated.keytab), .value = "",
    .help = "Keytab file with the keys of smtp/HOST and SMTPSVC/HOST. Empty: the system's."),
OPTION("authentication.integrated.ntlm_auth", TEXT, AT(authentication.integrated.ntlm_auth),
    .value = "", .help = "Samba's ntlm_auth program, with its arguments, for NTLM. Empty: no NTLM."),
OPTION("authentication.domains", ITEMS, AT(authentication.domains),
    .item_size = sizeof(struct config_auth_domain),
    .help = "Where accounts come from. The first entry that has the domain the client gave is "
            "asked. Left out: one embedded user database named users."),
OPTION("authentication.domains[].name", TEXT, AT_ACCOUNTS(name), .flags = SCHEMA_REQUIRED,
    .help = "The domain in DOMAIN\\user or user@domain; \".\" is this machine."),
OPTION("authentication.domains[].aliases", LIST, AT_ACCOUNTS(aliases), .value = "",
    .help = "Further names for it."),
OPTION("authentication.domains[].backend", WORD, AT_ACCOUNTS(backend), .words = words_backend,
    .value = "userdb", .help = "Who knows the accounts: the embedded user database, this machine "
            "(and the domain it is joined to), an LDAP server, a Kerberos realm."),
OPTION("authentication.domains[].allow", LIST, AT_ACCOUNTS(allow), .value = "",
    .help = "Accounts and groups of this domain that may authenticate, as DOMAIN\\name. Left out: "
            "all."),
OPTION("authentication.domains[].deadline", DURATION, AT_ACCOUNTS(deadline_ms), .value = "5s",
    RANGE(SECOND, 9 * SECOND),
    .help = "all but userdb: how long one check may take; then the client gets 454."),
OPTION("authentication.domains[].lockout_below", COUNT, AT_ACCOUNTS(lockout_below), .value = "4",
    RANGE(1, 1000), .help = "all but userdb: so many wrong passwords of one account may reach the "
            "domain within lockout_window, so that it is never locked by us; keep it below the "
            "domain's own threshold. The last of them is kept for passwords that were right within "
            "a day."),
OPTION("authentication.domains[].lockout_window", DURATION, AT_ACCOUNTS(lockout_window_ms),
    .value = "30m", RANGE(MINUTE, 7 * DAY), .help = "all but userdb: how long after the last wrong "
            "password the domain forgets them; not shorter than there."),
OPTION("authentication.domains[].pam_service", TEXT, AT_ACCOUNTS(pam_service), .value = "postern",
    .help = "system: the PAM service, a file in /etc/pam.d."),
OPTION("authentication.domains[].pam_name", TEXT, AT_ACCOUNTS(pam_name), .value = "{domain}\\{user}",
    .help = "system: what PAM and the name service call an account (and a group) of a domain that "
            "the machine has joined. As it is for winbind; {user}@{domain} for SSSD with full "
            "names."),
OPTION("authentication.domains[].helper", TEXT, AT_ACCOUNTS(helper), .value = "",
    .help = "system: the socket of the account helper. Empty: Postern starts one itself."),
OPTION("authentication.domains[].url", TEXT, AT_ACCOUNTS(url), .value = "",
    .help = "ldap: ldaps://host or ldap://host (with StartTLS); several, by spaces, are tried in "
            "order."),
OPTION("authentication.domains[].ca_file", TEXT, AT_ACCOUNTS(ca_file),
    .value = "", .help = "ldap: PEM file with the authorities to trust. Empty: the system's."),
OPTION("authentication.domains[].bind", TEXT, AT_ACCOUNTS(bind), .value = "",
    .help = "ldap: the name to bind as; {user} stands for the user."),
OPTION("authentication.domains[].base", TEXT, AT_ACCOUNTS(base), .value = "",
    .help = "ldap: where accounts and groups are looked up, for `allow`. Empty: the directory's "
            "default naming context."),
OPTION("authentication.domains[].realm", TEXT, AT_ACCOUNTS(realm), .value = "",
    .help = "kerberos: the realm. Empty: the domain's name in upper case."),
OPTION("authentication.domains[].service", TEXT, AT_ACCOUNTS(service),
    .value = "smtp", .help = "kerberos: the service in our principal."),
OPTION("authentication.domains[].keytab", TEXT, AT_ACCOUNTS(keytab),
    .value = "", .help = "kerberos: keytab file. Empty: the system's."),
OPTION("authentication.domains[].kdc", LIST, AT_ACCOUNTS(kdc), .value = "",
    .help = "kerberos: host or host:port of the KDCs. Left out: as krb5.conf or DNS say."),
SECTION("authentication.throttle", .help = "What guessing passwords costs, for each client address "
            "and each account."),
OPTION("authentication.throttle.delay", DURATION, AT(authentication.throttle.delay_ms), .value = "1s",
    RANGE(0, MINUTE), .help = "The delay of the answer to a wrong password."),
OPTION("authentication.throttle.free_failures", COUNT, AT(authentication.throttle.free_failures),
    .value = "3", RANGE(1, 1000), .help = "Wrong passwords of a client that cost this delay only."),
OPTION("authentication.throttle.delay_max", DURATION, AT(authentication.throttle.delay_max_ms),
    .value = "30s", RANGE(0, 5 * MINUTE), .help = "Up to which its delay doubles from then on."),
OPTION("authentication.throttle.account_delay_max", DURATION,
    AT(authentication.throttle.account_delay_max_ms), .value = "5s", RANGE(0, MINUTE),
    .help = "What the account, from wherever it is guessed at, adds at most; it is never locked."),
OPTION("authentication.throttle.refuse_after", COUNT, AT(authentication.throttle.refuse_after),
    .value = "10", RANGE(1, 1000000),
    .help = "Wrong passwords after which a client's are not looked at for a while (454)."),
OPTION("authentication.throttle.refuse", DURATION, AT(authentication.throttle.refuse_ms),
    .value = "1m", RANGE(SECOND, DAY), .help = "How long the first such while is; it doubles,"),
OPTION("authentication.throttle.refuse_max", DURATION, AT(authentication.throttle.refuse_max_ms),
    .value = "1h", RANGE(SECOND, DAY), .help = "up to this."),
OPTION("authentication.throttle.decay", DURATION, AT(authentication.throttle.decay_ms),
    .value = "10m", RANGE(SECOND, DAY), .help = "After each of these one failure is forgotten."),

SECTION("access", .help = "Who may connect and who may relay. A list entry is `self` (this machine), "
            "an address, address/bits, address/mask, first-last, a host name, `*.domain`, "
            "`/PCRE2 pattern/` or `file:` with one entry a line. Names are checked by reverse DNS and "
            "forward confirmation."),
OPTION("access.i_know_this_is_an_open_relay", BOOL, AT(access.i_know_this_is_an_open_relay),
    .value = "false", .help = "Without it the service does not start as an open relay."),
OPTION("access.mode", WORD, AT(access.mode), .words = words_mode, .value = "enforce",
    .help = "observe: connection control refuses nobody and takes down whom it would have refused, "
            "for `postern access suggest`. Relay restrictions stay in force."),
SECTION("access.connection", .help = "Who may connect.", .iis = "Connection control"),
OPTION("access.connection.grant", WORD, AT(access.connection.grant), .words = words_grant,
    .value = "all-except", .help = "all-except: the list names who may not; only: who may.",
    .iis = "All except the list below / Only the list below"),
OPTION("access.connection.list", LIST, AT(access.connection.list), .value = "",
    .help = "The list."),
SECTION("access.relay", .help = "Who may send to domains that are not ours.",
    .iis = "Relay restrictions"),
OPTION("access.relay.grant", WORD, AT(access.relay.grant), .words = words_grant, .value = "only",
    .help = "only: the list names who may; all-except: who may not (an open relay, nearly always).",
    .iis = "Only the list below / All except the list below"),
OPTION("access.relay.authenticated", BOOL, AT(access.relay.authenticated), .value = "true",
    .help = "Whoever has authenticated may relay, whatever the list says.",
    .iis = "Allow all computers which successfully authenticate to relay, regardless of the list above"),
OPTION("access.relay.list", LIST, AT(access.relay.list), .value = "",
    .help = "The list."),

OPTION("access.profiles", ITEMS, AT(access.profiles), .item_size = sizeof(struct config_profile),
    .help = "What holds for some clients or accounts apart. The first profile that holds both the "
            "client and the account is theirs, and no other. An address pattern is `user@domain`, "
            "`*@domain`, `*@*.domain`, `*`, `<>` (the null sender) or `/PCRE2 pattern/`."),
OPTION("access.profiles[].name", TEXT, AT_PROFILE(name), .flags = SCHEMA_REQUIRED,
    .help = "What it is called, for people."),
OPTION("access.profiles[].clients", LIST, AT_PROFILE(clients), .value = "",
    .help = "Whose it is, in the forms of the other lists. Left out: every client."),
OPTION("access.profiles[].accounts", LIST, AT_PROFILE(accounts), .value = "",
    .help = "Whose it is, by log-in. Left out: whoever, logged in or not."),
OPTION("access.profiles[].senders", LIST, AT_PROFILE(senders), .value = "",
    .help = "The senders (MAIL FROM) they may use, as address patterns. Left out: all."),
SECTION("access.profiles[].recipients", .help = "Whom they may write to, if the other rules allow it; postmaster "
            "always."),
OPTION("access.profiles[].recipients.allow", LIST, AT_PROFILE(recipients.allow), .value = "",
    .help = "Only these, as address patterns. Left out: all."),
OPTION("access.profiles[].recipients.refuse", LIST, AT_PROFILE(recipients.refuse), .value = "",
    .help = "Not these, as address patterns."),
OPTION("access.profiles[].sender", MAILBOX, AT_PROFILE(sender), .value = "",
    .help = "Their mail goes on with this envelope sender, whatever they gave (but for the null "
            "sender): for devices that cannot be set up."),
OPTION("access.profiles[].from", MAILBOX, AT_PROFILE(from), .value = "",
    .help = "Their messages show this address in From:, with the name that was there before it. What "
            "the client has signed (DKIM, S/MIME of the header) does not hold any more."),
OPTION("access.profiles[].bare_lf", WORD, AT_PROFILE(bare_lf), .words = words_profile_lf,
    .value = "listener", .help = "Lines that end in LF alone: as the listener says, or reject or "
            "normalise for these clients (found by their address, not by name or account)."),
OPTION("access.profiles[].tls_minimum", WORD, AT_PROFILE(tls_minimum), .words = words_profile_tls,
    .value = "default", .help = "The oldest TLS version that is spoken with these clients (found by "
            "their address, not by name or account). default: as tls.minimum_version says. Below 1.2 "
            "the ciphers of old devices are taken from them too."),
SECTION("access.profiles[].rate", .help = "Their limits by the minute. What is left out: as limits.rate says; 0: none."),
SECTION("access.profiles[].rate.client", .help = "Of one client address (of IPv6: of its /64)."),
OPTION("access.profiles[].rate.client.connections", COUNT, AT_PROFILE(rate.client.connections), .value = "0",
    RANGE(0, 1000000), .help = "Connections. Left out: as limits.rate says."),
OPTION("access.profiles[].rate.client.messages", COUNT, AT_PROFILE(rate.client.messages), .value = "0",
    RANGE(0, 1000000), .help = "Messages that are begun (MAIL). Left out: as limits.rate says."),
OPTION("access.profiles[].rate.client.recipients", COUNT, AT_PROFILE(rate.client.recipients), .value = "0",
    RANGE(0, 1000000), .help = "Recipients that are taken. Left out: as limits.rate says."),
SECTION("access.profiles[].rate.account", .help = "Of one account, from wherever."),
OPTION("access.profiles[].rate.account.connections", COUNT, AT_PROFILE(rate.account.connections), .value = "0",
    RANGE(0, 1000000), .help = "Connections that send under the account. Left out: as limits.rate says."),
OPTION("access.profiles[].rate.account.messages", COUNT, AT_PROFILE(rate.account.messages), .value = "0",
    RANGE(0, 1000000), .help = "Messages that are begun (MAIL). Left out: as limits.rate says."),
OPTION("access.profiles[].rate.account.recipients", COUNT, AT_PROFILE(rate.account.recipients), .value = "0",
    RANGE(0, 1000000), .help = "Recipients that are taken. Left out: as limits.rate says."),

SECTION("limits", .help = "What one client, and all of them together, may take."),
OPTION("limits.message_size", SIZE, AT(limits.message_size), .value = "25M", RANGE(1 * KIB, 2 * GIB),
    .help = "The largest message.", .iis = "Limit message size to (KB)"),
OPTION("limits.session_size", SIZE, AT(limits.session_size), .value = "100M",
    RANGE(1 * KIB, 1024 * GIB), .help = "All messages of one connection.",
    .iis = "Limit session size to (KB)"),
OPTION("limits.recipients", COUNT, AT(limits.recipients), .value = "100", RANGE(1, 50000),
    .help = "Recipients of one message.", .iis = "Limit number of recipients per message to"),
OPTION("limits.connections", COUNT, AT(limits.connections), .value = "1000", RANGE(1, 100000),
    .help = "Clients at a time.", .iis = "Limit number of connections to"),
OPTION("limits.connections_per_client", COUNT, AT(limits.connections_per_client), .value = "50",
    RANGE(1, 100000), .help = "Of one address at a time."),
OPTION("limits.idle", DURATION, AT(limits.idle_ms), .value = "10m", RANGE(SECOND, DAY),
    .help = "A client that is silent for so long is closed with 421.",
    .iis = "Connection time-out (minutes)"),
OPTION("limits.command_timeout", DURATION, AT(limits.command_timeout_ms), .value = "5m",
    RANGE(SECOND, HOUR), .help = "For the first command, a TLS handshake, and the next piece of a message's data."),
OPTION("limits.data_rate", SIZE, AT(limits.data_rate), .value = "500", RANGE(0, 100 * MIB),
    .help = "Bytes a second that a message's data must reach on average."),
OPTION("limits.errors", COUNT, AT(limits.errors), .value = "20", RANGE(1, 10000),
    .help = "Bad commands after which a connection is closed with 421."),
OPTION("limits.memory", SIZE, AT(limits.memory), .value = "256M", RANGE(1 * MIB, 1024 * GIB),
    .help = "Message bodies in memory, of all sessions together; past it 452."),
OPTION("limits.message_memory", SIZE, AT(limits.message_memory), .value = "256K",
    RANGE(16 * KIB, 64 * MIB), .help = "Of one message; what is more goes to the store at once."),
SECTION("limits.rate", .help = "At most so many within any minute, for whoever has no profile with "
            "a limit of its own. 0: as many as they like. Past it 421 (connections), 450 (messages) or "
            "452 (recipients)."),
SECTION("limits.rate.client", .help = "Of one client address (of IPv6: of its /64)."),
OPTION("limits.rate.client.connections", COUNT, AT(limits.rate.client.connections), .value = "0",
    RANGE(0, 1000000), .help = "Connections."),
OPTION("limits.rate.client.messages", COUNT, AT(limits.rate.client.messages), .value = "0",
    RANGE(0, 1000000), .help = "Messages that are begun (MAIL)."),
OPTION("limits.rate.client.recipients", COUNT, AT(limits.rate.client.recipients), .value = "0",
    RANGE(0, 1000000), .help = "Recipients that are taken."),
SECTION("limits.rate.account", .help = "Of one account, from wherever."),
OPTION("limits.rate.account.connections", COUNT, AT(limits.rate.account.connections), .value = "0",
    RANGE(0, 1000000), .help = "Connections that send under the account."),
OPTION("limits.rate.account.messages", COUNT, AT(limits.rate.account.messages), .value = "0",
    RANGE(0, 1000000), .help = "Messages that are begun (MAIL)."),
OPTION("limits.rate.account.recipients", COUNT, AT(limits.rate.account.recipients), .value = "0",
    RANGE(0, 1000000), .help = "Recipients that are taken."),

OPTION("domains", ITEMS, AT(domains), .item_size = sizeof(struct config_domain),
    .help = "Mail domains that are treated apart. All others: delivery.", .iis = "Domains"),
OPTION("domains[].name", DOMAIN, AT_DOMAIN(name), .flags = SCHEMA_REQUIRED,
    .help = "The domain; `*.domain` takes every name below it."),
OPTION("domains[].type", WORD, AT_DOMAIN(type), .words = words_domain, .flags = SCHEMA_REQUIRED,
    .help = "local: to the Drop directory; remote: passed on.", .iis = "Local / Remote domain"),
OPTION("domains[].relay", BOOL, AT_DOMAIN(relay), .value = "false",
    .help = "remote: mail for it is taken from everybody who may connect.",
    .iis = "Allow incoming mail to be relayed to this domain"),
OPTION("domains[].smart_host", HOP, AT_DOMAIN(smart_host), .value = "",
    .help = "remote: where its mail goes. Empty: as delivery says.",
    .iis = "Forward all mail to smart host"),
OPTION("domains[].tls", WORD, AT_DOMAIN(tls), .words = words_delivery_tls,
    .help = "As delivery.tls. Left out: what delivery.tls says."),
OPTION("domains[].ca_file", TEXT, AT_DOMAIN(ca_file),
    .help = "As delivery.ca_file. Left out: what delivery.ca_file says."),
SECTION("domains[].authentication", .help = "remote: as delivery.authentication.",
    .iis = "Outbound Security"),
OPTION("domains[].authentication.user", TEXT, AT_DOMAIN(authentication.user), .value = "",
    .help = "As delivery.authentication.user."),
OPTION("domains[].authentication.password_file", TEXT, AT_DOMAIN(authentication.password_file),
    .value = "", .help = "As delivery.authentication.password_file."),

SECTION("delivery", .help = "How mail leaves."),
OPTION("delivery.smart_host", HOP, AT(delivery.smart_host), .value = "",
    .help = "All mail for other domains goes there; \"[10.0.0.1]:25\" skips DNS. Empty: by MX.",
    .iis = "Smart host"),
OPTION("delivery.direct_first", BOOL, AT(delivery.direct_first), .value = "false",
    .help = "Try MX before the smart host.",
    .iis = "Attempt direct delivery before sending to smart host"),
OPTION("delivery.tls", WORD, AT(delivery.tls), .words = words_delivery_tls, .value = "optional",
    .help = "none; optional: where it is offered; required: encrypted, with whomever; verify: chain "
            "and name too.", .iis = "Outbound Security: TLS encryption"),
OPTION("delivery.ca_file", TEXT, AT(delivery.ca_file), .value = "",
    .help = "PEM file with the authorities to trust. Empty: the system's."),
SECTION("delivery.authentication", .help = "How we authenticate at the smart host; never in clear.",
    .iis = "Outbound Security"),
OPTION("delivery.authentication.user", TEXT, AT(delivery.authentication.user), .value = "",
    .help = "The account. Empty: none."),
OPTION("delivery.authentication.password_file", TEXT, AT(delivery.authentication.password_file),
    .value = "", .help = "File whose first line is the password."),
OPTION("delivery.connections", COUNT, AT(delivery.connections), .value = "1000", RANGE(1, 100000),
    .help = "Outbound connections at a time.", .iis = "Outbound: limit number of connections to"),
OPTION("delivery.connections_per_destination", COUNT, AT(delivery.connections_per_destination),
    .value = "100", RANGE(1, 100000), .help = "To one next hop at a time.",
    .iis = "Limit number of connections per domain to"),
OPTION("delivery.messages_per_connection", COUNT, AT(delivery.messages_per_connection),
    .value = "100", RANGE(1, 100000), .help = "After which a fresh connection is made.",
    .iis = "Limit number of messages per connection to"),
OPTION("delivery.port", COUNT, AT(delivery.port), .value = "25", RANGE(1, 65535),
    .help = "Where a next hop names none.", .iis = "Outbound TCP port"),
OPTION("delivery.masquerade", DOMAIN, AT(delivery.masquerade), .value = "",
    .help = "Written in place of the local domains in senders.", .iis = "Masquerade domain"),
OPTION("delivery.ndr_copy_to", MAILBOX, AT(delivery.ndr_copy_to), .value = "",
    .help = "Gets a copy of each non-delivery report.", .iis = "Send copy of Non-Delivery Report to"),
OPTION("delivery.retry", DURATIONS, AT(delivery.retry_ms), .value = "15m, 30m, 60m, 240m",
    RANGE(SECOND, 7 * DAY), .help = "Waiting times between attempts; the last repeats until expire.",
    .iis = "First, second, third, subsequent retry interval (minutes)"),
OPTION("delivery.delay_notice", DURATION, AT(delivery.delay_notice_ms), .value = "12h",
    RANGE(0, 30 * DAY), .help = "After which the sender is told that his mail waits. 0s: never.",
    .iis = "Delay notification"),
OPTION("delivery.expire", DURATION, AT(delivery.expire_ms), .value = "2d", RANGE(SECOND, 30 * DAY),
    .help = "After which a message is returned.", .iis = "Expiration time-out"),
OPTION("delivery.hop_limit", COUNT, AT(delivery.hop_limit), .value = "15", RANGE(1, 1000),
    .help = "Received lines with which a message is taken for looping.", .iis = "Maximum hop count"),
OPTION("delivery.connect_timeout", DURATION, AT(delivery.connect_timeout_ms), .value = "30s",
    RANGE(SECOND, HOUR), .help = "For one connection to come about."),
OPTION("delivery.idle", DURATION, AT(delivery.idle_ms), .value = "10m", RANGE(SECOND, HOUR),
    .help = "A next hop that says nothing for so long is given up.", .iis = "Outbound: time-out (minutes)"),
OPTION("delivery.reuse", DURATION, AT(delivery.reuse_ms), .value = "5s", RANGE(0, 5 * MINUTE),
    .help = "An idle connection waits for the next message for so long."),

SECTION("pickup", .help = "Files in mail/Pickup become mail.", .iis = "Pickup directory"),
OPTION("pickup.enabled", BOOL, AT(pickup.enabled), .value = "true", .help = "Look for them."),
OPTION("pickup.relay", BOOL, AT(pickup.relay), .value = "true",
    .help = "They have the relay right: whoever may write into the directory may relay."),

SECTION("queue", .help = "Where accepted messages wait."),
OPTION("queue.store", WORD, AT(queue.store), .words = words_store, .value = "sqlite",
    .help = "sqlite: on disk, safe; memory: lost when the service ends, for tests."),
OPTION("queue.reserve", SIZE, AT(queue.reserve), .value = "64M", RANGE(0, 64 * GIB),
    .help = "Free disk space below which no message is taken (452)."),

SECTION("resolver", .help = "DNS."),
OPTION("resolver.servers", LIST, AT(resolver.servers), .value = "",
    .help = "Name servers, as 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:53. Empty: the system's.",
    .iis = "External DNS servers"),
OPTION("resolver.timeout", DURATION, AT(resolver.timeout_ms), .value = "5s",
    RANGE(100, MINUTE), .help = "For one question."),

SECTION("logging", .help = "What is told to the log."),
OPTION("logging.level", WORD, AT(logging.level), .words = words_level, .value = "info",
    .help = "The least that is told."),
OPTION("logging.format", WORD, AT(logging.format), .words = words_format,
    .value = "text", .help = "Form of a line. w3c: one row for each command of a client with its "
    "reply, in logging.file, with the fields of IIS; events go to standard error, as text.",
    .iis = "Active log format"),
OPTION("logging.protocol", BOOL, AT(logging.protocol), .value = "false",
    .help = "Tell every command and reply, credentials blanked."),
OPTION("logging.file", TEXT, AT(logging.file), .value = "",
    .help = "Empty: standard error, which systemd hands to the journal."),
SECTION("logging.rotate", .help = "When logging.file gives way to a new one. The old one gets the "
    "time behind its name: postern.log.20261124-000000."),
OPTION("logging.rotate.size", SIZE, AT(logging.rotate_size), .value = "20M", RANGE(0, UINT64_MAX),
    .help = "Looked at every second. 0: it may be as large as it likes.", .iis = "New log time period, file size"),
OPTION("logging.rotate.age", DURATION, AT(logging.rotate_age_ms), .value = "1d", RANGE(0, 366 * DAY),
    .help = "1d: at midnight UTC; 1h: with the hour. 0: never for its age.", .iis = "New log time period"),
OPTION("logging.rotate.keep", COUNT, AT(logging.rotate_keep), .value = "30", RANGE(1, 10000),
    .help = "How many old ones stay; those before are deleted."),

SECTION("admin", .flags = SCHEMA_LATER, .help = "The administration page."),
OPTION("admin.address", ENDPOINT, AT(admin), .help = "Loopback address and port."),
};
/* clang-format on */
const size_t schema_option_count = sizeof schema_options / sizeof *schema_options;

const struct schema_option *schema_find(struct span path)
{
    for (size_t i = 0; i < schema_option_count; i++)
        if (span_equal(span_str(schema_options[i].path), path))
            return &schema_options[i];
    return NULL;
}

bool schema_is_child(const struct schema_option *option, struct span prefix)
{
    struct span path = span_str(option->path);
    return path.n > prefix.n && span_equal(span_sub(path, 0, prefix.n), prefix) &&
           span_find(span_from(path, prefix.n), '.') == path.n - prefix.n;
}
