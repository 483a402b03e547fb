#include "auth/guard.h"

#include "base/log.h"
#include "base/secret.h"
#include "platform/clock.h"
#include "platform/mutex.h"
#include "platform/random.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINGERPRINT_KEY = 32, LOCKOUT_ACCOUNTS = 16384 };

struct guard {
    struct mutex *lock;     /* guards all */
    struct condition *told; /* a domain has answered about some account */
    struct throttle *throttle;
    struct lockout *lockout;
    uint8_t fingerprint_key[FINGERPRINT_KEY];
};

bool guard_new(const struct throttle_options *options, struct guard **out, struct err *e)
{
    struct guard *g = calloc(1, sizeof *g);
    uint8_t throttle_key[KEYED_HASH_KEY], lockout_key[KEYED_HASH_KEY];
    if (g == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    random_bytes(throttle_key, sizeof throttle_key);
    random_bytes(lockout_key, sizeof lockout_key);
    random_bytes(g->fingerprint_key, sizeof g->fingerprint_key);
    g->lock = mutex_new();
    g->told = condition_new();
    bool ok =
        (g->lock != NULL && g->told != NULL) || err_set(e, ERR_TEMP, "authentication: no memory");
    if (!ok || !throttle_new(options, throttle_key, &g->throttle, e) ||
        !lockout_new(LOCKOUT_ACCOUNTS, lockout_key, &g->lockout, e)) {
        guard_free(&g);
        return false;
    }
    *out = g;
    return true;
}

void guard_free(struct guard **g)
{
    if (g == NULL || *g == NULL)
        return;
    throttle_free(&(*g)->throttle);
    lockout_free(&(*g)->lockout);
    condition_free(&(*g)->told);
    mutex_free(&(*g)->lock);
    secret_wipe_bytes((*g)->fingerprint_key, FINGERPRINT_KEY);
    free(*g);
    *g = NULL;
}

void guard_set_options(struct guard *g, const struct throttle_options *options)
{
    mutex_lock(g->lock);
    throttle_set_options(g->throttle, options);
    mutex_unlock(g->lock);
}

static int64_t now_ms(void)
{
    return (int64_t)clock_monotonic_ms();
}

/* A keyed digest of the password, cut to 64 bits: enough to know it again, useless without the key
 * of this process. Never 0, which means "not known". */
static uint64_t fingerprint(const struct guard *g, struct span password)
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    uint64_t f = 0;
    if (password.n == 0 || HMAC(EVP_sha256(), g->fingerprint_key, FINGERPRINT_KEY, password.p,
                                password.n, digest, &n) == NULL)
        return 0;
    memcpy(&f, digest, sizeof f);
    return f == 0 ? 1 : f;
}

/* ---- the throttle ---- */

static struct span share_span(const uint64_t *key)
{
    return span_of(key, sizeof *key);
}

struct throttle_verdict auth_throttle_check(struct auth *a, const struct netaddr *peer,
                                            const char *account)
{
    struct guard *g = auth_guard(a);
    uint64_t key = auth_share_key(peer);
    mutex_lock(g->lock);
    struct throttle_verdict v =
        throttle_check(g->throttle, share_span(&key), span_str(account), now_ms());
    mutex_unlock(g->lock);
    return v;
}

/* The way back from auth_share_key. */
static void share_text(uint64_t key, char out[AUTH_GUESSES_WHO_MAX])
{
    struct netaddr a = {{0}};
    bool v4 = key >> 32 == 0xffff;
    for (size_t i = 0; i < 8; i++)
        a.b[v4 ? i + 8 : i] = (uint8_t)(key >> (56 - 8 * i));
    char text[NETADDR_TEXT_MAX];
    netaddr_format(&a, text);
    (void)snprintf(out, AUTH_GUESSES_WHO_MAX, "%s%s", text, v4 ? "" : "/64");
}

static void tell_refusal(uint64_t key, const struct throttle_verdict *v)
{
    char text[AUTH_GUESSES_WHO_MAX];
    share_text(key, text);
    log_event(LOG_WARN, "auth.peer.refused", LOG_S("client", text), LOG_U("guesses", v->guesses),
              LOG_U("for_ms", v->refused_ms));
}

struct throttle_verdict auth_throttle_failed(struct auth *a, const struct netaddr *peer,
                                             const char *account, struct span password)
{
    struct guard *g = auth_guard(a);
    uint64_t key = auth_share_key(peer);
    uint64_t print = fingerprint(g, password);
    mutex_lock(g->lock);
    struct throttle_verdict v =
        throttle_failed(g->throttle, share_span(&key), span_str(account), print, now_ms());
    mutex_unlock(g->lock);
    if (v.refused_ms > 0)
        tell_refusal(key, &v);
    return v;
}

