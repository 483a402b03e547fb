#include "commands/check_readiness.h"

#include "platform/files.h"
#include "platform/local_account.h"
#include "platform/process.h"
#include "platform/sock.h"

#include <string.h>

enum { KEY_MAX = 96 };

/* ---- finding out ---- */

struct messages {
    const struct policy *policy;
    struct config_messages *m;
};

static void add(const struct messages *x, const char *key, const char *what, const char *how,
                const struct auth_readiness *r)
{
    const struct policy *p = x->policy;
    config_messages_add(x->m, CONFIG_WARNING, p->config->path, config_where(p->config, key, NULL),
                        key, "%s %s: %s%s%s", what, how, r->reason,
                        r->cure[0] == '\0' ? "" : "; to mend it: ", r->cure);
}

static void add_message(void *context, const struct auth_readiness *r)
{
    char key[KEY_MAX] = "authentication.mechanisms";
    if (r->mechanism == 0)
        (void)snprintf(key, sizeof key, "authentication.domains[%zu]", r->domain);
    else if ((r->mechanism & AUTH_MECHANISMS_INTEGRATED) != 0)
        (void)snprintf(key, sizeof key, "authentication.integrated.%s",
                       r->mechanism == AUTH_NTLM ? "ntlm_auth" : "keytab");
    if (!r->ready)
        add(context, key, r->what,
            r->mechanism == 0 ? "is not ready, its accounts cannot log in"
                              : "is not ready and not offered",
            r);
    else if (r->mechanism == 0 && r->cure[0] != '\0')
        add(context, key, r->what, "does not answer, its accounts get 454", r);
    else if (r->reason[0] != '\0' && r->mechanism != 0)
        add(context, key, r->what, "will not work for all", r);
}

/* As the service does it: before root is given up. */
static void start_helper(const struct policy *p, const char *user, struct config_messages *m)
{
    struct err e = {0};
    size_t i = 0;
    while (i < p->auth.domain_count && (p->auth.domains[i].backend != AUTH_BACKEND_SYSTEM ||
                                        p->auth.domains[i].system.helper[0] != '\0'))
        i++;
    if (i == p->auth.domain_count || local_account_helper_start(NULL, user, &e))
        return;
    config_messages_add(
        m, CONFIG_WARNING, p->config->path, config_where(p->config, "authentication.domains", NULL),
        "authentication.domains", "the account helper cannot be started: %s", e.text);
}

/* False: the proofs would be another user's. */
static bool become_the_service(const struct policy *p, struct config_messages *m)
{
    char user[CHECK_USER_MAX];
    const char *wanted = p->config->service.user;
    struct err e = {0};
    if (!process_is_privileged())
        return true;
    if (wanted[0] == '\0' && files_owner(p->data_directory, user, sizeof user))
        wanted = user;
    start_helper(p, wanted, m);
    if (process_become(wanted, &e))
        return true;
    config_messages_add(m, CONFIG_WARNING, p->config->path,
                        config_where(p->config, "service.user", NULL), "service.user", "%s",
                        e.text);
    return false;
}

void check_readiness_open(const struct policy *p, bool connect, struct config_messages *m,
                          struct check_readiness *r)
{
    struct messages x = {p, m};
    struct err e = {0};
    *r = (struct check_readiness){.policy = p};
    if (p->auth.domain_count == 0 || !become_the_service(p, m))
        return;
    process_user(r->user, sizeof r->user);
    if (auth_look(&p->auth, &r->auth, &e)) {
        if (connect && sock_start(NULL))
            auth_reach(r->auth);
        auth_report(r->auth, add_message, &x);
        return;
    }
    config_messages_add(m, CONFIG_WARNING, p->config->path,
                        config_where(p->config, "authentication", NULL), "authentication", "%s",
                        e.text);
}

void check_readiness_close(struct check_readiness *r)
{
    auth_close(&r->auth);
    local_account_helper_stop();
}

/* ---- what a listener offers ---- */

/* False: no session of this kind comes about there. */
static bool offers(const struct check_readiness *r, const struct policy_listener *l, bool tls,
                   unsigned *bits)
{
    const struct auth_channel channel = {
        .tls = tls, .channel_binding = tls, .mechanisms = l->mechanisms};
    bool possible = tls ? l->starttls || (l->tls == CONFIG_LISTENER_IMPLICIT && r->policy->tls)
                        : l->tls != CONFIG_LISTENER_IMPLICIT && l->tls != CONFIG_LISTENER_REQUIRED;
    *bits = possible ? auth_mechanisms_for(r->auth, &channel) : 0;
    return possible;
}

