/* integrated_gss.h - Kerberos, raw or inside SPNEGO, accepted with a keytab by MIT's GSSAPI.
 * Each login acquires the keys anew, so a keytab that was replaced holds from the next login on; no
 * KDC is asked. SPNEGO comes to nothing but Kerberos, whatever other mechanisms this system has
 * plugged into GSSAPI. Only tickets for smtp/ and SMTPSVC/ are taken: one for another service that
 * has its key in the same keytab was not meant for us.
 * Replays: MIT's replay cache is in use. */
#ifndef POSTERN_POSIX_INTEGRATED_GSS_H
#define POSTERN_POSIX_INTEGRATED_GSS_H

#include "platform/integrated_auth.h"

/* Whether the keytab can be read and holds what clients ask for. */
void integrated_gss_prove(const char *keytab, struct integrated_readiness *r);

struct gss_login;

/* keytab: borrowed, "" = the system's. NULL without memory. */
struct gss_login *gss_login_new(const char *keytab, const struct span *bindings,
                                size_t binding_count);
void gss_login_free(struct gss_login **l);
enum integrated_result gss_login_step(struct gss_login *l, struct span in, struct buf *out,
                                      char reason[INTEGRATED_REASON_MAX]);
const char *gss_login_realm(const struct gss_login *l);
const char *gss_login_principal(const struct gss_login *l); /* without the realm */
bool gss_login_wrap(struct gss_login *l, struct span in, struct buf *out);
bool gss_login_unwrap(struct gss_login *l, struct span in, struct buf *out);

#endif
