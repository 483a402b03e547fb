/* Any bytes as a DNS answer: never a read past them, never without an end, and what comes out keeps
 * the promises of net/dns_message.h. The first byte chooses the type; the question's name is read
 * from the message itself, so that mutations get past the comparison of the question. */
#include "net/dns_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum dns_type types[] = {DNS_A,   DNS_AAAA, DNS_MX,  DNS_PTR,
                                      DNS_TXT, DNS_TLSA, DNS_SOA, DNS_CNAME};

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* The question's name as text, where it is a plain one. */
static struct span asked(const uint8_t *m, size_t n, char *out)
{
    size_t at = 12, used = 0;
    while (at < n && m[at] != 0 && m[at] < 64 && at + 1 + m[at] < n && used + m[at] + 1u < 255) {
        if (used > 0)
            out[used++] = '.';
        memcpy(out + used, m + at + 1, m[at]);
        used += m[at];
        at += 1u + m[at];
    }
    return span_of(out, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct dns_answer answer;
    char name[256];
    if (size < 1)
        return 0;
    enum dns_type type = types[data[0] % (sizeof types / sizeof *types)];
    data++;
    size--;
    arena_init(&arena, 1024 * 1024);
    bool ok = dns_answer_parse(span_of(data, size), asked(data, size, name), type, &arena, &answer);
    must(ok || answer.result == DNS_TEMP_FAILURE);
    must(answer.records_n <= DNS_RECORDS_MAX);
    must(answer.records_n == 0 || answer.result == DNS_FOUND);
    must(answer.result != DNS_TEMP_FAILURE || answer.why != NULL);
    for (size_t i = 0; i < answer.records_n; i++) {
        const struct dns_record *r = &answer.records[i];
        must(r->type == type && r->ttl_s >= answer.ttl_s);
        bool named = type == DNS_MX || type == DNS_PTR || type == DNS_CNAME;
        must(!named || dns_name_valid(span_str(r->name)) || (type == DNS_MX && r->name[0] == 0));
    }
    arena_deinit(&arena);

    struct buf query;
    buf_init(&query, 512);
    struct span text = span_of(data, size < 300 ? size : 300);
    must(dns_query_build(1, text, type, &query) == dns_name_valid(text));
    buf_deinit(&query);
    return 0;
}
