/* The resolver against a DNS server that runs here, over UDP and TCP: real packets, real time-outs.
 */
#define _GNU_SOURCE
#include "net/resolver.h"

#include "platform/clock.h"
#include "support/echo_server.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

/* --- the server: its zone is a table of text --- */

static const struct {
    const char *name;
    enum dns_type type;
    const char *value; /* address, or host; "preference host" for MX */
    unsigned ttl;
} zone[] = {
    {"host.test", DNS_A, "192.0.2.1", 60},
    {"host.test", DNS_AAAA, "2001:db8::1", 60},
    {"four.test", DNS_A, "192.0.2.4", 60},
    {"alias.test", DNS_CNAME, "host.test", 60},
    {"mail.test", DNS_MX, "20 mx2.test", 60},
    {"mail.test", DNS_MX, "10 mx1a.test", 60},
    {"mail.test", DNS_MX, "10 mx1b.test", 60},
    {"null.test", DNS_MX, "0 .", 60},
    {"brief.test", DNS_A, "192.0.2.5", 0},
    {"half.test", DNS_A, "192.0.2.6", 60}, /* its AAAA is a SERVFAIL */
    {"1.2.0.192.in-addr.arpa", DNS_PTR, "liar.test", 60},
    {"1.2.0.192.in-addr.arpa", DNS_PTR, "HOST.test", 60},
    {"1.2.0.192.in-addr.arpa", DNS_PTR, "host.test", 60},
    {"4.2.0.192.in-addr.arpa", DNS_PTR, "liar.test", 60},
    {"5.2.0.192.in-addr.arpa", DNS_PTR, "four.test", 60},
    {"6.2.0.192.in-addr.arpa", DNS_PTR, "broken.test", 60},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR,
     "host.test", 60},
    {"liar.test", DNS_A, "198.51.100.1", 60},
};
/* Behaviour by name: broken.* SERVFAIL, silent.* nothing, large.* too much for UDP, forged.* an
 * answer to another question first, old.* FORMERR as long as there is EDNS. */

struct dns_server {
    int udp, tcp, stop[2];
    struct sock_address at;
    char servers[64];
    uv_thread_t thread;
    atomic_uint asked, asked_tcp;
};

static void put_dns_name(struct buf *b, const char *name)
{
    while (*name != 0 && *name != '.') {
        size_t n = strcspn(name, ".");
        (void)buf_add_byte(b, (uint8_t)n);
        (void)buf_add(b, span_of(name, n));
        name += n + (name[n] == '.');
    }
    (void)buf_add_byte(b, 0);
}

static void put_u16(struct buf *b, unsigned v)
{
    (void)buf_add_byte(b, (uint8_t)(v >> 8));
    (void)buf_add_byte(b, (uint8_t)v);
}

static void put_record(struct buf *b, const char *owner, enum dns_type type, unsigned ttl,
                       const char *value)
{
    struct buf data;
    struct netaddr address;
    buf_init(&data, 512);
    if (netaddr_parse(span_str(value), &address)) {
        (void)buf_add(&data, type == DNS_A ? span_of(address.b + 12, 4) : span_of(address.b, 16));
    } else if (type == DNS_MX) {
        put_u16(&data, (unsigned)atoi(value));
        put_dns_name(&data, strchr(value, ' ') + 1);
    } else {
        put_dns_name(&data, value);
    }
    put_dns_name(b, owner);
    put_u16(b, type);
    put_u16(b, 1);
    put_u16(b, 0);
    put_u16(b, ttl);
    put_u16(b, (unsigned)data.n);
    (void)buf_add(b, buf_span(&data));
    buf_deinit(&data);
}

