#include "commands/check_certificates.h"

#include "base/civil.h"
#include "platform/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR_END_DAYS = 30, KEY_MAX = 96, ARENA_MAX = 16 * 1024 * 1024, DATE_MAX = 32 };
#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

struct messages {
    const struct policy *policy;
    struct config_messages *m;
    const char *key;
};

static void warn(const struct messages *x, const char *format, const char *what, int64_t days)
{
    char text[640];
    const struct policy *p = x->policy;
    (void)snprintf(text, sizeof text, format, what, days);
    config_messages_add(x->m, CONFIG_WARNING, p->config->path,
                        config_where(p->config, x->key, NULL), x->key, "%s", text);
}

static bool of_store(const struct tls_pair *pair)
{
    return pair->store != NULL && pair->store[0] != '\0';
}

/* ---- what holds for files and for the one of a store that is taken ---- */

static void check_pair(const struct messages *x, const struct tls_pair *pair, bool ours)
{
    struct tls_certificate_info info;
    struct err e = {0};
    char name[300];
    bool names = false;
    if (!tls_certificate_info(pair, &info, &e)) {
        warn(x, "cannot be used: %s", e.text, 0);
        return;
    }
    int64_t now = clock_wall_ms();
    (void)tls_pair_name(pair, name, sizeof name);
    if (now > info.not_after_wall_ms)
        warn(x, "%s has ended %" PRId64 " days ago", name, (now - info.not_after_wall_ms) / DAY_MS);
    else if (info.not_after_wall_ms - now < NEAR_END_DAYS * DAY_MS)
        warn(x, "%s ends in %" PRId64 " days", name, (info.not_after_wall_ms - now) / DAY_MS);
    if (now < info.not_before_wall_ms)
        warn(x, "%s begins in %" PRId64 " days only", name,
             (info.not_before_wall_ms - now) / DAY_MS);
    if (ours && tls_certificate_names(pair, x->policy->hostname, &names, &e) && !names)
        warn(x, "the certificate is not for %s: clients that check names will refuse it",
             x->policy->hostname, 0);
    if (info.self_signed)
        warn(x, "%s is self-signed: clients that check it will refuse it", name, 0);
    if (info.no_pss && x->policy->config->tls.minimum_version == CONFIG_TLS_1_3)
        warn(x,
             "the key of %s cannot make RSA-PSS signatures, which TLS 1.3 needs: the service does "
             "not start with tls.minimum_version: \"1.3\"",
             name, 0);
    else if (info.no_pss)
        warn(x,
             "the key of %s cannot make RSA-PSS signatures: TLS 1.2 is spoken with it, not 1.3; a "
             "key of the Microsoft Software Key Storage Provider could",
             name, 0);
}

/* ---- stores ---- */

static void date(int64_t wall_ms, char out[DATE_MAX])
{
    struct civil c = civil_from_wall_ms(wall_ms);
    (void)snprintf(out, DATE_MAX, "%04d-%02d-%02d", c.year, c.month, c.day);
}

static bool give(const struct check_store *s, struct tls_store_entry *entry, struct buf *said,
                 struct err *e)
{
    if (!tls_store_grant(s->pair, entry, e))
        return false;
    entry->right = CERT_STORE_MAY;
    buf_addf(said, "%s, thumbprint %s: NT SERVICE\\Postern may read its key from now on\n",
             entry->facts.subject, entry->thumbprint);
    return true;
}

/* The key of a certificate that is meant, and not known to be readable by the service. */
static bool lacks_right(const struct tls_store_entry *entry)
{
    return (entry->fit == TLS_FIT && entry->right != CERT_STORE_MAY) ||
           entry->fit == TLS_FIT_LOCKED;
}

static bool grant_all(struct check_store *s, struct buf *said, char failed[TLS_NOTE_MAX])
{
    bool ok = true;
    for (size_t i = 0; i < s->n; i++) {
        struct err e = {0};
        if (!lacks_right(&s->entries[i]) || give(s, &s->entries[i], said, &e))
            continue;
        (void)snprintf(failed, TLS_NOTE_MAX, "%s: %s", s->entries[i].thumbprint, e.text);
        ok = false;
    }
    return ok;
}

static void warn_of_rights(const struct messages *x, const struct check_store *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct tls_store_entry *entry = &s->entries[i];
        if (entry->fit == TLS_FIT_LOCKED)
            warn(x,
                 "the key of %s cannot be read by this account; as an administrator: postern "
                 "check --grant-key",
                 entry->thumbprint, 0);
        else if (entry->chosen && entry->right == CERT_STORE_MAY_NOT)
            warn(x,
                 "NT SERVICE\\Postern may not read the key of %s; as an administrator: postern "
                 "check --grant-key",
                 entry->thumbprint, 0);
        else if (entry->chosen && entry->right == CERT_STORE_CANNOT_TELL)
            warn(x, "whether NT SERVICE\\Postern may read the key cannot be told: %s", entry->why,
                 0);
    }
}

static bool open_store(const struct messages *x, const struct tls_pair *pair, bool grant,
                       struct check_certificates *c, struct check_store *s)
{
    struct err e = {0};
    char failed[TLS_NOTE_MAX] = "";
    s->pair = pair;
    if (!tls_store_list(pair, &c->arena, &s->entries, &s->n, &e)) {
        (void)snprintf(s->failed, sizeof s->failed, "%s", e.text);
        return true;
    }
    bool ok = !grant || grant_all(s, &c->said, failed);
    if (failed[0] != '\0')
        warn(x, "the right to read a key could not be given: %s", failed, 0);
    warn_of_rights(x, s);
    return ok;
}

