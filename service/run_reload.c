/* What a configuration is turned into, at the start and again at each reload: listeners,
 * certificates, limits; the log is in run_log.c. A file that is not good changes nothing. */
#include "run_parts.h"

#include "base/log.h"
#include "platform/service_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls_context *run_tls_context(const struct policy *policy, struct tls_renewal *found,
                                    bool *failed, struct err *e)
{
    struct tls_context *it = NULL;
    *failed = false;
    *found = (struct tls_renewal){0};
    if (policy->tls == NULL) {
        for (size_t i = 0; i < policy->listener_count; i++) {
            enum config_listener_tls tls = policy->listeners[i].tls;
            if (tls == CONFIG_LISTENER_REQUIRED || tls == CONFIG_LISTENER_IMPLICIT) {
                *failed = !err_set(e, ERR_PERM, "listeners[%zu].tls: %s needs a certificate: %s", i,
                                   tls == CONFIG_LISTENER_REQUIRED ? "required" : "implicit",
                                   "set tls.certificate and tls.key");
                return NULL;
            }
        }
        return NULL;
    }
    *failed = !tls_server_renew(policy->tls, NULL, &it, found, e);
    return it;
}

struct acceptor_limits run_limits(const struct run *r, const struct policy *policy)
{
    const struct config_limits *l = &policy->config->limits;
    struct acceptor_limits out = {.connections = (size_t)l->connections,
                                  .connections_per_client = (size_t)l->connections_per_client};
    /* A descriptor for each client, and as many again must not starve deliveries and files. */
    uint64_t spare = 128 + policy->config->delivery.connections / 4;
    uint64_t room = r->descriptors > 2 * spare ? r->descriptors - spare : r->descriptors / 2;
    if (r->descriptors != UINT64_MAX && (l->connections == 0 || l->connections > room)) {
        log_event(LOG_WARN, "limits.connections.capped", LOG_U("asked", l->connections),
                  LOG_U("allowed", room), LOG_U("descriptors", r->descriptors));
        out.connections = (size_t)room;
    }
    return out;
}

bool run_policy_may_start(const struct policy *policy, struct err *e)
{
    struct acl_reason why;
    if (policy->config->access.i_know_this_is_an_open_relay || !policy_is_open_relay(policy, &why))
        return true;
    return err_set(e, ERR_PERM,
                   "%s:%u: %s: this would be an open relay: %.200s (say "
                   "access.i_know_this_is_an_open_relay: true if that is meant)",
                   why.at.file == NULL ? policy->config->path : why.at.file, why.at.line, why.rule,
                   why.why);
}

/* ---- listeners ---- */

/* Sockets that the service manager handed in, by their address. */
static intptr_t adopted(struct service_host_socket *sockets, size_t n,
                        const struct policy_listener *l)
{
    for (size_t i = 0; i < n; i++) {
        struct sock_address bound;
        if (sockets[i].sock == SOCK_NONE || !sock_adopt(sockets[i].sock, &bound, NULL))
            continue;
        if (bound.port == l->port && netaddr_equal(&bound.ip, &l->ip)) {
            intptr_t sock = sockets[i].sock;
            sockets[i].sock = SOCK_NONE;
            return sock;
        }
    }
    return SOCK_NONE;
}

static struct run_listener *known(struct run *r, const char *address, bool implicit_tls)
{
    for (size_t i = 0; i < r->listener_count; i++)
        if (strcmp(r->listeners[i].address, address) == 0 &&
            r->listeners[i].implicit_tls == implicit_tls)
            return &r->listeners[i];
    return NULL;
}

static bool open_listener(const struct policy_listener *l, intptr_t *sock, struct err *e)
{
    enum { BACKLOG = 1024 };
    const struct sock_address at = {.ip = l->ip, .port = l->port};
    return sock_listen(&at, BACKLOG, sock, NULL, e);
}

