/* A certificate of the system's store: looked for, tried, and held by its provider. */
#include "net/tls_store.h"

#include "net/tls_internal.h"
#include "platform/clock.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 16 * 1024 * 1024, NAME_TEXT_MAX = 300 };

/* What a store holds, read. */
struct shelf {
    const struct cert_store *store;
    struct arena arena;
    struct tls_wanted wanted;
    int64_t now_wall_ms;
    struct cert_store_item *items;
    struct tls_candidate *candidates;
    X509 **certificates; /* NULL: cannot be read */
    size_t n;
};

static const struct cert_store *store_of(const struct tls_pair *pair)
{
    return pair->from != NULL ? pair->from : cert_store_system();
}

static void shelf_close(struct shelf *s)
{
    for (size_t i = 0; s->certificates != NULL && i < s->n; i++)
        X509_free(s->certificates[i]);
    arena_deinit(&s->arena);
}

/* ---- facts ---- */

static bool for_servers(X509 *c)
{
    /* UINT32_MAX: there is no such extension, so it is for everything */
    uint32_t usage = X509_get_extended_key_usage(c);
    return usage == UINT32_MAX || (usage & (XKU_SSL_SERVER | XKU_ANYEKU)) != 0;
}

static const char *common_name(X509 *c, struct arena *a)
{
    const X509_NAME *name = X509_get_subject_name(c);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    int n = at < 0 ? -1
                   : ASN1_STRING_to_UTF8(&text,
                                         X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    const char *out = n < 0 ? "" : arena_span_str(a, span_of(text, (size_t)n));
    OPENSSL_free(text);
    return out;
}

static bool dns_names(X509 *c, struct arena *a, const char **out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(c, NID_subject_alt_name, NULL, NULL);
    const char *all = "";
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && all != NULL; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        struct span s = span_of(ASN1_STRING_get0_data(name->d.dNSName),
                                (size_t)ASN1_STRING_length(name->d.dNSName));
        if (span_find(s, 0) == s.n && span_find(s, ' ') == s.n)
            all = arena_printf(a, "%s%s%.*s", all, all[0] == '\0' ? "" : " ", SPAN_ARG(s));
    }
    GENERAL_NAMES_free(names);
    *out = all;
    return all != NULL;
}

static bool read_facts(struct shelf *s, size_t i)
{
    const struct cert_store_item *item = &s->items[i];
    struct tls_candidate *to = &s->candidates[i];
    const unsigned char *p = item->der.p;
    char subject[1024];
    X509 *c = d2i_X509(NULL, &p, (long)item->der.n);
    s->certificates[i] = c;
    *to = (struct tls_candidate){.subject = "", .common_name = "", .names = ""};
    if (c == NULL)
        return true;
    tls_certificate_subject(c, subject, sizeof subject);
    tls_certificate_thumbprint(c, to->thumbprint);
    to->subject = arena_str(&s->arena, subject);
    to->common_name = common_name(c, &s->arena);
    to->not_before_wall_ms = tls_wall_ms_of(X509_get0_notBefore(c));
    to->not_after_wall_ms = tls_wall_ms_of(X509_get0_notAfter(c));
    to->has_key = item->has_key;
    to->for_servers = for_servers(c) && !item->server_forbidden;
    return dns_names(c, &s->arena, &to->names) && to->subject != NULL && to->common_name != NULL;
}

static bool shelf_open(struct shelf *s, const struct tls_pair *pair, struct err *e)
{
    *s = (struct shelf){.store = store_of(pair), .now_wall_ms = clock_wall_ms()};
    arena_init(&s->arena, ARENA_MAX);
    if (s->store == NULL)
        return err_set(e, ERR_PERM, "%s: a certificate store is there only on Windows",
                       pair->store);
    if (pair->thumbprint != NULL && pair->thumbprint[0] != '\0') {
        if (!thumbprint_parse(pair->thumbprint, s->wanted.thumbprint))
            return err_set(e, ERR_PERM, "\"%s\": no thumbprint", pair->thumbprint);
    } else {
        s->wanted.subject = pair->subject == NULL ? "" : pair->subject;
    }
    if (s->store->list(s->store, pair->store, &s->arena, &s->items, &s->n, e) != CERT_STORE_OK) {
        s->n = 0;
        return false;
    }
    s->candidates = arena_alloc(&s->arena, s->n * sizeof *s->candidates);
    s->certificates = arena_alloc(&s->arena, s->n * sizeof(X509 *));
    bool ok = s->candidates != NULL && s->certificates != NULL;
    for (size_t i = 0; ok && i < s->n; i++)
        ok = read_facts(s, i);
    ERR_clear_error();
    return ok || err_set(e, ERR_TEMP, "%s: no memory for its certificates", pair->store);
}

