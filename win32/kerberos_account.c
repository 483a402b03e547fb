/* The Windows side of platform/kerberos_account.h, which is not there: a realm that the machine has
 * joined is asked by LogonUserW (backend: system), and Windows lets nobody check a password against
 * another one with a keytab. Says so, and lets nobody in. */
#include "platform/kerberos_account.h"

#include <stdio.h>
#include <stdlib.h>

struct kerberos_account {
    char nothing;
};

static const char why[] = "backend: kerberos is not there on Windows";

bool kerberos_account_open(const struct kerberos_account_options *options,
                           struct kerberos_account **out, struct err *e)
{
    (void)options;
    *out = calloc(1, sizeof **out);
    return *out != NULL || err_set(e, ERR_TEMP, "no memory");
}

void kerberos_account_close(struct kerberos_account **a)
{
    if (a == NULL)
        return;
    free(*a);
    *a = NULL;
}

bool kerberos_account_ready(struct kerberos_account *a, char reason[KERBEROS_REASON_MAX],
                            char cure[KERBEROS_REASON_MAX])
{
    (void)a;
    (void)snprintf(reason, KERBEROS_REASON_MAX, "%s", why);
    (void)snprintf(cure, KERBEROS_REASON_MAX,
                   "join the machine to the domain and use backend: system");
    return false;
}

enum kerberos_answer kerberos_account_check(struct kerberos_account *a, const char *account,
                                            struct span password, char reason[KERBEROS_REASON_MAX])
{
    (void)a;
    (void)account;
    (void)password;
    (void)snprintf(reason, KERBEROS_REASON_MAX, "%s", why);
    return KERBEROS_NO_ANSWER;
}