/* Fills the answer section; returns the number of records. */
static unsigned answer_section(struct buf *b, const char *name, unsigned type, bool *known)
{
    unsigned n = 0;
    *known = false;
    if (strncmp(name, "large.", 6) == 0 && type == DNS_A) {
        *known = true;
        for (n = 0; n < 100; n++) {
            char value[32];
            (void)snprintf(value, sizeof value, "198.51.100.%u", n);
            put_record(b, name, DNS_A, 60, value);
        }
        return n;
    }
    for (size_t i = 0; i < sizeof zone / sizeof *zone; i++) {
        if (strcmp(zone[i].name, name) != 0)
            continue;
        *known = true;
        if (zone[i].type == DNS_CNAME) {
            bool target_known;
            put_record(b, name, DNS_CNAME, zone[i].ttl, zone[i].value);
            return 1 + answer_section(b, zone[i].value, type, &target_known);
        }
        if ((unsigned)zone[i].type == type) {
            put_record(b, name, zone[i].type, zone[i].ttl, zone[i].value);
            n++;
        }
    }
    return n;
}

/* Fills the answer of a server that knows no EDNS; returns the result code. */
static unsigned answer_old(struct buf *records, const char *name, unsigned type, unsigned *count)
{
    *count = type == DNS_A;
    if (type == DNS_A)
        put_record(records, name, DNS_A, 60, "192.0.2.99");
    return 0;
}

/* The answer to a query; false: none is sent. */
static bool respond(const uint8_t *q, size_t n, bool tcp, struct buf *out)
{
    char name[256] = "";
    size_t at = 12, used = 0;
    if (n < 17)
        return false;
    while (at < n && q[at] != 0) {
        if (used > 0)
            name[used++] = '.';
        memcpy(name + used, q + at + 1, q[at]);
        used += q[at];
        at += 1u + q[at];
    }
    name[used] = 0;
    unsigned type = (unsigned)q[at + 1] << 8 | q[at + 2];
    bool edns = q[11] == 1, known, large = strncmp(name, "large.", 6) == 0;
    struct buf records;
    buf_init(&records, 65536);
    unsigned count = answer_section(&records, name, type, &known), flags = 0x8180;
    bool half = strcmp(name, "half.test") == 0 && type == DNS_AAAA;
    if (strncmp(name, "silent.", 7) == 0) {
        buf_deinit(&records);
        return false;
    }
    if (strncmp(name, "broken.", 7) == 0 || half)
        flags |= 2;
    else if (strncmp(name, "old.", 4) == 0 && edns)
        flags |= 1;
    else if (strncmp(name, "old.", 4) == 0)
        flags |= answer_old(&records, name, type, &count);
    else if (!known)
        flags |= 3;
    if (large && !tcp)
        flags |= 0x0200;
    bool bare = (flags & 0x020f) != 0;
    (void)buf_add(out, span_of(q, 2));
    put_u16(out, flags);
    put_u16(out, 1);
    put_u16(out, bare ? 0 : count);
    put_u16(out, 0);
    put_u16(out, 0);
    (void)buf_add(out, span_of(q + 12, at + 5 - 12));
    if (strncmp(name, "forged.", 7) == 0)
        out->p[out->start + 13] ^= 1; /* another name in the question */
    if (!bare && count > 0)
        (void)buf_add(out, buf_span(&records));
    buf_deinit(&records);
    return true;
}

static void serve_udp(struct dns_server *s)
{
    uint8_t q[1500];
    struct sockaddr_in from;
    socklen_t from_n = sizeof from;
    ssize_t n = recvfrom(s->udp, q, sizeof q, 0, (struct sockaddr *)&from, &from_n);
    struct buf out;
    if (n <= 0)
        return;
    atomic_fetch_add(&s->asked, 1);
    buf_init(&out, 65536);
    if (respond(q, (size_t)n, false, &out))
        (void)sendto(s->udp, buf_span(&out).p, out.n, 0, (struct sockaddr *)&from, from_n);
    buf_deinit(&out);
}