/* ---- taking one ---- */

/* Opens the key and lets it sign. False: fit says what is wrong, and the error why. */
static bool try_key(const struct shelf *s, const struct tls_pair *pair, size_t i,
                    struct cert_key **key, struct tls_key_abilities *can, enum tls_fit *fit,
                    struct err *e)
{
    EVP_PKEY *public_key = X509_get0_pubkey(s->certificates[i]);
    *key = NULL;
    enum cert_store_result result =
        s->store->open_key(s->store, pair->store, s->items[i].der, key, e);
    if (result == CERT_STORE_OK && public_key == NULL) {
        result = CERT_STORE_UNUSABLE;
        (void)err_set(e, ERR_PERM, "its public key cannot be read");
    }
    if (result == CERT_STORE_OK && tls_key_probe(public_key, *key, can, &result, e))
        return true;
    ERR_clear_error();
    if (*key != NULL)
        (*key)->close(*key);
    *key = NULL;
    *fit = result == CERT_STORE_LOCKED   ? TLS_FIT_LOCKED
           : result == CERT_STORE_ABSENT ? TLS_FIT_NO_KEY
                                         : TLS_FIT_UNUSABLE;
    return false;
}

static bool load_chain(const struct shelf *s, const struct tls_pair *pair, size_t i,
                       struct tls_identity *out)
{
    struct arena arena;
    struct span *list = NULL;
    size_t n = 0;
    out->chain = sk_X509_new_null();
    bool ok = out->chain != NULL;
    arena_init(&arena, ARENA_MAX);
    if (s->store->chain != NULL)
        s->store->chain(s->store, pair->store, s->items[i].der, &arena, &list, &n);
    for (size_t k = 0; ok && k < n; k++) {
        const unsigned char *p = list[k].p;
        X509 *one = d2i_X509(NULL, &p, (long)list[k].n);
        ok = one != NULL && sk_X509_push(out->chain, one) > 0;
        if (!ok)
            X509_free(one);
    }
    arena_deinit(&arena);
    return ok;
}

static bool take(const struct shelf *s, const struct tls_pair *pair, size_t i, struct cert_key *key,
                 const struct tls_key_abilities *can, struct tls_identity *out, struct err *e)
{
    *out = (struct tls_identity){.can = *can};
    out->provider = tls_provider_new(X509_get0_pubkey(s->certificates[i]), key, can,
                                     s->candidates[i].subject, e);
    if (out->provider == NULL)
        return false;
    out->key = tls_provider_key(out->provider);
    if (X509_up_ref(s->certificates[i]) == 1)
        out->certificate = s->certificates[i];
    if (out->key != NULL && out->certificate != NULL && load_chain(s, pair, i, out))
        return true;
    tls_identity_drop(out);
    ERR_clear_error();
    return err_set(e, ERR_TEMP, "certificate %s: no memory", s->candidates[i].subject);
}

/* ---- saying why not ---- */

/* "2 have expired, 1 ...": of those that are meant. */
static void summary(const struct shelf *s, char *out, size_t size)
{
    size_t counts[TLS_FITS] = {0}, used = 0;
    for (size_t i = 0; i < s->n; i++)
        counts[tls_choice_fit(&s->candidates[i], &s->wanted, s->now_wall_ms)]++;
    (void)snprintf(out, size, "none of its %zu certificate%s is it", s->n, s->n == 1 ? "" : "s");
    for (int f = TLS_FIT_NO_KEY; f < TLS_FITS; f++) {
        if (counts[f] == 0 || used >= size)
            continue;
        int n = snprintf(out + used, size - used, "%s%zu that %s", used == 0 ? "" : ", ", counts[f],
                         tls_fit_text((enum tls_fit)f));
        used += n < 0 ? 0 : (size_t)n;
    }
}

