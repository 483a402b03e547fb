/* hosts.h - the machine's own table of names, /etc/hosts and its Windows twin.
 * Owner: one resolver. Threads: one. Failure: a file that cannot be read is an empty one; lines
 * that cannot be read are skipped, as every system does. */
#ifndef POSTERN_NET_HOSTS_H
#define POSTERN_NET_HOSTS_H

#include "base/arena.h"
#include "base/netaddr.h"

struct hosts_entry {
    const char *name; /* lower case */
    struct netaddr address;
    size_t line; /* the order of the file */
};

struct hosts {
    char *path; /* NULL: none */
    struct arena arena;
    struct hosts_entry *by_name, *by_address;
    size_t n;
    uint64_t looked_ms; /* when the file was last looked at */
    int64_t modified_wall_ms;
    uint64_t size;
};

bool hosts_init(struct hosts *h, const char *path); /* "" or NULL: no file; false: no memory */
void hosts_deinit(struct hosts *h);

/* Reads the file again when it has changed; looks at it every few seconds only. Blocks for a stat,
 * seldom for a small read. */
void hosts_refresh(struct hosts *h, uint64_t now_ms);

/* The entries of a name, or of an address: a stretch of *n from the result on; NULL: none.
 * "localhost" and what ends in ".localhost" is loopback in any case (RFC 6761 section 6.3). */
const struct hosts_entry *hosts_of_name(const struct hosts *h, const char *name, size_t *n);
const struct hosts_entry *hosts_of_address(const struct hosts *h, const struct netaddr *a,
                                           size_t *n);

#endif
