#include "auth/backends.h"

#include "auth/backend_kerberos.h"
#include "auth/backend_ldap.h"
#include "auth/backend_system.h"
#include "auth/backend_userdb.h"
#include "base/log.h"
#include "platform/clock.h"
#include "platform/mutex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_BYTES_MAX = 320 };

/* The kinds of this build; a kind that is not here answers "unavailable". */
static const struct {
    const char *name;
    backend_open *open;
} kinds[] = {
    [AUTH_BACKEND_USERDB] = {"userdb", backend_userdb_open},
    [AUTH_BACKEND_SYSTEM] = {"system", backend_system_open},
    [AUTH_BACKEND_LDAP] = {"ldap", backend_ldap_open},
    [AUTH_BACKEND_KERBEROS] = {"kerberos", backend_kerberos_open},
};

const char *backend_kind_name(enum auth_backend_kind kind)
{
    return kinds[kind].name;
}

static const char *text(const char *s)
{
    return s == NULL ? "" : s;
}

static bool same_userdb(const struct auth_options *a, const struct auth_options *b)
{
    return strcmp(text(a->userdb_path), text(b->userdb_path)) == 0 &&
           a->scram.iterations == b->scram.iterations && a->cache_ttl_ms == b->cache_ttl_ms &&
           a->cache_entries == b->cache_entries;
}

static char *make_label(const struct auth_domain *d)
{
    char *label = malloc(LABEL_BYTES_MAX);
    if (label != NULL)
        (void)snprintf(label, LABEL_BYTES_MAX, "%s (%s)", d->name, kinds[d->backend].name);
    return label;
}

static void entry_drop(struct backend_entry *x)
{
    if (x == NULL || atomic_fetch_sub(&x->refs, 1) > 1)
        return;
    if (x->backend != NULL)
        x->backend->ops->close(x->backend);
    mutex_free(&x->lock);
    free(x->label);
    free(x);
}

static void prove(struct backend_entry *x, const struct auth_options *o,
                  const struct auth_domain *d, struct err *e)
{
    if (kinds[d->backend].open == NULL) {
        (void)snprintf(x->reason, sizeof x->reason, "this version does not have this backend");
        (void)snprintf(x->cure, sizeof x->cure,
                       "take another backend, or integrated authentication, for this domain");
        return;
    }
    if (!kinds[d->backend].open(o, d, &x->backend, e)) {
        (void)snprintf(x->reason, sizeof x->reason, "%.150s", e->text);
        return;
    }
    x->ready =
        x->backend->ops->ready == NULL || x->backend->ops->ready(x->backend, x->reason, x->cure);
}

static bool entry_open(const struct auth_options *o, bool look, const struct auth_domain *d,
                       struct backend_entry **out, struct err *e)
{
    struct backend_entry *x = calloc(1, sizeof *x);
    if (x == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    *out = x;
    atomic_init(&x->refs, 1);
    x->kind = d->backend;
    x->label = make_label(d);
    x->lock = mutex_new();
    if (x->label == NULL || x->lock == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    if (look && d->backend == AUTH_BACKEND_USERDB)
        x->ready = backend_userdb_look(o->userdb_path, x->reason, x->cure);
    else
        prove(x, o, d, e);
    if (x->ready || look)
        return true;
    if (d->backend == AUTH_BACKEND_USERDB)
        return false;
    log_event(LOG_WARN, "auth.backend.not_ready", LOG_S("domain", x->label),
              LOG_S("reason", x->reason), LOG_S("cure", x->cure));
    return true;
}

bool backend_set_open(const struct auth_options *o, bool look, const struct backend_set *before,
                      const struct auth_options *options_before, struct backend_set *set,
                      struct err *e)
{
    unsigned remote = 0;
    *set = (struct backend_set){.count = o->domain_count};
    set->entries = calloc(o->domain_count + 1, sizeof(struct backend_entry *));
    bool ok = set->entries != NULL || err_set(e, ERR_TEMP, "authentication: no memory");
    if (ok && before != NULL && before->userdb != NULL && same_userdb(o, options_before))
        set->userdb = before->userdb;
    for (size_t i = 0; ok && i < set->count; i++) {
        const struct auth_domain *d = &o->domains[i];
        if (d->backend == AUTH_BACKEND_USERDB && set->userdb != NULL) {
            set->entries[i] = set->userdb;
            atomic_fetch_add(&set->userdb->refs, 1);
            continue;
        }
        ok = entry_open(o, look, d, &set->entries[i], e);
        if (ok && d->backend == AUTH_BACKEND_USERDB)
            set->userdb = set->entries[i];
        else if (ok)
            set->entries[i]->lane =
                BACKEND_LANE_FIRST + remote++ % (AUTH_LANES_MAX - BACKEND_LANE_FIRST);
    }
    bool wanted = false; /* the one from before, where no domain has it now */
    for (size_t i = 0; ok && i < set->count; i++)
        wanted = wanted || set->entries[i] == set->userdb;
    if (!wanted)
        set->userdb = NULL;
    if (!ok)
        backend_set_close(set);
    return ok;
}

void backend_set_close(struct backend_set *set)
{
    for (size_t i = 0; set->entries != NULL && i < set->count; i++)
        entry_drop(set->entries[i]);
    free(set->entries);
    *set = (struct backend_set){0};
}

static bool ask(struct backend_entry *x, char reason[BACKEND_REASON_MAX])
{
    if (x->backend == NULL || !x->ready) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", x->reason);
        return false;
    }
    mutex_lock(x->lock);
    bool may = breaker_ask(&x->breaker, clock_monotonic_ms());
    mutex_unlock(x->lock);
    if (!may)
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.100s did not answer lately", x->label);
    return may;
}

static void tell(struct backend_entry *x, enum backend_result result, const char *reason)
{
    mutex_lock(x->lock);
    bool turned = breaker_tell(&x->breaker, result != BACKEND_UNAVAILABLE, clock_monotonic_ms());
    bool open = breaker_is_open(&x->breaker);
    mutex_unlock(x->lock);
    if (turned && open)
        log_event(LOG_ERROR, "auth.backend.silent", LOG_S("domain", x->label),
                  LOG_S("reason", reason),
                  LOG_S("hint", "its accounts get 454 at once until it answers"));
    else if (turned)
        log_event(LOG_INFO, "auth.backend.answers", LOG_S("domain", x->label));
}

enum backend_result backends_verify(struct backend_entry *x, const char *account,
                                    struct span password, const struct backend_groups *groups,
                                    char reason[BACKEND_REASON_MAX])
{
    if (!ask(x, reason))
        return BACKEND_UNAVAILABLE;
    enum backend_result result =
        x->backend->ops->verify(x->backend, account, password, groups, reason);
    tell(x, result, reason);
    if (result == BACKEND_OK && x->kind != AUTH_BACKEND_USERDB &&
        span_is_nocase(span_str(account), "guest")) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "a guest's account");
        return BACKEND_GUEST;
    }
    return result;
}

enum backend_result backends_member(struct backend_entry *x, const char *account,
                                    const struct backend_groups *groups,
                                    char reason[BACKEND_REASON_MAX])
{
    if (x->backend == NULL || x->backend->ops->member == NULL) {
        (void)snprintf(reason, BACKEND_REASON_MAX,
                       "the groups of %.60s cannot be looked up without a password", x->label);
        return BACKEND_NOT_ALLOWED;
    }
    if (!ask(x, reason))
        return BACKEND_UNAVAILABLE;
    enum backend_result result = x->backend->ops->member(x->backend, account, groups, reason);
    tell(x, result, reason);
    return result;
}
