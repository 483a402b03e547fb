/* postern send: the functional test client. One message through the same client engine, connection
 * and TLS code as deliveries go through. */
#include "commands/commands.h"

#include "auth/client.h"
#include "commands/send_message.h"
#include "net/conn.h"
#include "net/resolver.h"
#include "platform/clock.h"
#include "platform/process.h"
#include "platform/sock.h"
#include "platform/terminal.h"
#include "smtp/client_engine.h"
#include "smtp/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 30000, PASSWORD_MAX = 4096, RECIPIENTS_MAX = 100 };

enum send_tls { SEND_NONE, SEND_OPTIONAL, SEND_REQUIRED, SEND_VERIFY, SEND_IMPLICIT };

struct send {
    /* what was asked for */
    const char *to, *from, *server, *tls_text, *user, *subject, *body, *file, *ca_file, *helo,
        *config;
    bool password_stdin, verbose;
    enum send_tls tls;
    char host[256], hello[256];
    uint16_t port;
    struct secret password;
    struct smtp_client_recipient recipients[RECIPIENTS_MAX];
    size_t recipient_count;
    struct smtp_client_transaction transaction;
    struct buf message;
    bool eightbit;
    /* how it goes */
    struct worker *worker;
    struct resolver *resolver;
    struct resolver_call *call;
    struct netaddr addresses[8];
    size_t address_count, address;
    struct conn *conn;
    struct tls_context *trust;
    struct smtp_client engine;
    struct auth_client *auth;
    bool engine_live, started;
    size_t sent;
    size_t delivered, refused, deferred;
    int code;
};

static void pump(struct send *s);

static int64_t now_ms(const struct send *s)
{
    return (int64_t)worker_now_ms(s->worker);
}

static void stop(struct send *s, int code)
{
    s->code = code;
    worker_stop(s->worker);
}

static void fail(struct send *s, const char *what)
{
    fprintf(stderr, "postern send: %s:%u: %s\n", s->host, (unsigned)s->port, what);
    stop(s, EXIT_IO);
}

/* ---- AUTH ---- */

static void auth_begin(struct send *s, struct span offered)
{
    struct err e = {0};
    struct tls_binding binding = {0};
    const char *mechanism;
    bool has_initial;
    struct span initial;
    bool tls = conn_is_tls(s->conn);
    if (tls)
        (void)conn_tls_binding(s->conn, &binding);
    const struct auth_client_options options = {
        .offered = offered,
        .hostname = s->host,
        .user = s->user,
        .password = secret_span(&s->password),
        .tls = tls,
        .binding = {.type = binding.type, .bytes = span_of(binding.data, binding.n)}};
    if (!auth_client_new(&options, &s->auth, &e) ||
        !auth_client_start(s->auth, &mechanism, &has_initial, &initial, &e)) {
        fprintf(stderr, "postern send: authentication: %s\n", e.text);
        s->code = EXIT_NO;
        smtp_client_quit(&s->engine, now_ms(s));
        return;
    }
    if (s->verbose)
        fprintf(stderr, "authenticating as %s with %s\n", s->user, mechanism);
    smtp_client_auth(&s->engine, mechanism, has_initial, initial, now_ms(s));
}

static void auth_challenge(struct send *s, struct span challenge)
{
    struct err e = {0};
    struct span response;
    if (auth_client_step(s->auth, challenge, &response, &e)) {
        smtp_client_auth_answer(&s->engine, response, now_ms(s));
        return;
    }
    fprintf(stderr, "postern send: authentication: %s\n", e.text);
    smtp_client_auth_cancel(&s->engine, now_ms(s));
}

/* ---- the transaction ---- */

static void begin(struct send *s)
{
    struct err e = {0};
    if (s->started) {
        smtp_client_quit(&s->engine, now_ms(s));
        return;
    }
    s->started = true;
    s->transaction = (struct smtp_client_transaction){.sender = span_str(s->from),
                                                      .recipients = s->recipients,
                                                      .recipient_count = s->recipient_count,
                                                      .size = s->message.n,
                                                      .eightbit = s->eightbit};
    if (!smtp_client_start(&s->engine, &s->transaction, now_ms(s), &e))
        fail(s, e.text);
}

