#include "auth/backend_system.h"

#include "auth/auth.h"
#include "auth/identity.h"
#include "platform/local_account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backend_system {
    struct auth_backend head;
    struct local_accounts *accounts;
    char *domain; /* NULL: this machine's own */
};

static enum backend_result result_of(enum local_account_result result)
{
    switch (result) {
    case LOCAL_ACCOUNT_OK: return BACKEND_OK;
    case LOCAL_ACCOUNT_BAD_PASSWORD: return BACKEND_BAD_PASSWORD;
    case LOCAL_ACCOUNT_NO_ACCOUNT: return BACKEND_NO_ACCOUNT;
    case LOCAL_ACCOUNT_DISABLED: return BACKEND_DISABLED;
    case LOCAL_ACCOUNT_GUEST: return BACKEND_GUEST;
    case LOCAL_ACCOUNT_NOT_MEMBER: return BACKEND_NOT_ALLOWED;
    case LOCAL_ACCOUNT_BUSY: return BACKEND_BUSY;
    case LOCAL_ACCOUNT_UNAVAILABLE: break;
    }
    return BACKEND_UNAVAILABLE;
}

static struct local_account_question question_of(const struct backend_system *b,
                                                 const char *account,
                                                 const struct backend_groups *groups)
{
    struct local_account_question q = {.domain = b->domain, .account = account};
    if (groups != NULL) {
        q.groups = groups->names;
        q.group_count = groups->count;
    }
    return q;
}

static enum backend_result verify(struct auth_backend *head, const char *account,
                                  struct span password, const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_system *b = (struct backend_system *)head;
    struct local_account_question q = question_of(b, account, groups);
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    enum local_account_result result = local_accounts_verify(b->accounts, &q, password, text);
    (void)snprintf(reason, BACKEND_REASON_MAX, "%s", text);
    return result_of(result);
}

static enum backend_result member(struct auth_backend *head, const char *account,
                                  const struct backend_groups *groups,
                                  char reason[BACKEND_REASON_MAX])
{
    struct backend_system *b = (struct backend_system *)head;
    struct local_account_question q = question_of(b, account, groups);
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    enum local_account_result result = local_accounts_member(b->accounts, &q, text);
    (void)snprintf(reason, BACKEND_REASON_MAX, "%s", text);
    return result_of(result);
}

static bool ready(struct auth_backend *head, char reason[BACKEND_REASON_MAX],
                  char cure[BACKEND_REASON_MAX])
{
    struct backend_system *b = (struct backend_system *)head;
    char why[LOCAL_ACCOUNT_TEXT_MAX], what[LOCAL_ACCOUNT_TEXT_MAX];
    bool is = local_accounts_ready(b->accounts, why, what);
    (void)snprintf(reason, BACKEND_REASON_MAX, "%s", why);
    (void)snprintf(cure, BACKEND_REASON_MAX, "%s", what);
    return is;
}

static void close_backend(struct auth_backend *head)
{
    struct backend_system *b = (struct backend_system *)head;
    local_accounts_close(&b->accounts);
    free(b->domain);
    free(b);
}

static const struct backend_ops ops = {
    .kind = "system",
    .verify = verify,
    .member = member,
    .ready = ready,
    .close = close_backend,
};

bool backend_system_open(const struct auth_options *options, const struct auth_domain *domain,
                         struct auth_backend **out, struct err *e)
{
    const struct local_accounts_options local = {
        .service = domain->system.pam_service,
        .name = domain->system.pam_name,
        .helper = domain->system.helper,
        .deadline_ms = domain->deadline_ms == 0 ? AUTH_DEADLINE_DEFAULT_MS : domain->deadline_ms};
    struct backend_system *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_TEMP, "accounts of the system: no memory");
    b->head.ops = &ops;
    bool joined = !identity_is_local(domain, options);
    size_t size = strlen(domain->name) + 1;
    if (joined && (b->domain = malloc(size)) == NULL) {
        free(b);
        return err_set(e, ERR_TEMP, "accounts of the system: no memory");
    }
    if (joined)
        memcpy(b->domain, domain->name, size);
    if (!local_accounts_open(&local, &b->accounts, e)) {
        close_backend(&b->head);
        return false;
    }
    *out = &b->head;
    return true;
}
