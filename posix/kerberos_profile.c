#define _POSIX_C_SOURCE 200809L /* strdup */
#include "posix/kerberos_profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What must hold whatever krb5.conf says. The library may ask neither DNS nor a KDC by itself,
 * since it knows no deadline; a ticket that we asked for needs no store against replays, which
 * would be a file; and the principal is the one that we name. */
static const struct {
    const char *name, *value;
} fixed[] = {
    {"dns_lookup_kdc", "false"},
    {"dns_lookup_realm", "false"},
    {"dns_uri_lookup", "false"},
    {"dns_canonicalize_hostname", "false"},
    {"rdns", "false"},
    {"udp_preference_limit", "1"},
    {"canonicalize", "false"},
    {"forwardable", "false"},
    {"proxiable", "false"},
    {"noaddresses", "true"},
    {"verify_ap_req_nofail", "true"},
    {"default_rcache_name", "none:"},
};

static long answer(const char *value, char ***out)
{
    char **list = calloc(2, sizeof *list);
    if (list == NULL || (value != NULL && (list[0] = strdup(value)) == NULL)) {
        free(list);
        return ENOMEM;
    }
    *out = list;
    return 0;
}

static const char *our_word(const struct kerberos_profile *p, const char *const *names)
{
    if (names[0] == NULL || names[1] == NULL)
        return NULL;
    if (strcmp(names[0], "libdefaults") == 0) {
        const char *last = names[1];
        for (size_t i = 2; names[i] != NULL; i++) /* libdefaults, realm, name */
            last = names[i];
        for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
            if (strcmp(last, fixed[i].name) == 0)
                return fixed[i].value;
        return strcmp(last, "default_realm") == 0 ? p->realm : NULL;
    }
    if (strcmp(names[0], "plugins") == 0 && strcmp(names[1], "clpreauth") == 0)
        return names[2] != NULL && strcmp(names[2], "disable") == 0 ? "pkinit" : NULL;
    /* Where the library looks a KDC up before it asks our hook; nothing is ever sent there. */
    bool our_realm =
        strcmp(names[0], "realms") == 0 && strcmp(names[1], p->realm) == 0 && names[2] != NULL;
    return our_realm && strcmp(names[2], "kdc") == 0 ? "127.0.0.1" : NULL;
}

static bool hidden(const char *const *names)
{
    static const char *const none[] = {"primary_kdc", "master_kdc", "admin_server",
                                       "kpasswd_server"};
    if (names[0] == NULL || strcmp(names[0], "realms") != 0 || names[1] == NULL || names[2] == NULL)
        return false;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (strcmp(names[2], none[i]) == 0)
            return true; /* a second try there would count one wrong password twice */
    return false;
}

static long get_values(void *context, const char *const *names, char ***out)
{
    const struct kerberos_profile *p = context;
    const char *ours = our_word(p, names);
    if (ours != NULL)
        return answer(ours, out);
    if (hidden(names))
        return PROF_NO_RELATION;
    char **found = NULL;
    long code = profile_get_values(p->base, names, &found);
    if (code == 0)
        *out = found;
    return code;
}

static void free_values(void *context, char **values)
{
    (void)context;
    for (size_t i = 0; values != NULL && values[i] != NULL; i++)
        free(values[i]);
    free(values);
}

static long copy_profile(void *context, void **out)
{
    *out = context; /* shared: it outlives every Kerberos context */
    return 0;
}

bool kerberos_profile_open(struct kerberos_profile *p, const char *realm, struct err *e)
{
    krb5_context context = NULL;
    *p = (struct kerberos_profile){.realm = strdup(realm)};
    if (p->realm == NULL)
        return err_set(e, ERR_TEMP, "no memory");
    krb5_error_code code = krb5_init_context(&context);
    if (code == 0)
        code = krb5_get_profile(context, &p->base);
    if (code != 0) {
        const char *text = krb5_get_error_message(NULL, code);
        (void)err_set(e, code == ENOMEM ? ERR_TEMP : ERR_PERM, "krb5.conf: cannot be read: %.100s",
                      text);
        krb5_free_error_message(NULL, text);
    }
    if (context != NULL)
        krb5_free_context(context);
    if (code != 0)
        return false;
    struct profile_vtable table = {
        .minor_ver = 1,
        .get_values = get_values,
        .free_values = free_values,
        .copy = copy_profile,
    };
    if (profile_init_vtable(&table, p, &p->ours) != 0) {
        p->ours = NULL;
        return err_set(e, ERR_TEMP, "no memory");
    }
    return true;
}

void kerberos_profile_close(struct kerberos_profile *p)
{
    if (p->ours != NULL)
        profile_release(p->ours);
    if (p->base != NULL)
        profile_release(p->base);
    free(p->realm);
    *p = (struct kerberos_profile){0};
}

bool kerberos_context(const struct kerberos_profile *p, krb5_context *context, struct err *e)
{
    krb5_error_code code = krb5_init_context_profile(p->ours, 0, context);
    if (code == 0)
        return true;
    const char *text = krb5_get_error_message(NULL, code);
    (void)err_set(e, ERR_TEMP, "Kerberos: cannot start: %.100s", text);
    krb5_free_error_message(NULL, text);
    *context = NULL;
    return false;
}

char **kerberos_profile_kdcs(const struct kerberos_profile *p, bool *ask_dns)
{
    const char *const names[] = {"realms", p->realm, "kdc", NULL};
    char **kdcs = NULL;
    int dns = 1, fallback = 1;
    (void)profile_get_boolean(p->base, "libdefaults", "dns_fallback", NULL, 1, &fallback);
    (void)profile_get_boolean(p->base, "libdefaults", "dns_lookup_kdc", NULL, fallback, &dns);
    *ask_dns = dns != 0;
    return profile_get_values(p->base, names, &kdcs) == 0 ? kdcs : NULL;
}
