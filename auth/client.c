#include "auth/client.h"

#include "auth/sasl_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 7677 section 4 wants at least 4096 iterations. The most is ours: a server must not be able to
 * keep a lane busy for as long as it likes. */
static const uint64_t iterations_least = 4096, iterations_most = 5000000;

enum { CALLBACKS = 5, BINDING_TYPE_MAX = 32 };

struct auth_client {
    unsigned mechanism;
    char *user;
    char *hostname;
    sasl_secret_t *password; /* libsasl2 borrows it */
    size_t password_n;
    bool has_binding;
    char binding_type[BINDING_TYPE_MAX];
    uint8_t binding_bytes[AUTH_BINDING_BYTES_MAX];
    sasl_channel_binding_t binding;
    sasl_callback_t callbacks[CALLBACKS];
    sasl_conn_t *conn;
    bool first_challenge_seen;
    bool complete;
};

/* A client that says "plug-in options" reads none. */
static int no_option(void *context, const char *plugin, const char *option, const char **result,
                     unsigned *length)
{
    (void)context, (void)plugin, (void)option, (void)result, (void)length;
    return SASL_FAIL;
}

static int give_name(void *context, int id, const char **result, unsigned *length)
{
    const struct auth_client *c = context;
    *result = id == SASL_CB_USER ? "" : c->user; /* no authorization identity of its own */
    if (length != NULL)
        *length = (unsigned)strlen(*result);
    return SASL_OK;
}

static int give_password(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    (void)conn, (void)id;
    *secret = ((struct auth_client *)context)->password;
    return SASL_OK;
}

static char *copy_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    if (copy != NULL)
        memcpy(copy, text, n);
    return copy;
}

/* The strongest that is offered and allowed; 0 = none. */
static unsigned choose(unsigned offered, bool tls, bool has_binding)
{
    if (has_binding && (offered & AUTH_SCRAM_SHA_256_PLUS) != 0)
        return AUTH_SCRAM_SHA_256_PLUS;
    if ((offered & AUTH_SCRAM_SHA_256) != 0)
        return AUTH_SCRAM_SHA_256;
    if (tls && (offered & AUTH_PLAIN) != 0)
        return AUTH_PLAIN;
    return tls ? offered & AUTH_LOGIN : 0;
}

static bool keep_binding(struct auth_client *c, const struct auth_client_options *o)
{
    const struct auth_binding *b = &o->binding;
    if (!o->tls || b->type == NULL || b->bytes.n == 0 || b->bytes.n > AUTH_BINDING_BYTES_MAX ||
        !span_cstr(span_str(b->type), c->binding_type, sizeof c->binding_type))
        return false;
    memcpy(c->binding_bytes, b->bytes.p, b->bytes.n);
    c->binding = (sasl_channel_binding_t){c->binding_type, 0, b->bytes.n, c->binding_bytes};
    return true;
}

static bool make_connection(struct auth_client *c, struct err *e)
{
    sasl_library_callback option = (sasl_library_callback)(void (*)(void))no_option;
    sasl_library_callback name = (sasl_library_callback)(void (*)(void))give_name;
    sasl_library_callback password = (sasl_library_callback)(void (*)(void))give_password;
    c->callbacks[0] = (sasl_callback_t){SASL_CB_GETOPT, option, c};
    c->callbacks[1] = (sasl_callback_t){SASL_CB_USER, name, c};
    c->callbacks[2] = (sasl_callback_t){SASL_CB_AUTHNAME, name, c};
    c->callbacks[3] = (sasl_callback_t){SASL_CB_PASS, password, c};
    c->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    const sasl_security_properties_t properties = {.security_flags = SASL_SEC_NOANONYMOUS};
    int code = sasl_client_new("smtp", c->hostname, NULL, NULL, c->callbacks, 0, &c->conn);
    if (code == SASL_OK)
        code = sasl_setprop(c->conn, SASL_SEC_PROPS, &properties);
    /* "critical" makes libsasl2 use the binding ("p="); without it, it only says that it could
     * ("y"), see auth_client_start. */
    c->binding.critical = c->mechanism == AUTH_SCRAM_SHA_256_PLUS;
    if (code == SASL_OK && c->has_binding)
        code = sasl_setprop(c->conn, SASL_CHANNEL_BINDING, &c->binding);
    return code == SASL_OK ||
           err_set(e, ERR_TEMP, "libsasl2: %s", sasl_errstring(code, NULL, NULL));
}

