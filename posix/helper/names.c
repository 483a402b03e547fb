#define _GNU_SOURCE /* getgrouplist */
#include "posix/helper/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_FIRST = 4096, BUFFER_MAX = 16 * 1024 * 1024, GROUPS_FIRST = 64, GROUPS_MAX = 65536 };
enum { UID_NOBODY = 65534 };

enum found { FOUND, FOUND_NONE, FOUND_FAILED };

bool names_join(struct span form, struct span name, char *out, size_t size)
{
    static const char key[] = "{user}";
    char text[ACCOUNT_NAME_MAX + 1];
    if (form.n == 0)
        return span_cstr(name, out, size);
    if (!span_cstr(form, text, sizeof text))
        return false;
    const char *at = strstr(text, key);
    if (at == NULL || strstr(at + 1, key) != NULL)
        return false;
    int n = snprintf(out, size, "%.*s%.*s%s", (int)(at - text), text, SPAN_ARG(name),
                     at + sizeof key - 1);
    return n > 0 && (size_t)n < size;
}

/* getpwnam(3): "not found" comes in several dresses. */
static enum found judge(int code, bool there)
{
    if (there)
        return FOUND;
    return code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM
               ? FOUND_NONE
               : FOUND_FAILED;
}

static enum found find_account(const char *name, uid_t *uid, gid_t *gid)
{
    struct passwd entry, *there = NULL;
    int code = ERANGE;
    for (size_t n = BUFFER_FIRST; code == ERANGE && n <= BUFFER_MAX; n *= 4) {
        char *memory = malloc(n);
        if (memory == NULL)
            return FOUND_FAILED;
        code = getpwnam_r(name, &entry, memory, n, &there);
        if (there != NULL) {
            *uid = entry.pw_uid;
            *gid = entry.pw_gid;
        }
        free(memory);
    }
    return judge(code, there != NULL);
}

bool names_same(const char *a, const char *b)
{
    uid_t ua = 0, ub = 0;
    gid_t gid;
    if (span_equal_nocase(span_str(a), span_str(b)))
        return true;
    return find_account(a, &ua, &gid) == FOUND && find_account(b, &ub, &gid) == FOUND && ua == ub;
}

static enum found find_group(const char *name, gid_t *gid)
{
    struct group entry, *there = NULL;
    int code = ERANGE;
    for (size_t n = BUFFER_FIRST; code == ERANGE && n <= BUFFER_MAX; n *= 4) {
        char *memory = malloc(n);
        if (memory == NULL)
            return FOUND_FAILED;
        code = getgrnam_r(name, &entry, memory, n, &there);
        if (there != NULL)
            *gid = entry.gr_gid;
        free(memory);
    }
    return judge(code, there != NULL);
}

enum local_account_result names_refused(const char *name, struct span account,
                                        char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    uid_t uid = UID_NOBODY - 1;
    gid_t gid;
    enum found found = find_account(name, &uid, &gid);
    if (found == FOUND_FAILED) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "the system cannot tell its uid now");
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    if (found == FOUND && uid == 0) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "an account with uid 0 does not log in here");
        return LOCAL_ACCOUNT_DISABLED;
    }
    if (uid == UID_NOBODY || span_is_nocase(account, "guest")) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "a guest's account");
        return LOCAL_ACCOUNT_GUEST;
    }
    return LOCAL_ACCOUNT_OK;
}

/* All groups of an account; NULL when there is no memory or no end. */
static gid_t *groups_of(const char *name, gid_t gid, int *n)
{
    for (int room = GROUPS_FIRST; room <= GROUPS_MAX; room *= 4) {
        gid_t *list = calloc((size_t)room, sizeof *list);
        if (list == NULL)
            return NULL;
        *n = room;
        if (getgrouplist(name, gid, list, n) >= 0)
            return list;
        free(list);
    }
    return NULL;
}

static enum local_account_result in_one(const gid_t *list, int n, const struct account_question *q,
                                        char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    char name[NAMES_BYTES_MAX];
    bool any = false; /* an allow list names accounts, too, and those are no groups */
    for (size_t i = 0; i < q->group_count; i++) {
        gid_t wanted = 0;
        enum found found = FOUND_NONE;
        if (names_join(q->domain, q->groups[i], name, sizeof name))
            found = find_group(name, &wanted);
        if (found == FOUND_FAILED) {
            (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "group %.80s cannot be looked up", name);
            return LOCAL_ACCOUNT_UNAVAILABLE;
        }
        any = any || found == FOUND;
        for (int k = 0; found == FOUND && k < n; k++)
            if (list[k] == wanted) {
                text[0] = '\0';
                return LOCAL_ACCOUNT_OK;
            }
    }
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%s",
                   any ? "in none of the groups that may" : "none of the groups that may exists");
    return LOCAL_ACCOUNT_NOT_MEMBER;
}

enum local_account_result names_member(const char *name, const struct account_question *q,
                                       char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    uid_t uid;
    gid_t gid;
    int n = 0;
    switch (find_account(name, &uid, &gid)) {
    case FOUND: break;
    case FOUND_NONE:
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "no such account");
        return LOCAL_ACCOUNT_NO_ACCOUNT;
    case FOUND_FAILED:
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "the account cannot be looked up");
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    if (q->group_count == 0)
        return LOCAL_ACCOUNT_OK;
    gid_t *list = groups_of(name, gid, &n);
    if (list == NULL) {
        (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "its groups cannot be looked up");
        return LOCAL_ACCOUNT_UNAVAILABLE;
    }
    enum local_account_result result = in_one(list, n, q, text);
    free(list);
    return result;
}
