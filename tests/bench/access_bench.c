/* The access engine alone, measured: loads the configuration's lists as the service does, asks for
 * random clients, and prints one JSON object (CPU time). Not a test: tests/bench/run access starts
 * it.
 *
 *   access_bench CONFIG KEYS SECONDS [linear]
 *
 * CONFIG's access.relay.list is what is measured. KEYS has one address, or `address name`, a line.
 * linear: asks a plain array of intervals, entry by entry, instead of the engine. */
#include "acl/entry.h"
#include "platform/files.h"
#include "policy/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KEYS_MAX = 1 << 20, BATCH = 1024, FILE_MAX = 256 * 1024 * 1024 };

struct key {
    struct netaddr client;
    struct span name; /* n 0: none */
};

struct interval {
    struct netaddr first, last;
};

struct keys {
    struct buf text;
    struct key *v;
    size_t n;
};

/* Of this process's own CPU time, so that what else runs on the machine does not count. */
static int64_t now_ms(void)
{
    return (int64_t)((double)clock() * 1000.0 / CLOCKS_PER_SEC);
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "access_bench: %s: %s\n", what, why);
    exit(70);
}

static void read_file(const char *path, struct buf *text)
{
    struct err e = {0};
    buf_init(text, FILE_MAX);
    if (files_read(path, FILE_MAX, text, &e) != FILES_OK)
        die(path, e.text);
}

static struct span next_line(struct span *text)
{
    size_t end = span_find(*text, '\n');
    struct span line = span_sub(*text, 0, end);
    *text = span_from(*text, end + 1);
    return line;
}

static void read_keys(const char *path, struct keys *keys)
{
    read_file(path, &keys->text);
    keys->v = calloc(KEYS_MAX, sizeof *keys->v);
    if (keys->v == NULL)
        die(path, "no memory");
    struct span text = buf_span(&keys->text);
    while (text.n > 0 && keys->n < KEYS_MAX) {
        struct span line = next_line(&text);
        size_t space = span_find(line, ' ');
        struct key *key = &keys->v[keys->n++];
        if (!netaddr_parse(span_sub(line, 0, space), &key->client))
            die(path, "a line without an address");
        key->name = span_from(line, space + 1);
    }
}

/* ---- the engine ---- */

static struct acl_facts facts_of(const struct key *key)
{
    return (struct acl_facts){
        .client = key->client,
        .names = {.state = key->name.n > 0 ? FACT_VALUE : FACT_ABSENT, .v = &key->name, .n = 1},
        .tls = FACT_ABSENT,
        .identity_state = FACT_ABSENT,
        .sender = {.text = span_str("a@s.example")},
        .recipient = {.text = span_str("v@v.example"),
                      .local = span_str("v"),
                      .domain = span_str("v.example")}};
}

struct figure {
    uint64_t asked, yes;
    double seconds;
};

/* bare: only the look-up; else the whole decision with its reason. */
static struct figure ask_engine(const struct policy *p, const struct keys *keys, double seconds,
                                bool bare)
{
    struct figure f = {0};
    struct acl_reason reason;
    int64_t start = now_ms(), end = start + (int64_t)(seconds * 1000.0), now = start;
    while (now < end) {
        for (size_t i = 0; i < BATCH; i++) {
            struct acl_facts facts = facts_of(&keys->v[f.asked % keys->n]);
            f.yes += bare ? acl_list_match(acl_relay_list(p->acl), &facts.client, &facts.names,
                                           NULL) == ACL_MATCH_YES
                          : acl_decide(p->acl, ACL_RCPT, &facts, &reason) == ACL_ALLOW;
            f.asked++;
        }
        now = now_ms();
    }
    f.seconds = (double)(now - start) / 1000;
    return f;
}

static void print_figure(const char *name, const struct figure *f)
{
    printf(", \"%s\": %.0f, \"%s_yes\": %.4f", name, (double)f->asked / f->seconds, name,
           (double)f->yes / (double)f->asked);
}

static void bench_engine(const char *config, const struct keys *keys, double seconds)
{
    struct config_messages m;
    struct policy *p = NULL;
    config_messages_init(&m);
    int64_t start = now_ms();
    if (policy_load(config, NULL, 0, &p, &m) != CONFIG_OK)
        die(config, m.count > 0 ? m.items[0].text : "cannot be loaded");
    int64_t loaded = now_ms() - start;
    size_t entries = acl_list_count(acl_relay_list(p->acl));
    size_t bytes = acl_list_memory(acl_relay_list(p->acl));
    struct figure lookups = ask_engine(p, keys, seconds, true);
    struct figure decisions = ask_engine(p, keys, seconds, false);
    printf("{\"load_ms\": %" PRId64 ", \"entries\": %zu, \"bytes\": %zu", loaded, entries, bytes);
    print_figure("lookups", &lookups);
    print_figure("decisions", &decisions);
    printf("}\n");
    policy_unref(&p);
    config_messages_deinit(&m);
}

/* ---- the linear list ---- */

static void bench_linear(const char *list, const struct keys *keys, double seconds)
{
    struct buf text;
    struct figure f = {0};
    size_t n = 0, cap = 1 << 20;
    int64_t start = now_ms();
    struct interval *v = malloc(cap * sizeof *v);
    read_file(list, &text);
    for (struct span rest = buf_span(&text); v != NULL && rest.n > 0 && n < cap;) {
        struct acl_entry entry;
        struct err e;
        if (acl_entry_parse(next_line(&rest), &entry, &e) && entry.kind == ENTRY_ADDRESS)
            v[n++] = (struct interval){entry.first, entry.last};
    }
    int64_t loaded = now_ms() - start;
    start = now_ms();
    int64_t end = start + (int64_t)(seconds * 1000.0), now = start;
    while (now < end) {
        const struct netaddr *client = &keys->v[f.asked++ % keys->n].client;
        for (size_t i = 0; i < n; i++)
            if (netaddr_compare(&v[i].first, client) <= 0 &&
                netaddr_compare(client, &v[i].last) <= 0) {
                f.yes++;
                break;
            }
        if (f.asked % 16 == 0)
            now = now_ms();
    }
    f.seconds = (double)(now - start) / 1000;
    printf("{\"load_ms\": %" PRId64 ", \"entries\": %zu, \"bytes\": %zu", loaded, n, n * sizeof *v);
    print_figure("lookups", &f);
    printf("}\n");
    free(v);
    buf_deinit(&text);
}

int main(int argc, char **argv)
{
    struct keys keys = {0};
    if (argc < 4) {
        fprintf(stderr, "usage: access_bench CONFIG KEYS SECONDS | LIST KEYS SECONDS linear\n");
        return 64;
    }
    read_keys(argv[2], &keys);
    if (keys.n == 0)
        die(argv[2], "no keys");
    if (argc > 4)
        bench_linear(argv[1], &keys, strtod(argv[3], NULL));
    else
        bench_engine(argv[1], &keys, strtod(argv[3], NULL));
    free(keys.v);
    buf_deinit(&keys.text);
    return 0;
}
