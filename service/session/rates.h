/* rates.h - what clients and accounts did within the last minute, for the limits of acl/rate.c.
 * A window slides over the monotonic clock in steps of RATES_STEP_MS: what is counted leaves it
 * again after a minute and at most one step more, so that never more than the limit falls into any
 * 60 seconds, bursts included. RATES_SIZE counts are kept; when there are more, the longest unused
 * one is forgotten. An IPv6 client is counted by its /64: whoever has one address there has all.
 * Owner: run.c. Threads: any; one lock, held for a few look-ups. Failure: rates_new gives NULL
 * without memory; counting cannot fail. A reload changes limits, not counts. */
#ifndef POSTERN_SESSION_RATES_H
#define POSTERN_SESSION_RATES_H

#include "acl/facts.h"

enum { RATES_SIZE = 65536, RATES_WINDOW_MS = 60000, RATES_STEP_MS = 5000 };

struct rates;

struct rates *rates_new(uint32_t size);
void rates_free(struct rates **r); /* NULL is fine; clears the pointer */

/* Takes one of each that has a limit (not 0), all or none: none where one of them is at its limit.
 * use: what was counted before. account: empty where there is none. now_ms: monotonic. */
void rates_take(struct rates *r, int64_t now_ms, const struct netaddr *client, struct span account,
                const uint32_t limits[ACL_RATE_BYS][ACL_RATES], struct acl_rate_facts *use);

#endif
