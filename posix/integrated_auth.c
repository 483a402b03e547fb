#include "platform/integrated_auth.h"

#include "posix/integrated_gss.h"
#include "posix/ntlm_helpers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct integrated_auth {
    char *keytab;
    struct ntlm_helpers *ntlm, *spnego; /* NULL: no NTLM */
    struct integrated_readiness ready[INTEGRATED_PACKAGES];
};

struct integrated_context {
    struct gss_login *kerberos; /* one of the two */
    struct ntlm_talk *ntlm;
};

static void no_ntlm(struct integrated_readiness *r)
{
    *r = (struct integrated_readiness){0};
    (void)snprintf(r->reason, sizeof r->reason, "no ntlm_auth is configured");
    (void)snprintf(r->cure, sizeof r->cure,
                   "set authentication.integrated.ntlm_auth, on a machine that has joined the "
                   "domain");
}

/* Where NTLM itself does not work there is no use in asking a second time. */
static void prove(struct integrated_auth *a)
{
    struct integrated_readiness *r = a->ready;
    integrated_gss_prove(a->keytab, &r[INTEGRATED_KERBEROS]);
    r[INTEGRATED_SPNEGO_KERBEROS] = r[INTEGRATED_KERBEROS];
    if (a->ntlm == NULL)
        no_ntlm(&r[INTEGRATED_NTLM]);
    else
        ntlm_helpers_prove(a->ntlm, &r[INTEGRATED_NTLM]);
    if (r[INTEGRATED_NTLM].ready)
        ntlm_helpers_prove(a->spnego, &r[INTEGRATED_SPNEGO_NTLM]);
    else
        r[INTEGRATED_SPNEGO_NTLM] = r[INTEGRATED_NTLM];
}

bool integrated_auth_open(const struct integrated_options *options, struct integrated_auth **out,
                          struct err *e)
{
    struct integrated_auth *a = calloc(1, sizeof *a);
    bool ntlm = options->ntlm_auth[0] != 0;
    size_t keytab_n = strlen(options->keytab) + 1;
    if (a != NULL) {
        a->keytab = malloc(keytab_n);
        a->ntlm = ntlm ? ntlm_helpers_new(options->ntlm_auth, false) : NULL;
        a->spnego = ntlm ? ntlm_helpers_new(options->ntlm_auth, true) : NULL;
    }
    if (a == NULL || a->keytab == NULL || (ntlm && (a->ntlm == NULL || a->spnego == NULL))) {
        integrated_auth_close(&a);
        return err_set(e, ERR_TEMP, "authentication.integrated: no memory");
    }
    memcpy(a->keytab, options->keytab, keytab_n);
    prove(a);
    *out = a;
    return true;
}

void integrated_auth_close(struct integrated_auth **a)
{
    if (a == NULL || *a == NULL)
        return;
    ntlm_helpers_free(&(*a)->ntlm);
    ntlm_helpers_free(&(*a)->spnego);
    free((*a)->keytab);
    free(*a);
    *a = NULL;
}

const struct integrated_readiness *integrated_auth_ready(const struct integrated_auth *a,
                                                         enum integrated_package package)
{
    return &a->ready[package];
}

struct integrated_context *integrated_begin(struct integrated_auth *a,
                                            enum integrated_package package,
                                            const struct span *bindings, size_t binding_count)
{
    struct integrated_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    switch (package) {
    case INTEGRATED_KERBEROS:
    case INTEGRATED_SPNEGO_KERBEROS:
        c->kerberos = gss_login_new(a->keytab, bindings, binding_count);
        break;
    case INTEGRATED_NTLM: c->ntlm = a->ntlm != NULL ? ntlm_talk_new(a->ntlm) : NULL; break;
    case INTEGRATED_SPNEGO_NTLM:
        c->ntlm = a->spnego != NULL ? ntlm_talk_new(a->spnego) : NULL;
        break;
    }
    if (c->kerberos == NULL && c->ntlm == NULL)
        integrated_end(&c);
    return c;
}

enum integrated_result integrated_step(struct integrated_context *c, struct span in,
                                       struct buf *out, char reason[INTEGRATED_REASON_MAX])
{
    buf_reset(out);
    reason[0] = 0;
    if (in.n == 0 || in.n > INTEGRATED_TOKEN_MAX) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s",
                       in.n == 0 ? "an empty token" : "the token is too long");
        return INTEGRATED_MALFORMED;
    }
    return c->kerberos != NULL ? gss_login_step(c->kerberos, in, out, reason)
                               : ntlm_talk_step(c->ntlm, in, out, reason);
}

const char *integrated_domain(const struct integrated_context *c)
{
    return c->kerberos != NULL ? gss_login_realm(c->kerberos) : ntlm_talk_domain(c->ntlm);
}

const char *integrated_account(const struct integrated_context *c)
{
    return c->kerberos != NULL ? gss_login_principal(c->kerberos) : ntlm_talk_account(c->ntlm);
}

bool integrated_can_wrap(const struct integrated_context *c)
{
    return c->kerberos != NULL;
}

bool integrated_wrap(struct integrated_context *c, struct span in, struct buf *out)
{
    return c->kerberos != NULL && gss_login_wrap(c->kerberos, in, out);
}

bool integrated_unwrap(struct integrated_context *c, struct span in, struct buf *out)
{
    return c->kerberos != NULL && gss_login_unwrap(c->kerberos, in, out);
}

void integrated_end(struct integrated_context **c)
{
    if (c == NULL || *c == NULL)
        return;
    gss_login_free(&(*c)->kerberos);
    ntlm_talk_free(&(*c)->ntlm);
    free(*c);
    *c = NULL;
}