static void serve_tcp(struct dns_server *s)
{
    uint8_t q[1500];
    int fd = accept(s->tcp, NULL, NULL);
    struct buf out, body;
    if (fd < 0)
        return;
    struct timeval wait = {2, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ssize_t n = recv(fd, q, 2, MSG_WAITALL);
    size_t length = n == 2 ? (size_t)q[0] << 8 | q[1] : 0;
    atomic_fetch_add(&s->asked_tcp, 1);
    buf_init(&out, 65536);
    buf_init(&body, 65536);
    if (length > 0 && length <= sizeof q && recv(fd, q, length, MSG_WAITALL) == (ssize_t)length &&
        respond(q, length, true, &body)) {
        put_u16(&out, (unsigned)body.n);
        (void)buf_add(&out, buf_span(&body));
        (void)send(fd, buf_span(&out).p, out.n, MSG_NOSIGNAL);
    }
    buf_deinit(&out);
    buf_deinit(&body);
    (void)close(fd);
}

static void dns_thread(void *arg)
{
    struct dns_server *s = arg;
    for (;;) {
        struct pollfd p[3] = {{s->udp, POLLIN, 0}, {s->tcp, POLLIN, 0}, {s->stop[0], POLLIN, 0}};
        (void)poll(p, 3, -1);
        if (p[2].revents != 0)
            return;
        if (p[0].revents != 0)
            serve_udp(s);
        if (p[1].revents != 0)
            serve_tcp(s);
    }
}

static void dns_start(struct dns_server *s)
{
    *s = (struct dns_server){.udp = -1};
    for (int attempt = 0; attempt < 20; attempt++) { /* one port number for both */
        struct sockaddr_in in = {.sin_family = AF_INET};
        socklen_t n = sizeof in;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        s->tcp = socket(AF_INET, SOCK_STREAM, 0);
        s->udp = socket(AF_INET, SOCK_DGRAM, 0);
        assert_int_equal(bind(s->tcp, (struct sockaddr *)&in, sizeof in), 0);
        assert_int_equal(getsockname(s->tcp, (struct sockaddr *)&in, &n), 0);
        if (bind(s->udp, (struct sockaddr *)&in, sizeof in) == 0 && listen(s->tcp, 16) == 0) {
            (void)snprintf(s->servers, sizeof s->servers, "127.0.0.1:%u",
                           (unsigned)ntohs(in.sin_port));
            break;
        }
        (void)close(s->tcp);
        (void)close(s->udp);
        s->udp = -1;
    }
    assert_true(s->udp >= 0);
    assert_int_equal(pipe(s->stop), 0);
    assert_int_equal(uv_thread_create(&s->thread, dns_thread, s), 0);
}

static void dns_stop(struct dns_server *s)
{
    assert_int_equal(write(s->stop[1], "x", 1), 1);
    assert_int_equal(uv_thread_join(&s->thread), 0);
    (void)close(s->udp);
    (void)close(s->tcp);
    (void)close(s->stop[0]);
    (void)close(s->stop[1]);
}

/* --- the questions --- */

struct asking {
    struct dns_server server;
    struct worker *worker;
    struct resolver *resolver;
    unsigned pending;
    bool inside; /* the asking call has not returned */
    bool wrong;
    /* what came, as text: "result item item" */
    char text[4096];
    char why[200];
};

static void add_text(struct asking *a, const char *text)
{
    size_t used = strlen(a->text);
    (void)snprintf(a->text + used, sizeof a->text - used, "%s%s", used > 0 ? " " : "", text);
}

static void add_address(struct asking *a, const struct netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    netaddr_format(address, text);
    add_text(a, text);
}

static void came(struct asking *a, const char *why)
{
    a->wrong = a->wrong || a->inside;
    (void)snprintf(a->why, sizeof a->why, "%s", why == NULL ? "" : why);
    a->pending--;
}

static const char *const results[] = {[DNS_FOUND] = "FOUND",
                                      [DNS_NO_DATA] = "NO_DATA",
                                      [DNS_NO_NAME] = "NO_NAME",
                                      [DNS_TEMP_FAILURE] = "TEMP_FAILURE"};

static void on_query(void *arg, const struct dns_answer *answer)
{
    struct asking *a = arg;
    add_text(a, results[answer->result]);
    for (size_t i = 0; i < answer->records_n; i++)
        add_address(a, &answer->records[i].address);
    came(a, answer->why);
}

static void on_addresses(void *arg, const struct resolver_addresses *answer)
{
    struct asking *a = arg;
    add_text(a, results[answer->result]);
    for (size_t i = 0; i < answer->n; i++)
        add_address(a, &answer->list[i]);
    if (answer->partial)
        add_text(a, "partial");
    came(a, answer->why);
}

static void on_mx(void *arg, const struct resolver_mx *answer)
{
    static const char *const names[] = {[RESOLVER_MX] = "MX",
                                        [RESOLVER_MX_ADDRESS] = "ADDRESS",
                                        [RESOLVER_MX_NULL] = "NULL",
                                        [RESOLVER_MX_NONE] = "NONE",
                                        [RESOLVER_MX_FAILURE] = "FAILURE"};
    struct asking *a = arg;
    add_text(a, names[answer->result]);
    for (size_t i = 0; i < answer->n; i++)
        add_text(a, answer->hosts[i].name);
    came(a, answer->why);
}

static void on_names(void *arg, const struct resolver_names *answer)
{
    static const char *const names[] = {[RESOLVER_CONFIRMED] = "CONFIRMED",
                                        [RESOLVER_ABSENT] = "ABSENT",
                                        [RESOLVER_FAILED] = "FAILED"};
    struct asking *a = arg;
    add_text(a, names[answer->result]);
    for (size_t i = 0; i < answer->n; i++)
        add_text(a, answer->names[i]);
    came(a, answer->why);
}

static struct asking a;

static int set_up(void **state)
{
    struct err e = {0};
    (void)state;
    memset(&a, 0, sizeof a);
    dns_start(&a.server);
    a.worker = worker_new("asking", 0, &e);
    struct resolver_options o = {
        .servers = a.server.servers, .hosts_file = "", .timeout_ms = 150, .tries = 2};
    a.resolver = resolver_open(a.worker, &o, &e);
    if (a.resolver == NULL)
        (void)fprintf(stderr, "%s\n", e.text);
    return a.resolver == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    resolver_close(&a.resolver);
    worker_join(a.worker);
    worker_free(&a.worker);
    dns_stop(&a.server);
    return 0;
}

enum what { QUERY_A, ADDRESSES, MX, NAMES };

static struct resolver_call *start(enum what what, const char *name)
{
    struct netaddr client;
    struct resolver_call *call = NULL;
    if (a.pending++ == 0)
        a.text[0] = 0;
    a.inside = true;
    switch (what) {
    case QUERY_A: call = resolver_query(a.resolver, span_str(name), DNS_A, on_query, &a); break;
    case ADDRESSES: call = resolver_addresses(a.resolver, span_str(name), on_addresses, &a); break;
    case MX: call = resolver_mx(a.resolver, span_str(name), on_mx, &a); break;
    case NAMES:
        assert_true(netaddr_parse(span_str(name), &client));
        call = resolver_confirmed_names(a.resolver, &client, on_names, &a);
        break;
    }
    a.inside = false;
    assert_non_null(call);
    return call;
}

static const char *ask(enum what what, const char *name)
{
    (void)start(what, name);
    while (a.pending > 0)
        (void)uv_run(worker_loop(a.worker), UV_RUN_ONCE);
    assert_false(a.wrong);
    return a.text;
}

static void addresses_of_both_kinds_aliases_and_literals(void **state)
{
    (void)state;
    assert_string_equal(ask(QUERY_A, "Host.Test."), "FOUND 192.0.2.1");
    assert_string_equal(ask(ADDRESSES, "host.test"), "FOUND 2001:db8::1 192.0.2.1");
    assert_string_equal(ask(ADDRESSES, "alias.test"), "FOUND 2001:db8::1 192.0.2.1");
    assert_string_equal(ask(ADDRESSES, "four.test"), "FOUND 192.0.2.4");
    assert_string_equal(ask(ADDRESSES, "mail.test"), "NO_DATA");
    assert_string_equal(ask(ADDRESSES, "nowhere.test"), "NO_NAME");
    assert_string_equal(ask(ADDRESSES, "half.test"), "FOUND 192.0.2.6 partial");
    assert_string_equal(ask(ADDRESSES, "[192.0.2.77]"), "FOUND 192.0.2.77");
    assert_string_equal(ask(ADDRESSES, "[2001:db8::7]"), "FOUND 2001:db8::7");
    assert_string_equal(ask(ADDRESSES, "not a name"), "NO_NAME");
}

static void answers_are_remembered_as_long_as_they_may(void **state)
{
    (void)state;
    (void)ask(QUERY_A, "host.test");
    unsigned before = atomic_load(&a.server.asked);
    assert_string_equal(ask(QUERY_A, "HOST.test"), "FOUND 192.0.2.1");
    assert_int_equal(atomic_load(&a.server.asked), before);
    (void)ask(QUERY_A, "brief.test"); /* time to live 0 */
    (void)ask(QUERY_A, "brief.test");
    assert_int_equal(atomic_load(&a.server.asked), before + 2);
}

static void what_is_too_large_comes_over_tcp(void **state)
{
    (void)state;
    const char *text = ask(QUERY_A, "large.test");
    assert_non_null(strstr(text, "FOUND 198.51.100.0 198.51.100.1 "));
    assert_non_null(strstr(text, " 198.51.100.99"));
    assert_int_equal(atomic_load(&a.server.asked_tcp), 1);
}

static void a_server_without_edns_is_asked_the_old_way(void **state)
{
    (void)state;
    assert_string_equal(ask(QUERY_A, "old.test"), "FOUND 192.0.2.99");
}

static void failures_are_told_from_absence(void **state)
{
    (void)state;
    assert_string_equal(ask(QUERY_A, "broken.test"), "TEMP_FAILURE");
    assert_non_null(strstr(a.why, "SERVFAIL"));
    uint64_t before = clock_monotonic_ms();
    assert_string_equal(ask(QUERY_A, "silent.test"), "TEMP_FAILURE");
    assert_non_null(strstr(a.why, "in time"));
    assert_in_range(clock_monotonic_ms() - before, 200, 3000);
    assert_string_equal(ask(QUERY_A, "forged.test"), "TEMP_FAILURE");
    assert_string_equal(ask(QUERY_A, "nowhere.test"), "NO_NAME");
}

static void mail_goes_by_preference_else_to_the_domain_itself(void **state)
{
    (void)state;
    unsigned first_a = 0;
    for (int i = 0; i < 40; i++) {
        const char *text = ask(MX, "mail.test");
        bool a_first = strcmp(text, "MX mx1a.test mx1b.test mx2.test") == 0;
        assert_true(a_first || strcmp(text, "MX mx1b.test mx1a.test mx2.test") == 0);
        first_a += a_first;
    }
    assert_in_range(first_a, 1, 39); /* random: all of one kind once in 5e11 runs */
    assert_string_equal(ask(MX, "host.test"), "ADDRESS host.test");
    assert_string_equal(ask(MX, "null.test"), "NULL");
    assert_string_equal(ask(MX, "liar.test"), "ADDRESS liar.test");
    assert_string_equal(ask(MX, "4.2.0.192.in-addr.arpa"), "NONE"); /* neither MX nor address */
    assert_string_equal(ask(MX, "nowhere.test"), "NONE");
    assert_string_equal(ask(MX, "broken.test"), "FAILURE");
    assert_string_equal(ask(MX, "silent.test"), "FAILURE");
}

static void a_client_name_counts_only_when_it_leads_back(void **state)
{
    (void)state;
    assert_string_equal(ask(NAMES, "192.0.2.1"), "CONFIRMED host.test");
    assert_string_equal(ask(NAMES, "2001:db8::1"), "CONFIRMED host.test");
    assert_string_equal(ask(NAMES, "192.0.2.4"), "ABSENT"); /* a liar's */
    assert_string_equal(ask(NAMES, "192.0.2.5"), "ABSENT"); /* somebody else's name */
    assert_string_equal(ask(NAMES, "192.0.2.200"), "ABSENT");
    assert_string_equal(ask(NAMES, "192.0.2.6"), "FAILED"); /* the way back is broken */
}

static void a_cancelled_call_is_silent_and_a_closed_resolver_answers_all(void **state)
{
    (void)state;
    struct resolver_call *call = start(QUERY_A, "host.test");
    resolver_cancel(&call);
    assert_null(call);
    a.pending = 0;
    assert_string_equal(ask(QUERY_A, "four.test"), "FOUND 192.0.2.4"); /* and nothing before it */
    (void)start(QUERY_A, "silent.test");
    (void)start(MX, "silent.test");
    (void)start(NAMES, "192.0.2.1");
    resolver_close(&a.resolver);
    assert_null(a.resolver);
    for (int i = 0; a.pending > 0 && i < 100; i++)
        (void)uv_run(worker_loop(a.worker), UV_RUN_NOWAIT);
    assert_int_equal(a.pending, 0);
    assert_string_equal(a.text, "TEMP_FAILURE FAILURE FAILED");
}

static void the_hosts_file_comes_first_and_is_read_again(void **state)
{
    (void)state;
    struct err e;
    char path[] = "/tmp/postern-hosts-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# a comment\n"
                               "203.0.113.5\tPrinter.test printer # of ours\r\n"
                               "2001:db8::5 printer.test\n"
                               "nonsense printer.test\n"
                               "203.0.113.6 host.test";
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1);
    (void)close(fd);
    resolver_close(&a.resolver);
    struct resolver_options o = {
        .servers = a.server.servers, .hosts_file = path, .timeout_ms = 150, .tries = 2};
    a.resolver = resolver_open(a.worker, &o, &e);
    assert_non_null(a.resolver);
    assert_string_equal(ask(ADDRESSES, "PRINTER.test"), "FOUND 2001:db8::5 203.0.113.5");
    assert_string_equal(ask(ADDRESSES, "printer"), "FOUND 203.0.113.5");
    assert_string_equal(ask(QUERY_A, "host.test"), "FOUND 203.0.113.6");
    assert_string_equal(ask(NAMES, "203.0.113.5"), "CONFIRMED printer.test printer");
    assert_string_equal(ask(ADDRESSES, "localhost"), "FOUND ::1 127.0.0.1");
    assert_int_equal(atomic_load(&a.server.asked), 0);
    (void)unlink(path);
}

