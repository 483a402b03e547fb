/* kdc_exchange.h - inside posix/: a question to a KDC and its reply, over TCP, before a deadline.
 * Owner: kerberos_account_mit.c. Threads: kdc_list belongs to the backend, its `first` to all at
 * once; the rest to one check. */
#ifndef POSTERN_POSIX_KDC_EXCHANGE_H
#define POSTERN_POSIX_KDC_EXCHANGE_H

#include "base/buf.h"
#include "posix/dial.h"

#include <stdatomic.h>

enum { KDC_PORT = 88, KDC_REPLY_BYTES_MAX = 1 << 20 };

struct kdc_list {
    struct dial_target targets[DIAL_TARGETS_MAX];
    size_t count;
};

/* false: the text is no host or host:port, or there is no room. */
bool kdc_list_add(struct kdc_list *list, const char *text);

/* Asks the KDCs in order, each within its share of what is left before the deadline, beginning with
 * *first (any number), which becomes the one that answered. A KDC that says of itself that it is
 * out of service counts as silent: pass_on tells of a reply whether it is such a one. */
typedef bool kdc_pass_on(void *context, struct span reply);
bool kdc_exchange(struct dialer *d, const struct kdc_list *list, atomic_uint *first,
                  uint64_t deadline_ms, struct span question, kdc_pass_on *pass_on, void *context,
                  struct buf *reply, struct err *e);

#endif
