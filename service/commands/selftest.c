/* postern selftest: the open-relay list, the smuggling list, STARTTLS and TLS against the running
 * service, from an address that the configuration grants nothing. */
#include "commands/selftest.h"

#include "net/resolver.h"
#include "platform/sock.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

enum { TEXT_MAX = 1024 };

static const char *const words[SELFTEST_OUTCOMES] = {"ok", "FAILED", "skipped", "note"};

void selftest_say(struct selftest *s, enum selftest_outcome outcome, const char *test,
                  const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    s->counts[outcome]++;
    if (s->lines != NULL)
        json_array_append_new(s->lines,
                              json_pack("{s:s, s:s, s:s, s:s}", "listener", s->address, "outcome",
                                        words[outcome], "test", test, "text", text));
    else
        printf("%-8s %-11s %s\n", words[outcome], test, text);
}

bool selftest_begin(struct selftest *s, struct talk *t, struct buf *ehlo, int *code)
{
    *code = 0;
    bool ok = talk_open(t, s->worker, &s->to, s->has_local ? &s->local : NULL) &&
              (!s->implicit_tls || talk_tls(t, s->trust, s->host));
    if (ok)
        ok = (*code = talk_code(t)) == 220;
    if (ok) {
        talk_say_line(t, "EHLO selftest.invalid");
        ok = talk_hear(t, TALK_WAIT_MS, code, ehlo) == TALK_REPLY && *code == 250;
    }
    if (ok && s->must_secure && !s->implicit_tls) {
        talk_say_line(t, "STARTTLS");
        ok = talk_code(t) == 220 && talk_tls(t, s->trust, s->host);
        talk_say_line(t, "EHLO selftest.invalid");
        ok = ok && talk_hear(t, TALK_WAIT_MS, code, NULL) == TALK_REPLY && *code == 250;
    }
    if (!ok)
        talk_close(t);
    return ok;
}

/* ---- where from ---- */

static enum acl_verdict verdict_of(const struct policy *p, size_t listener,
                                   const struct netaddr *ip, enum acl_stage stage)
{
    struct acl_facts facts = {.client = *ip, .listener = listener, .tls = FACT_VALUE};
    struct acl_reason reason;
    facts.identity_state = FACT_ABSENT;
    facts.names.state = FACT_ABSENT;
    facts.recipient.text = span_str("v@victim.selftest.invalid");
    facts.recipient.local = span_str("v");
    facts.recipient.domain = span_str("victim.selftest.invalid");
    return acl_decide(p->acl, stage, &facts, &reason);
}

/* The best of some addresses of 127/8: one that may connect and not relay, else one that may not
 * connect. False: all are granted. An IPv6 listener can only be reached from the machine's own. */
static bool pick_source(struct selftest *s)
{
    size_t listener = (size_t)(s->listener - s->policy->listeners);
    struct netaddr candidates[24];
    size_t n = 0, shut = SIZE_MAX;
    if (!netaddr_is_v4(&s->to.ip))
        candidates[n++] = s->to.ip;
    for (; n < 24 && netaddr_is_v4(&s->to.ip); n++)
        candidates[n] = netaddr_v4((const uint8_t[4]){127, (uint8_t)(n * 11), (uint8_t)(n * 7),
                                                      (uint8_t)(n == 0 ? 2 : 77 + n)});
    for (size_t i = 0; i < n; i++) {
        bool connects = verdict_of(s->policy, listener, &candidates[i], ACL_CONNECT) == ACL_ALLOW;
        bool relays = verdict_of(s->policy, listener, &candidates[i], ACL_RCPT) == ACL_ALLOW;
        s->local.ip = candidates[i];
        s->has_local = true;
        if (connects && !relays)
            return true;
        if (!connects && shut == SIZE_MAX)
            shut = i;
    }
    if (shut != SIZE_MAX)
        s->local.ip = candidates[shut];
    return shut != SIZE_MAX;
}

/* ---- one listener ---- */

/* Whether anybody is there at all, by a session that is nobody's test. */
static bool reachable(struct selftest *s)
{
    struct talk t;
    bool open = talk_open(&t, s->worker, &s->to, s->has_local ? &s->local : NULL);
    if (!open)
        fprintf(stderr, "postern selftest: %s: %s\n", s->address, t.why);
    talk_close(&t);
    return open;
}

static int run_lists(struct selftest *s, bool granted)
{
    if (!reachable(s))
        return EXIT_IO;
    if (granted)
        selftest_say(s, SELFTEST_SKIPPED, "open relay",
                     "every address that this machine could come from may relay: run it from "
                     "another host with --server %s",
                     s->address);
    else
        selftest_relay(s);
    selftest_smuggling(s);
    selftest_tls(s);
    return EXIT_DONE;
}