static void many_at_once_are_all_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "n%d.test", i);
        (void)start(QUERY_A, i % 3 == 0 ? "brief.test" : name);
    }
    while (a.pending > 0)
        (void)uv_run(worker_loop(a.worker), UV_RUN_ONCE);
    unsigned found = 0, none = 0;
    for (const char *c = a.text; (c = strstr(c, "FOUND")) != NULL; c++)
        found++;
    for (const char *c = a.text; (c = strstr(c, "NO_NAME")) != NULL; c++)
        none++;
    assert_int_equal(found, 100);
    assert_int_equal(none, 200);
}

int main(void)
{
#define LOOK_UP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LOOK_UP(addresses_of_both_kinds_aliases_and_literals),
        LOOK_UP(answers_are_remembered_as_long_as_they_may),
        LOOK_UP(what_is_too_large_comes_over_tcp),
        LOOK_UP(a_server_without_edns_is_asked_the_old_way),
        LOOK_UP(failures_are_told_from_absence),
        LOOK_UP(mail_goes_by_preference_else_to_the_domain_itself),
        LOOK_UP(a_client_name_counts_only_when_it_leads_back),
        LOOK_UP(a_cancelled_call_is_silent_and_a_closed_resolver_answers_all),
        LOOK_UP(the_hosts_file_comes_first_and_is_read_again),
        LOOK_UP(many_at_once_are_all_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
