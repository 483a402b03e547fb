/* check_certificates.h - for `postern check`: the certificates that the configuration names, of
 * files and of the system's store; and the right of the service's account to use a key of the
 * store. Owner: the caller's struct. Threads: one. */
#ifndef POSTERN_COMMANDS_CHECK_CERTIFICATES_H
#define POSTERN_COMMANDS_CHECK_CERTIFICATES_H

#include "base/arena.h"
#include "net/tls_store.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdio.h>

/* What one entry of the configuration found in its store. */
struct check_store {
    char key[96]; /* "tls", "tls.certificates[0]" */
    const struct tls_pair *pair;
    struct tls_store_entry *entries;
    size_t n;
    char failed[TLS_NOTE_MAX]; /* the store cannot be read; "" */
};

struct check_certificates {
    struct arena arena;
    struct check_store *stores;
    size_t count;
    struct buf said; /* what rights were given, a line each */
};

/* Adds a warning for whatever will disappoint some client. grant: gives the service's account the
 * right to use each key that fits, and the text says so; false: that failed for one. */
bool check_certificates_open(const struct policy *p, bool grant, struct config_messages *m,
                             struct check_certificates *c);
void check_certificates_close(struct check_certificates *c);

void check_certificates_text(struct check_certificates *c, FILE *to);
json_t *check_certificates_json(const struct check_certificates *c); /* null: none of a store */

/* For `postern service install`: the same right, where that configuration names a store; what was
 * done is added to said. True where there was nothing to do. */
bool check_certificates_grant(const char *config, struct buf *said);

#endif
