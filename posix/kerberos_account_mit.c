#define _POSIX_C_SOURCE 200809L /* strdup */
#include "platform/kerberos_account.h"

#include "base/buf.h"
#include "base/secret.h"
#include "platform/clock.h"
#include "posix/dial.h"
#include "posix/kdc_exchange.h"
#include "posix/kerberos_codes.h"
#include "posix/kerberos_profile.h"

#include <errno.h>
#include <krb5/krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICKET_LIFE_S = 300,
    PRINCIPAL_TEXT_MAX = 300,
    ERROR_SVC_UNAVAILABLE = 29,
    TAG_KRB_ERROR = 0x7e
};

struct kerberos_account {
    char *realm, *service, *host, *keytab;
    uint32_t deadline_ms;
    struct kerberos_profile profile;
    char fault[KERBEROS_REASON_MAX]; /* of krb5.conf; "": none */
    struct kdc_list kdcs;            /* as configured; none: found at each check */
    struct dialer *dialer;
    atomic_uint first_kdc;
};

/* One check. */
struct check {
    struct kerberos_account *account;
    krb5_context context;
    uint64_t deadline_ms;
    struct kdc_list kdcs;
    struct err e; /* why no KDC answered; ERR_NONE: all did */
};

static bool copy_options(struct kerberos_account *a, const struct kerberos_account_options *from,
                         struct err *e)
{
    a->realm = strdup(from->realm);
    a->service = strdup(from->service);
    a->host = strdup(from->host);
    a->keytab = strdup(from->keytab);
    a->deadline_ms = from->deadline_ms;
    if (a->realm == NULL || a->service == NULL || a->host == NULL || a->keytab == NULL)
        return err_set(e, ERR_TEMP, "Kerberos: no memory");
    for (size_t i = 0; i < from->kdc_count; i++)
        if (!kdc_list_add(&a->kdcs, from->kdcs[i]))
            return err_set(e, ERR_PERM, "kdc: %.100s: not a host or host:port, or one too many",
                           from->kdcs[i]);
    return true;
}

bool kerberos_account_open(const struct kerberos_account_options *options,
                           struct kerberos_account **out, struct err *e)
{
    struct kerberos_account *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_TEMP, "Kerberos: no memory");
    struct err fault = {0};
    bool ok = copy_options(a, options, e) && dialer_open(&a->dialer, e);
    if (ok && !kerberos_profile_open(&a->profile, a->realm, &fault)) {
        if (fault.class == ERR_TEMP)
            ok = err_set(e, ERR_TEMP, "Kerberos: %.200s", fault.text);
        (void)snprintf(a->fault, sizeof a->fault, "%.150s", fault.text);
    }
    if (!ok)
        kerberos_account_close(&a);
    else
        *out = a;
    return ok;
}

void kerberos_account_close(struct kerberos_account **a)
{
    if (a == NULL || *a == NULL)
        return;
    kerberos_profile_close(&(*a)->profile);
    dialer_close(&(*a)->dialer);
    free((*a)->realm);
    free((*a)->service);
    free((*a)->host);
    free((*a)->keytab);
    free(*a);
    *a = NULL;
}

static void say(krb5_context context, krb5_error_code code, const char *what,
                char reason[KERBEROS_REASON_MAX])
{
    const char *text = krb5_get_error_message(context, code);
    (void)snprintf(reason, KERBEROS_REASON_MAX, "%.60s: %.90s", what, text);
    krb5_free_error_message(context, text);
}

static krb5_error_code open_keytab(const struct kerberos_account *a, krb5_context context,
                                   krb5_keytab *keytab)
{
    if (a->keytab[0] == '\0')
        return krb5_kt_default(context, keytab);
    struct buf name;
    buf_init(&name, 8192);
    bool ok = buf_addf(&name, "FILE:%s", a->keytab);
    krb5_error_code code = ok ? krb5_kt_resolve(context, buf_cstr(&name), keytab) : ENOMEM;
    buf_deinit(&name);
    return code;
}

static bool is(const krb5_data *d, const char *text)
{
    return span_is_nocase(span_of(d->data, d->length), text);
}

/* 2: service/host@REALM; 1: the service on another host of the realm, a key of ours as well; 0. */
static int match(const struct kerberos_account *a, krb5_const_principal p)
{
    if (p->length != 2 || !span_is(span_of(p->realm.data, p->realm.length), a->realm) ||
        !is(&p->data[0], a->service))
        return 0;
    return is(&p->data[1], a->host) ? 2 : 1;
}

