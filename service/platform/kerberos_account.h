/* kerberos_account.h - is this the password of that account of a Kerberos realm? Without joining
 * it: initial credentials for the account, and then a ticket for a service of ours that our own key
 * must open. Who does not know that key cannot make us believe in a password, so a false KDC gains
 * nothing.
 * POSIX: MIT Kerberos. Nothing is kept: no credentials cache, no file but the keytab and krb5.conf
 * is read, and the keytab at each check, so that it may be replaced meanwhile.
 * Owner: the backend. Threads: any, many at once; each check has a context of its own.
 * BLOCKS, but for no longer than the deadline: all that goes to a KDC goes by a connection of our
 * own (TCP; the KDCs in order, each with its share of what is left).
 * Sources: RFC 4120, RFC 6113 5.2 (verifying a KDC), MS-KILE (Active Directory's use of the error
 * codes). */
#ifndef POSTERN_PLATFORM_KERBEROS_ACCOUNT_H
#define POSTERN_PLATFORM_KERBEROS_ACCOUNT_H

#include "base/err.h"
#include "base/span.h"

enum { KERBEROS_REASON_MAX = 160 };

enum kerberos_answer {
    KERBEROS_ACCEPTED,
    KERBEROS_BAD_PASSWORD,
    KERBEROS_NO_ACCOUNT,
    KERBEROS_DISABLED,  /* also locked, expired, must change its password, may not now */
    KERBEROS_NO_ANSWER, /* no KDC answered, none that proved itself, or no key here */
};

struct kerberos_account_options {
    const char *realm;   /* as the KDC spells it */
    const char *service; /* of our principal */
    const char *host;    /* likewise; where the keytab has the service on another host, that one */
    const char *keytab;  /* "" = the system's: KRB5_KTNAME, else as krb5.conf says */
    const char *const *kdcs; /* host[:port], in order; none: as krb5.conf says, else DNS */
    size_t kdc_count;
    uint32_t deadline_ms; /* of one check */
};

struct kerberos_account;

/* Copies the options. Reads krb5.conf (KRB5_CONFIG), whose faults kerberos_account_ready tells;
 * fails without memory and for a KDC's name that is none. */
bool kerberos_account_open(const struct kerberos_account_options *options,
                           struct kerberos_account **out, struct err *e);
void kerberos_account_close(struct kerberos_account **a); /* no check may be under way */

/* Asks nobody: the configuration can be read and the keytab holds a key of our principal. */
bool kerberos_account_ready(struct kerberos_account *a, char reason[KERBEROS_REASON_MAX],
                            char cure[KERBEROS_REASON_MAX]);

/* account: one name component, which the caller keeps free of "/", "@" and control characters.
 * password: not empty, no NUL. reason: for the log,
 * set for all but ACCEPTED. */
enum kerberos_answer kerberos_account_check(struct kerberos_account *a, const char *account,
                                            struct span password, char reason[KERBEROS_REASON_MAX]);

#endif