static void outcome(struct send *s, const struct smtp_client_event *event)
{
    const struct smtp_client_outcome *o = event->outcome;
    struct span to = s->recipients[event->recipient].address;
    static const char *const words[] = {[SMTP_CLIENT_DELIVERED] = "accepted",
                                        [SMTP_CLIENT_DEFERRED] = "deferred",
                                        [SMTP_CLIENT_FAILED] = "refused"};
    size_t *counts[] = {[SMTP_CLIENT_DELIVERED] = &s->delivered,
                        [SMTP_CLIENT_DEFERRED] = &s->deferred,
                        [SMTP_CLIENT_FAILED] = &s->refused};
    ++*counts[o->result];
    printf("%.*s: %s: %d %s %s\n", SPAN_ARG(to), words[o->result], o->code, o->status, o->text);
}

static void handle(struct send *s, const struct smtp_client_event *event)
{
    struct err e = {0};
    switch (event->kind) {
    case SMTP_CLIENT_WANT_TLS:
        conn_tls_client(s->conn, s->trust,
                        s->tls == SEND_VERIFY ? TLS_VERIFY_NAME : TLS_VERIFY_NONE, s->host);
        break;
    case SMTP_CLIENT_AUTH_NEEDED: auth_begin(s, event->data); break;
    case SMTP_CLIENT_AUTH_CHALLENGE: auth_challenge(s, event->data); break;
    case SMTP_CLIENT_AUTH_OK:
        if (!auth_client_finish(s->auth, &e))
            fail(s, e.text);
        break;
    case SMTP_CLIENT_AUTH_REFUSED:
        fprintf(stderr, "postern send: authentication: %d %s %s\n", event->outcome->code,
                event->outcome->status, event->outcome->text);
        s->refused++;
        smtp_client_quit(&s->engine, now_ms(s));
        break;
    case SMTP_CLIENT_READY: begin(s); break;
    case SMTP_CLIENT_WANT_BODY: {
        struct span rest = span_from(buf_span(&s->message), s->sent);
        s->sent += smtp_client_body(&s->engine, rest, true, now_ms(s));
        break;
    }
    case SMTP_CLIENT_RECIPIENT: outcome(s, event); break;
    case SMTP_CLIENT_FINISHED: break;
    case SMTP_CLIENT_CLOSED:
        if (!s->started && s->refused == 0 && s->code == EXIT_DONE) {
            fail(s, event->outcome->text);
            break;
        }
        stop(s, s->refused > 0 || s->code == EXIT_NO ? EXIT_NO
                : s->deferred > 0                    ? EXIT_IO
                                                     : EXIT_DONE);
        break;
    }
}

static void flush(struct send *s)
{
    struct span out;
    while ((out = smtp_client_output(&s->engine)).n > 0) {
        if (s->verbose && !smtp_client_output_is_secret(&s->engine) && s->sent == 0)
            fprintf(stderr, "> %.*s", SPAN_ARG(out));
        size_t n = out.n;
        if (!conn_write(s->conn, out))
            return;
        smtp_client_sent(&s->engine, n, now_ms(s));
    }
}

static void pump(struct send *s)
{
    struct smtp_client_event event;
    bool more = true;
    while (more) {
        more = false;
        while (smtp_client_next_event(&s->engine, now_ms(s), &event)) {
            handle(s, &event);
            more = true;
        }
        flush(s);
    }
    int64_t at = smtp_client_deadline(&s->engine);
    conn_deadline(s->conn, at == SMTP_CLIENT_NO_DEADLINE ? 0 : (uint64_t)at);
}

/* ---- the connection ---- */

static void try_address(struct send *s);

static void on_connected(struct conn *conn, void *arg)
{
    struct send *s = arg;
    static const enum smtp_client_tls demands[] = {[SEND_NONE] = SMTP_CLIENT_TLS_NONE,
                                                   [SEND_OPTIONAL] = SMTP_CLIENT_TLS_OPTIONAL,
                                                   [SEND_REQUIRED] = SMTP_CLIENT_TLS_REQUIRED,
                                                   [SEND_VERIFY] = SMTP_CLIENT_TLS_REQUIRED,
                                                   [SEND_IMPLICIT] = SMTP_CLIENT_TLS_NONE};
    const struct smtp_client_options options = {.hello_name = s->hello,
                                                .tls = demands[s->tls],
                                                .secured = s->tls == SEND_IMPLICIT,
                                                .auth = s->user != NULL,
                                                .auth_needs_tls = false};
    struct err e = {0};
    if (!smtp_client_init(&s->engine, &options, now_ms(s), &e)) {
        fail(s, e.text);
        return;
    }
    s->engine_live = true;
    if (s->tls == SEND_IMPLICIT)
        conn_tls_client(conn, s->trust, TLS_VERIFY_NONE, s->host);
    conn_read_start(conn);
}

