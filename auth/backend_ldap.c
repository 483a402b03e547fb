#include "auth/backend_ldap.h"

#include "auth/auth.h"
#include "auth/directory_answer.h"
#include "auth/directory_groups.h"
#include "auth/directory_names.h"
#include "base/arena.h"
#include "platform/directory.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPTION_BYTES_MAX = 16384 };

struct backend_ldap {
    struct auth_backend head;
    struct arena arena;
    const char *bind, *base;
    struct directory *door; /* NULL: fault says why */
    struct err fault;
};

static enum backend_result ask(struct backend_ldap *b, const char *account, struct span password,
                               const struct backend_groups *groups, char reason[BACKEND_REASON_MAX])
{
    char name[DIRECTORY_NAME_MAX];
    struct directory_session *s;
    struct directory_word word;
    if (!directory_bind_name(b->bind, account, name, sizeof name)) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "no account of a directory is named like that");
        return BACKEND_NO_ACCOUNT;
    }
    switch (directory_bind(b->door, name, password, &s, &word)) {
    case DIRECTORY_BOUND: break;
    case DIRECTORY_REFUSED: return directory_answer(word.code, word.text, reason);
    case DIRECTORY_NO_ANSWER:
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", word.text);
        return BACKEND_UNAVAILABLE;
    }
    enum backend_result result = BACKEND_OK;
    if (groups != NULL && groups->count > 0) {
        const struct directory_person who = {
            .account = account,
            .dn = directory_pattern_is_dn(b->bind) ? name : NULL,
            .base = b->base,
        };
        result = directory_groups_check(s, &who, groups, reason);
    }
    directory_unbind(&s);
    return result;
}

static enum backend_result verify(struct auth_backend *head, const char *account,
                                  struct span password, const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_ldap *b = (struct backend_ldap *)head;
    if (b->door == NULL) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", b->fault.text);
        return BACKEND_UNAVAILABLE;
    }
    if (password.n > 0)
        return ask(b, account, password, groups, reason);
    /* a bind without a password is one of nobody, and would succeed */
    (void)snprintf(reason, BACKEND_REASON_MAX, "no password");
    return BACKEND_BAD_PASSWORD;
}

static bool ready(struct auth_backend *head, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX])
{
    struct backend_ldap *b = (struct backend_ldap *)head;
    struct err e = {0};
    if (b->door == NULL) {
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s", b->fault.text);
        (void)snprintf(cure, BACKEND_REASON_MAX, "mend it in authentication.domains");
        return false;
    }
    if (directory_ready(b->door, &e))
        return true;
    (void)snprintf(reason, BACKEND_REASON_MAX, "ca_file: %.140s", e.text);
    (void)snprintf(cure, BACKEND_REASON_MAX,
                   "ca_file: a PEM file with the authority that signed the server's certificate");
    return false;
}

static bool reach(struct auth_backend *head, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX])
{
    struct backend_ldap *b = (struct backend_ldap *)head;
    struct err e = {0};
    if (directory_reach(b->door, &e))
        return true;
    (void)snprintf(reason, BACKEND_REASON_MAX, "%.155s", e.text);
    (void)snprintf(cure, BACKEND_REASON_MAX,
                   "see url and ca_file, the server's certificate, and firewalls");
    return false;
}

static void close_backend(struct auth_backend *head)
{
    struct backend_ldap *b = (struct backend_ldap *)head;
    directory_close(&b->door);
    arena_deinit(&b->arena);
    free(b);
}

static const struct backend_ops ops = {
    .kind = "ldap",
    .verify = verify,
    .ready = ready,
    .reach = reach,
    .close = close_backend,
};

/* What is wrong with the options is told by ready; only without memory it is an error. */
static bool open_door(struct backend_ldap *b, const struct auth_domain *d)
{
    struct directory_url urls[DIRECTORY_URLS_MAX];
    struct directory_server servers[DIRECTORY_URLS_MAX];
    size_t n;
    if (!directory_urls_parse(d->ldap.url, urls, &n, &b->fault) ||
        !directory_pattern_ok(d->ldap.bind, &b->fault))
        return false;
    for (size_t i = 0; i < n; i++)
        servers[i] = (struct directory_server){urls[i].host, urls[i].port, urls[i].starttls};
    const struct directory_options o = {
        .servers = servers,
        .server_count = n,
        .ca_file = d->ldap.ca_file,
        .deadline_ms = d->deadline_ms,
    };
    return directory_open(&o, &b->door, &b->fault);
}

bool backend_ldap_open(const struct auth_options *options, const struct auth_domain *domain,
                       struct auth_backend **out, struct err *e)
{
    (void)options;
    struct backend_ldap *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_TEMP, "directory: no memory");
    b->head.ops = &ops;
    arena_init(&b->arena, OPTION_BYTES_MAX);
    b->bind = arena_str(&b->arena, domain->ldap.bind);
    b->base = arena_str(&b->arena, domain->ldap.base);
    bool ok = b->bind != NULL && b->base != NULL;
    if (!ok)
        (void)err_set(e, ERR_TEMP, "directory: no memory");
    else if (!open_door(b, domain) && b->fault.class == ERR_TEMP)
        ok = err_set(e, ERR_TEMP, "%.200s", b->fault.text);
    if (!ok) {
        close_backend(&b->head);
        return false;
    }
    *out = &b->head;
    return true;
}
