#include "auth/exchange_parts.h"

#include "auth/sasl_userdb.h"

#include <stdio.h>
#include <string.h>

static const char *base_mechanism(const struct auth_exchange *x)
{
    return auth_mechanism_name(x->mechanism == AUTH_SCRAM_SHA_256_PLUS
                                   ? AUTH_SCRAM_SHA_256
                                   : (enum auth_mechanism)x->mechanism);
}

static int get_option(void *context, const char *plugin, const char *option, const char **result,
                      unsigned *length)
{
    const struct auth_exchange *x = context;
    (void)plugin;
    if (strcmp(option, "mech_list") == 0)
        *result = base_mechanism(x);
    else if (strcmp(option, "auxprop_plugin") == 0)
        *result = SASL_USERDB_PLUGIN;
    else if (strcmp(option, "pwcheck_method") == 0)
        *result = "none"; /* the call-back below is the only way; there is no method of this name */
    else
        return SASL_FAIL;
    if (length != NULL)
        *length = (unsigned)strlen(*result);
    return SASL_OK;
}

static int put_text(const char *text, char *out, unsigned out_max, unsigned *out_n)
{
    size_t n = strlen(text);
    if (n >= out_max)
        return SASL_BUFOVER;
    memcpy(out, text, n + 1);
    *out_n = (unsigned)n;
    return SASL_OK;
}

/* Every name becomes its canonical form. The authentication identity must be the very name that we
 * read in the message ourselves: two parsers that disagree are an attack. */
static int canonical_user(sasl_conn_t *conn, void *context, const char *in, unsigned in_n,
                          unsigned flags, const char *realm, char *out, unsigned out_max,
                          unsigned *out_n)
{
    struct auth_exchange *x = context;
    struct span name = span_of(in, in_n);
    (void)conn, (void)realm;
    if ((flags & SASL_CU_AUTHID) != 0) {
        if (!span_is(name, x->name)) {
            exchange_refuse(x, AUTH_SYNTAX, "the mechanism's message can be read in two ways");
            return SASL_BADPROT;
        }
        return put_text(x->resolved == IDENTITY_OK ? x->id.canonical : x->name, out, out_max,
                        out_n);
    }
    struct identity other;
    const struct auth_options *o = &x->s->options;
    if (identity_resolve(name, o, &other) == IDENTITY_OK)
        return put_text(other.canonical, out, out_max, out_n);
    exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the authorization identity is no name of ours");
    return SASL_NOAUTHZ;
}

/* Nobody acts for somebody else. */
static int proxy_policy(sasl_conn_t *conn, void *context, const char *wanted, unsigned wanted_n,
                        const char *proved, unsigned proved_n, const char *realm, unsigned realm_n,
                        struct propctx *properties)
{
    struct auth_exchange *x = context;
    (void)conn, (void)realm, (void)realm_n, (void)properties;
    if (span_equal(span_of(wanted, wanted_n), span_of(proved, proved_n)))
        return SASL_OK;
    exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                    "the authorization identity is another than the authentication identity");
    return SASL_NOAUTHZ;
}

/* The outcome of a password check; any other code than SASL_OK is lost in libsasl2, so it is kept
 * in x->verdict. */
static enum auth_outcome outcome_of(struct auth_exchange *x, enum backend_result result,
                                    const char *reason)
{
    switch (result) {
    case BACKEND_OK: return AUTH_OK;
    case BACKEND_BAD_PASSWORD:
    case BACKEND_NO_ACCOUNT:
    case BACKEND_DISABLED:
    case BACKEND_NOT_ALLOWED:
    case BACKEND_GUEST: x->guess = true; return exchange_refuse(x, AUTH_BAD_CREDENTIALS, reason);
    case BACKEND_UNSUPPORTED: return exchange_refuse(x, AUTH_NO_BACKEND, reason);
    case BACKEND_BUSY:
    case BACKEND_UNAVAILABLE: break;
    }
    return exchange_refuse(x, AUTH_UNAVAILABLE, reason);
}

static enum lockout_answer answer_of(enum backend_result result)
{
    switch (result) {
    case BACKEND_OK: return LOCKOUT_RIGHT;
    /* Whether the password was right is not to be seen from outside, so all these count. */
    case BACKEND_BAD_PASSWORD:
    case BACKEND_NO_ACCOUNT:
    case BACKEND_DISABLED:
    case BACKEND_NOT_ALLOWED:
    case BACKEND_GUEST: return LOCKOUT_WRONG;
    case BACKEND_UNSUPPORTED:
    case BACKEND_BUSY:
    case BACKEND_UNAVAILABLE: break;
    }
    return LOCKOUT_NO_ANSWER;
}

/* The backend's word about a password; of an account that is not listed the groups are asked in the
 * same call (a directory answers to whom was bound), and that after the password was right. */
