#include "auth/auth.h"

#include "auth/exchange.h"
#include "auth/guard.h"
#include "auth/sasl_library.h"
#include "base/log.h"
#include "platform/integrated_auth.h"
#include "platform/mutex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_BYTES_MAX = 1 << 20 };

struct auth {
    struct mutex *lock; /* guards the counts and `current` */
    unsigned refs;      /* one of the owner, one of each exchange */
    struct auth_snapshot *current;
    struct guard *guard;
    unsigned available; /* mechanisms whose plug-ins are there */
};

/* Nobody else knows of it any more. May take a moment: connections and processes end. */
static void free_snapshot(struct auth_snapshot **s)
{
    if (*s == NULL)
        return;
    integrated_auth_close(&(*s)->integrated);
    backend_set_close(&(*s)->backends);
    arena_deinit(&(*s)->arena);
    free(*s);
    *s = NULL;
}

/* Under the lock. Gives it back when that was the last reference: free_snapshot, without the lock.
 */
static struct auth_snapshot *unref(struct auth_snapshot *s)
{
    return s != NULL && --s->refs == 0 ? s : NULL;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static const char *copy(struct arena *m, const char *text)
{
    return arena_str(m, text == NULL ? "" : text);
}

/* NULL without memory. */
static const char *const *copy_list(struct arena *m, const char *const *from, size_t n)
{
    const char **to = arena_alloc(m, (n + 1) * sizeof *to);
    for (size_t i = 0; to != NULL && i < n; i++)
        if ((to[i] = arena_str(m, from[i])) == NULL)
            return NULL;
    return to;
}

static bool copy_domain(struct arena *m, const struct auth_domain *from, struct auth_domain *to)
{
    *to = *from;
    to->name = copy(m, from->name);
    to->aliases = copy_list(m, from->aliases, from->alias_count);
    to->allow = copy_list(m, from->allow, from->allow_count);
    to->system.pam_service = copy(m, from->system.pam_service);
    to->system.pam_name = copy(m, from->system.pam_name);
    to->system.helper = copy(m, from->system.helper);
    to->ldap.url = copy(m, from->ldap.url);
    to->ldap.ca_file = copy(m, from->ldap.ca_file);
    to->ldap.bind = copy(m, from->ldap.bind);
    to->ldap.base = copy(m, from->ldap.base);
    to->kerberos.realm = copy(m, from->kerberos.realm);
    to->kerberos.service = copy(m, from->kerberos.service);
    to->kerberos.keytab = copy(m, from->kerberos.keytab);
    to->kerberos.kdcs = copy_list(m, from->kerberos.kdcs, from->kerberos.kdc_count);
    to->deadline_ms = or_default(from->deadline_ms, AUTH_DEADLINE_DEFAULT_MS);
    to->lockout_below = or_default(from->lockout_below, AUTH_LOCKOUT_BELOW_DEFAULT);
    to->lockout_window_ms = or_default(from->lockout_window_ms, AUTH_LOCKOUT_WINDOW_DEFAULT_MS);
    return to->name != NULL && to->aliases != NULL && to->allow != NULL &&
           to->system.pam_service != NULL && to->system.pam_name != NULL &&
           to->system.helper != NULL && to->ldap.url != NULL && to->ldap.ca_file != NULL &&
           to->ldap.bind != NULL && to->ldap.base != NULL && to->kerberos.realm != NULL &&
           to->kerberos.service != NULL && to->kerberos.keytab != NULL && to->kerberos.kdcs != NULL;
}

static bool copy_domains(struct auth_snapshot *s, const struct auth_options *from, struct err *e)
{
    struct arena *m = &s->arena;
    size_t n = from->domain_count;
    struct auth_domain *domains = arena_alloc(m, (n + 1) * sizeof *domains);
    bool ok = domains != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        const char *name = from->domains[i].name;
        if (span_find(span_str(name), '\\') < strlen(name))
            return err_set(e, ERR_PERM, "authentication.domains: %s: a name has no backslash",
                           name);
        ok = copy_domain(m, &from->domains[i], &domains[i]);
    }
    s->options.domains = domains;
    return ok || err_set(e, ERR_TEMP, "authentication: no memory");
}