bool auth_client_new(const struct auth_client_options *o, struct auth_client **out, struct err *e)
{
    if (!sasl_library_start(e))
        return false;
    struct span user = span_str(o->user);
    if (user.n == 0 || o->password.n == 0 || span_find(o->password, 0) != o->password.n)
        return err_set(e, ERR_PERM, "authentication: the user name or the password is empty");
    struct auth_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    c->has_binding = keep_binding(c, o);
    unsigned offered = auth_mechanisms_parse(o->offered) & sasl_library_mechanisms();
    c->mechanism = choose(offered, o->tls, c->has_binding);
    if (c->mechanism == 0) {
        bool only_tls_lacks = choose(offered, true, false) != 0;
        auth_client_free(&c);
        return err_set(e, ERR_PERM, "authentication: %s (the server offers: %.*s)",
                       only_tls_lacks ? "the password is not sent without TLS"
                                      : "no mechanism in common",
                       (int)(o->offered.n < 200 ? o->offered.n : 200), (const char *)o->offered.p);
    }
    c->user = copy_text(o->user);
    c->hostname = copy_text(o->hostname);
    c->password_n = sizeof *c->password + o->password.n;
    c->password = malloc(c->password_n);
    if (c->user == NULL || c->hostname == NULL || c->password == NULL) {
        auth_client_free(&c);
        return err_set(e, ERR_TEMP, "authentication: no memory");
    }
    c->password->len = o->password.n;
    memcpy(c->password->data, o->password.p, o->password.n);
    c->password->data[o->password.n] = 0; /* data[1] is part of the struct */
    if (!make_connection(c, e)) {
        auth_client_free(&c);
        return false;
    }
    *out = c;
    return true;
}

static bool failed(struct auth_client *c, int code, struct err *e)
{
    if (code == SASL_BADSERV || code == SASL_BADMAC)
        return err_set(e, ERR_PERM,
                       "authentication: the server did not prove that it knows the password");
    return err_set(e, code == SASL_NOMEM ? ERR_TEMP : ERR_PERM, "authentication: %s: %.200s",
                   auth_mechanism_name((enum auth_mechanism)c->mechanism), sasl_errdetail(c->conn));
}

bool auth_client_start(struct auth_client *c, const char **mechanism, bool *has_initial,
                       struct span *initial, struct err *e)
{
    *mechanism = auth_mechanism_name((enum auth_mechanism)c->mechanism);
    char list[64];
    /* libsasl2 says "y" (RFC 5802 section 6) only when it chose among several names itself. */
    (void)snprintf(list, sizeof list, "%s%s", *mechanism,
                   c->has_binding && c->mechanism == AUTH_SCRAM_SHA_256 ? " X-NONE" : "");
    const char *text = NULL, *chosen = NULL;
    unsigned n = 0;
    int code = sasl_client_start(c->conn, list, NULL, &text, &n, &chosen);
    if (code != SASL_OK && code != SASL_CONTINUE)
        return failed(c, code, e);
    c->complete = code == SASL_OK;
    *has_initial = text != NULL;
    *initial = span_of(text, n);
    return true;
}

/* server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ... */
static bool iterations_bearable(struct span challenge, struct err *e)
{
    uint64_t iterations = 0;
    bool found = false;
    while (challenge.n > 0 && !found) {
        size_t n = span_find(challenge, ',');
        struct span part = span_sub(challenge, 0, n);
        found = part.n > 2 && part.p[0] == 'i' && part.p[1] == '=' &&
                span_u64(span_from(part, 2), UINT32_MAX, &iterations);
        challenge = span_from(challenge, n + 1);
    }
    if (found && iterations >= iterations_least && iterations <= iterations_most)
        return true;
    return err_set(e, ERR_PERM,
                   "authentication: the server wants %llu SCRAM iterations, we do %llu to %llu",
                   (unsigned long long)iterations, (unsigned long long)iterations_least,
                   (unsigned long long)iterations_most);
}

bool auth_client_step(struct auth_client *c, struct span challenge, struct span *response,
                      struct err *e)
{
    bool scram = (c->mechanism & (AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)) != 0;
    *response = span_of(NULL, 0);
    if (c->complete)
        return err_set(e, ERR_PERM, "authentication: the server asks on after the end");
    if (scram && !c->first_challenge_seen && !iterations_bearable(challenge, e))
        return false;
    c->first_challenge_seen = true;
    const char *text = NULL;
    unsigned n = 0;
    int code = sasl_client_step(c->conn, challenge.n > 0 ? (const char *)challenge.p : "",
                                (unsigned)challenge.n, NULL, &text, &n);
    if (code != SASL_OK && code != SASL_CONTINUE)
        return failed(c, code, e);
    c->complete = code == SASL_OK;
    *response = span_of(text, n);
    return true;
}

bool auth_client_finish(struct auth_client *c, struct err *e)
{
    return c->complete ||
           err_set(e, ERR_PERM,
                   "authentication: the server said yes before it proved that it knows the "
                   "password");
}

void auth_client_free(struct auth_client **c)
{
    if (c == NULL || *c == NULL)
        return;
    if ((*c)->conn != NULL)
        sasl_dispose(&(*c)->conn);
    if ((*c)->password != NULL)
        secret_wipe_bytes((*c)->password, (*c)->password_n);
    free((*c)->password);
    free((*c)->user);
    free((*c)->hostname);
    free(*c);
    *c = NULL;
}
