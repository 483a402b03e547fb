/* The Windows side of platform/local_account.h: LogonUserW with a network logon, which gives a
 * token and loads no profile. The token tells of guests and of groups and is closed at once; the
 * password is wiped as soon as the call is back. The call has no deadline of its own (it may look
 * for a domain controller for long): it is a bounded one (bounded_call.h). */
#include "platform/local_account.h"

#include "base/secret.h"
#include "platform/random.h"
#include "win32/bounded_call.h"
#include "win32/local_account_codes.h"
#include "win32/logon_calls.h"
#include "win32/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_ROOM = 512,
    PASSWORD_ROOM = 1024,
    GROUPS_MAX = 64,
};

struct local_accounts {
    struct logon_calls system;
    uint32_t deadline_ms;
};

/* One question on its way. */
struct logon {
    struct bounded_call call;
    struct logon_calls system;
    wchar_t account[NAME_ROOM], domain[NAME_ROOM], password[PASSWORD_ROOM];
    wchar_t groups[GROUPS_MAX][NAME_ROOM];
    size_t group_count;
    bool with_password;
    enum local_account_result result;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
};

static enum local_account_result say(struct logon *l, enum local_account_result result,
                                     const char *text)
{
    (void)snprintf(l->text, sizeof l->text, "%s", text);
    return result;
}

static enum local_account_result call_said(struct logon *l, const char *call)
{
    char why[SYSTEM_TEXT_MAX];
    (void)snprintf(l->text, sizeof l->text, "%s: %s", call, system_text(GetLastError(), why));
    return LOCAL_ACCOUNT_UNAVAILABLE;
}

/* ---- what a token or a list of groups tells ---- */

static void *token_information(const struct logon *l, HANDLE token, TOKEN_INFORMATION_CLASS class)
{
    DWORD size = 0;
    (void)l->system.GetTokenInformation(token, class, NULL, 0, &size);
    void *out = size == 0 ? NULL : malloc(size);
    if (out != NULL && !l->system.GetTokenInformation(token, class, out, size, &size)) {
        free(out);
        return NULL;
    }
    return out;
}

/* The group's security identifier; the caller frees it. */
static PSID group_sid(const struct logon *l, const wchar_t *group)
{
    wchar_t whole[NAME_ROOM * 2], found_domain[NAME_ROOM];
    DWORD sid_size = SECURITY_MAX_SID_SIZE, domain_size = NAME_ROOM;
    SID_NAME_USE use;
    bool here = wcscmp(l->domain, L".") == 0;
    PSID sid = malloc(sid_size);
    (void)_snwprintf(whole, NAME_ROOM * 2 - 1, here ? L"%ls%ls" : L"%ls\\%ls",
                     here ? L"" : l->domain, group);
    whole[NAME_ROOM * 2 - 1] = 0;
    if (sid != NULL &&
        l->system.LookupAccountName(NULL, whole, sid, &sid_size, found_domain, &domain_size,
                                    &use) &&
        (use == SidTypeGroup || use == SidTypeAlias || use == SidTypeWellKnownGroup))
        return sid;
    free(sid);
    return NULL;
}

static bool in_groups(const TOKEN_GROUPS *groups, PSID wanted)
{
    for (DWORD i = 0; i < groups->GroupCount; i++) {
        DWORD has = groups->Groups[i].Attributes;
        if ((has & SE_GROUP_ENABLED) != 0 && (has & SE_GROUP_USE_FOR_DENY_ONLY) == 0 &&
            EqualSid(groups->Groups[i].Sid, wanted))
            return true;
    }
    return false;
}

