/* The embedded user database: what it takes, what it keeps, what it never keeps. */
#define _GNU_SOURCE
#include "auth/scram.h"
#include "base/secret.h"
#include "support/auth_lab.h"
#include "support/test.h"

#include <sys/stat.h>
#include <unistd.h>

static int open_lab(void **state)
{
    static struct auth_lab lab;
    auth_lab_prepare(&lab);
    *state = &lab;
    return 0;
}

static int close_lab(void **state)
{
    auth_lab_close(*state);
    return 0;
}

static void the_file_is_for_its_owner_alone(void **state)
{
    struct auth_lab *lab = *state;
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s%s", lab->db_path, endings[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void made_by_root_it_belongs_to_the_owner_of_its_folder(void **state)
{
    struct auth_lab *lab = *state;
    if (geteuid() != 0)
        skip();
    struct userdb *db = NULL;
    struct err e = {0};
    char folder[128], path[160];
    (void)snprintf(folder, sizeof folder, "%s/data", lab->folder);
    (void)snprintf(path, sizeof path, "%s/users.db", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chown(folder, 12345, 12346), 0);
    auth_lab_must(userdb_open(path, true, &db, &e), &e);
    assert_int_equal(userdb_add(db, "a", span_str("b"), AUTH_ITERATIONS_LEAST, &e), USERDB_DONE);
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char file[192];
        struct stat st;
        (void)snprintf(file, sizeof file, "%s%s", path, endings[i]);
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_uid, 12345);
        assert_int_equal(st.st_gid, 12346);
    }
    userdb_close(&db);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void a_missing_file_is_made_only_on_demand(void **state)
{
    struct auth_lab *lab = *state;
    struct userdb *db = NULL;
    struct err e = {0};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/none.db", lab->folder);
    assert_false(userdb_open(path, false, &db, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_verifier_is_the_one_of_rfc_5802_and_the_password_is_nowhere(void **state)
{
    struct auth_lab *lab = *state;
    struct userdb_entry entry;
    struct err e = {0};
    static const char password[] = "NowhereToBeFound17";
    assert_int_equal(userdb_add(lab->db, "bob", span_str(password), 123456, &e), USERDB_DONE);
    assert_int_equal(userdb_get(lab->db, "bob", &entry, &e), USERDB_DONE);
    assert_int_equal(entry.verifier.iterations, 123456);
    struct scram_verifier again = {.iterations = 123456, .salt_n = entry.verifier.salt_n};
    memcpy(again.salt, entry.verifier.salt, sizeof again.salt);
    auth_lab_must(scram_derive(span_str(password), &again, &e), &e);
    assert_memory_equal(again.stored_key, entry.verifier.stored_key, SCRAM_KEY_SIZE);
    assert_memory_equal(again.server_key, entry.verifier.server_key, SCRAM_KEY_SIZE);
    static const char *const endings[] = {"", "-wal"};
    size_t read_bytes = 0;
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        static char content[1 << 20];
        (void)snprintf(path, sizeof path, "%s%s", lab->db_path, endings[i]);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t n = fread(content, 1, sizeof content, f);
        (void)fclose(f);
        read_bytes += n;
        assert_null(memmem(content, n, password, strlen(password)));
    }
    assert_true(read_bytes > 4096);
}

static void names_are_normalised_and_bad_ones_refused(void **state)
{
    struct auth_lab *lab = *state;
    struct userdb_entry entry;
    struct err e = {0};
    struct span pw = span_str("x");
    assert_int_equal(userdb_add(lab->db, "MixedCase", pw, AUTH_ITERATIONS_LEAST, &e), USERDB_DONE);
    assert_int_equal(userdb_get(lab->db, "mixedcase", &entry, &e), USERDB_DONE);
    assert_int_equal(userdb_add(lab->db, "MIXEDCASE", pw, AUTH_ITERATIONS_LEAST, &e),
                     USERDB_EXISTS);
    assert_string_equal(e.text, "there is already a user mixedcase");
    static const char *const bad[] = {"", " a", "a ", "a\\b", "a\nb", "a\x7f", "\xff", "\xc0\xaf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(userdb_add(lab->db, bad[i], pw, AUTH_ITERATIONS_LEAST, &e),
                         USERDB_BAD_NAME);
    char long_name[USERDB_NAME_MAX + 2];
    memset(long_name, 'a', sizeof long_name);
    long_name[USERDB_NAME_MAX + 1] = 0;
    assert_int_equal(userdb_add(lab->db, long_name, pw, AUTH_ITERATIONS_LEAST, &e),
                     USERDB_BAD_NAME);
}

static void bad_passwords_and_too_few_iterations_are_refused(void **state)
{
    struct auth_lab *lab = *state;
    struct err e = {0};
    static char long_password[USERDB_PASSWORD_MAX + 1];
    memset(long_password, 'p', sizeof long_password);
    const struct span bad[] = {span_str(""), span_of("a\0b", 3), span_str("a\nb"), span_str("\xff"),
                               span_of(long_password, sizeof long_password)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(userdb_add(lab->db, "n", bad[i], AUTH_ITERATIONS_LEAST, &e),
                         USERDB_BAD_PASSWORD);
        assert_int_equal(userdb_passwd(lab->db, "alice", bad[i], AUTH_ITERATIONS_LEAST, &e),
                         USERDB_BAD_PASSWORD);
    }
    assert_int_equal(userdb_add(lab->db, "n", span_str("ok"), AUTH_ITERATIONS_LEAST - 1, &e),
                     USERDB_FAILED);
}

static void every_change_gives_a_version_that_was_never_there(void **state)
{
    struct auth_lab *lab = *state;
    struct userdb_entry entry;
    struct err e = {0};
    uint64_t last = 0;
    struct span pw = span_str("p");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(userdb_add(lab->db, "v", pw, AUTH_ITERATIONS_LEAST, &e), USERDB_DONE);
        assert_int_equal(userdb_get(lab->db, "v", &entry, &e), USERDB_DONE);
        assert_true(entry.version > last);
        last = entry.version;
        assert_int_equal(userdb_passwd(lab->db, "v", pw, AUTH_ITERATIONS_LEAST, &e), USERDB_DONE);
        assert_int_equal(userdb_get(lab->db, "v", &entry, &e), USERDB_DONE);
        assert_true(entry.version > last);
        last = entry.version;
        assert_int_equal(userdb_set_disabled(lab->db, "v", true, &e), USERDB_DONE);
        assert_int_equal(userdb_get(lab->db, "v", &entry, &e), USERDB_DONE);
        assert_true(entry.disabled && entry.version > last);
        last = entry.version;
        assert_int_equal(userdb_remove(lab->db, "v", &e), USERDB_DONE);
        assert_int_equal(userdb_get(lab->db, "v", &entry, &e), USERDB_UNKNOWN);
    }
    assert_int_equal(userdb_passwd(lab->db, "v", pw, AUTH_ITERATIONS_LEAST, &e), USERDB_UNKNOWN);
    assert_int_equal(userdb_remove(lab->db, "v", &e), USERDB_UNKNOWN);
    assert_int_equal(userdb_set_disabled(lab->db, "v", false, &e), USERDB_UNKNOWN);
    assert_string_equal(e.text, "there is no user v");
}

static bool collect(void *context, const struct userdb_entry *entry)
{
    char *text = context;
    strcat(text, entry->name);
    strcat(text, entry->disabled ? "- " : " ");
    return strncmp(entry->name, "off", 3) != 0;
}

static void users_are_listed_by_name(void **state)
{
    struct auth_lab *lab = *state;
    struct err e = {0};
    char text[256] = "";
    assert_int_equal(userdb_add(lab->db, "zoe", span_str("p"), AUTH_ITERATIONS_LEAST, &e),
                     USERDB_DONE);
    auth_lab_must(userdb_list(lab->db, collect, text, &e), &e);
    assert_string_equal(text, "alice app@example.net off- "); /* zoe is not asked for any more */
}

static void two_handles_see_each_others_changes_at_once(void **state)
{
    struct auth_lab *lab = *state;
    struct userdb *other = NULL;
    struct userdb_entry entry;
    struct err e = {0};
    auth_lab_must(userdb_open(lab->db_path, false, &other, &e), &e);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(
            userdb_add(i % 2 ? other : lab->db, "x", span_str("p"), AUTH_ITERATIONS_LEAST, &e),
            USERDB_DONE);
        assert_int_equal(userdb_get(i % 2 ? lab->db : other, "x", &entry, &e), USERDB_DONE);
        assert_int_equal(userdb_remove(i % 2 ? lab->db : other, "x", &e), USERDB_DONE);
        assert_int_equal(userdb_get(i % 2 ? other : lab->db, "x", &entry, &e), USERDB_UNKNOWN);
    }
    userdb_close(&other);
}

