/* kerberos_profile.h - inside posix/: krb5.conf with our words before it, in memory.
 * Owner: kerberos_account_mit.c, one for each realm. Threads: read by many at once. */
#ifndef POSTERN_POSIX_KERBEROS_PROFILE_H
#define POSTERN_POSIX_KERBEROS_PROFILE_H

#include "base/err.h"

#include <krb5/krb5.h>
#include <profile.h>

struct kerberos_profile {
    char *realm;
    profile_t base; /* krb5.conf; NULL when it could not be read */
    profile_t ours; /* asks us first, then base */
};

/* realm is copied. A krb5.conf that cannot be read is an error; one that is absent is none. */
bool kerberos_profile_open(struct kerberos_profile *p, const char *realm, struct err *e);
void kerberos_profile_close(struct kerberos_profile *p);

bool kerberos_context(const struct kerberos_profile *p, krb5_context *context, struct err *e);

/* The KDCs that krb5.conf names for the realm (free with profile_free_list), or NULL; and whether
 * DNS may be asked for them. */
char **kerberos_profile_kdcs(const struct kerberos_profile *p, bool *ask_dns);

#endif