static size_t on_data(struct conn *conn, void *arg, struct span bytes)
{
    (void)conn;
    struct send *s = arg;
    if (s->verbose)
        fprintf(stderr, "%.*s", SPAN_ARG(bytes));
    smtp_client_feed(&s->engine, bytes, now_ms(s));
    pump(s);
    return bytes.n;
}

static void on_eof(struct conn *conn, void *arg)
{
    (void)conn;
    struct send *s = arg;
    smtp_client_lost(&s->engine, "the server closed the connection");
    pump(s);
}

static void on_tls(struct conn *conn, void *arg, const struct conn_tls_result *result)
{
    struct send *s = arg;
    char why[512];
    if (result->ok && (s->tls != SEND_VERIFY || result->info.verified)) {
        if (s->verbose)
            fprintf(stderr, "TLS: %s %s\n", result->info.version, result->info.cipher);
        if (s->tls != SEND_IMPLICIT)
            smtp_client_tls_started(&s->engine, now_ms(s));
        conn_read_start(conn);
        pump(s);
        return;
    }
    (void)snprintf(why, sizeof why, "TLS failed: %s",
                   result->ok ? result->info.verify_text : result->failure->reason);
    smtp_client_tls_failed(&s->engine, why);
    fail(s, why);
}

static void on_deadline(struct conn *conn, void *arg)
{
    (void)conn;
    struct send *s = arg;
    smtp_client_timeout(&s->engine, now_ms(s));
    pump(s);
}

static void on_closed(struct conn *conn, void *arg, enum conn_end end, const struct err *why)
{
    (void)conn;
    (void)end;
    struct send *s = arg;
    s->conn = NULL;
    if (!s->engine_live) { /* not connected: the next address */
        s->address++;
        if (s->address < s->address_count)
            try_address(s);
        else
            fail(s, why == NULL || why->class == ERR_NONE ? "cannot connect" : why->text);
        return;
    }
    worker_stop(s->worker);
}

static const struct conn_handlers handlers = {.on_connected = on_connected,
                                              .on_data = on_data,
                                              .on_eof = on_eof,
                                              .on_tls = on_tls,
                                              .on_deadline = on_deadline,
                                              .on_closed = on_closed};

static void try_address(struct send *s)
{
    struct err e = {0};
    const struct sock_address to = {.ip = s->addresses[s->address], .port = s->port};
    s->conn = conn_connect(s->worker, &to, NULL, CONNECT_MS, &handlers, s, &e);
    if (s->conn == NULL)
        fail(s, e.text);
}

static void got_addresses(void *arg, const struct resolver_addresses *answer)
{
    struct send *s = arg;
    s->call = NULL;
    for (size_t i = 0; i < answer->n && i < 8; i++)
        s->addresses[s->address_count++] = answer->list[i];
    if (s->address_count == 0)
        fail(s, answer->why == NULL ? "the host has no address" : answer->why);
    else
        try_address(s);
}

static int run(struct send *s)
{
    struct err e = {0};
    const struct tls_client_options trust = {.ca_file = s->ca_file};
    const struct resolver_options dns = {0};
    s->trust = tls_client_context(&trust, &e);
    s->worker = s->trust == NULL || !sock_start(&e) ? NULL : worker_new("send", 0, &e);
    s->resolver = s->worker == NULL ? NULL : resolver_open(s->worker, &dns, &e);
    if (s->resolver == NULL) {
        fprintf(stderr, "postern send: %s\n", e.text);
        s->code = EXIT_IO;
    } else {
        s->call = resolver_addresses(s->resolver, span_str(s->host), got_addresses, s);
        worker_run(s->worker);
        resolver_close(&s->resolver);
        worker_join(s->worker);
    }
    if (s->engine_live)
        smtp_client_deinit(&s->engine);
    auth_client_free(&s->auth);
    worker_free(&s->worker);
    tls_unref(&s->trust);
    return s->code;
}

/* ---- the command line ---- */

static bool split_server(struct send *s, const char *text)
{
    struct span all = span_str(text), host = all, port = span_str("");
    if (all.n > 0 && all.p[0] == '[') {
        size_t end = span_find(all, ']');
        host = span_sub(all, 1, end == 0 ? 0 : end - 1);
        port = span_from(all, end + 1);
    } else {
        size_t colon = span_rfind(all, ':');
        host = span_sub(all, 0, colon);
        port = span_from(all, colon);
    }
    uint64_t number = s->tls == SEND_IMPLICIT ? 465 : 25;
    if (port.n > 0 && (port.p[0] != ':' || !span_u64(span_from(port, 1), 65535, &number)))
        return false;
    s->port = (uint16_t)number;
    return number > 0 && host.n > 0 && span_cstr(host, s->host, sizeof s->host);
}