static void a_decoy_is_steady_and_looks_like_an_account(void **state)
{
    struct auth_lab *lab = *state;
    struct scram_verifier a, b, c;
    struct userdb *other = NULL;
    struct err e = {0};
    auth_lab_must(userdb_open(lab->db_path, false, &other, &e), &e);
    auth_lab_must(userdb_decoy(lab->db, "ghost", 100000, &a, &e), &e);
    auth_lab_must(userdb_decoy(other, "ghost", 100000, &b, &e), &e);
    auth_lab_must(userdb_decoy(lab->db, "ghost2", 100000, &c, &e), &e);
    assert_memory_equal(a.salt, b.salt, SCRAM_SALT_SIZE);
    assert_memory_equal(a.stored_key, b.stored_key, SCRAM_KEY_SIZE);
    assert_memory_not_equal(a.salt, c.salt, SCRAM_SALT_SIZE);
    assert_memory_not_equal(a.stored_key, a.server_key, SCRAM_KEY_SIZE);
    assert_int_equal(a.salt_n, SCRAM_SALT_SIZE);
    assert_int_equal(a.iterations, AUTH_ITERATIONS_LEAST);
    /* The iterations are those that most accounts have, whatever the options say by now. */
    static const char *const more[] = {"m1", "m2", "m3", "m4"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(userdb_add(other, more[i], span_str("p"), 100001, &e), USERDB_DONE);
    auth_lab_must(userdb_decoy(lab->db, "ghost", 200000, &a, &e), &e);
    assert_int_equal(a.iterations, 100001);
    assert_memory_equal(a.salt, b.salt, SCRAM_SALT_SIZE);
    userdb_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_is_for_its_owner_alone, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(made_by_root_it_belongs_to_the_owner_of_its_folder,
                                        open_lab, close_lab),
        cmocka_unit_test_setup_teardown(a_missing_file_is_made_only_on_demand, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(
            a_verifier_is_the_one_of_rfc_5802_and_the_password_is_nowhere, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(names_are_normalised_and_bad_ones_refused, open_lab,
                                        close_lab),
        cmocka_unit_test_setup_teardown(bad_passwords_and_too_few_iterations_are_refused, open_lab,
                                        close_lab),
        cmocka_unit_test_setup_teardown(every_change_gives_a_version_that_was_never_there, open_lab,
                                        close_lab),
        cmocka_unit_test_setup_teardown(users_are_listed_by_name, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(two_handles_see_each_others_changes_at_once, open_lab,
                                        close_lab),
        cmocka_unit_test_setup_teardown(a_decoy_is_steady_and_looks_like_an_account, open_lab,
                                        close_lab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