/* The names in the allow lists, as a backend is asked for groups. */
static bool make_groups(struct auth_snapshot *s)
{
    const struct auth_options *o = &s->options;
    s->groups = arena_alloc(&s->arena, (o->domain_count + 1) * sizeof *s->groups);
    for (size_t i = 0; s->groups != NULL && i < o->domain_count; i++) {
        const struct auth_domain *d = &o->domains[i];
        const char **names = arena_alloc(&s->arena, (d->allow_count + 1) * sizeof *names);
        size_t n = 0;
        if (names == NULL)
            return false;
        for (size_t k = 0; k < d->allow_count; k++) {
            const char *name = identity_allow_name(d->allow[k], i, o);
            if (name != NULL)
                names[n++] = name;
        }
        s->groups[i] = (struct backend_groups){names, n};
    }
    return s->groups != NULL;
}

static bool copy_options(struct auth_snapshot *s, const struct auth_options *from, struct err *e)
{
    struct arena *m = &s->arena;
    struct auth_options *o = &s->options;
    *o = *from;
    o->hostname = arena_str(m, from->hostname == NULL ? "localhost" : from->hostname);
    o->userdb_path = copy(m, from->userdb_path);
    o->basic.default_domain = copy(m, from->basic.default_domain);
    o->machine_names = copy_list(m, from->machine_names, from->machine_name_count);
    o->integrated.keytab = copy(m, from->integrated.keytab);
    o->integrated.ntlm_auth = copy(m, from->integrated.ntlm_auth);
    o->scram.iterations = or_default(o->scram.iterations, AUTH_ITERATIONS_DEFAULT);
    o->cache_ttl_ms = or_default(o->cache_ttl_ms, AUTH_CACHE_TTL_DEFAULT_MS);
    o->cache_entries = or_default(o->cache_entries, AUTH_CACHE_ENTRIES_DEFAULT);
    if (o->hostname == NULL || o->userdb_path == NULL || o->basic.default_domain == NULL ||
        o->machine_names == NULL || o->integrated.keytab == NULL || o->integrated.ntlm_auth == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    if (o->scram.iterations < AUTH_ITERATIONS_LEAST)
        return err_set(e, ERR_PERM, "authentication.scram.iterations: %u is less than %d",
                       (unsigned)o->scram.iterations, AUTH_ITERATIONS_LEAST);
    return copy_domains(s, from, e) &&
           (make_groups(s) || err_set(e, ERR_TEMP, "authentication: no memory"));
}

/* The integrated mechanisms, in the order of the report, and the package that each stands on. */
static const struct {
    unsigned mechanism;
    enum integrated_package package;
} integrated_mechanisms[] = {
    {AUTH_GSSAPI, INTEGRATED_KERBEROS},
    {AUTH_GSS_SPNEGO, INTEGRATED_SPNEGO_KERBEROS},
    {AUTH_NTLM, INTEGRATED_NTLM},
};
enum { INTEGRATED_MECHANISMS = sizeof integrated_mechanisms / sizeof *integrated_mechanisms };

static void log_integrated(unsigned mechanism, const struct integrated_readiness *r)
{
    const char *name = auth_mechanism_name((enum auth_mechanism)mechanism);
    if (!r->ready)
        log_event(LOG_WARN, "auth.integrated.not_ready", LOG_S("mechanism", name),
                  LOG_S("reason", r->reason), LOG_S("cure", r->cure));
    else if (r->warning[0] != 0)
        log_event(LOG_WARN, "auth.integrated.incomplete", LOG_S("mechanism", name),
                  LOG_S("reason", r->warning));
}

static bool open_integrated(struct auth_snapshot *s, bool look, struct err *e)
{
    const struct auth_options *o = &s->options;
    unsigned wanted = o->mechanisms & AUTH_MECHANISMS_INTEGRATED;
    const struct integrated_options options = {
        .keytab = o->integrated.keytab,
        .ntlm_auth = (wanted & AUTH_NTLM) != 0 ? o->integrated.ntlm_auth : ""};
    if (!o->integrated.enabled || wanted == 0)
        return true;
    if (!integrated_auth_open(&options, &s->integrated, e))
        return false;
    for (size_t i = 0; i < INTEGRATED_MECHANISMS; i++) {
        unsigned mechanism = integrated_mechanisms[i].mechanism;
        const struct integrated_readiness *r =
            integrated_auth_ready(s->integrated, integrated_mechanisms[i].package);
        if ((wanted & mechanism) == 0)
            continue;
        s->integrated_ready |= r->ready ? mechanism : 0;
        if (!look)
            log_integrated(mechanism, r);
    }
    return true;
}

static bool make_snapshot(const struct auth_options *options, bool look,
                          const struct auth_snapshot *before, unsigned available,
                          struct auth_snapshot **out, struct err *e)
{
    struct auth_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    s->refs = 1;
    arena_init(&s->arena, OPTIONS_BYTES_MAX);
    if (!copy_options(s, options, e) ||
        !backend_set_open(&s->options, look, before == NULL ? NULL : &before->backends,
                          before == NULL ? NULL : &before->options, &s->backends, e)) {
        free_snapshot(&s);
        return false;
    }
    s->missing = s->options.mechanisms & ~available;
    s->options.mechanisms &= available;
    if (!open_integrated(s, look, e)) {
        free_snapshot(&s);
        return false;
    }
    *out = s;
    return true;
}

/* The whole but for the guard. */
static bool open_auth(const struct auth_options *options, bool look, struct auth **out,
                      struct err *e)
{
    if (!sasl_library_start(e))
        return false;
    struct auth *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    a->refs = 1;
    a->lock = mutex_new();
    a->available = sasl_library_mechanisms();
    if (a->lock == NULL) {
        free(a);
        return err_set(e, ERR_TEMP, "authentication: no memory");
    }
    if (!make_snapshot(options, look, NULL, a->available, &a->current, e)) {
        mutex_free(&a->lock);
        free(a);
        return false;
    }
    *out = a;
    return true;
}

bool auth_open(const struct auth_options *options, struct auth **out, struct err *e)
{
    struct auth *a = NULL;
    if (!open_auth(options, false, &a, e))
        return false;
    if (!guard_new(&options->throttle, &a->guard, e)) {
        auth_close(&a);
        return false;
    }
    unsigned missing = (AUTH_MECHANISMS_BASIC | AUTH_MECHANISMS_SCRAM) & ~a->available;
    if (missing != 0)
        log_event(LOG_WARN, "auth.mechanism.missing", LOG_U("bits", missing),
                  LOG_S("hint", "install the plug-ins of libsasl2 (libsasl2-modules)"));
    *out = a;
    return true;
}

bool auth_look(const struct auth_options *options, struct auth **a, struct err *e)
{
    return open_auth(options, true, a, e);
}

/* What is opened proves itself, which may take a while: not under the lock. */
bool auth_reload(struct auth *a, const struct auth_options *options, struct err *e)
{
    struct auth_snapshot *held = auth_hold(a), *next = NULL;
    bool ok = make_snapshot(options, false, held, a->available, &next, e);
    if (ok) {
        mutex_lock(a->lock);
        struct auth_snapshot *before = a->current;
        a->current = next;
        guard_set_options(a->guard, &options->throttle);
        before = unref(before); /* held: never the last */
        mutex_unlock(a->lock);
        free_snapshot(&before);
    }
    auth_release(a, held);
    return ok;
}

/* The last reference goes: nobody else can hold the lock any more. */
static void release(struct auth *a)
{
    mutex_lock(a->lock);
    bool last = --a->refs == 0;
    mutex_unlock(a->lock);
    if (!last)
        return;
    free_snapshot(&a->current);
    guard_free(&a->guard);
    mutex_free(&a->lock);
    free(a);
}

void auth_close(struct auth **a)
{
    if (a == NULL || *a == NULL)
        return;
    release(*a);
    *a = NULL;
}

struct auth_snapshot *auth_hold(struct auth *a)
{
    mutex_lock(a->lock);
    struct auth_snapshot *s = a->current;
    s->refs++;
    a->refs++;
    mutex_unlock(a->lock);
    return s;
}

void auth_release(struct auth *a, struct auth_snapshot *s)
{
    mutex_lock(a->lock);
    s = unref(s);
    mutex_unlock(a->lock);
    free_snapshot(&s);
    release(a);
}

static bool any_ready(const struct backend_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->entries[i]->ready)
            return true;
    return false;
}

