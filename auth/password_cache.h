/* password_cache.h - passwords that were just proved, so that a client that logs in for each
 * message does not cost a key derivation each time.
 * What is kept: HMAC-SHA-256 under a random key of this process over (account, password), the
 * account's version and a time; never a password, never a failure. An entry is worth nothing after
 * its time, after the process, and as soon as the account has another version (password, disabled,
 * removed): the caller reads the version from the database before it asks.
 * Owner: a backend. Threads: any, it guards itself. Bounded: the oldest of a small set gives way.
 */
#ifndef POSTERN_AUTH_PASSWORD_CACHE_H
#define POSTERN_AUTH_PASSWORD_CACHE_H

#include "base/err.h"
#include "base/span.h"

struct password_cache;

bool password_cache_new(uint32_t entries, struct password_cache **c, struct err *e);
void password_cache_free(struct password_cache **c); /* wipes */

bool password_cache_has(struct password_cache *c, const char *account, struct span password,
                        uint64_t version, uint64_t now_ms);
void password_cache_add(struct password_cache *c, const char *account, struct span password,
                        uint64_t version, uint64_t now_ms, uint32_t ttl_ms);

#endif