/* What would be offered, did listeners[].mechanisms not leave it out. */
static unsigned left_out(const struct check_readiness *r, const struct policy_listener *l)
{
    struct policy_listener open = *l;
    unsigned all = 0, here = 0;
    open.mechanisms = AUTH_MECHANISMS_ALL;
    for (int tls = 0; tls < 2; tls++) {
        unsigned bits;
        (void)offers(r, &open, tls == 1, &bits);
        all |= bits;
        (void)offers(r, l, tls == 1, &bits);
        here |= bits;
    }
    return all & ~here;
}

/* ---- text ---- */

static void print_item(void *context, const struct auth_readiness *r)
{
    FILE *to = context;
    (void)fprintf(to, "  %-24s %s%s%s\n", r->what, r->ready ? "ready" : "NOT READY",
                  r->reason[0] == '\0' ? "" : ": ", r->reason);
    if (r->cure[0] != '\0')
        (void)fprintf(to, "  %-24s %s\n", "", r->cure);
}

static void print_names(const char *before, unsigned bits, FILE *to)
{
    (void)fprintf(to, "%s", before);
    for (unsigned bit = 1; bit <= AUTH_LOGIN; bit <<= 1)
        if ((bits & bit) != 0)
            (void)fprintf(to, " %s", auth_mechanism_name((enum auth_mechanism)bit));
    (void)fprintf(to, "%s", bits == 0 ? " nothing" : "");
}

static void print_listener(const struct check_readiness *r, size_t i, FILE *to)
{
    const struct policy_listener *l = &r->policy->listeners[i];
    unsigned clear, tls, out = left_out(r, l);
    bool in_clear = offers(r, l, false, &clear), in_tls = offers(r, l, true, &tls);
    (void)fprintf(to, "  %-24s offers", l->config->address.text);
    if (in_clear)
        print_names(" in clear", clear, to);
    if (in_tls)
        print_names(in_clear ? "; within TLS" : " within TLS", tls, to);
    (void)fprintf(to, "%s\n", in_clear || in_tls ? "" : " nothing, for want of a certificate");
    if (out != 0) {
        (void)fprintf(to, "  %-24s left out by listeners[%zu].mechanisms:", "", i);
        print_names("", out, to);
        (void)fprintf(to, "\n");
    }
}

void check_readiness_text(const struct check_readiness *r, FILE *to)
{
    if (r->auth == NULL)
        return;
    (void)fprintf(to, "authentication, as the user %s:\n",
                  r->user[0] == '\0' ? "who asks" : r->user);
    auth_report(r->auth, print_item, to);
    for (size_t i = 0; i < r->policy->listener_count; i++)
        print_listener(r, i, to);
}

/* ---- JSON ---- */

static json_t *text(const char *s)
{
    json_t *t = json_string(s);
    return t != NULL ? t : json_string("(not UTF-8)");
}

static void add_item(void *context, const struct auth_readiness *r)
{
    json_array_append_new(context,
                          json_pack("{s:o, s:s, s:b, s:o, s:o}", "what", text(r->what), "kind",
                                    r->mechanism == 0 ? "backend" : "mechanism", "ready", r->ready,
                                    "reason", text(r->reason), "cure", text(r->cure)));
}

static json_t *names_json(bool possible, unsigned bits)
{
    if (!possible)
        return json_null();
    json_t *list = json_array();
    for (unsigned bit = 1; bit <= AUTH_LOGIN; bit <<= 1)
        if ((bits & bit) != 0)
            json_array_append_new(list, json_string(auth_mechanism_name((enum auth_mechanism)bit)));
    return list;
}

json_t *check_readiness_json(const struct check_readiness *r)
{
    if (r->auth == NULL)
        return json_null();
    json_t *items = json_array(), *listeners = json_array();
    auth_report(r->auth, add_item, items);
    for (size_t i = 0; i < r->policy->listener_count; i++) {
        const struct policy_listener *l = &r->policy->listeners[i];
        unsigned clear, tls;
        bool in_clear = offers(r, l, false, &clear), in_tls = offers(r, l, true, &tls);
        json_array_append_new(listeners,
                              json_pack("{s:o, s:o, s:o, s:o}", "address",
                                        text(l->config->address.text), "clear",
                                        names_json(in_clear, clear), "tls", names_json(in_tls, tls),
                                        "left_out", names_json(true, left_out(r, l))));
    }
    return json_pack("{s:o, s:o, s:o}", "user", text(r->user), "readiness", items, "listeners",
                     listeners);
}