unsigned auth_snapshot_mechanisms(const struct auth_snapshot *s, const struct auth_channel *channel)
{
    const struct auth_options *o = &s->options;
    bool userdb = s->backends.userdb != NULL && s->backends.userdb->ready;
    unsigned bits = s->integrated_ready;
    if (o->basic.enabled && any_ready(&s->backends) && (channel->tls || !o->basic.require_tls))
        bits |= AUTH_MECHANISMS_BASIC;
    if (userdb && (channel->tls || !o->scram.require_tls))
        bits |= AUTH_SCRAM_SHA_256;
    if (userdb && channel->tls && channel->channel_binding)
        bits |= AUTH_SCRAM_SHA_256_PLUS;
    return bits & o->mechanisms & channel->mechanisms;
}

/* A mechanism that we run ourselves: why it is not ready, with the cure; NULL: it is. */
static const char *why_not(const struct auth_snapshot *s, unsigned mechanism, const char **cure)
{
    bool scram = (mechanism & AUTH_MECHANISMS_SCRAM) != 0;
    *cure = "";
    if ((s->missing & mechanism) != 0) {
        *cure = "install the plug-ins of libsasl2 (libsasl2-modules)";
        return "libsasl2 has no plug-in for it";
    }
    if (scram ? s->backends.userdb->ready : any_ready(&s->backends))
        return NULL;
    *cure = "see there";
    return scram ? "the user database is not ready" : "no domain's accounts are ready";
}