static enum local_account_result judge(struct logon *l, PSID user, const TOKEN_GROUPS *groups)
{
    if (local_account_is_guest(user))
        return say(l, LOCAL_ACCOUNT_GUEST, "the guest account, or nobody");
    for (DWORD i = 0; i < groups->GroupCount; i++)
        if (IsWellKnownSid(groups->Groups[i].Sid, WinBuiltinGuestsSid))
            return say(l, LOCAL_ACCOUNT_GUEST, "a member of Guests");
    if (l->group_count == 0)
        return say(l, LOCAL_ACCOUNT_OK, "");
    size_t known = 0;
    for (size_t i = 0; i < l->group_count; i++) {
        PSID wanted = group_sid(l, l->groups[i]);
        bool member = wanted != NULL && in_groups(groups, wanted);
        known += wanted != NULL;
        free(wanted);
        if (member)
            return say(l, LOCAL_ACCOUNT_OK, "");
    }
    return say(l, LOCAL_ACCOUNT_NOT_MEMBER,
               known == 0 ? "none of the groups is known here" : "in none of the groups");
}

static enum local_account_result judge_token(struct logon *l, HANDLE token)
{
    TOKEN_USER *user = token_information(l, token, TokenUser);
    TOKEN_GROUPS *groups = token_information(l, token, TokenGroups);
    enum local_account_result result = user == NULL || groups == NULL
                                           ? call_said(l, "GetTokenInformation")
                                           : judge(l, user->User.Sid, groups);
    free(user);
    free(groups);
    return result;
}

/* ---- the two questions, on a thread of the pool ---- */

static enum local_account_result verify(struct logon *l)
{
    HANDLE token = NULL;
    bool ok = l->system.LogonUser(l->account, l->domain, l->password, LOGON32_LOGON_NETWORK,
                                  LOGON32_PROVIDER_DEFAULT, &token);
    DWORD code = ok ? 0 : GetLastError();
    secret_wipe_bytes(l->password, sizeof l->password);
    if (!ok)
        return local_account_of_code(code, l->text);
    enum local_account_result result = judge_token(l, token);
    (void)l->system.CloseHandle(token);
    return result;
}

/* Without a password there is no token: the authorisation manager makes out the groups. A bare name
 * would be looked for in the domain too, so an account of this machine is asked for as that. */
static enum local_account_result member(struct logon *l)
{
    wchar_t whole[NAME_ROOM * 2], found_domain[NAME_ROOM], here[MAX_COMPUTERNAME_LENGTH + 1] = L"";
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD sid_size = sizeof sid, domain_size = NAME_ROOM, here_size = MAX_COMPUTERNAME_LENGTH + 1;
    SID_NAME_USE use;
    bool is_here = wcscmp(l->domain, L".") == 0;
    if (is_here && !GetComputerNameW(here, &here_size))
        return call_said(l, "GetComputerName");
    (void)_snwprintf(whole, NAME_ROOM * 2 - 1, L"%ls\\%ls", is_here ? here : l->domain, l->account);
    whole[NAME_ROOM * 2 - 1] = 0;
    if (!l->system.LookupAccountName(NULL, whole, sid, &sid_size, found_domain, &domain_size, &use))
        return GetLastError() == ERROR_NONE_MAPPED
                   ? say(l, LOCAL_ACCOUNT_NO_ACCOUNT, "there is no such account")
                   : call_said(l, "LookupAccountName");
    if (use != SidTypeUser)
        return say(l, LOCAL_ACCOUNT_NO_ACCOUNT, "not the name of a user");
    TOKEN_GROUPS *groups = NULL;
    enum local_account_result result = l->system.groups_of(sid, &groups)
                                           ? judge(l, sid, groups)
                                           : call_said(l, "AuthzInitializeContextFromSid");
    free(groups);
    return result;
}

static void work(struct bounded_call *call)
{
    struct logon *l = (struct logon *)call;
    l->result = l->with_password ? verify(l) : member(l);
}

static void dispose(struct bounded_call *call)
{
    struct logon *l = (struct logon *)call;
    secret_wipe_bytes(l->password, sizeof l->password);
    free(l);
}

static bool fill(struct logon *l, const struct local_account_question *q, struct span password)
{
    bool ok = text_to_wide(q->account, l->account, NAME_ROOM) &&
              text_to_wide(q->domain == NULL || q->domain[0] == 0 ? "." : q->domain, l->domain,
                           NAME_ROOM) &&
              q->group_count <= GROUPS_MAX;
    for (size_t i = 0; ok && i < q->group_count; i++)
        ok = text_to_wide(q->groups[i], l->groups[i], NAME_ROOM);
    l->group_count = ok ? q->group_count : 0;
    struct secret copy = {0};
    ok = ok && secret_set(&copy, password) &&
         text_to_wide(copy.p == NULL ? "" : (const char *)copy.p, l->password, PASSWORD_ROOM);
    secret_wipe(&copy);
    return ok;
}

