#include "posix/integrated_gss.h"

#include <errno.h>
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYTAB_ENTRIES_MAX = 10000 };

static void not_ready(struct integrated_readiness *r, const char *keytab, const char *why,
                      const char *cure)
{
    r->ready = false;
    (void)snprintf(r->reason, sizeof r->reason, "keytab %.80s: %.100s",
                   keytab[0] == 0 ? "of the system" : keytab, why);
    (void)snprintf(r->cure, sizeof r->cure, "%s", cure);
}

struct keys {
    unsigned smtp, smtpsvc, others;
};

static bool count_keys(krb5_context k, krb5_keytab keytab, struct keys *keys, krb5_error_code *code)
{
    krb5_kt_cursor cursor;
    krb5_keytab_entry entry;
    *keys = (struct keys){0};
    if ((*code = krb5_kt_start_seq_get(k, keytab, &cursor)) != 0)
        return false;
    for (unsigned i = 0; i < KEYTAB_ENTRIES_MAX; i++) {
        if ((*code = krb5_kt_next_entry(k, keytab, &entry, &cursor)) != 0)
            break;
        const krb5_data *service =
            entry.principal->length > 1 ? &entry.principal->data[0] : &(krb5_data){0};
        struct span name = span_of(service->data, service->length);
        if (span_is_nocase(name, "smtp"))
            keys->smtp++;
        else if (span_is_nocase(name, "SMTPSVC"))
            keys->smtpsvc++;
        else
            keys->others++;
        (void)krb5_free_keytab_entry_contents(k, &entry);
    }
    (void)krb5_kt_end_seq_get(k, keytab, &cursor);
    if (*code == KRB5_KT_END)
        *code = 0;
    return *code == 0;
}

/* MIT writes what it has seen to a file in this folder (KRB5RCACHENAME and krb5.conf may name
 * another place); where it cannot, every login fails. */
static void look_at_replay_cache(struct integrated_readiness *r)
{
    const char *folder = getenv("KRB5RCACHEDIR");
    if (getenv("KRB5RCACHENAME") != NULL)
        return;
    folder = folder != NULL ? folder : getenv("TMPDIR");
    folder = folder != NULL ? folder : "/var/tmp";
    if (access(folder, W_OK | X_OK) != 0)
        (void)snprintf(
            r->warning, sizeof r->warning,
            "Kerberos keeps its replay cache in %.60s, which cannot be written (%s): let "
            "KRB5RCACHEDIR name another folder",
            folder, strerror(errno));
}

static void judge(const struct keys *keys, const char *keytab, struct integrated_readiness *r)
{
    if (keys->smtp == 0 && keys->smtpsvc == 0) {
        not_ready(r, keytab,
                  keys->others == 0 ? "holds no key" : "holds no key for smtp/ or SMTPSVC/",
                  "give the service account the names smtp/HOST and SMTPSVC/HOST (setspn -S) and "
                  "export their keys into the keytab");
        return;
    }
    r->ready = true;
    look_at_replay_cache(r);
    if (keys->smtp == 0)
        (void)snprintf(r->warning, sizeof r->warning,
                       "keytab %.80s holds no key for smtp/: clients other than .NET's will fail",
                       keytab);
    else if (keys->smtpsvc == 0)
        (void)snprintf(r->warning, sizeof r->warning,
                       "keytab %.80s holds no key for SMTPSVC/: .NET's SmtpClient asks for that",
                       keytab);
}

void integrated_gss_prove(const char *name, struct integrated_readiness *r)
{
    krb5_context k = NULL;
    krb5_keytab keytab = NULL;
    struct keys keys = {0};
    *r = (struct integrated_readiness){0};
    krb5_error_code code = krb5_init_context(&k);
    if (code != 0) {
        not_ready(r, name, "Kerberos cannot start", "look at krb5.conf (KRB5_CONFIG)");
        return;
    }
    code = name[0] == 0 ? krb5_kt_default(k, &keytab) : krb5_kt_resolve(k, name, &keytab);
    if (code == 0 && count_keys(k, keytab, &keys, &code))
        judge(&keys, name, r);
    if (code != 0) {
        const char *why = krb5_get_error_message(k, code);
        not_ready(r, name, why,
                  "export the keys of smtp/HOST and SMTPSVC/HOST into it, and let the service's "
                  "user read it");
        krb5_free_error_message(k, why);
    }
    if (keytab != NULL)
        (void)krb5_kt_close(k, keytab);
    krb5_free_context(k);
}