static void refuse(struct tls_renewal *r, enum tls_fit fit, const char *text)
{
    if (r->refused[0] != '\0')
        return; /* the first says it */
    (void)snprintf(r->refused, sizeof r->refused, "%s", text);
    r->locked = fit == TLS_FIT_LOCKED;
}

static void refuse_one(struct tls_renewal *r, const struct shelf *s, size_t i, enum tls_fit fit,
                       const struct err *why)
{
    char text[TLS_NOTE_MAX], thumbprint[THUMBPRINT_TEXT_MAX];
    thumbprint_format(s->candidates[i].thumbprint, thumbprint);
    (void)snprintf(text, sizeof text, "%s, thumbprint %s, %s: %s", s->candidates[i].subject,
                   thumbprint, tls_fit_text(fit), why->text);
    refuse(r, fit, text);
}

/* Keeps what is in force; without it there is nothing. */
static bool keep(const struct tls_pair *pair, const struct tls_identity *previous,
                 struct tls_identity *out, const struct tls_renewal *r, struct err *e)
{
    char name[NAME_TEXT_MAX];
    if (previous != NULL)
        return tls_identity_copy(previous, out) || err_set(e, ERR_TEMP, "tls: no memory");
    return err_set(e, ERR_PERM, "certificate %s: %s%s", tls_pair_name(pair, name, sizeof name),
                   r->refused,
                   r->locked ? "; as an administrator: postern check --grant-key"
                             : "; postern check lists them");
}

/* How the choice changed, for the log. */
static void note(struct tls_renewal *r, const struct shelf *s, size_t i)
{
    const struct tls_candidate *c = &s->candidates[i];
    r->renewed = true;
    (void)snprintf(r->subject, sizeof r->subject, "%s", c->subject);
    thumbprint_format(c->thumbprint, r->thumbprint);
    r->not_after_wall_ms = c->not_after_wall_ms;
}

/* Through those that fit, the newest first, until one can sign; the one that is in force can. */
static bool pick(const struct shelf *s, const struct tls_pair *pair,
                 const struct tls_identity *previous, struct tls_identity *out,
                 struct tls_renewal *r, struct err *e)
{
    uint8_t in_force[THUMBPRINT_BYTES] = {0};
    size_t *order = calloc(s->n + 1, sizeof *order);
    if (order == NULL)
        return err_set(e, ERR_TEMP, "tls: no memory");
    size_t n = tls_choice_order(s->candidates, s->n, &s->wanted, s->now_wall_ms, order);
    bool taken = false, failed = false;
    if (previous != NULL)
        tls_certificate_thumbprint(previous->certificate, in_force);
    for (size_t k = 0; k < n && !taken && !failed; k++) {
        size_t i = order[k];
        struct cert_key *key;
        struct tls_key_abilities can;
        enum tls_fit fit = TLS_FIT;
        struct err why = {0};
        if (previous != NULL &&
            memcmp(s->candidates[i].thumbprint, in_force, sizeof in_force) == 0) {
            taken = tls_identity_copy(previous, out);
            failed = !taken && !err_set(e, ERR_TEMP, "tls: no memory");
        } else if (try_key(s, pair, i, &key, &can, &fit, &why)) {
            taken = take(s, pair, i, key, &can, out, e);
            failed = !taken;
            if (taken)
                note(r, s, i);
        } else {
            refuse_one(r, s, i, fit, &why);
        }
    }
    free(order);
    if (taken || failed)
        return taken;
    if (n == 0) {
        char text[TLS_NOTE_MAX];
        summary(s, text, sizeof text);
        refuse(r, TLS_FIT_OTHER, text);
    }
    return keep(pair, previous, out, r, e);
}

