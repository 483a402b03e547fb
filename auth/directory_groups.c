#include "auth/directory_groups.h"

#include "auth/directory_names.h"
#include "base/arena.h"

#include <stdio.h>
#include <string.h>

enum {
    FILTER_BYTES_MAX = 65536,
    GROUPS_FOUND_MAX = 256,
    SID_BYTES_MAX = 68, /* MS-DTYP 2.4.2.2: 8 and 15 times 4 */
    ARENA_BYTES_MAX = 1 << 20,
};

/* One question. */
struct question {
    struct directory_session *s;
    const struct directory_person *who;
    const struct backend_groups *groups;
    struct arena arena;
    struct buf filter;
    struct err e;
    /* of the root entry */
    const char *root;
    bool active_directory;
    /* of the one who was bound */
    char who_am_i[DIRECTORY_NAME_MAX];
    const char *dn;
    /* the groups' SIDs */
    struct span sids[GROUPS_FOUND_MAX];
    size_t sid_count, found;
    bool member;
    bool no_memory; /* something that was found could not be kept: no verdict */
    bool any_token; /* the controller told at least one group of his */
};

static bool find(struct question *q, const char *base, bool subtree, const char *filter,
                 const char *const *attributes, directory_found *found)
{
    bool more;
    const struct directory_search what = {
        .base = base,
        .subtree = subtree,
        .filter = filter,
        .attributes = attributes,
        .max_entries = GROUPS_FOUND_MAX,
    };
    return directory_find(q->s, &what, found, q, &more, &q->e);
}

/* MS-ADTS 3.1.1.3.4.1: what says that it is Active Directory. Samba says so too. */
static const char capability_ad[] = "1.2.840.113556.1.4.800";

static void root_found(void *context, const char *dn, const char *attribute, struct span value)
{
    struct question *q = context;
    (void)dn;
    if (attribute == NULL)
        return;
    if (strcmp(attribute, "supportedCapabilities") == 0) {
        q->active_directory = q->active_directory || span_is(value, capability_ad);
        return;
    }
    if (q->root == NULL || strcmp(attribute, "defaultNamingContext") == 0) {
        q->root = arena_span_str(&q->arena, value);
        q->no_memory = q->no_memory || q->root == NULL;
    }
}

static bool look_at_root(struct question *q)
{
    static const char *const attributes[] = {"defaultNamingContext", "supportedCapabilities",
                                             "namingContexts", NULL};
    return find(q, "", false, "(objectClass=*)", attributes, root_found);
}

static void add_value(struct question *q, const char *before, struct span value)
{
    (void)buf_add_str(&q->filter, before);
    (void)directory_filter_value(&q->filter, value);
    (void)buf_add_byte(&q->filter, ')');
}

static void first_dn(void *context, const char *dn, const char *attribute, struct span value)
{
    struct question *q = context;
    (void)value;
    if (attribute != NULL || q->dn != NULL)
        return;
    q->dn = arena_str(&q->arena, dn);
    q->no_memory = q->no_memory || q->dn == NULL;
}

/* "dn:..." says it; "u:CORP\alice" names an account to look up. */
static bool find_person(struct question *q)
{
    static const char *const none[] = {"1.1", NULL}; /* RFC 4511 4.5.1.8: no attribute */
    if (!directory_who_am_i(q->s, q->who_am_i, &q->e))
        return false;
    if (strncmp(q->who_am_i, "dn:", 3) == 0 && q->who_am_i[3] != '\0') {
        q->dn = q->who_am_i + 3;
        return true;
    }
    if (!q->active_directory) {
        q->dn = q->who->dn;
        return true;
    }
    const char *account = q->who->account;
    const char *slash = strchr(q->who_am_i, '\\');
    if (strncmp(q->who_am_i, "u:", 2) == 0 && slash != NULL)
        account = slash + 1;
    buf_reset(&q->filter);
    add_value(q, "(&(objectClass=user)(sAMAccountName=", span_str(account));
    (void)buf_add_byte(&q->filter, ')');
    return !q->filter.failed && find(q, q->root, true, buf_cstr(&q->filter), none, first_dn);
}