/* The principal of ours of which the keytab has a key; NULL with the reason. */
static krb5_principal find_principal(const struct kerberos_account *a, krb5_context context,
                                     krb5_keytab keytab, char reason[KERBEROS_REASON_MAX])
{
    krb5_kt_cursor cursor;
    krb5_keytab_entry entry;
    krb5_principal best = NULL;
    int best_match = 0;
    krb5_error_code code = krb5_kt_start_seq_get(context, keytab, &cursor);
    if (code != 0) {
        say(context, code, "keytab", reason);
        return NULL;
    }
    while (krb5_kt_next_entry(context, keytab, &entry, &cursor) == 0) {
        krb5_principal copy;
        int m = match(a, entry.principal);
        if (m > best_match && krb5_copy_principal(context, entry.principal, &copy) == 0) {
            krb5_free_principal(context, best);
            best = copy;
            best_match = m;
        }
        (void)krb5_free_keytab_entry_contents(context, &entry);
    }
    (void)krb5_kt_end_seq_get(context, keytab, &cursor);
    if (best == NULL)
        (void)snprintf(reason, KERBEROS_REASON_MAX, "the keytab has no key of %.20s/%.60s@%.50s",
                       a->service, a->host, a->realm);
    return best;
}

bool kerberos_account_ready(struct kerberos_account *a, char reason[KERBEROS_REASON_MAX],
                            char cure[KERBEROS_REASON_MAX])
{
    krb5_context context;
    krb5_keytab keytab = NULL;
    struct err e = {0};
    if (a->fault[0] != '\0') {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%s", a->fault);
        (void)snprintf(cure, KERBEROS_REASON_MAX, "mend krb5.conf, or the file in KRB5_CONFIG");
        return false;
    }
    if (!kerberos_context(&a->profile, &context, &e)) {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%.150s", e.text);
        cure[0] = '\0';
        return false;
    }
    krb5_principal found = NULL;
    krb5_error_code code = open_keytab(a, context, &keytab);
    if (code != 0)
        say(context, code, "keytab", reason);
    else
        found = find_principal(a, context, keytab, reason);
    if (found == NULL)
        (void)snprintf(cure, KERBEROS_REASON_MAX,
                       "export the key of %.20s/%.60s into a keytab that this process can read",
                       a->service, a->host);
    krb5_free_principal(context, found);
    if (keytab != NULL)
        (void)krb5_kt_close(context, keytab);
    krb5_free_context(context);
    return found != NULL;
}

/* KRB-ERROR (RFC 4120 5.9.1) with KDC_ERR_SVC_UNAVAILABLE: ask the next one. */
static bool out_of_service(void *context, struct span reply)
{
    const struct check *c = context;
    krb5_data data = {.length = (unsigned)reply.n, .data = (char *)(uintptr_t)reply.p};
    krb5_error *error = NULL;
    if (reply.n == 0 || reply.p[0] != TAG_KRB_ERROR ||
        krb5_rd_error(c->context, &data, &error) != 0)
        return false;
    bool out = error->error == ERROR_SVC_UNAVAILABLE;
    krb5_free_error(c->context, error);
    return out;
}

/* krb5_pre_send_fn: here all that the library would send to a KDC goes by. It must give a reply or
 * an error: with neither the library would send by itself, and that knows no deadline. */
static krb5_error_code exchange(krb5_context context, void *data, const krb5_data *realm,
                                const krb5_data *message, krb5_data **new_message,
                                krb5_data **new_reply)
{
    (void)new_message;
    struct check *c = data;
    struct buf reply;
    if (!span_is(span_of(realm->data, realm->length), c->account->realm)) {
        (void)err_set(&c->e, ERR_TEMP, "the KDC sends us on to the realm %.*s",
                      realm->length < 60 ? (int)realm->length : 60, realm->data);
        return KRB5_KDC_UNREACH;
    }
    buf_init(&reply, KDC_REPLY_BYTES_MAX);
    struct err e = {0};
    krb5_error_code code = KRB5_KDC_UNREACH;
    if (kdc_exchange(c->account->dialer, &c->kdcs, &c->account->first_kdc, c->deadline_ms,
                     span_of(message->data, message->length), out_of_service, c, &reply, &e)) {
        struct span got = buf_span(&reply);
        krb5_data view = {.length = (unsigned)got.n, .data = (char *)(uintptr_t)got.p};
        code = krb5_copy_data(context, &view, new_reply);
    } else {
        c->e = e;
    }
    buf_deinit(&reply);
    return code;
}

/* As configured, else as krb5.conf says, else as DNS does (RFC 4120 7.2.3.2). */
static bool find_kdcs(struct check *c)
{
    const struct kerberos_account *a = c->account;
    bool ask_dns;
    c->kdcs = a->kdcs;
    if (c->kdcs.count > 0)
        return true;
    char **listed = kerberos_profile_kdcs(&a->profile, &ask_dns);
    for (size_t i = 0; listed != NULL && listed[i] != NULL; i++)
        (void)kdc_list_add(&c->kdcs, listed[i]); /* not one by https: that is not for us */
    if (listed != NULL)
        profile_free_list(listed);
    if (c->kdcs.count > 0)
        return true;
    if (!ask_dns)
        return err_set(&c->e, ERR_TEMP,
                       "krb5.conf names no KDC of %.100s, and DNS may not be asked", a->realm);
    char name[PRINCIPAL_TEXT_MAX];
    (void)snprintf(name, sizeof name, "_kerberos._tcp.%.250s", a->realm);
    return dial_services(a->dialer, name, dial_share(c->deadline_ms, 2), c->kdcs.targets,
                         &c->kdcs.count, &c->e);
}