static const struct tls_pair *pair_of(const struct policy *p, size_t i)
{
    return i == 0 ? &p->tls->main : &p->tls->more[i - 1];
}

bool check_certificates_open(const struct policy *p, bool grant, struct config_messages *m,
                             struct check_certificates *c)
{
    bool ok = true;
    *c = (struct check_certificates){0};
    arena_init(&c->arena, ARENA_MAX);
    buf_init(&c->said, 64 * 1024);
    size_t n = p->tls == NULL ? 0 : p->tls->more_n + 1;
    c->stores = n == 0 ? NULL : arena_alloc(&c->arena, n * sizeof *c->stores);
    for (size_t i = 0; i < n; i++) {
        const struct tls_pair *pair = pair_of(p, i);
        char prefix[KEY_MAX] = "tls", key[KEY_MAX + 16];
        if (i > 0)
            (void)snprintf(prefix, sizeof prefix, "tls.certificates[%zu]", i - 1);
        (void)snprintf(key, sizeof key, "%s.%s", prefix, of_store(pair) ? "store" : "certificate");
        const struct messages x = {p, m, key};
        check_pair(&x, pair, i == 0);
        if (!of_store(pair) || c->stores == NULL)
            continue;
        struct check_store *s = &c->stores[c->count++];
        (void)snprintf(s->key, sizeof s->key, "%s", prefix);
        ok = open_store(&x, pair, grant, c, s) && ok;
    }
    return ok;
}

void check_certificates_close(struct check_certificates *c)
{
    arena_deinit(&c->arena);
    buf_deinit(&c->said);
}

/* ---- showing ---- */

static const char *verdict(const struct tls_store_entry *e)
{
    return e->chosen ? "taken" : e->fit == TLS_FIT ? "older" : "no";
}

static const char *wanted(const struct tls_pair *pair)
{
    return pair->thumbprint != NULL && pair->thumbprint[0] != '\0' ? pair->thumbprint
                                                                   : pair->subject;
}

void check_certificates_text(struct check_certificates *c, FILE *to)
{
    char begins[DATE_MAX], ends[DATE_MAX];
    if (c->said.n > 0)
        (void)fputs(buf_cstr(&c->said), to);
    for (size_t i = 0; i < c->count; i++) {
        const struct check_store *s = &c->stores[i];
        (void)fprintf(to, "certificates of %s, for %s:\n", s->pair->store, wanted(s->pair));
        if (s->failed[0] != '\0')
            (void)fprintf(to, "  %s\n", s->failed);
        else if (s->n == 0)
            (void)fprintf(to, "  there are none\n");
        for (size_t k = 0; k < s->n; k++) {
            const struct tls_store_entry *e = &s->entries[k];
            date(e->facts.not_before_wall_ms, begins);
            date(e->facts.not_after_wall_ms, ends);
            (void)fprintf(to, "  %-8s %s\n           thumbprint %s, %s to %s", verdict(e),
                          e->facts.subject, e->thumbprint, begins, ends);
            if (e->fit != TLS_FIT)
                (void)fprintf(to, ": %s%s%s", tls_fit_text(e->fit), e->why[0] == '\0' ? "" : ": ",
                              e->why);
            (void)fprintf(to, "\n");
        }
    }
}

static json_t *entry_json(const struct tls_store_entry *e)
{
    char begins[DATE_MAX], ends[DATE_MAX];
    date(e->facts.not_before_wall_ms, begins);
    date(e->facts.not_after_wall_ms, ends);
    json_t *right =
        e->right == CERT_STORE_CANNOT_TELL ? json_null() : json_boolean(e->right == CERT_STORE_MAY);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:b}", "subject", e->facts.subject,
                     "thumbprint", e->thumbprint, "begins", begins, "ends", ends, "verdict",
                     verdict(e), "why", e->fit == TLS_FIT ? "" : tls_fit_text(e->fit), "tls13",
                     (int)!e->no_pss, "service_may_read_key", right, "key", (int)e->facts.has_key);
}

json_t *check_certificates_json(const struct check_certificates *c)
{
    json_t *all = c->count == 0 ? json_null() : json_array();
    for (size_t i = 0; i < c->count; i++) {
        const struct check_store *s = &c->stores[i];
        json_t *list = json_array();
        for (size_t k = 0; k < s->n; k++)
            (void)json_array_append_new(list, entry_json(&s->entries[k]));
        (void)json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:o}", "option", s->key,
                                                   "store", s->pair->store, "for", wanted(s->pair),
                                                   "failed", s->failed, "list", list));
    }
    return all;
}

/* ---- for the installation ---- */

bool check_certificates_grant(const char *config, struct buf *said)
{
    struct config_messages m;
    struct policy *p = NULL;
    bool ok = true;
    config_messages_init(&m);
    if (policy_load(config, NULL, 0, &p, &m) == CONFIG_OK && p->tls != NULL)
        for (size_t i = 0; i <= p->tls->more_n; i++) {
            struct check_store s = {.pair = pair_of(p, i)};
            struct arena arena;
            struct err e = {0};
            char failed[TLS_NOTE_MAX] = "";
            if (!of_store(s.pair))
                continue;
            arena_init(&arena, ARENA_MAX);
            if (!tls_store_list(s.pair, &arena, &s.entries, &s.n, &e))
                (void)snprintf(failed, sizeof failed, "%s", e.text);
            else
                (void)grant_all(&s, said, failed);
            if (failed[0] != '\0') {
                buf_addf(said,
                         "note: the right to read the certificate's key could not be given: "
                         "%s; postern check --grant-key tries it again\n",
                         failed);
                ok = false;
            }
            arena_deinit(&arena);
        }
    policy_unref(&p);
    config_messages_deinit(&m);
    return ok;
}