static bool parse_tls(struct send *s)
{
    static const char *const names[] = {"none", "optional", "required", "verify", "implicit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(s->tls_text, names[i]) == 0) {
            s->tls = (enum send_tls)i;
            return true;
        }
    return false;
}

static bool add_recipients(struct send *s)
{
    struct span rest = span_str(s->to);
    while (rest.n > 0) {
        size_t comma = span_find(rest, ',');
        struct span one = span_trim(span_sub(rest, 0, comma));
        if (one.n == 0 || s->recipient_count == RECIPIENTS_MAX)
            return false;
        s->recipients[s->recipient_count++].address = one;
        rest = span_from(rest, comma + 1);
    }
    return s->recipient_count > 0;
}

static bool read_password(struct send *s)
{
    struct err e = {0};
    bool ok = s->password_stdin ? terminal_read_line(PASSWORD_MAX, &s->password, &e)
                                : terminal_read_password("Password: ", &s->password, &e);
    if (!ok)
        fprintf(stderr, "postern send: password: %s\n", e.text);
    return ok;
}

int command_send(int argc, char **argv)
{
    struct send s = {.tls_text = "optional", .server = "127.0.0.1:25"};
    const struct option options[] = {
        {.name = "to", .value = "A", .help = "recipients, separated by commas", .text = &s.to},
        {.name = "from", .value = "B", .help = "the envelope sender (default <>)", .text = &s.from},
        {.name = "server",
         .value = "HOST:PORT",
         .help = "where to (default 127.0.0.1:25)",
         .text = &s.server},
        {.name = "tls",
         .value = "MODE",
         .help = "none, optional (default), required, verify (chain and name) or implicit",
         .text = &s.tls_text},
        {.name = "ca-file",
         .value = "FILE",
         .help = "trusted roots for verify",
         .text = &s.ca_file},
        {.name = "user", .value = "U", .help = "authenticate as this account", .text = &s.user},
        {.name = "password-stdin",
         .help = "read the password from standard input",
         .flag = &s.password_stdin},
        {.name = "subject", .value = "TEXT", .help = "of the test message", .text = &s.subject},
        {.name = "body", .value = "TEXT", .help = "of the test message", .text = &s.body},
        {.name = "file",
         .value = "FILE",
         .help = "send this message as it is (CRLF or LF lines)",
         .text = &s.file},
        {.name = "helo", .value = "NAME", .help = "the name to say in EHLO", .text = &s.helo},
        {.name = "verbose", .letter = 'v', .help = "show the dialogue", .flag = &s.verbose},
        OPTION_CONFIG(&s.config)};
    struct command_line line = {
        .usage = "postern send --to A [--from B] [--server H:P] [--tls MODE] [--user U]",
        .about = "Sends a test message and says what became of each recipient: exit 0 accepted,\n"
                 "1 refused, 74 not now (no connection, a temporary refusal).",
        OPTIONS(options)};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    s.from = s.from == NULL || strcmp(s.from, "<>") == 0 ? "" : s.from;
    if (s.to == NULL || !add_recipients(&s))
        return options_usage_error(&line, "--to: which recipient?");
    if (!parse_tls(&s))
        return options_usage_error(&line, "--tls: none, optional, required, verify or implicit");
    if (!split_server(&s, s.server))
        return options_usage_error(&line, "--server: HOST, HOST:PORT or [IPV6]:PORT");
    if (s.helo != NULL)
        (void)snprintf(s.hello, sizeof s.hello, "%s", s.helo);
    else
        process_hostname(s.hello, sizeof s.hello);
    const struct send_text text = {.to = s.to,
                                   .from = s.from,
                                   .subject = s.subject,
                                   .body = s.body,
                                   .file = s.file,
                                   .hostname = s.hello};
    code = send_message_make(&text, &s.message);
    if (code == EXIT_DONE && s.user != NULL && !read_password(&s))
        code = EXIT_USAGE;
    for (size_t i = 0; i < s.message.n && !s.eightbit; i++)
        s.eightbit = buf_span(&s.message).p[i] >= 0x80;
    if (code == EXIT_DONE)
        code = run(&s);
    secret_wipe(&s.password);
    buf_deinit(&s.message);
    return code;
}
