#include "auth/backend_kerberos.h"

#include "auth/auth.h"
#include "platform/kerberos_account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REALM_BYTES_MAX = 256 };

struct backend_kerberos {
    struct auth_backend head;
    struct kerberos_account *door;
};

static enum backend_result result_of(enum kerberos_answer answer)
{
    switch (answer) {
    case KERBEROS_ACCEPTED: return BACKEND_OK;
    case KERBEROS_BAD_PASSWORD: return BACKEND_BAD_PASSWORD;
    case KERBEROS_NO_ACCOUNT: return BACKEND_NO_ACCOUNT;
    case KERBEROS_DISABLED: return BACKEND_DISABLED;
    case KERBEROS_NO_ANSWER: break;
    }
    return BACKEND_UNAVAILABLE;
}

/* With "/" or "@" in it some KDCs take one component for a whole principal, and one account would
 * have two identities. */
static bool name_ok(const char *account)
{
    if (account[0] == '\0')
        return false;
    for (const unsigned char *p = (const unsigned char *)account; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || *p == '@' || *p == '/' || *p == '\\')
            return false;
    return true;
}

static enum backend_result verify(struct auth_backend *head, const char *account,
                                  struct span password, const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_kerberos *b = (struct backend_kerberos *)head;
    if (!name_ok(account)) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "no account of a realm is named like that");
        return BACKEND_NO_ACCOUNT;
    }
    if (password.n == 0 || memchr(password.p, '\0', password.n) != NULL) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "no password");
        return BACKEND_BAD_PASSWORD;
    }
    enum backend_result result =
        result_of(kerberos_account_check(b->door, account, password, reason));
    if (result == BACKEND_OK && groups != NULL && groups->count > 0) {
        (void)snprintf(reason, BACKEND_REASON_MAX,
                       "Kerberos tells no groups: allow accounts, or take the backend ldap");
        result = BACKEND_NOT_ALLOWED;
    }
    return result;
}

static bool ready(struct auth_backend *head, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX])
{
    return kerberos_account_ready(((struct backend_kerberos *)head)->door, reason, cure);
}

/* A KDC that answers says something about any account, and about this one that there is none. */
static bool reach(struct auth_backend *head, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX])
{
    struct backend_kerberos *b = (struct backend_kerberos *)head;
    if (kerberos_account_check(b->door, "postern-check", span_str("no password"), reason) !=
        KERBEROS_NO_ANSWER) {
        reason[0] = '\0';
        return true;
    }
    (void)snprintf(cure, BACKEND_REASON_MAX,
                   "see kdc or krb5.conf, firewalls (TCP, port 88), and this machine's clock");
    return false;
}

static void close_backend(struct auth_backend *head)
{
    struct backend_kerberos *b = (struct backend_kerberos *)head;
    kerberos_account_close(&b->door);
    free(b);
}

static const struct backend_ops ops = {
    .kind = "kerberos",
    .verify = verify,
    .ready = ready,
    .reach = reach,
    .close = close_backend,
};

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* "" = the domain's name in upper case. */
static void choose_realm(const struct auth_domain *d, char realm[REALM_BYTES_MAX])
{
    bool given = d->kerberos.realm[0] != '\0';
    (void)snprintf(realm, REALM_BYTES_MAX, "%.250s", given ? d->kerberos.realm : d->name);
    for (size_t i = 0; !given && realm[i] != '\0'; i++)
        realm[i] = upper(realm[i]);
}

bool backend_kerberos_open(const struct auth_options *options, const struct auth_domain *domain,
                           struct auth_backend **out, struct err *e)
{
    char realm[REALM_BYTES_MAX];
    choose_realm(domain, realm);
    struct backend_kerberos *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_TEMP, "Kerberos: no memory");
    b->head.ops = &ops;
    const struct kerberos_account_options o = {
        .realm = realm,
        .service = domain->kerberos.service,
        .host = options->hostname,
        .keytab = domain->kerberos.keytab,
        .kdcs = domain->kerberos.kdcs,
        .kdc_count = domain->kerberos.kdc_count,
        .deadline_ms = domain->deadline_ms,
    };
    if (!kerberos_account_open(&o, &b->door, e)) {
        close_backend(&b->head);
        return false;
    }
    *out = &b->head;
    return true;
}
