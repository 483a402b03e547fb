/* dns_message.h - DNS queries and answers as bytes: the one parser for every record we read.
 * Pure: no clock, no socket; fuzzed. Source: RFC 1035, 2308 (negative answers), 6891 (EDNS0), 7505
 * (null MX), 6698 (TLSA). Failure: a message that is malformed, too large or answers another
 * question is refused as a whole. */
#ifndef POSTERN_NET_DNS_MESSAGE_H
#define POSTERN_NET_DNS_MESSAGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/netaddr.h"

enum {
    DNS_NAME_MAX = 253,    /* as text, without the last dot */
    DNS_RECORDS_MAX = 256, /* of one answer; more are left out */
    DNS_CNAME_MAX = 12,    /* links of a chain within one answer */
    DNS_EDNS_SIZE = 1232,  /* DNS flag day 2020 */
};

enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_OPT = 41,
    DNS_TLSA = 52,
};

enum dns_result {
    DNS_FOUND,
    DNS_NO_DATA,      /* the name is there, records of this type are not */
    DNS_NO_NAME,      /* NXDOMAIN */
    DNS_TEMP_FAILURE, /* SERVFAIL, time-out, nonsense: nothing is known */
};

struct dns_record {
    enum dns_type type;
    uint32_t ttl_s;
    uint16_t preference;    /* MX */
    const char *name;       /* MX, PTR: a host in lower case, no last dot; "" is the root */
    struct netaddr address; /* A, AAAA */
    struct span data;       /* TLSA, TXT: the record's bytes */
};

struct dns_answer {
    enum dns_result result;
    unsigned rcode;
    bool truncated;     /* TC: ask again over TCP */
    bool authenticated; /* AD: as trustworthy as the way to the resolver */
    uint32_t ttl_s;     /* the least of all that was used; for a negative answer by its SOA */
    const char *name;   /* what the question's name stands for in the end (CNAME) */
    const struct dns_record *records; /* of the type that was asked for */
    size_t records_n;
    const char *why; /* DNS_TEMP_FAILURE: what went wrong, a constant text */
};

/* Is it a name that can be asked for? Letters, digits, hyphens, underscores; labels of 1 to 63;
 * one last dot is taken. */
bool dns_name_valid(struct span name);

/* A query with recursion desired, EDNS0 and one question. False for a name that cannot be asked. */
bool dns_query_build(uint16_t id, struct span name, enum dns_type type, struct buf *out);

/* Reads an answer to that question; everything in *out lives in the arena. Always fills *out;
 * false = malformed (then DNS_TEMP_FAILURE). */
bool dns_answer_parse(struct span message, struct span name, enum dns_type type, struct arena *a,
                      struct dns_answer *out);

/* "1.2.0.192.in-addr.arpa" or the ip6.arpa form; out has DNS_REVERSE_MAX bytes. */
enum { DNS_REVERSE_MAX = 80 };
void dns_reverse_name(const struct netaddr *address, char *out);

#endif
