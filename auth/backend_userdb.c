#include "auth/backend_userdb.h"

#include "auth/auth.h"
#include "auth/password_cache.h"
#include "auth/scram.h"
#include "auth/userdb.h"
#include "base/secret.h"
#include "platform/clock.h"
#include "platform/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backend_userdb {
    struct auth_backend head;
    struct userdb *db;
    struct password_cache *cache;
    uint32_t iterations;
    uint32_t cache_ttl_ms;
};

/* What the account has, or what it would have. The decoy is made in every case, and in every case
 * both queries run, so that the time tells nothing. */
static enum backend_result look(struct backend_userdb *b, const char *account,
                                struct scram_verifier *v, uint64_t *version,
                                char reason[BACKEND_REASON_MAX])
{
    struct err e = {0};
    struct userdb_entry entry;
    *version = 0;
    if (!userdb_decoy(b->db, account, b->iterations, v, &e)) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", e.text);
        return BACKEND_UNAVAILABLE;
    }
    enum backend_result result = BACKEND_UNAVAILABLE;
    switch (userdb_get(b->db, account, &entry, &e)) {
    case USERDB_DONE:
        *version = entry.version;
        result = entry.disabled ? BACKEND_DISABLED : BACKEND_OK;
        if (entry.disabled) { /* the salt that a client knows; keys that nobody can meet */
            v->iterations = entry.verifier.iterations;
            v->salt_n = entry.verifier.salt_n;
            memcpy(v->salt, entry.verifier.salt, sizeof v->salt);
            (void)snprintf(reason, BACKEND_REASON_MAX, "the account is disabled");
        } else {
            *v = entry.verifier;
        }
        break;
    case USERDB_UNKNOWN:
        result = BACKEND_NO_ACCOUNT;
        (void)snprintf(reason, BACKEND_REASON_MAX, "no such account in the user database");
        break;
    case USERDB_EXISTS:
    case USERDB_BAD_NAME:
    case USERDB_BAD_PASSWORD:
    case USERDB_FAILED: (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", e.text); break;
    }
    secret_wipe_bytes(&entry, sizeof entry);
    return result;
}

/* There are none here, so a demand for one cannot be met; it is refused the long way, or the time
 * would tell whoever is not on the list that the password was right. */
static enum backend_result no_groups(const struct backend_groups *groups,
                                     char reason[BACKEND_REASON_MAX])
{
    if (groups == NULL)
        return BACKEND_OK;
    (void)snprintf(reason, BACKEND_REASON_MAX, "%s", BACKEND_REASON_NOT_LISTED);
    return BACKEND_NOT_ALLOWED;
}

static enum backend_result verify(struct auth_backend *head, const char *account,
                                  struct span password, const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_userdb *b = (struct backend_userdb *)head;
    struct scram_verifier v, derived;
    uint64_t version, version_after;
    enum backend_result result = look(b, account, &v, &version, reason);
    if (result == BACKEND_UNAVAILABLE)
        return result;
    if (result == BACKEND_OK && groups == NULL &&
        password_cache_has(b->cache, account, password, version, clock_monotonic_ms())) {
        secret_wipe_bytes(&v, sizeof v);
        return BACKEND_OK;
    }
    /* From here on all go the same long way: right, wrong, disabled, unknown. */
    struct err e = {0};
    derived = v;
    if (!scram_derive(password, &derived, &e)) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", e.text);
        result = BACKEND_UNAVAILABLE;
    } else {
        bool right = secret_equal(span_of(v.stored_key, SCRAM_KEY_SIZE),
                                  span_of(derived.stored_key, SCRAM_KEY_SIZE));
        /* Deriving took a while, in which the account may have been changed or disabled. */
        enum backend_result now = look(b, account, &v, &version_after, reason);
        if (now == BACKEND_UNAVAILABLE) {
            result = now;
        } else if (result == BACKEND_OK &&
                   (!right || now != BACKEND_OK || version != version_after)) {
            result = BACKEND_BAD_PASSWORD;
            (void)snprintf(reason, BACKEND_REASON_MAX, "%s",
                           right ? "the account was changed meanwhile" : "wrong password");
        } else if (result == BACKEND_OK) {
            password_cache_add(b->cache, account, password, version, clock_monotonic_ms(),
                               b->cache_ttl_ms);
        }
    }
    secret_wipe_bytes(&v, sizeof v);
    secret_wipe_bytes(&derived, sizeof derived);
    return result == BACKEND_OK ? no_groups(groups, reason) : result;
}

static enum backend_result lookup_verifier(struct auth_backend *head, const char *account,
                                           struct scram_verifier *v, uint64_t *version,
                                           char reason[BACKEND_REASON_MAX])
{
    return look((struct backend_userdb *)head, account, v, version, reason);
}

static void close_backend(struct auth_backend *head)
{
    struct backend_userdb *b = (struct backend_userdb *)head;
    password_cache_free(&b->cache);
    userdb_close(&b->db);
    free(b);
}

static const struct backend_ops ops = {
    .kind = "userdb",
    .verify = verify,
    .lookup_verifier = lookup_verifier,
    .close = close_backend,
};

bool backend_userdb_open(const struct auth_options *options, const struct auth_domain *domain,
                         struct auth_backend **out, struct err *e)
{
    (void)domain;
    struct backend_userdb *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_TEMP, "user database: no memory");
    b->head.ops = &ops;
    b->iterations = options->scram.iterations;
    b->cache_ttl_ms = options->cache_ttl_ms;
    if (!userdb_open(options->userdb_path, true, &b->db, e) ||
        !password_cache_new(options->cache_entries, &b->cache, e)) {
        close_backend(&b->head);
        return false;
    }
    *out = &b->head;
    return true;
}

bool backend_userdb_look(const char *path, char reason[BACKEND_REASON_MAX],
                         char cure[BACKEND_REASON_MAX])
{
    struct userdb *db = NULL;
    struct files_info info;
    struct err e = {0};
    enum files_result found = files_stat(path, &info, &e);
    if (found == FILES_ABSENT) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "there are no accounts yet: postern user add");
        return true;
    }
    if (found == FILES_OK && userdb_open(path, false, &db, &e)) {
        userdb_close(&db);
        return true;
    }
    (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", e.text);
    (void)snprintf(cure, BACKEND_REASON_MAX, "let the service's user read and write it");
    return false;
}
