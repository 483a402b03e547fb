#include "auth/sasl_library.h"

#include "auth/auth.h"
#include "auth/sasl_integrated.h"
#include "auth/sasl_userdb.h"
#include "platform/mutex.h"

#include <sasl/saslplug.h>
#include <string.h>

/* The whole of our options for libsasl2 itself; what concerns one exchange is in exchange.c. */
static int get_option(void *context, const char *plugin, const char *option, const char **result,
                      unsigned *length)
{
    (void)context, (void)plugin;
    if (strcmp(option, "log_level") != 0)
        return SASL_FAIL;
    *result = "0";
    if (length != NULL)
        *length = 1;
    return SASL_OK;
}

/* What libsasl2 has to say is taken with sasl_errdetail where it is of use. Its log lines may hold
 * what a client sent, so they go nowhere. */
static int discard_log(void *context, int level, const char *message)
{
    (void)context, (void)level, (void)message;
    return SASL_OK;
}

/* A plug-in is loaded by the name of its file: PLAIN, LOGIN and SCRAM. All others stay outside of
 * the process: no ANONYMOUS, no CRAM-MD5, no DIGEST-MD5, no NTLM, no sasldb. */
static int allow_file(void *context, const char *file, sasl_verify_type_t type)
{
    (void)context;
    static const char *const wanted[] = {"plain", "login", "scram"};
    if (type != SASL_VRFY_PLUGIN)
        return SASL_CONTINUE;
    struct span name = span_str(file);
    size_t slash = span_rfind(name, '/'), backslash = span_rfind(name, '\\');
    if (slash < name.n)
        name = span_from(name, slash + 1);
    else if (backslash < name.n)
        name = span_from(name, backslash + 1);
    if (span_starts_nocase(name, "lib"))
        name = span_from(name, 3);
    else if (span_starts_nocase(name, "sasl")) /* as in saslPLAIN.dll */
        name = span_from(name, 4);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (span_starts_nocase(name, wanted[i]))
            return SASL_OK;
    return SASL_CONTINUE;
}

static const sasl_callback_t callbacks[] = {
    {SASL_CB_GETOPT, (sasl_library_callback)(void (*)(void))get_option, NULL},
    {SASL_CB_LOG, (sasl_library_callback)(void (*)(void))discard_log, NULL},
    {SASL_CB_VERIFYFILE, (sasl_library_callback)(void (*)(void))allow_file, NULL},
    {SASL_CB_LIST_END, NULL, NULL},
};

static void *sasl_mutex_make(void)
{
    return mutex_new();
}

static int sasl_mutex_take(void *m)
{
    mutex_lock(m);
    return 0;
}

static int sasl_mutex_give(void *m)
{
    mutex_unlock(m);
    return 0;
}

static void sasl_mutex_drop(void *m)
{
    struct mutex *mutex = m;
    mutex_free(&mutex);
}

bool sasl_library_start(struct err *e)
{
    static bool started; /* libsasl2's own state is the process's, so ours about it is too */
    if (started)
        return true;
    sasl_set_mutex(sasl_mutex_make, sasl_mutex_take, sasl_mutex_give, sasl_mutex_drop);
    /* Without a name for the application libsasl2 reads no configuration file. */
    int code = sasl_server_init(callbacks, NULL);
    if (code == SASL_OK)
        code = sasl_auxprop_add_plugin(SASL_USERDB_PLUGIN, sasl_userdb_plugin_init);
    if (code == SASL_OK)
        code = sasl_server_add_plugin(SASL_INTEGRATED_PLUGIN, sasl_integrated_plugin_init);
    if (code == SASL_OK)
        code = sasl_client_init(callbacks);
    if (code != SASL_OK)
        return err_set(e, ERR_TEMP, "libsasl2: cannot start: %s", sasl_errstring(code, NULL, NULL));
    started = true;
    return true;
}

unsigned sasl_library_mechanisms(void)
{
    unsigned found = 0;
    const char **names = sasl_global_listmech();
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        found |= auth_mechanism_parse(span_str(names[i]));
    if ((found & AUTH_SCRAM_SHA_256) != 0)
        found |= AUTH_SCRAM_SHA_256_PLUS; /* the same plug-in, with a channel binding */
    return found;
}