static enum kerberos_answer answer_of(struct check *c, enum kerberos_stage stage,
                                      krb5_error_code code, char reason[KERBEROS_REASON_MAX])
{
    const char *known;
    if (c->e.class != ERR_NONE) { /* whatever the library made of it */
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%.150s", c->e.text);
        return KERBEROS_NO_ANSWER;
    }
    enum kerberos_answer answer = kerberos_code_answer(stage, code, &known);
    if (known != NULL)
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%s", known);
    else
        say(c->context, code, stage == KERBEROS_STAGE_PROOF ? "the KDC's proof" : "the KDC",
            reason);
    return answer;
}

/* The KDC's proof: a ticket for our principal opens with the key that only it and we have. */
static enum kerberos_answer prove_kdc(struct check *c, krb5_creds *credentials, krb5_keytab keytab,
                                      krb5_principal ours, char reason[KERBEROS_REASON_MAX])
{
    krb5_verify_init_creds_opt options;
    krb5_verify_init_creds_opt_init(&options);
    krb5_verify_init_creds_opt_set_ap_req_nofail(&options, 1);
    krb5_error_code code =
        krb5_verify_init_creds(c->context, credentials, ours, keytab, NULL, &options);
    return code == 0 ? KERBEROS_ACCEPTED : answer_of(c, KERBEROS_STAGE_PROOF, code, reason);
}

static enum kerberos_answer ask(struct check *c, const char *account, const char *password,
                                krb5_keytab keytab, krb5_principal ours,
                                char reason[KERBEROS_REASON_MAX])
{
    const struct kerberos_account *a = c->account;
    krb5_principal client = NULL;
    krb5_get_init_creds_opt *options = NULL;
    krb5_creds credentials = {0};
    enum kerberos_answer answer = KERBEROS_NO_ANSWER;
    krb5_error_code code = krb5_build_principal(c->context, &client, (unsigned)strlen(a->realm),
                                                a->realm, account, (char *)NULL);
    if (code == 0)
        code = krb5_get_init_creds_opt_alloc(c->context, &options);
    if (code != 0) {
        say(c->context, code, "Kerberos", reason);
        goto done;
    }
    krb5_get_init_creds_opt_set_tkt_life(options, TICKET_LIFE_S);
    krb5_get_init_creds_opt_set_forwardable(options, 0);
    krb5_get_init_creds_opt_set_proxiable(options, 0);
    krb5_get_init_creds_opt_set_canonicalize(options, 0);
    krb5_get_init_creds_opt_set_change_password_prompt(options, 0);
    code = krb5_get_init_creds_password(c->context, &credentials, client, password, NULL, NULL, 0,
                                        NULL, options);
    if (code != 0) {
        answer = answer_of(c, KERBEROS_STAGE_ACCOUNT, code, reason);
        goto done;
    }
    answer = prove_kdc(c, &credentials, keytab, ours, reason);
    krb5_free_cred_contents(c->context, &credentials);
done:
    if (options != NULL)
        krb5_get_init_creds_opt_free(c->context, options);
    krb5_free_principal(c->context, client);
    return answer;
}

static enum kerberos_answer check(struct check *c, const char *account, const char *password,
                                  char reason[KERBEROS_REASON_MAX])
{
    krb5_keytab keytab = NULL;
    krb5_error_code code = open_keytab(c->account, c->context, &keytab);
    if (code != 0) {
        say(c->context, code, "keytab", reason);
        return KERBEROS_NO_ANSWER;
    }
    enum kerberos_answer answer = KERBEROS_NO_ANSWER;
    krb5_principal ours = find_principal(c->account, c->context, keytab, reason);
    if (ours != NULL && find_kdcs(c)) {
        krb5_set_kdc_send_hook(c->context, exchange, c);
        answer = ask(c, account, password, keytab, ours, reason);
    } else if (ours != NULL) {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%.150s", c->e.text);
    }
    krb5_free_principal(c->context, ours);
    (void)krb5_kt_close(c->context, keytab);
    return answer;
}

enum kerberos_answer kerberos_account_check(struct kerberos_account *a, const char *account,
                                            struct span password, char reason[KERBEROS_REASON_MAX])
{
    struct check c = {.account = a, .deadline_ms = clock_monotonic_ms() + a->deadline_ms};
    struct secret copy = {0};
    reason[0] = '\0';
    if (a->fault[0] != '\0') {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%s", a->fault);
        return KERBEROS_NO_ANSWER;
    }
    if (!secret_set(&copy, password)) {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "no memory");
        return KERBEROS_NO_ANSWER;
    }
    enum kerberos_answer answer = KERBEROS_NO_ANSWER;
    struct err e = {0};
    if (kerberos_context(&a->profile, &c.context, &e)) {
        answer = check(&c, account, (const char *)copy.p, reason);
        krb5_free_context(c.context);
    } else {
        (void)snprintf(reason, KERBEROS_REASON_MAX, "%.150s", e.text);
    }
    secret_wipe(&copy);
    return answer;
}
