#include "auth/sasl_userdb.h"

#include "auth/exchange.h"
#include "auth/scram.h"
#include "base/secret.h"

#include <string.h>

/* Called on the exchange's own thread, from within sasl_server_start or _step. SCRAM asks for
 * *userPassword, which we never have, and *authPassword. Where there is no usable account the
 * exchange gives a decoy, so that the client sees the same as for a wrong password. */
static int lookup(void *context, sasl_server_params_t *params, unsigned flags, const char *user,
                  unsigned user_n)
{
    (void)context, (void)user, (void)user_n;
    const void *found = NULL;
    if ((flags & SASL_AUXPROP_AUTHZID) != 0)
        return SASL_OK; /* nothing is known of an authorization identity */
    /* libsasl2 gives the call-backs of this connection; each of them carries its exchange. */
    if (sasl_getprop(params->utils->conn, SASL_CALLBACK, &found) != SASL_OK || found == NULL)
        return SASL_FAIL;
    struct auth_exchange *x = ((const sasl_callback_t *)found)->context;
    if (!exchange_wants_verifier(x))
        return SASL_OK;
    const struct propval *p = params->utils->prop_get(params->propctx);
    for (; p != NULL && p->name != NULL; p++) {
        if (strcmp(p->name, "*authPassword") != 0)
            continue;
        struct scram_verifier v;
        char text[SCRAM_TEXT_MAX];
        bool ok = exchange_verifier(x, &v) && scram_format(&v, text, sizeof text);
        if (ok)
            params->utils->prop_set(params->propctx, p->name, text, (int)strlen(text));
        secret_wipe_bytes(&v, sizeof v);
        secret_wipe_bytes(text, sizeof text);
        return ok ? SASL_OK : SASL_UNAVAIL;
    }
    return SASL_OK;
}

int sasl_userdb_plugin_init(const sasl_utils_t *utils, int max_version, int *out_version,
                            sasl_auxprop_plug_t **plugin, const char *name)
{
    (void)utils, (void)name;
    static char plugin_name[] = SASL_USERDB_PLUGIN;
    static sasl_auxprop_plug_t plug = {.name = plugin_name, .auxprop_lookup = lookup};
    if (max_version < SASL_AUXPROP_PLUG_VERSION)
        return SASL_BADVERS;
    *out_version = SASL_AUXPROP_PLUG_VERSION;
    *plugin = &plug;
    return SASL_OK;
}