/* Opens what is new, then removes what is gone: nothing changes when one cannot be opened. */
bool run_listen(struct run *r, const struct policy *policy, struct err *e)
{
    enum { BY_MANAGER = 64 };
    struct service_host_socket handed[BY_MANAGER];
    size_t n = service_host_sockets(handed, BY_MANAGER);
    intptr_t socks[RUN_LISTENERS_MAX];
    struct run_listener next[RUN_LISTENERS_MAX];
    bool fresh[RUN_LISTENERS_MAX] = {false};
    size_t count = 0;
    bool ok = policy->listener_count <= RUN_LISTENERS_MAX ||
              err_set(e, ERR_PERM, "listeners: more than %d", RUN_LISTENERS_MAX);
    for (; ok && count < policy->listener_count; count++) {
        const struct policy_listener *l = &policy->listeners[count];
        bool implicit_tls = l->tls == CONFIG_LISTENER_IMPLICIT;
        const struct run_listener *old = known(r, l->config->address.text, implicit_tls);
        socks[count] = SOCK_NONE;
        next[count] = (struct run_listener){.implicit_tls = implicit_tls};
        (void)snprintf(next[count].address, sizeof next[count].address, "%s",
                       l->config->address.text);
        if (old != NULL) {
            next[count].tag = old->tag;
            continue;
        }
        /* The same address with another kind of TLS: the old socket has to go first. */
        old = known(r, l->config->address.text, !implicit_tls);
        if (old != NULL)
            acceptor_unlisten(r->env.acceptor, old->tag);
        fresh[count] = true;
        next[count].tag = r->next_tag++;
        socks[count] = adopted(handed, n, l);
        ok = socks[count] != SOCK_NONE || open_listener(l, &socks[count], e);
    }
    for (size_t i = 0; ok && i < count; i++)
        if (fresh[i])
            ok = acceptor_listen(r->env.acceptor, &socks[i], next[i].tag, next[i].implicit_tls, e);
    for (size_t i = 0; i < n; i++)
        if (handed[i].sock != SOCK_NONE) {
            log_event(LOG_WARN, "listener.handed-in.unused", LOG_S("name", handed[i].name));
            sock_close(&handed[i].sock);
        }
    if (!ok) {
        for (size_t i = 0; i < count; i++)
            if (fresh[i] && socks[i] != SOCK_NONE)
                sock_close(&socks[i]);
        return false;
    }
    for (size_t i = 0; i < r->listener_count; i++) {
        bool kept = false;
        for (size_t j = 0; j < count; j++)
            kept = kept || next[j].tag == r->listeners[i].tag;
        if (!kept)
            acceptor_unlisten(r->env.acceptor, r->listeners[i].tag);
    }
    memcpy(r->listeners, next, count * sizeof next[0]);
    r->listener_count = count;
    return true;
}

/* ---- reload ---- */

struct adoption {
    struct worker_item item;
    struct session_desk *desk;
    struct courier *courier; /* NULL: a desk of inbound sessions */
    struct policy *policy;
    struct tls_context *tls;
};

static void adopt(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct adoption *a = LIST_ENTRY(item, struct adoption, item);
    session_desk_adopt(a->desk, a->policy, a->tls);
    if (a->courier != NULL)
        courier_adopt(a->courier);
    free(a);
}

bool run_hand_out(struct run *r, struct policy *policy, struct tls_context *tls)
{
    size_t n = r->desk_count + 2;
    struct adoption *list[RUN_WORKERS_MAX + 2] = {NULL};
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        list[i] = calloc(1, sizeof *list[i]);
        ok = ok && list[i] != NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!ok) {
            free(list[i]);
            continue;
        }
        struct run_desk *d = i < r->desk_count    ? &r->desks[i]
                             : i == r->desk_count ? &r->courier
                                                  : &r->home;
        *list[i] = (struct adoption){.item.run = adopt,
                                     .desk = &d->desk,
                                     .courier = d == &r->courier ? r->env.courier : NULL,
                                     .policy = policy_ref(policy),
                                     .tls = tls_ref(tls)};
        worker_post(d->desk.worker, &list[i]->item);
    }
    return ok;
}