static void report_ours(const struct auth_snapshot *s, unsigned mechanism,
                        void (*report)(void *context, const struct auth_readiness *readiness),
                        void *context)
{
    bool scram = (mechanism & AUTH_MECHANISMS_SCRAM) != 0;
    bool wanted = scram ? s->backends.userdb != NULL : s->options.basic.enabled;
    const char *cure;
    if (!wanted || ((s->options.mechanisms | s->missing) & mechanism) == 0)
        return;
    const char *reason = why_not(s, mechanism, &cure);
    report(context, &(struct auth_readiness){
                        .what = auth_mechanism_name((enum auth_mechanism)mechanism),
                        .ready = reason == NULL,
                        .reason = reason == NULL ? "" : reason,
                        .cure = cure,
                        .mechanism = mechanism,
                    });
}

static void report_integrated(const struct auth_snapshot *s, size_t i,
                              void (*report)(void *context, const struct auth_readiness *readiness),
                              void *context)
{
    unsigned mechanism = integrated_mechanisms[i].mechanism;
    if ((s->options.mechanisms & mechanism) == 0)
        return;
    const struct integrated_readiness *r =
        integrated_auth_ready(s->integrated, integrated_mechanisms[i].package);
    report(context, &(struct auth_readiness){
                        .what = auth_mechanism_name((enum auth_mechanism)mechanism),
                        .ready = r->ready,
                        .reason = r->ready ? r->warning : r->reason,
                        .cure = r->cure,
                        .mechanism = mechanism,
                    });
}

void auth_reach(struct auth *a)
{
    for (size_t i = 0; i < a->current->backends.count; i++) {
        struct backend_entry *x = a->current->backends.entries[i];
        if (x->ready && x->backend->ops->reach != NULL)
            (void)x->backend->ops->reach(x->backend, x->reason, x->cure);
    }
}

void auth_report(struct auth *a,
                 void (*report)(void *context, const struct auth_readiness *readiness),
                 void *context)
{
    static const unsigned ours[] = {AUTH_SCRAM_SHA_256_PLUS, AUTH_SCRAM_SHA_256, AUTH_PLAIN,
                                    AUTH_LOGIN};
    mutex_lock(a->lock);
    const struct auth_snapshot *s = a->current;
    for (size_t i = 0; i < s->backends.count; i++) { /* domains may share an entry, not a name */
        const struct backend_entry *x = s->backends.entries[i];
        char what[2 * IDENTITY_ACCOUNT_MAX];
        (void)snprintf(what, sizeof what, "%.255s (%s)", s->options.domains[i].name,
                       backend_kind_name(x->kind));
        report(context, &(struct auth_readiness){what, x->ready, x->reason, x->cure, 0, i});
    }
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        report_ours(s, ours[i], report, context);
    for (size_t i = 0; s->integrated != NULL && i < INTEGRATED_MECHANISMS; i++)
        report_integrated(s, i, report, context);
    mutex_unlock(a->lock);
}

unsigned auth_mechanisms_for(struct auth *a, const struct auth_channel *channel)
{
    mutex_lock(a->lock);
    unsigned bits = auth_snapshot_mechanisms(a->current, channel);
    mutex_unlock(a->lock);
    return bits;
}

uint64_t auth_share_key(const struct netaddr *client)
{
    size_t from = netaddr_is_v4(client) ? 8 : 0; /* an IPv4 address is in the second half */
    uint64_t key = 0;
    for (size_t i = from; i < from + 8; i++)
        key = (key << 8) | client->b[i];
    return key;
}

struct guard *auth_guard(struct auth *a)
{
    return a->guard;
}