static int test_listener(struct selftest *s, const struct policy_listener *l)
{
    static const struct netaddr any[1] = {{{0}}};
    s->listener = l;
    s->to = (struct sock_address){.ip = l->ip, .port = l->port};
    if (netaddr_is_v4(&l->ip) && l->ip.b[12] == 0)
        s->to.ip = netaddr_v4((const uint8_t[4]){127, 0, 0, 1});
    else if (netaddr_equal(&l->ip, any))
        s->to.ip.b[15] = 1; /* ::1 */
    netaddr_format(&s->to.ip, s->ip);
    (void)snprintf(s->address, sizeof s->address, "%s", l->config->address.text);
    s->implicit_tls = l->tls == CONFIG_LISTENER_IMPLICIT;
    s->must_secure = l->tls == CONFIG_LISTENER_REQUIRED;
    bool granted = !pick_source(s);
    char from[NETADDR_TEXT_MAX];
    netaddr_format(&s->local.ip, from);
    if (s->lines == NULL)
        printf("%s from %s\n", s->address, from);
    return run_lists(s, granted);
}

static int test_config(struct selftest *s, const char *config)
{
    struct policy *p = NULL;
    int code = command_load_policy(config, false, &p);
    if (code != EXIT_DONE)
        return code;
    s->policy = p;
    (void)snprintf(s->host, sizeof s->host, "%s", p->hostname);
    for (size_t i = 0; i < p->config->domains.count && s->domain[0] == '\0'; i++)
        if (p->config->domains.items[i].type == CONFIG_LOCAL &&
            p->config->domains.items[i].name[0] != '*')
            (void)snprintf(s->domain, sizeof s->domain, "%s", p->config->domains.items[i].name);
    for (size_t i = 0; code == EXIT_DONE && i < p->listener_count; i++)
        code = test_listener(s, &p->listeners[i]);
    s->policy = NULL;
    policy_unref(&p);
    return code;
}

/* ---- another server ---- */

/* Its name from its greeting; whether MAIL has to wait for STARTTLS. */
static bool look_at(struct selftest *s)
{
    struct talk t;
    struct buf greeting;
    int code = 0;
    buf_init(&greeting, 64 * 1024);
    bool ok = talk_open(&t, s->worker, &s->to, NULL);
    if (ok && talk_hear(&t, TALK_WAIT_MS, &code, &greeting) == TALK_REPLY && code == 220) {
        struct span name = span_from(buf_span(&greeting), 4);
        size_t n = 0;
        while (n < name.n && name.p[n] > ' ')
            n++;
        if (!span_cstr(span_sub(name, 0, n), s->host, sizeof s->host))
            s->host[0] = '\0';
        talk_say_line(&t, "EHLO selftest.invalid");
        (void)talk_code(&t);
        talk_say_line(&t, "MAIL FROM:<>");
        buf_reset(&greeting);
        (void)talk_hear(&t, TALK_WAIT_MS, &code, &greeting);
        struct span text = buf_span(&greeting);
        for (size_t i = 0; code == 530 && i < text.n; i++)
            s->must_secure = s->must_secure || span_starts_nocase(span_from(text, i), "STARTTLS");
    }
    if (!ok)
        fprintf(stderr, "postern selftest: %s: %s\n", s->address, t.why);
    talk_close(&t);
    buf_deinit(&greeting);
    return ok;
}

struct lookup {
    bool done;
    struct sock_address *to;
    bool found;
};

static void got_addresses(void *arg, const struct resolver_addresses *answer)
{
    struct lookup *l = arg;
    l->done = true;
    l->found = answer->n > 0;
    if (l->found)
        l->to->ip = answer->list[0];
}

/* The first address of a host name; an address is itself. */
static bool find_server(struct selftest *s)
{
    const struct resolver_options dns = {0};
    struct lookup l = {.to = &s->to};
    struct err e = {0};
    if (s->name.n == 0)
        return true;
    struct resolver *r = resolver_open(s->worker, &dns, &e);
    if (r != NULL) {
        (void)resolver_addresses(r, s->name, got_addresses, &l);
        while (!l.done)
            (void)uv_run(worker_loop(s->worker), UV_RUN_ONCE);
        resolver_close(&r);
    }
    if (!l.found)
        fprintf(stderr, "postern selftest: %s: the host has no address\n", s->address);
    return l.found;
}

