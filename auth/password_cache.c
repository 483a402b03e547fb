#include "auth/password_cache.h"

#include "base/secret.h"
#include "platform/mutex.h"
#include "platform/random.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST_SIZE = 32, WAYS = 4, TEXT_MAX = 2048 };

struct cached {
    uint8_t digest[DIGEST_SIZE];
    uint64_t version;
    uint64_t until_ms; /* 0 = free */
};

struct password_cache {
    struct mutex *lock;
    uint8_t key[DIGEST_SIZE];
    struct cached *entries; /* sets of WAYS */
    size_t sets;
};

bool password_cache_new(uint32_t entries, struct password_cache **out, struct err *e)
{
    struct password_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_TEMP, "password cache: no memory");
    c->sets = (entries + WAYS - 1) / WAYS;
    if (c->sets == 0)
        c->sets = 1;
    c->lock = mutex_new();
    c->entries = calloc(c->sets * WAYS, sizeof *c->entries);
    if (c->lock == NULL || c->entries == NULL) {
        password_cache_free(&c);
        return err_set(e, ERR_TEMP, "password cache: no memory");
    }
    random_bytes(c->key, sizeof c->key);
    *out = c;
    return true;
}

void password_cache_free(struct password_cache **c)
{
    if (c == NULL || *c == NULL)
        return;
    if ((*c)->entries != NULL)
        secret_wipe_bytes((*c)->entries, (*c)->sets * WAYS * sizeof *(*c)->entries);
    free((*c)->entries);
    mutex_free(&(*c)->lock);
    secret_wipe_bytes((*c)->key, sizeof(*c)->key);
    free(*c);
    *c = NULL;
}

/* account NUL password: the account holds no NUL, so the two cannot be shifted against each other.
 */
static bool digest(const struct password_cache *c, const char *account, struct span password,
                   uint8_t out[DIGEST_SIZE])
{
    uint8_t text[TEXT_MAX];
    size_t n = strlen(account) + 1;
    if (n > sizeof text || password.n > sizeof text - n)
        return false;
    memcpy(text, account, n);
    if (password.n > 0)
        memcpy(text + n, password.p, password.n);
    unsigned written = 0;
    bool ok =
        HMAC(EVP_sha256(), c->key, sizeof c->key, text, n + password.n, out, &written) != NULL;
    secret_wipe_bytes(text, n + password.n);
    return ok;
}

static struct cached *set_of(struct password_cache *c, const uint8_t d[DIGEST_SIZE])
{
    size_t index = (size_t)d[0] | (size_t)d[1] << 8 | (size_t)d[2] << 16;
    return c->entries + (index % c->sets) * WAYS;
}

bool password_cache_has(struct password_cache *c, const char *account, struct span password,
                        uint64_t version, uint64_t now_ms)
{
    uint8_t d[DIGEST_SIZE];
    if (!digest(c, account, password, d))
        return false;
    bool found = false;
    mutex_lock(c->lock);
    struct cached *set = set_of(c, d);
    for (size_t i = 0; i < WAYS; i++) {
        struct cached *en = &set[i];
        if (en->until_ms == 0 ||
            !secret_equal(span_of(en->digest, DIGEST_SIZE), span_of(d, DIGEST_SIZE)))
            continue;
        found = en->version == version && now_ms < en->until_ms;
        if (!found) /* out of date: nothing of it is of use to anybody */
            secret_wipe_bytes(en, sizeof *en);
    }
    mutex_unlock(c->lock);
    secret_wipe_bytes(d, sizeof d);
    return found;
}

void password_cache_add(struct password_cache *c, const char *account, struct span password,
                        uint64_t version, uint64_t now_ms, uint32_t ttl_ms)
{
    uint8_t d[DIGEST_SIZE];
    if (!digest(c, account, password, d))
        return;
    mutex_lock(c->lock);
    struct cached *set = set_of(c, d), *place = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (secret_equal(span_of(set[i].digest, DIGEST_SIZE), span_of(d, DIGEST_SIZE))) {
            place = &set[i];
            break;
        }
        if (set[i].until_ms < place->until_ms)
            place = &set[i];
    }
    memcpy(place->digest, d, DIGEST_SIZE);
    place->version = version;
    place->until_ms = now_ms + ttl_ms;
    mutex_unlock(c->lock);
    secret_wipe_bytes(d, sizeof d);
}