static enum backend_result verify(struct auth_exchange *x, struct span password,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_entry *entry = x->s->backends.entries[x->id.domain];
    const struct backend_groups *groups = exchange_groups(x);
    enum backend_result result = backends_verify(entry, x->id.account, password, groups, reason);
    if (result != BACKEND_OK || groups == NULL)
        return result;
    x->member = groups->count > 0;
    if (!x->member) /* no entry of the list can be of this domain, so the backend was not asked */
        (void)snprintf(reason, BACKEND_REASON_MAX, "%s", BACKEND_REASON_NOT_LISTED);
    return x->member ? BACKEND_OK : BACKEND_NOT_ALLOWED;
}

/* The same for an account that its domain may lock: not more often than it bears. */
static enum auth_outcome verify_guarded(struct auth_exchange *x, struct span password)
{
    const struct auth_domain *d = &x->s->options.domains[x->id.domain];
    char reason[BACKEND_REASON_MAX] = "";
    switch (auth_lockout_ask(x->auth, d, x->subject, password)) {
    case LOCKOUT_ASK: break;
    case LOCKOUT_WAIT:
        return exchange_refuse(x, AUTH_UNAVAILABLE,
                               "other passwords of this account are still being tried");
    case LOCKOUT_KNOWN_WRONG:
        x->guess = true;
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                               "the domain refused this password lately and was not asked again");
    case LOCKOUT_HELD_BACK:
        return exchange_refuse(x, AUTH_THROTTLED,
                               "too many wrong passwords for this account: its domain is not asked "
                               "for a while, so that it is not locked there");
    }
    enum backend_result result = verify(x, password, reason);
    auth_lockout_tell(x->auth, d, x->subject, password, answer_of(result));
    return outcome_of(x, result, reason);
}

static int check_password(sasl_conn_t *conn, void *context, const char *user, const char *password,
                          unsigned password_n, struct propctx *properties)
{
    struct auth_exchange *x = context;
    (void)conn, (void)user, (void)properties;
    struct span given = span_of(password, password_n);
    char reason[BACKEND_REASON_MAX] = "";
    if (!secret_set(&x->password, given)) {
        exchange_refuse(x, AUTH_UNAVAILABLE, "no memory");
        return SASL_NOMEM;
    }
    enum auth_outcome outcome = x->s->options.domains[x->id.domain].backend == AUTH_BACKEND_USERDB
                                    ? outcome_of(x, verify(x, given, reason), reason)
                                    : verify_guarded(x, given);
    return outcome == AUTH_OK ? SASL_OK : SASL_BADAUTH;
}

bool exchange_wants_verifier(const struct auth_exchange *x)
{
    return exchange_is_scram(x);
}

bool exchange_verifier(struct auth_exchange *x, struct scram_verifier *v)
{
    const struct backend_entry *entry = x->s->backends.userdb;
    struct auth_backend *userdb = entry->backend;
    bool ours = x->resolved == IDENTITY_OK && x->s->backends.entries[x->id.domain] == entry;
    /* x->subject holds a backslash, so it names no account of the user database and gets a decoy.
     */
    x->found_reason[0] = 0;
    x->found = userdb->ops->lookup_verifier(userdb, ours ? x->id.account : x->subject, v,
                                            &x->version, x->found_reason);
    if (x->found != BACKEND_UNAVAILABLE && x->found != BACKEND_UNSUPPORTED)
        return true;
    exchange_refuse(x, AUTH_UNAVAILABLE, x->found_reason);
    return false;
}

enum auth_outcome exchange_refuse_proof(struct auth_exchange *x)
{
    if (x->resolved != IDENTITY_OK)
        return exchange_refuse(x, AUTH_NO_BACKEND, "no such domain");
    if (x->s->options.domains[x->id.domain].backend != AUTH_BACKEND_USERDB)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the domain's backend cannot do SCRAM");
    return exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                           x->found != BACKEND_OK ? x->found_reason : "wrong password");
}

bool exchange_connect(struct auth_exchange *x)
{
    sasl_library_callback option = (sasl_library_callback)(void (*)(void))get_option;
    sasl_library_callback canon = (sasl_library_callback)(void (*)(void))canonical_user;
    sasl_library_callback proxy = (sasl_library_callback)(void (*)(void))proxy_policy;
    sasl_library_callback check = (sasl_library_callback)(void (*)(void))check_password;
    x->callbacks[0] = (sasl_callback_t){SASL_CB_GETOPT, option, x};
    x->callbacks[1] = (sasl_callback_t){SASL_CB_CANON_USER, canon, x};
    x->callbacks[2] = (sasl_callback_t){SASL_CB_PROXY_POLICY, proxy, x};
    x->callbacks[3] = (sasl_callback_t){SASL_CB_SERVER_USERDB_CHECKPASS, check, x};
    x->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    const sasl_security_properties_t properties = {.security_flags = SASL_SEC_NOANONYMOUS};
    /* Not SASL_SUCCESS_DATA: SMTP's 235 carries none (RFC 4954 section 4). */
    return sasl_server_new("smtp", x->s->options.hostname, NULL, NULL, NULL, x->callbacks, 0,
                           &x->conn) == SASL_OK &&
           sasl_setprop(x->conn, SASL_SEC_PROPS, &properties) == SASL_OK;
}