static void sid_found(void *context, const char *dn, const char *attribute, struct span value)
{
    struct question *q = context;
    (void)dn;
    if (attribute == NULL) {
        q->found++;
        return;
    }
    if (value.n <= SID_BYTES_MAX && q->sid_count < GROUPS_FOUND_MAX) {
        struct span copy = arena_span(&q->arena, value);
        q->no_memory = q->no_memory || copy.p == NULL;
        if (copy.p != NULL)
            q->sids[q->sid_count++] = copy;
    }
}

static void token_found(void *context, const char *dn, const char *attribute, struct span value)
{
    struct question *q = context;
    (void)dn;
    if (attribute == NULL)
        return;
    q->any_token = true;
    for (size_t i = 0; i < q->sid_count; i++)
        q->member = q->member || span_equal(q->sids[i], value);
}

static bool ask_active_directory(struct question *q)
{
    static const char *const sid[] = {"objectSid", NULL}, *const tokens[] = {"tokenGroups", NULL};
    buf_reset(&q->filter);
    (void)buf_add_str(&q->filter, "(&(objectClass=group)(|");
    for (size_t i = 0; i < q->groups->count; i++)
        add_value(q, "(sAMAccountName=", span_str(q->groups->names[i]));
    (void)buf_add_str(&q->filter, "))");
    if (q->filter.failed || !find(q, q->root, true, buf_cstr(&q->filter), sid, sid_found))
        return false;
    return q->dn == NULL || q->sid_count == 0 ||
           find(q, q->dn, false, "(objectClass=*)", tokens, token_found);
}

static void group_found(void *context, const char *dn, const char *attribute, struct span value)
{
    struct question *q = context;
    (void)dn;
    (void)attribute;
    (void)value;
    q->member = true;
}

static bool ask_other(struct question *q)
{
    static const char *const none[] = {"1.1", NULL};
    buf_reset(&q->filter);
    (void)buf_add_str(&q->filter, "(&(|");
    for (size_t i = 0; i < q->groups->count; i++)
        add_value(q, "(cn=", span_str(q->groups->names[i]));
    (void)buf_add_str(&q->filter, ")(|");
    add_value(q, "(memberUid=", span_str(q->who->account));
    if (q->dn != NULL) {
        add_value(q, "(member=", span_str(q->dn));
        add_value(q, "(uniqueMember=", span_str(q->dn));
    }
    (void)buf_add_str(&q->filter, "))");
    return !q->filter.failed && find(q, q->root, true, buf_cstr(&q->filter), none, group_found);
}

static const char *why_not(const struct question *q)
{
    if (!q->active_directory)
        return "the account is in none of the groups that may, or may not read them";
    if (q->dn == NULL)
        return "the account was not found below the base: see base";
    if (q->sid_count == 0)
        return "none of the groups that may was found below the base";
    return q->any_token ? "the account is in none of the groups that may"
                        : "the account may not read its own tokenGroups";
}

enum backend_result directory_groups_check(struct directory_session *s,
                                           const struct directory_person *who,
                                           const struct backend_groups *groups,
                                           char reason[BACKEND_REASON_MAX])
{
    struct question q = {.s = s, .who = who, .groups = groups};
    arena_init(&q.arena, ARENA_BYTES_MAX);
    buf_init(&q.filter, FILTER_BYTES_MAX);
    bool ok = look_at_root(&q);
    if (ok && who->base[0] != '\0')
        q.root = who->base;
    if (ok && q.root == NULL)
        q.root = "";
    ok = ok && find_person(&q) && (q.active_directory ? ask_active_directory(&q) : ask_other(&q));
    enum backend_result result = BACKEND_OK;
    if (!ok || q.no_memory) {
        result = BACKEND_UNAVAILABLE;
        (void)snprintf(reason, BACKEND_REASON_MAX, "%.150s",
                       q.e.class == ERR_NONE ? "no memory to look for groups, or too many names"
                                             : q.e.text);
    } else if (!q.member) {
        result = BACKEND_NOT_ALLOWED;
        (void)snprintf(reason, BACKEND_REASON_MAX, "%s", why_not(&q));
    }
    buf_deinit(&q.filter);
    arena_deinit(&q.arena);
    return result;
}