void run_log_messages(const struct config_messages *m)
{
    struct buf line;
    buf_init(&line, 16 * 1024);
    for (size_t i = 0; i < m->count; i++) {
        buf_reset(&line);
        config_message_format(&m->items[i], &line);
        log_event(m->items[i].severity == CONFIG_ERROR ? LOG_ERROR : LOG_WARN,
                  "configuration.message", LOG_S("text", buf_cstr(&line)));
    }
    buf_deinit(&line);
}

static bool load(struct run *r, struct policy **policy, struct err *e)
{
    struct config_messages m;
    config_messages_init(&m);
    enum config_result result = policy_load(r->config, NULL, 0, policy, &m);
    config_messages_sort(&m);
    run_log_messages(&m);
    if (result != CONFIG_OK) {
        struct buf line;
        buf_init(&line, 16 * 1024);
        size_t first = 0;
        while (first < m.count && m.items[first].severity != CONFIG_ERROR)
            first++;
        if (first < m.count)
            config_message_format(&m.items[first], &line);
        (void)err_set(e, ERR_PERM, "%s%s", buf_cstr(&line), m.errors > 1 ? " (and more)" : "");
        buf_deinit(&line);
    }
    config_messages_deinit(&m);
    return result == CONFIG_OK;
}

static bool same_fixed(const struct policy *a, const struct policy *b, struct err *e)
{
    if (strcmp(a->data_directory, b->data_directory) != 0)
        return err_set(e, ERR_PERM, "service.data_directory cannot change while we run: restart");
    if (a->config->queue.store != b->config->queue.store)
        return err_set(e, ERR_PERM, "queue.store cannot change while we run: restart");
    return true;
}

static bool auth_adopt(struct run *r, const struct policy *policy, struct err *e)
{
    if (r->env.auth == NULL)
        return policy->auth.domain_count == 0 ||
               err_set(e, ERR_PERM, "authentication.domains: the first accounts need a restart");
    return auth_reload(r->env.auth, &policy->auth, e);
}

/* The listeners come last: a port below 1024 that was closed cannot be had again once root is
 * dropped, while log and accounts go back to what they were when one of them cannot be opened. */
static bool switch_over(struct run *r, const struct policy *policy, struct err *e)
{
    struct err ignored = {0};
    if (!run_log_setup(r, policy, e))
        return false;
    if (auth_adopt(r, policy, e)) {
        if (run_listen(r, policy, e))
            return true;
        (void)auth_adopt(r, r->policy, &ignored);
    }
    (void)run_log_setup(r, r->policy, &ignored);
    return false;
}

bool run_reload(void *context, struct err *e)
{
    struct run *r = context;
    struct policy *policy = NULL;
    struct tls_context *tls = NULL;
    struct tls_renewal found = {0};
    bool tls_failed = false;
    service_host_reloading();
    bool ok =
        load(r, &policy, e) && same_fixed(r->policy, policy, e) && run_policy_may_start(policy, e);
    if (ok) {
        tls = run_tls_context(policy, &found, &tls_failed, e);
        ok = !tls_failed && switch_over(r, policy, e);
    }
    ok = ok && (run_hand_out(r, policy, tls) || err_set(e, ERR_TEMP, "no memory"));
    if (ok) {
        struct acceptor_limits limits = run_limits(r, policy);
        acceptor_set_limits(r->env.acceptor, &limits);
        policy_unref(&r->policy);
        r->policy = policy_ref(policy);
        tls_unref(&r->tls);
        r->tls = tls_ref(tls);
        run_certificates_tell(r, &found, false);
        log_event(LOG_INFO, "service.reloaded", LOG_S("file", policy->config->path));
    } else {
        log_event(LOG_ERROR, "service.reload.refused", LOG_S("why", e->text));
    }
    policy_unref(&policy);
    tls_unref(&tls);
    service_host_ready(ok ? "serving" : "serving; the last reload was refused");
    return ok;
}
