#include "auth/client.h"

#include "auth/sasl_library.h"
#include "auth/scram_client.h"

#include <stdlib.h>
#include <string.h>

enum { CALLBACKS = 5 };

/* PLAIN and LOGIN are libsasl2's, SCRAM is ours. */
struct auth_client {
    unsigned mechanism;
    char *user;
    char *hostname;
    sasl_secret_t *password; /* libsasl2 borrows it */
    size_t password_n;
    sasl_callback_t callbacks[CALLBACKS];
    sasl_conn_t *conn;
    struct scram_client scram;
    bool complete;
};

static bool is_scram(const struct auth_client *c)
{
    return (c->mechanism & (AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)) != 0;
}

static struct span password_of(const struct auth_client *c)
{
    return span_of(c->password->data, c->password->len);
}

/* libsasl2 finds no option of ours. */
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

static bool binding_usable(const struct auth_client_options *o)
{
    const struct auth_binding *b = &o->binding;
    return o->tls && b->type != NULL && b->bytes.n > 0 && b->bytes.n <= AUTH_BINDING_BYTES_MAX;
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
    return code == SASL_OK ||
           err_set(e, ERR_TEMP, "libsasl2: %s", sasl_errstring(code, NULL, NULL));
}

/* RFC 5802 section 6: "y" says that we could have bound the channel, but saw no offer of it. */
static bool make_scram(struct auth_client *c, const struct auth_client_options *o, struct err *e)
{
    char flag = c->mechanism == AUTH_SCRAM_SHA_256_PLUS ? 'p' : binding_usable(o) ? 'y' : 'n';
    return scram_client_init(&c->scram, flag, o->binding.type, o->binding.bytes, e);
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
    unsigned offered = auth_mechanisms_parse(o->offered);
    c->mechanism = choose(offered, o->tls, binding_usable(o));
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
    c->password->len = (unsigned long)o->password.n; /* long is short on Windows */
    memcpy(c->password->data, o->password.p, o->password.n);
    c->password->data[o->password.n] = 0; /* data[1] is part of the struct */
    if (is_scram(c) ? !make_scram(c, o, e) : !make_connection(c, e)) {
        auth_client_free(&c);
        return false;
    }
    *out = c;
    return true;
}

static bool failed(struct auth_client *c, int code, struct err *e)
{
    return err_set(e, code == SASL_NOMEM ? ERR_TEMP : ERR_PERM, "authentication: %s: %.200s",
                   auth_mechanism_name((enum auth_mechanism)c->mechanism), sasl_errdetail(c->conn));
}

bool auth_client_start(struct auth_client *c, const char **mechanism, bool *has_initial,
                       struct span *initial, struct err *e)
{
    *mechanism = auth_mechanism_name((enum auth_mechanism)c->mechanism);
    *has_initial = true;
    if (is_scram(c))
        return scram_client_first(&c->scram, c->user, initial, e);
    const char *text = NULL, *chosen = NULL;
    unsigned n = 0;
    int code = sasl_client_start(c->conn, *mechanism, NULL, &text, &n, &chosen);
    if (code != SASL_OK && code != SASL_CONTINUE)
        return failed(c, code, e);
    c->complete = code == SASL_OK;
    *has_initial = text != NULL;
    *initial = span_of(text, n);
    return true;
}

bool auth_client_step(struct auth_client *c, struct span challenge, struct span *response,
                      struct err *e)
{
    *response = span_of(NULL, 0);
    if (c->complete)
        return err_set(e, ERR_PERM, "authentication: the server asks on after the end");
    if (is_scram(c)) {
        bool ok = scram_client_step(&c->scram, challenge, password_of(c), response, e);
        c->complete = ok && c->scram.state == SCRAM_CLIENT_DONE;
        return ok;
    }
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
    if (is_scram(*c))
        scram_client_deinit(&(*c)->scram);
    if ((*c)->password != NULL)
        secret_wipe_bytes((*c)->password, (*c)->password_n);
    free((*c)->password);
    free((*c)->user);
    free((*c)->hostname);
    free(*c);
    *c = NULL;
}