void auth_throttle_succeeded(struct auth *a, const struct netaddr *peer, const char *account)
{
    struct guard *g = auth_guard(a);
    uint64_t key = auth_share_key(peer);
    mutex_lock(g->lock);
    throttle_succeeded(g->throttle, share_span(&key), span_str(account), now_ms());
    mutex_unlock(g->lock);
}

uint32_t auth_throttle_delay_ms(struct auth *a)
{
    struct guard *g = auth_guard(a);
    mutex_lock(g->lock);
    uint32_t delay_ms = throttle_delay_ms(g->throttle);
    mutex_unlock(g->lock);
    return delay_ms;
}

/* ---- accounts of domains that lock ---- */

static struct lockout_limits limits_of(const struct auth_domain *d)
{
    return (struct lockout_limits){d->lockout_below, d->lockout_window_ms};
}

enum lockout_verdict auth_lockout_ask(struct auth *a, const struct auth_domain *d,
                                      const char *account, struct span password)
{
    struct guard *g = auth_guard(a);
    const struct lockout_limits limits = limits_of(d);
    const uint64_t print = fingerprint(g, password);
    const int64_t until_ms = now_ms() + (int64_t)d->deadline_ms;
    mutex_lock(g->lock);
    for (;;) {
        int64_t now = now_ms();
        enum lockout_verdict v = lockout_ask(g->lockout, span_str(account), print, &limits, now);
        if (v == LOCKOUT_WAIT && now < until_ms) {
            condition_wait(g->told, g->lock, (unsigned)(until_ms - now));
            continue;
        }
        mutex_unlock(g->lock);
        return v;
    }
}

void auth_lockout_tell(struct auth *a, const struct auth_domain *d, const char *account,
                       struct span password, enum lockout_answer answer)
{
    struct guard *g = auth_guard(a);
    const struct lockout_limits limits = limits_of(d);
    const uint64_t print = fingerprint(g, password);
    mutex_lock(g->lock);
    bool begins = lockout_tell(g->lockout, span_str(account), print, answer, &limits, now_ms());
    condition_wake_all(g->told);
    mutex_unlock(g->lock);
    if (begins)
        log_event(LOG_WARN, "auth.account.held_back", LOG_S("user", account),
                  LOG_U("for_ms", limits.window_ms),
                  LOG_S("hint", "its domain is not asked about it meanwhile, so that it is not "
                                "locked there; but a password that was right within a day still "
                                "is tried"));
}

/* ---- to be looked at ---- */

struct collection {
    struct auth_guesses *out;
    size_t n, max;
    bool peers, more;
};

/* NULL: there is no room. */
static struct auth_guesses *next(struct collection *c)
{
    c->more = c->more || c->n == c->max;
    return c->more ? NULL : &c->out[c->n++];
}

static bool collect_count(void *context, const struct throttle_count *from)
{
    struct collection *c = context;
    uint64_t key = 0;
    if (from->peer != c->peers)
        return true;
    struct auth_guesses *to = next(c);
    if (to == NULL)
        return false;
    *to = (struct auth_guesses){.of = from->peer ? AUTH_GUESSES_OF_PEER : AUTH_GUESSES_OF_ACCOUNT,
                                .failures = from->failures,
                                .guesses = from->guesses,
                                .refused_ms = from->refused_ms};
    if (from->peer && from->who.n == sizeof key) {
        memcpy(&key, from->who.p, sizeof key);
        share_text(key, to->who);
    } else {
        (void)snprintf(to->who, sizeof to->who, "%.*s", SPAN_ARG(from->who));
    }
    return true;
}

static bool collect_lockout(void *context, const struct lockout_count *from)
{
    struct auth_guesses *to = next(context);
    if (to == NULL)
        return false;
    *to = (struct auth_guesses){
        .of = AUTH_GUESSES_AT_DOMAIN, .failures = from->wrong, .refused_ms = from->held_ms};
    (void)snprintf(to->who, sizeof to->who, "%.*s", SPAN_ARG(from->account));
    return true;
}

size_t auth_guesses(struct auth *a, struct auth_guesses *out, size_t max, bool *more)
{
    struct guard *g = auth_guard(a);
    struct collection c = {.out = out, .max = max / 3, .peers = true};
    mutex_lock(g->lock);
    int64_t now = now_ms();
    throttle_each(g->throttle, now, collect_count, &c);
    *more = c.more;
    c = (struct collection){.out = out, .n = c.n, .max = c.n + max / 3};
    throttle_each(g->throttle, now, collect_count, &c);
    *more = *more || c.more;
    c = (struct collection){.out = out, .n = c.n, .max = c.n + max / 3};
    lockout_each(g->lockout, now, collect_lockout, &c);
    mutex_unlock(g->lock);
    *more = *more || c.more;
    return c.n;
}

size_t auth_held_back(struct auth *a)
{
    struct guard *g = auth_guard(a);
    mutex_lock(g->lock);
    size_t n = lockout_held_back(g->lockout, now_ms());
    mutex_unlock(g->lock);
    return n;
}