bool tls_store_load(const struct tls_pair *pair, const struct tls_identity *previous,
                    struct tls_identity *out, struct tls_renewal *renewal, struct err *e)
{
    struct shelf s;
    struct err why = {0};
    *out = (struct tls_identity){0};
    bool ok = shelf_open(&s, pair, &why);
    if (ok) {
        ok = pick(&s, pair, previous, out, renewal, e);
    } else {
        refuse(renewal, TLS_FIT_OTHER, why.text);
        ok = keep(pair, previous, out, renewal, e);
        if (!ok && e != NULL && why.class == ERR_TEMP)
            e->class = ERR_TEMP;
    }
    shelf_close(&s);
    return ok;
}

/* ---- the list ---- */

static void list_one(const struct shelf *s, const struct tls_pair *pair, size_t i,
                     struct tls_store_entry *to)
{
    struct cert_key *key;
    struct tls_key_abilities can = {0};
    struct err why = {0};
    to->facts = s->candidates[i];
    to->der = s->items[i].der;
    to->right = CERT_STORE_CANNOT_TELL;
    thumbprint_format(to->facts.thumbprint, to->thumbprint);
    to->fit = tls_choice_fit(&to->facts, &s->wanted, s->now_wall_ms);
    if (to->fit != TLS_FIT)
        return;
    if (try_key(s, pair, i, &key, &can, &to->fit, &why)) {
        key->close(key);
        to->no_pss =
            EVP_PKEY_is_a(X509_get0_pubkey(s->certificates[i]), "RSA") == 1 && can.pss == 0;
        to->right = s->store->right(s->store, pair->store, to->der, &why);
        if (to->right != CERT_STORE_CANNOT_TELL)
            why.text[0] = '\0';
    }
    (void)snprintf(to->why, sizeof to->why, "%s", why.text);
}

/* The strings of an entry are the shelf's, so they are copied. */
static bool own(struct tls_store_entry *e, struct arena *a)
{
    e->facts.subject = arena_str(a, e->facts.subject);
    e->facts.common_name = arena_str(a, e->facts.common_name);
    e->facts.names = arena_str(a, e->facts.names);
    e->der = arena_span(a, e->der);
    return e->facts.subject != NULL && e->facts.common_name != NULL && e->facts.names != NULL &&
           e->der.p != NULL;
}

static int by_rank(const void *a, const void *b)
{
    const struct tls_store_entry *x = a, *y = b;
    bool other_x = x->fit == TLS_FIT_OTHER, other_y = y->fit == TLS_FIT_OTHER;
    if (other_x != other_y)
        return other_x ? 1 : -1;
    return tls_choice_newer(&x->facts, &y->facts) ? -1 : 1;
}

bool tls_store_list(const struct tls_pair *pair, struct arena *arena,
                    struct tls_store_entry **entries, size_t *n, struct err *e)
{
    struct shelf s;
    *entries = NULL;
    *n = 0;
    bool ok = shelf_open(&s, pair, e);
    if (ok) {
        *entries = arena_alloc(arena, (s.n + 1) * sizeof **entries);
        ok = *entries != NULL;
        for (size_t i = 0; ok && i < s.n; i++) {
            list_one(&s, pair, i, &(*entries)[i]);
            ok = own(&(*entries)[i], arena);
        }
        if (!ok)
            (void)err_set(e, ERR_TEMP, "%s: no memory for its certificates", pair->store);
    }
    if (ok && s.n > 0) {
        *n = s.n;
        qsort(*entries, *n, sizeof **entries, by_rank);
        size_t first = 0;
        while (first < *n && (*entries)[first].fit != TLS_FIT)
            first++;
        if (first < *n)
            (*entries)[first].chosen = true;
    }
    shelf_close(&s);
    return ok;
}

bool tls_store_grant(const struct tls_pair *pair, const struct tls_store_entry *entry,
                     struct err *e)
{
    const struct cert_store *store = store_of(pair);
    return store != NULL && store->grant(store, pair->store, entry->der, e) == CERT_STORE_OK;
}
