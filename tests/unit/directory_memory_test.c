/* A directory asked without memory, at every single allocation of ours: no crash, no leak, no
 * verdict about the account, and nobody in a group that he is not in. */
#define _GNU_SOURCE
#include "support/test.h"

#include "support/bad_server.h"
#include "support/no_memory.h"
#include "support/tls_files.h"

#include "auth/directory_groups.h"
#include "platform/directory.h"
#include "platform/sock.h"

static char *counted_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = counted_malloc(n);
    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

/* The tree of one account and its groups, in place of the connection: what directory_groups.c asks
 * and what it makes of the answers is under test here. */
static bool active_directory, in_group;
static unsigned questions;

static bool tree_who_am_i(struct directory_session *s, char out[DIRECTORY_NAME_MAX], struct err *e)
{
    (void)s, (void)e;
    (void)snprintf(out, DIRECTORY_NAME_MAX, "%s",
                   active_directory ? "u:CORP\\alice" : "dn:uid=alice,dc=x");
    return true;
}

static bool tree_find(struct directory_session *s, const struct directory_search *what,
                      directory_found *found, void *context, bool *more, struct err *e)
{
    static const char groups[] = "(&(objectClass=group)(|(sAMAccountName=senders)"
                                 "(sAMAccountName=admins)))";
    (void)s, (void)e;
    questions++;
    *more = false;
    if (what->base[0] == '\0' && !what->subtree) {
        found(context, "", NULL, span_of(NULL, 0));
        found(context, "", "namingContexts", span_str("dc=x"));
        if (active_directory) {
            found(context, "", "defaultNamingContext", span_str("dc=x"));
            found(context, "", "supportedCapabilities", span_str("1.2.840.113556.1.4.800"));
        }
        return true;
    }
    if (strcmp(what->filter, "(&(objectClass=user)(sAMAccountName=alice))") == 0 &&
        strcmp(what->base, "dc=x") == 0) {
        found(context, "CN=Alice,dc=x", NULL, span_of(NULL, 0));
    } else if (strcmp(what->filter, groups) == 0 && strcmp(what->base, "dc=x") == 0) {
        found(context, "CN=senders,dc=x", NULL, span_of(NULL, 0));
        found(context, "CN=senders,dc=x", "objectSid", span_str("sid-of-senders"));
        found(context, "CN=admins,dc=x", NULL, span_of(NULL, 0));
        found(context, "CN=admins,dc=x", "objectSid", span_str("sid-of-admins"));
    } else if (strcmp(what->base, "CN=Alice,dc=x") == 0 && !what->subtree) {
        found(context, "CN=Alice,dc=x", "tokenGroups", span_str("sid-of-everybody"));
        if (in_group)
            found(context, "CN=Alice,dc=x", "tokenGroups", span_str("sid-of-admins"));
    } else if (!active_directory && in_group && what->subtree &&
               strcmp(what->filter,
                      "(&(|(cn=senders)(cn=admins))(|(memberUid=alice)(member="
                      "uid\\3dalice,dc\\3dx)(uniqueMember=uid\\3dalice,dc\\3dx)))") == 0) {
        found(context, "cn=senders,dc=x", NULL, span_of(NULL, 0));
    } else if (strstr(what->filter, "member=") == NULL) {
        /* A question that was cut: somebody else's entry comes back, as from a real server. */
        found(context, "CN=Domain Admin,dc=x", NULL, span_of(NULL, 0));
    }
    return true;
}

#include <ldap.h>
#include <openldap.h>
#include <pthread.h>
#include <resolv.h>

#undef strdup
#define strdup counted_strdup
#define realloc counted_realloc
#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include "base/arena.c"
#include "base/buf.c"

#include "auth/directory_names.c"
#include "posix/dial_lookup.c"
#include "posix/fd_guard.c"

#include "posix/directory_openldap.c"
#define directory_who_am_i tree_who_am_i
#define directory_find tree_find
#define find groups_find
#include "auth/directory_groups.c"
#undef find
#undef directory_find
#undef directory_who_am_i
#undef strdup
#undef realloc
#undef calloc
#undef malloc
#undef free

static struct tls_files files;

static void no_allocation_that_fails_lets_in_or_keeps_out(void **state)
{
    (void)state;
    static const char *const names[] = {"senders", "admins"};
    const struct backend_groups groups = {names, 2};
    for (unsigned way = 0; way < 8; way++) {
        active_directory = (way & 1) != 0;
        in_group = (way & 2) != 0;
        const struct directory_person who = {.account = "alice", .dn = NULL, .base = ""};
        long n;
        for (n = 1;; n++) {
            char reason[BACKEND_REASON_MAX] = "";
            assert_true(n < 1000);
            fail_allocation(n, (way & 4) != 0);
            enum backend_result got = directory_groups_check(NULL, &who, &groups, reason);
            bool all_there = !ran_out;
            fail_allocation(0, false);
            assert_int_equal(blocks_held, 0);
            enum backend_result right = in_group ? BACKEND_OK : BACKEND_NOT_ALLOWED;
            if (got != right && (all_there || got != BACKEND_UNAVAILABLE))
                fail_msg("way %u, allocation %ld: %d (%s)", way, n, (int)got, reason);
            if (all_there)
                break;
        }
        assert_true(n > 2 && questions > 3);
    }
}

static void one_bind(uint16_t port)
{
    const struct directory_server server = {"127.0.0.1", port, false};
    const struct directory_options o = {&server, 1, files.ca, 2000};
    struct directory *d = NULL;
    struct directory_session *s = NULL;
    struct directory_word word;
    struct err e = {0};
    if (!directory_open(&o, &d, &e)) {
        assert_int_equal(e.class, ERR_TEMP);
        assert_null(d);
        return;
    }
    assert_int_equal(directory_bind(d, "uid=alice", span_str("secret"), &s, &word),
                     DIRECTORY_NO_ANSWER);
    assert_null(s);
    assert_true(word.text[0] != '\0');
    directory_close(&d);
}

static void no_allocation_that_fails_makes_a_bind_or_a_refusal(void **state)
{
    (void)state;
    struct bad_server *b = bad_server_start(BAD_SERVER_CLOSE, span_of("", 0));
    long n = 0;
    for (unsigned once = 0; once < 2; once++)
        for (n = 1;; n++) {
            assert_true(n < 1000);
            fail_allocation(n, once == 1);
            one_bind(bad_server_port(b));
            bool all_there = !ran_out;
            fail_allocation(0, false);
            assert_int_equal(blocks_held, 0);
            if (all_there)
                break;
        }
    assert_true(n > 5);
    bad_server_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_that_fails_lets_in_or_keeps_out),
        cmocka_unit_test(no_allocation_that_fails_makes_a_bind_or_a_refusal),
    };
    if (!sock_start(NULL))
        return 1;
    tls_files_make(&files);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tls_files_remove(&files);
    return failed;
}