static enum local_account_result ask(const struct local_accounts *a,
                                     const struct local_account_question *q, bool with_password,
                                     struct span password, char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    text[0] = 0;
    /* What no account's name may hold. With "@" Windows would look for the domain in the name. */
    if (q->account[0] == 0 || strpbrk(q->account, "\\/\"[]:;|=,+*?<>@") != NULL) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "no name that an account can have");
        return LOCAL_ACCOUNT_NO_ACCOUNT;
    }
    struct logon *l = calloc(1, sizeof *l);
    if (l == NULL) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "no memory");
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    l->call.work = work;
    l->call.dispose = dispose;
    l->system = a->system;
    l->with_password = with_password;
    bounded_call_begin(&l->call);
    enum local_account_result result = LOCAL_ACCOUNT_UNAVAILABLE;
    if (!fill(l, q, password)) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "a name or password too long, or no text");
        result = LOCAL_ACCOUNT_NO_ACCOUNT;
    } else {
        enum bounded_result ran = bounded_call_run(&l->call, a->deadline_ms);
        if (ran == BOUNDED_DONE)
            result = l->result;
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%s",
                       ran == BOUNDED_DONE ? l->text : bounded_text(ran));
    }
    bounded_call_release(&l->call);
    return result;
}

/* ---- the door ---- */

bool local_accounts_open(const struct local_accounts_options *options, struct local_accounts **out,
                         struct err *e)
{
    struct local_accounts *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(e, ERR_TEMP, "accounts of this machine: no memory");
    logon_calls_fill(&l->system);
    l->deadline_ms = options->deadline_ms;
    *out = l;
    return true;
}

void local_accounts_close(struct local_accounts **l)
{
    if (l == NULL)
        return;
    free(*l);
    *l = NULL;
}

enum local_account_result local_accounts_verify(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                struct span password,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    if (password.n == 0 || memchr(password.p, 0, password.n) != NULL) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "no password that an account can have");
        return LOCAL_ACCOUNT_BAD_PASSWORD;
    }
    return ask(l, q, true, password, text);
}

enum local_account_result local_accounts_member(struct local_accounts *l,
                                                const struct local_account_question *q,
                                                char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    return ask(l, q, false, (struct span){0}, text);
}

/* A system that lets in an account which cannot exist, by a password that nobody has, must not be
 * believed: an emulation of Windows does that. A guest account that is on does not: it is a guest.
 */
bool local_accounts_ready(struct local_accounts *l, char reason[LOCAL_ACCOUNT_TEXT_MAX],
                          char cure[LOCAL_ACCOUNT_TEXT_MAX])
{
    char account[40], password[40];
    uint64_t numbers[3];
    random_bytes(numbers, sizeof numbers);
    (void)snprintf(account, sizeof account, "pst%015llx", (unsigned long long)numbers[0] >> 4);
    (void)snprintf(password, sizeof password, "Aa1-%016llx%016llx", (unsigned long long)numbers[1],
                   (unsigned long long)numbers[2]);
    const struct local_account_question q = {.account = account};
    enum local_account_result result = local_accounts_verify(l, &q, span_str(password), reason);
    if (result == LOCAL_ACCOUNT_OK) {
        (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX,
                       "this system accepts any account with any password");
        (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX, "use backend: userdb, or a real Windows");
        return false;
    }
    if (result == LOCAL_ACCOUNT_UNAVAILABLE) {
        (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX,
                       "see that the service's account may log users on, and that the machine "
                       "reaches its domain");
        return false;
    }
    reason[0] = cure[0] = 0;
    return true;
}

bool local_account_helper_start(const char *program, const char *user, struct err *e)
{
    (void)program; /* the system itself is asked */
    (void)user;
    (void)e;
    return true;
}

void local_account_helper_stop(void)
{
}