static int test_server(struct selftest *s)
{
    if (!find_server(s))
        return EXIT_IO;
    netaddr_format(&s->to.ip, s->ip);
    if (!look_at(s))
        return EXIT_IO;
    if (s->lines == NULL)
        printf("%s, called %s; what it refuses is refused to this host's address only\n",
               s->address, s->host[0] != '\0' ? s->host : "nothing");
    return run_lists(s, false);
}

/* ---- the command ---- */

static int report(struct selftest *s, int code)
{
    const size_t *n = s->counts;
    if (s->lines != NULL) {
        json_t *all =
            json_pack("{s:b, s:I, s:I, s:I, s:O}", "passed",
                      n[SELFTEST_FAILED] == 0 && n[SELFTEST_SKIPPED] == 0, "ok",
                      (json_int_t)n[SELFTEST_OK], "failed", (json_int_t)n[SELFTEST_FAILED],
                      "skipped", (json_int_t)n[SELFTEST_SKIPPED], "tests", s->lines);
        char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
        puts(out != NULL ? out : "null");
        free(out);
        json_decref(all);
        json_decref(s->lines);
    } else if (code == EXIT_DONE) {
        printf("\n%zu ok, %zu failed, %zu skipped\n", n[SELFTEST_OK], n[SELFTEST_FAILED],
               n[SELFTEST_SKIPPED]);
    }
    if (code != EXIT_DONE)
        return code;
    return n[SELFTEST_FAILED] > 0 || n[SELFTEST_SKIPPED] > 0 ? EXIT_NO : EXIT_DONE;
}

static int with_worker(struct selftest *s, const char *config)
{
    const struct tls_client_options trust = {0};
    struct err e = {0};
    int code = EXIT_INTERNAL;
    s->trust = tls_client_context(&trust, &e);
    s->worker = s->trust != NULL && sock_start(&e) ? worker_new("selftest", 0, &e) : NULL;
    if (s->worker == NULL) {
        fprintf(stderr, "postern selftest: %s\n", e.text);
    } else {
        code = s->to.port != 0 ? test_server(s) : test_config(s, config);
        worker_stop(s->worker);
        worker_run(s->worker);
    }
    worker_free(&s->worker);
    tls_unref(&s->trust);
    return report(s, code);
}

static bool parse_server(struct selftest *s, struct span text)
{
    size_t colon = span_rfind(text, ':');
    uint64_t port;
    if (sock_address_parse(text, &s->to))
        return s->to.port != 0;
    if (colon == 0 || colon == text.n || span_find(text, '[') < text.n ||
        !span_u64(span_from(text, colon + 1), 65535, &port) || port == 0)
        return false;
    s->to.port = (uint16_t)port;
    s->name = span_sub(text, 0, colon);
    return true;
}

const char *selftest_limited(int code)
{
    return code / 100 == 4 ? ": too much within the minute for limits.rate? Wait one, or give this "
                             "address a profile whose rate has no limit"
                           : "";
}

int command_selftest(int argc, char **argv)
{
    const char *config = NULL, *server = NULL, *domain = NULL;
    bool json = false;
    const struct option options[] = {
        OPTION_CONFIG(&config),
        {.name = "server",
         .value = "HOST:PORT",
         .help = "test that server, from this host's address",
         .text = &server},
        {.name = "domain",
         .value = "NAME",
         .help = "with --server: a local domain of it",
         .text = &domain},
        OPTION_JSON(&json),
    };
    struct command_line line = {
        .usage = "postern selftest [-c FILE] [--json]\n"
                 "postern selftest --server HOST:PORT [--domain NAME] [--json]",
        .about =
            "Attacks the running service as a stranger would: the open-relay list, the smuggling\n"
            "list, STARTTLS and TLS, on each listener, from an address that the configuration "
            "grants\n"
            "nothing. No message is completed, none is delivered. Exit code 0: all is well, 1: a "
            "test\n"
            "failed, or could not be run.",
        OPTIONS(options)};
    struct selftest s = {0};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    if (server != NULL && !parse_server(&s, span_str(server)))
        return options_usage_error(&line, "--server %s: expected host:port, as 192.0.2.1:25",
                                   server);
    if ((domain != NULL && server == NULL) || (server != NULL && config != NULL))
        return options_usage_error(&line, "-c and --server exclude each other, --domain goes with "
                                          "--server");
    if (server != NULL)
        (void)snprintf(s.address, sizeof s.address, "%s", server);
    if (domain != NULL)
        (void)snprintf(s.domain, sizeof s.domain, "%s", domain);
    if (json)
        s.lines = json_array();
    return with_worker(&s, config);
}
